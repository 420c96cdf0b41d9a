"""What must hold after every step (ROUTING.md 5), recounted from the records by plain loops.

Numbers in the messages are those of ROUTING.md 5. Nothing here asks an index what it thinks: indexes are what is doubted.
"""

from itertools import pairwise

from dispatch import lifecycle as lc
from dispatch.codec import decode_events
from dispatch.engine import Engine
from dispatch.model import Agent, Call
from dispatch.plan import meets
from dispatch.state import State
from dispatch.viewing import position_views, queue_view


def check(engine: Engine) -> None:
    """All invariants of a settled engine."""
    state = engine.state
    for agent in state.agents.values():
        _check_agent(state, agent)
    for call in state.calls.values():
        _check_call(state, call)
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
    assert replayed.digest() == restored.digest() == engine.digest()
    assert Engine.restore(engine.state.division_id, engine.snapshot()).digest() == engine.digest()
    assert replayed.pending_effects() == engine.pending_effects()


def _check_agent(state: State, agent: Agent) -> None:
    paid = sum(call.cost_units for call in state.calls.values() if call.agent_id == agent.id)
    paid += sum(work.cost_units for work in agent.wrap_ups.values())
    assert agent.used_units == paid, f"30: {agent.id} uses {agent.used_units}, its work costs {paid}"
    assert set(agent.wrap_ups) == {one for one, what in agent.engagements.items() if what == lc.WRAP_UP}
    for call_id, what in agent.engagements.items():
        if what == lc.WRAP_UP:
            continue
        call = state.calls[call_id]
        assert call.agent_id == agent.id
        assert what == (lc.RESERVED if call.state == lc.RESERVED else lc.IN_CALL)


def _check_call(state: State, call: Call) -> None:
    has_agent = call.state in (lc.RESERVED, lc.CONNECTING, lc.CONNECTED)
    holders = [agent.id for agent in state.agents.values() if agent.engagements.get(call.id) not in (None, lc.WRAP_UP)]
    assert holders == ([call.agent_id] if has_agent else []), f"2, 3: {call.id} is held by {holders}"
    assert bool(call.expires_at_ms) == (call.state == lc.RESERVED), f"3: {call}"
    assert bool(call.cost_units) == has_agent, f"30: {call}"
    assert call.state != lc.CONNECTING or call.media_until_ms, f"no way out of connecting: {call}"
    assert call.state in (lc.CONNECTING, lc.CONNECTED) or not call.media_until_ms
    assert bool(call.forget_at_ms) == (call.state == lc.ENDED)
    assert len([room for room in call.rooms if room.state != lc.CLOSING]) <= 1
    if call.media == "room" and call.state in (lc.CONNECTING, lc.CONNECTED):
        assert call.room() is not None, f"16: {call} has no room to open"


def _check_counts(state: State) -> None:
    for queue_id, queue in state.queues.items():
        recount = dict.fromkeys(lc.CALL_STATES, 0)
        for call in state.calls.values():
            if call.queue_id == queue_id:
                recount[call.state] += 1
        assert queue.counts == recount, f"10: {queue_id} {queue.counts} != {recount}"
        view = queue_view(state, queue_id, state.now_ms)
        assert view is not None
        assert view.waiting_count == recount[lc.WAITING]
        assert sum(view.agents.values()) == sum(meets(one.skills, queue.plan.need) for one in state.agents.values())
    live = sum(call.state != lc.ENDED for call in state.calls.values())
    assert live == sum(queue.live_count for queue in state.queues.values()), "5: calls in no queue"
    customers = [call.customer_id for call in state.calls.values() if call.state != lc.ENDED]
    assert len(customers) == len(set(customers)), "one live call a customer"


def _check_places(state: State) -> None:
    for queue_id, queue in state.queues.items():
        waiting = [call for call in state.calls.values() if call.queue_id == queue_id and _is_in_line(call)]
        waiting.sort(key=lambda call: (call.due_at_ms, call.order))
        ids = [call.id for call in waiting]
        assert [key[2] for key in queue.line] == ids, f"13, 14: {queue_id}"
        assert [view.position for view in position_views(state, ids)] == list(range(1, len(ids) + 1)), "32"
        for earlier, later in pairwise(waiting):
            if earlier.order > later.order:
                assert earlier.due_at_ms < later.due_at_ms, "13: first come, first served"


def _is_in_line(call: Call) -> bool:
    return call.state == lc.WAITING and not call.is_customer_gone


def _check_work_conserving(engine: Engine) -> None:
    state = engine.state
    for call in state.calls.values():
        if not _is_in_line(call):
            continue
        queue_plan = state.queues[call.queue_id].plan
        for agent in state.agents.values():
            if not _may_be_asked(engine, agent) or not meets(agent.skills, queue_plan.need):
                continue
            is_refused = (call.refused_until_ms or {}).get(agent.id, 0) > engine.now_ms
            has_units = agent.capacity_units - agent.used_units >= queue_plan.cost_units
            assert is_refused or not has_units, f"18: {agent.id} is idle beside {call.id}"


def _may_be_asked(engine: Engine, agent: Agent) -> bool:
    is_present = agent.activity == lc.READY and not agent.is_gone and not agent.is_retired
    return is_present and not agent.wrap_ups and agent.not_before_ms <= engine.now_ms


def _check_deadlines(engine: Engine) -> None:
    """No timer is lost: whatever waits for time is looked at in time."""
    state, now_ms = engine.state, engine.now_ms
    deadlines: list[int] = []
    for call in state.calls.values():
        deadlines += [call.expires_at_ms, call.agent_gone_until_ms, call.media_until_ms]
        deadlines += [until_ms for until_ms in (call.refused_until_ms or {}).values() if until_ms > now_ms]
        if call.forget_at_ms > now_ms:
            deadlines.append(call.forget_at_ms)
        elif call.forget_at_ms:
            patience_ms = max(state.plan.recording_timeout_ms, state.plan.ended_retention_ms)
            deadlines.append(max(call.forget_at_ms, call.ended_at_ms + patience_ms))
    for agent in state.agents.values():
        deadlines += [work.until_ms for work in agent.wrap_ups.values()]
        deadlines += [agent.not_before_ms] if agent.not_before_ms > now_ms else []
    deadlines += [recipient.grace_until_ms for recipient in state.recipients.values()]
    first = min((one for one in deadlines if one), default=None)
    following = engine.next_deadline_ms()
    assert first is None or (following is not None and following <= first), f"lost timer at {first}: {following}"
