"""Reads: values made from the state for callers. Costs are named where they grow."""

from typing import Final

from dispatch import lifecycle as lc
from dispatch.estimate import Place, estimated_wait_ms
from dispatch.events import CallReserved
from dispatch.model import Agent, Call, Pace, agent_recipient
from dispatch.state import State
from dispatch.views import (
    AgentView,
    CallView,
    PartyView,
    PositionView,
    QueueView,
    RoomView,
    ScriptStepView,
    SessionView,
    WrapUpView,
)

_NO_PACE: Final = Pace()


def call_view(state: State, call_id: str) -> CallView | None:
    """A call in memory, or None: then its history answers for it."""
    call = state.calls.get(call_id)
    if call is None:
        return None
    room = call.room()
    asked = call.reservations[0] if call.reservations and call.state == lc.RESERVED else None
    agent_id = asked.agent_id if asked is not None else call.agent_id
    agent, step = state.agents.get(agent_id), call.script_step
    return CallView(
        call.id,
        call.state,
        call.customer_id,
        call.queue_id,
        call.queued_at_ms,
        call.due_at_ms,
        call.business_reference,
        call.recording,
        call.media,
        agent_id,
        agent.name if agent else "",
        call.attempt,
        _position(state, call),
        RoomView(room.attempt, room.state == lc.OPEN, room.worker_id, room.worker_epoch) if room else None,
        list(call.recording_parties),
        call.connected_at_ms,
        call.ended_at_ms,
        call.end_reason,
        asked.id if asked is not None else call.reservation_id,
        call.is_callback,
        call.invited_until_ms,
        call.on_hold_until_ms,
        _parties(call),
        dict(call.supervisors or {}),
        call.credit_ms,
        call.is_absolute,
        call.handing.to_division if call.handing is not None and call.state != lc.ENDED else "",
        ScriptStepView(step.number, step.step_id, step.text, list(step.answers), step.answer) if step else None,
    )


def _parties(call: Call) -> list[PartyView]:
    parties = [PartyView(one.agent_id, one.role, False) for one in call.parties]
    if call.state in lc.TALKING:
        parties += [PartyView(one.agent_id, one.role, True) for one in call.reservations]
    return parties


def _position(state: State, call: Call) -> int:
    return state.queues[call.queue_id].position(state.key(call)) if call.id in state.standing else 0


def position_views(state: State, call_ids: list[str]) -> list[PositionView]:
    """Positions of those that wait; the others are left out. O(log n) each."""
    views = []
    for call_id in call_ids:
        call = state.calls.get(call_id)
        place = place_of(state, call) if call is not None else None
        if call is not None and place is not None:
            estimate_ms = estimated_wait_ms(state.paces.get(call.queue_id, _NO_PACE), place)
            views.append(PositionView(call_id, place.position, estimate_ms))
    return views


def place_of(state: State, call: Call) -> Place | None:
    """Where a waiting call stands, for an estimator; None when it has no place. O(log n)."""
    position = _position(state, call)
    return _place(state, call.queue_id, position, state.now_ms - call.queued_at_ms) if position else None


def _place(state: State, queue_id: str, position: int, waited_ms: int) -> Place:
    queue, now_ms = state.queues[queue_id], state.now_ms
    head = queue.head()
    head_waited_ms = now_ms - state.calls[head[2]].queued_at_ms if head is not None else 0
    return Place(position, waited_ms, head_waited_ms, queue.counts[lc.CONNECTED], now_ms)


def _joining_estimate(state: State, queue_id: str) -> int | None:
    """How long somebody who would join now will wait."""
    place = _place(state, queue_id, state.queues[queue_id].line_length + 1, 0)
    return estimated_wait_ms(state.paces.get(queue_id, _NO_PACE), place)


def occupation(agent: Agent) -> str:
    """What occupies an agent most: a call, then a reservation, then wrap-up."""
    states = agent.engagements.values()
    return next((one for one in (lc.IN_CALL, lc.RESERVED, lc.WRAP_UP) if one in states), lc.IDLE)


def agent_view(state: State, agent_id: str) -> AgentView | None:
    """An agent as it is now, or None when the division has no such agent."""
    agent = state.agents.get(agent_id)
    if agent is None:
        return None
    recipient = state.recipients.get(agent_recipient(agent_id))
    in_call = [call_id for call_id, engagement in agent.engagements.items() if engagement == lc.IN_CALL]
    reserved = [call_id for call_id, engagement in agent.engagements.items() if engagement == lc.RESERVED]
    return AgentView(
        agent.id,
        agent.name,
        agent.skills,
        agent.activity,
        agent.reason,
        occupation(agent),
        bool(recipient and recipient.connection_id),
        agent.misses,
        agent.used_units,
        agent.capacity_units,
        in_call,
        [one.id for call_id in reserved if (one := state.calls[call_id].reservation_of(agent_id)) is not None],
        [WrapUpView(work.call_id, work.until_ms, work.kind) for work in agent.wrap_ups.values()],
        agent.idle_since_ms,
    )


def queue_view(state: State, queue_id: str, now_ms: int) -> QueueView | None:
    """O(kinds of agents qualified for the queue)."""
    queue = state.queues.get(queue_id)
    if queue is None:
        return None
    agents = dict.fromkeys((lc.OFFLINE, lc.NOT_READY, lc.READY, lc.RESERVED, lc.IN_CALL, lc.WRAP_UP), 0)
    state.count_doing()
    for kind in state.pool(queue.plan.need, queue.plan).kinds:
        for doing, count in kind.counts.items():
            agents[doing] = agents.get(doing, 0) + count
    head = queue.head()
    is_free = agents[lc.READY] and head is None and queue.is_serving
    return QueueView(
        queue_id,
        queue.plan.name,
        queue.counts[lc.WAITING],
        max(0, now_ms - state.calls[head[2]].queued_at_ms) if head else 0,
        agents,
        {one: queue.counts[one] for one in lc.LIVE_STATES},
        0 if is_free else _joining_estimate(state, queue_id),
    )


def session_view(state: State, recipient_id: str) -> SessionView:
    """All that one client needs to draw its page anew."""
    role, _, own_id = recipient_id.partition(":")
    recipient = state.recipients.get(recipient_id)
    view = SessionView(recipient_id, recipient.seq if recipient else 0)
    if role == "customer":
        view.call = call_view(state, state.call_by_customer.get(own_id, ""))
    elif role == "agent" and own_id in state.agents:
        _add_agent(state, view, own_id)
    return view


def _add_agent(state: State, view: SessionView, agent_id: str) -> None:
    view.agent = agent_view(state, agent_id)
    if view.agent is None:
        return
    if view.agent.call_ids:
        view.call = call_view(state, view.agent.call_ids[0])
    if view.agent.wrap_ups:
        view.wrap_up = view.agent.wrap_ups[0]
    for reservation_id in view.agent.reservation_ids:
        view.reservation = reserved_event(state, state.calls[reservation_id.rpartition(".")[0]], agent_id)


def reserved_event(state: State, call: Call, agent_id: str) -> CallReserved | None:
    """The agent's pending reservation as the event that announced it."""
    reservation = call.reservation_of(agent_id)
    if reservation is None:
        return None
    return CallReserved(
        state.now_ms,
        call.id,
        reservation.id,
        agent_id,
        call.customer_id,
        call.queue_id,
        call.attempt,
        reservation.expires_at_ms,
        state.now_ms - call.queued_at_ms,
        reservation.rule or state.queues[call.queue_id].plan.strategy,
        call.business_reference,
        call.media,
        reservation.role,
        call.step,
        reservation.key,
        cost_units=reservation.cost_units,
    )
