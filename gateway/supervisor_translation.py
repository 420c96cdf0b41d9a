"""Events of calls in which a supervisor is, into messages. Pure.

Rules as in `gateway/translation.py`, of which this is the table for staff: a supervisor hears of a call what its agent hears,
by the same messages, from the moment of being in it; an operator is in no call and hears of none.

Not here: boards and alerts, which are no events (`gateway/board.py`, `gateway/boards.py`).
"""

from typing import Any

from dispatch import events
from gateway import messages as wire
from gateway import messages_talking as talking
from gateway import messages_watching as watching

BOARDS = ("queues", "agents", "calls")
MODE_WORDS = {"monitor": "listen", "whisper": "whisper", "barge": "barge", "": "leave"}
"""The engine's word -> the wire's."""
MODES = {word: mode for mode, word in MODE_WORDS.items()}


def _supervision(event: events.SupervisionChanged, _: Any) -> wire.FromServer:
    return watching.CallMonitored(event.call_id, event.supervisor_id, MODE_WORDS[event.mode])


def _owner(event: events.OwnershipMoved, _: Any) -> wire.FromServer:
    return talking.CallOwner(
        call_id=event.call_id,
        from_agent_id=event.from_agent_id,
        to_agent_id=event.to_agent_id,
        reason=event.reason,
    )


def _party_gone(event: events.PartyRemoved, _: Any) -> wire.FromServer:
    return talking.PartyRemoved(event.call_id, event.reason, event.role, event.agent_id)


def _transferred(event: events.CallTransferred, _: Any) -> wire.FromServer:
    return talking.CallTransferred(event.call_id, event.queue_id, event.queued_at_ms)


def _ended(event: events.CallEnded, _: Any) -> wire.FromServer:
    return wire.CallEnded(event.call_id, event.reason, event.waited_ms, event.talked_ms)


SUPERVISOR_TABLE: dict[type[Any], Any] = {
    events.SupervisionChanged: _supervision,
    events.CallRequeued: lambda event, _: wire.CallRequeued(event.call_id, event.reason),
    events.CallTransferred: _transferred,
    events.OwnershipMoved: _owner,
    events.PartyAdded: lambda event, _: talking.PartyAdded(event.call_id, event.role, agent_id=event.agent_id),
    events.PartyRemoved: _party_gone,
    events.CallEnded: _ended,
}
"""Beside what customers and agents hear alike."""
