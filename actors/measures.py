"""What a part measures of itself: histograms and counters, as plain values that travel in its answer to a status.

Rules: observing costs O(log buckets) and never waits; names and buckets are fixed here, reasons are bounded, nothing is kept by
call, agent or client. Durations in seconds, as Prometheus wants them.

Not here: the exposition (`gateway/hall_metrics`), what the gateway measures of its clients (`gateway/metrics`).
"""

from bisect import bisect_left
from typing import Any

TURN_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""From a turn without a write to an outage of the store; a turn is asked to end within 50 ms."""
REASONS_MAX = 64
"""The engine has some thirty reasons; beyond the bound they are counted as `other`."""


class Histogram:
    """Counts by bucket. `bounds` are upper bounds, rising; what is above the last one counts in one bucket more."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def values(self) -> dict[str, Any]:
        """Counts a bucket (not added up), one more than bounds."""
        return {"bounds": list(self.bounds), "counts": list(self.counts), "sum": self.sum}


class ShardMeasures:
    """Of one shard, over all its divisions, since it started."""

    def __init__(self) -> None:
        self.turn_s = Histogram(TURN_BOUNDS_S)
        self.append_s = Histogram(TURN_BOUNDS_S)
        self.refused: dict[str, int] = {}
        """Reason -> commands that the engine, or the shard before it, refused."""
        self.store_retries_count = 0
        """Appends that had to be repeated, since the store did not do them or did not say so."""

    def refuse(self, reason: str) -> None:
        name = reason if reason in self.refused or len(self.refused) < REASONS_MAX else "other"
        self.refused[name] = self.refused.get(name, 0) + 1

    def values(self) -> dict[str, Any]:
        return {
            "turn_s": self.turn_s.values(),
            "append_s": self.append_s.values(),
            "refused": dict(self.refused),
            "store_retries_count": self.store_retries_count,
        }
