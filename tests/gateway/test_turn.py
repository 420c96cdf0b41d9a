"""Media through a real TURN server: coturn on loopback, credentials from the gateway, peers that may use nothing else."""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import aioice.ice
import pytest

from actors.media_part import MediaPart
from gateway.app import Gateway
from gateway.ice import ice_configuration
from gateway.settings import Settings
from tests.gateway.client import Client, Visitor
from tests.gateway.real_media import REQUEST, Person, hall_with_media, links_of
from tests.turn import TurnServer, turn_server
from tests.waiting import until

Token = Callable[..., str]
SECRET = "known to the gateway and to coturn alone"


@pytest.fixture(scope="module")
def turn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TurnServer]:
    with turn_server(tmp_path_factory.mktemp("turn"), SECRET) as server:
        yield server


@pytest.fixture
def settings(tmp_path: Path, turn: TurnServer) -> Settings:
    return Settings(
        keys_folder=tmp_path / "keys",
        stop_ms=200,
        turn_urls=(turn.url,),
        turn_secret=SECRET,
        ice_transport_policy="relay",
    )


@pytest.fixture
async def part(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[MediaPart, Gateway]]:
    """A hall with a worker, and its gateway. aioice leaves out loopback by itself."""
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])
    async with hall_with_media(tmp_path / "recordings", settings) as found:
        yield found


async def enter(client: Client, person: Person) -> None:
    """Offer for the room that is open, and take the answer."""
    room = (await client.until("rtc.room"))["data"]
    answer = await client.ask("rtc.sdp_offer", {**room, "sdp": await person.offer()})
    await person.accept(answer["data"]["value"]["sdp_answer"])


def configured(client: Client) -> Person:
    """A peer as the client was told to make it."""
    told: dict[str, Any] = client.messages[0]["data"]
    return Person(told["ice_servers"], told["ice_transport_policy"])


async def test_a_calls_media_flow_through_turn(part: tuple[MediaPart, Gateway], turn: TurnServer, token: Token) -> None:
    """Given two clients that are told to use TURN alone, when they are in a call, then they see and hear each other, and the
    worker sends to nobody but coturn's relays."""
    worker, gateway = part
    async with aiohttp.ClientSession() as http:
        visitor = Visitor(http, f"http://127.0.0.1:{gateway.port}")
        agent = await visitor.greeted(token("agent", "a-1"))
        await agent.ask("agent.state", {"activity": "ready"})
        customer = await visitor.greeted(token("customer", "c-1"))
        await customer.ask("call.request", REQUEST)
        ringing = (await agent.until("reservation.new"))["data"]
        await agent.ask("reservation.accept", {"reservation_id": ringing["reservation_id"]})
        people = {"customer": configured(customer), "agent": configured(agent)}
        await enter(customer, people["customer"])
        await enter(agent, people["agent"])
        await customer.until("call.connected")
        for person in people.values():
            since = dict(person.frames_count)
            await until(lambda person=person, since=since: person.sees_and_hears(since))  # type: ignore[misc]
        for party in people:
            [link] = links_of(worker, party)
            assert link._address is not None
            assert link._address[1] in turn.relay_ports
        for role, name in (("customer", "c-1"), ("agent", "a-1")):
            assert f"{role}:{name}" in turn.text(), "coturn knows them by the gateway's names"
        for person in people.values():
            await person.close()
        for client in (customer, agent):
            await client.socket.close()


@pytest.mark.parametrize(
    ("secret", "later_ms", "is_let_in"), [(SECRET, 0, True), (SECRET, -120_000, False), ("another secret", 0, False)]
)
async def test_coturn_takes_credentials_of_the_secret_until_they_end(
    turn: TurnServer, monkeypatch: pytest.MonkeyPatch, secret: str, later_ms: int, is_let_in: bool
) -> None:
    """Given credentials that are good, have ended, or come of another secret; then only the first get a relay."""
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])
    settings = Settings(turn_urls=(turn.url,), turn_secret=secret, turn_ttl_ms=60_000)
    servers = ice_configuration(settings, "customer:c-9", now_ms() + later_ms).ice_servers
    person = Person(servers, "relay")
    assert ("typ relay" in await person.offer()) is is_let_in
    await person.close()


def now_ms() -> int:
    return int(time.time() * 1000)
