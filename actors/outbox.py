"""Notices on their way to one gateway: kept until the gateway has confirmed them, within a bound.

A gateway polls with the cursor it has; what is up to it is dropped, what is after it is the answer, and where there is
nothing yet the answer waits (one long-poll, not a question every some ms). A gateway that stays away loses its notices at the
bound, is told so for as long as its cursor lies before the loss, and subscribes its clients anew from their own last
numbers: nothing is missed. A new outbox counts as a loss too: nobody knows what went before it.
"""

import asyncio
import contextlib
from collections import deque
from itertools import islice

from actors.items import Notice, Polled

NOTICES_MAX = 100_000
POLL_MAX = 5_000
"""Notices an answer carries at most: 1 MB, 20 ms to decode."""


class Outbox:
    def __init__(self, lost: int) -> None:
        """`lost`: a number higher than any cursor that was ever given out for this gateway; notices are numbered from there."""
        self._notices: deque[Notice] = deque()
        self._lost = self._before = lost
        """Number of the newest notice that was dropped unconfirmed; number before the oldest that is kept."""
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._notices)

    def __repr__(self) -> str:
        return f"<Outbox notices={len(self._notices)} newest={self.newest} lost={self._lost}>"

    @property
    def newest(self) -> int:
        """Number of the newest notice."""
        return self._before + len(self._notices)

    def put(self, notice: Notice) -> None:
        self._notices.append(notice)
        if len(self._notices) > NOTICES_MAX:
            self._notices.popleft()
            self._before += 1
            self._lost = self._before
        self._wake.set()

    def close(self) -> None:
        """Nothing more will come: let a poll that waits return."""
        self._wake.set()

    async def poll(self, cursor: int, wait_s: float) -> Polled:
        """Confirm up to `cursor` and return what follows, waiting up to `wait_s` for it."""
        if not self._lost <= cursor <= self.newest:
            # The renewed subscriptions will bring everything, so nothing is worth sending now.
            return Polled(self.newest, [], is_lost=True)
        while self._before < cursor:
            self._notices.popleft()
            self._before += 1
        if not self._notices:
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), wait_s)
        # Counted from the cursor: another poll may have confirmed more meanwhile.
        notices = list(islice(self._notices, max(0, cursor - self._before), POLL_MAX))
        first = max(cursor, self._before)
        return Polled(first + len(notices), notices, is_lost=cursor < self._lost)
