"""The receiving end of mailboxes: each batch is taken once, and a repeat gets the first answer.

Ray keeps no order, even from one caller, and an answer may get lost: a batch is known by (sender, number). Only the newest
batch of a sender can be repeated, since a sender has one in flight; an older one is a straggler that nobody waits for.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable

SENDERS_MAX = 4_096
"""Incarnations of senders remembered; a hall has some hundreds alive."""


class Straggler(Exception):
    """A batch that came out of order: its sender has gone on."""


class Inbox:
    """Remembers the newest batch of each sender, and its answer."""

    def __init__(self) -> None:
        self._newest: OrderedDict[str, tuple[int, asyncio.Future[bytes]]] = OrderedDict()

    async def take(self, sender: str, number: int, begin: Callable[[], "asyncio.Future[bytes]"]) -> bytes:
        """Return the batch's answer; `begin` is called only when the batch is new. Raises Straggler."""
        known = self._newest.get(sender)
        if known is not None and number < known[0]:
            raise Straggler(f"batch {number} of {sender} after {known[0]}")
        if known is not None and number == known[0]:
            return await asyncio.shield(known[1])
        answer = begin()
        self._newest[sender] = (number, answer)
        self._newest.move_to_end(sender)
        if len(self._newest) > SENDERS_MAX:
            self._newest.popitem(last=False)
        return await asyncio.shield(answer)
