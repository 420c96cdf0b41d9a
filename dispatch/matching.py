"""Who gets whom, at the end of every step.

What the step touched is put up: calls that began to wait (`state.unplaced`), agents who became free (`state.freed`), queues
that serve again (`state.reopened`). New pairs can only come from these, since no eligible agent stood beside a waiting call
before (ROUTING.md 5.18). Three cases, cheapest first:

1. one call and nobody freed: the strategy's first agent, else its place in the line;
2. one agent freed and no call: the most due call of all lanes the agent serves, else a place in the pools;
3. more: the most due set of maximum size (`bursts`), or one by one while a joint call waits (`joint`).

Here are cases 1 and 2; `placing` tells the cases apart. Cost: O(queues of the agent x open needs + log n). Not here: which
calls may wait at all (`admission`, `limits`).
"""

from typing import final

from dispatch.choice import Candidate, Entry
from dispatch.events import CallReserved, Event
from dispatch.folding import ARMS
from dispatch.lanes import Lane, Queue
from dispatch.model import Call
from dispatch.state import State
from dispatch.waiting import Key


class Decider:
    """What deciding code uses of the engine: the state to read, the instant, and `emit`."""

    def __init__(self, division_id: str) -> None:
        self.state = State(division_id)
        self.state.is_live = True
        self.now_ms = 0
        self._events: list[Event] = []

    @final
    def emit(self, event: Event) -> None:
        """Apply a decided event and hand it out with this step. For deciding code only."""
        # `apply` without its clock: here `state.now_ms` is this step's already.
        ARMS[type(event)](self.state, event)
        self._events.append(event)


def is_eligible(engine: Decider, candidate: Candidate, call: Call, lane: Lane) -> bool:
    """May this agent be asked for this call, which waits in this lane, right now? The queue itself is looked at apart."""
    if candidate.free_units < lane.pool.cost_units or lane.pool not in candidate.kind.pools:
        return False
    kept_for = engine.state.kept_for(call)
    return not has_refused(call, candidate.agent.id, engine.now_ms) and kept_for in ("", candidate.agent.id)


def offer_rest(engine: Decider, call: Call) -> None:
    """Whoever rings for the call and has units left stands in the pools again, for the calls that come next in this step."""
    for reservation in call.reservations:
        candidate = engine.state.candidates[reservation.agent_id]
        if candidate.free_units > 0:
            engine.state.offer(candidate)


def has_refused(call: Call, agent_id: str, now_ms: int) -> bool:
    """Is this agent not to be asked for this call yet?"""
    return call.refused_until_ms is not None and call.refused_until_ms.get(agent_id, 0) > now_ms


def place_call(engine: Decider, call: Call) -> bool:
    """Case 1: reserve the strategy's first agent for a call that stands nowhere yet; say whether there was one."""
    state = engine.state
    queue = state.queues[call.queue_id]
    if not queue.is_serving or call.not_before_ms > engine.now_ms:
        return False
    lane = state.lane_of(call)
    if call.favourite is not None:
        candidate = state.candidates.get(call.favourite.agent_id)
        if candidate is not None and is_eligible(engine, candidate, call, lane):
            reserve(engine, call, candidate, lane, call.favourite.rule)
            return True
        if state.kept_for(call):
            return False
    entry = lane.pool.first(call, engine.now_ms)
    if entry is None:
        return False
    reserve(engine, call, entry[4], lane, lane.pool.queue.strategy, entry)
    return True


def place_agent(engine: Decider, candidate: Candidate) -> None:
    """Case 2: reserve the most due call for an agent who became free and stands in no pool yet, else offer the agent."""
    call = most_due(engine, candidate)
    if call is None:
        engine.state.offer(candidate)
        return
    lane = engine.state.lane_of(call)
    favourite = call.favourite
    is_favourite = favourite is not None and favourite.agent_id == candidate.agent.id
    rule = favourite.rule if favourite is not None and is_favourite else lane.pool.queue.strategy
    reserve(engine, call, candidate, lane, rule)


def most_due(engine: Decider, candidate: Candidate, without: Queue | None = None) -> Call | None:
    """Across all lanes that the agent may serve and the calls kept for the agent, the most due one (no joint calls).

    `without`: a queue that is left out.
    """
    state = engine.state
    best: Key | None = None
    units = candidate.free_units
    for pool in candidate.kind.pools:
        if pool.cost_units > units:
            continue
        for lane in pool.lanes:
            if not lane.line or lane.expert_pool is not None or not lane.queue.is_serving or lane.queue is without:
                continue
            head = lane.line.head()
            if head is None or (best is not None and best <= head):
                continue
            best = _first_not_refused(engine, candidate, lane, best)
    for key in candidate.kept:
        if best is not None and best <= key:
            break
        call = state.calls[key[2]]
        lane = state.lane_of(call)
        is_left_out = lane.expert_pool is not None or not lane.queue.is_serving or lane.queue is without
        if not is_left_out and is_eligible(engine, candidate, call, lane):
            best = key
            break
    return state.calls[best[2]] if best is not None else None


def _first_not_refused(engine: Decider, candidate: Candidate, lane: Lane, best: Key | None) -> Key | None:
    """The most due call of the lane that the agent has not refused, if more due than `best`, else `best`."""
    calls, agent_id = engine.state.calls, candidate.agent.id
    for key in lane.line:
        if best is not None and best <= key:
            break
        if not has_refused(calls[key[2]], agent_id, engine.now_ms):
            return key
    return best


def reserve(
    engine: Decider,
    call: Call,
    candidate: Candidate,
    lane: Lane,
    rule: str,
    entry: Entry | None = None,
    role: str = "agent",
) -> None:
    """Let the call ring at the agent. `entry`: the top of the pool, whose next one is the runner-up."""
    plan = lane.queue.plan
    agent = candidate.agent
    attempt = call.attempt + 1
    runner_up = ""
    if entry is not None:
        # A new stamp makes the entry stale, so that what the pool finds first now is who would have been next.
        candidate.stamp += 1
        following = lane.pool.first(call, engine.now_ms)
        runner_up = following[4].agent.id if following is not None else ""
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
            rule,
            call.business_reference,
            call.media,
            role,
            lane.key[0],
            entry[0] if entry is not None else lane.pool.key_of(agent, engine.now_ms),
            runner_up,
            plan.cost_units,
        )
    )
