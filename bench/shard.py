"""One shard under load: full call lives through Ray's actors into Valkey with appendfsync always, all on this machine.

    make bench-shard            latency against load to the knee, the naive twin, 50,000 live calls, recovery, overload
    make bench-shard QUICK=1    the same at the same scale, shorter
    PHASES=curve,naive          some of it: curve, naive, overload, worst, recovery
    RATES=100,300 ASKED=300     other rates
    PLOT=path.png               where the plot goes (out/shard-latency.png; that of docs/capacity.md: docs/images/)

Latency is that of the decision: from the instant at which the call was to come (open loop) until the agent's client has the
reservation, which it is shown only once it is durable. RESULT: rate_per_s is the highest rate tried that held p99 <= 50 ms;
p50_ms, p99_ms and cpu_ms_per_call (driver, shard, store and follower together) belong to `at_rate_per_s`, which is the asked
1,000/s or, where that was not held, rate_per_s. recovery_s: from SIGKILL of the shard, under load beside 50,000 live
calls, until a client has a durable acknowledgement. max_ms: the worst decision of a minute beside 50,000 live calls.
stolen: share of the machine's time that its host gave to others meanwhile; latencies are worth little above 2 %.
Asked: p50 10, p99 50, recovery 4, worst 250.
"""

import json
import math
import os
import sys
from pathlib import Path

import structlog
import uvloop

from bench.measuring import IS_QUICK, machine
from bench.shard_crowd import TALKING, WAITING
from bench.shard_hall import bench_hall, fsync_p50_ms
from bench.shard_load import HEAD, Desks, Load, Row, agents_for, format_row, is_held, measure
from bench.shard_naive import naive, naive_hall
from bench.shard_phases import OVERLOAD, SNAPSHOT_S, curve, gathered, opened_desks, overload, plan, recovery, worst
from bench.shard_plot import draw

ASKED_RATE = int(os.environ.get("ASKED", "1000"))
DEFAULT_RATES = "300,600,1000,1300,1600,2000,2500" if IS_QUICK else "100,300,600,1000,1300,1600,2000,2500"
RATES = [int(one) for one in os.environ.get("RATES", DEFAULT_RATES).split(",")]
NAIVE_RATES = [int(one) for one in os.environ.get("NAIVE_RATES", "25,50,100,150,200,300,400").split(",")]
PHASES = os.environ.get("PHASES", "curve,naive,overload,worst,recovery").split(",")
PLOT = Path(os.environ.get("PLOT", "out/shard-latency.png"))
CURVE_S, NAIVE_S, OVERLOAD_S, WORST_S, RECOVERY_S, RECOVERIES = (
    (6, 4, 8, 60, 8, 1) if IS_QUICK else (60, 20, 60, 120, 15, 3)
)
NAIVE_ROWS_MIN = 3
"""A curve has at least so many points, held or not."""
Result = dict[str, float]


async def run_curve() -> tuple[list[Row], Result]:
    """One shard with nothing but the load; then too much of it."""
    # Overloaded, each step of a call takes longer and holds its agent: with too few of them calls would wait in line.
    rate_max = int(max(RATES) * (OVERLOAD if "overload" in PHASES else 1))
    async with bench_hall(plan(agents_for(rate_max))) as one:
        desks = await opened_desks(one, rate_max)
        rows = await curve(one, desks, RATES, CURVE_S, ASKED_RATE) if "curve" in PHASES else []
        result = of_curve(rows) if rows else {}
        if "overload" in PHASES:
            sustained = int(result.get("rate_per_s") or min(ASKED_RATE, max(RATES)))
            print(f"overload: {sustained} calls/s and twice that, {OVERLOAD_S} s each", flush=True)
            result |= await overload(one, desks, sustained, OVERLOAD_S)
    return rows, result


def of_curve(rows: list[Row]) -> Result:
    held = [row for row in rows if is_held(row)]
    at = next((row for row in held if row["rate"] == ASKED_RATE), held[-1] if held else rows[0])
    return {
        "rate_per_s": max((row["rate"] for row in held), default=0),
        "at_rate_per_s": at["rate"],
        "p50_ms": at["p50"],
        "p99_ms": at["p99"],
        "cpu_ms_per_call": sum(value for name, value in at.items() if name.startswith("cpu_")),
        "stolen": at["stolen"],
    }


async def run_naive() -> tuple[list[Row], Result]:
    """The same without batches."""
    rows: list[Row] = []
    print(f"naive: one Ray call a message\n{HEAD}", flush=True)
    async with bench_hall(plan(agents_for(max(NAIVE_RATES))), naive) as one:
        hall = await naive_hall(one)
        desks = Desks(hall)
        await desks.open(agents_for(max(NAIVE_RATES)))
        await measure(one, Load(desks, min(NAIVE_RATES), 3, "warm-up"))
        for rate in NAIVE_RATES:
            rows.append(await measure(one, Load(desks, rate, NAIVE_S)))
            print(format_row(rows[-1]), flush=True)
            if not is_held(rows[-1]) and len(rows) >= NAIVE_ROWS_MIN:
                break
        await hall.close()
    return rows, {"naive_rate_per_s": max((row["rate"] for row in rows if is_held(row)), default=0)}


async def run_crowd() -> Result:
    """What 50,000 live calls cost the others, and a recovery."""
    rate = 300
    result: Result = {}
    async with bench_hall(plan(agents_for(rate), TALKING, WAITING), with_snapshots) as one:
        desks = await opened_desks(one, rate)
        await gathered(one)
        if "worst" in PHASES:
            row = await worst(one, desks, WORST_S)
            result |= {"max_ms": row["max"]}
        if "recovery" in PHASES:
            result |= {"recovery_s": max([await recovery(one, desks, RECOVERY_S) for _ in range(RECOVERIES)])}
    return result


def with_snapshots(slot):
    """A snapshot every `SNAPSHOT_S`, so that a short run has several."""
    if slot.id == "follower":
        slot.settings["snapshot_s"] = SNAPSHOT_S
    return slot


async def run() -> Result:
    result: Result = {}
    rows: list[Row] = []
    naive_rows: list[Row] = []
    if "curve" in PHASES or "overload" in PHASES:
        rows, result = await run_curve()
    if "naive" in PHASES:
        naive_rows, figures = await run_naive()
        result |= figures
    if "worst" in PHASES or "recovery" in PHASES:
        result |= await run_crowd()
    if rows:
        draw(rows, naive_rows, PLOT)
        print(f"plot: {PLOT}")
    return result


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    print(f"{machine()}; fsync p50 {fsync_p50_ms():.2f} ms; {' '.join(sys.argv)}; load {os.getloadavg()[0]:.1f}")
    result = uvloop.run(run())
    print(
        "RESULT", json.dumps({name: None if math.isnan(value) else round(value, 3) for name, value in result.items()})
    )


if __name__ == "__main__":
    main()
