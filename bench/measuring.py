"""What the engine's benchmarks share: the machine's name, the collector as a shard sets it, CPU time of this thread."""

import gc
import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import thread_time_ns

from dispatch import IS_COMPILED

SEED = 20_261_123
START_MS = 1_700_000_000_000
IS_QUICK = os.environ.get("QUICK", "") not in ("", "0")
"""A shorter time at the same scale."""

COLLECTOR = (5_000, 500, 1_000)
"""Thresholds as `actors/parts.py` sets them in a shard; the peers run under the same."""


@contextmanager
def settled() -> Iterator[None]:
    """Hold the collector as a shard does after its start: what is in memory now is not looked at again inside."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def clock_ns() -> int:
    """What reading the clock twice costs by itself, median of many; to be taken off each measured step."""
    spans = []
    for _ in range(2_001):
        started_ns = thread_time_ns()
        spans.append(thread_time_ns() - started_ns)
    return int(median(spans))


def machine() -> str:
    """Name processor, cores, Python, commit and how the engine runs: a figure without them says nothing."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    engine = "compiled" if IS_COMPILED else "plain Python"
    return (
        f"{model} x{os.cpu_count()}, Python {platform.python_version()}, commit {commit.stdout.strip() or 'unknown'}, "
        f"engine {engine}"
    )
