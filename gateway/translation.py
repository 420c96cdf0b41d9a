"""Events and views of the engine into messages: the only place where their words meet.

Rules: each event becomes exactly one message, so the numbers that a client sees have no gap. What a role does not need
to know is not in its message: a customer never learns an agent's id nor that somebody is consulted, an agent never a customer's
id. All functions are pure; what an event does not carry is asked for by `needed` and handed in.

Theory: one table a role, event class -> function. Every event of the engine has its entry or stands in `UNTOLD`, which a test
holds; one of a newer engine becomes `session.note` by its name.

Not here: numbers, ids and bytes (`gateway/session.py`, `gateway/codec.py`), look-ups (`gateway/people.py`).
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from msgspec import UNSET

from dispatch import events, views
from gateway import messages as wire
from gateway import messages_talking as talking
from gateway.supervisor_translation import BOARDS, SUPERVISOR_TABLE

Needed = tuple[Literal["agent", "customer", "call"], str]
"""What is missing: the name of (`agent`, agent id) or (`customer`, customer id), or the whole of (`call`, call id)."""


class Known(NamedTuple):
    """What a message shows beside its event: whose message it is, and the answer to `needed`."""

    own_id: str = ""
    name: str = ""
    call: wire.Call | None = None


ELSEWHERE = ("handing_over", "handed_over")
"""A page has no words for these: to the customer the call waits, wherever."""
Translate = Callable[[Any, Known], wire.FromServer]


def needed(role: str, event: events.Event, own_id: str) -> Needed | None:
    """Say what the message made of `event` for this client shows that the event does not hold, if anything."""
    if role == "customer":
        match event:
            case events.ReservationAccepted() | events.CallInvited():
                return "agent", event.agent_id
            case events.PartyAdded() if event.role != "consult":
                return "agent", event.agent_id
            case events.OwnershipMoved():
                return "agent", event.to_agent_id
        return None
    if role != "agent":
        return None
    match event:
        case events.CallReserved() if event.agent_id == own_id:
            return "customer", event.customer_id
        case events.CallInvited():
            return "customer", event.customer_id
        case events.OwnershipMoved() if event.to_agent_id == own_id:
            return "call", event.call_id
        case events.PartyAdded() if event.agent_id == own_id:
            return "call", event.call_id
    return None


def needed_in(role: str, session: views.SessionView) -> Needed | None:
    """Say what a snapshot shows that it does not hold: an agent sees the masked name of who rings or talks."""
    if role != "agent":
        return None
    shown = session.reservation or session.call
    return ("customer", shown.customer_id) if shown is not None else None


def message_of(role: str, event: events.Event, known: Known) -> wire.FromServer:
    """Return what this client is told of `event`; `known` answers `needed`."""
    translate = _TABLES[role].get(type(event))
    if translate is None:
        return _untold() if type(event) in UNTOLD[role] else wire.SessionNote(event=type(event).__name__)
    return translate(event, known)


def snapshot_of(role: str, session: views.SessionView, customer: str = "") -> wire.Snapshot:
    """Return all that a page of `role` needs to draw itself; `customer` answers `needed_in`."""
    if role in ("supervisor", "operator"):
        return wire.StaffSnapshot(list(BOARDS))
    call = call_of(role, session.call, customer) if session.call is not None else None
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
        reservation=_own_reservation(session.reservation, customer) if session.reservation is not None else None,
        call=call,
        wrap_up=wire.WrapUp(wrap_up.call_id, wrap_up.until_ms, wrap_up.kind) if wrap_up is not None else None,
    )


def call_of(role: str, view: views.CallView, customer: str) -> wire.Call:
    """Return a call as a page of `role` sees it; `customer` is the masked name, for an agent."""
    is_agent = role == "agent"
    return wire.Call(
        call_id=view.call_id,
        state="waiting" if view.state in ELSEWHERE else view.state,
        queue_id=view.queue_id,
        queued_at_ms=view.queued_at_ms,
        business_reference=view.business_reference,
        room=wire.Room(view.room.attempt, view.room.is_open) if view.room is not None else None,
        media=view.media,
        recording=view.recording,
        is_recording=bool(view.recording_parties),
        position=view.position or UNSET,
        agent_name=(view.agent_name or UNSET) if not is_agent and _is_matched(view) else UNSET,
        connected_at_ms=view.connected_at_ms or UNSET,
        customer=customer if is_agent else UNSET,
        agent_id=(view.agent_id or UNSET) if is_agent else UNSET,
        is_callback=view.is_callback or UNSET,
        invited_until_ms=view.invited_until_ms or UNSET,
        on_hold_until_ms=view.on_hold_until_ms or UNSET,
        parties=_parties(view, is_agent) or UNSET,
        script=_script(view.script_step) if view.script_step is not None else UNSET,
    )


def _script(step: views.ScriptStepView) -> wire.Script:
    return wire.Script(step.number, step.step_id, step.text, step.answers, step.answer or UNSET)


def _parties(view: views.CallView, is_for_agent: bool) -> list[wire.Party]:
    """A customer is told of those who are in the call to be seen and heard."""
    if is_for_agent:
        return [wire.Party(one.role, one.is_ringing, one.agent_id) for one in view.parties]
    return [wire.Party(one.role, False) for one in view.parties if one.role != "consult" and not one.is_ringing]


def _is_matched(view: views.CallView) -> bool:
    """While it only rings, the customer is not told at whom: that agent may still decline."""
    return view.state in ("invited", "connecting", "connected", "ended")


def _untold(*_: object) -> wire.FromServer:
    return wire.SessionNote(event="")


# -- for the customer


def _queued(event: events.CallQueued, _: Known) -> wire.FromServer:
    is_callback = event.is_callback or UNSET
    return wire.CallQueued(event.call_id, event.queue_id, event.queued_at_ms, event.media, is_callback)


def _admitted(event: events.HandOverAdmitted, _: Known) -> wire.FromServer:
    return wire.CallQueued(event.call_id, event.queue_id, event.queued_at_ms, event.media)


def _invited_customer(event: events.CallInvited, known: Known) -> wire.FromServer:
    return talking.CallInvited(
        event.call_id, event.queue_id, event.until_ms, event.business_reference, agent_name=known.name
    )


def _ended_for_customer(event: events.CallEnded, _: Known) -> wire.FromServer:
    return wire.CallEnded(event.call_id, event.reason, event.waited_ms, event.talked_ms, then=event.then or UNSET)


def _party_for_customer(event: events.PartyAdded, known: Known) -> wire.FromServer:
    if event.role == "consult":
        return _untold()
    return talking.PartyAdded(event.call_id, event.role, agent_name=known.name)


def _party_gone_for_customer(event: events.PartyRemoved, _: Known) -> wire.FromServer:
    if event.role == "consult":
        return _untold()
    return talking.PartyRemoved(event.call_id, event.reason, event.role)


def _transferred_customer(event: events.CallTransferred, _: Known) -> wire.FromServer:
    return talking.CallTransferred(event.call_id, event.queue_id, event.queued_at_ms)


# -- for an agent


def _own_reservation(event: events.CallReserved, customer: str) -> wire.ReservationNew:
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
        key=event.key,
        party_role=event.role if event.role != "agent" else UNSET,
    )


def _reserved(event: events.CallReserved, known: Known) -> wire.FromServer:
    if event.agent_id == known.own_id:
        return _own_reservation(event, known.name)
    return talking.PartyRinging(event.call_id, event.agent_id, event.role, event.expires_at_ms)


def _accepted(event: events.ReservationAccepted, known: Known) -> wire.FromServer:
    if event.agent_id == known.own_id:
        return wire.ReservationAccepted(event.reservation_id, event.call_id, event.connecting_until_ms)
    # The expert of a joint call learns who the agent is.
    return talking.PartyAdded(event.call_id, "agent", agent_id=event.agent_id)


def _joint_accepted(event: events.JointAccepted, _: Known) -> wire.FromServer:
    return wire.ReservationJoint(event.reservation_id, event.call_id, event.agent_id)


def _closed(event: events.ReservationClosed, known: Known) -> wire.FromServer:
    if event.agent_id == known.own_id:
        return wire.ReservationClosed(event.reservation_id, event.call_id, event.outcome, event.reason)
    return talking.PartyRemoved(event.call_id, event.outcome, agent_id=event.agent_id)


def _ended_for_agent(event: events.CallEnded, _: Known) -> wire.FromServer:
    return wire.CallEnded(
        event.call_id, event.reason, event.waited_ms, event.talked_ms, event.wrap_up, event.wrap_up_until_ms
    )


def _invited_by_agent(event: events.CallInvited, known: Known) -> wire.FromServer:
    return talking.CallInvited(
        event.call_id, event.queue_id, event.until_ms, event.business_reference, customer=known.name
    )


def _party_for_agent(event: events.PartyAdded, known: Known) -> wire.FromServer:
    script = known.call.script if known.call is not None else UNSET
    return talking.PartyAdded(event.call_id, event.role, agent_id=event.agent_id, script=script)


def _party_gone_for_agent(event: events.PartyRemoved, _: Known) -> wire.FromServer:
    return talking.PartyRemoved(
        event.call_id, event.reason, event.role, event.agent_id, event.wrap_up, event.wrap_up_until_ms
    )


def _owner_for_agent(event: events.OwnershipMoved, known: Known) -> wire.FromServer:
    return talking.CallOwner(
        call_id=event.call_id,
        from_agent_id=event.from_agent_id,
        to_agent_id=event.to_agent_id,
        reason=event.reason,
        wrap_up=event.wrap_up,
        wrap_up_until_ms=event.wrap_up_until_ms,
        call=known.call if known.call is not None else UNSET,
    )


def _transferred_agent(event: events.CallTransferred, _: Known) -> wire.FromServer:
    return talking.CallTransferred(
        event.call_id, event.queue_id, event.queued_at_ms, event.wrap_up, event.wrap_up_until_ms
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
    events.HoldChanged: lambda event, _: talking.CallHold(event.call_id, event.is_held, event.reason, event.until_ms),
    events.InvitationAccepted: lambda event, _: talking.InvitationAccepted(
        event.call_id, event.queued_at_ms, event.media
    ),
    events.ScriptStepShown: lambda event, _: talking.ScriptStep(
        event.call_id, event.number, event.step_id, event.text, list(event.answers)
    ),
    events.ScriptStepAnswered: lambda event, _: talking.ScriptAnswer(
        event.call_id, event.number, event.step_id, event.answer
    ),
}

_TABLES: dict[str, dict[type[Any], Translate]] = {
    "customer": {
        **_BOTH,
        events.CallQueued: _queued,
        events.CallReserved: lambda event, _: wire.CallRinging(event.call_id),
        events.ReservationClosed: lambda event, _: wire.CallWaiting(event.call_id, event.outcome),
        events.ReservationAccepted: lambda event, known: wire.CallMatched(event.call_id, known.name),
        events.CallRequeued: lambda event, _: wire.CallWaiting(event.call_id, event.reason),
        events.CallMoved: lambda event, _: wire.CallMoved(event.call_id, event.queue_id, event.reason),
        events.CallbackArranged: lambda event, _: wire.CallCallback(event.call_id, event.cause),
        events.CallInvited: _invited_customer,
        events.CallTransferred: _transferred_customer,
        events.OwnershipMoved: lambda event, known: talking.CallOwner(event.call_id, agent_name=known.name),
        events.PartyAdded: _party_for_customer,
        events.PartyRemoved: _party_gone_for_customer,
        events.CallHandingOver: lambda event, _: talking.CallHandingOver(event.call_id, event.cause),
        events.HandOverRefused: lambda event, _: wire.CallWaiting(event.call_id, event.reason),
        events.CallHandedOver: lambda event, _: talking.CallHandedOver(event.call_id, event.to_division, event.seq),
        events.HandOverAdmitted: _admitted,
        events.HandedCallEnded: lambda event, _: wire.CallEnded(event.call_id, event.reason, 0, 0),
        events.CallEnded: _ended_for_customer,
    },
    "agent": {
        **_BOTH,
        events.AgentActivityChanged: lambda event, _: wire.AgentState(event.activity, event.reason),
        events.CallReserved: _reserved,
        events.ReservationAccepted: _accepted,
        events.JointAccepted: _joint_accepted,
        events.ReservationClosed: _closed,
        events.CallRequeued: lambda event, _: wire.CallRequeued(event.call_id, event.reason),
        events.CallInvited: _invited_by_agent,
        events.CallTransferred: _transferred_agent,
        events.OwnershipMoved: _owner_for_agent,
        events.PartyAdded: _party_for_agent,
        events.PartyRemoved: _party_gone_for_agent,
        events.CallEnded: _ended_for_agent,
        events.WrapUpExtended: lambda event, _: wire.WrapUpExtended(event.call_id, event.until_ms),
        events.WrapUpEnded: lambda event, _: wire.WrapUpEnded(event.call_id, event.how),
    },
    "supervisor": {**_BOTH, **SUPERVISOR_TABLE},
    "operator": {**_BOTH, **SUPERVISOR_TABLE},
}

_INSIDE: tuple[type[Any], ...] = (
    events.PlanApplied,
    events.Connected,
    events.Disconnected,
    events.CallRefused,
    events.CallForgotten,
    events.NeedRelaxed,
    events.FavouriteReleased,
    events.JointHeld,
    events.JointReleased,
    events.CallPrioritised,
    events.SupervisionChanged,
    events.HandOverRevoked,
    events.HandOverDeclined,
    events.OriginTold,
    events.RoomAssigned,
    events.RoomClosed,
    events.Answered,
    events.Resumed,
)
"""Of these the engine tells no client, or none that should know: whether somebody listens, how the line is ordered. A changed
priority shows in `queue.update`."""
UNTOLD: dict[str, frozenset[type[Any]]] = {
    "customer": frozenset(
        {*_INSIDE, events.AgentActivityChanged, events.JointAccepted, events.WrapUpExtended, events.WrapUpEnded}
    ),
    "agent": frozenset(
        {
            *_INSIDE,
            events.CallQueued,
            events.CallMoved,
            events.CallbackArranged,
            events.CallHandingOver,
            events.HandOverRefused,
            events.CallHandedOver,
            events.HandOverAdmitted,
            events.HandedCallEnded,
        }
    ),
    "supervisor": frozenset(),
    "operator": frozenset(),
}
"""Role -> events that it deliberately gets no words for: an empty `session.note` keeps the numbers. Staff may know
the names."""
