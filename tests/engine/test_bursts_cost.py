"""Matching many at once: what it costs when no two calls are alike. Which calls are matched is the twin's question."""

import pytest

from dispatch import commands as cm
from dispatch.engine import Engine
from dispatch.events import CallReserved
from dispatch.plan import AgentPlan, QueuePlan
from dispatch.wishes import Wishes
from tests.engine.scene import START_MS, agent, plan, queue

AGENTS_COUNT = 500
CALLS_COUNT = 2_000


def parts(capacity_units: int) -> list[QueuePlan | AgentPlan]:
    """Three needs, and agents who serve two of them each, with or without the units for a call."""
    queues = [queue(f"q{need}", need={f"s{need}": 1}) for need in range(3)]
    agents = [
        agent(f"a{number}", skills={f"s{number % 3}": 1, f"s{(number + 1) % 3}": 1}, capacity_units=capacity_units)
        for number in range(AGENTS_COUNT)
    ]
    return [*queues, *agents]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("is_excluding", [True, False])
def test_calls_that_are_no_two_alike_are_matched_at_once(is_excluding: bool) -> None:
    """Given four calls an agent, each of which excludes or prefers an agent of its own, when all agents become free in one
    step, then the most due ones are matched, as many as there are agents; searching through all pairs took seconds for each
    hundred of them. (No scene: its checks look at each pair after each step.)"""
    engine, now_ms = Engine("d"), START_MS
    engine.step(cm.ApplyPlan(plan(*parts(1)), "before"), now_ms)
    for number in range(AGENTS_COUNT):
        engine.step(cm.SetActivity(f"a{number}", "ready"), now_ms)
    for number in range(CALLS_COUNT):
        named = f"a{(7 * number + number // 3) % AGENTS_COUNT}"
        wishes = Wishes(excluded_agent_ids=[named]) if is_excluding else Wishes(preferred_agent_id=named)
        engine.step(cm.RequestCall(f"c{number}", f"z{number}", f"q{number % 3}", wishes=wishes), now_ms + number)
    now_ms += 60_000
    engine.expire(now_ms)
    events, _ = engine.step(cm.ApplyPlan(plan(*parts(100)), "after"), now_ms)
    reserved = [event for event in events if isinstance(event, CallReserved)]
    assert [event.call_id for event in reserved] == [f"c{number}" for number in range(AGENTS_COUNT)]
    for event in reserved:
        assert event.agent_id not in (engine.state.calls[event.call_id].refused_until_ms or {})
