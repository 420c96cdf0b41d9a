"""Python's cycle collector around what stays in memory for long: a replayed engine.

An engine and its events make no cycles; reference counts free them. The collector would walk all of it again and again
for nothing: with it, restoring 50,000 live calls takes 0.9 s instead of 0.35, waking them 0.5 instead of 0.15, and a
collection of 300,000 replayed calls holds a turn up for 34 ms (`make bench-engine`).
"""

import contextlib
import gc
from collections.abc import Iterator

THRESHOLDS = (5_000, 500, 1_000)
"""The young are looked at after as many new objects as a hundred steps make, and seldom more than those. Each is looked at
once, so a tenth of them at a time costs the same and holds a turn up for a tenth as long (M: 20 to 58 ms with 50,000)."""


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Make what stays for long inside: it is not looked at while it is made, and never again afterwards.

    A cycle that was made inside and dropped again stays in memory.
    """
    gc.collect(0)
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(*THRESHOLDS)
        gc.enable()
