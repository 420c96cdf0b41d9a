"""One queue beside its peers: 100 agents, load 0.95, the engine, ciw and simpy living the same day in turns.

Counted: customers a CPU second of this thread, each side with its own event loop and all it does for a customer. For the engine
that is the whole life of a call: request, reserve, accept, connect, hang up, wrap-up end, forgotten; five commands or
deadlines where a peer has two events. People answer at once and the wrap-up takes no time, so it is the peers' M/M/100;
commands carry no ids and nobody is connected, which is a simulator's way to use an engine. Instants are whole milliseconds
here and floats there, so the mean waits agree to `WAIT_S_OFF_MAX`, and to Erlang C within what 100,000 calls can tell.
"""

import sys
from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from random import Random
from statistics import median
from time import thread_time_ns
from typing import Any

from msgspec import Struct

from bench.measuring import IS_QUICK, SEED, START_MS, settled
from bench.peers import Day, serve_with_ciw, serve_with_simpy
from dispatch import IS_COMPILED
from dispatch import commands as cm
from dispatch.engine import Engine
from dispatch.events import CallReserved, Event
from dispatch.plan import AgentPlan, Plan, QueuePlan
from loadtest.erlang import Pool, predict

AGENTS_COUNT = 100
LOAD = 0.95
SERVICE_S_MEAN = 240.0
CALLS_COUNT = 100_000
ROUNDS = 3 if IS_QUICK else 7
WAIT_S_OFF_MAX = 0.01
"""Rounding to milliseconds moves single waits by some ms, the mean of 100,000 by less."""

Step = Callable[[cm.Command, int], tuple[list[Event], list[Any]]]
Expire = Callable[[int], tuple[list[Event], list[Any]]]
Script = list[tuple[cm.Command | None, int]]
"""(command, or None for `expire`; at_ms): all that a driver said to an engine."""


def draw_day() -> Day:
    """Poisson arrivals at the load, exponential service."""
    random = Random(SEED)
    arrival_rate = AGENTS_COUNT * LOAD / SERVICE_S_MEAN
    gaps_s = [random.expovariate(arrival_rate) for _ in range(CALLS_COUNT)]
    services_s = [random.expovariate(1 / SERVICE_S_MEAN) for _ in range(CALLS_COUNT)]
    return Day(gaps_s, services_s, AGENTS_COUNT)


def opened() -> Engine:
    """Make an engine whose agents are all ready."""
    engine = Engine("bench")
    queue = QueuePlan(id="q", need={"video": 1}, media="external", recording="off", wrap_up_ms=0, waiting_max=1_000_000)
    agents = [AgentPlan(id=f"a{index}", skills={"video": 5}) for index in range(AGENTS_COUNT)]
    engine.step(cm.ApplyPlan(Plan(division_id="bench", queues=[queue], agents=agents), "bench"), START_MS)
    for agent in agents:
        engine.step(cm.SetActivity(agent.id, "ready"), START_MS)
    return engine


class Driver:
    """The day's people: they come, answer at once, talk and hang up. As lean as its peers' event loops are."""

    def __init__(self, engine: Engine, day: Day, step: Step | None = None, expire: Expire | None = None) -> None:
        self._engine = engine
        self._step = step or engine.step
        self._expire = expire or engine.expire
        self._day = day
        self._services_s = iter(day.services_s)
        """First come, first served: the n-th to be answered is the n-th who came."""
        self._dues: list[tuple[int, str]] = []
        """(at_ms, call id): who hangs up when."""
        self._waited_ms = 0

    def serve(self) -> float:
        """Live the day; return the mean wait in seconds."""
        dues, step = self._dues, self._step
        at_s = START_MS / 1_000
        for number, gap_s in enumerate(self._day.gaps_s):
            at_s += gap_s
            at_ms = int(at_s * 1_000)
            while dues and dues[0][0] <= at_ms:
                self._hang_up()
            events, _ = step(cm.RequestCall(f"c{number}", f"z{number}", "q"), at_ms)
            self._answer(events, at_ms)
        while dues:
            self._hang_up()
        self._expire(self._engine.now_ms + 3_600_000)
        return self._waited_ms / 1_000 / len(self._day.gaps_s)

    def _hang_up(self) -> None:
        at_ms, call_id = heappop(self._dues)
        self._step(cm.HangUp(call_id), at_ms)
        # The wrap-up takes no time, so its deadline is this very instant; calls to be forgotten go with it.
        events, _ = self._expire(at_ms)
        self._answer(events, at_ms)

    def _answer(self, events: list[Event], at_ms: int) -> None:
        # At most one agent is free or one call new, so at most one is reserved, at the end of the step.
        event = events[-1]
        if type(event) is CallReserved:
            self._waited_ms += event.waited_ms
            self._step(cm.AcceptReservation(event.reservation_id, event.agent_id), at_ms)
            self._step(cm.ReportConnected(event.call_id), at_ms)
            heappush(self._dues, (at_ms + int(next(self._services_s) * 1_000), event.call_id))


def serve_with_engine(day: Day) -> float:
    """Return the mean wait in seconds. Raises AssertionError when a call did not end."""
    engine = opened()
    wait_s = Driver(engine, day).serve()
    assert not engine.state.calls, engine
    return wait_s


def script_of(day: Day) -> Script:
    """Everything the driver says to the engine on this day."""
    engine = opened()
    script: Script = []

    def step(command: cm.Command, at_ms: int) -> tuple[list[Event], list[Any]]:
        script.append((command, at_ms))
        return engine.step(command, at_ms)

    def expire(at_ms: int) -> tuple[list[Event], list[Any]]:
        script.append((None, at_ms))
        return engine.expire(at_ms)

    Driver(engine, day, step, expire).serve()
    return script


def play(script: Script) -> None:
    """Say it all to a new engine: same commands, same decisions, no driver."""
    engine = opened()
    step, expire = engine.step, engine.expire
    for command, at_ms in script:
        if command is None:
            expire(at_ms)
        else:
            step(command, at_ms)


class Round(Struct):
    """CPU seconds of one turn each."""

    engine_s: float
    ciw_s: float
    simpy_s: float


def measure_rounds(day: Day) -> Iterator[Round]:
    """Let the three take turns. Raises AssertionError where they do not find the same mean wait."""
    for _ in range(ROUNDS):
        spent: list[float] = []
        waits_s: list[float] = []
        for serve in (serve_with_engine, serve_with_ciw, serve_with_simpy):
            with settled():
                started_ns = thread_time_ns()
                waits_s.append(serve(day))
                spent.append((thread_time_ns() - started_ns) / 1e9)
        assert max(waits_s) - min(waits_s) <= WAIT_S_OFF_MAX, f"not the same day: mean waits {waits_s}"
        print(
            f"  mean wait engine {waits_s[0]:.3f} s, ciw {waits_s[1]:.3f} s, simpy {waits_s[2]:.3f} s", file=sys.stderr
        )
        yield Round(*spent)


def measure() -> dict[str, float]:
    """Print the table of (a); return `ratio_ciw` and `ratio_simpy`, medians of the rounds."""
    day = draw_day()
    rounds = list(measure_rounds(day))
    script = script_of(day)
    with settled():
        started_ns = thread_time_ns()
        play(script)
        alone_s = (thread_time_ns() - started_ns) / 1e9
    arrival_rate = AGENTS_COUNT * LOAD / SERVICE_S_MEAN
    expected_s = predict(Pool(arrival_rate, 1 / SERVICE_S_MEAN, AGENTS_COUNT)).wait_mean
    print(
        f"(a) one queue, {AGENTS_COUNT} agents, load {LOAD}, {CALLS_COUNT:,} calls, {ROUNDS} rounds in turns, medians; "
        f"engine {'compiled' if IS_COMPILED else 'as plain Python'}"
    )
    print(f"    mean wait {serve_with_simpy(day):.3f} s for all three; Erlang C {expected_s:.3f} s")
    columns = [("engine", [one.engine_s for one in rounds]), ("ciw", [one.ciw_s for one in rounds])]
    for name, spent in (*columns, ("simpy", [one.simpy_s for one in rounds]), ("engine without driver", [alone_s])):
        rate, us = CALLS_COUNT / median(spent), median(spent) / CALLS_COUNT * 1e6
        print(f"    {name:<22} {rate:>9,.0f} customers/s {us:>7.1f} us each")
    print(f"    {len(script) / CALLS_COUNT:.1f} commands and deadlines a call")
    return {
        "ratio_ciw": round(median(one.ciw_s / one.engine_s for one in rounds), 2),
        "ratio_simpy": round(median(one.simpy_s / one.engine_s for one in rounds), 2),
    }
