"""What waits for a shard's turn, in the order of arrival, and the batches that wait for their answers.

Rules: an item that was never stepped may be refused, by name; the shell's own commands never are, since nobody repeats
them. A batch is answered when its last item is, in the order of its items. When the shard ends, every unanswered batch
is told so, and its sender turns to the successor.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any

from actors.clock import SteadyClock
from actors.items import NOT_OWNER, Item, Submit, begins_call, encode, encode_array, encode_refusal
from dispatch.commands import Command

WAITING_MAX = 50_000
"""Items that may wait for a turn; a batch beyond is refused as `overloaded`."""
NEWCOMERS_MAX = 5_000
"""A full turn waits already, 1 s at a shard's limit: what would begin a call is refused as `overloaded`, the rest is not."""
UNSTEPPED_S = 10.0
"""How long an item may wait for a store that does not answer before it is refused as `store_unavailable`."""


class Work:
    """One item on its way through a turn."""

    __slots__ = ("at_ms", "body", "command", "done", "item", "strikes")

    def __init__(self, item: Item, at_ms: int, done: Callable[[], None] | None) -> None:
        """`done`: called once it is answered; None for the shell's own commands."""
        self.item = item
        self.at_ms = at_ms
        self.done = done
        self.command: Command | None = None
        """What the engine is to do for the item; worked out once, at its turn."""
        self.body = b""
        self.strikes = 0

    def answer(self, value: Any) -> None:
        """Raises what encoding raises; then nothing has been answered."""
        self._answer(encode(value))

    def refuse(self, reason: str) -> None:
        self._answer(encode_refusal(reason))

    def disown(self) -> None:
        """It was not carried out here: its division lives elsewhere."""
        self._answer(NOT_OWNER)

    def _answer(self, body: bytes) -> None:
        self.body = body
        if self.done is not None:
            self.done()


class Intake:
    """Belongs to one shard."""

    def __init__(self, clock: SteadyClock) -> None:
        self._clock = clock
        self._waiting: deque[Work] = deque()
        self._wake = asyncio.Event()
        self._open: set[asyncio.Future[bytes]] = set()
        """Batches without an answer."""

    def __len__(self) -> int:
        return len(self._waiting)

    def __repr__(self) -> str:
        return f"<Intake waiting={len(self._waiting)} batches={len(self._open)}>"

    def begin(self, items: list[Item]) -> "asyncio.Future[bytes]":
        """Let a batch wait for its turn; returns its answers to come."""
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        at_ms = self._clock.now_ms()
        missing = len(items)

        def done() -> None:
            nonlocal missing
            missing -= 1
            if not missing and not answer.done():
                answer.set_result(encode_array([work.body for work in works]))

        works = [Work(item, at_ms, done) for item in items]
        if not works:
            answer.set_result(encode_array([]))
        elif len(self._waiting) + len(works) > WAITING_MAX:
            refuse(works, "overloaded")
        else:
            self._open.add(answer)
            answer.add_done_callback(self._open.discard)
            self._admit(works)
        return answer

    def _admit(self, works: list[Work]) -> None:
        """Let them wait for a turn; where one is full of waiting already, none that would begin a call."""
        newcomers = [work for work in works if begins_call(work.item)] if len(self._waiting) >= NEWCOMERS_MAX else []
        if newcomers:
            works = [work for work in works if not begins_call(work.item)]
        self._waiting.extend(works)
        self._wake.set()
        refuse(newcomers, "overloaded")

    def submit(self, division_id: str, command: Command) -> None:
        """Put a command of the shell's own in; nobody waits for its answer."""
        self._waiting.append(Work(Submit(division_id, command), self._clock.now_ms(), None))
        self._wake.set()

    async def wait(self, wait_s: float | None) -> None:
        """Return when something waits, or after `wait_s`. Always lets others run first."""
        self._wake.clear()
        if self._waiting or (wait_s is not None and wait_s <= 0):
            await asyncio.sleep(0)
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), wait_s)

    def wake(self) -> None:
        """End a `wait`."""
        self._wake.set()

    def take(self, count_max: int) -> list[Work]:
        return [self._waiting.popleft() for _ in range(min(count_max, len(self._waiting)))]

    def reached_ms(self) -> int:
        """Everything that arrived before this instant has been taken."""
        return self._waiting[0].at_ms if self._waiting else self._clock.now_ms()

    def refuse_old(self) -> None:
        """The store does not answer: refuse what has waited too long for it."""
        oldest_ms = self._clock.now_ms() - int(UNSTEPPED_S * 1_000)
        own = []
        while self._waiting and self._waiting[0].at_ms < oldest_ms:
            work = self._waiting.popleft()
            if work.done is None:
                own.append(work)
            else:
                work.refuse("store_unavailable")
        self._waiting.extendleft(reversed(own))

    def disown(self, division_id: str) -> None:
        """The division has gone: send what waits for it after it. The shell's own commands end: its next owner makes them."""
        waiting, self._waiting = self._waiting, deque()
        for work in waiting:
            if work.item.division_id == division_id:
                work.disown()
            else:
                self._waiting.append(work)

    def end(self, error: Exception) -> None:
        """Nothing is stepped any more: every batch without an answer gets `error`, so that its sender turns elsewhere."""
        self._waiting.clear()
        for answer in list(self._open):
            if not answer.done():
                answer.set_exception(error)
                answer.exception()  # Its sender may be gone; asyncio would log that as an oversight.


def refuse(works: list[Work], reason: str) -> None:
    """Refuse what was never stepped."""
    for work in works:
        work.refuse(reason)
