"""Waiting, in bounded time, for what happens outside of a test's own control."""

import asyncio
import time
from collections.abc import Callable

PATIENCE_S = 20.0
"""A loaded machine needs a second for what takes 20 ms; a hang is a hang."""


async def until(is_so: Callable[[], bool]) -> None:
    """Return as soon as `is_so` says yes; fail after PATIENCE_S."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, "what the test waits for did not happen"
        await asyncio.sleep(0.01)
