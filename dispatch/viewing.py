"""Reads: values made from the state for callers. Costs are named where they grow."""

from dispatch import lifecycle as lc
from dispatch.estimate import estimated_wait_ms
from dispatch.events import CallReserved
from dispatch.model import Agent, Call, Pace, agent_recipient
from dispatch.state import State
from dispatch.views import AgentView, CallView, PositionView, QueueView, RoomView, SessionView, WrapUpView

_NO_PACE = Pace()


def call_view(state: State, call_id: str) -> CallView | None:
    """A call in memory, or None: then its history answers for it."""
    call = state.calls.get(call_id)
    if call is None:
        return None
    room = call.room()
    agent = state.agents.get(call.agent_id)
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
        call.agent_id,
        agent.name if agent else "",
        call.attempt,
        _position(state, call),
        RoomView(room.attempt, room.state == lc.OPEN, room.worker_id, room.worker_epoch) if room else None,
        list(call.recording_parties),
        call.connected_at_ms,
        call.ended_at_ms,
        call.end_reason,
        call.reservation_id,
    )


def _position(state: State, call: Call) -> int:
    if call.state != lc.WAITING or call.is_customer_gone:
        return 0
    return state.queues[call.queue_id].line.position(state.key(call))


def position_views(state: State, call_ids: list[str]) -> list[PositionView]:
    """Positions of those that wait; the others are left out. O(log n) each."""
    views = []
    for call_id in call_ids:
        call = state.calls.get(call_id)
        position = _position(state, call) if call is not None else 0
        if call is not None and position:
            gap_ms = state.paces.get(call.queue_id, _NO_PACE).gap_ms
            views.append(PositionView(call_id, position, estimated_wait_ms(position, gap_ms)))
    return views


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
        [state.calls[call_id].reservation_id for call_id in reserved],
        [WrapUpView(work.call_id, work.until_ms, work.kind) for work in agent.wrap_ups.values()],
        agent.idle_since_ms,
    )


def queue_view(state: State, queue_id: str, now_ms: int) -> QueueView | None:
    """O(agents qualified for the queue)."""
    queue = state.queues.get(queue_id)
    if queue is None:
        return None
    agents = dict.fromkeys((lc.OFFLINE, lc.NOT_READY, lc.READY, lc.RESERVED, lc.IN_CALL, lc.WRAP_UP), 0)
    for agent in queue.pool.qualified():
        busy = occupation(agent)
        agents[agent.activity if busy == lc.IDLE else busy] += 1
    head = queue.line.head()
    gap_ms = state.paces.get(queue_id, _NO_PACE).gap_ms
    return QueueView(
        queue_id,
        queue.plan.name,
        queue.counts[lc.WAITING],
        max(0, now_ms - state.calls[head[2]].queued_at_ms) if head else 0,
        agents,
        {one: queue.counts[one] for one in lc.LIVE_STATES},
        0 if agents[lc.READY] and not head else estimated_wait_ms(len(queue.line) + 1, gap_ms),
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
        view.reservation = reserved_event(state, state.calls[reservation_id.rpartition(".")[0]])


def reserved_event(state: State, call: Call) -> CallReserved:
    """The pending reservation as the event that announced it."""
    return CallReserved(
        state.now_ms,
        call.id,
        call.reservation_id,
        call.agent_id,
        call.customer_id,
        call.queue_id,
        call.attempt,
        call.expires_at_ms,
        state.now_ms - call.queued_at_ms,
        state.queues[call.queue_id].plan.strategy,
        call.business_reference,
        call.media,
    )
