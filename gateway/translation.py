"""Events and views of the engine into messages: the only place where their words meet.

Rules: each event becomes exactly one message, so the numbers that a client sees have no gap. What a role does not need
to know is not in its message: a customer never learns an agent's id, an agent never a customer's. All functions are
pure; a name that an event does not carry is asked for by `name_needed` and handed in.

Theory: one table a role, event class -> function. An event without an entry becomes `session.note`.

Not here: numbers, ids and bytes (`gateway/session.py`, `gateway/codec.py`), name look-ups (`gateway/people.py`).
"""

from collections.abc import Callable
from typing import Any, Literal

from msgspec import UNSET

from dispatch import events, views
from gateway import messages as wire

NameNeeded = tuple[Literal["agent", "customer"], str]
"""Whose name is missing: (`agent`, agent id) or (`customer`, customer id)."""

Translate = Callable[[Any, str], wire.FromServer]


def name_needed(role: str, event: events.Event) -> NameNeeded | None:
    """Say whose name the message made of `event` shows, if any."""
    if role == "customer" and isinstance(event, events.ReservationAccepted):
        return "agent", event.agent_id
    if role == "agent" and isinstance(event, events.CallReserved):
        return "customer", event.customer_id
    return None


def name_needed_in(role: str, session: views.SessionView) -> NameNeeded | None:
    """Say whose name a snapshot shows that it does not hold: an agent sees the masked name of who rings or talks."""
    if role != "agent":
        return None
    shown = session.reservation or session.call
    return ("customer", shown.customer_id) if shown is not None else None


def message_of(role: str, event: events.Event, name: str = "") -> wire.FromServer:
    """Return what `role` is told of `event`; `name` answers `name_needed`."""
    translate = _TABLES[role].get(type(event))
    if translate is None:
        return wire.SessionNote(event=type(event).__name__)
    return translate(event, name)


def snapshot_of(role: str, session: views.SessionView, customer: str = "") -> wire.Snapshot:
    """Return all that a page of `role` needs to draw itself; `customer` answers `name_needed_in`."""
    call = _call(session.call, role, customer) if session.call is not None else None
    if role == "customer":
        return wire.CustomerSnapshot(call=call)
    agent = session.agent
    wrap_up = session.wrap_up
    return wire.AgentSnapshot(
        activity=agent.activity if agent is not None else "offline",
        reason=agent.reason if agent is not None else "",
        agent=wire.AgentCard(
            id=agent.agent_id if agent is not None else session.recipient.partition(":")[2],
            name=agent.name if agent is not None else "",
            skills=agent.skills if agent is not None else {},
        ),
        reservation=_reserved(session.reservation, customer) if session.reservation is not None else None,
        call=call,
        wrap_up=wire.WrapUp(wrap_up.call_id, wrap_up.until_ms, wrap_up.kind) if wrap_up is not None else None,
    )


def _call(view: views.CallView, role: str, customer: str) -> wire.Call:
    room = wire.Room(view.room.attempt, view.room.is_open) if view.room is not None else None
    return wire.Call(
        call_id=view.call_id,
        state=view.state,
        queue_id=view.queue_id,
        queued_at_ms=view.queued_at_ms,
        business_reference=view.business_reference,
        room=room,
        media=view.media,
        recording=view.recording,
        is_recording=bool(view.recording_parties),
        position=view.position or UNSET,
        agent_name=(view.agent_name or UNSET) if role == "customer" and _is_matched(view) else UNSET,
        connected_at_ms=view.connected_at_ms or UNSET,
        customer=customer if role == "agent" else UNSET,
    )


def _is_matched(view: views.CallView) -> bool:
    """While it only rings, the customer is not told at whom: that agent may still decline."""
    return view.state in ("connecting", "connected", "ended")


def _reserved(event: events.CallReserved, customer: str) -> wire.ReservationNew:
    return wire.ReservationNew(
        reservation_id=event.reservation_id,
        call_id=event.call_id,
        queue_id=event.queue_id,
        expires_at_ms=event.expires_at_ms,
        attempt=event.attempt,
        waited_ms=event.waited_ms,
        customer=customer,
        business_reference=event.business_reference,
        why=event.why,
        media=event.media,
    )


def _queued(event: events.CallQueued, _: str) -> wire.FromServer:
    return wire.CallQueued(event.call_id, event.queue_id, event.queued_at_ms, event.media)


def _accepted(event: events.ReservationAccepted, _: str) -> wire.FromServer:
    return wire.ReservationAccepted(event.reservation_id, event.call_id, event.connecting_until_ms)


def _closed(event: events.ReservationClosed, _: str) -> wire.FromServer:
    return wire.ReservationClosed(event.reservation_id, event.call_id, event.outcome, event.reason)


def _ended_for_customer(event: events.CallEnded, _: str) -> wire.FromServer:
    return wire.CallEnded(event.call_id, event.reason, event.waited_ms, event.talked_ms)


def _ended_for_agent(event: events.CallEnded, _: str) -> wire.FromServer:
    return wire.CallEnded(
        event.call_id, event.reason, event.waited_ms, event.talked_ms, event.wrap_up, event.wrap_up_until_ms
    )


_BOTH: dict[type[Any], Translate] = {
    events.RoomOpened: lambda event, _: wire.RtcRoom(event.call_id, event.attempt),
    events.RoomLost: lambda event, _: wire.RtcRoomLost(event.call_id, event.attempt, event.reason),
    events.PartyJoined: lambda event, _: wire.CallParty(event.call_id, event.party, True),
    events.PartyLeft: lambda event, _: wire.CallParty(event.call_id, event.party, False),
    events.RecordingStarted: lambda event, _: wire.RecordState(event.call_id, event.party, "started"),
    events.RecordingFailed: lambda event, _: wire.RecordState(event.call_id, event.party, "failed"),
    events.RecordingSealed: lambda event, _: wire.RecordState(event.call_id, "", "sealed"),
    events.RecordingMissing: lambda event, _: wire.RecordState(event.call_id, "", "missing"),
    events.CallConnected: lambda event, _: wire.CallConnected(event.call_id),
}

_TABLES: dict[str, dict[type[Any], Translate]] = {
    "customer": {
        **_BOTH,
        events.CallQueued: _queued,
        events.CallReserved: lambda event, _: wire.CallRinging(event.call_id),
        events.ReservationClosed: lambda event, _: wire.CallWaiting(event.call_id, event.outcome),
        events.ReservationAccepted: lambda event, name: wire.CallMatched(event.call_id, name),
        events.CallRequeued: lambda event, _: wire.CallWaiting(event.call_id, event.reason),
        events.CallMoved: lambda event, _: wire.CallMoved(event.call_id, event.queue_id),
        events.CallEnded: _ended_for_customer,
    },
    "agent": {
        **_BOTH,
        events.AgentActivityChanged: lambda event, _: wire.AgentState(event.activity, event.reason),
        events.CallReserved: _reserved,
        events.ReservationAccepted: _accepted,
        events.ReservationClosed: _closed,
        events.CallRequeued: lambda event, _: wire.CallRequeued(event.call_id, event.reason),
        events.CallEnded: _ended_for_agent,
        events.WrapUpExtended: lambda event, _: wire.WrapUpExtended(event.call_id, event.until_ms),
        events.WrapUpEnded: lambda event, _: wire.WrapUpEnded(event.call_id, event.how),
    },
}
