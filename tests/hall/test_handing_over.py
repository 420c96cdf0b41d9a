"""Calls that overflow into another division on another shard of a running hall, while that shard is killed."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

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
hand_over_give_up_ms = 600_000
[[divisions.queues]]
id = "loans"
media = "external"
recording = "off"
waiting_max = 0
on_full = [{ do = "overflow", queues = ["east/loans"] }]
[[divisions]]
division_id = "east"
[[divisions.queues]]
id = "loans"
media = "external"
recording = "off"
"""
CALLS_COUNT = 30
PATIENCE_S = 60.0


@pytest.fixture
def two_divisions(tmp_path: Path) -> Iterator[Hall]:
    path = tmp_path / "hall.toml"
    path.write_text(CONFIGURATION)
    hall = Hall(tmp_path)
    try:
        yield hall.start("--port", "0", "--config", str(path))
        assert hall.interrupt() == 0, hall.text()
    finally:
        hall.end()


async def kinds(bank: Bank, call_id: str) -> Counter[str]:
    """The events of the call in the division that it was asked for in."""
    return Counter(event["type"] for event in await bank.history(call_id))


async def until_each(bank: Bank, calls: list[str], kind: str) -> None:
    """Return once every call has an event of that kind."""
    async with asyncio.timeout(PATIENCE_S):
        for call_id in calls:
            while True:
                if (await kinds(bank, call_id))[kind]:
                    break
                await asyncio.sleep(0.1)


async def test_every_call_goes_on_once(two_divisions: Hall) -> None:
    """Given calls that overflow; when the target's shard is killed meanwhile; then each is there once, until it ends there."""
    bank = Bank(two_divisions)
    calls = []
    for number in range(CALLS_COUNT):
        if number == CALLS_COUNT // 2:
            os.kill(await bank.pid("shard-1"), signal.SIGKILL)
        body = {"queue_id": "loans", "customer_id": f"c-{number}"}
        status, answer = await bank.ask("POST", "/v1/calls", body, key=f"k-{number}")
        assert status == 201, answer
        calls.append(answer["call_id"])
    await until_each(bank, calls, "call_handed_over")
    for number, call_id in enumerate(calls):
        # Its customer is led to it; an operator's token is good for one division.
        token = two_divisions.token("customer", f"c-{number}")
        assert (await bank.ask("GET", f"/v1/calls/{call_id}", token=token))[1]["state"] == "waiting"
        status, answer = await bank.ask("DELETE", f"/v1/calls/{call_id}", token=token)
        assert status in (200, 204), answer
    await until_each(bank, calls, "handed_call_ended")
    for call_id in calls:
        once = await kinds(bank, call_id)
        assert set(once.values()) == {1}, once
        assert not once["call_ended"], "it ended there, not here"
