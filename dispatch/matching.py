"""Who gets whom: one free agent takes the most due call it may serve; one waiting call takes the strategy's first agent.

After each step the engine places what the step touched (a call that began to wait, an agent who became free) until
nothing touched is left, so no idle eligible agent ever stands beside a waiting eligible call (ROUTING.md 5.18).
The most due call goes first, whether it was touched itself or an agent became free for it; only then the queue's
strategy says which agent. Cost: O(queues of the agent + log n) a freed agent, O(log n) a call.
"""

from heapq import heapify, heappop, heappush
from typing import Protocol

from dispatch import lifecycle as lc
from dispatch.choice import Candidate
from dispatch.events import CallReserved, Event
from dispatch.model import Agent, Call
from dispatch.state import State
from dispatch.waiting import Key

Wish = tuple[int, int, str, str]
"""(due_at_ms, order, call id, agent id): a call to place; with an agent id, because that agent became free for it."""


class Decider(Protocol):
    """What deciding code may use of the engine: the state to read, the instant, and `emit`."""

    state: State
    now_ms: int

    def emit(self, event: Event) -> None:
        """Apply a decided event and hand it out with this step."""
        ...


def place(engine: Decider) -> None:
    """Match all that this step touched, the most due call first (ROUTING.md 5.16, 5.19)."""
    state = engine.state
    if not state.unplaced and not state.freed:
        return
    wishes: list[Wish] = [(*state.key(call), "") for call in state.unplaced]
    heapify(wishes)
    state.unplaced = []
    while state.freed or wishes:
        if state.freed:
            freed, state.freed = state.freed, []
            for candidate in freed:
                _wish(engine, wishes, candidate)
            continue
        _, _, call_id, agent_id = heappop(wishes)
        asked_id = _place_call(engine, call_id)
        if agent_id and asked_id != agent_id:
            _wish(engine, wishes, state.candidates[agent_id])


def _place_call(engine: Decider, call_id: str) -> str:
    """Reserve an agent for the call if there is one; return who it is, or ''."""
    state = engine.state
    call = state.calls.get(call_id)
    if call is None or call.state != lc.WAITING or call.is_customer_gone:
        return ""
    agent = state.queues[call.queue_id].pool.first(call.refused_until_ms, engine.now_ms)
    if agent is None:
        return ""
    _reserve(engine, call, agent)
    return agent.id


def _wish(engine: Decider, wishes: list[Wish], candidate: Candidate) -> None:
    """Put the most due call that the agent may take now, if any, among those to be placed."""
    if candidate.free_units > 0:
        key = _most_due_key(engine, candidate)
        if key is not None:
            heappush(wishes, (*key, candidate.agent.id))


def _most_due_key(engine: Decider, candidate: Candidate) -> Key | None:
    """Across all queues that the agent may serve, the most due call that it has not just refused."""
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
    return best


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
            call.media,
        )
    )
