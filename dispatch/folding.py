"""`apply`, arm by arm: the only code that changes a division's records (with `folding_presence` and `folding_rooms`).

Each arm starts with its precondition (a lifecycle table, or the record it needs) and then changes records and their indexes.
Arms never decide: whatever needs a choice (a deadline, a refusal, a next agent) stands in the event already, so a
replay can neither choose differently nor send anything.
"""

from collections.abc import Callable
from typing import Any

from dispatch import events as ev
from dispatch import lifecycle as lc
from dispatch import timers as tm
from dispatch.estimate import smoothed_gap
from dispatch.folding_presence import PRESENCE_ARMS, drop_customer
from dispatch.folding_rooms import ROOM_ARMS, ask_room, call_of, leave_room, move
from dispatch.lifecycle import ImpossibleEvent, engagement_after
from dispatch.model import (
    ANSWERS_MAX,
    KEY_PREFIX,
    KEY_RETENTION_MS,
    Agent,
    Call,
    Pace,
    Remembered,
    WrapUpWork,
    agent_recipient,
    customer_recipient,
)
from dispatch.plan import Plan
from dispatch.state import State


def apply(state: State, event: ev.Event) -> None:
    """Change `state` as `event` says. Raises `ImpossibleEvent` when it cannot have happened here."""
    if event.at_ms > state.now_ms:
        state.now_ms = event.at_ms
    ARMS[type(event)](state, event)


def _engage(agent: Agent, call_id: str, event: ev.Event) -> str:
    after = engagement_after(agent.engagements.get(call_id, lc.IDLE), event)
    if after == lc.IDLE:
        agent.engagements.pop(call_id, None)
    else:
        agent.engagements[call_id] = after
    return after


# -- plan


def _plan_applied(state: State, event: ev.PlanApplied) -> None:
    in_use = {call.queue_id for call in state.calls.values()}
    known = {queue.id for queue in event.plan.queues}
    plans = {queue_id: queue.plan for queue_id, queue in state.queues.items()}
    state.retired_plans = {
        queue_id: plan for queue_id, plan in plans.items() if queue_id in in_use and queue_id not in known
    }
    state.plan = event.plan
    state.plan_digest = event.digest
    _replan_agents(state, event.plan)
    state.rebuild()


def _replan_agents(state: State, plan: Plan) -> None:
    old = state.agents
    state.agents = {}
    for order, agent_plan in enumerate(plan.agents):
        agent = old.pop(agent_plan.id, None)
        if agent is None:
            agent = Agent(id=agent_plan.id, order=order, name="", skills={}, capacity_units=0)
        agent.order, agent.name, agent.skills = order, agent_plan.name, agent_plan.skills
        agent.capacity_units, agent.is_retired = agent_plan.capacity_units, False
        state.agents[agent.id] = agent
    for agent in old.values():
        if agent.engagements:
            agent.order, agent.is_retired = len(state.agents), True
            state.agents[agent.id] = agent


# -- agents


def _agent_activity_changed(state: State, event: ev.AgentActivityChanged) -> None:
    agent = state.agents.get(event.agent_id)
    if agent is None:
        raise ImpossibleEvent(f"no such agent: {event!r}")
    if agent.activity == lc.OFFLINE and event.activity != lc.OFFLINE:
        agent.idle_since_ms = event.at_ms
        agent.misses = 0
    agent.activity, agent.reason = event.activity, event.reason
    if event.activity == lc.READY:
        agent.misses = agent.not_before_ms = 0
    state.tell(agent_recipient(agent.id), event)
    state.refresh(agent)


# -- a call's way


def _call_queued(state: State, event: ev.CallQueued) -> None:
    if event.call_id in state.calls:
        raise ImpossibleEvent(f"call twice: {event!r}")
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
    state.queues[call.queue_id].counts[lc.WAITING] += 1
    state.line_up(call)
    state.tell(customer_recipient(call.customer_id), event)


def _call_moved(state: State, event: ev.CallMoved) -> None:
    call = call_of(state, event)
    move(state, call, event)
    if not call.is_customer_gone:
        state.leave_line(call)
    state.queues[call.queue_id].counts[call.state] -= 1
    call.queue_id, call.due_at_ms = event.queue_id, event.due_at_ms
    state.queues[call.queue_id].counts[call.state] += 1
    if not call.is_customer_gone:
        state.line_up(call)
    state.tell(customer_recipient(call.customer_id), event)


def _call_reserved(state: State, event: ev.CallReserved) -> None:
    call = call_of(state, event)
    agent = state.agents[event.agent_id]
    move(state, call, event)
    state.leave_line(call)
    _engage(agent, call.id, event)
    call.cost_units = state.queues[call.queue_id].plan.cost_units
    agent.used_units += call.cost_units
    call.agent_id, call.reservation_id = event.agent_id, event.reservation_id
    call.attempt, call.expires_at_ms = event.attempt, event.expires_at_ms
    state.timers.arm(event.expires_at_ms, tm.RESERVATION, call.id)
    state.refresh(agent)
    state.tell_parties(call, event)


def _reservation_accepted(state: State, event: ev.ReservationAccepted) -> None:
    call = call_of(state, event)
    agent = state.agents[event.agent_id]
    move(state, call, event)
    _engage(agent, call.id, event)
    agent.misses = 0
    call.expires_at_ms = call.agent_gone_until_ms = 0
    call.media_until_ms = event.connecting_until_ms
    state.timers.arm(event.connecting_until_ms, tm.MEDIA, call.id)
    if event.room_attempt:
        ask_room(call, event.room_attempt)
    pace = state.paces.setdefault(call.queue_id, Pace())
    if pace.answered_at_ms:
        pace.gap_ms = smoothed_gap(pace.gap_ms, event.at_ms - pace.answered_at_ms)
    pace.answered_at_ms = event.at_ms
    state.tell_parties(call, event)


def _reservation_closed(state: State, event: ev.ReservationClosed) -> None:
    call = call_of(state, event)
    agent = state.agents[event.agent_id]
    move(state, call, event)
    _engage(agent, call.id, event)
    agent.used_units -= call.cost_units
    state.tell_parties(call, event)
    call.agent_id = call.reservation_id = ""
    call.expires_at_ms = call.agent_gone_until_ms = call.cost_units = 0
    if event.outcome == "expired":
        agent.misses += 1
        agent.not_before_ms = event.not_before_ms
        state.timers.arm(event.not_before_ms, tm.DELAY, agent.id)
    elif event.not_before_ms:
        _refuse(state, call, agent.id, event.not_before_ms)
    if not call.is_customer_gone:
        state.line_up(call)
    state.refresh(agent)


def _refuse(state: State, call: Call, agent_id: str, until_ms: int) -> None:
    refused = {one: at for one, at in (call.refused_until_ms or {}).items() if at > state.now_ms}
    refused[agent_id] = until_ms
    call.refused_until_ms = refused
    state.timers.arm(until_ms, tm.REFUSED, call.id, agent_id)


def _call_connected(state: State, event: ev.CallConnected) -> None:
    call = call_of(state, event)
    move(state, call, event)
    call.connected_at_ms = call.connected_at_ms or event.at_ms
    call.media_until_ms = 0
    state.tell_parties(call, event)


def _call_requeued(state: State, event: ev.CallRequeued) -> None:
    call = call_of(state, event)
    agent = state.agents[event.agent_id]
    move(state, call, event)
    _engage(agent, call.id, event)
    leave_room(call)
    agent.used_units -= call.cost_units
    agent.idle_since_ms = event.at_ms
    state.tell_parties(call, event)
    call.agent_id = call.reservation_id = ""
    call.media_until_ms = call.cost_units = call.connected_at_ms = 0
    call.requeued_count += 1
    if event.not_before_ms:
        _refuse(state, call, agent.id, event.not_before_ms)
    if not call.is_customer_gone:
        state.line_up(call)
    state.refresh(agent)


def _call_ended(state: State, event: ev.CallEnded) -> None:
    call = call_of(state, event)
    is_in_line = call.state == lc.WAITING and not call.is_customer_gone
    move(state, call, event)
    if is_in_line:
        state.leave_line(call)
    leave_room(call)
    call.ended_at_ms, call.end_reason, call.media_until_ms = event.at_ms, event.reason, 0
    call.forget_at_ms = event.forget_at_ms
    state.timers.arm(event.forget_at_ms, tm.FORGET, call.id)
    state.tell_parties(call, event)
    if event.agent_id:
        _wrap_up(state, call, event)


def _wrap_up(state: State, call: Call, event: ev.CallEnded) -> None:
    agent = state.agents[event.agent_id]
    _engage(agent, call.id, event)
    if event.wrap_up == "none":
        del agent.engagements[call.id]
        agent.used_units -= call.cost_units
        agent.idle_since_ms = event.at_ms
    else:
        agent.wrap_ups[call.id] = WrapUpWork(
            call.id, event.wrap_up, event.at_ms, event.wrap_up_until_ms, call.cost_units, call.queue_id
        )
        state.timers.arm(event.wrap_up_until_ms, tm.WRAP_UP, agent.id, call.id)
    call.cost_units = 0
    state.refresh(agent)


def _wrap_up_extended(state: State, event: ev.WrapUpExtended) -> None:
    agent = state.agents[event.agent_id]
    _engage(agent, event.call_id, event)
    agent.wrap_ups[event.call_id].until_ms = event.until_ms
    state.timers.arm(event.until_ms, tm.WRAP_UP, agent.id, event.call_id)
    state.tell(agent_recipient(agent.id), event)


def _wrap_up_ended(state: State, event: ev.WrapUpEnded) -> None:
    agent = state.agents[event.agent_id]
    _engage(agent, event.call_id, event)
    agent.used_units -= agent.wrap_ups.pop(event.call_id).cost_units
    agent.idle_since_ms = event.at_ms
    state.tell(agent_recipient(agent.id), event)
    state.refresh(agent)


def _call_forgotten(state: State, event: ev.CallForgotten) -> None:
    call = call_of(state, event)
    move(state, call, event)
    state.queues[call.queue_id].counts[lc.ENDED] -= 1
    state.ended_count -= 1
    del state.calls[call.id]
    if state.call_by_customer.get(call.customer_id) == call.id:
        del state.call_by_customer[call.customer_id]
    recipient = state.recipients.get(customer_recipient(call.customer_id))
    if recipient is not None:
        drop_customer(state, recipient)


# -- answers and time


def _answered(state: State, event: ev.Answered) -> None:
    remembered = Remembered(event.reason, event.value, event.fingerprint, event.at_ms)
    if event.id.startswith(KEY_PREFIX):
        keys = state.keys
        while keys and next(iter(keys.values())).at_ms < event.at_ms - KEY_RETENTION_MS:
            del keys[next(iter(keys))]
        keys[f"{event.principal}|{event.id}"] = remembered
        return
    answers = state.answers.get(event.principal)
    if answers is None:
        if len(state.answers) >= state.plan.idempotency_keys_max:
            del state.answers[next(iter(state.answers))]
        answers = state.answers[event.principal] = {}
    answers[event.id] = remembered
    if len(answers) > ANSWERS_MAX:
        del answers[next(iter(answers))]


def _resumed(state: State, event: ev.Resumed) -> None:
    moved = event.outage_ms
    for call in state.calls.values():
        for name in ("expires_at_ms", "agent_gone_until_ms", "media_until_ms"):
            if getattr(call, name):
                setattr(call, name, getattr(call, name) + moved)
    for agent in state.agents.values():
        for work in agent.wrap_ups.values():
            work.until_ms += moved
    for recipient in state.recipients.values():
        if recipient.grace_until_ms:
            recipient.grace_until_ms += moved
    state.rebuild()


ARMS: dict[type[Any], Callable[[State, Any], None]] = {
    ev.PlanApplied: _plan_applied,
    **PRESENCE_ARMS,
    ev.AgentActivityChanged: _agent_activity_changed,
    ev.CallQueued: _call_queued,
    ev.CallMoved: _call_moved,
    ev.CallReserved: _call_reserved,
    ev.ReservationAccepted: _reservation_accepted,
    ev.ReservationClosed: _reservation_closed,
    ev.CallConnected: _call_connected,
    ev.CallRequeued: _call_requeued,
    ev.CallEnded: _call_ended,
    ev.WrapUpExtended: _wrap_up_extended,
    ev.WrapUpEnded: _wrap_up_ended,
    ev.CallForgotten: _call_forgotten,
    **ROOM_ARMS,
    ev.Answered: _answered,
    ev.Resumed: _resumed,
}
