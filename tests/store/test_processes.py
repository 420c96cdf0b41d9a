"""The record of started processes: what an earlier run left is ended, and nothing else."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from actors.processes import PROCESSES_MAX, ProcessRecords

SLEEPER = "import time; print('up', flush=True); time.sleep(60)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + SLEEPER
PARENT = f"import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', {SLEEPER!r}]); child.wait()"

Start = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a Python program and wait for its first line; all are gone afterwards."""
    started: list[subprocess.Popen[str]] = []

    def start_one(program: str) -> subprocess.Popen[str]:
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        return process

    yield start_one
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the record is kept; its folder does not exist yet."""
    return tmp_path / "run" / "processes.json"


def has_ended(pid: int) -> bool:
    """Say whether the process is gone, or waits only to be collected."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_the_next_run_ends_what_was_left(path: Path, start: Start) -> None:
    """Given two recorded processes and one that is not, when the next run begins, then the two are ended."""
    polite, stubborn, stranger = start(SLEEPER), start(SLEEPER), start(SLEEPER)
    records = ProcessRecords(path)
    records.record(polite.pid, "gateway")
    records.record(stubborn.pid, "store")
    assert [one.role for one in ProcessRecords(path).end_recorded()] == ["gateway", "store"]
    assert has_ended(polite.pid)
    assert has_ended(stubborn.pid)
    assert not has_ended(stranger.pid)
    assert ProcessRecords(path).records == []


def test_what_ignores_the_polite_signal_is_killed(path: Path, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a process that ignores SIGTERM, when it is to end, then it is killed after a bounded time."""
    monkeypatch.setattr("actors.processes.END_S", 0.5)
    stubborn = start(STUBBORN)
    ProcessRecords(path).record(stubborn.pid, "ray")
    assert len(ProcessRecords(path).end_recorded()) == 1
    assert stubborn.wait(10) == -signal.SIGKILL


def test_what_a_process_started_ends_with_it(path: Path, start: Start) -> None:
    """Given a recorded process with a child, when it is ended, then so is the child."""
    parent = start(PARENT)
    [child] = psutil.Process(parent.pid).children()
    ProcessRecords(path).record(parent.pid, "ray")
    ProcessRecords(path).end_recorded()
    assert has_ended(parent.pid)
    assert has_ended(child.pid)


def test_a_process_id_that_was_used_again_is_left_alone(path: Path, start: Start) -> None:
    """Given a record whose id now belongs to a later process, or is of an earlier boot, then nobody is ended."""
    innocent = start(SLEEPER)
    ProcessRecords(path).record(innocent.pid, "store")
    content = msgspec.json.decode(path.read_bytes())
    content["processes"][0]["started_ticks"] -= 1
    path.write_bytes(msgspec.json.encode(content))
    assert ProcessRecords(path).end_recorded() == []
    ProcessRecords(path).record(innocent.pid, "store")
    content = msgspec.json.decode(path.read_bytes())
    content["boot_id"] = "another boot"
    path.write_bytes(msgspec.json.encode(content))
    assert ProcessRecords(path).end_recorded() == []
    assert not has_ended(innocent.pid)


def test_a_forgotten_process_and_ourselves_are_left_alone(path: Path, start: Start) -> None:
    """Given a process that was forgotten and our own, when the recorded are ended, then both go on."""
    innocent = start(SLEEPER)
    records = ProcessRecords(path)
    records.record(innocent.pid, "store")
    records.record(os.getpid(), "hall")
    records.forget(innocent.pid)
    assert records.end_recorded() == []
    assert not has_ended(innocent.pid)


def test_the_ended_are_not_recorded(path: Path, start: Start) -> None:
    """Given a process that ended, when it or another is recorded, then it is not in the record."""
    ended, alive = start(SLEEPER), start(SLEEPER)
    records = ProcessRecords(path)
    records.record(ended.pid, "store")
    ended.kill()
    ended.wait()
    records.record(alive.pid, "store")
    records.record(ended.pid, "store")
    assert [one.pid for one in records.records] == [alive.pid]
    assert records.records[0].command.startswith(sys.executable)


def test_a_damaged_record_ends_nobody(path: Path) -> None:
    """Given a file that somebody broke, when the next run begins, then nothing is ended on a guess and it goes on."""
    path.parent.mkdir()
    path.write_text("{nonsense")
    assert ProcessRecords(path).end_recorded() == []


def test_a_loop_of_starts_is_stopped(path: Path, monkeypatch: pytest.MonkeyPatch, start: Start) -> None:
    """Given as many running processes as the bound, when one more is recorded, then that is an error."""
    assert PROCESSES_MAX >= 100
    monkeypatch.setattr("actors.processes.PROCESSES_MAX", 1)
    records = ProcessRecords(path)
    records.record(os.getpid(), "hall")
    with pytest.raises(RuntimeError, match="loop"):
        records.record(start(SLEEPER).pid, "store")
