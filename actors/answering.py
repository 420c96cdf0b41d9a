"""Answers to the items of a shard's turn, given once what they tell is durable or proved to be the present.

Not here: when that is (`shard`), what reads tell (`reading`), what a status says (`reporting`).
"""

from collections.abc import Callable
from typing import Any

import structlog

from actors.audience import Audience
from actors.clock import SteadyClock
from actors.hosting import HostedDivision
from actors.intake import Work
from actors.items import LetGo, ReadStatus, Submit, Subscribe, TakeDivision, Unsubscribe, WorkerHello
from actors.measures import ShardMeasures
from actors.reading import disowned_rooms, read
from actors.spans import tell
from dispatch.effects import Reply

log = structlog.get_logger()


class Answering:
    """Belongs to one shard."""

    def __init__(
        self,
        audience: Audience,
        clock: SteadyClock,
        measures: ShardMeasures,
        status: Callable[[str], dict[str, Any]],
    ) -> None:
        """`status`: what the shard says of a division to operators."""
        self._audience = audience
        self._clock = clock
        self._measures = measures
        self._status = status
        self._leaving: list[HostedDivision] = []

    def answer(self, work: Work, division: HostedDivision, reply: Reply | None) -> None:
        """Answer one item. A read that fails is its asker's trouble, not that of all who wait for this turn.

        `reply`: what the engine said; None where the division is stopped.
        """
        if reply is not None and reply.reason:
            self._measures.refuse(reply.reason)
        if reply is None and not isinstance(work.item, ReadStatus | LetGo):
            work.refuse(division.stopped_reason)
            return
        try:
            work.answer(self._answer_of(work, division, reply or Reply()))
        except Exception:
            log.exception("item.not_answered", division=division.division_id, item=type(work.item).__name__)
            work.refuse("internal")

    def leaving(self) -> list[HostedDivision]:
        """Return the divisions that this turn's items asked to let go, once."""
        leaving, self._leaving = self._leaving, []
        return leaving

    def _answer_of(self, work: Work, division: HostedDivision, reply: Reply) -> Any:
        item, state = work.item, division.engine.state
        if isinstance(item, Subscribe):
            subscribed = self._audience.subscribe(state, item, reply, self._clock.now_ms())
            subscribed.epoch = division.epoch
            return subscribed
        if isinstance(item, Unsubscribe):
            self._audience.unsubscribe(item)
            return reply
        if isinstance(item, WorkerHello):
            return disowned_rooms(state, item)
        if isinstance(item, Submit):
            said_id = getattr(item.command, "call_id", "")
            call_id = said_id if said_id in state.calls else ""  # What is no call's is anything that a client wrote.
            name = type(item.command).__name__
            tell(name, item.traceparent, work.at_ms, reply.reason, call_id=call_id, division=item.division_id)
            return reply
        if isinstance(item, LetGo):
            return self._let_go(item, division)
        assert not isinstance(item, TakeDivision), "it is about a division that is not here"
        return (
            self._status(item.division_id) if isinstance(item, ReadStatus) else read(state, item, self._clock.now_ms())
        )

    def _let_go(self, item: LetGo, division: HostedDivision) -> Reply:
        """All of this turn is answered still; then the division is gone."""
        if item.epoch != division.epoch:
            return Reply("owner_changed")
        self._leaving.append(division)
        return Reply("", {"at_ms": self._clock.now_ms()})
