"""Who gets whom: one free agent takes the most due call it may serve; one waiting call takes the strategy's first agent.

After each step the engine places what the step touched (a call that began to wait, an agent who became free) until
nothing touched is left, so no idle eligible agent ever stands beside a waiting eligible call (ROUTING.md 5.18).
Cost: O(queues of the agent + log n) a freed agent, O(log n) a call.
"""

from typing import Protocol

from dispatch import lifecycle as lc
from dispatch.choice import Candidate
from dispatch.events import CallReserved, Event
from dispatch.model import Agent, Call
from dispatch.state import State
from dispatch.waiting import Key


class Decider(Protocol):
    """What deciding code may use of the engine: the state to read, the instant, and `emit`."""

    state: State
    now_ms: int

    def emit(self, event: Event) -> None: ...


def place(engine: Decider) -> None:
    """Match all that this step touched. Calls first, the most due first: an agent freed beside them still sees both."""
    state = engine.state
    while state.unplaced or state.freed:
        if state.unplaced:
            calls = state.unplaced
            state.unplaced = []
            if len(calls) > 1:
                calls.sort(key=state.key)
            for call in calls:
                _place_call(engine, call)
        else:
            freed = state.freed
            state.freed = []
            for candidate in freed:
                _place_agent(engine, candidate)


def _place_call(engine: Decider, call: Call) -> None:
    state = engine.state
    if call.state != lc.WAITING or call.is_customer_gone or call.id not in state.calls:
        return
    agent = state.queues[call.queue_id].pool.first(call.refused_until_ms, engine.now_ms)
    if agent is not None:
        _reserve(engine, call, agent)


def _place_agent(engine: Decider, candidate: Candidate) -> None:
    while candidate.free_units > 0:
        call = _most_due_call(engine, candidate)
        if call is None:
            return
        _reserve(engine, call, candidate.agent)


def _most_due_call(engine: Decider, candidate: Candidate) -> Call | None:
    """Across all queues that the agent may serve, the most due call that it has not just refused (ROUTING.md 5.16)."""
    state = engine.state
    best: Key | None = None
    for pool in candidate.pools:
        if pool.cost_units > candidate.free_units:
            continue
        for queue_id in pool.queue_ids:
            line = state.queues[queue_id].line
            key = line.head()
            if key is None or (best is not None and best <= key):
                continue
            for key in line:
                if best is not None and best <= key:
                    break
                if not _has_refused(state.calls[key[2]], candidate.agent, engine.now_ms):
                    best = key
                    break
    return state.calls[best[2]] if best is not None else None


def _has_refused(call: Call, agent: Agent, now_ms: int) -> bool:
    return call.refused_until_ms is not None and call.refused_until_ms.get(agent.id, 0) > now_ms


def _reserve(engine: Decider, call: Call, agent: Agent) -> None:
    plan = engine.state.queues[call.queue_id].plan
    attempt = call.attempt + 1
    engine.emit(
        CallReserved(
            engine.now_ms,
            call.id,
            f"{call.id}.{attempt}",
            agent.id,
            call.customer_id,
            call.queue_id,
            attempt,
            engine.now_ms + plan.reservation_timeout_ms,
            engine.now_ms - call.queued_at_ms,
            f"{plan.strategy} idle_since={agent.idle_since_ms}",
            call.business_reference,
        )
    )
