"""Time and chance as the product reads them, taken from the simulation while it runs and given back afterwards.

`time`, `os.urandom` (so `uuid4` and `secrets`), `random`, structlog's output and the garbage collector: a run must depend on
its seed alone. Each process reads its own wall clock, which may be wrong; the monotonic clock is one for all.
"""

import gc
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import structlog

from tests.simulation.clockwork import PROCESS, VirtualLoop

WALL_NS = 1_798_761_570_000_000_000
"""The wall clock at a run's start: 2026-12-31 23:59:30 UTC, so that every run passes midnight and a year."""

Log = Callable[[str, str, dict[str, Any]], None]


@contextmanager
def ruled(loop: VirtualLoop, seed: int, log: Log) -> Iterator[None]:
    """Rule over time and chance. `log(level, event, fields)` hears what the product logs."""
    chance = random.Random(f"product {seed}")
    before = random.getstate()
    random.seed(f"module {seed}")
    logging = structlog.get_config()
    structlog.configure(
        processors=[_teller(log)],
        wrapper_class=structlog.make_filtering_bound_logger(0),
        logger_factory=structlog.ReturnLoggerFactory(),
        cache_logger_on_first_use=False,
    )
    was_collecting = gc.isenabled()
    gc.disable()
    try:
        with ExitStack() as patches:
            for target, name, new in _clocks(loop):
                patches.enter_context(patch.object(target, name, new))
            patches.enter_context(patch.object(os, "urandom", chance.randbytes))
            patches.enter_context(patch.object(random, "_urandom", chance.randbytes))
            for module in _loggers():
                # One that was used before this run may hold on to what was configured then.
                patches.enter_context(patch.object(module, "log", structlog.get_logger()))
            yield
    finally:
        structlog.configure(**logging)
        random.setstate(before)
        if was_collecting:
            gc.enable()


def _clocks(loop: VirtualLoop) -> list[tuple[Any, str, Callable[[], Any]]]:
    def wall_ns() -> int:
        process = PROCESS.get()
        return WALL_NS + loop.now_ns + (process.wall_offset_ns if process is not None else 0)

    return [
        (time, "time_ns", wall_ns),
        (time, "time", lambda: wall_ns() / 1e9),
        (time, "monotonic_ns", lambda: loop.now_ns),
        (time, "monotonic", lambda: loop.now_ns / 1e9),
    ]


def _loggers() -> list[Any]:
    names = sorted(name for name in sys.modules if name.startswith(("actors.", "media.", "tests.simulation.")))
    return [sys.modules[name] for name in names if hasattr(sys.modules[name], "log")]


def _teller(log: Log) -> Callable[[Any, str, MutableMapping[str, Any]], str]:
    def tell(logger: Any, level: str, fields: MutableMapping[str, Any]) -> str:
        event = str(fields.pop("event", ""))
        log(level, event, dict(fields))
        return event

    return tell
