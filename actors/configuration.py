"""The configuration: one TOML file, environment variables over it, the command line over both.

Rules
- The file is read once and becomes typed settings, or an error that names every mistake: source, key, value seen,
  what is allowed. An unknown key is a mistake: a misspelt one would silently not apply.
- `TELLERHALL_<SECTION>_<KEY>` sets `<section>.<key>` of every section but the divisions. Lists are separated by
  commas, or written as JSON. Variables of other sections are not ours and are left alone.
- A strategy that a queue names is ours or that of an installed package (`strategies`).
- Divisions are plans for the engine. They reach it as a command when their digest is new (SAFETY.md 20): the
  journal is the truth, this file is a wish.

Every key is explained in `gateway/demo.toml`, which a test compares with these types.

Not here: how values are checked (`checking`), time zones (`time_zones`), what a plan means (`dispatch/plan`), who uses the
settings (the console command).
"""

import hashlib
import ipaddress
import json
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct, field

from actors.checking import Problem, find_problems, join
from actors.store_address import REPLICAS_MAX, TLS_OPTIONS, AddressWrong, parse_address, with_options
from actors.strategies import StrategyUnusable, load_strategies
from actors.time_zones import replace_time_zones
from dispatch.plan import Plan

Port = Annotated[int, Meta(ge=0, le=65_535)]
"""0: any free port."""
Host = Annotated[str, Meta(min_length=1, max_length=253)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Milliseconds = Annotated[int, Meta(ge=100, le=600_000)]
Origin = Annotated[str, Meta(pattern=r"^https?://[^/\s]+$")]
Rate = Annotated[float, Meta(ge=0.1, le=100_000)]
Network = Annotated[str, Meta(pattern=r"^[0-9A-Fa-f.:]{2,39}(/[0-9]{1,3})?\Z")]
HostPattern = Annotated[str, Meta(pattern=r"^(\*\.)?[A-Za-z0-9._:-]{1,253}$")]
StoreUrl = Annotated[str, Meta(pattern=r"^\S*$")]

TurnUrl = Annotated[str, Meta(pattern=r"^turns?:[^\s?]+(\?transport=(udp|tcp))?$")]

SECRETS = frozenset({"store.url", "gateway.turn_secret"})
"""Values that are or may hold a password, and are never shown."""
PREFIX = "TELLERHALL_"


class _Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file. Its defaults are what holds where the file says nothing."""


class HallSection(_Section, frozen=True):
    name: Annotated[str, Meta(min_length=1, max_length=80)] = "Tellerhall"
    data_folder: Annotated[str, Meta(min_length=1)] = "data"
    shards: Annotated[int, Meta(ge=1, le=64)] = 1
    has_standby: bool = True
    disk_floor_bytes: Annotated[int, Meta(ge=-1)] = -1
    """Less free than this where the data lie: new calls are refused. -1: the smaller of 1 GiB and 5 % of the disk."""


class GatewaySection(_Section, frozen=True):
    host: Host = "127.0.0.1"
    port: Port = 8080
    processes: Annotated[int, Meta(ge=1, le=256)] = 1
    tls_cert: str = ""
    tls_key: str = ""
    tls_self_signed: bool = False
    allowed_origins: list[Origin] = field(default_factory=list)
    jwks_file: str = ""
    jwks_url: Annotated[str, Meta(pattern=r"^(https://\S+)?\Z", max_length=2_000)] = ""
    jwks_ca_file: str = ""
    clock_leeway_s: Annotated[float, Meta(ge=0, le=60)] = 5.0
    issuer: str = "tellerhall"
    audience: str = "tellerhall"
    are_development_keys_allowed: bool = False
    ice_servers: list[dict[str, Any]] = field(default_factory=list)
    turn_urls: Annotated[list[TurnUrl], Meta(max_length=8)] = field(default_factory=list)
    turn_secret: str = ""
    turn_ttl_ms: Annotated[int, Meta(ge=60_000, le=86_400_000)] = 3_600_000
    ice_transport_policy: Literal["all", "relay"] = "all"
    connections_max: Count = 18_000
    upgrades_per_s: Count = 1_500
    messages_per_s: Rate = 20.0
    messages_burst: Count = 60
    connects_per_s: Rate = 5.0
    connects_burst: Count = 100
    staff_requests_per_s: Rate = 500.0
    staff_requests_burst: Count = 2_000
    requests_per_s: Rate = 100.0
    requests_burst: Count = 2_000
    connections_per_address_max: Count = 2_000
    failed_logins_per_s: Rate = 1.0
    failed_logins_burst: Count = 50
    admission_target_ms: Annotated[int, Meta(ge=10, le=15_000)] = 500
    trusted_proxies: list[Network] = field(default_factory=list)
    unlimited_networks: list[Network] = field(default_factory=lambda: ["127.0.0.0/8", "::1/128"])
    ping_ms: Milliseconds = 25_000
    command_timeout_ms: Milliseconds = 15_000
    metrics_host: Host = "127.0.0.1"
    metrics_port: Port | None = None


class MediaSection(_Section, frozen=True):
    workers: Annotated[int, Meta(ge=0, le=256)] = 1
    host: Host = "127.0.0.1"
    advertised_addresses: Annotated[list[str], Meta(min_length=1, max_length=8)] = field(
        default_factory=lambda: ["127.0.0.1"]
    )
    first_port: Port = 0
    rooms_max: Count = 60
    recordings_folder: str = ""


class StoreSection(_Section, frozen=True):
    url: StoreUrl = ""
    """A form that `store_address` knows. After `load` the keys below stand in it as options: whoever has it, has all."""
    replicas_min: Annotated[int, Meta(ge=0, le=REPLICAS_MAX)] = 0
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    accept_weaker_durability: bool = False


class WebhooksSection(_Section, frozen=True):
    allowed_hosts: Annotated[list[HostPattern], Meta(max_length=100)] = field(default_factory=list)
    """Empty: no webhooks."""
    is_plain_http_allowed: bool = False
    ca_file: str = ""
    timeout_ms: Milliseconds = 10_000
    give_up_after_ms: Annotated[int, Meta(ge=60_000, le=604_800_000)] = 86_400_000


class RaySection(_Section, frozen=True):
    address: str = ""


class Configuration(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that was configured, checked. Paths are as written: relative ones belong to the current folder."""

    hall: HallSection = HallSection()
    gateway: GatewaySection = GatewaySection()
    media: MediaSection = MediaSection()
    store: StoreSection = StoreSection()
    webhooks: WebhooksSection = WebhooksSection()
    ray: RaySection = RaySection()
    divisions: Annotated[list[Plan], Meta(min_length=1)]

    @property
    def data_folder(self) -> Path:
        """Where everything that must survive is kept, absolute."""
        return Path(self.hall.data_folder).expanduser().absolute()

    @property
    def recordings_folder(self) -> Path:
        """Where recordings land, absolute."""
        if self.media.recordings_folder:
            return Path(self.media.recordings_folder).expanduser().absolute()
        return self.data_folder / "recordings"


SECTIONS: dict[str, type[_Section]] = {
    "hall": HallSection,
    "gateway": GatewaySection,
    "media": MediaSection,
    "store": StoreSection,
    "webhooks": WebhooksSection,
    "ray": RaySection,
}


class ConfigurationError(Exception):
    """The configuration cannot be used. The text has one line a mistake, fit for an operator."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def load(
    path: Path,
    *,
    environment: Mapping[str, str] | None = None,
    options: Mapping[str, object] | None = None,
    now: datetime | None = None,
) -> Configuration:
    """Read `path`, then `environment`, then `options` (`gateway.port` -> value). Raises ConfigurationError.

    `now`: from which year on time zones are looked up; None: this one.
    """
    table = _read(path)
    sources: dict[str, str] = {}
    lines: list[str] = []
    for name, text in sorted((environment or {}).items()):
        lines += _take_variable(table, sources, name, text)
    for key, value in (options or {}).items():
        _put(table, sources, key, value, "command line")
    problems = list(replace_time_zones(table, now or datetime.now(UTC)))
    problems += find_problems("", table, Configuration)
    if not problems:
        configuration = msgspec.convert(table, Configuration)
        problems = [*_contradictions(configuration), *_store_problems(configuration.store)]
    lines += [_line(path, sources, problem) for problem in problems]
    if lines:
        raise ConfigurationError(lines)
    store = msgspec.structs.replace(configuration.store, url=_store_url(configuration.store))
    return msgspec.structs.replace(configuration, store=store)


def plan_digest(plan: Plan) -> str:
    """Return SHA-256 over the plan with its defaults: equal plans have equal digests, however they were written."""
    values = msgspec.structs.asdict(plan)
    values["queues"] = [msgspec.structs.asdict(queue) for queue in plan.queues]
    values["agents"] = [msgspec.structs.asdict(agent) for agent in plan.agents]
    return hashlib.sha256(msgspec.json.encode(values, order="sorted")).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError([f"{path}: cannot be read: {error.strerror}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError([f"{path}: is not TOML: {error}"]) from error


def _take_variable(table: dict[str, Any], sources: dict[str, str], name: str, text: str) -> Iterator[str]:
    """Put one environment variable in its place; yield a line if it is meant for a section but names no key of it."""
    section, _, key = name.removeprefix(PREFIX).lower().partition("_")
    if not name.startswith(PREFIX) or section not in SECTIONS:
        return
    hints = get_type_hints(SECTIONS[section], include_extras=True)
    if key not in hints:
        known = ", ".join(f"{PREFIX}{section}_{each}".upper() for each in hints)
        yield f"{name}: unknown variable; known are {known}"
        return
    _put(table, sources, f"{section}.{key}", _from_text(text, hints[key]), name)


def _from_text(text: str, hint: Any) -> object:
    """Read a variable's text as its key's type; what does not fit stays a text, for the check to name."""
    plain = hint.__origin__ if hasattr(hint, "__metadata__") else hint
    try:
        if get_origin(plain) is list and not text.lstrip().startswith("["):
            return [item.strip() for item in text.split(",") if item.strip()]
        if get_origin(plain) is list:
            return json.loads(text)
        return msgspec.convert(text, plain, strict=False)
    except (msgspec.ValidationError, ValueError):
        return text


def _put(table: dict[str, Any], sources: dict[str, str], path: str, value: object, source: str) -> None:
    section, _, key = path.partition(".")
    place = table.setdefault(section, {})
    if isinstance(place, dict):  # Otherwise the file is wrong there, and the check says so.
        place[key] = value
        sources[path] = source


def _contradictions(configuration: Configuration) -> Iterator[Problem]:
    """Yield what no type can say: keys that do not go together."""
    gateway = configuration.gateway
    if bool(gateway.tls_cert) != bool(gateway.tls_key):
        yield Problem("gateway.tls_cert", repr(gateway.tls_cert), "tls_cert and tls_key are set both or neither")
    if gateway.tls_cert and gateway.tls_self_signed:
        yield Problem("gateway.tls_self_signed", "True", "allowed is false where tls_cert is set")
    if gateway.jwks_url and gateway.jwks_file:
        yield Problem("gateway.jwks_url", repr(gateway.jwks_url), "jwks_file and jwks_url: one of the two at most")
    yield from _turn_contradictions(gateway)
    for name in ("trusted_proxies", "unlimited_networks"):
        for index, network in enumerate(getattr(gateway, name)):
            if not _is_network(network):
                what = "allowed is an address or a network, as 10.0.0.0/8"
                yield Problem(f"gateway.{name}[{index}]", repr(network), what)
    ca_file = configuration.webhooks.ca_file
    if ca_file and not Path(ca_file).expanduser().is_file():
        yield Problem("webhooks.ca_file", repr(ca_file), "is no file that can be found")
    if ":" in configuration.media.host:
        yield Problem("media.host", repr(configuration.media.host), "allowed is an IPv4 address or a name")
    for index, address in enumerate(configuration.media.advertised_addresses):
        if not _is_ipv4(address):
            yield Problem(f"media.advertised_addresses[{index}]", repr(address), "allowed is an IPv4 address")
        elif not _reaches(configuration.media.host, address):
            what = f"cannot lead to media.host {configuration.media.host!r}; allowed is both loopback or neither"
            yield Problem(f"media.advertised_addresses[{index}]", repr(address), what)
    if configuration.ray.address and not configuration.store.url:
        # The embedded store listens on this machine alone (SAFETY.md 19).
        yield Problem("store.url", "", "missing; a Ray cluster needs a store that all its nodes reach")
    try:
        strategies = load_strategies()
    except StrategyUnusable as error:
        yield Problem("strategies", "", str(error))
        return
    seen: dict[str, int] = {}
    for index, plan in enumerate(configuration.divisions):
        path = f"divisions[{index}]"
        if plan.division_id in seen:
            taken = f"already used by divisions[{seen[plan.division_id]}]"
            yield Problem(join(path, "division_id"), repr(plan.division_id), taken)
        seen.setdefault(plan.division_id, index)
        for key, what in plan.problems(strategies):
            yield Problem(join(path, key), "", what)


def _turn_contradictions(gateway: GatewaySection) -> Iterator[Problem]:
    if bool(gateway.turn_urls) != bool(gateway.turn_secret):
        yield Problem("gateway.turn_urls", repr(gateway.turn_urls), "turn_urls and turn_secret are set both or neither")
    if gateway.ice_transport_policy == "relay" and not gateway.turn_urls and not gateway.ice_servers:
        yield Problem("gateway.ice_transport_policy", "'relay'", "needs turn_urls, or a TURN server in ice_servers")


def _store_url(store: StoreSection) -> str:
    """Files become absolute: parts in other processes stand in other folders."""
    if not store.url:
        return ""
    options = {name: str(Path(path).expanduser().absolute()) for name in TLS_OPTIONS if (path := getattr(store, name))}
    return with_options(store.url, {**options, "replicas_min": str(store.replicas_min or "")})


def _store_problems(store: StoreSection) -> Iterator[Problem]:
    for name in ("replicas_min", *TLS_OPTIONS):
        value = getattr(store, name)
        if value and not store.url:
            what = "needs store.url: the embedded store is one server on this machine"
            yield Problem(f"store.{name}", repr(value), what)
        elif value and name in TLS_OPTIONS and not Path(value).expanduser().is_file():
            yield Problem(f"store.{name}", repr(value), "is no file that can be found")
    try:
        _ = parse_address(_store_url(store)) if store.url else None
    except AddressWrong as error:
        yield Problem("store.url", store.url, str(error))


def _reaches(host: str, address: str) -> bool:
    """Say whether packets to `address` may arrive at a socket bound to `host`; who translates addresses is not asked."""
    if host == "0.0.0.0":
        return True
    is_local = host == "localhost" or (_is_ipv4(host) and ipaddress.IPv4Address(host).is_loopback)
    return is_local == ipaddress.IPv4Address(address).is_loopback


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def _line(path: Path, sources: dict[str, str], problem: Problem) -> str:
    owner = next((key for key in sources if problem.path == key or problem.path.startswith((f"{key}.", f"{key}["))), "")
    seen = "(not shown)" if problem.path in SECRETS and problem.seen else problem.seen
    parts = (sources.get(owner, str(path)), problem.path, f"{seen} is there" if seen else "", problem.what)
    return ": ".join(part for part in parts if part)
