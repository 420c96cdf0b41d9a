"""What goes wrong in a run, and how badly: drawn from the seed (swarm testing: a run has some kinds of faults, none all).

`calm` ends all of it: afterwards everything must come to its end in bounded time.
"""

import random
from typing import Any

from msgspec import Struct, field, structs

DISASTERS = (
    "kill_shard",
    "kill_at_a_step",
    "freeze_shard",
    "usurp_shard",
    "kill_gateway",
    "freeze_gateway",
    "kill_media",
    "freeze_media",
    "kill_follower",
    "freeze_follower",
    "stall_store",
    "jump_clock",
    "cut_sockets",
    "cut_wires",
    "move",
)
"""Each strikes by itself, about every `every_s`; `disasters` does what they say."""


class Weather(Struct):
    """Ratios are of one request; durations in seconds of virtual time."""

    delay_s: float = 0.002
    spike_ratio: float = 0.0
    """Messages that take `spike_s` at most instead: what was sent later arrives earlier."""
    spike_s: float = 0.0
    loss_ratio: float = 0.0
    """Requests, and as often answers, that never arrive: the caller sees the connection break."""
    repeat_ratio: float = 0.0
    store_delay_s: float = 0.001
    store_spike_ratio: float = 0.0
    store_loss_ratio: float = 0.0
    """Requests to the store, and as often its answers, that never arrive: nobody knows whether it was done."""
    store_refusal_ratio: float = 0.0
    late_end_ratio: float = 0.0
    """Of what the supervisor ends, how much goes on for a while: its successor lives beside it."""
    disasters: dict[str, float] = field(default_factory=dict)
    """Kind -> about every so many seconds."""

    def calm(self) -> None:
        """Faults stop."""
        for name, value in structs.asdict(Weather()).items():
            setattr(self, name, value)


def draw(chance: random.Random) -> Weather:
    """Draw a run's weather: every kind of fault is on or off, and mild or strong."""

    def maybe(low: float, high: float, likely: float = 0.5) -> Any:
        return chance.uniform(low, high) if chance.random() < likely else 0.0

    kinds = [one for one in DISASTERS if chance.random() < 0.4]
    return Weather(
        delay_s=chance.choice((0.0005, 0.002, 0.02)),
        spike_ratio=maybe(0.005, 0.05),
        spike_s=chance.choice((0.5, 3.0, 8.0)),
        loss_ratio=maybe(0.002, 0.03),
        repeat_ratio=maybe(0.01, 0.2),
        store_delay_s=chance.choice((0.0005, 0.002, 0.05)),
        store_spike_ratio=maybe(0.002, 0.02),
        store_loss_ratio=maybe(0.002, 0.04),
        store_refusal_ratio=maybe(0.002, 0.04),
        late_end_ratio=chance.choice((0.0, 0.3, 0.8)),
        disasters={kind: chance.choice((4.0, 10.0, 25.0)) for kind in kinds},
    )
