"""The load of `bench/shard.py`: calls that live full lives, at precomputed instants, whatever the hall does.

Open loop: arrivals fire at seeded Poisson instants; latency counts from the intended instant to the moment the agent's client
has the reservation, which it is shown only once that is durable. Request, reserve, accept, connect, hang up, wrap-up end.
A call that is refused as the hall is overloaded is counted and gone; what a call in progress needs is repeated under its own
id until it is answered, as a page does.
"""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from itertools import count
from typing import Any

from actors.hall import HallUnavailable
from actors.items import Notice
from bench.shard_hall import BenchHall, Cpu
from dispatch.effects import Reply
from dispatch.events import CallReserved

SEED = 20_261_123
TALK_S = 1.0
WRAP_UP_MS = 500
OCCUPANCY = 0.8
"""Share of agents busy on average at the highest rate: enough of them that the hall, not their number, sets the latency."""
P99_MS_MAX = 50.0
LATE_MS_MAX = 100.0
"""A driver later than this at its 99th percentile has measured itself: the rate counts as not held."""
LAST_CALLS_S = 30.0
AGAIN_S = 0.2
"""Before a command of a call in progress is repeated."""
SIGN_IN_AT_ONCE = 500

Row = dict[str, float]


def agents_for(rate: int) -> int:
    return int(rate * (TALK_S + WRAP_UP_MS / 1_000 + 0.1) / OCCUPANCY) + 10


class Desks:
    """The agents' desktops: signed in once, they answer the calls of whatever load runs."""

    def __init__(self, hall: Any) -> None:
        self.hall = hall
        self.load: Load | None = None

    async def open(self, agents_count: int) -> None:
        for start in range(0, agents_count, SIGN_IN_AT_ONCE):
            numbers = range(start, min(start + SIGN_IN_AT_ONCE, agents_count))
            await asyncio.gather(*(self._sign_in(f"a-{number}") for number in numbers))

    async def _sign_in(self, agent_id: str) -> None:
        await self.hall.subscribe(f"agent:{agent_id}", f"desk {agent_id}", None, self._deliver, lambda _: None)
        await self.hall.agent(agent_id).set_ready()

    def _deliver(self, notices: list[Notice]) -> None:
        now_s = time.perf_counter()
        for notice in notices:
            if isinstance(notice.event, CallReserved) and self.load is not None:
                self.load.take(notice.event, now_s)


class Load:
    """One run at one rate; `run` returns when every call has ended, or after `LAST_CALLS_S`."""

    def __init__(self, desks: Desks, rate: int, seconds: float, name: str = "") -> None:
        self.desks = desks
        self.hall = desks.hall
        self.rate = rate
        self.seconds = seconds
        self.name = name or str(rate)
        self.intended_s: dict[str, float] = {}
        self.latency_ms: list[float] = []
        self.lateness_ms: list[float] = []
        self.slow: list[tuple[float, float]] = []
        """Decisions that took more than `P99_MS_MAX`: ms, and when they came."""
        self.ended_s: list[float] = []
        self.refusals: Counter[str] = Counter()
        """Calls that were refused, by reason."""
        self.failures: Counter[str] = Counter()
        """Answers that a call in progress should not have got, by reason."""
        self.reached_s = 0.0
        """When the last arrival had been fired."""
        self._ended = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        desks.load = self

    @property
    def over_count(self) -> int:
        return len(self.ended_s) + self.refusals.total()

    def take(self, reserved: CallReserved, now_s: float) -> None:
        """An agent's desktop was told of a reservation."""
        if reserved.call_id in self.intended_s:
            self.latency_ms.append((now_s - self.intended_s[reserved.call_id]) * 1_000)
            if self.latency_ms[-1] > P99_MS_MAX:
                self.slow.append((self.latency_ms[-1], now_s))
            self._begin(self._talk(reserved))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _talk(self, reserved: CallReserved) -> None:
        call, agent = self.hall.call(reserved.call_id), self.hall.agent(reserved.agent_id)
        by_agent, by_customer = f"agent:{reserved.agent_id}", f"customer:{reserved.customer_id}"
        call_id = reserved.call_id
        await self._do(lambda: agent.accept(reserved.reservation_id, command_id=f"accept {call_id}"))
        await self._do(lambda: call.report_connected(principal=by_agent, command_id=f"connected {call_id}"))
        await asyncio.sleep(TALK_S)
        await self._do(lambda: call.hang_up(principal=by_customer, command_id=f"end {call_id}"))
        self.ended_s.append(time.perf_counter())
        self._ended.set()

    async def _do(self, command: Callable[[], Awaitable[Reply]]) -> None:
        """Repeat under the same id until it is answered."""
        while True:
            try:
                reply = await command()
            except HallUnavailable:
                await asyncio.sleep(AGAIN_S)
                continue
            if not reply.is_accepted:
                self.failures[reply.reason] += 1
            return

    async def _request(self, call_id: str) -> None:
        try:
            reply = await self.hall.call(call_id).request(f"c-{call_id}", "q", command_id=f"request {call_id}")
        except HallUnavailable as error:
            self._refused(error.reason)
            return
        if not reply.is_accepted:
            self._refused(reply.reason)

    def _refused(self, reason: str) -> None:
        self.refusals[reason] += 1
        self._ended.set()

    async def run(self) -> None:
        """Fire the schedule, then wait until every call is over."""
        chance = random.Random(SEED + self.rate)
        numbers = count()
        start_s = time.perf_counter() + 0.2
        due_s = start_s
        while (due_s := due_s + chance.expovariate(self.rate)) < start_s + self.seconds:
            pause_s = due_s - time.perf_counter()
            if pause_s > 0:
                await asyncio.sleep(pause_s)
            elif self.lateness_ms and not len(self.lateness_ms) % 16:
                await asyncio.sleep(0)  # A driver that is late must still hear its answers.
            call_id = f"{self.name}-{next(numbers)}"
            self.intended_s[call_id] = due_s
            self.lateness_ms.append((time.perf_counter() - due_s) * 1_000)
            self._begin(self._request(call_id))
        self.reached_s = time.perf_counter()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_CALLS_S):
                while self.over_count < len(self.intended_s):
                    self._ended.clear()
                    await self._ended.wait()

    async def give_up(self) -> None:
        """End what still repeats itself."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def measure(one: BenchHall, load: Load) -> Row:
    """Run a load and return its figures, CPU milliseconds a call by part among them."""
    cpu = Cpu(await one.pids())
    await load.run()
    spent, stolen = cpu.spent(), cpu.stolen()
    row = await finished(load) | {"stolen": stolen}
    return row | {f"cpu_{name}": 1_000 * one / max(1, row["calls"]) for name, one in spent.items()}


async def finished(load: Load) -> Row:
    """End what is left of a load that has run, and return its figures."""
    calls = len(load.intended_s)
    left = calls - load.over_count
    if left or load.failures or load.refusals:
        print(
            f"  {load.name}: {left} calls did not end, refused {dict(load.refusals)}, {dict(load.failures)}", flush=True
        )
    await load.give_up()
    await asyncio.sleep(WRAP_UP_MS / 1_000 + 0.1)
    return {
        "rate": load.rate,
        "calls": calls,
        "ended": len(load.ended_s),
        "p50": quantile(load.latency_ms, 0.5),
        "p99": quantile(load.latency_ms, 0.99),
        "max": max(load.latency_ms, default=float("nan")),
        "late_p99": quantile(load.lateness_ms, 0.99),
        "failures": load.failures.total() + load.refusals.total(),
    }


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def is_held(row: Row) -> bool:
    """Every call lived, the decision was in time, and the driver was."""
    return bool(
        row["p99"] <= P99_MS_MAX
        and row["late_p99"] <= LATE_MS_MAX
        and row["ended"] == row["calls"]
        and not row["failures"]
    )


HEAD = (
    f"{'calls/s':>8}{'calls':>8}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}{'late p99':>10}"
    f"{'CPU ms/call: driver':>21}{'shard':>8}{'store':>8}{'follower':>10}{'stolen':>8}  held"
)


def format_row(row: Row) -> str:
    return (
        f"{row['rate']:>8}{row['calls']:>8}{row['p50']:>9.2f}{row['p99']:>9.2f}{row['max']:>9.1f}{row['late_p99']:>10.2f}"
        f"{row['cpu_driver']:>21.2f}{row['cpu_shard']:>8.2f}{row['cpu_store']:>8.2f}{row['cpu_follower']:>10.2f}"
        f"{row['stolen']:>8.1%}  {'yes' if is_held(row) else 'no'}"
    )
