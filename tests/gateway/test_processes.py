"""Several gateways on one port: what is to run, what each says of itself, and how clients go from one to another."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from actors.configuration import load
from actors.hall import Hall
from actors.items import Drain, ReadPart, encode, encode_array
from actors.local import LocalHall, LocalNetwork, local_hall
from actors.nodes import RayNode, places_count
from gateway.app import Gateway
from gateway.part import GatewayPart
from gateway.roster import Roster
from gateway.settings import Settings
from gateway.slots import slots_of
from loadtest import client as client_module
from loadtest.client import Client as PythonClient
from tests.gateway.client import Client, Visitor
from tests.gateway.stub_hall import StubHall
from tests.gateway.test_call_life import PLAN, REQUEST, events_of
from tests.waiting import until

Token = Callable[..., str]
SPREAD_MS, STOP_MS = 3_000, 200


def gateway_slots(folder: Path, text: str, machines_count: int = 1) -> list[dict[str, Any]]:
    """The settings of each gateway that should run by a configuration."""
    (folder / "hall.toml").write_text(f'{text}\n[[divisions]]\ndivision_id = "main"\n')
    slots = slots_of(load(folder / "hall.toml"), "unix:///store", 8080, machines_count)
    found = [slot for slot in slots if slot.kind == "gateway"]
    assert [slot.id for slot in found] == [f"gateway-{number + 1}" for number in range(len(found))]
    return [slot.settings["gateway"] for slot in found]


def test_as_many_as_configured_on_one_port(tmp_path: Path) -> None:
    """Given three processes; then three slots share the port, each with its own id and a free port for its measures."""
    found = gateway_slots(tmp_path, "[gateway]\nprocesses = 3")
    assert [(one["port"], one["is_port_shared"], one["gateway_id"]) for one in found] == [(8080, True, "@name")] * 3
    assert [one["metrics_port"] for one in found] == [0, 0, 0]


@pytest.mark.parametrize(
    ("text", "machines_count", "ports"),
    [
        ("", 1, [None]),
        ("[gateway]\nmetrics_port = 9464", 1, [9464]),
        ("[gateway]\nmetrics_port = 9464\nprocesses = 2", 1, [9464, 9465]),
        ("[gateway]\nmetrics_port = 0\nprocesses = 2", 1, [0, 0]),
        ("", 3, [0, 0, 0]),
        ("[gateway]\nprocesses = 4", 3, [0, 0, 0, 0]),
    ],
)
def test_where_each_shows_its_measures(tmp_path: Path, text: str, machines_count: int, ports: list[int | None]) -> None:
    """Given a configuration and machines; then each machine gets a gateway at least, and none shares its port of measures."""
    assert [one["metrics_port"] for one in gateway_slots(tmp_path, text, machines_count)] == ports


def test_a_head_that_is_to_stay_free_is_no_place() -> None:
    """Given machines, dead ones and a head without cores; then the others count; a head alone counts."""
    head, busy_head = RayNode("h", True, 0, True), RayNode("h", True, 4, True)
    worker, dead = RayNode("w", True, 4, False), RayNode("d", False, 4, False)
    assert places_count([head, worker, dead]) == 1
    assert places_count([busy_head, worker]) == 2
    assert places_count([head]) == 1


# -- two gateways of one hall


@pytest.fixture
async def local() -> AsyncIterator[LocalHall]:
    async with local_hall(PLAN) as local:
        yield local


@pytest.fixture
async def halls(local: LocalHall) -> AsyncIterator[list[Hall]]:
    halls = [local.hall("g-1"), local.hall("g-2")]
    yield halls
    await asyncio.gather(*(hall.close() for hall in halls))


@pytest.fixture
async def pair(halls: list[Hall], tmp_path: Path) -> AsyncIterator[list[Gateway]]:
    """Two gateways on one port."""
    gateways: list[Gateway] = []
    for number, hall in enumerate(halls, 1):
        port = gateways[0].port if gateways else 0
        settings = Settings(
            gateway_id=f"g-{number}",
            port=port,
            is_port_shared=True,
            keys_folder=tmp_path / "keys",
            stop_ms=STOP_MS,
            spread_ms=SPREAD_MS,
        )
        gateways.append(Gateway(hall, settings))
        await gateways[-1].start()
    yield gateways
    await asyncio.gather(*(gateway.stop() for gateway in gateways))


@pytest.fixture
async def visitor(pair: list[Gateway]) -> AsyncIterator[Visitor]:
    async with aiohttp.ClientSession() as http:
        yield Visitor(http, f"http://127.0.0.1:{pair[0].port}")


async def waiting(visitor: Visitor, token: Token, count: int) -> dict[str, Client]:
    """So many customers whose calls wait, by id."""
    clients = {}
    for customer_id in (f"c-{number}" for number in range(count)):
        clients[customer_id] = await visitor.greeted(token("customer", customer_id))
        assert (await clients[customer_id].ask("call.request", REQUEST))["type"] == "ack"
        await clients[customer_id].until("call.queued")
    return clients


def gateway_of(client: Client) -> str:
    return str(client.messages[0]["data"]["gateway_id"])


async def test_one_that_is_drained_sends_its_clients_to_the_other(
    pair: list[Gateway], visitor: Visitor, token: Token
) -> None:
    """Given clients at two gateways; when one is drained; then its own hear, resume at the other, and miss nothing."""
    clients = await waiting(visitor, token, 12)
    leavers = {one: client for one, client in clients.items() if gateway_of(client) == "g-1"}
    assert (
        sum(pair[0].connections.values())
        == len(leavers)
        < len(clients)
        == pair[1].connections["customer"] + len(leavers)
    )
    draining = asyncio.create_task(pair[0].drain())
    for customer_id, client in leavers.items():
        goaway = await client.until("session.goaway")
        assert goaway["data"] == {"action": "resume", "after_ms": SPREAD_MS}
        await client.socket.close()
        again = clients[customer_id] = await visitor.connect(token("customer", customer_id), resume=1)
        assert (await again.next())["type"] == "session.resumed"
        assert await again.ask("call.hang_up", {"call_id": client.messages[2]["data"]["value"]["call_id"]})
        await again.until("call.ended")
        assert events_of(again) == ["call.ended"]
    await draining
    assert (pair[0].connections, pair[1].connections) == ({}, {"customer": len(clients)})


async def test_who_stays_is_closed_and_the_whole_hall_is_quick(
    pair: list[Gateway], visitor: Visitor, token: Token
) -> None:
    """Given clients that stay; when all stop; then they are given `stop_ms`, not `spread_ms`, and 1001."""
    client = await visitor.greeted(token("customer", "c-1"))
    stopping = [asyncio.create_task(gateway.stop()) for gateway in pair]
    assert (await client.until("session.goaway"))["data"]["after_ms"] == STOP_MS
    assert await client.closed() == 1001
    await asyncio.gather(*stopping)


async def test_the_python_client_leaves_of_its_own_accord(
    pair: list[Gateway], token: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a Python client; when its gateway is drained; then it resumes at the other within the time that it was given."""
    monkeypatch.setattr(client_module, "BACKOFF_FIRST_S", 0.02)
    client = PythonClient(f"http://127.0.0.1:{pair[0].port}", token("customer", "c-1"))
    await asyncio.to_thread(client.__enter__)
    holder = next(gateway for gateway in pair if gateway.connections)
    other = next(gateway for gateway in pair if gateway is not holder)
    draining = asyncio.create_task(holder.drain())
    await until(lambda: other.connections == {"customer": 1})
    await until(lambda: client.resumes_count == 1)
    await draining
    await asyncio.to_thread(client.__exit__, None, None, None)


# -- what one says of itself


def test_roles_are_counted() -> None:
    """Given nobody; then nothing is counted."""
    assert Roster().connections() == {}


async def test_an_operator_drains_a_gateway(stub: StubHall, gateway: Gateway, token: Token) -> None:
    """Given an operator; then the hall drains the slot; a supervisor, and a slot that is no gateway's, are refused."""
    path = "/v1/gateways/gateway-2/drain"
    async with aiohttp.ClientSession() as http:
        visitor = Visitor(http, f"http://127.0.0.1:{gateway.port}")
        status, _, _ = await visitor.request("POST", path, token("supervisor", "s-1"))
        assert (status, stub.drained) == (403, [])
        status, answer, _ = await visitor.request("POST", path, token("operator", "o-1"))
        assert (status, answer) == (202, {"slot_id": "gateway-2", "connections_count": 7})
        assert stub.drained == ["gateway-2"]
        status, problem, _ = await visitor.request("POST", "/v1/gateways/shard-0/drain", token("operator", "o-1"))
        assert (status, problem["reason"]) == (404, "unknown_slot")


async def answers(part: GatewayPart, number: int, *items: Any) -> list[Any]:
    """What the part answers to one batch."""
    payload = encode_array([encode(item) for item in items])
    return list(msgspec.msgpack.decode(await part.receive("test", number, payload)))


async def test_a_part_answers_while_it_drains(tmp_path: Path) -> None:
    """Given a gateway part without clients; when it is asked, then to drain; then it tells its ports, and ends by itself."""
    settings = {
        "hall": {"division_ids": ["main"], "store_url": f"unix://{tmp_path}/no-store"},
        "gateway": {"gateway_id": "gateway-1-e1", "keys_folder": str(tmp_path / "keys"), "metrics_port": 0},
    }
    part = GatewayPart(encode(settings), LocalNetwork())
    await part.start()
    try:
        [said] = await answers(part, 0, ReadPart())
        assert (said["connections"], said["is_draining"], said["connections_max"]) == ({}, False, 18_000)
        assert said["port"] != said["metrics_port"] != 0
        assert await answers(part, 1, Drain(), Drain()) == [0, 0]
        async with asyncio.timeout(10):
            await part.ended.wait()
    finally:
        await part.stop()
