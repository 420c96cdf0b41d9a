"""Queueing theory through the real engine in virtual time: Erlang C, Erlang A, M/M/c/K, Little's law (CAPACITY.md's oracles).

In two steps, since noise dies only with millions of customers. First the engine meets a bare recursion customer by
customer: who is turned away, who gives up, who waits for how long, to the millisecond. Then the recursion, on many more
customers of the same kind, meets the exact values. Bounds are standard errors over the seeds, never a fixed tolerance:
|mean - exact| < 3.5 standard errors, and the standard error below 2 % of the value, or the test would agree with anything.

Agents accept at once and have no wrap-up, arrivals are Poisson, talks and patience exponential, as the formulas have it. What
happens in one millisecond happens in this order: talks end, patience ends, customers come.
"""

from collections import deque
from dataclasses import dataclass
from functools import cache
from heapq import heapify, heappop, heappush, heapreplace
from math import sqrt
from random import Random
from statistics import mean, stdev

import pytest

from dispatch import commands as cm
from dispatch import lifecycle as lc
from dispatch.engine import Engine
from dispatch.events import CallReserved
from tests.engine.scene import START_MS, agent, plan, queue

MINUTE_MS = 60_000
SEEDS = 24
ENGINE_SEEDS = 10
ENGINE_CUSTOMERS = 4_000
NEVER = 1 << 60
BLOCKED = -1
LEAVE, GIVE_UP, COME = 0, 1, 2


@dataclass(frozen=True)
class Case:
    """A queue of theory. Rates per minute, times in minutes."""

    customers: int
    """Of one seed, for the recursion."""
    agents: int
    arrival_rate: float
    talk_minutes: float
    patience_minutes: float = 0.0
    """0: nobody gives up."""
    waiting_max: int = 10_000


ERLANG_C = Case(25_000, 14, 100 / 30, 3)
ERLANG_A = Case(60_000, 14, 100 / 30, 3, patience_minutes=5)
GARNETT = Case(80_000, 50, 48, 1, patience_minutes=2)
FINITE = Case(90_000, 12, 4.2, 2, waiting_max=5)
CASES = {"Erlang C": ERLANG_C, "Erlang A": ERLANG_A, "Garnett, Mandelbaum, Reiman": GARNETT, "M/M/12/17": FINITE}

Customer = tuple[int, int, int]
"""(comes at ms, talks for ms, waits for at most ms)."""


def customers_of(case: Case, seed: int, count: int) -> list[Customer]:
    """One random stream a purpose, so that the first customers are the same in a longer run."""
    comes, talks, waits = (Random(f"{seed} {purpose}") for purpose in ("comes", "talks", "waits"))
    found, at_ms = [], float(START_MS)
    for _ in range(count):
        at_ms += comes.expovariate(case.arrival_rate) * MINUTE_MS
        talk_ms = max(1, round(talks.expovariate(1 / case.talk_minutes) * MINUTE_MS))
        patience = waits.expovariate(1.0) * case.patience_minutes * MINUTE_MS
        found.append((round(at_ms), talk_ms, round(patience) if case.patience_minutes else NEVER))
    return found


@dataclass(frozen=True)
class Fate:
    """What became of the customers: how long each waited (`BLOCKED`: turned away), and whether it was in vain."""

    waits: list[int]
    gave_up: list[bool]


# -- the bare recursion (Kiefer and Wolfowitz 1955: first come, first served by whoever is free first)


def recursion(case: Case, customers: list[Customer]) -> Fate:
    free_at_ms = [START_MS] * case.agents
    heapify(free_at_ms)
    leaves_line_at_ms: deque[int] = deque()
    """When those before leave the line, one way or the other; only kept where the line has a bound."""
    waits, gave_up = [], []
    for at_ms, talk_ms, patience_ms in customers:
        starts_at_ms = max(at_ms, free_at_ms[0])
        wait_ms = min(starts_at_ms - at_ms, patience_ms)
        if case.waiting_max < len(customers) and starts_at_ms > at_ms:
            leaves_line_at_ms = deque(one for one in leaves_line_at_ms if one > at_ms)
            if len(leaves_line_at_ms) >= case.waiting_max:
                waits.append(BLOCKED)
                gave_up.append(False)
                continue
            leaves_line_at_ms.append(at_ms + wait_ms)
        is_served = starts_at_ms - at_ms <= patience_ms
        if is_served:
            heapreplace(free_at_ms, starts_at_ms + talk_ms)
        waits.append(wait_ms)
        gave_up.append(not is_served)
    return Fate(waits, gave_up)


# -- the engine


class Run:
    """Customers meet the engine; agents accept whatever they are asked for at once."""

    def __init__(self, case: Case, customers: list[Customer]) -> None:
        names = [f"a{number}" for number in range(case.agents)]
        self.engine = Engine("d")
        hall = queue(wrap_up="none", waiting_max=case.waiting_max)
        self.engine.step(cm.ApplyPlan(plan(hall, *map(agent, names)), "p"), START_MS)
        for one in names:
            self.engine.step(cm.SetActivity(one, "ready"), START_MS)
        self.customers = customers
        self.heap = [(at_ms, COME, number) for number, (at_ms, _, _) in enumerate(customers)]
        self.waits = [0] * len(customers)
        self.gave_up = [False] * len(customers)
        self.waiting: set[int] = set()
        self.now_ms = START_MS
        self.line_ms = 0
        """Length of the line, as the engine counts it, over time."""

    def run(self) -> Fate:
        counts = self.engine.state.queues["loans"].counts
        while self.heap:
            at_ms, what, number = heappop(self.heap)
            self.line_ms += counts[lc.WAITING] * (at_ms - self.now_ms)
            self.now_ms = at_ms
            self.engine.expire(at_ms)
            if what == COME:
                self._come(number)
            elif what == LEAVE:
                self._do(cm.HangUp(f"c{number}"))
            elif number in self.waiting:
                self.waiting.remove(number)
                self.waits[number], self.gave_up[number] = self.customers[number][2], True
                self._do(cm.HangUp(f"c{number}"))
        assert not self.waiting
        assert not any(one.used_units for one in self.engine.state.agents.values())
        return Fate(self.waits, self.gave_up)

    def _come(self, number: int) -> None:
        at_ms, _, patience_ms = self.customers[number]
        self.waiting.add(number)
        if self._do(cm.RequestCall(f"c{number}", f"z{number}", "loans")):
            self.waiting.remove(number)
            self.waits[number] = BLOCKED
        elif number in self.waiting and patience_ms < NEVER:
            heappush(self.heap, (at_ms + patience_ms, GIVE_UP, number))

    def _do(self, command: cm.Command) -> str:
        """Step; whoever is asked accepts in that instant. Returns the refusal, or ''."""
        events, effects = self.engine.step(command, self.now_ms)
        for event in events:
            if isinstance(event, CallReserved):
                number = int(event.call_id[1:])
                self.waiting.remove(number)
                self.waits[number] = event.waited_ms
                self.engine.step(cm.AcceptReservation(event.reservation_id, event.agent_id), self.now_ms)
                self.engine.step(cm.ReportConnected(event.call_id), self.now_ms)
                heappush(self.heap, (self.now_ms + self.customers[number][1], LEAVE, number))
        return effects[-1].reason  # type: ignore[union-attr]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", range(ENGINE_SEEDS))
def test_the_engine_is_the_recursion_customer_by_customer(name: str, seed: int) -> None:
    """Given the customers of a seed, then each fares to the millisecond as in theory; and Little's law holds exactly."""
    case = CASES[name]
    customers = customers_of(case, seed, ENGINE_CUSTOMERS)
    run = Run(case, customers)
    fate = run.run()
    expected = recursion(case, customers)
    assert fate == expected
    assert run.line_ms == sum(wait_ms for wait_ms in fate.waits if wait_ms != BLOCKED), "Little: L = rate x W"


# -- the exact values


@dataclass(frozen=True)
class Measured:
    """One seed's means, after a warm-up of one in fifty customers."""

    delayed_ratio: float
    abandoned_ratio: float
    blocked_ratio: float
    service_level_20s: float
    """Answered within 20 s / offered: of Erlang A, too, who gives up counts as not answered."""
    wait_minutes: float
    occupancy: float
    line: float


def measure(case: Case, customers: list[Customer], fate: Fate) -> Measured:
    warm = len(customers) // 50
    rows = list(zip(customers[warm:], fate.waits[warm:], fate.gave_up[warm:], strict=True))
    admitted = [row for row in rows if row[1] != BLOCKED]
    passed_ms = customers[-1][0] - customers[warm][0]
    served = [row for row in admitted if not row[2]]
    waited_ms = sum(wait_ms for _, wait_ms, _ in admitted)
    return Measured(
        sum(wait_ms > 0 for _, wait_ms, _ in admitted) / len(admitted),
        (len(admitted) - len(served)) / len(rows),
        (len(rows) - len(admitted)) / len(rows),
        sum(wait_ms <= 20_000 for _, wait_ms, _ in served) / len(rows),
        waited_ms / len(admitted) / MINUTE_MS,
        sum(talk_ms for (_, talk_ms, _), _, _ in served) / passed_ms / case.agents,
        waited_ms / passed_ms,
    )


@cache
def measured(case: Case) -> list[Measured]:
    found = []
    for seed in range(SEEDS):
        customers = customers_of(case, seed, case.customers)
        found.append(measure(case, customers, recursion(case, customers)))
    return found


def meets(values: list[float], exact: float, scale: float) -> bool:
    """Is the mean within 3.5 standard errors of the exact value, and the standard error below 2 % of `scale`?"""
    standard_error = stdev(values) / sqrt(len(values))
    assert standard_error < 0.02 * scale, f"too noisy: {standard_error} of {scale}"
    return abs(mean(values) - exact) < 3.5 * standard_error


EXACT: list[tuple[str, str, float]] = [
    ("Erlang C", "delayed_ratio", 0.174132),
    ("Erlang C", "service_level_20s", 0.888350),
    ("Erlang C", "occupancy", 0.714286),
    ("Erlang A", "delayed_ratio", 0.14526),
    ("Erlang A", "abandoned_ratio", 0.013984),
    ("Erlang A", "wait_minutes", 0.069919),
    ("Erlang A", "occupancy", 0.704297),
    ("Erlang A", "service_level_20s", 0.916792),
    ("Garnett, Mandelbaum, Reiman", "delayed_ratio", 0.46777),
    ("Garnett, Mandelbaum, Reiman", "abandoned_ratio", 0.03091),
    ("Garnett, Mandelbaum, Reiman", "wait_minutes", 3.7095 / 60),
    ("Garnett, Mandelbaum, Reiman", "occupancy", 0.93032),
    ("Garnett, Mandelbaum, Reiman", "line", 2.9676),
    ("M/M/12/17", "blocked_ratio", 0.00948),
    ("M/M/12/17", "wait_minutes", 0.06112),
    ("M/M/12/17", "occupancy", 0.69337),
]
"""From CAPACITY.md, computed there from the formulas."""


@pytest.mark.parametrize(("name", "what", "exact"), EXACT)
def test_the_exact_value_is_met_within_the_noise(name: str, what: str, exact: float) -> None:
    """Given the seeds of a case, then the mean of what was measured is the exact value, within its own standard error."""
    values = [getattr(one, what) for one in measured(CASES[name])]
    assert meets(values, exact, exact), (mean(values), exact)


@pytest.mark.parametrize("name", ["Erlang A", "Garnett, Mandelbaum, Reiman"])
def test_who_gives_up_is_the_wait_over_the_patience(name: str) -> None:
    """Given exponential patience, then P(abandon) = E[W] / mean patience, whatever the load (CAPACITY.md: always)."""
    case = CASES[name]
    differences = [one.abandoned_ratio - one.wait_minutes / case.patience_minutes for one in measured(case)]
    assert meets(differences, 0.0, mean(one.abandoned_ratio for one in measured(case)))


def test_the_measure_tells_a_slower_hall_from_a_right_one() -> None:
    """Given talks 5 % longer than the formula's, then far fewer customers are enough to notice: the tests above can fail."""
    values = []
    for seed in range(ENGINE_SEEDS):
        slower = [
            (at_ms, talk_ms * 105 // 100, wait_ms) for at_ms, talk_ms, wait_ms in customers_of(GARNETT, seed, 10_000)
        ]
        values.append(measure(GARNETT, slower, recursion(GARNETT, slower)).occupancy)
    assert not meets(values, 0.93032, 0.93032)
