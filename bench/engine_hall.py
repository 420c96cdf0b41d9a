"""A hall in virtual time: the engine, and people who answer what it tells them, each after their own time.

40 queues, 5 queues an agent. Lognormal talks (mean 240 s, sigma 0.98, docs/capacity.md), 30 s of wrap-up, 3 s to accept, 1 s to
connect. Every call lives its full life: request, reserve, accept, connect, hang up, wrap-up end, forgotten. Media are
`external`. Agents are connected, and customers' and agents' commands carry ids, so remembering answers and
numbering what clients are told is paid for.

Two ways to arrive: a Poisson stream at a load (`Hall.fill`, then `Hall.run`), or one call for each that is over, in the same
queue (`Hall.keep`), which holds the number of waiting calls where it is. CPU time is this thread's and only what the engine
takes, less what reading the clock costs.
"""

import math
from collections import defaultdict
from heapq import heappop, heappush
from random import Random
from time import thread_time_ns

from bench.measuring import SEED, START_MS, clock_ns
from dispatch import commands as cm
from dispatch.engine import Engine
from dispatch.events import CallConnected, CallReserved, Event, ReservationAccepted, WrapUpEnded
from dispatch.plan import AgentPlan, Plan, QueuePlan

QUEUES_COUNT = 40
QUEUES_PER_AGENT = 5
LOAD = 0.97
TALK_MS_MEAN = 240_000
TALK_SIGMA = 0.98
WRAP_UP_MS = 30_000
ACCEPT_MS = 3_000
CONNECT_MS = 1_000
HELD_MS_MEAN = TALK_MS_MEAN + WRAP_UP_MS + ACCEPT_MS + CONNECT_MS
HOUR_MS = 3_600_000

Due = tuple[int, int, cm.Command]
"""(at_ms, number, command): what the hall's people will do, in order."""


def plan(agents_count: int, random: Random) -> Plan:
    """40 queues of one skill each, agents with five skills."""
    queues = [
        QueuePlan(
            id=f"q{index}", need={f"s{index}": 3}, media="external", recording="off", wrap_up_ms=WRAP_UP_MS,
            waiting_max=1_000_000,
        )
        for index in range(QUEUES_COUNT)
    ]  # fmt: skip
    agents = [
        AgentPlan(id=f"a{index}", skills={f"s{one}": 5 for one in random.sample(range(QUEUES_COUNT), QUEUES_PER_AGENT)})
        for index in range(agents_count)
    ]
    return Plan(division_id="bench", queues=queues, agents=agents, live_calls_max=1_000_000)


class Hall:
    """The engine with its people, from the moment when all agents are ready."""

    def __init__(self, agents_count: int) -> None:
        self.random = Random(SEED)
        self.engine = Engine("bench")
        self.requested_count = 0
        self.events_count = 0
        self.live_max = 0
        self.ns_by_step: dict[str, list[int]] = defaultdict(list)
        self._agents_count = agents_count
        self._dues: list[Due] = []
        self._number = 0
        self._gap_ms_mean = HELD_MS_MEAN / agents_count / LOAD
        self._talk_mu = math.log(TALK_MS_MEAN) - TALK_SIGMA**2 / 2
        self._next_arrival_ms = float(START_MS)
        self._requests_until = 0
        self._arrival: cm.Command | None = None
        """The next of the stream, among what people will do."""
        self._is_kept = False
        self._queue_by_agent: dict[str, str] = {}
        self._clock_ns = clock_ns()
        self._open()

    def _open(self) -> None:
        self.engine.step(cm.ApplyPlan(plan(self._agents_count, self.random), "bench"), START_MS)
        for index in range(self._agents_count):
            self.engine.step(cm.Connect(f"agent:a{index}", "g1", f"k{index}"), START_MS)
            self.engine.step(cm.SetActivity(f"a{index}", "ready"), START_MS)

    # -- how calls come

    def fill(self, calls_count: int) -> None:
        """Let this many come at once, before anything else."""
        for number in range(calls_count):
            self._request(f"q{number % QUEUES_COUNT}", START_MS)

    def run(self, calls_count: int, *, is_emptied: bool = False) -> None:
        """Let this many more come at the hall's load; stop with the last of them, or when every call is over."""
        self._requests_until = self.requested_count + calls_count
        if self._arrival is None:
            self._arrive()
        while self._dues and (is_emptied or self.requested_count < self._requests_until):
            self._do_next()
        if is_emptied:
            self._expire_until(self.engine.now_ms + HOUR_MS)

    def keep(self, calls_count: int) -> None:
        """Let a new call come for each that is over, until this many have come."""
        self._is_kept = True
        until = self.requested_count + calls_count
        while self._dues and self.requested_count < until:
            self._do_next()

    def _arrive(self) -> None:
        self._arrival = None
        if self.requested_count < self._requests_until:
            self._next_arrival_ms += self.random.expovariate(1 / self._gap_ms_mean)
            self._arrival = self._request(f"q{self.random.randrange(QUEUES_COUNT)}", int(self._next_arrival_ms))

    def _request(self, queue_id: str, at_ms: int) -> cm.Command:
        self.requested_count += 1
        number = self.requested_count
        who = f"customer:z{number}"
        command = cm.RequestCall(f"c{number}", f"z{number}", queue_id, principal=who, id="m1")
        self._later(at_ms, command)
        return command

    # -- what people do

    def _later(self, at_ms: int, command: cm.Command) -> None:
        self._number += 1
        heappush(self._dues, (at_ms, self._number, command))

    def _do_next(self) -> None:
        at_ms, _, command = heappop(self._dues)
        self._expire_until(at_ms)
        started_ns = thread_time_ns()
        events, _ = self.engine.step(command, at_ms)
        self.ns_by_step[type(command).__name__].append(thread_time_ns() - started_ns - self._clock_ns)
        self._react(events)
        if command is self._arrival:
            self._arrive()

    def _expire_until(self, at_ms: int) -> None:
        engine, ns = self.engine, self.ns_by_step["expire"]
        while True:
            next_ms = engine.next_deadline_ms()
            if next_ms is None or next_ms > at_ms:
                return
            started_ns = thread_time_ns()
            events, _ = engine.expire(next_ms)
            ns.append(thread_time_ns() - started_ns - self._clock_ns)
            self._react(events)

    def _react(self, events: list[Event]) -> None:
        self.events_count += len(events)
        for event in events:
            if type(event) is CallReserved:
                self._queue_by_agent[event.agent_id] = event.queue_id
                who = "agent:" + event.agent_id
                accept = cm.AcceptReservation(
                    event.reservation_id, event.agent_id, principal=who, id=event.reservation_id
                )
                self._later(event.at_ms + ACCEPT_MS, accept)
            elif type(event) is ReservationAccepted:
                self._later(event.at_ms + CONNECT_MS, cm.ReportConnected(event.call_id))
            elif type(event) is CallConnected:
                talk_ms = int(self.random.lognormvariate(self._talk_mu, TALK_SIGMA))
                who = "customer:" + event.customer_id
                self._later(event.at_ms + talk_ms, cm.HangUp(event.call_id, principal=who, id="m2"))
                self.live_max = max(self.live_max, len(self.engine.state.calls))
            elif self._is_kept and type(event) is WrapUpEnded:
                self._request(self._queue_by_agent[event.agent_id], event.at_ms)

    # -- figures

    def engine_s(self) -> float:
        """CPU seconds inside the engine since the figures were last forgotten."""
        return sum(map(sum, self.ns_by_step.values())) / 1e9

    def forget_figures(self) -> None:
        """Begin to count anew."""
        self.ns_by_step.clear()
        self.events_count = self.live_max = 0

    def print_steps(self) -> None:
        """A line a kind of step: how often, how long, its share."""
        print(f"    {'step':<20} {'count':>9} {'p50 us':>8} {'p99 us':>8} {'max us':>9} {'share':>6}")
        total_ns = self.engine_s() * 1e9
        for name, ns in sorted(self.ns_by_step.items(), key=lambda one: -sum(one[1])):
            ns.sort()
            p50, p99 = ns[len(ns) // 2], ns[len(ns) * 99 // 100]
            share = 100 * sum(ns) / total_ns
            print(
                f"    {name:<20} {len(ns):>9} {p50 / 1e3:>8.1f} {p99 / 1e3:>8.1f} {ns[-1] / 1e3:>9.0f} {share:>5.1f}%"
            )
