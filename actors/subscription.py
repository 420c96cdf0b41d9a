"""One client of a feed: its place in its own numbers, and the notices that overtook the answer to its subscription."""

from collections.abc import Callable

import structlog

from actors.items import Notice, Subscribed
from dispatch.events import Connected

EARLY_MAX = 1_000
"""Notices that may wait for the answer to their subscription; beyond it the client subscribes again."""

log = structlog.get_logger()

Deliver = Callable[[list[Notice]], None]
OnReset = Callable[[Subscribed], None]


class Subscription:
    """One client of this gateway."""

    __slots__ = ("connection_id", "deliver", "early", "is_torn", "last_seq", "on_reset", "recipient")

    def __init__(self, recipient: str, connection_id: str, deliver: Deliver, on_reset: OnReset) -> None:
        self.recipient = recipient
        self.connection_id = connection_id
        self.deliver = deliver
        self.on_reset = on_reset
        self.last_seq = 0
        self.early: list[Notice] | None = []
        """Notices that overtook the answer to the subscription; None once that has come."""
        self.is_torn = False
        """Some of them were dropped."""

    def __repr__(self) -> str:
        return f"<Subscription {self.recipient} {self.connection_id} last_seq={self.last_seq}>"

    def take(self, notice: Notice) -> bool:
        """Deliver what is next. False: a number is missing, subscribe again."""
        if notice.seq == 0:
            if getattr(notice.event, "connection_id", "") != self.connection_id:
                self._tell([notice])
            return True
        if self.early is not None:
            if len(self.early) < EARLY_MAX:
                self.early.append(notice)
            else:
                self.is_torn = True
            return True
        if notice.seq <= self.last_seq:
            return True
        if notice.seq != self.last_seq + 1:
            return False
        self.last_seq = notice.seq
        self._tell([notice])
        return True

    def settle(self, seq: int) -> bool:
        """The answer has come: what overtook it is delivered after it. False: a number is missing, subscribe again."""
        self.last_seq = seq
        early, self.early = self.early or [], None
        is_whole, self.is_torn = not self.is_torn, False
        for notice in early:
            is_whole = self.take(notice) and is_whole
        return is_whole

    def renewed(self, subscribed: Subscribed) -> bool:
        """Take the answer to a renewal. False: a number is missing, subscribe again."""
        if subscribed.kind == "reset":
            try:
                self.on_reset(subscribed)
            except Exception:
                log.exception("client.reset_failed", recipient=self.recipient)
        elif subscribed.missed:
            self._tell(subscribed.missed)
        return self.settle(subscribed.seq)

    def end(self, by_connection_id: str) -> None:
        """Say that a newer connection has taken this one's place."""
        if by_connection_id != self.connection_id:
            self._tell([Notice(self.recipient, 0, Connected(0, self.recipient, "", by_connection_id))])

    def _tell(self, notices: list[Notice]) -> None:
        """A client that fails must not silence the others."""
        try:
            self.deliver(notices)
        except Exception:
            log.exception("client.deliver_failed", recipient=self.recipient)
