"""The end of every step: everything that the step touched finds its agent, its call or its place.

The loop ends because each turn reserves somebody, or leaves nothing touched: calls in their lines, agents in their pools.
Cases and costs: `dispatch/matching.py`.
"""

from heapq import merge

from dispatch.bursts import Burst
from dispatch.choice import Candidate
from dispatch.joint import serve_in_order, settle_holds
from dispatch.lanes import Lane, Queue
from dispatch.limits import lead_on_all
from dispatch.matching import Decider, most_due, offer_rest, place_agent, place_call, reserve
from dispatch.model import Call
from dispatch.patience import release_absent
from dispatch.state import State
from dispatch.waiting import WaitingLine


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
        if state.unplaced:
            release_absent(engine, state.unplaced)
        calls, agents, queues = state.unplaced, state.freed, state.reopened
        if not (calls or agents or queues):
            if not state.rung:
                return
            _ask_more(engine)
        elif queues or state.joints or len(calls) + len(agents) > 1:
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
    lanes: dict[int, Lane] = {}
    kept = {key for candidate in free for key in candidate.kept}
    for call in touched:
        if state.standing[call.id] is state.queues[call.queue_id].kept:
            kept.add(state.key(call))
        else:
            lane = state.lane_of(call)
            lanes[id(lane)] = lane
    if not (touched or state.joints) and _is_one_more(engine, free, queues):
        _place_next(engine, queues[0])
        return
    kept |= {key for queue in queues for key in queue.kept}
    # A joint call that is kept for one agent waits for a second person, too, who may be anybody.
    kept |= {key for call_id, key in state.joints.items() if state.standing[call_id] is _kept_line(state, call_id)}
    kept = {key for key in kept if _may_ring(engine, key[2])}
    if state.joints:
        serve_in_order(engine, list(kept))
        return
    pools = {id(pool): pool for candidate in free for pool in candidate.kind.pools}
    found: list[Lane] = [lane for pool in pools.values() for lane in pool.lanes]
    found += [lane for queue in queues for lane in queue.lanes.values()]
    lanes |= {id(lane): lane for lane in found if lane.line}
    serving = [lane for lane in lanes.values() if lane.queue.is_serving]
    Burst(engine).run(serving, list(kept))


def _is_one_more(engine: Decider, free: list[Candidate], queues: list[Queue]) -> bool:
    """Is all that can come of it one more call of one queue? The everyday case of a cap: one call ends, one may ring."""
    if not queues or queues[0].room != 1 or any(queue is not queues[0] for queue in queues):
        return False
    return not free or (len(free) == 1 and most_due(engine, free[0], without=queues[0]) is None)


def _place_next(engine: Decider, queue: Queue) -> None:
    """One more call of the queue may ring: the most due one for whom anybody is free. O(lanes x log n), and each kept call."""
    state = engine.state
    done: set[int] = set()
    streams = [lane.stream(done) for lane in queue.lanes.values()]
    streams.append(iter([(key, state.lane_of(state.calls[key[2]])) for key in queue.kept]))
    for key, lane in merge(*streams, key=lambda one: one[0]):
        call = state.calls[key[2]]
        if place_call(engine, call):
            return
        if call.favourite is None and not call.refused_until_ms and call.not_before_ms <= engine.now_ms:
            # Nobody is free for a call that asks for nothing of its own, so for no other of its lane.
            done.add(id(lane))


def _kept_line(state: State, call_id: str) -> WaitingLine:
    return state.queues[state.calls[call_id].queue_id].kept


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
