"""From the configuration to what should run: the supervisor's slots with the settings of each part.

Rules: settings are plain values, since they travel to other processes; `@name` and `@epoch` stand for what an incarnation
is given at its start.

Not here: the parts themselves (`actors/parts`, `actors/media_part`, `gateway/part`), keeping slots filled (`supervisor`).
"""

from pathlib import Path
from typing import Any

from actors.audit_archive import HEAD_FILE
from actors.configuration import Configuration
from actors.supervisor import Slot
from gateway.tls import development_certificate


def slots_of(configuration: Configuration, store_url: str, port: int, machines_count: int = 1) -> list[Slot]:
    """What should run, in the order of starting. `machines_count`: of the cluster, each of which gets a gateway at least."""
    division_ids = [plan.division_id for plan in configuration.divisions]
    store = {"url": store_url, "accept_weaker_durability": configuration.store.accept_weaker_durability}
    hall = {"division_ids": division_ids, "store_url": store_url}
    archive = str(configuration.data_folder / "archive")
    disk = disk_values(configuration)
    follower = {
        "division_ids": division_ids,
        "store": store,
        "archive_folder": archive,
        "audit_folder": str(configuration.data_folder / "audit"),
        "audit_head_path": str(audit_head_path(configuration)),
        "disk": disk,
    }
    gateways_count = max(configuration.gateway.processes, machines_count)
    slot_ids = [f"shard-{number}" for number in range(configuration.hall.shards)]
    return [
        Slot("follower", "follower", "actors.parts:FollowerPart", follower),
        *(
            Slot(
                slot_id,
                "shard",
                "actors.parts:ShardPart",
                {
                    "name": "@name",
                    "slot_id": slot_id,
                    "division_ids": division_ids,
                    "store": store,
                    "disk": disk,
                },
                has_standby=configuration.hall.has_standby,
            )
            for slot_id in slot_ids
        ),
        *(_media_slot(configuration, hall, number) for number in range(1, configuration.media.workers + 1)),
        *(
            Slot(
                f"gateway-{number}",
                "gateway",
                "gateway.part:GatewayPart",
                {"hall": hall, "gateway": gateway_values(configuration, port, number, gateways_count)},
            )
            for number in range(1, gateways_count + 1)
        ),
        *_webhook_slots(configuration, hall),
    ]


def _webhook_slots(configuration: Configuration, hall: dict[str, Any]) -> list[Slot]:
    """A process of its own, where anybody is to be sent anything."""
    if not configuration.webhooks.allowed_hosts:
        return []
    settings = {"hall": hall, "webhooks": webhook_values(configuration)}
    return [Slot("webhooks", "webhooks", "gateway.webhook_part:WebhookPart", settings)]


def webhook_values(configuration: Configuration) -> dict[str, Any]:
    """The settings of the sender of webhooks, as plain values."""
    own = configuration.webhooks
    return {
        "rules": url_rules(configuration),
        "sending": {"timeout_ms": own.timeout_ms, "give_up_after_ms": own.give_up_after_ms},
        "ca_file": str(Path(own.ca_file).expanduser().absolute()) if own.ca_file else "",
    }


def url_rules(configuration: Configuration) -> dict[str, Any]:
    """Which URLs may be registered, and sent to."""
    own = configuration.webhooks
    return {"allowed_hosts": own.allowed_hosts, "is_plain_http_allowed": own.is_plain_http_allowed}


def _media_slot(configuration: Configuration, hall: dict[str, Any], number: int) -> Slot:
    media = configuration.media
    worker = {
        "worker_id": str(number),
        "epoch": "@epoch",
        "recordings_folder": str(configuration.recordings_folder),
        "host": media.host,
        "advertised_addresses": media.advertised_addresses,
        "port": media.first_port + number - 1 if media.first_port else 0,
        "rooms_max": media.rooms_max,
        "parties_max": 2 * media.rooms_max,
    }
    settings = {"hall": hall, "worker": worker, "disk": disk_values(configuration)}
    return Slot(f"media-{number}", "media", "actors.media_part:MediaPart", settings)


def audit_head_path(configuration: Configuration) -> Path:
    """Where the audit log's head lies: apart from its lines."""
    return configuration.data_folder / "keys" / HEAD_FILE


def disk_values(configuration: Configuration) -> dict[str, Any]:
    """Where data lie that this hall must not run out of disk for; an existing store's own disk is not ours to see."""
    folders = {
        "archive": str(configuration.data_folder / "archive"),
        "recordings": str(configuration.recordings_folder),
    }
    if not configuration.store.url:
        folders["store"] = str(configuration.data_folder / "store")
    floor_bytes = configuration.hall.disk_floor_bytes
    return {"folders": folders, "floor_bytes": floor_bytes if floor_bytes >= 0 else None}


def metrics_port_of(first: int | None, number: int, count: int) -> int | None:
    """Where gateway `number` of 1 to `count` shows its measures. On a port that is shared each scrape would meet another.

    `first`: as configured; None or 0 of several: any free one.
    """
    if first is None and count == 1:
        return None
    return first + number - 1 if first else 0


def gateway_values(configuration: Configuration, port: int, number: int = 1, count: int = 1) -> dict[str, Any]:
    """The settings of gateway `number` of 1 to `count`, as plain values."""
    own = configuration.gateway
    certificate, key = own.tls_cert, own.tls_key
    if own.tls_self_signed:
        hosts = sorted({"localhost", "127.0.0.1", *([] if own.host == "0.0.0.0" else [own.host])})
        hosts += [one for one in configuration.media.advertised_addresses if one not in hosts]
        made = development_certificate(configuration.data_folder / "keys", hosts)
        certificate, key = str(made[0]), str(made[1])
    return {
        "gateway_id": "@name",
        "host": own.host,
        "port": port,
        "is_port_shared": True,
        "certificate_path": certificate or None,
        "key_path": key or None,
        "keys_folder": str(configuration.data_folder / "keys"),
        "jwks_path": own.jwks_file or None,
        "jwks_url": own.jwks_url,
        "jwks_ca_path": own.jwks_ca_file or None,
        "clock_leeway_s": own.clock_leeway_s,
        "issuer": own.issuer,
        "audience": own.audience,
        "are_development_keys_allowed": own.are_development_keys_allowed,
        "allowed_origins": own.allowed_origins,
        "recordings_folder": str(configuration.recordings_folder),
        "audit_folder": str(configuration.data_folder / "audit"),
        "ice_servers": own.ice_servers,
        "turn_urls": own.turn_urls,
        "turn_secret": own.turn_secret,
        "turn_ttl_ms": own.turn_ttl_ms,
        "ice_transport_policy": own.ice_transport_policy,
        "ping_ms": own.ping_ms,
        "connections_max": own.connections_max,
        "upgrades_per_s": own.upgrades_per_s,
        "messages_per_s": own.messages_per_s,
        "messages_burst": own.messages_burst,
        "connects_per_s": own.connects_per_s,
        "connects_burst": own.connects_burst,
        "staff_requests_per_s": own.staff_requests_per_s,
        "staff_requests_burst": own.staff_requests_burst,
        "requests_per_s": own.requests_per_s,
        "requests_burst": own.requests_burst,
        "connections_per_address_max": own.connections_per_address_max,
        "failed_logins_per_s": own.failed_logins_per_s,
        "failed_logins_burst": own.failed_logins_burst,
        "admission_target_ms": own.admission_target_ms,
        "trusted_proxies": own.trusted_proxies,
        "unlimited_networks": own.unlimited_networks,
        "command_timeout_ms": own.command_timeout_ms,
        "metrics_host": own.metrics_host,
        "metrics_port": metrics_port_of(own.metrics_port, number, count),
        "webhook_urls": url_rules(configuration),
    }
