"""The pure engine in virtual time: how many full call lives one core decides, and what each step costs.

A hall of 5,000 agents and 40 queues, 5 queues an agent, load 0.97: Poisson arrivals over all queues, lognormal talks (mean
240 s, sigma 0.98, CAPACITY.md), 30 s of wrap-up. Every call lives its full life through `step` and `expire`: request,
reserve, accept, connect, hang up, wrap-up end, forgotten. Media are `external`. Customers' and agents' commands carry ids, so
remembering answers is paid for. The hall starts full of ready agents, and waiting lines build up by themselves.

    make bench-engine            300,000 calls, about a minute; QUICK=1 changes nothing

RESULT: calls_per_s is calls divided by this thread's CPU seconds inside the engine, so that a neighbour on the machine does
not change it. CPU seconds of the driver are printed beside.
"""

import gc
import json
import math
import os
import platform
import subprocess
import sys
import tracemalloc
from collections import defaultdict
from heapq import heappop, heappush
from pathlib import Path
from random import Random
from time import thread_time_ns

from dispatch import commands as cm
from dispatch.engine import Engine
from dispatch.events import CallConnected, CallReserved, Event, ReservationAccepted
from dispatch.plan import AgentPlan, Plan, QueuePlan

SEED = 20_261_123
AGENTS_COUNT = 5_000
CALLS_COUNT = 300_000
QUEUES_COUNT = 40
QUEUES_PER_AGENT = 5
LOAD = 0.97
TALK_MS_MEAN = 240_000
TALK_SIGMA = 0.98
WRAP_UP_MS = 30_000
ACCEPT_MS = 3_000
CONNECT_MS = 1_000
START_MS = 1_700_000_000_000
MEMORY_CALLS_COUNT = 10_000

Due = tuple[int, int, cm.Command]
"""(at_ms, number, command): what the hall's people will do, in order."""


def plan(random: Random) -> Plan:
    queues = [
        QueuePlan(
            id=f"q{index}", need={f"s{index}": 3}, media="external", recording="off", wrap_up_ms=WRAP_UP_MS,
            waiting_max=1_000_000,
        )
        for index in range(QUEUES_COUNT)
    ]  # fmt: skip
    agents = [
        AgentPlan(id=f"a{index}", skills={f"s{one}": 5 for one in random.sample(range(QUEUES_COUNT), QUEUES_PER_AGENT)})
        for index in range(AGENTS_COUNT)
    ]
    return Plan(division_id="bench", queues=queues, agents=agents, live_calls_max=1_000_000)


class Hall:
    """The engine with its people: they answer what the engine tells them, each after their own time."""

    def __init__(self, calls_count: int) -> None:
        self.random = Random(SEED)
        self.engine = Engine("bench")
        self.calls_count = calls_count
        self.requested_count = 0
        self.events_count = 0
        self.live_max = 0
        self.ns_by_step: dict[str, list[int]] = defaultdict(list)
        self._dues: list[Due] = []
        self._number = 0
        held_ms = TALK_MS_MEAN + WRAP_UP_MS + ACCEPT_MS + CONNECT_MS
        self.gap_ms_mean = held_ms / AGENTS_COUNT / LOAD
        self._talk_mu = math.log(TALK_MS_MEAN) - TALK_SIGMA**2 / 2
        self._next_arrival_ms = float(START_MS)

    def open(self) -> None:
        self.engine.step(cm.ApplyPlan(plan(self.random), "bench"), START_MS)
        for index in range(AGENTS_COUNT):
            self.engine.step(cm.Connect(f"agent:a{index}", "g1", f"k{index}"), START_MS)
            self.engine.step(cm.SetActivity(f"a{index}", "ready"), START_MS)

    def run(self) -> None:
        self._arrive()
        while self._dues:
            at_ms, _, command = heappop(self._dues)
            self._expire_until(at_ms)
            started_ns = thread_time_ns()
            events, _ = self.engine.step(command, at_ms)
            self.ns_by_step[type(command).__name__].append(thread_time_ns() - started_ns)
            self._react(events)
            if type(command) is cm.RequestCall:
                self._arrive()
        self._expire_until(self.engine.now_ms + 3_600_000)

    def _expire_until(self, at_ms: int) -> None:
        engine, ns = self.engine, self.ns_by_step["expire"]
        while True:
            started_ns = thread_time_ns()
            next_ms = engine.next_deadline_ms()
            if next_ms is None or next_ms > at_ms:
                return
            events, _ = engine.expire(next_ms)
            ns.append(thread_time_ns() - started_ns)
            self._react(events)

    def _arrive(self) -> None:
        if self.requested_count == self.calls_count:
            return
        self.requested_count += 1
        number = self.requested_count
        self._next_arrival_ms += self.random.expovariate(1 / self.gap_ms_mean)
        queue_id = f"q{self.random.randrange(QUEUES_COUNT)}"
        who = f"customer:z{number}"
        self._later(
            int(self._next_arrival_ms), cm.RequestCall(f"c{number}", f"z{number}", queue_id, principal=who, id="m1")
        )

    def _later(self, at_ms: int, command: cm.Command) -> None:
        self._number += 1
        heappush(self._dues, (at_ms, self._number, command))

    def _react(self, events: list[Event]) -> None:
        self.events_count += len(events)
        for event in events:
            if type(event) is CallReserved:
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


def bytes_per_live_call() -> int:
    """Memory that one waiting call keeps: its record, its customer with kept events, answers, line and timers."""
    engine = Engine("bench")
    engine.step(cm.ApplyPlan(plan(Random(SEED)), "bench"), START_MS)
    gc.collect()
    tracemalloc.start()
    for number in range(MEMORY_CALLS_COUNT):
        who = f"customer:z{number}"
        command = cm.RequestCall(f"c{number}", f"z{number}", f"q{number % QUEUES_COUNT}", principal=who, id="m1")
        engine.step(command, START_MS + number)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return used // MEMORY_CALLS_COUNT


def print_table(hall: Hall) -> None:
    print(f"{'step':<20} {'count':>9} {'p50 us':>8} {'p99 us':>8} {'max us':>9} {'share':>6}")
    total = sum(map(sum, hall.ns_by_step.values()))
    for name, ns in sorted(hall.ns_by_step.items(), key=lambda one: -sum(one[1])):
        ns.sort()
        p50, p99 = ns[len(ns) // 2], ns[len(ns) * 99 // 100]
        share = 100 * sum(ns) / total
        print(f"{name:<20} {len(ns):>9} {p50 / 1e3:>8.1f} {p99 / 1e3:>8.1f} {ns[-1] / 1e3:>9.0f} {share:>5.1f}%")


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return f"{model} x{os.cpu_count()}, Python {platform.python_version()}, commit {commit.stdout.strip() or 'unknown'}"


def main() -> int:
    memory = bytes_per_live_call()
    hall = Hall(CALLS_COUNT)
    hall.open()
    gc.collect()
    gc.freeze()
    started_ns = thread_time_ns()
    hall.run()
    cpu_s = (thread_time_ns() - started_ns) / 1e9
    engine_s = sum(map(sum, hall.ns_by_step.values())) / 1e9
    virtual_h = (hall.engine.now_ms - START_MS) / 3_600_000
    if hall.engine.state.calls:
        print(f"not every call ended: {hall.engine!r}")
        return 1
    print(
        f"{AGENTS_COUNT:,} agents, {QUEUES_COUNT} queues, {QUEUES_PER_AGENT} an agent, load {LOAD}, {CALLS_COUNT:,} calls"
    )
    print(machine())
    print_table(hall)
    events = hall.events_count / CALLS_COUNT
    print(f"calls in memory at most {hall.live_max:,}; {events:.1f} events a call; {memory:,} bytes a waiting call")
    print(
        f"{engine_s:.1f} CPU s in the engine, {cpu_s - engine_s:.1f} s in the driver, for {virtual_h:.1f} h of the hall"
    )
    result = {
        "calls_per_s": round(CALLS_COUNT / engine_s),
        "calls": CALLS_COUNT,
        "agents": AGENTS_COUNT,
        "queues": QUEUES_COUNT,
        "load": LOAD,
        "bytes_per_live_call": memory,
    }
    print("RESULT", json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
