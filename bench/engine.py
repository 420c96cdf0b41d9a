"""The pure engine in virtual time: how many full call lives one core decides, beside its peers, and what each step costs.

    make bench-engine            all parts, some minutes; QUICK=1: fewer rounds and calls at the same scale

(a) `engine_queue`: one queue of 100 agents beside ciw and simpy. (b) here: a hall of 5,000 agents and 40 queues, 5 queues an
agent, load 0.97, 300,000 calls (`engine_hall`). (c) `engine_memory`: bytes a live call. (d) `engine_flat`: the cost of a step
against the size of the hall and of the line. (e) `engine_many`: many agents and many calls in one step.

RESULT: `calls_per_s` is (b): calls divided by this thread's CPU seconds inside the engine, so that a neighbour on the machine
does not change it. `ratio_ciw`, `ratio_simpy`: (a), customers a CPU second, ours over theirs, drivers included.
`bytes_per_live_call`: (c). `flat_agents`, `flat_waiting`: (d), worst mean cost of a command over best.
"""

import json
import sys
from time import thread_time_ns

from bench import engine_flat, engine_many, engine_memory, engine_queue
from bench.engine_hall import LOAD, QUEUES_COUNT, QUEUES_PER_AGENT, Hall
from bench.measuring import IS_QUICK, START_MS, machine, settled

AGENTS_COUNT = 5_000
CALLS_COUNT = 60_000 if IS_QUICK else 300_000


def measure_hall() -> dict[str, float]:
    """Print the table of (b); return `calls_per_s` and its scale. Raises AssertionError when a call did not end."""
    hall = Hall(AGENTS_COUNT)
    with settled():
        started_ns = thread_time_ns()
        hall.run(CALLS_COUNT, is_emptied=True)
        cpu_s = (thread_time_ns() - started_ns) / 1e9
    assert not hall.engine.state.calls, hall.engine
    engine_s = hall.engine_s()
    print(
        f"(b) {AGENTS_COUNT:,} agents, {QUEUES_COUNT} queues, {QUEUES_PER_AGENT} an agent, load {LOAD}, "
        f"{CALLS_COUNT:,} calls"
    )
    hall.print_steps()
    virtual_h = (hall.engine.now_ms - START_MS) / 3_600_000
    print(f"    calls in memory at most {hall.live_max:,}; {hall.events_count / CALLS_COUNT:.1f} events a call")
    print(
        f"    {engine_s:.1f} CPU s in the engine, {cpu_s - engine_s:.1f} s in the driver and its clock, for {virtual_h:.1f} h "
        f"of the hall: {CALLS_COUNT / engine_s:,.0f} calls/s"
    )
    return {
        "calls_per_s": round(CALLS_COUNT / engine_s),
        "calls": CALLS_COUNT,
        "agents": AGENTS_COUNT,
        "queues": QUEUES_COUNT,
        "load": LOAD,
    }


def main() -> int:
    """Measure all parts; the last line is for programs."""
    print(machine(), flush=True)
    result: dict[str, float] = {}
    # Memory before anything else: what others left in the interpreter's free lists would be missing from the count.
    for measure in (
        engine_memory.measure,
        engine_queue.measure,
        measure_hall,
        engine_flat.measure,
        engine_many.measure,
    ):
        result |= measure()
        sys.stdout.flush()
    print("RESULT", json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
