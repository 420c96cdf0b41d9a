"""A division moves between the shards of a running hall, by the operators' command."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hall.pages import Bank
from tests.hall.running import Hall

pytestmark = pytest.mark.ray

CONFIGURATION = """
[hall]
shards = 2
[media]
workers = 0
[[divisions]]
division_id = "main"
[[divisions.queues]]
id = "loans"
media = "external"
recording = "off"
[[divisions]]
division_id = "east"
[[divisions.queues]]
id = "loans"
media = "external"
recording = "off"
"""
ASKED_COUNT = 40


@pytest.fixture(scope="module")
def two_shards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    folder = tmp_path_factory.mktemp("two")
    path: Path = folder / "hall.toml"
    path.write_text(CONFIGURATION)
    hall = Hall(folder)
    try:
        yield hall.start("--port", "0", "--config", str(path))
        assert hall.interrupt() == 0, hall.text()
    finally:
        hall.end()


async def ask_for_calls(bank: Bank, first: int, is_over: Callable[[], bool]) -> list[str]:
    """Ask for calls one after another until told to stop; return those that were acknowledged."""
    calls: list[str] = []
    while not is_over():
        number = first + len(calls)
        body = {"queue_id": "loans", "customer_id": f"c-{number}"}
        status, answer = await bank.ask("POST", "/v1/calls", body, key=f"k-{number}")
        assert status == 201, answer
        calls.append(answer["call_id"])
    return calls


async def owner(bank: Bank, division_id: str) -> str:
    """The slot whose shard answers for the division; empty while none does."""
    division: dict[str, Any] = (await bank.get("/v1/status"))["divisions"][division_id]
    return str(division.get("shard", "")).rpartition("-e")[0]


async def is_waiting_everywhere(bank: Bank, calls: list[str]) -> None:
    for call_id in calls:
        assert (await bank.get(f"/v1/calls/{call_id}"))["state"] == "waiting"


async def test_tellerhall_move(two_shards: Hall) -> None:
    """Given two shards with a division each; when one moves while calls come in; then all acknowledged are there."""
    bank = Bank(two_shards)
    assert (await owner(bank, "main"), await owner(bank, "east")) == ("shard-0", "shard-1")
    moved = asyncio.create_task(asyncio.to_thread(two_shards.command, "move", "main", "shard-1"))
    calls = await ask_for_calls(bank, 0, moved.done)
    done = await moved
    assert (done.returncode, done.stdout) == (0, "division main is served by shard-1\n"), done.stderr
    calls += await ask_for_calls(bank, len(calls), iter([False] * ASKED_COUNT + [True]).__next__)
    assert len(calls) > ASKED_COUNT
    await asyncio.sleep(1.1)  # A status is kept for a second.
    assert await owner(bank, "main") == "shard-1"
    await is_waiting_everywhere(bank, calls)


def test_what_cannot_be_moved_is_refused_by_name(two_shards: Hall) -> None:
    """Given a division or a slot that is none; then the command says so, and returns 1."""
    for division_id, slot_id, reason in (("north", "shard-1", "unknown_division"), ("main", "shard-7", "unknown_slot")):
        done = two_shards.command("move", division_id, slot_id)
        assert done.returncode == 1
        assert reason in done.stderr
