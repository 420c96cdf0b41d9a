"""The course of a load test: prepare, play, judge.

Rules: whatever goes wrong has a name in the summary's failures, or is one of `EXPECTED`. The private hall is stopped in every
case. A generator that was late has measured itself, so that run fails however good its figures look.

Not here: arguments and exit status (`loadtest/cli.py`).
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from loadtest import accounting, measures, plots, records, report, workload
from loadtest.accounting import Mismatch
from loadtest.hall import Hall, HallFailed, private_hall
from loadtest.measures import Measures
from loadtest.records import Records
from loadtest.running import GeneratorFailed, Run, generate
from loadtest.workload import Arrival, Workload

EXPECTED = (HallFailed, GeneratorFailed)
"""What may keep a load test from coming to a verdict; the text is for people."""
WRAP_UP_MS = 1_000
LATENESS_RANK = "p99"

Say = Callable[[str], None]


class Order(Struct, frozen=True, kw_only=True):
    """What was asked for."""

    customers: int
    agents: int
    seconds: int
    seed: int
    late_ms_max: float
    url: str
    data: Path | None
    out: Path

    @property
    def is_private(self) -> bool:
        """The hall is ours: nobody else calls there."""
        return not self.url


def run(order: Order, say: Say) -> report.Summary:
    """Run one load test and write its report; raises one of `EXPECTED`."""
    order.out.mkdir(parents=True, exist_ok=True)
    for name in report.FILES:
        # A run that comes to no verdict must not leave the verdict of an earlier one.
        (order.out / name).unlink(missing_ok=True)
    private_folder = Path(tempfile.mkdtemp(prefix="tellerhall-loadtest-"))
    try:
        with _hall(order, private_folder, say) as hall:
            summary = _test(order, hall, private_folder, say)
            say("stopping")
        return summary
    finally:
        shutil.rmtree(private_folder, ignore_errors=True)


@contextmanager
def _hall(order: Order, private_folder: Path, say: Say) -> Iterator[Hall]:
    """The hall under test, for as long as it is needed."""
    if order.data is not None and not order.is_private:
        yield Hall(order.url, order.data)
        return
    say("starting a hall")
    with private_hall(order.out, order.data or private_folder / "data", order.agents, WRAP_UP_MS) as hall:
        yield hall


def _test(order: Order, hall: Hall, private_folder: Path, say: Say) -> report.Summary:
    drawn, agent_ids = _prepare(order, hall)
    arrivals = workload.schedule(drawn)
    schedule_path = order.out / "schedule.jsonl"
    schedule_sha256 = workload.write(schedule_path, drawn, arrivals)
    load_average = os.getloadavg()[0]
    say(f"{len(arrivals)} calls in {order.seconds} s, {order.customers} customers, {order.agents} agents at {hall.url}")
    seen, count = _play(order, hall, agent_ids, schedule_path, private_folder)
    say("comparing with the hall's histories")
    circumstances = report.Circumstances(
        seed=order.seed,
        customers=order.customers,
        agents=order.agents,
        seconds=order.seconds,
        schedule_sha256=schedule_sha256,
        configuration_sha256=_configuration_sha256(order, hall),
        commit=report.commit(),
        machine=report.machine(),
        load_average_before=load_average,
        started_at_ms=seen.started_at_ms,
    )
    return _judge(order, hall, circumstances, drawn, arrivals, seen, count)


def _prepare(order: Order, hall: Hall) -> tuple[Workload, list[str]]:
    """Return what to draw the schedule from, and the agents to work as."""
    agent_ids = hall.free_agent_ids()[: order.agents]
    if len(agent_ids) < order.agents:
        raise HallFailed(f"{hall.url} has {len(agent_ids)} agents who are offline, {order.agents} are needed")
    queue_ids = hall.queue_ids()
    return Workload(
        seed=order.seed, seconds=order.seconds, agents=order.agents, queue_ids=queue_ids, wrap_up_ms=WRAP_UP_MS
    ), agent_ids


def _play(
    order: Order, hall: Hall, agent_ids: list[str], schedule_path: Path, private_folder: Path
) -> tuple[Records, accounting.HallCount | None]:
    """Let the generator work; return what the clients saw and what the hall counted."""
    run = Run(
        url=hall.url,
        schedule_path=str(schedule_path),
        records_path=str(private_folder / "records.json"),
        customers={f"load-c-{index}": hall.token("customer", f"load-c-{index}") for index in range(order.customers)},
        agents={agent_id: hall.token("agent", agent_id) for agent_id in agent_ids},
    )
    admitted_before = hall.admitted_count()
    generate(run, order.out, private_folder, order.seconds)
    seen = records.read(Path(run.records_path))
    if not order.is_private:
        return seen, None
    return seen, accounting.HallCount(hall.admitted_count() - admitted_before, hall.live_count())


def _configuration_sha256(order: Order, hall: Hall) -> str:
    """Of the private hall's file; of a hall that runs already, of what it tells of its queues and agents."""
    if order.is_private:
        content = (order.out / "hall.toml").read_bytes()
    else:
        agents = {one["agent_id"]: one["skills"] for one in hall.get("/v1/agents")["agents"]}
        content = json.dumps({"queues": hall.queue_ids(), "agents": agents}, sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()


def _judge(
    order: Order,
    hall: Hall,
    circumstances: report.Circumstances,
    drawn: Workload,
    arrivals: list[Arrival],
    seen: Records,
    count: accounting.HallCount | None,
) -> report.Summary:
    """Account for every call, measure, write the report."""
    mismatches = accounting.check(seen, hall.history, count)
    figures = measures.measure(drawn, arrivals, seen)
    summary = report.Summary(
        failures=failures(mismatches, figures, order.late_ms_max),
        mismatches=mismatches,
        circumstances=circumstances,
        measures=figures,
        definitions=measures.DEFINITIONS,
    )
    report.write(order.out, summary, seen, plots.draw(drawn, arrivals, seen))
    return summary


def failures(mismatches: list[Mismatch], figures: Measures, late_ms_max: float) -> list[str]:
    """Return why the run failed, by name; empty when everything adds up."""
    found = [f"accounts ({len(mismatches)} mismatches)"] if mismatches else []
    late_ms = figures.lateness_ms.values.get(LATENESS_RANK, 0.0)
    if late_ms > late_ms_max:
        found.append(f"generator_late ({LATENESS_RANK} {late_ms:.0f} ms, allowed {late_ms_max:.0f} ms)")
    return found
