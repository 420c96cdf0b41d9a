"""The receiving end of mailboxes: each batch is taken once, and a repeat gets the first answer.

Requests keep no order, even from one caller, and an answer may get lost: a batch is known by (sender, number). Only the newest
batch of a sender can be repeated, since a sender has one in flight; an older one is a straggler that nobody waits for.

Bounds: `SENDERS_MAX` senders, `ANSWERS_BYTES_MAX` of their answers. What was forgotten is carried out again when it is
repeated; that is harmless, since what must not happen twice carries its own id (SAFETY.md 5, 6).
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable

SENDERS_MAX = 4_096
"""Incarnations of senders remembered; a hall has some hundreds alive."""
ANSWERS_BYTES_MAX = 64 * 1024 * 1024
"""A full batch of answers is 100 KiB; one with the views of all agents several MB."""


class Straggler(Exception):
    """A batch that came out of order: its sender has gone on."""


class Taken:
    """A sender's newest batch."""

    __slots__ = ("answer", "bytes_count", "number")

    def __init__(self, number: int, answer: "asyncio.Future[bytes]") -> None:
        self.number = number
        self.answer = answer
        self.bytes_count = 0
        """Of the answer, once it is there."""


class Inbox:
    """Remembers the newest batch of each sender, and its answer."""

    def __init__(self) -> None:
        self._newest: OrderedDict[str, Taken] = OrderedDict()
        """The sender who was silent longest first."""
        self._bytes_count = 0

    def __repr__(self) -> str:
        return f"<Inbox senders={len(self._newest)} bytes={self._bytes_count}>"

    async def take(self, sender: str, number: int, begin: Callable[[], "asyncio.Future[bytes]"]) -> bytes:
        """Return the batch's answer; `begin` is called only when the batch is new. Raises Straggler."""
        known = self._newest.get(sender)
        if known is not None and number < known.number:
            raise Straggler(f"batch {number} of {sender} after {known.number}")
        if known is not None and number == known.number:
            return await asyncio.shield(known.answer)
        taken = Taken(number, begin())
        self._forget(sender)
        self._newest[sender] = taken
        taken.answer.add_done_callback(lambda answer: self._weigh(sender, taken))
        if len(self._newest) > SENDERS_MAX:
            self._forget(next(iter(self._newest)))
        return await asyncio.shield(taken.answer)

    def _weigh(self, sender: str, taken: Taken) -> None:
        answer = taken.answer
        if self._newest.get(sender) is not taken or answer.cancelled() or answer.exception() is not None:
            return
        taken.bytes_count = len(answer.result())
        self._bytes_count += taken.bytes_count
        while self._bytes_count > ANSWERS_BYTES_MAX:
            self._forget(next(one for one, kept in self._newest.items() if kept.bytes_count))

    def _forget(self, sender: str) -> None:
        taken = self._newest.pop(sender, None)
        if taken is not None:
            self._bytes_count -= taken.bytes_count
