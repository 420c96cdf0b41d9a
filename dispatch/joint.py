"""Joint need: an agent and an expert reserved together or not at all, and the person who is held until the other is free.

While a joint call stands in a line, all calls are served one by one in the order of their keys: two people for one call is
no matching of pairs any more, and a fixed order keeps it explainable. A hold lasts at most `joint_hold_ms`, then the call
holds nobody for as long again, so a joint call costs at most half of one person's time while it waits.
"""

from heapq import merge

from dispatch import events as ev
from dispatch import lifecycle as lc
from dispatch.choice import Candidate, Pool
from dispatch.lanes import Lane
from dispatch.matching import Decider, has_refused, offer_rest, place_call, reserve
from dispatch.model import Agent, Call
from dispatch.waiting import Key


def serve_in_order(engine: Decider, kept: list[Key]) -> None:
    """Try every call that stands in a lane and these `kept` ones, the most due first.

    O(lanes x log n), and as much for each joint and each kept call.
    """
    state = engine.state
    done: set[int] = set()
    lanes = [lane for queue in state.queues.values() if queue.is_serving for lane in queue.lanes.values() if lane.line]
    streams = [lane.stream(done) for lane in lanes]
    streams.append(iter([(key, state.lane_of(state.calls[key[2]])) for key in sorted(kept)]))
    for key, lane in merge(*streams, key=lambda one: one[0]):
        call = state.calls[key[2]]
        if not lane.queue.is_serving:
            continue
        if lane.expert_pool is not None:
            if _serve_joint(engine, call, lane, lane.expert_pool) or not state.joints:
                # Who was held and has units left is free for calls that are more due, and after the last joint call the others
                # are matched together: begin again with the first, in every queue, since not all have been looked at.
                state.reopened = list(state.queues.values())
                state.is_touched = True
                return
            offer_rest(engine, call)
            is_nobody_left = lane.pool.first(call, engine.now_ms) is None
            is_nobody_left = is_nobody_left and lane.expert_pool.first(call, engine.now_ms) is None
        else:
            is_nobody_left = not place_call(engine, call)
            offer_rest(engine, call)
        # What holds for a plain call holds for everybody behind it; refusals, favourites and callbacks say nothing of others.
        is_plain = not call.refused_until_ms and call.favourite is None and call.not_before_ms <= engine.now_ms
        if is_nobody_left and is_plain:
            done.add(id(lane))


def _serve_joint(engine: Decider, call: Call, lane: Lane, expert_pool: Pool) -> bool:
    """Reserve both people, or hold one; say whether somebody who was held came free by it."""
    state = engine.state
    if call.not_before_ms > engine.now_ms:
        return False
    held = state.candidates.get(call.held_agent_id)
    pair = _pair_with(engine, call, lane, expert_pool, held) if held else _pair(engine, call, lane, expert_pool)
    if pair is not None:
        if held is not None:
            engine.emit(ev.JointReleased(engine.now_ms, call.id, held.agent.id, "reserved"))
        rule = lane.pool.queue.strategy
        reserve(engine, call, pair[0], lane, rule)
        reserve(engine, call, pair[1], lane, rule, role="expert")
        return held is not None
    if held is None and lane.queue.plan.joint_hold_ms and call.hold_not_before_ms <= engine.now_ms:
        _hold_one(engine, call, lane, expert_pool)
    return False


def _first(engine: Decider, call: Call, pool: Pool, without: tuple[Candidate, ...] = ()) -> Candidate | None:
    """The pool's first agent for this call; of a call that is kept, only the one it is kept for may be the agent."""
    entry = pool.first(call, engine.now_ms, without)
    return entry[4] if entry is not None else None


def _agent(engine: Decider, call: Call, lane: Lane, without: tuple[Candidate, ...] = ()) -> Candidate | None:
    state = engine.state
    favourite = state.candidates.get(call.favourite.agent_id) if call.favourite is not None else None
    if favourite is not None and favourite not in without and _is_free(engine, favourite, call, lane.pool):
        return favourite
    return None if state.kept_for(call) else _first(engine, call, lane.pool, without)


def _is_free(engine: Decider, candidate: Candidate, call: Call, pool: Pool) -> bool:
    return (
        candidate.free_units >= pool.cost_units
        and pool in candidate.kind.pools
        and not has_refused(call, candidate.agent.id, engine.now_ms)
    )


def _pair(engine: Decider, call: Call, lane: Lane, expert_pool: Pool) -> tuple[Candidate, Candidate] | None:
    """Two different people, agent and expert: where one could be both, each role is tried for them."""
    agent = _agent(engine, call, lane)
    if agent is None:
        return None
    expert = _first(engine, call, expert_pool, (agent,))
    if expert is not None:
        return agent, expert
    expert = _first(engine, call, expert_pool)
    other = _agent(engine, call, lane, (expert,)) if expert is not None else None
    return (other, expert) if other is not None and expert is not None else None


def _pair_with(
    engine: Decider, call: Call, lane: Lane, expert_pool: Pool, held: Candidate
) -> tuple[Candidate, Candidate] | None:
    """The person who is held, and somebody for the other role."""
    kept_for = engine.state.kept_for(call)
    if lane.pool in held.kind.pools and kept_for in ("", held.agent.id):
        expert = _first(engine, call, expert_pool, (held,))
        if expert is not None:
            return held, expert
    if expert_pool in held.kind.pools:
        agent = _agent(engine, call, lane, (held,))
        if agent is not None:
            return agent, held
    return None


def _hold_one(engine: Decider, call: Call, lane: Lane, expert_pool: Pool) -> None:
    for role, candidate in (("agent", _agent(engine, call, lane)), ("expert", _first(engine, call, expert_pool))):
        if candidate is not None:
            until_ms = engine.now_ms + lane.queue.plan.joint_hold_ms
            engine.emit(ev.JointHeld(engine.now_ms, call.id, candidate.agent.id, role, until_ms))
            return


def settle_holds(engine: Decider) -> None:
    """Let go whoever is held for a call that left the line, and whoever may not be asked any more."""
    state = engine.state
    for call_id, agent_id in list(state.holds.items()):
        call, agent = state.calls[call_id], state.agents.get(agent_id)
        # A reload may have taken the joint need away: then one person is enough, and nobody waits for a second.
        if not state.may_stand(call) or state.lane_of(call).expert_pool is None:
            release(engine, call, "call_left")
        elif agent is None or not may_be_asked(agent, engine.now_ms):
            release(engine, call, "agent_left")
            # Somebody else may be held instead.
            state.reopened.append(state.queues[call.queue_id])


def may_be_asked(agent: Agent, now_ms: int) -> bool:
    """Is the person who is held one who could be asked, but for being held?"""
    is_there = agent.activity == lc.READY and not agent.is_gone and not agent.is_retired
    return is_there and not agent.wrap_ups and agent.not_before_ms <= now_ms


def release(engine: Decider, call: Call, reason: str) -> None:
    """Let go whoever is held for this call, if anybody; after `time` nobody is held again for as long."""
    if call.held_agent_id:
        hold_ms = engine.state.queues[call.queue_id].plan.joint_hold_ms
        not_before_ms = engine.now_ms + hold_ms if reason == "time" else 0
        engine.emit(ev.JointReleased(engine.now_ms, call.id, call.held_agent_id, reason, not_before_ms))


def expire_joint(engine: Decider, call: Call) -> None:
    """A hold has lasted long enough, or somebody may be held again."""
    if call.held_agent_id and call.held_until_ms <= engine.now_ms:
        release(engine, call, "time")
    engine.state.reopened.append(engine.state.queues[call.queue_id])
    engine.state.is_touched = True
