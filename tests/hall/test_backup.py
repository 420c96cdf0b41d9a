"""Backup and restore of a real hall: taken under load without stopping it, put into another folder, and started there."""

import asyncio
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from gateway.development_issuer import DevelopmentIssuer
from tests.gateway.client import Client, Visitor
from tests.hall.running import COMMAND, REPOSITORY, Hall, clean_environment

pytestmark = pytest.mark.ray

CONFIGURATION = """
[[divisions]]
division_id = "main"
reconnect_grace_ms = 600_000
reservation_grace_ms = 600_000
[[divisions.queues]]
id = "loans"
recording = "off"
media = "external"
wrap_up = "until_done"
reservation_timeout_ms = 600_000
[[divisions.agents]]
id = "anna"
[[divisions]]
division_id = "east"
[[divisions.queues]]
id = "cards"
recording = "off"
media = "external"
"""
QUEUES = {"main": "loans", "east": "cards"}
BACKUPS_S = 60.0


def operator_of(hall: Hall, division_id: str) -> str:
    """A token of that division's operator."""
    return DevelopmentIssuer.open(hall.data / "keys").issue("operator", "o-1", division_id=division_id)


class Load:
    """An operator's system that asks for calls all the while, and keeps its own books."""

    def __init__(self, hall: Hall, visitor: Visitor) -> None:
        self.acknowledged: dict[str, tuple[str, float]] = {}
        """Call id -> (division, when its answer was here)."""
        self._visitor = visitor
        self._tokens = {one: operator_of(hall, one) for one in QUEUES}
        self._is_over = False

    async def run(self) -> None:
        for number in itertools.count(1):
            if self._is_over:
                return
            division_id = "main" if number % 2 else "east"
            body = {"queue_id": QUEUES[division_id], "customer_id": f"c-{number}", "display_name": f"Person {number}"}
            status, call, _ = await self._visitor.request("POST", "/v1/calls", self._tokens[division_id], json=body)
            assert status == 201, call
            self.acknowledged[call["call_id"]] = (division_id, time.monotonic())

    def stop(self) -> None:
        self._is_over = True


async def command(*arguments: str) -> tuple[int, str]:
    """Run the console command beside the load."""
    process = await asyncio.create_subprocess_exec(
        COMMAND, *arguments, cwd=REPOSITORY, env=clean_environment(),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(BACKUPS_S):
        output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def talking(hall: Hall, visitor: Visitor) -> tuple[str, Client]:
    """Let anna talk in a call; return its id and her connection."""
    agent = await visitor.greeted(hall.token("agent", "anna"))
    await agent.ask("agent.state", {"activity": "ready"})
    body = {"queue_id": "loans", "customer_id": "c-0"}
    _, call, _ = await visitor.request("POST", "/v1/calls", hall.token("operator", "o-1"), json=body)
    ringing = await agent.until("reservation.new")
    await agent.ask("reservation.accept", {"reservation_id": ringing["data"]["reservation_id"]})
    await agent.ask("call.connected", {"call_id": call["call_id"]})
    await agent.until("call.connected")
    return call["call_id"], agent


async def test_a_backup_under_load_holds_every_call_acknowledged_before_it_began(
    new_hall: Callable[[str], Hall], tmp_path: Path
) -> None:
    """SAFETY.md 21. Given calls all the while, when a backup is put elsewhere, then no acknowledged call is missing."""
    hall, other = new_hall("hall"), new_hall("other")
    for one in (hall, other):
        (one.folder / "hall.toml").write_text(CONFIGURATION)
    hall.start("--port", "0", "--config", str(hall.folder / "hall.toml"))
    async with aiohttp.ClientSession() as http:
        visitor = Visitor(http, hall.url)
        talking_id, agent = await talking(hall, visitor)
        load = Load(hall, visitor)
        work = asyncio.create_task(load.run())
        await asyncio.sleep(3)
        began_s = time.monotonic()
        files = ("--config", str(hall.folder / "hall.toml"), "--data", str(hall.data))
        code, said = await command("backup", str(tmp_path / "saved.tar"), *files)
        assert code == 0, said
        took_s = time.monotonic() - began_s
        load.stop()
        await work
        during = [at_s for _, at_s in load.acknowledged.values() if began_s < at_s < began_s + took_s]
        assert len(during) > 10, "the hall stood still while it was saved"
        assert hall.command("status").returncode == 0
        await agent.socket.close()
    assert hall.interrupt() == 0

    files = ("--config", str(other.folder / "hall.toml"), "--data", str(other.data))
    code, said = await command("restore", str(tmp_path / "saved.tar"), *files)
    assert code == 0, said
    other.start("--port", "0", "--config", str(other.folder / "hall.toml"))
    before = {one: where for one, (where, at_s) in load.acknowledged.items() if at_s < began_s}
    assert len(before) > 20
    async with aiohttp.ClientSession() as http:
        visitor = Visitor(http, other.url)
        tokens = {one: operator_of(other, one) for one in QUEUES}
        states = {}
        for call_id, division_id in before.items():
            status, call, _ = await visitor.request("GET", f"/v1/calls/{call_id}", tokens[division_id])
            states[call_id] = call.get("state") if status == 200 else status
        assert {call_id: state for call_id, state in states.items() if state != "waiting"} == {}
        status, call, _ = await visitor.request("GET", f"/v1/calls/{talking_id}", tokens["main"])
        assert (status, call["state"]) == (200, "connected")
        # History goes on where the backup ended.
        await visitor.request("DELETE", f"/v1/calls/{talking_id}", tokens["main"])
        status, history, _ = await visitor.request("GET", f"/v1/calls/{talking_id}/history", tokens["main"])
        told = [event["type"] for event in history["events"]]
        assert (told[0], told[-1]) == ("call_queued", "call_ended")
    assert json.loads(other.command("status", "--json").stdout)["is_healthy"]
    # A hall that has calls is not replaced by accident.
    code, said = await command("restore", str(tmp_path / "saved.tar"), *files)
    assert (code, "stop it first" in said) == (1, True)


async def test_without_a_hall_there_is_nothing_to_save(tmp_path: Path) -> None:
    """Given no hall in that folder, then the reason is said, and nothing is left behind."""
    code, said = await command("backup", str(tmp_path / "saved"), "--data", str(tmp_path / "data"))
    assert code == 1
    assert "the store does not answer" in said
    assert left(tmp_path) == []


def left(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.startswith("saved")]
