"""One sentence for each kind of event, as it stands in a trace. A changed field that somebody decided changes the sentence.

Left out of the sentences is what the command above them says already, and when an ended call is forgotten (`CallForgotten`
has a line of its own).
"""

from collections.abc import Callable
from typing import Any

from dispatch import events as ev
from dispatch.wishes import NEVER_MS, Favourite
from tests.scenarios.sentences_handing import HANDING
from tests.scenarios.times import Clock, in_words

INSTANT_MS_MIN = 1_000_000_000_000
"""Larger keys are instants: since when the agent has been idle. Counts, shares and numbers of reservations are smaller."""


def sentence(event: ev.Event, clock: Clock) -> str:
    """What happened, without its time. Raises KeyError for an event that has no sentence yet."""
    return SENTENCES[type(event)](event, clock)


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _kept(favourite: Favourite | None, clock: Clock) -> str:
    if favourite is None:
        return ""
    until = "for ever" if favourite.until_ms == NEVER_MS else f"until {clock.tell(favourite.until_ms)}"
    return f"kept for {favourite.agent_id} {until} ({favourite.rule})"


def _call_queued(event: ev.CallQueued, clock: Clock) -> str:
    sent_on = f"sent on from {event.asked_queue_id} ({event.cause})" if event.asked_queue_id else ""
    callback = (
        f"as a callback ({event.cause})" if event.cause and not sent_on else "as a callback"
    ) * event.is_callback
    return _joined(
        f"{event.call_id} waits in {event.queue_id}, due {clock.tell(event.due_at_ms)}",
        sent_on,
        callback,
        _kept(event.favourite, clock),
        _recording(event.recording),
    )


def _recording(recording: str) -> str:
    return "" if recording == "off" else f"recording {recording}"


def _call_refused(event: ev.CallRefused, clock: Clock) -> str:
    asked = ", and asked for a message" if event.then == "message" else ""
    return f"{event.call_id} of {event.customer_id} is not let into {event.queue_id}: {event.reason}{asked}"


def _call_reserved(event: ev.CallReserved, clock: Clock) -> str:
    role = "" if event.role == "agent" else f" as {event.role}"
    return (
        _joined(
            f"{event.call_id} rings at {event.agent_id}{role} until {clock.tell(event.expires_at_ms)}",
            f"attempt {event.attempt}" if event.attempt > 1 else "",
            f"waited {in_words(event.waited_ms)}" if event.waited_ms else "",
            f"step {event.step} is open" if event.step else "",
            "" if event.cost_units == 100 else f"{event.cost_units} units",
        )
        + f" ({_why(event, clock)})"
    )


def _why(event: ev.CallReserved, clock: Clock) -> str:
    if event.key > INSTANT_MS_MIN:
        key = f"idle since {clock.tell(event.key)}"
    elif event.why == "least_occupied":
        key = f"busy {event.key / 10_000:g} % of the time"
    elif event.why == "most_skilled":
        key = f"{-event.key} levels"
    else:
        key = f"key {event.key}"
    following = f"; next would be {event.runner_up_id}" if event.runner_up_id else ""
    return f"{event.why}: {key}{following}"


def _reservation_accepted(event: ev.ReservationAccepted, clock: Clock) -> str:
    room = f", room attempt {event.room_attempt}" if event.room_attempt else ""
    return f"{event.agent_id} accepts {event.call_id}, to be connected by {clock.tell(event.connecting_until_ms)}{room}"


OUTCOMES = {
    "declined": "{agent} declines {call}",
    "busy": "{agent} is busy elsewhere and gives {call} back",
    "expired": "{agent} does not answer {call}",
    "agent_lost": "{agent} does not come back in time, {call} is given back",
    "agent_left": "{agent} is not ready any more, {call} is given back",
    "rescinded": "{call} no longer rings at {agent}",
}


def _reservation_closed(event: ev.ReservationClosed, clock: Clock) -> str:
    said = OUTCOMES[event.outcome].format(agent=event.agent_id, call=event.call_id)
    for_call = "" if event.outcome == "expired" else " for this call"
    asked_again = f"not asked{for_call} before {clock.tell(event.not_before_ms)}" if event.not_before_ms else ""
    at_all = f"not asked at all before {clock.tell(event.agent_not_before_ms)}" if event.agent_not_before_ms else ""
    return _joined(f"{said} ({event.reason})" if event.reason else said, asked_again, at_all)


def _call_requeued(event: ev.CallRequeued, clock: Clock) -> str:
    agent = (
        f"{event.agent_id} is not asked for it before {clock.tell(event.not_before_ms)}" if event.not_before_ms else ""
    )
    nobody = f"nobody is asked before {clock.tell(event.call_not_before_ms)}" if event.call_not_before_ms else ""
    return _joined(
        f"{event.call_id} is back at its old place ({event.reason})", f"{event.agent_id} is free", agent, nobody
    )


def _wrap_up(agent_id: str, event: Any, clock: Clock) -> str:
    if event.wrap_up == "none":
        return f"{agent_id} is free"
    return f"{agent_id} has wrap-up ({event.wrap_up}) until {clock.tell(event.wrap_up_until_ms)}"


def _call_ended(event: ev.CallEnded, clock: Clock) -> str:
    return _joined(
        f"{event.call_id} ends: {event.reason}",
        f"waited {in_words(event.waited_ms)}",
        f"talked {in_words(event.talked_ms)}" if event.talked_ms else "",
        _wrap_up(event.agent_id, event, clock) if event.agent_id else "",
        "the customer is asked for a message" if event.then == "message" else "",
    )


def _wrap_up_ended(event: ev.WrapUpEnded, clock: Clock) -> str:
    how = {"done": "it is done", "time": "its time is over", "signed_out": "signed out"}[event.how]
    return f"{event.agent_id} has no wrap-up for {event.call_id} any more ({how})"


def _call_moved(event: ev.CallMoved, clock: Clock) -> str:
    due = clock.tell(event.due_at_ms)
    return f"{event.call_id} moves from {event.from_queue_id} to {event.queue_id} ({event.reason}), due {due}"


def _call_prioritised(event: ev.CallPrioritised, clock: Clock) -> str:
    absolute = "before every call that is not absolute, " if event.is_absolute else ""
    return f"{event.call_id} is due {clock.tell(event.due_at_ms)} now, {absolute}priority {in_words(event.credit_ms)}"


def _joint_released(event: ev.JointReleased, clock: Clock) -> str:
    nobody = f"nobody is held for it before {clock.tell(event.not_before_ms)}" if event.not_before_ms else ""
    return _joined(f"{event.agent_id} is no longer held for {event.call_id} ({event.reason})", nobody)


def _invitation_accepted(event: ev.InvitationAccepted, clock: Clock) -> str:
    return _joined(
        f"{event.call_id} waits, due {clock.tell(event.due_at_ms)}",
        _kept(event.favourite, clock),
        _recording(event.recording),
    )


def _party_removed(event: ev.PartyRemoved, clock: Clock) -> str:
    out = f"{event.agent_id} is out of {event.call_id} as {event.role} ({event.reason})"
    return _joined(out, _wrap_up(event.agent_id, event, clock))


def _ownership_moved(event: ev.OwnershipMoved, clock: Clock) -> str:
    media = f"media to stand by {clock.tell(event.media_until_ms)}" if event.media_until_ms else ""
    return _joined(
        f"{event.call_id} belongs to {event.to_agent_id} now ({event.reason})",
        "" if event.cost_units == 100 else f"{event.cost_units} units",
        _wrap_up(event.from_agent_id, event, clock),
        media,
    )


def _call_transferred(event: ev.CallTransferred, clock: Clock) -> str:
    former = event.from_agent_id
    again = f"{former} is not asked for it before {clock.tell(event.not_before_ms)}" if event.not_before_ms else ""
    return _joined(
        f"{event.call_id} goes from {former} in {event.from_queue_id} to {event.queue_id}"
        + (f" ({event.reason})" if event.reason else ""),
        f"talked {in_words(event.talked_ms)}",
        f"queued {clock.tell(event.queued_at_ms)}",
        f"due {clock.tell(event.due_at_ms)} with priority {in_words(event.credit_ms)}",
        _kept(event.favourite, clock),
        _wrap_up(former, event, clock),
        again,
        _recording(event.recording),
    )


def _supervision_changed(event: ev.SupervisionChanged, clock: Clock) -> str:
    if not event.mode:
        return f"supervisor {event.supervisor_id} has left {event.call_id}"
    how = {"monitor": "hears", "whisper": "hears, and speaks to the agent alone, in", "barge": "speaks to all in"}
    return f"supervisor {event.supervisor_id} {how[event.mode]} {event.call_id} ({event.mode})"


def _script_step_shown(event: ev.ScriptStepShown, clock: Clock) -> str:
    answers = ", to be answered " + " or ".join(event.answers) if event.answers else ""
    step = f"step {event.number} ({event.step_id}) by {event.agent_id}"
    return f'the customer of {event.call_id} is shown {step}: "{event.text}"{answers}'


def _hold_changed(event: ev.HoldChanged, clock: Clock) -> str:
    if event.is_held:
        return f"the customer of {event.call_id} is on hold ({event.reason}) until {clock.tell(event.until_ms)} at most"
    return f"the customer of {event.call_id} is off hold ({event.reason})"


def _party_left(event: ev.PartyLeft, clock: Clock) -> str:
    until = f", to be back by {clock.tell(event.rejoin_until_ms)}" if event.rejoin_until_ms else ""
    return f"the {event.party}'s media are gone from room {_room(event)}{until}"


def _room_lost(event: ev.RoomLost, clock: Clock) -> str:
    until = f", to stand again by {clock.tell(event.reconnecting_until_ms)}" if event.reconnecting_until_ms else ""
    return f"room {_room(event)} is lost ({event.reason}){until}"


def _recording_sealed(event: ev.RecordingSealed, clock: Clock) -> str:
    return (
        f"the recording of room {_room(event)} is complete on disk ({len(event.files)} files, {len(event.gaps)} gaps)"
    )


def _room(event: Any) -> str:
    return f"{event.call_id}/{event.attempt}"


def _disconnected(event: ev.Disconnected, clock: Clock) -> str:
    if event.connection_id:
        until = f", awaited until {clock.tell(event.grace_until_ms)}" if event.grace_until_ms else ", nobody waits"
        return f"{event.recipient} is disconnected{until}"
    return f"{event.recipient} has not come back in time"


def _answered(event: ev.Answered, clock: Clock) -> str:
    answer = event.reason or "accepted"
    return f"the answer to request {event.id} of {event.principal} is kept: {answer}"


def _until(text: str) -> Callable[[Any, Clock], str]:
    return lambda event, clock: text.format(e=event, until=clock.tell(event.until_ms))


def _plain(text: str) -> Callable[[Any, Clock], str]:
    return lambda event, clock: text.format(e=event)


def _activity(event: ev.AgentActivityChanged, clock: Clock) -> str:
    reason = f" ({event.reason})" if event.reason else ""
    return f"{event.agent_id} is {event.activity.replace('_', ' ')}{reason}"


SENTENCES: dict[type[Any], Callable[[Any, Clock], str]] = {
    ev.PlanApplied: _plain("the plan {e.digest} holds from now on"),
    ev.Connected: _plain("{e.recipient} is connected through {e.gateway_id}"),
    ev.Disconnected: _disconnected,
    ev.AgentActivityChanged: _activity,
    ev.CallQueued: _call_queued,
    ev.CallRefused: _call_refused,
    ev.CallReserved: _call_reserved,
    ev.ReservationAccepted: _reservation_accepted,
    ev.ReservationClosed: _reservation_closed,
    ev.CallConnected: _plain("{e.customer_id} and {e.agent_id} talk in {e.call_id}"),
    ev.CallRequeued: _call_requeued,
    ev.CallEnded: _call_ended,
    ev.WrapUpExtended: _until("{e.agent_id} has wrap-up for {e.call_id} until {until}"),
    ev.WrapUpEnded: _wrap_up_ended,
    ev.CallForgotten: _plain("{e.call_id} leaves the memory, the archive answers for it"),
    ev.CallMoved: _call_moved,
    ev.Answered: _answered,
    ev.Resumed: lambda event, clock: f"what waits for somebody waits {in_words(event.outage_ms)} longer",
    ev.NeedRelaxed: _plain("step {e.step} of the relaxation opens for {e.call_id}"),
    ev.CallPrioritised: _call_prioritised,
    ev.FavouriteReleased: _plain("{e.call_id} is no longer kept for {e.agent_id} ({e.reason})"),
    ev.CallbackArranged: _plain("{e.call_id} becomes a callback at its place ({e.cause})"),
    ev.JointAccepted: _plain("{e.agent_id} accepts {e.call_id} and waits for the other one"),
    ev.JointHeld: _until("{e.agent_id} is held as {e.role} for {e.call_id} until {until}"),
    ev.JointReleased: _joint_released,
    ev.CallInvited: _until(
        "{e.agent_id} invites {e.customer_id} to {e.queue_id} ({e.call_id}), to be accepted by {until}"
    ),
    ev.InvitationAccepted: _invitation_accepted,
    ev.PartyAdded: _plain("{e.agent_id} joins {e.call_id} as {e.role}"),
    ev.PartyRemoved: _party_removed,
    ev.OwnershipMoved: _ownership_moved,
    ev.CallTransferred: _call_transferred,
    ev.SupervisionChanged: _supervision_changed,
    ev.HoldChanged: _hold_changed,
    ev.ScriptStepShown: _script_step_shown,
    ev.ScriptStepAnswered: _plain("the customer of {e.call_id} answers step {e.number} ({e.step_id}): {e.answer}"),
    ev.RoomAssigned: _plain("room {e.call_id}/{e.attempt} is for worker {e.worker_id} (epoch {e.worker_epoch})"),
    ev.RoomOpened: _plain("room {e.call_id}/{e.attempt} is open on worker {e.worker_id}"),
    ev.RoomLost: _room_lost,
    ev.RoomClosed: _plain("room {e.call_id}/{e.attempt} is closed"),
    ev.PartyJoined: _plain("the {e.party}'s media arrive in room {e.call_id}/{e.attempt}"),
    ev.PartyLeft: _party_left,
    ev.RecordingStarted: _plain("the {e.party}'s recording in room {e.call_id}/{e.attempt} has bytes on disk"),
    ev.RecordingFailed: _plain("the {e.party}'s recording in room {e.call_id}/{e.attempt} fails ({e.reason})"),
    ev.RecordingSealed: _recording_sealed,
    ev.RecordingMissing: _plain("the recording of room {e.call_id}/{e.attempt} is missing"),
    **HANDING,
}
