"""The questions that `bench/shard.py` asks, one function each.

Latency against load, the worst beside 50,000 live calls, recovery, overload. Each prints what it saw and returns plain
figures.

Not here: the hall (`shard_hall`), the load (`shard_load`), the naive twin (`shard_naive`).
"""

import asyncio
import json
import time
from typing import Any

from actors.hall import HallUnavailable
from bench.shard_crowd import TALKING, WAITING, Crowd, crowd_agents, crowd_queues
from bench.shard_hall import SHARD, BenchHall, settle_memory
from bench.shard_load import (
    HEAD,
    WRAP_UP_MS,
    Desks,
    Load,
    Row,
    agents_for,
    finished,
    format_row,
    is_held,
    measure,
    quantile,
)
from dispatch.plan import AgentPlan, Plan, QueuePlan

DIVISION = "bench"
WARM_UP_RATE = 50
BESIDE_RATE = 300
"""CAPACITY.md, design point: bursts of 300 calls/s."""
STEADY_RATE = 100
SNAPSHOT_S = 15.0
"""The follower's bound of time in these runs: several snapshots in a minute, instead of one in five."""
REWRITE_WAIT_S = 60.0
RECOVERY_WAIT_S = 120.0
PROBE_S = 0.02
OVERLOAD = 2.0


def plan(agents_count: int, talking: int = 0, waiting: int = 0) -> Plan:
    """One queue whose media another system carries: the shard is measured, not the media workers."""
    queue = QueuePlan(id="q", media="external", recording="off", wrap_up="timed", wrap_up_ms=WRAP_UP_MS, need={"q": 1})
    agents = [AgentPlan(id=f"a-{number}", skills={"q": 1}) for number in range(agents_count)]
    return Plan(
        division_id=DIVISION,
        queues=[queue, *crowd_queues(talking, waiting)],
        agents=agents + crowd_agents(talking),
        ended_retention_ms=2_000,
        live_calls_max=100_000,
    )


async def opened_desks(one: BenchHall, rate: int) -> Desks:
    """Sign the agents in and warm everything up; not counted."""
    desks = Desks(one.hall)
    await desks.open(agents_for(rate))
    await measure(one, Load(desks, WARM_UP_RATE, 3, "warm-up"))
    settle_memory()
    return desks


async def curve(one: BenchHall, desks: Desks, rates: list[int], seconds: float, asked: int) -> list[Row]:
    """Latency against load, up to the first rate that is not held, and at least to the asked one."""
    print(HEAD, flush=True)
    rows = []
    for rate in rates:
        rows.append(await measure(one, Load(desks, rate, seconds)))
        print(format_row(rows[-1]), flush=True)
        if not is_held(rows[-1]) and rate >= asked:
            break
    return rows


async def overload(one: BenchHall, desks: Desks, sustained: int, seconds: float) -> dict[str, float]:
    """The sustainable load, then twice that for as long: latency of what was accepted, and throughput, of both."""
    figures = {}
    for name, rate in (("sustained", sustained), ("overload", int(sustained * OVERLOAD))):
        load = Load(desks, rate, seconds, name)
        began_s = time.perf_counter()
        row = await measure(one, load)
        ended = sum(at_s <= load.reached_s + 1.0 for at_s in load.ended_s)
        throughput = ended / (load.reached_s - began_s)
        figures |= {f"{name}_p99": row["p99"], f"{name}_max": row["max"], f"{name}_per_s": throughput}
        print(
            f"{name:>10}: {rate} calls/s asked, {throughput:.0f} lived a second, {load.refusals.total()} refused "
            f"{dict(load.refusals)}, decision p50 {row['p50']:.1f} p99 {row['p99']:.1f} max {row['max']:.1f} ms, "
            f"driver late p99 {row['late_p99']:.0f} ms",
            flush=True,
        )
    return figures


async def gathered(one: BenchHall) -> Crowd:
    """Bring 50,000 live calls in."""
    began_s = time.perf_counter()
    crowd = Crowd(one.hall, TALKING, WAITING)
    await crowd.come()
    settle_memory()
    print(f"{await live_calls(one)} live calls after {time.perf_counter() - began_s:.0f} s", flush=True)
    return crowd


async def live_calls(one: BenchHall) -> int:
    status = (await one.hall.status())["divisions"][DIVISION]
    return sum(value for name, value in status.items() if name.startswith("live_"))


async def worst(one: BenchHall, desks: Desks, seconds: float) -> Row:
    """The worst decision of a run beside 50,000 live calls, with a snapshot and a rewrite of the append-only file in it."""
    before = await one.follower_status()
    load = Load(desks, BESIDE_RATE, seconds, "beside")
    rewriting = asyncio.create_task(_rewrite(one, seconds / 3))
    began_s = time.perf_counter()
    row = await measure(one, load)
    size, took_s = await rewriting
    after = await one.follower_status()
    print(HEAD)
    print(format_row(row))
    print(
        f"  with a rewrite of the append-only file ({size / 1e6:.0f} MB in {took_s:.1f} s), snapshot at batch "
        f"{before['snapshot_batch']} -> {after['snapshot_batch']} of {after['engine_batch']}; "
        f"p99.9 {quantile(load.latency_ms, 0.999):.1f} ms; rewrite begun after {seconds / 3:.0f} s\n"
        f"  slow decisions by second of the run, ms: {_slow_seconds(load, began_s)}",
        flush=True,
    )
    if after["snapshot_batch"] <= before["snapshot_batch"]:
        raise SystemExit("no snapshot was written in this run")
    return row


def _slow_seconds(load: Load, began_s: float) -> str:
    """The slowest decision of each second that had one beyond the bound of p99."""
    by_second: dict[int, float] = {}
    for took_ms, at_s in load.slow:
        second = int(at_s - began_s)
        by_second[second] = max(took_ms, by_second.get(second, 0.0))
    return ", ".join(f"{second}: {took_ms:.0f}" for second, took_ms in sorted(by_second.items())) or "none"


async def _rewrite(one: BenchHall, after_s: float) -> tuple[int, float]:
    """Rewrite the append-only file; returns its new size and how long it took. Raises SystemExit when it failed."""
    await asyncio.sleep(after_s)
    await one.client.attempt([("BGREWRITEAOF",)])  # Refused while one of the server's own runs, which does as well.
    began_s = time.perf_counter()
    while time.perf_counter() - began_s < REWRITE_WAIT_S:
        await asyncio.sleep(0.1)
        facts = await one.store_facts()
        if not facts["aof_rewrite_in_progress"] and not facts["aof_rewrite_scheduled"]:
            if facts["aof_last_bgrewrite_status"] != "ok":
                raise SystemExit("the append-only file could not be rewritten")
            return int(facts["aof_base_size"]), time.perf_counter() - began_s
    raise SystemExit(f"the append-only file was not rewritten within {REWRITE_WAIT_S:.0f} s")


async def recovery(one: BenchHall, desks: Desks, seconds: float) -> float:
    """Kill the shard under load; return the seconds from SIGKILL to the first durable acknowledgement at a client."""
    live_before = await live_calls(one)
    load = Load(desks, STEADY_RATE, seconds, f"recovery-{time.monotonic_ns()}")
    running = asyncio.create_task(load.run())
    await asyncio.sleep(seconds / 3)
    old_pid = (await one.hall_parts())[SHARD]
    killed_s = await one.kill_shard()
    recovery_s = await _first_word(one, killed_s)
    feed_s = await _all_renewed(one, killed_s)
    await running
    row = await finished(load)
    live_after, new_pid = await live_calls(one), (await one.hall_parts())[SHARD]
    print(
        f"  process {old_pid} killed, {new_pid} serves: first durable acknowledgement after {recovery_s:.2f} s, every "
        f"client's subscription renewed after {feed_s:.1f} s; live calls {live_before} before, {live_after} after; "
        f"{row['ended']} of {row['calls']} calls of the load beside ended, refused {dict(load.refusals)}\n"
        f"  {_steps(one)}",
        flush=True,
    )
    if live_after < live_before or row["ended"] + load.refusals.total() < row["calls"]:
        raise SystemExit("a call was lost")
    return recovery_s


def _steps(one: BenchHall) -> str:
    """What the parts logged of the latest recovery, by their own clocks."""
    lines = []
    for name in ("supervisor", SHARD):
        for text in (one.folder / "logs" / f"{name}.log").read_text().splitlines():
            if '"part.' in text or '"division.' in text:
                lines.append(json.loads(text))
    lines.sort(key=lambda line: line["timestamp"])
    gone = max((at for at, line in enumerate(lines) if line["event"] == "part.gone"), default=len(lines))
    return "; ".join(f"{line['timestamp'][17:23]} {line['event']}" for line in lines[gone:])


async def _first_word(one: BenchHall, killed_s: float) -> float:
    """A customer who comes now and again repeats under the same id, as a page does."""
    probe = f"probe-{time.monotonic_ns()}"
    call = one.hall.call(probe)
    while time.perf_counter() - killed_s < RECOVERY_WAIT_S:
        try:
            reply = await call.request("c-probe", "line", command_id=probe)
        except HallUnavailable:
            await asyncio.sleep(PROBE_S)
            continue
        if not reply.is_accepted:
            raise SystemExit(f"the probe was refused: {reply}")
        took_s = time.perf_counter() - killed_s
        await call.hang_up(principal="customer:c-probe", command_id=f"{probe} over")
        return took_s
    raise SystemExit(f"no shard served within {RECOVERY_WAIT_S:.0f} s")


async def _all_renewed(one: BenchHall, killed_s: float) -> float:
    """Seconds until no client of this gateway waits for its subscription any more."""
    while time.perf_counter() - killed_s < RECOVERY_WAIT_S:
        if await _is_renewed(one.hall):
            return time.perf_counter() - killed_s
        await asyncio.sleep(0.1)
    raise SystemExit("clients stayed without a subscription")


async def _is_renewed(hall: Any) -> bool:
    """Its own text says so: what waits is counted there."""
    return "torn=0" in repr(hall) and (await hall.status())["store"] == ""
