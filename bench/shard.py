"""One shard under load: full call lives through handles, over Ray, into Valkey with appendfsync always.

Open loop: arrivals fire at precomputed instants (Poisson, seeded), whatever the hall does; latency counts from the intended
instant to the moment the agent's client has the reservation, which is shown only once it is durable. Every call lives
its full life: request, reserve, accept, connect, hang up, wrap-up end. Driver, shard and store share this machine.

    make bench-shard            rates up to the knee
    make bench-shard QUICK=1    the same, shorter

RESULT: rate_per_s is the highest rate tried that held p99 <= 50 ms; p50_ms and p99_ms belong to 300 calls/s.
"""

import asyncio
import contextlib
import gc
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import count
from pathlib import Path

import msgspec
import psutil
import structlog
import uvloop

from actors import wiring
from actors.hall import Hall
from actors.items import Notice
from actors.parts import HallSettings, ShardPartSettings, StoreSettings, open_hall
from actors.store import EmbeddedStore
from dispatch.commands import ApplyPlan
from dispatch.events import CallReserved
from dispatch.plan import AgentPlan, Plan, QueuePlan

SEED = 20_261_123
TALK_S = 1.0
WRAP_UP_MS = 500
OCCUPANCY = 0.8
"""Share of agents busy on average: enough of them that the hall, not their number, sets the latency."""
P99_MS_MAX = 50.0
ASKED_RATE = 300
LATE_MS_MAX = 100.0
"""A driver later than this at its 99th percentile has measured itself: the rate counts as not held."""
LAST_CALLS_S = 30
DIVISION = "bench"


def plan(agents_count: int) -> Plan:
    """One queue whose media another system carries: the shard is measured, not the media workers."""
    queue = QueuePlan(id="q", media="external", recording="off", wrap_up="timed", wrap_up_ms=WRAP_UP_MS)
    agents = [AgentPlan(id=f"a-{index}") for index in range(agents_count)]
    return Plan(division_id=DIVISION, queues=[queue], agents=agents, ended_retention_ms=2_000)


class Driver:
    """Customers and agents of one run, all in this process."""

    def __init__(self, hall: Hall, rate: int, seconds: float) -> None:
        self.hall = hall
        self.rate = rate
        self.seconds = seconds
        self.intended_s: dict[str, float] = {}
        self.latency_ms: list[float] = []
        self.lateness_ms: list[float] = []
        self.ended_count = 0
        self.failures: list[str] = []
        self._ended = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, agents_count: int) -> None:
        """Sign the agents in, each with a subscription of its own."""
        for start in range(0, agents_count, 500):
            ids = [f"a-{index}" for index in range(start, min(start + 500, agents_count))]
            await asyncio.gather(*(self._sign_in(agent_id) for agent_id in ids))

    async def _sign_in(self, agent_id: str) -> None:
        await self.hall.subscribe(f"agent:{agent_id}", f"{agent_id}-{self.rate}", None, self._deliver, lambda _: None)
        await self.hall.agent(agent_id).set_ready()

    def _deliver(self, notices: list[Notice]) -> None:
        now_s = time.perf_counter()
        for notice in notices:
            if isinstance(notice.event, CallReserved) and notice.event.call_id in self.intended_s:
                self.latency_ms.append((now_s - self.intended_s[notice.event.call_id]) * 1_000)
                self._begin(self._talk(notice.event))

    def _begin(self, work) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _talk(self, reserved: CallReserved) -> None:
        call = self.hall.call(reserved.call_id)
        agent_id, call_id = reserved.agent_id, reserved.call_id
        accepted = await self.hall.agent(agent_id).accept(reserved.reservation_id, command_id=f"accept {call_id}")
        connected = await call.report_connected(principal=f"agent:{agent_id}", command_id=f"connected {call_id}")
        await asyncio.sleep(TALK_S)
        ended = await call.hang_up(principal=f"customer:{reserved.customer_id}", command_id=f"end {call_id}")
        for reply in (accepted, connected, ended):
            if not reply.is_accepted:
                self.failures.append(reply.reason)
        self.ended_count += 1
        self._ended.set()

    async def _request(self, call_id: str) -> None:
        reply = await self.hall.call(call_id).request(f"c-{call_id}", "q", command_id=f"request {call_id}")
        if not reply.is_accepted:
            self.failures.append(reply.reason)

    async def run(self) -> None:
        """Fire the schedule, then wait until every call has ended."""
        chance = random.Random(SEED + self.rate)
        numbers = count()
        start_s = time.perf_counter() + 0.2
        due_s = start_s
        while (due_s := due_s + chance.expovariate(self.rate)) < start_s + self.seconds:
            pause_s = due_s - time.perf_counter()
            if pause_s > 0:
                await asyncio.sleep(pause_s)
            call_id = f"{self.rate}-{next(numbers)}"
            self.intended_s[call_id] = due_s
            self.lateness_ms.append((time.perf_counter() - due_s) * 1_000)
            self._begin(self._request(call_id))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_CALLS_S):
                while self.ended_count < len(self.intended_s):
                    await self._ended.wait()
                    self._ended.clear()


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


class Cpu:
    """CPU seconds of the parts between two looks."""

    def __init__(self, pids: dict[str, int]) -> None:
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items()}
        self._before = self._now()

    def _now(self) -> dict[str, float]:
        times = {name: process.cpu_times() for name, process in self._processes.items()}
        return {name: one.user + one.system for name, one in times.items()}

    def spent(self) -> dict[str, float]:
        return {name: now - self._before[name] for name, now in self._now().items()}


async def measure(hall: Hall, rate: int, seconds: float, pids: dict[str, int]) -> dict[str, float]:
    """Run one rate and return its figures."""
    agents_count = int(rate * (TALK_S + WRAP_UP_MS / 1_000 + 0.1) / OCCUPANCY) + 10
    reply = await hall.submit(ApplyPlan(plan=plan(agents_count), digest=f"{rate}", principal="operator:bench"))
    if not reply.is_accepted:
        raise SystemExit(f"plan refused: {reply}")
    driver = Driver(hall, rate, seconds)
    await driver.open(agents_count)
    await asyncio.sleep(1)
    gc.collect()
    cpu = Cpu(pids)
    await driver.run()
    spent = cpu.spent()
    calls = len(driver.intended_s)
    if driver.ended_count != calls or driver.failures:
        print(f"  {rate}/s: {calls - driver.ended_count} calls did not end, refusals {driver.failures[:3]}", flush=True)
    return {
        "rate": rate,
        "calls": calls,
        "ended": driver.ended_count,
        "p50": quantile(driver.latency_ms, 0.5),
        "p99": quantile(driver.latency_ms, 0.99),
        "max": max(driver.latency_ms, default=float("nan")),
        "late_p99": quantile(driver.lateness_ms, 0.99),
        **{f"cpu_{name}": 1_000 * one / max(1, calls) for name, one in spent.items()},
        "failures": len(driver.failures),
    }


def is_held(row: dict[str, float]) -> bool:
    return bool(
        row["p99"] <= P99_MS_MAX
        and row["late_p99"] <= LATE_MS_MAX
        and row["ended"] == row["calls"]
        and not row["failures"]
    )


def refuse_tmpfs(folder: Path) -> None:
    """An fsync into memory measures nothing."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", str(folder)], capture_output=True, text=True, check=True).stdout
    if kind.strip() in {"tmpfs", "ramfs"}:
        raise SystemExit(f"{folder} is {kind.strip()}: say TMPDIR=<folder on a disk>")


def fsync_p50_ms(folder: Path) -> float:
    path = folder / "fsync"
    took = []
    with path.open("wb", buffering=0) as file:
        for _ in range(200):
            file.write(b"x" * 400)
            began = time.perf_counter()
            os.fsync(file.fileno())
            took.append((time.perf_counter() - began) * 1_000)
    path.unlink()
    return statistics.median(took)


async def run(rates: list[int], seconds: float, folder: Path) -> list[dict[str, float]]:
    store = EmbeddedStore(folder / "store")
    await store.start()
    wiring.start_local(folder / "ray", 0)
    name = "shard-bench-e1"
    settings = ShardPartSettings(name, [DIVISION], StoreSettings(store.url))
    shard = wiring.spawn("shard", name, "actors.parts:ShardPart", msgspec.msgpack.encode(settings))
    facts = await shard.start()
    hall, client = open_hall(HallSettings([DIVISION], store.url), wiring.RayNetwork(), "bench")
    pids = {"driver": os.getpid(), "shard": facts["pid"], "store": store.pid or 0}
    rows = []
    try:
        await measure(hall, 50, 3, pids)  # warm-up, not counted
        for rate in rates:
            rows.append(await measure(hall, rate, seconds, pids))
            print(format_row(rows[-1]), flush=True)
            if not is_held(rows[-1]) and rate > ASKED_RATE:
                break
    finally:
        await hall.close()
        await client.close()
        await shard.stop(10)
        wiring.shutdown()
        await store.stop()
    return rows


HEAD = (
    f"{'calls/s':>8}{'calls':>8}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}{'late p99':>10}"
    f"{'CPU ms/call: driver':>21}{'shard':>8}{'store':>8}  held"
)


def format_row(row: dict[str, float]) -> str:
    return (
        f"{row['rate']:>8}{row['calls']:>8}{row['p50']:>9.2f}{row['p99']:>9.2f}{row['max']:>9.1f}{row['late_p99']:>10.2f}"
        f"{row['cpu_driver']:>21.2f}{row['cpu_shard']:>8.2f}{row['cpu_store']:>8.2f}  {'yes' if is_held(row) else 'no'}"
    )


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    is_quick = bool(os.environ.get("QUICK"))
    rates = [int(one) for one in os.environ.get("RATES", "100,300,500,700,1000,1300").split(",")]
    folder = Path(tempfile.mkdtemp(prefix="th-"))
    try:
        refuse_tmpfs(folder)
        git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
        where = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        print(f"{where}, commit {git.stdout.strip()}")
        print(f"fsync p50 {fsync_p50_ms(folder):.2f} ms; command: {' '.join(sys.argv)}; load {os.getloadavg()[0]:.1f}")
        print(HEAD, flush=True)
        rows = uvloop.run(run(rates, 15 if is_quick else 60, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    asked = next(row for row in rows if row["rate"] == ASKED_RATE)
    result = {
        "rate_per_s": max((int(row["rate"]) for row in rows if is_held(row)), default=0),
        "p50_ms": round(asked["p50"], 2),
        "p99_ms": round(asked["p99"], 2),
        "cpu_ms_per_call": round(sum(asked[f"cpu_{name}"] for name in ("driver", "shard", "store")), 3),
    }
    print("RESULT", json.dumps(result))


if __name__ == "__main__":
    main()
