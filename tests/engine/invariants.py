"""What must hold after every step (ROUTING.md 5), recounted from the records by plain loops.

Numbers in the messages are those of ROUTING.md 5. Nothing here asks an index what it thinks: indexes are what is doubted.
Every test that uses a `Scene` checks `invariants` after each step and `history` on each event. Where each number is checked:

 1 here (units), `twin_matching` (before each reservation)   2 here, `history`            3 here
 4 `history`                5 here, `history`, `test_twin`    6 `check_coming_back`, `Scene.crash`
 7 here (who rings), `twin_matching`                          8 here (who rings), `twin_matching`
 9 the journal's (tests/journal)                              10 here (queues), `twin_driver` (agents), `test_measures`
11 `test_idempotency`, `test_twin` (repeated ids)             12 the shell's (tests/actors)
13 here                    14 `history`, `twin_driver`        15 here                      16 `twin_matching`
17 `test_hash_seeds`       18 here                            19 `twin_matching`, here (holds)
20 here, `history`         21 `history`                       22 here (as 18)              23 `twin_driver` (counters)
24 `history`               25, 26 the simulator's (loadtest) and `twin_requests` (refused by name)
27 `twin_driver` (idle since)                                 28 `history` (at each plan)  29 `test_attendance` (Resume)
30 here                    31 `test_walk` and the simulator   32 here, `history`           33 `check_alone`
"""

from itertools import pairwise

from dispatch import lifecycle as lc
from dispatch.codec import decode_events
from dispatch.engine import Engine
from dispatch.handing_facts import UNTOLD_MS
from dispatch.model import Agent, Call
from dispatch.plan import meets
from dispatch.state import State
from dispatch.viewing import position_views, queue_view
from dispatch.wishes import NEVER_MS
from tests.engine.twin_hours import phase

PARTIES_MAX = 8


def check(engine: Engine) -> None:
    """All invariants of a settled engine."""
    state = engine.state
    for agent in state.agents.values():
        _check_agent(state, agent)
    for call in state.calls.values():
        _check_call(state, call)
        _check_rings(state, call)
    _check_counts(state)
    _check_places(state)
    _check_work_conserving(engine)
    _check_deadlines(engine)


def check_coming_back(engine: Engine, journal: list[bytes]) -> None:
    """6: from the journal alone, from a snapshot, and from a snapshot in the middle with the rest of the journal."""
    replayed, middle = Engine(engine.state.division_id), len(journal) // 2
    for entry in journal[:middle]:
        replayed.replay(decode_events(entry))
    restored = Engine.restore(engine.state.division_id, replayed.snapshot())
    for entry in journal[middle:]:
        replayed.replay(decode_events(entry))
        restored.replay(decode_events(entry))
    assert replayed.digest() == restored.digest() == engine.digest(), "6"
    assert Engine.restore(engine.state.division_id, engine.snapshot()).digest() == engine.digest(), "6"
    assert replayed.pending_effects() == engine.pending_effects(), "6"


# -- records


def _check_agent(state: State, agent: Agent) -> None:
    paid = sum(work.cost_units for work in agent.wrap_ups.values())
    engaged = dict.fromkeys(agent.wrap_ups, lc.WRAP_UP)
    for call in state.calls.values():
        ring, party = call.reservation_of(agent.id), call.party_of(agent.id)
        paid += ring.cost_units if ring else 0
        paid += party.cost_units if party else 0
        if call.agent_id == agent.id and call.state in lc.TALKING:
            paid += call.cost_units
            assert party is None, f"one owner, apart from parties: {call}"
            engaged[call.id] = lc.IN_CALL
        if ring or party:
            assert call.id not in engaged, f"{agent.id} twice in {call}"
            engaged[call.id] = lc.RESERVED if ring else lc.IN_CALL
    assert agent.used_units == paid, f"30: {agent.id} uses {agent.used_units}, its work costs {paid}"
    assert agent.engagements == engaged, f"30: {agent.id} {agent.engagements} != {engaged}"
    is_busy = any(what != lc.RESERVED for what in engaged.values())
    assert bool(agent.busy_since_ms) == is_busy, f"occupancy of {agent.id}: {agent}"
    held_for = [call.id for call in state.calls.values() if call.held_agent_id == agent.id]
    assert held_for == ([agent.held_for_call_id] if agent.held_for_call_id else []), f"19: {agent.id} for {held_for}"


def _check_call(state: State, call: Call) -> None:
    is_talking = call.state in lc.TALKING
    assert bool(call.reservation_id) >= bool(call.cost_units), f"2: {call}"
    assert bool(call.cost_units) == is_talking, f"30: {call}"
    assert bool(call.agent_id) or not is_talking, f"no owner: {call}"
    assert not call.agent_id or call.state not in (lc.WAITING, lc.RESERVED), f"owned while it waits: {call}"
    assert call.state != lc.CONNECTING or call.media_until_ms, f"no way out of connecting: {call}"
    assert is_talking or not call.media_until_ms
    assert is_talking or not (call.parties or call.supervisors), f"not let go: {call}"
    assert call.state == lc.CONNECTED or not (call.on_hold_until_ms or call.script_step), f"on hold, or shown: {call}"
    assert call.script_step is None or call.script_step.number == call.script_count, f"{call}"
    assert bool(call.forget_at_ms) == (call.state == lc.ENDED)
    assert (call.state == lc.INVITED) == bool(call.invited_until_ms) or call.state == lc.ENDED, f"{call}"
    assert len([room for room in call.rooms if room.state != lc.CLOSING]) <= 1
    if call.media == "room" and is_talking:
        assert call.room() is not None, f"16: {call} has no room to open"
    if call.held_agent_id:
        assert call.state == lc.WAITING, f"19: held for nobody: {call}"
        assert call.held_until_ms > state.now_ms, f"19: held for too long: {call}"


def _check_rings(state: State, call: Call) -> None:
    """3, 7, 8: who is asked, asked rightly: what holds when a reservation begins must hold while it rings."""
    assert bool(call.reservations) or call.state != lc.RESERVED, f"3: {call}"
    assert not call.reservations or call.state in (lc.RESERVED, lc.CONNECTED), f"24: {call}"
    assert len({one.agent_id for one in call.reservations}) == len(call.reservations), f"3: {call}"
    is_pair = any(one.role == "expert" for one in call.reservations) and call.state == lc.RESERVED
    assert not is_pair or sorted(one.role for one in call.reservations) == ["agent", "expert"], f"19: {call}"
    assert call.state != lc.CONNECTED or len(call.reservations) + len(call.parties) <= PARTIES_MAX, f"3: {call}"
    for ring in call.reservations:
        agent = state.agents[ring.agent_id]
        assert agent.activity == lc.READY, f"8: {agent.id} is {agent.activity} and rings"
        assert ring.is_accepted <= is_pair
        refused_until_ms = (call.refused_until_ms or {}).get(agent.id, 0)
        assert refused_until_ms < NEVER_MS or call.state == lc.CONNECTED, f"8: {agent.id} is excluded from {call.id}"


# -- counts and places


def _check_counts(state: State) -> None:
    for queue_id, queue in state.queues.items():
        recount = dict.fromkeys(lc.CALL_STATES, 0)
        callbacks, needs = 0, set()
        for call in state.calls.values():
            if call.queue_id == queue_id:
                recount[call.state] += 1
                callbacks += call.is_callback and call.state in (lc.WAITING, lc.RESERVED)
                if call.wishes and call.state not in lc.OVER and (call.wishes.need or call.wishes.joint_need):
                    needs.add(repr((sorted(call.wishes.need.items()), sorted(call.wishes.joint_need.items()))))
        assert queue.counts == recount, f"10: {queue_id} {queue.counts} != {recount}"
        assert queue.callbacks_count == callbacks, (
            f"10: {queue_id} counts {queue.callbacks_count} callbacks, not {callbacks}"
        )
        assert len(queue.needs) == len(needs), f"10: {queue_id} {queue.needs} != {needs}"
        view = queue_view(state, queue_id, state.now_ms)
        assert view is not None
        assert view.waiting_count == recount[lc.WAITING]
        assert sum(view.agents.values()) == sum(meets(one.skills, queue.plan.need) for one in state.agents.values())
    live = sum(call.state not in lc.OVER for call in state.calls.values())
    assert live == sum(queue.live_count for queue in state.queues.values()), "5: calls in no queue"
    customers = [call.customer_id for call in state.calls.values() if call.state not in (lc.ENDED, lc.INVITED)]
    assert len(customers) == len(set(customers)), "one live call a customer"
    assert len(state.last_agents) <= state.plan.last_agents_max or not state.last_agents


def _check_places(state: State) -> None:
    """13, 15, 32: positions are 1..n in the order of the keys, and only credit lets a later call overtake."""
    for queue_id in state.queues:
        waiting = [call for call in state.calls.values() if call.queue_id == queue_id and is_in_line(call)]
        waiting.sort(key=_place)
        ids = [call.id for call in waiting]
        views = position_views(state, ids)
        assert [view.call_id for view in views] == ids, f"13, 14: {queue_id} {ids}"
        assert [view.position for view in views] == list(range(1, len(ids) + 1)), f"32: {queue_id}"
        for earlier, later in pairwise(waiting):
            if earlier.is_absolute == later.is_absolute and earlier.queued_at_ms > later.queued_at_ms:
                ahead_ms = earlier.queued_at_ms - later.queued_at_ms
                assert ahead_ms <= earlier.credit_ms - later.credit_ms + _reloaded(state, earlier, later), "15"


def _reloaded(state: State, earlier: Call, later: Call) -> int:
    """What a reload of `target_ms` between the two may add."""
    targets = (earlier.due_at_ms - earlier.queued_at_ms + earlier.credit_ms, later.due_at_ms - later.queued_at_ms)
    return max(0, targets[1] + later.credit_ms - targets[0])


def _place(call: Call) -> tuple[bool, int, int]:
    return (not call.is_absolute, call.due_at_ms, call.order)


def is_in_line(call: Call) -> bool:
    return call.state == lc.WAITING and (call.is_callback or not call.is_customer_gone)


# -- nobody idle beside a call that waits


def _check_work_conserving(engine: Engine) -> None:
    state = engine.state
    for call in state.calls.values():
        if is_in_line(call) and _may_ring(engine, call):
            able = [agent.id for agent in state.agents.values() if _may_serve(engine, agent, call, _need(state, call))]
            if not _joint_need(state, call):
                assert not able, f"18, 22: {able} idle beside {call.id}"
            elif able or call.held_agent_id:
                kept, call.favourite = call.favourite, None
                second = _joint_need(state, call)
                experts = [one.id for one in state.agents.values() if _may_serve(engine, one, call, second)]
                call.favourite = kept
                pairs = [(one, other) for one in able for other in experts if one != other]
                assert not pairs, f"18: {pairs} idle beside {call.id}"


def _may_ring(engine: Engine, call: Call) -> bool:
    """Rules 6 and 7 of who may serve."""
    plan = engine.state.queues[call.queue_id].plan
    busy = [one for one in engine.state.calls.values() if one.queue_id == call.queue_id]
    taken = sum(one.state in (lc.RESERVED, *lc.TALKING) for one in busy)
    is_below_cap = not plan.in_call_max or taken < plan.in_call_max
    return is_below_cap and phase(plan, engine.now_ms) != "closed" and call.not_before_ms <= engine.now_ms


def _may_serve(engine: Engine, agent: Agent, call: Call, need: dict[str, int]) -> bool:
    """Rules 1 to 5."""
    is_there = agent.activity == lc.READY and not (agent.is_gone or agent.is_retired or agent.wrap_ups)
    is_kept = call.favourite is not None and call.favourite.until_ms > engine.now_ms
    return (
        is_there
        and agent.not_before_ms <= engine.now_ms
        and agent.held_for_call_id in ("", call.id)
        and meets(agent.skills, need)
        and agent.capacity_units - agent.used_units >= engine.state.queues[call.queue_id].plan.cost_units
        and (call.refused_until_ms or {}).get(agent.id, 0) <= engine.now_ms
        and (not is_kept or call.favourite is None or call.favourite.agent_id == agent.id)
    )


def _need(state: State, call: Call) -> dict[str, int]:
    plan = state.queues[call.queue_id].plan
    step = min(call.step, len(plan.relaxation))
    need = dict(plan.relaxation[step - 1].need if step else plan.need)
    for skill, level in (call.wishes.need if call.wishes else {}).items():
        need[skill] = max(level, need.get(skill, 0))
    return need


def _joint_need(state: State, call: Call) -> dict[str, int]:
    return (call.wishes.joint_need if call.wishes else {}) or state.queues[call.queue_id].plan.joint_need


# -- time


def _check_deadlines(engine: Engine) -> None:
    """No timer is lost: whatever waits for time is looked at in time."""
    state, now_ms = engine.state, engine.now_ms
    deadlines = [one for call in state.calls.values() for one in _deadlines_of(state, call) if one]
    for agent in state.agents.values():
        deadlines += [work.until_ms for work in agent.wrap_ups.values()]
        deadlines += [agent.not_before_ms] if agent.not_before_ms > now_ms else []
    deadlines += [one.grace_until_ms for one in state.recipients.values() if one.grace_until_ms]
    first = min(deadlines, default=None)
    following = engine.next_deadline_ms()
    assert first is None or (following is not None and following <= first), f"lost timer at {first}: {following}"


def _deadlines_of(state: State, call: Call) -> list[int]:
    now_ms, plan = state.now_ms, state.queues[call.queue_id].plan
    found = [call.media_until_ms, call.on_hold_until_ms, call.held_until_ms]
    for ring in call.reservations:
        found += [0 if ring.is_accepted else ring.expires_at_ms, ring.agent_gone_until_ms]
    found += [at for at in (call.refused_until_ms or {}).values() if now_ms < at < NEVER_MS]
    found += [at for at in (call.hold_not_before_ms, call.not_before_ms) if at > now_ms and call.state == lc.WAITING]
    found += [call.invited_until_ms] if call.state == lc.INVITED else []
    if call.forget_at_ms > now_ms:
        found.append(call.forget_at_ms)
    elif call.forget_at_ms:
        untold_ms = UNTOLD_MS if call.origins else 0
        patience_ms = max(state.plan.recording_timeout_ms, state.plan.ended_retention_ms, untold_ms)
        found.append(max(call.forget_at_ms, call.ended_at_ms + patience_ms))
    found += [call.handing.until_ms] if call.handing is not None and call.state != lc.ENDED else []
    if call.state not in (lc.INVITED, lc.HANDING_OVER, *lc.OVER) and call.step < len(plan.relaxation):
        found.append(call.queued_at_ms + plan.relaxation[call.step].after_ms)
    if call.state == lc.WAITING:
        found += [
            (call.entered_at_ms or call.queued_at_ms) + plan.wait_ms_max
            if plan.wait_ms_max and not call.is_callback
            else 0
        ]
        # A window that passed while the call was in a conversation is over; nothing is to be done about it.
        found += [call.favourite.until_ms if call.favourite and now_ms < call.favourite.until_ms < NEVER_MS else 0]
    return found
