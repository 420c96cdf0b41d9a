"""What one live call keeps in memory: its record, its customer, answers, line and timers, as `tracemalloc` counts them.

Two figures: the customer connected through a gateway and the command with an id, as in a hall; and neither, as in a
simulator. Counted is all that the step leaves behind, with the strings that came in with the command.
"""

import gc
import tracemalloc
from random import Random

from bench.engine_hall import QUEUES_COUNT, plan
from bench.measuring import SEED, START_MS
from dispatch import commands as cm
from dispatch.engine import Engine

CALLS_COUNT = 10_000


def bytes_per_live_call(*, is_connected: bool) -> int:
    """Bytes that one waiting call keeps."""
    engine = Engine("bench")
    engine.step(cm.ApplyPlan(plan(1_000, Random(SEED)), "bench"), START_MS)
    gc.collect()
    tracemalloc.start()
    for number in range(CALLS_COUNT):
        who = f"customer:z{number}"
        now_ms = START_MS + number
        if is_connected:
            engine.step(cm.Connect(who, "g1", f"k{number}"), now_ms)
        engine.step(
            cm.RequestCall(
                f"c{number}",
                f"z{number}",
                f"q{number % QUEUES_COUNT}",
                principal=who if is_connected else "system:shell",
                id="m1" if is_connected else "",
            ),
            now_ms,
        )
    gc.collect()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(engine.state.calls) == CALLS_COUNT, engine
    return used // CALLS_COUNT


def measure() -> dict[str, int]:
    """Print (c); return `bytes_per_live_call`, of a connected customer."""
    connected, alone = bytes_per_live_call(is_connected=True), bytes_per_live_call(is_connected=False)
    print(f"(c) {connected:,} bytes a waiting call, customer connected, command with an id; {alone:,} without both")
    return {"bytes_per_live_call": connected}
