"""The schedule: equal seeds, equal customers; the load that was asked for; a file that others can read."""

import statistics
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from loadtest import workload
from loadtest.workload import Workload

QUEUES = ["cards", "loans"]
FIRST_ARRIVAL = (
    b'{"number":0,"at_ms":195,"queue_id":"loans","patience_ms":2354,"answer_ms":66,"talk_ms":20000,"ends":"agent"}'
)


def _workload(seed: int = 1, seconds: int = 60, agents: int = 60) -> Workload:
    return Workload(seed=seed, seconds=seconds, agents=agents, queue_ids=QUEUES)


def test_equal_seeds_give_equal_schedules() -> None:
    """Given one workload, when it is drawn twice, then both schedules are the same; another seed gives another."""
    assert workload.schedule(_workload()) == workload.schedule(_workload())
    assert workload.schedule(_workload(seed=2)) != workload.schedule(_workload())


def test_a_schedule_does_not_change_from_version_to_version() -> None:
    """Given a seed, when it is drawn, then the first arrival is the one it has always been: old runs can be repeated."""
    first = workload.schedule(_workload(seed=20_261_123))[0]

    assert msgspec.json.encode(first) == FIRST_ARRIVAL


def test_customers_are_the_same_at_another_rate() -> None:
    """CAPACITY.md, one random stream a purpose: with twice the agents call number n is as patient and talks as long."""
    few, many = workload.schedule(_workload(agents=30)), workload.schedule(_workload(agents=60))

    def nature(one: workload.Arrival) -> tuple[object, ...]:
        return one.queue_id, one.patience_ms, one.answer_ms, one.talk_ms, one.ends

    assert len(many) > len(few) > 100
    assert [nature(one) for one in few] == [nature(one) for one in many[: len(few)]]


def test_arrivals_are_in_order_and_in_time() -> None:
    """Given a schedule, then it is sorted by instant and number, and everything is within its bounds."""
    drawn = _workload()
    arrivals = workload.schedule(drawn)

    assert [one.number for one in arrivals] == list(range(len(arrivals)))
    assert all(before.at_ms <= after.at_ms < 60_000 for before, after in pairwise(arrivals))
    assert all(workload.TALK_MS_MIN <= one.talk_ms <= drawn.talk_ms_max for one in arrivals)
    assert {one.queue_id for one in arrivals} == set(QUEUES)
    assert {one.ends for one in arrivals} == {"customer", "agent"}


def test_the_load_is_the_one_asked_for() -> None:
    """Given 20 seeds, when the hold times are added up, then the agents are busy for the wished share, within 3.5 SE."""
    shares = []
    for seed in range(20):
        drawn = _workload(seed=seed, seconds=300)
        held_ms = sum(one.answer_ms + one.talk_ms + drawn.wrap_up_ms for one in workload.schedule(drawn))
        shares.append(held_ms / (drawn.agents * drawn.seconds * 1000))

    error = statistics.stdev(shares) / len(shares) ** 0.5
    assert abs(statistics.mean(shares) - 0.87) < 3.5 * error
    assert error < 0.02 * 0.87


def test_a_written_schedule_is_read_back(tmp_path: Path) -> None:
    """Given a schedule, when it is written and read, then it is the same, and equal contents have equal digests."""
    drawn = _workload()
    arrivals = workload.schedule(drawn)
    path = tmp_path / "schedule.jsonl"

    digest = workload.write(path, drawn, arrivals)

    assert workload.read(path) == (drawn, arrivals)
    assert workload.write(tmp_path / "again.jsonl", drawn, arrivals) == digest


def test_a_schedule_of_another_version_is_refused(tmp_path: Path) -> None:
    """Given a file of a version that is not ours, when it is read, then that is said and nothing is guessed."""
    path = tmp_path / "schedule.jsonl"
    workload.write(path, msgspec.structs.replace(_workload(), version=workload.VERSION + 1), [])

    with pytest.raises(ValueError, match="version 2 is not 1"):
        workload.read(path)
