"""The hall in Prometheus' words: made from the last status when somebody scrapes, kept nowhere in between.

Rules: labels are divisions, states, slots, machines and names from lists, never an entity; what is gone vanishes from the next
scrape. Counters of a shard begin anew with each incarnation, which is what Prometheus expects of a restart. Every name here
stands in docs/operating.md with its meaning, which a test compares.

Not here: what the gateway measures of its own clients (`metrics`), how a status is gathered (`status`).
"""

from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from dispatch.lifecycle import LIVE_STATES
from gateway.alerts import NAMES

MEDIA_GAUGES = {
    "rooms": ("rooms", "Rooms that are open"),
    "parties": ("parties", "Parties whose media arrive"),
    "capture_backlog_bytes": ("capture_backlog_bytes", "Captured bytes that wait for the disk"),
    "recordings_to_seal": ("recordings_to_seal", "Recordings that wait for their manifest"),
}
MEDIA_COUNTERS = {
    "packets_in": "Packets received",
    "packets_out": "Packets sent",
    "bytes_in": "Bytes received",
    "bytes_out": "Bytes sent",
    "drops": "Packets dropped",
}


class HallMetrics:
    """A collector of `prometheus_client`; `status` is what it shows."""

    def __init__(self) -> None:
        self.status: dict[str, Any] = {}

    def describe(self) -> list[Metric]:
        """Nothing is known before the first status."""
        return []

    def collect(self) -> Iterator[Metric]:
        if not self.status:
            return
        yield from _divisions(self.status)
        yield from _shards(self.status["shards"])
        yield from _media(self.status["media"])
        yield from _gateways(self.status["gateways"])
        yield from _hall(self.status)


def _gauge(name: str, text: str, labels: list[str], values: Iterable[tuple[list[str], float | None]]) -> Metric:
    family = GaugeMetricFamily(f"tellerhall_{name}", text, labels=labels)
    for label_values, value in values:
        if value is not None:
            family.add_metric(label_values, value)
    return family


def _counter(name: str, text: str, labels: list[str], values: Iterable[tuple[list[str], float]]) -> Metric:
    family = CounterMetricFamily(f"tellerhall_{name}", text, labels=labels)
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family


def _divisions(status: dict[str, Any]) -> Iterator[Metric]:
    every: dict[str, dict[str, Any]] = status["divisions"]
    served = {one: facts for one, facts in every.items() if "unavailable" not in facts}
    live = [
        ([one, s], facts[f"live_{s}"]) for one, facts in served.items() for s in LIVE_STATES if f"live_{s}" in facts
    ]
    yield _gauge("calls_live", "Calls that have not ended, by state", ["division", "state"], live)
    up = [([one], float(one in served and not facts.get("stopped_reason"))) for one, facts in every.items()]
    yield _gauge("division_up", "1: its shard answers and it decides", ["division"], up)
    for key, name, text in (
        ("admitted_count", "calls_admitted", "Calls that were admitted, ever"),
        ("batch", "journal_batches", "Batches of the division's journal, ever"),
    ):
        yield _counter(name, text, ["division"], [([one], facts[key]) for one, facts in served.items() if key in facts])
    for key, name, text in (
        ("calls_in_memory", "calls_in_memory", "Calls the engine remembers, ended ones too"),
        ("epoch", "division_epoch", "The owner's epoch; it grows with each failover or move"),
        ("lag_batches", "follower_lag_batches", "Batches that are not archived yet"),
        ("unsaved_batches", "snapshot_lag_batches", "Batches since the snapshot: what a recovery replays"),
        ("snapshot_age_s", "snapshot_age_seconds", "Since the last snapshot"),
        ("journal_batches", "journal_kept_batches", "Batches in the journal that have not been trimmed"),
        ("journal_bytes", "journal_kept_bytes", "Their bytes"),
    ):
        yield _gauge(name, text, ["division"], [([one], facts.get(key)) for one, facts in served.items()])
    letters = [([one], count) for one, count in status["gateway"]["waiting_letters"].items()]
    yield _gauge("mailbox_waiting_letters", "Letters in this gateway that wait for a shard", ["division"], letters)


def _shards(shards: dict[str, dict[str, Any]]) -> Iterator[Metric]:
    measured = {one["slot"]: one for one in shards.values() if "measures" in one}
    for key, name, text in (
        ("turn_s", "turn_seconds", "A shard's turn: step, append, wait until durable, release"),
        ("append_s", "append_seconds", "Until the store has confirmed a turn's entries"),
    ):
        family = HistogramMetricFamily(f"tellerhall_{name}", text, labels=["shard"])
        for slot, one in measured.items():
            histogram = one["measures"][key]
            family.add_metric([slot], _buckets(histogram), sum_value=histogram["sum"])
        yield family
    yield _gauge(
        "shard_waiting_items", "Items that wait for a turn", ["shard"],
        [([slot], one["waiting_items"]) for slot, one in measured.items()],
    )  # fmt: skip
    refused = [([slot, why], n) for slot, one in measured.items() for why, n in one["measures"]["refused"].items()]
    yield _counter("shard_refused", "Commands that were refused, by reason", ["shard", "reason"], refused)
    for key, name, text in (("turns_count", "shard_turns", "Turns"), ("items_count", "shard_items", "Items stepped")):
        yield _counter(name, text, ["shard"], [([slot], one[key]) for slot, one in measured.items()])
    retries = [([slot], one["measures"]["store_retries_count"]) for slot, one in measured.items()]
    yield _counter("shard_store_retries", "Requests to the store that had to be repeated", ["shard"], retries)


def _buckets(histogram: dict[str, Any]) -> list[tuple[str, float]]:
    """Prometheus adds buckets up."""
    found, total = [], 0
    for bound, count in zip([*map(str, histogram["bounds"]), "+Inf"], histogram["counts"], strict=True):
        total += count
        found.append((bound, float(total)))
    return found


def _media(media: dict[str, dict[str, Any]]) -> Iterator[Metric]:
    workers = {slot: one["measures"] for slot, one in media.items() if one}
    for key, (name, text) in MEDIA_GAUGES.items():
        yield _gauge(f"media_{name}", text, ["worker"], [([slot], one[key]) for slot, one in workers.items()])
    for key, text in MEDIA_COUNTERS.items():
        yield _counter(f"media_{key}", text, ["worker"], [([slot], one[key]) for slot, one in workers.items()])
    lags = [([slot], one["loop_lag_ms_p99"] / 1000) for slot, one in workers.items()]
    yield _gauge(
        "media_loop_lag_seconds", "Lateness of the worker's beat, 99th percentile of a minute", ["worker"], lags
    )


def _gateways(gateways: dict[str, dict[str, Any]]) -> Iterator[Metric]:
    answered = {slot: one for slot, one in gateways.items() if one}
    held = [([slot, role], n) for slot, one in answered.items() for role, n in one["connections"].items()]
    yield _gauge("connections", "Open WebSockets of each gateway", ["gateway", "role"], held)
    room = [([slot], one["connections_max"]) for slot, one in answered.items()]
    yield _gauge("connections_max", "How many each gateway takes", ["gateway"], room)


def _hall(status: dict[str, Any]) -> Iterator[Metric]:
    yield _gauge("store_up", "1: the store answers", [], [([], float(not status["store"]))])
    places = [([disk["node"], "+".join(disk["names"])], disk) for disk in status["disks"]]
    for key, name, text in (
        ("free_bytes", "disk_free_bytes", "Free where data lie; -1: unknown"),
        ("floor_bytes", "disk_floor_bytes", "Below it no new calls are taken"),
    ):
        yield _gauge(name, text, ["node", "disk"], [(labels, disk[key]) for labels, disk in places])
    restarts = [([slot], part["restarts_count"]) for slot, part in status["parts"].items()]
    yield _counter("part_restarts", "How often a part had to be started anew", ["slot"], restarts)
    builds = [([build], float(len(parts))) for build, parts in status["builds"].items()]
    yield _gauge("build_parts", "Parts that run this build", ["build"], builds)
    names = [one["name"] for one in status["alerts"]]
    yield _gauge("alerts", "Alerts of the status, by name", ["name"], [([one], names.count(one)) for one in NAMES])
    yield _gauge("healthy", "1: no alert is an error", [], [([], float(status["is_healthy"]))])
