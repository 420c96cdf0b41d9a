"""`apply`, arm by arm: the only code that changes a division's records (with the other `folding_*` files).

Each arm starts with its precondition (a lifecycle table, or the record it needs) and then changes records and their indexes.
Arms never decide: whatever needs a choice (a deadline, a refusal, a next agent) stands in the event already, so a
replay can neither choose differently nor send anything. Here: a call's way. Beside: `folding_presence` (connections),
`folding_agents` (plan, activity, wrap-up), `folding_waiting`, `folding_talking`, `folding_scripts`, `folding_handing`,
`folding_rooms`, `folding_answers`.
"""

from collections.abc import Callable
from typing import Any, Final

from dispatch import events as ev
from dispatch import lifecycle as lc
from dispatch import timers as tm
from dispatch.estimate import after_answer, after_joining, after_talk
from dispatch.folding_agents import AGENT_ARMS, engage, free, occupy, start_wrap_up
from dispatch.folding_answers import ANSWER_ARMS
from dispatch.folding_calls import ask_room, call_of, leave_room, move, refuse, remember_agent
from dispatch.folding_handing import HANDING_ARMS
from dispatch.folding_presence import PRESENCE_ARMS, drop_customer
from dispatch.folding_rooms import ROOM_ARMS
from dispatch.folding_scripts import SCRIPT_ARMS
from dispatch.folding_talking import TALKING_ARMS
from dispatch.folding_waiting import WAITING_ARMS
from dispatch.lifecycle import ImpossibleEvent, reservation_after
from dispatch.model import Call, Reservation, customer_recipient
from dispatch.state import State
from dispatch.wishes import NEVER_MS


def apply(state: State, event: ev.Event) -> None:
    """Change `state` as `event` says. Raises `ImpossibleEvent` when it cannot have happened here."""
    if event.at_ms > state.now_ms:
        state.now_ms = event.at_ms
    ARMS[type(event)](state, event)


def _call_queued(state: State, event: ev.CallQueued) -> None:
    if event.call_id in state.calls:
        raise ImpossibleEvent(f"call twice: {event!r}")
    queue = state.queues[event.queue_id]
    state.calls_admitted_count += 1
    call = Call(
        id=event.call_id,
        customer_id=event.customer_id,
        queue_id=event.queue_id,
        order=state.calls_admitted_count,
        queued_at_ms=event.queued_at_ms,
        due_at_ms=event.due_at_ms,
        business_reference=event.business_reference,
        is_consented=event.is_consented,
        recording=event.recording,
        media=event.media,
    )
    state.calls[call.id] = call
    state.call_by_customer[call.customer_id] = call.id
    queue.counts[lc.WAITING] += 1
    after_joining(state.pace(queue), event.at_ms)
    if event.wishes is not None or event.favourite is not None or event.is_callback or event.asked_queue_id:
        _add_wishes(state, call, event)
    if state.is_live:
        state.line_up(call)
    if state.recipients:
        state.tell(customer_recipient(call.customer_id), event)


def _add_wishes(state: State, call: Call, event: ev.CallQueued) -> None:
    """What an ordinary call has none of."""
    call.favourite, call.is_callback = event.favourite, event.is_callback
    call.visited = (event.asked_queue_id,) if event.asked_queue_id else ()
    state.queues[call.queue_id].callbacks_count += event.is_callback
    wishes = call.wishes = event.wishes
    if wishes is not None:
        credit_ms_max = state.queues[call.queue_id].plan.priority_credit_ms_max
        call.credit_ms, call.is_absolute = min(wishes.credit_ms, credit_ms_max), wishes.is_absolute
        call.refused_until_ms = dict.fromkeys(wishes.excluded_agent_ids, NEVER_MS) or None
        state.count_need(call, call.queue_id, 1)


def _call_reserved(state: State, event: ev.CallReserved) -> None:
    call = call_of(state, event)
    agent = state.agents[event.agent_id]
    plan = move(state, call, event).plan
    if call.id in state.standing:
        state.leave_line(call)
    engage(agent, call.id, event)
    cost_units = event.cost_units or plan.cost_units
    agent.used_units += cost_units
    state.reservations_count += 1
    agent.reserved_order = state.reservations_count
    reservation = Reservation(
        event.reservation_id,
        event.agent_id,
        event.expires_at_ms,
        cost_units,
        event.role,
        0,
        False,
        event.at_ms,
        event.why,
        event.key,
        event.runner_up_id,
    )
    call.reservations = (*call.reservations, reservation)
    call.attempt = event.attempt
    if state.is_live:
        state.timers.arm(event.expires_at_ms, tm.RESERVATION, call.id, event.agent_id)
        if plan.reservations_max > 1 and event.role == "agent" and call.state == lc.RESERVED:
            state.rung.append(call)
            state.is_touched = True
        state.refresh(agent)
    if state.recipients:
        state.tell_asked(call, event)


def reservation_of(call: Call, event: Any) -> Reservation:
    """The pending reservation that the event is about."""
    for reservation in call.reservations:
        if reservation.id == event.reservation_id and reservation.agent_id == event.agent_id:
            reservation_after(lc.PENDING, event)
            return reservation
    raise ImpossibleEvent(f"no such reservation is pending: {event!r}")


def without(reservations: tuple[Reservation, ...], gone: Reservation) -> tuple[Reservation, ...]:
    """All but one of them."""
    return tuple([one for one in reservations if one is not gone]) if len(reservations) > 1 else ()


def _reservation_accepted(state: State, event: ev.ReservationAccepted) -> None:
    call = call_of(state, event)
    agent = state.agents[event.agent_id]
    reservation = reservation_of(call, event)
    queue = move(state, call, event)
    engage(agent, call.id, event)
    occupy(agent, event.at_ms)
    if not reservation.is_accepted:  # Else the agent answered earlier, and what was missed since counts.
        agent.misses = 0
    agent.answered_count += 1
    call.reservations = without(call.reservations, reservation)
    call.agent_id, call.reservation_id, call.cost_units = agent.id, reservation.id, reservation.cost_units
    call.media_until_ms = event.connecting_until_ms
    if call.is_callback:
        queue.callbacks_count -= 1
    if event.room_attempt:
        ask_room(call, event.room_attempt)
        state.has_rooms = True
    after_answer(state.pace(queue), event.at_ms)
    if state.is_live:
        state.timers.arm(event.connecting_until_ms, tm.MEDIA, call.id)
        state.refresh(agent)
    state.tell_parties(call, event)


def _joint_accepted(state: State, event: ev.JointAccepted) -> None:
    call = call_of(state, event)
    reservation = reservation_of(call, event)
    move(state, call, event)
    reservation.is_accepted = True
    state.agents[event.agent_id].misses = 0
    state.tell_parties(call, event)


_COUNTED: Final = {
    "expired": "missed_count",
    "declined": "declined_count",
    "busy": "busy_count",
    "agent_lost": "lost_count",
}


def _reservation_closed(state: State, event: ev.ReservationClosed) -> None:
    call = call_of(state, event)
    agent = state.agents[event.agent_id]
    reservation = reservation_of(call, event)
    state.tell_asked(call, event)
    call.reservations = without(call.reservations, reservation)
    if not call.reservations or call.state != lc.RESERVED:
        move(state, call, event)
    engage(agent, call.id, event)
    agent.used_units -= reservation.cost_units
    _count_outcome(state, call, event)
    if call.state == lc.WAITING:
        state.line_up(call)
    state.refresh(agent)


def _count_outcome(state: State, call: Call, event: ev.ReservationClosed) -> None:
    """Misses, delays and refusals, as the outcome says."""
    agent = state.agents[event.agent_id]
    counted = _COUNTED.get(event.outcome)
    if counted is not None:
        setattr(agent, counted, getattr(agent, counted) + 1)
    delay_until_ms = event.agent_not_before_ms
    if event.outcome == "expired":
        agent.misses += 1
        delay_until_ms = event.not_before_ms
    elif event.not_before_ms:
        refuse(state, call, agent.id, event.not_before_ms)
    if delay_until_ms > agent.not_before_ms:
        agent.not_before_ms = delay_until_ms
        state.arm(delay_until_ms, tm.DELAY, agent.id)


def _call_connected(state: State, event: ev.CallConnected) -> None:
    call = call_of(state, event)
    move(state, call, event)
    call.connected_at_ms = call.connected_at_ms or event.at_ms
    call.media_until_ms = 0
    state.tell_parties(call, event)


def _call_requeued(state: State, event: ev.CallRequeued) -> None:
    call = call_of(state, event)
    agent = state.agents[event.agent_id]
    queue = move(state, call, event)
    engage(agent, call.id, event)
    leave_room(call)
    state.tell_parties(call, event)
    agent.used_units -= call.cost_units
    agent.idle_since_ms = event.at_ms
    free(agent, event.at_ms)
    call.agent_id = call.reservation_id = ""
    if call.connected_at_ms:
        after_talk(state.pace(queue), event.at_ms - call.connected_at_ms)
    call.media_until_ms = call.cost_units = call.connected_at_ms = call.on_hold_until_ms = 0
    call.supervisors = call.script_step = None
    if event.call_not_before_ms:
        call.callback_count += 1
        call.not_before_ms = event.call_not_before_ms
    else:
        call.requeued_count += 1
    if call.is_callback:
        queue.callbacks_count += 1
    if event.not_before_ms:
        refuse(state, call, agent.id, event.not_before_ms)
    state.line_up(call)
    state.refresh(agent)


def _call_ended(state: State, event: ev.CallEnded) -> None:
    call = call_of(state, event)
    if call.reservations or call.parties:
        raise ImpossibleEvent(f"somebody is still in the call: {event!r}")
    if call.is_callback and call.state == lc.WAITING:
        state.queues[call.queue_id].callbacks_count -= 1
    queue = move(state, call, event)
    if call.id in state.standing:
        state.leave_line(call)
    if call.rooms:
        leave_room(call)
    if call.wishes is not None and call.queued_at_ms:
        state.count_need(call, call.queue_id, -1)
    call.ended_at_ms, call.end_reason, call.media_until_ms = event.at_ms, event.reason, 0
    call.on_hold_until_ms = 0
    call.forget_at_ms = event.forget_at_ms
    if state.is_live:
        state.timers.arm(event.forget_at_ms, tm.FORGET, call.id)
    state.tell_parties(call, event)
    call.supervisors = call.script_step = None
    if event.agent_id:
        cost_units, call.cost_units = call.cost_units, 0
        start_wrap_up(state, call, event.agent_id, cost_units, event)
        if event.talked_ms:
            after_talk(state.pace(queue), event.talked_ms)
            if queue.plan.last_agent_window_ms:
                remember_agent(state, call.customer_id, event.agent_id, event.at_ms)


def _call_forgotten(state: State, event: ev.CallForgotten) -> None:
    call = call_of(state, event)
    move(state, call, event).counts[lc.ENDED] -= 1
    state.ended_count -= 1
    del state.calls[call.id]
    if state.call_by_customer.get(call.customer_id) == call.id:
        del state.call_by_customer[call.customer_id]
    if state.recipients:
        recipient = state.recipients.get(customer_recipient(call.customer_id))
        if recipient is not None:
            drop_customer(state, recipient)


ARMS: Final[dict[type[Any], Callable[[State, Any], None]]] = {
    ev.CallQueued: _call_queued,
    ev.CallReserved: _call_reserved,
    ev.ReservationAccepted: _reservation_accepted,
    ev.JointAccepted: _joint_accepted,
    ev.ReservationClosed: _reservation_closed,
    ev.CallConnected: _call_connected,
    ev.CallRequeued: _call_requeued,
    ev.CallEnded: _call_ended,
    ev.CallForgotten: _call_forgotten,
    **AGENT_ARMS,
    **PRESENCE_ARMS,
    **WAITING_ARMS,
    **TALKING_ARMS,
    **SCRIPT_ARMS,
    **HANDING_ARMS,
    **ROOM_ARMS,
    **ANSWER_ARMS,
}
