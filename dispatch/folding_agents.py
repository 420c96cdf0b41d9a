"""The arms of `apply` that concern the plan, agents' activity and wrap-up, and what other arms do to agents."""

from collections.abc import Callable
from typing import Any

from dispatch import events as ev
from dispatch import lifecycle as lc
from dispatch import timers as tm
from dispatch.lifecycle import ENGAGEMENT, ImpossibleEvent, engagement_after
from dispatch.model import Agent, Call, WrapUpWork, agent_recipient
from dispatch.plan import Plan
from dispatch.state import State


def engage(agent: Agent, call_id: str, event: ev.Event) -> None:
    """Take what one call does to an agent to what its table gives."""
    engagements = agent.engagements
    before = engagements.get(call_id, lc.IDLE)
    after = ENGAGEMENT[before].get(type(event)) or engagement_after(before, event)
    if after == lc.IDLE:
        del engagements[call_id]
    else:
        engagements[call_id] = after


def occupy(agent: Agent, at_ms: int) -> None:
    """The agent has a call from now on: busy, unless already so."""
    if not agent.busy_since_ms:
        agent.busy_since_ms = at_ms
        if agent.not_ready_since_ms:
            agent.not_ready_ms += at_ms - agent.not_ready_since_ms
            agent.not_ready_since_ms = 0


def free(agent: Agent, at_ms: int) -> None:
    """One engagement less; without a call or wrap-up left the agent is busy no more."""
    engagements = agent.engagements
    if agent.busy_since_ms and not (engagements and any(one != lc.RESERVED for one in engagements.values())):
        agent.busy_ms += at_ms - agent.busy_since_ms
        agent.busy_since_ms = 0
        # Written down, not worked out when somebody is chosen: a recovery then chooses as before.
        staffed_ms = at_ms - agent.signed_in_at_ms - agent.not_ready_ms
        agent.occupancy_millionths = agent.busy_ms * 1_000_000 // staffed_ms if staffed_ms > 0 else 0
        if agent.activity == lc.NOT_READY:
            agent.not_ready_since_ms = at_ms


def start_wrap_up(state: State, call: Call, agent_id: str, cost_units: int, event: Any) -> None:
    """The agent is out of the call: into wrap-up as the event says, or straight back to idle."""
    agent = state.agents[agent_id]
    engage(agent, call.id, event)
    if event.wrap_up == "none":
        del agent.engagements[call.id]
        agent.used_units -= cost_units
        agent.idle_since_ms = event.at_ms
        free(agent, event.at_ms)
    else:
        until_ms = event.wrap_up_until_ms
        agent.wrap_ups[call.id] = WrapUpWork(call.id, event.wrap_up, event.at_ms, until_ms, cost_units, call.queue_id)
        state.arm(until_ms, tm.WRAP_UP, agent.id, call.id)
    state.refresh(agent)


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
        agent.region, agent.carrier = agent_plan.region, agent_plan.carrier
        agent.capacity_units, agent.is_retired = agent_plan.capacity_units, False
        state.agents[agent.id] = agent
    for agent in old.values():
        if agent.engagements or agent.held_for_call_id:
            agent.order, agent.is_retired = len(state.agents), True
            state.agents[agent.id] = agent


def _agent_activity_changed(state: State, event: ev.AgentActivityChanged) -> None:
    agent = state.agents.get(event.agent_id)
    if agent is None or event.activity not in lc.ACTIVITY[agent.activity]:
        raise ImpossibleEvent(f"no such agent or activity: {event!r}")
    if agent.activity == lc.OFFLINE and event.activity != lc.OFFLINE:
        _sign_in(agent, event.at_ms)
    if agent.not_ready_since_ms:
        agent.not_ready_ms += event.at_ms - agent.not_ready_since_ms
        agent.not_ready_since_ms = 0
    agent.activity, agent.reason = event.activity, event.reason
    if event.activity == lc.READY:
        agent.misses = agent.not_before_ms = 0
    elif event.activity == lc.NOT_READY and not agent.busy_since_ms:
        agent.not_ready_since_ms = event.at_ms
    state.tell(agent_recipient(agent.id), event)
    if state.is_live:
        state.count_signed_in(agent)
        state.refresh(agent)


def _sign_in(agent: Agent, at_ms: int) -> None:
    """Counters since sign-in begin anew; what still occupies the agent goes on counting."""
    agent.idle_since_ms = agent.signed_in_at_ms = at_ms
    agent.misses = agent.answered_count = agent.busy_ms = agent.not_ready_ms = agent.occupancy_millionths = 0
    agent.missed_count = agent.declined_count = agent.busy_count = agent.lost_count = 0
    if agent.busy_since_ms:
        agent.busy_since_ms = at_ms


def _wrap_up_extended(state: State, event: ev.WrapUpExtended) -> None:
    agent = state.agents[event.agent_id]
    engage(agent, event.call_id, event)
    agent.wrap_ups[event.call_id].until_ms = event.until_ms
    state.arm(event.until_ms, tm.WRAP_UP, agent.id, event.call_id)
    state.tell(agent_recipient(agent.id), event)


def _wrap_up_ended(state: State, event: ev.WrapUpEnded) -> None:
    agent = state.agents[event.agent_id]
    engage(agent, event.call_id, event)
    agent.used_units -= agent.wrap_ups.pop(event.call_id).cost_units
    agent.idle_since_ms = event.at_ms
    free(agent, event.at_ms)
    if state.recipients:
        state.tell(agent_recipient(agent.id), event)
    state.refresh(agent)


AGENT_ARMS: dict[type[Any], Callable[[State, Any], None]] = {
    ev.PlanApplied: _plan_applied,
    ev.AgentActivityChanged: _agent_activity_changed,
    ev.WrapUpExtended: _wrap_up_extended,
    ev.WrapUpEnded: _wrap_up_ended,
}
