"""What an event says, in the words of the dumb twin."""

from collections.abc import Callable
from typing import Any

from dispatch import events as ev
from dispatch.wishes import Favourite
from tests.engine.twin import Fact


def _kept(favourite: Favourite | None) -> tuple[object, ...]:
    return (favourite.agent_id, favourite.rule, favourite.until_ms) if favourite else ()


FACTS: dict[type[Any], Callable[[Any], Fact]] = {
    ev.PlanApplied: lambda e: ("planned", e.digest),
    ev.Connected: lambda e: ("connected", e.recipient, e.connection_id),
    ev.Disconnected: lambda e: ("disconnected", e.recipient, e.grace_until_ms),
    ev.AgentActivityChanged: lambda e: ("activity", e.agent_id, e.activity, e.reason),
    ev.CallQueued: lambda e: (
        "queued", e.call_id, e.customer_id, e.queue_id, e.due_at_ms, e.recording, _kept(e.favourite), e.asked_queue_id,
        e.cause, e.is_callback,
    ),
    ev.CallRefused: lambda e: ("refused", e.call_id, e.customer_id, e.queue_id, e.reason, e.then),
    ev.CallReserved: lambda e: (
        "reserved", e.call_id, e.reservation_id, e.agent_id, e.expires_at_ms, e.role, e.step, e.cost_units,
    ),
    ev.ReservationAccepted: lambda e: (
        "accepted", e.call_id, e.reservation_id, e.agent_id, e.connecting_until_ms, e.room_attempt,
    ),
    ev.ReservationClosed: lambda e: (
        "closed", e.call_id, e.reservation_id, e.agent_id, e.outcome, e.not_before_ms, e.agent_not_before_ms,
    ),
    ev.RoomAssigned: lambda e: ("assigned", e.call_id, e.attempt, e.worker_id),
    ev.RoomOpened: lambda e: ("opened", e.call_id, e.attempt),
    ev.RoomLost: lambda e: ("room_lost", e.call_id, e.attempt, e.reconnecting_until_ms),
    ev.RoomClosed: lambda e: ("room_closed", e.call_id, e.attempt),
    ev.PartyJoined: lambda e: ("joined", e.call_id, e.attempt, e.party),
    ev.PartyLeft: lambda e: ("left", e.call_id, e.attempt, e.party, e.rejoin_until_ms),
    ev.RecordingStarted: lambda e: ("recorded", e.call_id, e.attempt, e.party),
    ev.RecordingFailed: lambda e: ("unrecorded", e.call_id, e.attempt, e.party),
    ev.RecordingSealed: lambda e: ("sealed", e.call_id, e.attempt),
    ev.RecordingMissing: lambda e: ("missing", e.call_id, e.attempt),
    ev.CallConnected: lambda e: ("stands", e.call_id, e.agent_id),
    ev.CallRequeued: lambda e: (
        "requeued", e.call_id, e.agent_id, e.reason, e.not_before_ms, e.call_not_before_ms,
    ),
    ev.CallEnded: lambda e: (
        "ended", e.call_id, e.reason, e.agent_id, e.waited_ms, e.talked_ms, e.wrap_up, e.wrap_up_until_ms, e.then,
    ),
    ev.WrapUpExtended: lambda e: ("extended", e.call_id, e.agent_id, e.until_ms),
    ev.WrapUpEnded: lambda e: ("wrapped_up", e.call_id, e.agent_id, e.how),
    ev.CallForgotten: lambda e: ("forgotten", e.call_id),
    ev.CallMoved: lambda e: ("moved", e.call_id, e.from_queue_id, e.queue_id, e.due_at_ms, e.reason),
    ev.NeedRelaxed: lambda e: ("relaxed", e.call_id, e.step),
    ev.CallPrioritised: lambda e: ("prioritised", e.call_id, e.credit_ms, e.is_absolute, e.due_at_ms),
    ev.FavouriteReleased: lambda e: ("unkept", e.call_id, e.agent_id, e.reason),
    ev.CallbackArranged: lambda e: ("callback", e.call_id, e.cause),
    ev.JointAccepted: lambda e: ("joint_accepted", e.call_id, e.reservation_id, e.agent_id),
    ev.JointHeld: lambda e: ("held", e.call_id, e.agent_id, e.role, e.until_ms),
    ev.JointReleased: lambda e: ("let_go", e.call_id, e.agent_id, e.reason, e.not_before_ms),
    ev.CallInvited: lambda e: ("invited", e.call_id, e.customer_id, e.agent_id, e.queue_id, e.until_ms),
    ev.InvitationAccepted: lambda e: (
        "came", e.call_id, e.queued_at_ms, e.due_at_ms, e.recording, e.media, _kept(e.favourite),
    ),
    ev.PartyAdded: lambda e: ("party_in", e.call_id, e.reservation_id, e.agent_id, e.role),
    ev.PartyRemoved: lambda e: (
        "party_out", e.call_id, e.agent_id, e.role, e.reason, e.wrap_up, e.wrap_up_until_ms,
    ),
    ev.OwnershipMoved: lambda e: (
        "owner", e.call_id, e.from_agent_id, e.to_agent_id, e.reason, e.cost_units, e.wrap_up, e.wrap_up_until_ms,
        e.media_until_ms,
    ),
    ev.CallTransferred: lambda e: (
        "transferred", e.call_id, e.from_agent_id, e.from_queue_id, e.queue_id, e.due_at_ms, e.credit_ms, e.recording,
        e.talked_ms, *((e.favourite.agent_id, e.favourite.until_ms) if e.favourite else ("", 0)), e.wrap_up,
        e.wrap_up_until_ms, e.not_before_ms,
    ),
    ev.SupervisionChanged: lambda e: ("supervised", e.call_id, e.supervisor_id, e.mode),
    ev.HoldChanged: lambda e: ("hold", e.call_id, e.is_held, e.reason, e.until_ms),
    ev.ScriptStepShown: lambda e: ("shown", e.call_id, e.agent_id, e.number, e.step_id, e.text, list(e.answers)),
    ev.ScriptStepAnswered: lambda e: ("answer", e.call_id, e.number, e.step_id, e.answer),
    ev.Answered: lambda e: ("answered", e.principal, e.id, e.reason),
    ev.Resumed: lambda e: ("resumed", e.outage_ms),
}  # fmt: skip
