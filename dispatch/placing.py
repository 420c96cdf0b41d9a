"""The end of every step: everything that the step touched finds its agent, its call or its place.

The loop ends because each turn reserves somebody, or leaves nothing touched: calls in their lines, agents in their pools.
Cases and costs: `dispatch/matching.py`.
"""

from dispatch.bursts import Burst
from dispatch.choice import Candidate
from dispatch.joint import serve_in_order, settle_holds
from dispatch.lanes import Lane, Queue
from dispatch.limits import lead_on_all
from dispatch.matching import Decider, offer_rest, place_agent, place_call, reserve
from dispatch.model import Call
from dispatch.state import State


def place(engine: Decider) -> None:
    """Match all that this step touched (ROUTING.md 5.16, 5.18, 5.19)."""
    state = engine.state
    while state.is_touched or state.holds:
        state.is_touched = False
        if state.is_led_on:
            state.is_led_on = False
            lead_on_all(engine)
        if state.holds:
            settle_holds(engine)
        calls, agents, queues = state.unplaced, state.freed, state.reopened
        if not (calls or agents or queues):
            if not state.rung:
                return
            _ask_more(engine)
        elif queues or state.joint_count or len(calls) + len(agents) > 1:
            state.unplaced, state.freed, state.reopened = [], [], []
            for candidate in agents:
                candidate.is_listed = False
            _place_many(engine, calls, agents, queues)
        elif calls:
            _place_one(engine, calls.pop())
        else:
            candidate = agents.pop()
            candidate.is_listed = False
            if candidate.free_units > 0:
                place_agent(engine, candidate)
        if state.rung:
            state.is_touched = True


def _is_unplaced(state: State, call: Call) -> bool:
    """Does this call still look for an agent, and stand nowhere?"""
    return call.id not in state.standing and state.may_stand(call) and state.calls.get(call.id) is call


def _place_one(engine: Decider, call: Call) -> None:
    state = engine.state
    if not _is_unplaced(state, call):
        return
    if state.lane_of(call).expert_pool is not None:
        _place_many(engine, [call], [], [])
    elif not place_call(engine, call):
        state.stand(call)


def _place_many(engine: Decider, calls: list[Call], agents: list[Candidate], queues: list[Queue]) -> None:
    state = engine.state
    free = [candidate for candidate in agents if candidate.free_units > 0]
    touched = [call for call in calls if _is_unplaced(state, call)]
    for call in touched:
        if call.id not in state.standing:
            state.stand(call)
    for candidate in free:
        state.offer(candidate)
    if state.joint_count:
        serve_in_order(engine)
        return
    lanes: dict[int, Lane] = {}
    kept = {key for candidate in free for key in candidate.kept}
    for call in touched:
        if state.standing[call.id] is state.queues[call.queue_id].kept:
            kept.add(state.key(call))
        else:
            lane = state.lane_of(call)
            lanes[id(lane)] = lane
    pools = {id(pool): pool for candidate in free for pool in candidate.kind.pools}
    found: list[Lane] = [lane for pool in pools.values() for lane in pool.lanes]
    found += [lane for queue in queues for lane in queue.lanes.values()]
    lanes |= {id(lane): lane for lane in found if lane.line}
    kept |= {key for queue in queues for key in queue.kept}
    serving = [lane for lane in lanes.values() if lane.queue.is_serving]
    kept = {key for key in kept if _may_ring(engine, key[2])}
    Burst(engine).run(serving, list(kept))


def _may_ring(engine: Decider, call_id: str) -> bool:
    call = engine.state.calls[call_id]
    return call.not_before_ms <= engine.now_ms and engine.state.queues[call.queue_id].is_serving


def _ask_more(engine: Decider) -> None:
    """Parallel reservations: who stands free after all matching is asked too, up to `reservations_max` a call."""
    state = engine.state
    rung, state.rung = state.rung, []
    for call in sorted({call.id: call for call in rung}.values(), key=state.key):
        lane = state.lane_of(call)
        if state.kept_for(call) or lane.expert_pool is not None:
            continue
        while call.reservations and len(call.reservations) < lane.queue.plan.reservations_max:
            asked = [state.candidates[one.agent_id] for one in call.reservations]
            entry = lane.pool.first(call, engine.now_ms, asked)
            if entry is None:
                break
            reserve(engine, call, entry[4], lane, lane.pool.queue.strategy, entry)
            offer_rest(engine, call)
