"""Many free agents and many waiting calls in one step, as after a reload: what deciding all of them costs.

Calls wait beside ready agents who have too few units for them; then one new plan gives the units, and that single step makes
the indexes anew and matches all it can. The halls: as many agents as calls, ten times as many calls as agents (40 needs, 5 an
agent both times), and the chain, the worst case for the search: needs 0 to 40 and agents of 40 kinds, kind k serving the needs
k and k + 1. The needs in the middle are more due and fill every kind but for a few places at one end; a call of need 0 or 40
that comes after them must then push one call of every need between itself and a free place one kind further. Last, calls
that are no two alike: each has an agent it would rather have, or one it must not have.
"""

from random import Random
from time import thread_time_ns

from msgspec import Struct

from bench.engine_hall import HOUR_MS, QUEUES_COUNT, QUEUES_PER_AGENT
from bench.measuring import SEED, START_MS, settled
from dispatch import commands as cm
from dispatch.engine import Engine
from dispatch.events import CallReserved
from dispatch.plan import AgentPlan, Plan, QueuePlan
from dispatch.wishes import Wishes

SIZES = ((1_000, 1_000), (5_000, 50_000))
"""(free agents, waiting calls)"""
WISHING_SIZE = (1_000, 5_000)
CHAIN_AGENTS_PER_KIND = 25
CHAIN_KINDS = 40


class Burst(Struct):
    """One hall in which everything happens at once."""

    name: str
    skills: list[list[int]]
    """Of each agent, in the plan's order."""
    needs: list[int]
    """Of each call, most due first."""
    wishes: list[Wishes] | None = None
    """Of each call; None: nobody has any."""


def random_burst(agents_count: int, calls_count: int) -> Burst:
    """40 needs, 5 an agent, drawn."""
    random = Random(SEED)
    skills = [random.sample(range(QUEUES_COUNT), QUEUES_PER_AGENT) for _ in range(agents_count)]
    needs = [random.randrange(QUEUES_COUNT) for _ in range(calls_count)]
    return Burst(f"{agents_count:,} agents, {calls_count:,} calls", skills, needs)


def chain_burst() -> Burst:
    """The worst case: each of the last calls moves one call of every need before it finds its place."""
    skills = [[kind, kind + 1] for kind in range(CHAIN_KINDS) for _ in range(CHAIN_AGENTS_PER_KIND)]
    middle = [need for _ in range(CHAIN_AGENTS_PER_KIND) for need in range(1, CHAIN_KINDS)]
    ends = [need for _ in range(CHAIN_AGENTS_PER_KIND) for need in (0, CHAIN_KINDS)]
    return Burst(f"chain of {CHAIN_KINDS} kinds", skills, middle + ends)


def wishing_burst(agents_count: int, calls_count: int, *, is_excluding: bool) -> Burst:
    """The drawn hall, where each call names one agent: to be preferred, or to be left out."""
    burst = random_burst(agents_count, calls_count)
    random = Random(SEED)
    named = [f"a{random.randrange(agents_count)}" for _ in range(calls_count)]
    burst.wishes = [
        Wishes(excluded_agent_ids=[one]) if is_excluding else Wishes(preferred_agent_id=one) for one in named
    ]
    burst.name += ", each excludes an agent" if is_excluding else ", each prefers an agent"
    return burst


def plan(burst: Burst, capacity_units: int) -> Plan:
    """The hall before and after the reload."""
    queues = [
        QueuePlan(id=f"q{index}", need={f"s{index}": 3}, media="external", recording="off", waiting_max=1_000_000)
        for index in range(CHAIN_KINDS + 1)
    ]
    agents = [
        AgentPlan(id=f"a{index}", skills={f"s{skill}": 5 for skill in skills}, capacity_units=capacity_units)
        for index, skills in enumerate(burst.skills)
    ]
    return Plan(division_id="bench", queues=queues, agents=agents, live_calls_max=1_000_000)


def measure_burst(burst: Burst) -> None:
    """Print what the one step costs, and how much of it is the new plan alone."""
    engine = Engine("bench")
    engine.step(cm.ApplyPlan(plan(burst, 1), "before"), START_MS)
    for index in range(len(burst.skills)):
        engine.step(cm.SetActivity(f"a{index}", "ready"), START_MS)
    for number, need in enumerate(burst.needs):
        wishes = burst.wishes[number] if burst.wishes else None
        engine.step(cm.RequestCall(f"c{number}", f"z{number}", f"q{need}", wishes=wishes), START_MS + number)
    # Nobody is kept for anybody any more: who is preferred is only first among equals.
    engine.expire(START_MS + len(burst.needs) + HOUR_MS)
    with settled():
        # Nothing can be matched by this one: it makes the indexes anew and no more.
        started_ns = thread_time_ns()
        engine.step(cm.ApplyPlan(plan(burst, 1), "again"), engine.now_ms)
        reload_ns = thread_time_ns() - started_ns
        started_ns = thread_time_ns()
        events, _ = engine.step(cm.ApplyPlan(plan(burst, 100), "after"), engine.now_ms)
        whole_ns = thread_time_ns() - started_ns
    reserved = sum(type(event) is CallReserved for event in events)
    us_each = (whole_ns - reload_ns) / reserved / 1e3
    print(
        f"    {burst.name}: {reserved:,} reserved in {whole_ns / 1e6:,.0f} ms: {us_each:.1f} us each beside "
        f"{reload_ns / 1e6:,.0f} ms for the plan alone"
    )


def measure() -> dict[str, float]:
    """Print the table of (e); nothing of it goes into the RESULT."""
    print("(e) one step in which all agents become free for all calls")
    for agents_count, calls_count in SIZES:
        measure_burst(random_burst(agents_count, calls_count))
    measure_burst(chain_burst())
    for is_excluding in (False, True):
        measure_burst(wishing_burst(*WISHING_SIZE, is_excluding=is_excluding))
    return {}
