"""Notices on their way to one gateway: kept until the gateway has confirmed them, within a bound.

A gateway polls with the cursor it has; what is up to it is dropped, what is after it is the answer, and where there is
nothing yet the answer waits (one long-poll costs 0.7 ms, RAY.md). A gateway that stays away loses its notices at the
bound, is told so at its next poll and subscribes its clients anew from their own last numbers: nothing is missed.
"""

import asyncio
from collections import deque
from itertools import islice

from actors.items import Notice, Polled

NOTICES_MAX = 100_000
POLL_MAX = 5_000
"""Notices an answer carries at most: 1 MB, 20 ms to decode."""


class Outbox:
    def __init__(self) -> None:
        self._notices: deque[Notice] = deque()
        self._first = 1
        """Number of the oldest notice kept."""
        self._wake = asyncio.Event()
        self._is_lost = False

    def __len__(self) -> int:
        return len(self._notices)

    def put(self, notice: Notice) -> None:
        self._notices.append(notice)
        if len(self._notices) > NOTICES_MAX:
            self._notices.popleft()
            self._first += 1
            self._is_lost = True
        self._wake.set()

    async def poll(self, cursor: int, wait_s: float) -> Polled:
        """Confirm up to `cursor` and return what follows, waiting up to `wait_s` for it."""
        while self._notices and self._first <= cursor:
            self._notices.popleft()
            self._first += 1
        if not self._notices:
            self._wake.clear()
            try:
                await asyncio.wait_for(self._wake.wait(), wait_s)
            except TimeoutError:
                return Polled(max(cursor, self._first - 1), [])
        is_lost, self._is_lost = self._is_lost, False
        notices = list(islice(self._notices, POLL_MAX))
        return Polled(self._first + len(notices) - 1, notices, is_lost)
