"""The arms of `apply` that concern a call in its waiting line: its need, its priority, whom it is kept for, where it waits."""

from collections.abc import Callable
from typing import Any

from dispatch import events as ev
from dispatch import lifecycle as lc
from dispatch import timers as tm
from dispatch.deadlines import next_step_at_ms
from dispatch.estimate import after_joining
from dispatch.folding_calls import call_of, leave_waiting, move
from dispatch.model import Call, customer_recipient
from dispatch.state import State
from dispatch.wishes import Favourite


def _restand(state: State, call: Call) -> None:
    """The call left its line because something it stands by changed: it is placed again at the end of this step."""
    if call.state == lc.WAITING:
        state.line_up(call)


def _need_relaxed(state: State, event: ev.NeedRelaxed) -> None:
    call = call_of(state, event)
    move(state, call, event)
    state.leave_line(call)
    call.step = event.step
    if at_ms := next_step_at_ms(state, call):
        # Also while it rings or talks: a step opens on time whatever the call is doing (ROUTING.md 5.20).
        state.arm(at_ms, tm.RELAX, call.id)
    _restand(state, call)


def _call_prioritised(state: State, event: ev.CallPrioritised) -> None:
    call = call_of(state, event)
    move(state, call, event)
    state.leave_line(call)
    call.credit_ms, call.is_absolute, call.due_at_ms = event.credit_ms, event.is_absolute, event.due_at_ms
    _restand(state, call)
    state.tell(customer_recipient(call.customer_id), event)


def _favourite_released(state: State, event: ev.FavouriteReleased) -> None:
    call = call_of(state, event)
    move(state, call, event)
    state.leave_line(call)
    if call.favourite is not None:
        call.favourite = Favourite(event.agent_id, call.favourite.rule)
    _restand(state, call)


def _callback_arranged(state: State, event: ev.CallbackArranged) -> None:
    call = call_of(state, event)
    move(state, call, event)
    state.leave_line(call)
    call.is_callback = True
    state.queues[call.queue_id].callbacks_count += 1
    _restand(state, call)
    state.tell(customer_recipient(call.customer_id), event)


def _call_moved(state: State, event: ev.CallMoved) -> None:
    call = call_of(state, event)
    move(state, call, event)
    state.leave_line(call)
    state.queues[call.queue_id].counts[lc.WAITING] -= 1
    leave_waiting(state, state.queues[call.queue_id], call, event.at_ms)
    state.queues[call.queue_id].callbacks_count -= call.is_callback
    state.count_need(call, call.queue_id, -1)
    call.visited = (*call.visited, call.queue_id)
    call.queue_id, call.due_at_ms, call.entered_at_ms, call.step = event.queue_id, event.due_at_ms, event.at_ms, 0
    # As much of the credit as `due_at_ms` has in it: what is taken back later is that, and no more.
    call.credit_ms = min(call.credit_ms, state.queues[call.queue_id].plan.priority_credit_ms_max)
    state.count_need(call, call.queue_id, 1)
    state.queues[call.queue_id].counts[lc.WAITING] += 1
    after_joining(state.pace(state.queues[call.queue_id]), event.at_ms)
    state.queues[call.queue_id].callbacks_count += call.is_callback
    _restand(state, call)
    state.tell(customer_recipient(call.customer_id), event)


def _joint_held(state: State, event: ev.JointHeld) -> None:
    call = call_of(state, event)
    agent = state.agents[event.agent_id]
    move(state, call, event)
    call.held_agent_id, call.held_until_ms = event.agent_id, event.until_ms
    agent.held_for_call_id = call.id
    state.holds[call.id] = agent.id
    state.is_touched = True
    state.arm(event.until_ms, tm.JOINT, call.id)
    state.refresh(agent)


def _joint_released(state: State, event: ev.JointReleased) -> None:
    call = call_of(state, event)
    agent = state.agents[event.agent_id]
    move(state, call, event)
    call.held_agent_id, call.held_until_ms, call.hold_not_before_ms = "", 0, event.not_before_ms
    agent.held_for_call_id = ""
    state.holds.pop(call.id, None)
    if event.not_before_ms:
        state.arm(event.not_before_ms, tm.JOINT, call.id)
    state.refresh(agent)


def _call_refused(state: State, event: ev.CallRefused) -> None:
    """Counted where events are counted (`measures`); nothing here remembers it."""


WAITING_ARMS: dict[type[Any], Callable[[State, Any], None]] = {
    ev.NeedRelaxed: _need_relaxed,
    ev.CallPrioritised: _call_prioritised,
    ev.FavouriteReleased: _favourite_released,
    ev.CallbackArranged: _callback_arranged,
    ev.CallMoved: _call_moved,
    ev.JointHeld: _joint_held,
    ev.JointReleased: _joint_released,
    ev.CallRefused: _call_refused,
}
