"""What the gateway measures, in Prometheus' text form, in a registry of its own.

Rules: every label has few and known values (role, type, reason, code, route, configured queue); nothing that a client
chooses becomes a label. Observing costs O(1) and never waits.

Not here: what shards, follower and media workers measure (`hall_metrics`); the queues' figures come with `hall.queues()` and
are shown as they were at the last reading.
"""

import math

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

from dispatch.views import QueueView
from gateway.client_messages import ALL_CLIENT_TYPES
from gateway.hall_metrics import HallMetrics
from gateway.refusals import KNOWN_REASONS

COMMAND_BUCKETS_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)
STATS: dict[str, tuple[str, float, tuple[float, ...]]] = {
    "round_trip_ms": ("round_trip_seconds", 1_000, (0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.4, 0.8, 1.6)),
    "jitter_ms": ("jitter_seconds", 1_000, (0.001, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25)),
    "loss_ratio": ("loss_ratio", 1, (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5)),
    "frames_per_s": ("frames_per_second", 1, (1, 5, 10, 15, 20, 25, 30)),
    "setup_ms": ("setup_seconds", 1_000, (0.1, 0.25, 0.5, 1, 2, 4, 8, 15)),
}
"""What clients report of their media and we keep, as (metric, how many of it are one of the metric's unit, buckets).

Other names are taken and dropped. Prometheus' units are base units: seconds."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """The measures of one gateway process."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self.registry = registry
        self.hall = HallMetrics()
        registry.register(self.hall)
        self.connections = Gauge("tellerhall_gateway_connections", "Open WebSockets", ["role"], registry=registry)
        self._received = Counter("tellerhall_gateway_messages_received", "Client messages", ["type"], registry=registry)
        self.sent = Counter("tellerhall_gateway_messages_sent", "Messages to clients", registry=registry)
        self._refusals = Counter("tellerhall_gateway_refusals", "Refusals to clients", ["reason"], registry=registry)
        self._closes = Counter("tellerhall_gateway_closes", "Connections closed by us", ["code"], registry=registry)
        self._cut_off = Counter(
            "tellerhall_gateway_cut_off", "Connections cut off before a session, by bound", ["bound"], registry=registry
        )
        self.command_s = Histogram(
            "tellerhall_gateway_command_seconds",
            "From a client's message to its answer",
            registry=registry,
            buckets=COMMAND_BUCKETS_S,
        )
        self._requests = Counter(
            "tellerhall_gateway_http_requests", "HTTP requests", ["route", "method", "status"], registry=registry
        )
        self.loop_lag_s = Gauge("tellerhall_gateway_loop_lag_seconds", "Lateness of the last round", registry=registry)
        self._waiting = Gauge(
            "tellerhall_queue_waiting_calls", "Calls in the waiting line", ["division", "queue"], registry=registry
        )
        self._longest_wait = Gauge(
            "tellerhall_queue_longest_wait_seconds", "Of the waiting calls", ["division", "queue"], registry=registry
        )
        self._calls = Gauge(
            "tellerhall_queue_calls", "Live calls by state", ["division", "queue", "state"], registry=registry
        )
        self._agents = Gauge(
            "tellerhall_queue_agents", "Qualified agents by state", ["division", "queue", "state"], registry=registry
        )
        self._stats = {
            name: Histogram(f"tellerhall_rtc_{metric}", "As clients report it", registry=registry, buckets=buckets)
            for name, (metric, _, buckets) in STATS.items()
        }

    def count_received(self, type_name: str) -> None:
        self._received.labels(type_name if type_name in ALL_CLIENT_TYPES else "unknown").inc()

    def count_refusal(self, reason: str) -> None:
        self._refusals.labels(reason if reason in KNOWN_REASONS else "other").inc()

    def count_close(self, code: int) -> None:
        self._closes.labels(str(code)).inc()

    def count_cut_off(self, bound: str) -> None:
        """Count a connection that the door ended; `bound` is one of the door's own words."""
        self._cut_off.labels(bound).inc()

    def count_request(self, route: str, method: str, status: int) -> None:
        # A client may send any word as a method.
        self._requests.labels(route, method if method in METHODS else "other", str(status)).inc()

    def observe_stats(self, stats: dict[str, float]) -> None:
        """Take what a client reports of its media; unknown names and values that are no number are dropped."""
        for name, value in stats.items():
            if name in self._stats and math.isfinite(value):
                self._stats[name].observe(value / STATS[name][1])

    def show_queues(self, division_id: str, queues: list[QueueView]) -> None:
        """Take the present state of a division's queues."""
        for queue in queues:
            labels = (division_id, queue.queue_id)
            self._waiting.labels(*labels).set(queue.waiting_count)
            self._longest_wait.labels(*labels).set(queue.longest_wait_ms / 1000)
            for state, count in queue.live_calls.items():
                self._calls.labels(*labels, state).set(count)
            for state, count in queue.agents.items():
                self._agents.labels(*labels, state).set(count)

    def text(self) -> bytes:
        """Return the exposition, version 0.0.4."""
        return generate_latest(self.registry)
