"""Many at once: of what becomes free in one step the most due set of calls is served; no larger one exists (ROUTING.md 5.19).

Small random halls against every set of calls that can be matched at all. How it is compared: the events of the one step are cut
into rounds; in each the reserved calls must be the best of all sets that the agents left over could serve, each pair
must be eligible, and after the last round no set but the empty one is left (5.18). `DOUBT_EXAMPLES` tries so many more.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatch import commands as cm
from dispatch import events as ev
from dispatch.engine import Engine
from dispatch.plan import AgentPlan, Plan, QueuePlan, meets
from dispatch.wishes import Wishes
from tests.engine.scene import START_MS, Scene, agent, plan, queue

EXAMPLES = 1_000 + int(os.environ.get("DOUBT_EXAMPLES", "0"))
SKILLS = ("a", "b", "c")
AGENTS = [f"agent{number}" for number in range(7)]

needs = st.dictionaries(st.sampled_from(SKILLS), st.integers(1, 3), max_size=2)


@dataclass
class Hall:
    """What is to become free at once."""

    plan: Plan
    calls: list[tuple[str, Wishes]]
    """(queue, wishes), in the order in which they came."""

    def requested(self, engine: Engine) -> None:
        for number, (queue_id, wishes) in enumerate(self.calls):
            command = cm.RequestCall(f"c{number}", f"z{number}", queue_id, wishes=wishes, is_consented=True)
            _, effects = engine.step(command, START_MS + 100 + number)
            if effects[-1].reason:  # type: ignore[union-attr]
                assert effects[-1].reason == "not_qualified"  # type: ignore[union-attr]


@st.composite
def halls(draw: st.DrawFn) -> Hall:
    queues = [
        QueuePlan(
            id=f"q{number}",
            need=draw(needs),
            target_ms=draw(st.sampled_from([0, 2, 5])),
            cost_units=draw(st.sampled_from([100, 100, 50])),
            in_call_max=draw(st.sampled_from([0, 0, 0, 1, 2])),
            preferred_window_ms=draw(st.sampled_from([0, 30_000])),
            media="external",
            recording="off",
        )
        for number in range(draw(st.integers(1, 3)))
    ]
    skills = st.dictionaries(st.sampled_from(SKILLS), st.integers(1, 3))
    capacities = st.sampled_from([100, 100, 100, 50, 150, 200])
    agents = [
        AgentPlan(id=one, skills=draw(skills), capacity_units=draw(capacities))
        for one in AGENTS[: draw(st.integers(1, 7))]
    ]
    return Hall(Plan("d", queues, agents), draw(st.lists(_calls(queues, [one.id for one in agents]), max_size=7)))


@st.composite
def _calls(draw: st.DrawFn, queues: list[QueuePlan], agent_ids: list[str]) -> tuple[str, Wishes]:
    kind = draw(st.sampled_from(["plain", "plain", "own", "excluded", "required", "preferred"]))
    anybody = st.sampled_from(agent_ids)
    wishes = Wishes(
        need=draw(needs) if kind == "own" else {},
        excluded_agent_ids=draw(st.lists(anybody, max_size=3, unique=True)) if kind == "excluded" else [],
        required_agent_id=draw(anybody) if kind == "required" else "",
        preferred_agent_id=draw(anybody) if kind == "preferred" else "",
        credit_ms=draw(st.integers(0, 6)),
        is_absolute=draw(st.sampled_from([False] * 7 + [True])),
    )
    return draw(st.sampled_from([one.id for one in queues])), wishes


# -- ways to make all of it free at once


def by_recovery(hall: Hall) -> tuple[Engine, list[ev.Event]]:
    """Everybody is on a break; the journal says that all came back at one instant; then the shard wakes."""
    engine = Engine("d")
    engine.step(cm.ApplyPlan(hall.plan, "one"), START_MS)
    for number, one in enumerate(hall.plan.agents):
        engine.step(cm.SetActivity(one.id, "not_ready"), START_MS + number)
    hall.requested(engine)
    now_ms = START_MS + 200
    engine.replay([ev.AgentActivityChanged(now_ms, one.id, "ready") for one in hall.plan.agents])
    engine.wake()
    return engine, engine.expire(now_ms)[0]


def by_reload(hall: Hall) -> tuple[Engine, list[ev.Event]]:
    """Everybody is ready and every call too dear, until a plan makes it cost what it costs."""
    engine = Engine("d")
    dear = [QueuePlan(**{**_fields(one), "cost_units": 10_000}) for one in hall.plan.queues]
    engine.step(cm.ApplyPlan(Plan("d", dear, hall.plan.agents), "one"), START_MS)
    for number, one in enumerate(hall.plan.agents):
        engine.step(cm.SetActivity(one.id, "ready"), START_MS + number)
    hall.requested(engine)
    return engine, engine.step(cm.ApplyPlan(hall.plan, "two"), START_MS + 200)[0]


def _fields(one: QueuePlan) -> dict[str, object]:
    return {name: getattr(one, name) for name in one.__struct_fields__}


# -- all sets that can be matched


class Reference:
    """What may still be served: agents' units, calls that wait, calls of each queue that ring. Knows only the rules."""

    def __init__(self, hall: Hall, engine: Engine) -> None:
        self.plans = {one.id: one for one in hall.plan.queues}
        self.units = {one.id: one.capacity_units for one in hall.plan.agents}
        self.skills = {one.id: one.skills for one in hall.plan.agents}
        self.ringing = dict.fromkeys(self.plans, 0)
        self.calls = sorted(engine.state.calls.values(), key=lambda call: call.key)
        self.waiting = {call.id for call in self.calls}

    def can(self, agent_id: str, call_id: str) -> bool:
        call = next(one for one in self.calls if one.id == call_id)
        plan, wishes = self.plans[call.queue_id], call.wishes
        assert wishes is not None
        need = {skill: max(plan.need.get(skill, 0), wishes.need.get(skill, 0)) for skill in {*plan.need, *wishes.need}}
        kept_for = wishes.required_agent_id
        if not kept_for and wishes.preferred_agent_id and plan.preferred_window_ms:
            kept_for = wishes.preferred_agent_id if meets(self.skills[wishes.preferred_agent_id], need) else ""
        return (
            self.units[agent_id] >= plan.cost_units
            and meets(self.skills[agent_id], need)
            and agent_id not in wishes.excluded_agent_ids
            and kept_for in ("", agent_id)
        )

    def sets(self) -> set[frozenset[str]]:
        """Every set of waiting calls of which each can have an agent of its own, within the caps: agent by agent."""
        found: set[frozenset[str]] = {frozenset()}
        for agent_id in self.units:
            able = [one for one in self.waiting if self.can(agent_id, one)]
            found |= {one | {call_id} for one in found for call_id in able if call_id not in one}
        return {one for one in found if self._is_within_caps(one)}

    def _is_within_caps(self, call_ids: frozenset[str]) -> bool:
        for queue_id, queue_plan in self.plans.items():
            more = sum(call.queue_id == queue_id for call in self.calls if call.id in call_ids)
            if queue_plan.in_call_max and more and self.ringing[queue_id] + more > queue_plan.in_call_max:
                return False
        return True

    def best(self, sets: set[frozenset[str]]) -> frozenset[str]:
        """The lexicographically most due one: with the most due call if any has it, then with the next, ..."""
        return max(sets, key=lambda one: [call.id in one for call in self.calls])

    def take(self, event: ev.CallReserved) -> None:
        assert self.can(event.agent_id, event.call_id), f"7, 8: {event}"
        self.units[event.agent_id] -= self.plans[event.queue_id].cost_units
        self.ringing[event.queue_id] += 1
        self.waiting.remove(event.call_id)


@pytest.mark.parametrize("make_free", [by_recovery, by_reload])
@settings(max_examples=EXAMPLES, deadline=None)
@given(hall=halls())
def test_the_most_due_set_is_served(make_free: Callable[[Hall], tuple[Engine, list[ev.Event]]], hall: Hall) -> None:
    """Given a hall that becomes free at once, then round by round the best of all sets that can be matched is reserved."""
    engine, events = make_free(hall)
    reference = Reference(hall, engine)
    reserved = [event for event in events if isinstance(event, ev.CallReserved)]
    while reserved:
        sets = reference.sets()
        best = reference.best(sets)
        this_round, reserved = reserved[: len(best)], reserved[len(best) :]
        assert {event.call_id for event in this_round} == best, f"19: {this_round}"
        assert len({event.agent_id for event in this_round}) == len(best), "19: an agent twice in a round"
        if not any(one.in_call_max for one in hall.plan.queues):
            assert len(best) == max(map(len, sets)), "19: a larger set exists"
        for event in this_round:
            reference.take(event)
    assert reference.best(reference.sets()) == frozenset(), "18: somebody is idle beside a call that waits"


# -- by hand


def _at_once(scene: Scene, *parts: QueuePlan | AgentPlan) -> list[tuple[str, str]]:
    """Apply the plan; who is reserved for what in that step."""
    scene.replan(plan(*parts))
    return [(event.call_id, event.agent_id) for event in scene.last if isinstance(event, ev.CallReserved)]


def test_a_call_that_only_one_may_serve_displaces_who_has_a_choice() -> None:
    """Given a due call that would have got the only one for the other call, when both are free at once, then both are."""
    needs = {"any": {}, "fx": {"fx": 1}, "law": {"law": 1}, "tax": {"tax": 1}}
    agents = [agent("anna", skills={"fx": 1}), agent("ben", skills={"law": 1, "tax": 1})]
    scene = Scene(*(queue(one, need=need, cost_units=10_000) for one, need in needs.items()), *agents)
    scene.ready("anna", "ben")
    scene.request("c1", "any")
    scene.wait(1)
    scene.request("c2", "fx")
    pairs = _at_once(scene, *(queue(one, need=need) for one, need in needs.items()), *agents)
    assert sorted(pairs) == [("c1", "ben"), ("c2", "anna")]


def test_the_most_due_call_is_served_though_a_larger_set_without_it_were_no_larger() -> None:
    """Given two calls and one agent, then the more due one is chosen; given three of a chain and two, the first two."""
    dear = [queue("x", need={"x": 1}, cost_units=10_000), queue("xy", need={"y": 1}, cost_units=10_000)]
    agents = [agent("anna", skills={"x": 1, "y": 1}), agent("ben", skills={"x": 1})]
    scene = Scene(*dear, *agents)
    scene.ready("anna", "ben")
    for call_id, queue_id in (("c1", "x"), ("c2", "x"), ("c3", "xy")):
        scene.request(call_id, queue_id)
        scene.wait(1)
    pairs = _at_once(scene, queue("x", need={"x": 1}), queue("xy", need={"y": 1}), *agents)
    assert sorted(call_id for call_id, _ in pairs) == ["c1", "c2"]


def test_scarce_skills_are_kept() -> None:
    """Given one who serves three needs, idle longest, and two who serve one, when two calls come, then the two are asked."""
    needs = [{"x": 1}, {"y": 1}, {}]
    dear = [queue(f"q{number}", need=need, cost_units=10_000) for number, need in enumerate(needs)]
    agents = [agent("all", skills={"x": 1, "y": 1}), agent("one"), agent("two")]
    scene = Scene(*dear, *agents)
    scene.ready("all", "one", "two")
    scene.request("c1", "q2")
    scene.request("c2", "q2")
    pairs = _at_once(scene, *(queue(f"q{number}", need=need) for number, need in enumerate(needs)), *agents)
    assert sorted(agent_id for _, agent_id in pairs) == ["one", "two"]


def test_where_one_call_is_chosen_the_strategy_decides() -> None:
    """Given one call and the same agents, then nobody competes, and who is idle longest is asked."""
    needs = [{"x": 1}, {"y": 1}, {}]
    dear = [queue(f"q{number}", need=need, cost_units=10_000) for number, need in enumerate(needs)]
    agents = [agent("all", skills={"x": 1, "y": 1}), agent("one"), agent("two")]
    scene = Scene(*dear, *agents)
    scene.ready("all", "one", "two")
    scene.request("c1", "q2")
    pairs = _at_once(scene, *(queue(f"q{number}", need=need) for number, need in enumerate(needs)), *agents)
    assert pairs == [("c1", "all")]


def test_a_burst_spreads_over_agents() -> None:
    """Given fifty calls in one instant and fifty free agents with room for two, then each agent has one call (5.25)."""
    names = [f"a{number}" for number in range(50)]
    dear = queue(cost_units=10_000, reservation_timeout_ms=60_000)
    agents = [agent(one, capacity_units=200) for one in names]
    scene = Scene(dear, *agents)
    scene.ready(*names)
    for number in range(50):
        scene.request(f"c{number}")
    pairs = _at_once(scene, queue(), *agents)
    assert len({agent_id for _, agent_id in pairs}) == len(pairs) == 50


def test_a_burst_of_requests_goes_round() -> None:
    """Given ten calls in one millisecond, each its own step, when ten agents with room for two go round, then one each."""
    names = [f"a{number}" for number in range(10)]
    scene = Scene(queue(strategy="round_robin"), *(agent(one, capacity_units=200) for one in names))
    scene.ready(*names)
    for number in range(10):
        scene.request(f"c{number}")
    assert [scene.agent(one).used_units for one in names] == [100] * 10
