"""What operators see of a real hall: status, metrics, one call's lines in every part's log, the floor of free disk."""

import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.gateway.client import Client, Visitor
from tests.hall.running import Hall, wait_until

pytestmark = pytest.mark.ray

CONFIGURATION = """
[[divisions]]
division_id = "main"
[[divisions.queues]]
id = "loans"
recording = "off"
wrap_up = "none"
connecting_timeout_ms = 60_000
[[divisions.agents]]
id = "anna"
"""
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
LOGGED_S = 20.0


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    folder = tmp_path_factory.mktemp("watched")
    one = Hall(folder)
    (folder / "hall.toml").write_text(CONFIGURATION)
    try:
        one.start("--port", "0", "--config", str(folder / "hall.toml"))
        yield one
    finally:
        one.end()


@pytest.fixture
async def visitor(watched: Hall) -> AsyncIterator[Visitor]:
    async with aiohttp.ClientSession() as http:
        yield Visitor(http, watched.url)


async def served(hall: Hall, visitor: Visitor, traceparent: str) -> tuple[str, Client, Client]:
    """Let a customer ask within that trace, and anna accept; return the call's id and both clients once their room is open."""
    agent = await visitor.greeted(hall.token("agent", "anna"))
    await agent.ask("agent.state", {"activity": "ready"})
    customer = await visitor.greeted(hall.token("customer", "c-1"))
    data = {"queue_id": "loans", "is_consented": True, "display_name": "Xiaoming Wang"}
    await customer.socket.send_str(
        json.dumps({"v": 1, "id": "m-1", "type": "call.request", "traceparent": traceparent, "data": data})
    )
    ack = await customer.until(lambda message: message.get("re") == "m-1")
    ringing = await agent.until("reservation.new")
    await agent.ask("reservation.accept", {"reservation_id": ringing["data"]["reservation_id"]})
    await customer.until("rtc.room")
    return ack["data"]["value"]["call_id"], customer, agent


def lines_with(hall: Hall, trace_id: str) -> dict[str, list[dict[str, Any]]]:
    """Part -> its lines of that trace, as `grep` finds them."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted((hall.data / "logs").glob("*.log")):
        for line in path.read_text().splitlines():
            if trace_id in line:
                found.setdefault(path.stem.partition("-")[0], []).append(json.loads(line))
    return found


async def test_a_calls_lines_in_gateway_shard_and_media_share_its_trace(watched: Hall, visitor: Visitor) -> None:
    """Given a customer's own trace context, when the call is served and ended, then its id finds it in all three logs."""
    call_id, customer, agent = await served(watched, visitor, TRACEPARENT)
    offer = {"call_id": call_id, "attempt": 1, "sdp": "v=0 of-xiaoming"}
    assert (await customer.ask("rtc.sdp_offer", offer))["data"]["reason"] == "bad_sdp"
    await customer.ask("call.hang_up", {"call_id": call_id})
    await customer.until("call.ended")

    def is_logged() -> bool:
        found = lines_with(watched, TRACE_ID)
        return {"gateway", "shard", "media"} <= set(found) and "call.ended" in str(found["shard"])

    wait_until(is_logged, LOGGED_S)
    found = lines_with(watched, TRACE_ID)
    assert {line["call_id"] for lines in found.values() for line in lines} == {call_id}
    steps = [line["event"] for line in found["shard"] if line["event"].startswith("call.")]
    assert steps == ["call.queued", "call.reserved", "call.accepted", "call.ended"]
    assert "client.call.request" in [line["event"] for line in found["gateway"]]
    assert "RoomOpened" in [line["event"] for line in found["media"]]
    said = "".join(path.read_text() for path in (watched.data / "logs").glob("*.log"))
    assert "xiaoming" not in said.lower(), "a name or SDP in a log"
    for client in (customer, agent):
        await client.socket.close()


async def test_a_request_without_a_trace_is_given_one(watched: Hall, visitor: Visitor) -> None:
    """Given a request over REST with a malformed trace context, then the answer names the trace that its lines have."""
    token = watched.token("operator", "o-1")
    body = {"queue_id": "loans", "customer_id": "c-2", "is_consented": True}
    headers = {"traceparent": "00-nonsense"}
    status, call, answered = await visitor.request("POST", "/v1/calls", token, json=body, headers=headers)
    assert status == 201
    trace_id = answered["traceparent"].split("-")[1]
    wait_until(lambda: {"gateway", "shard"} <= set(lines_with(watched, trace_id)), LOGGED_S)
    assert {line["call_id"] for line in lines_with(watched, trace_id)["shard"]} == {call["call_id"]}
    await visitor.request("DELETE", f"/v1/calls/{call['call_id']}", token)


async def test_the_status_of_a_healthy_hall(watched: Hall, visitor: Visitor) -> None:
    """Given a hall that serves, then its status says so to people, to machines and by its exit status."""
    wait_until(lambda: watched.command("status").returncode == 0, LOGGED_S)
    text = watched.command("status")
    assert text.returncode == 0, text.stdout
    assert "healthy" in text.stdout.splitlines()[0]
    for word in ("shard-0-e", "main", "media-1", "fsync always", "recordings"):
        assert word in text.stdout
    said = json.loads(watched.command("status", "--json").stdout)
    assert said["is_healthy"] is True
    assert said["alerts"] == []
    [shard] = said["shards"].values()
    assert (shard["slot"], shard["divisions"]) == ("shard-0", ["main"])
    division = said["divisions"]["main"]
    assert division["epoch"] >= 1
    assert division["lag_batches"] is not None
    assert said["store_facts"]["weaknesses"] == []
    [parts] = said["builds"].values()
    assert sorted(part.partition("-e")[0] for part in parts) == ["follower", "gateway-1", "media-1", "shard-0"]
    [disk] = said["disks"]
    assert disk["free_bytes"] > disk["floor_bytes"] > 0


def test_the_status_names_a_division_that_decides_by_another_plan(watched: Hall) -> None:
    """SAFETY.md 20. Given a file that was changed and not applied, then the status says which division it is about."""
    changed = watched.folder / "changed.toml"
    changed.write_text(CONFIGURATION.replace("60_000", "50_000"))
    line = "division main decides by another plan than this file"
    assert line in watched.command("status", "--config", str(changed)).stdout
    assert line not in watched.command("status", "--config", str(watched.folder / "hall.toml")).stdout


def test_an_operators_own_token_is_used(watched: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a token in the environment, then it is sent: one that the hall does not know is refused by name."""
    monkeypatch.setattr("tests.hall.running.clean_environment", lambda: {**os.environ, "TELLERHALL_TOKEN": "nobody's"})
    refused = watched.command("status")
    assert (refused.returncode, refused.stderr.strip()) == (1, "the hall refuses: not_signed_in")


async def test_the_metrics_of_a_hall(watched: Hall, visitor: Visitor) -> None:
    """Given a call that waits, when Prometheus scrapes, then the hall's state and its durations are there by their names."""
    token = watched.token("operator", "o-1")
    body = {"queue_id": "loans", "customer_id": "c-3", "is_consented": True}
    status, call, _ = await visitor.request("POST", "/v1/calls", token, json=body)
    assert status == 201
    await visitor.request("DELETE", f"/v1/calls/{call['call_id']}", token)
    async with visitor.http.get(f"{watched.url}/metrics") as response:
        values = dict(line.rsplit(" ", 1) for line in (await response.text()).splitlines() if line[0] != "#")
    assert values['tellerhall_division_up{division="main"}'] == "1.0"
    assert values['tellerhall_calls_live{division="main",state="connected"}'] == "0.0"
    assert float(values['tellerhall_calls_admitted_total{division="main"}']) >= 1
    for name in ("turn", "append"):
        count = float(values[f'tellerhall_{name}_seconds_count{{shard="shard-0"}}'])
        assert count >= 2
        assert values[f'tellerhall_{name}_seconds_bucket{{le="+Inf",shard="shard-0"}}'] == str(count)
    assert values["tellerhall_store_up"] == "1.0"
    assert values['tellerhall_alerts{name="disk_low"}'] == "0.0"
    assert 'tellerhall_media_rooms{worker="media-1"}' in values
    assert 'tellerhall_follower_lag_batches{division="main"}' in values
    assert call["call_id"] not in str(values)


async def test_below_the_floor_of_free_disk_no_new_call_is_taken(new_hall: Callable[[str], Hall]) -> None:
    """SAFETY.md 21. Given a floor above what is free, then calls are refused by name, and status and metrics say why."""
    hall = new_hall("low")
    (hall.folder / "hall.toml").write_text(CONFIGURATION)
    hall.start(
        "--port", "0", "--config", str(hall.folder / "hall.toml"),
        environment={"TELLERHALL_HALL_DISK_FLOOR_BYTES": str(10**15)},
    )  # fmt: skip
    async with aiohttp.ClientSession() as http:
        visitor = Visitor(http, hall.url)
        body = {"queue_id": "loans", "customer_id": "c-1", "is_consented": True}
        token = hall.token("operator", "o-1")
        status, document, _ = await visitor.request("POST", "/v1/calls", token, json=body)
        assert (status, document["reason"]) == (503, "disk_low")
        async with http.get(f"{hall.url}/metrics") as response:
            assert 'tellerhall_alerts{name="disk_low"} 1.0' in await response.text()
    said = hall.command("status")
    assert said.returncode == 3
    assert "NOT HEALTHY" in said.stdout
    assert "error: disk_low" in said.stdout


def test_a_folder_without_a_hall_has_no_status(tmp_path: Path) -> None:
    """Given no hall, then the exit status says that nobody answered, not that a hall is unwell."""
    assert Hall(tmp_path).command("status").returncode == 1
