"""Several gateways on one port, through the real shard, on one machine with all the clients.

    make bench-gateway              45,600 connections over four gateways, 20,000 calls, 200 s of load, a storm, TLS
    make bench-gateway QUICK=1      a tenth of it, shorter
    CALLS=5000 LOAD_S=60 RATE=50    other sizes; GATEWAYS, CLIENTS: processes; PHASES=load,storm,tls: some of it
    PLOT=path.png                   where the plot goes (out/gateway.png; that of docs/capacity.md: docs/images/)

RESULT: connections: WebSockets at the gateways in the load. sessions: calls that were asked for in it, each of which takes
the place of one that was ended at the same instant. failed: those that were not connected, were cut, or met any error, gap
or repeat. p99_ms: from the intended instant of a request (open model) until the agent's client has the reservation; the run
fails where the generator itself was later than `LATE_MS_MAX` at its 99th percentile. kib_per_connection: growth of the
gateways' resident memory from before the first connection to the end of the load; kib_per_connection_tls: of a smaller run.
storm_s: from SIGKILL of one gateway until every client of it is greeted again. Asked: failed 0, p99 250, memory 25, storm
90.
"""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import structlog
import uvloop

from actors.configuration import GatewaySection
from bench.gateway_crowd import Crowd
from bench.gateway_people import LINE_QUEUE, TALK_QUEUE
from bench.gateway_plot import draw
from bench.measuring import IS_QUICK, machine
from bench.shard_hall import BenchHall, bench_hall, fsync_p50_ms
from bench.shard_load import quantile
from dispatch.plan import AgentPlan, Plan, QueuePlan

CALLS = int(os.environ.get("CALLS", "2000" if IS_QUICK else "20000"))
WAITING = int(os.environ.get("WAITING", str(CALLS // 4)))
GATEWAYS = int(os.environ.get("GATEWAYS", "4"))
CLIENTS = int(os.environ.get("CLIENTS", "3"))
RATE = float(os.environ.get("RATE", "100"))
LOAD_S = float(os.environ.get("LOAD_S", "20" if IS_QUICK else "200"))
TLS_CONNECTIONS = int(os.environ.get("TLS", "1000" if IS_QUICK else "3000"))
PHASES = os.environ.get("PHASES", "load,storm,tls").split(",")
PLOT = Path(os.environ.get("PLOT", "out/gateway.png"))
SPARE_CUSTOMERS, SPARE_AGENTS = max(60, 3 * int(RATE)), max(120, 3 * int(RATE))
"""Customers between two calls, and agents who are free, while `CALLS` talk."""
COME_RATE, FILL_RATE, CHURN_RATE = 1_000.0, 400.0, 10.0
LATE_MS_MAX = 50.0
COME_S, FILL_S, END_S, STORM_S = 180.0, 240.0, 30.0, 120.0
STORM_QUIET_S = 8.0
"""Longer than a gateway's lease: what the hall makes of a lost gateway has happened by then."""
Result = dict[str, float]


def plan(agents_count: int, waiting: int) -> Plan:
    """Agents of `talk` take calls; for `line` nobody has the skill. Media is carried elsewhere: gateways are measured."""
    common: dict[str, Any] = {"media": "external", "recording": "off", "wrap_up": "none"}
    return Plan(
        division_id="bench",
        queues=[
            QueuePlan(id=TALK_QUEUE, need={"talk": 1}, **common),
            QueuePlan(id=LINE_QUEUE, need={"line": 1}, waiting_max=waiting + 1_000, **common),
        ],
        agents=[
            AgentPlan(id=f"a-{number}", name=f"Agent {number}", skills={"talk": 1}) for number in range(agents_count)
        ],
        live_calls_max=100_000,
    )


class Parts:
    """CPU time and memory of everything, by part."""

    def __init__(self, pids: dict[str, list[int]]) -> None:
        self._processes = {name: [psutil.Process(pid) for pid in some] for name, some in pids.items()}
        self._before: dict[str, float] = {}
        self._at_s = 0.0
        self.start()

    def start(self) -> None:
        self._before, self._at_s = self._cpu(), time.perf_counter()

    def _cpu(self) -> dict[str, float]:
        found = {}
        for name, some in self._processes.items():
            found[name] = sum(_cpu_s(one) for one in some)
        return found

    def cores(self) -> dict[str, float]:
        """Cores that each part has kept busy since `start`."""
        took_s = time.perf_counter() - self._at_s
        return {name: max(0.0, now - self._before[name]) / took_s for name, now in self._cpu().items()}

    def rss(self, name: str) -> int:
        return sum(one.memory_info().rss for one in self._processes[name])


def _cpu_s(process: psutil.Process) -> float:
    try:
        return float(sum(process.cpu_times()[:2]))
    except psutil.NoSuchProcess:
        return 0.0


async def pids_of(one: BenchHall, crowd: Crowd | None) -> dict[str, list[int]]:
    parts = await one.hall_parts()
    own = {
        "gateways": [pid for slot, pid in parts.items() if slot.startswith("gateway-")],
        "shard": [parts["shard-0"]],
        "store": [one.store.pid or 0],
        "follower": [parts["follower"]],
        "clients": crowd.pids if crowd is not None else [],
    }
    taken = {pid for some in own.values() for pid in some}
    ours = psutil.Process().children(recursive=True)
    own["Ray, standby and the rest"] = [os.getpid(), *(child.pid for child in ours if child.pid not in taken)]
    return own


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


async def off_loop(work: Callable[..., Any], *arguments: Any) -> Any:
    """The hall's client in this process goes on meanwhile."""
    return await asyncio.to_thread(work, *arguments)


class Run:
    """One hall with its crowd."""

    def __init__(self, one: BenchHall, sizes: tuple[int, int, int], tls: bool = False) -> None:
        self.one = one
        self.sizes = sizes
        self.tls = tls
        self.crowd: Crowd
        self.parts: Parts
        self.rss_before = 0

    @property
    def connections(self) -> int:
        return sum(self.sizes)

    def kib(self) -> float:
        return (self.parts.rss("gateways") - self.rss_before) / 1024 / self.connections

    async def come(self) -> None:
        """Connect everybody."""
        keys = self.one.folder / "keys"
        self.crowd = await off_loop(Crowd, self.one.port, keys, self.sizes, CLIENTS, self.tls)
        self.parts = Parts(await pids_of(self.one, self.crowd))
        self.rss_before = self.parts.rss("gateways")
        self.crowd.tell("come", COME_RATE / CLIENTS)
        took_s = await off_loop(self.crowd.wait, lambda now: now["connected"] == self.connections, COME_S, "connected")
        report = self.crowd.report()
        say(
            f"{self.connections} connections after {took_s:.0f} s, {self.connections / took_s:.0f}/s, greeted after p50 "
            f"{quantile(report['greet_ms'], 0.5):.0f} p99 {quantile(report['greet_ms'], 0.99):.0f} ms; "
            f"{self.kib():.1f} KiB each; lost {dict(report['losses'])}\n  {shown(self.parts.cores())}"
        )

    async def fill(self) -> None:
        """Bring the calls in."""
        self.parts.start()
        share = -(-CALLS // CLIENTS)
        self.crowd.tell("fill", FILL_RATE / CLIENTS, share)
        await off_loop(self.crowd.wait, lambda now: now["in_line"] == self.sizes[2], FILL_S, "everybody in line")
        took_s = await off_loop(self.crowd.wait, lambda now: now["talking"] >= CALLS, FILL_S, "everybody in a call")
        say(
            f"{CALLS} calls after {took_s:.0f} s more, {self.crowd.report()['put_off']} requests put off as overloaded; "
            f"{self.kib():.1f} KiB a connection\n  {shown(self.parts.cores())}"
        )

    async def load(self) -> tuple[Result, dict[str, Any]]:
        self.parts.start()
        self.crowd.tell("churn", CHURN_RATE / CLIENTS, LOAD_S)
        self.crowd.tell("load", RATE / CLIENTS, time.perf_counter() + 1.0, LOAD_S)
        await asyncio.sleep(LOAD_S + 1.0)
        cores, kib = self.parts.cores(), self.kib()
        await off_loop(self.crowd.wait, lambda now: not now["open"], END_S, "the last calls connected")
        report = self.crowd.report()
        failed = report["requests"] - report["established"] + report["failures"].total() + report["losses"].total()
        result = {
            "connections": report["connected"],
            "sessions": report["requests"],
            "failed": failed,
            "p50_ms": quantile(report["latency_ms"], 0.5),
            "p99_ms": quantile(report["latency_ms"], 0.99),
            "max_ms": max(report["latency_ms"]),
            "late_p99_ms": quantile(report["lateness_ms"], 0.99),
            "push_p50_ms": quantile(report["push_ms"], 0.5),
            "push_p99_ms": quantile(report["push_ms"], 0.99),
            "messages_per_s": report["messages"] / LOAD_S,
            "kib_per_connection": kib,
            **{f"cores_{name.partition(',')[0].lower()}": value for name, value in cores.items()},
        }
        say(f"load: {json.dumps({name: round(value, 2) for name, value in result.items()})}")
        say(f"{shown(cores)}\n  failures {dict(report['failures'])} losses {dict(report['losses'])} {report['kinds']}")
        return result, report

    async def storm(self) -> tuple[Result, dict[str, Any]]:
        """Kill one gateway."""
        self.crowd.tell("reset")
        self.parts.start()
        parts = await self.one.hall_parts()
        before = self.crowd.counts()
        os.kill(parts["gateway-2"], signal.SIGKILL)
        killed_s = time.perf_counter()
        await asyncio.sleep(1.0)
        lost = sum(self.crowd.report()["losses"].values())
        try:
            await off_loop(self.crowd.wait, lambda now: now["connected"] == self.connections, STORM_S, "all back")
        except SystemExit as error:
            say(f"storm: {error}")
            return {"storm_s": STORM_S, "storm_missing": self.connections - self.crowd.counts()["connected"]}, {}
        took_s = time.perf_counter() - killed_s
        await asyncio.sleep(STORM_QUIET_S)
        report = self.crowd.report()
        after = self.crowd.counts()
        back = report["back_s"]
        storm_s = max(back, default=0.0)
        say(
            f"storm: {len(back)} clients of a killed gateway back, "
            f"p50 {quantile(back, 0.5):.1f} p99 {quantile(back, 0.99):.1f} "
            f"max {storm_s:.1f} s, all seen after {took_s:.1f} s; talking {before['talking']} -> {after['talking']}, "
            f"in line {before['in_line']} -> {after['in_line']}; ways {dict(report['losses'])}; "
            f"failures {dict(report['failures'])}; {lost} lost in the first second\n  {shown(self.parts.cores())}"
        )
        return {"storm_s": storm_s, "storm_clients": len(back), "storm_p50_s": quantile(back, 0.5)}, report

    async def close(self) -> None:
        await off_loop(self.crowd.close)


def shown(cores: dict[str, float]) -> str:
    return "cores busy: " + ", ".join(f"{name} {value:.2f}" for name, value in cores.items())


async def run_calls() -> Result:
    sizes = (CALLS + SPARE_CUSTOMERS, CALLS + SPARE_AGENTS, WAITING)
    section = GatewaySection(processes=GATEWAYS)
    async with bench_hall(plan(sizes[1], WAITING), gateway=section) as one:
        run = Run(one, sizes)
        await run.come()
        await run.fill()
        result, report = await run.load() if "load" in PHASES else ({}, {})
        storm = {}
        if "storm" in PHASES:
            figures, storm = await run.storm()
            result |= figures
        await run.close()
    if report and storm:
        draw(report, storm, PLOT)
        say(f"plot: {PLOT}")
    return result


async def run_tls() -> Result:
    """The memory of connections that end their TLS in the gateway."""
    sizes = (TLS_CONNECTIONS // 2, TLS_CONNECTIONS - TLS_CONNECTIONS // 2, 0)
    async with bench_hall(plan(sizes[1], 0), gateway=GatewaySection(processes=1, tls_self_signed=True)) as one:
        run = Run(one, sizes, tls=True)
        await run.come()
        kib = run.kib()
        await run.close()
    return {"kib_per_connection_tls": kib, "connections_tls": TLS_CONNECTIONS}


async def run() -> Result:
    result = await run_calls() if {"load", "storm"} & set(PHASES) else {}
    if "tls" in PHASES:
        result |= await run_tls()
    return result


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    print(f"{machine()}; fsync p50 {fsync_p50_ms():.2f} ms; {' '.join(sys.argv)}; load {os.getloadavg()[0]:.1f}")
    result = uvloop.run(run())
    if result.get("late_p99_ms", 0.0) > LATE_MS_MAX:
        raise SystemExit(f"the generator was late by {result['late_p99_ms']:.0f} ms: it has measured itself")
    print("RESULT", json.dumps({name: round(value, 3) for name, value in result.items()}))


if __name__ == "__main__":
    main()
