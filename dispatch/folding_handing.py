"""The arms of `apply` that concern calls which go to another division, or come from one."""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from dispatch import events as ev
from dispatch import lifecycle as lc
from dispatch import timers as tm
from dispatch.estimate import after_joining
from dispatch.folding_calls import call_of, move
from dispatch.handing_facts import HandedIn, Handing
from dispatch.lifecycle import ImpossibleEvent, call_after
from dispatch.model import Call, Recipient, customer_recipient
from dispatch.state import State

# -- the origin


def _call_handing_over(state: State, event: ev.CallHandingOver) -> None:
    call = call_of(state, event)
    move(state, call, event)
    state.leave_line(call)
    call.version = event.version
    call.handing = Handing(
        event.to_division, event.queue_id, event.version, event.until_ms, event.until_ms, event.cause, event.credit_ms
    )
    state.has_rooms = True
    state.arm(event.until_ms, tm.HAND_OVER, call.id)
    state.tell(customer_recipient(call.customer_id), event)


def _handing_of(call: Call, event: Any) -> Handing:
    """The hand-over that the event answers: the one that was sent last."""
    call_after(call.state, event)
    if call.handing is None or call.handing.version != event.version:
        raise ImpossibleEvent(f"the call is not being handed over so: {event!r}")
    return call.handing


def _hand_over_revoked(state: State, event: ev.HandOverRevoked) -> None:
    call = call_of(state, event)
    move(state, call, event)
    if call.handing is None or call.handing.version >= event.version:
        raise ImpossibleEvent(f"not a later word about this hand-over: {event!r}")
    call.version = event.version
    call.handing = replace(
        call.handing, version=event.version, until_ms=event.until_ms, is_revoked=True, reason=event.reason
    )
    state.arm(event.until_ms, tm.HAND_OVER, call.id)


def _hand_over_refused(state: State, event: ev.HandOverRefused) -> None:
    call = call_of(state, event)
    handing = _handing_of(call, event)
    move(state, call, event)
    call.handing = None
    call.visited = (*call.visited, handing.address)
    state.line_up(call)
    state.tell(customer_recipient(call.customer_id), event)


def _call_handed_over(state: State, event: ev.CallHandedOver) -> None:
    call = call_of(state, event)
    handing = _handing_of(call, event)
    move(state, call, event)
    if call.wishes is not None:
        state.count_need(call, call.queue_id, -1)
    call.handing = replace(handing, until_ms=event.until_ms)
    state.arm(event.until_ms, tm.HAND_OVER, call.id)
    state.tell(customer_recipient(call.customer_id), event)


def _handed_call_ended(state: State, event: ev.HandedCallEnded) -> None:
    call = call_of(state, event)
    move(state, call, event)
    call.handing = None
    call.ended_at_ms, call.end_reason, call.forget_at_ms = event.at_ms, event.reason, event.forget_at_ms
    state.arm(event.forget_at_ms, tm.FORGET, call.id)
    state.tell(customer_recipient(call.customer_id), event)


# -- the target


def _hand_over_admitted(state: State, event: ev.HandOverAdmitted) -> None:
    came = event.call
    before = state.calls.get(event.call_id)
    if before is not None:
        call_after(before.state, event)
        state.queues[before.queue_id].counts[before.state] -= 1
    state.calls_admitted_count += 1
    call = Call(
        id=event.call_id,
        customer_id=event.customer_id,
        queue_id=event.queue_id,
        order=state.calls_admitted_count,
        queued_at_ms=event.queued_at_ms,
        due_at_ms=event.due_at_ms,
        business_reference=came.business_reference,
        is_consented=came.is_consented,
        recording=event.recording,
        media=event.media,
        attempt=came.attempt,
        room_attempt=came.room_attempt,
        script_count=came.script_count,
        requeued_count=came.requeued_count,
        wishes=came.wishes,
        visited=tuple(one.removeprefix(state.division_id + "/") for one in came.visited),
        entered_at_ms=event.at_ms,
        credit_ms=event.credit_ms,
        is_absolute=came.is_absolute,
        version=came.version,
        hops=came.hops,
        origins=((came.from_division, came.version),),
    )
    if before is not None:
        # It was here before: what media workers still owe us for that time is not forgotten, nor who waits for its end.
        call.rooms, call.unsealed, call.origins = before.rooms, before.unsealed, (*before.origins, *call.origins)
    state.calls[call.id] = call
    state.call_by_customer[call.customer_id] = call.id
    queue = state.queues[event.queue_id]
    queue.counts[lc.WAITING] += 1
    after_joining(state.pace(queue), event.at_ms)
    state.count_need(call, call.queue_id, 1)
    state.has_rooms = True
    _expect_customer(state, call, event)
    remember(state, call.id, HandedIn(came.version, "", came.valid_until_ms, event.seq), event.at_ms)
    state.line_up(call)
    state.tell(customer_recipient(call.customer_id), event)


def _expect_customer(state: State, call: Call, event: ev.HandOverAdmitted) -> None:
    """The customer's numbers go on here; nothing from before is kept, so an older number than that gets a snapshot."""
    if not event.seq:
        return
    recipient_id = customer_recipient(call.customer_id)
    recipient = state.recipients.get(recipient_id)
    if recipient is None:
        recipient = state.recipients[recipient_id] = Recipient(id=recipient_id)
    recipient.seq, recipient.kept = event.seq, []
    if event.grace_until_ms:
        recipient.grace_until_ms = event.grace_until_ms
        call.is_customer_gone = True
        state.arm(event.grace_until_ms, tm.GRACE, recipient_id)


def _hand_over_declined(state: State, event: ev.HandOverDeclined) -> None:
    remember(state, event.call_id, HandedIn(event.version, event.reason, event.until_ms), event.at_ms)


def remember(state: State, call_id: str, answer: HandedIn, at_ms: int) -> None:
    """Keep an answer for repeats; what is over is forgotten, the oldest first."""
    known = state.handed_in
    while known and next(iter(known.values())).until_ms < at_ms:
        del known[next(iter(known))]
    known.pop(call_id, None)
    known[call_id] = answer


def _origin_told(state: State, event: ev.OriginTold) -> None:
    call = call_of(state, event)
    move(state, call, event)
    call.origins = tuple([one for one in call.origins if one[1] != event.version])
    if call.handing is not None and call.handing.version == event.version:
        call.handing = None


HANDING_ARMS: dict[type[Any], Callable[[State, Any], None]] = {
    ev.CallHandingOver: _call_handing_over,
    ev.HandOverRevoked: _hand_over_revoked,
    ev.HandOverRefused: _hand_over_refused,
    ev.CallHandedOver: _call_handed_over,
    ev.HandedCallEnded: _handed_call_ended,
    ev.HandOverAdmitted: _hand_over_admitted,
    ev.HandOverDeclined: _hand_over_declined,
    ev.OriginTold: _origin_told,
}
