"""Signalling over the WebSocket: ICE servers with credentials that end, trickled candidates, byes, wishes for a restart."""

import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from actors.hall import MediaRefused, Subscribed
from actors.media_items import Candidates, LeaveOrder
from dispatch import events, views
from gateway.app import Gateway
from gateway.client_fields import CANDIDATE_LENGTH_MAX
from gateway.ice import ice_configuration
from gateway.settings import Settings
from tests.gateway.client import MSGPACK, Client, Visitor
from tests.gateway.stub_hall import StubHall
from tests.gateway.test_messages import call_view

Token = Callable[..., str]
STUN = {"urls": ["stun:stun.bank.example:3478"]}
TURN = "turn:turn.bank.example:3478?transport=udp"
ROOM = views.RoomView(2, True, "w-1", 7)
OURS = {"call_id": "k-1", "attempt": 2}
CANDIDATE = "candidate:1 1 udp 2122260223 192.0.2.7 50000 typ host generation 0 ufrag abcd"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        keys_folder=tmp_path / "keys",
        stop_ms=200,
        ice_servers=[STUN],
        turn_urls=(TURN,),
        turn_secret="between us",
        turn_ttl_ms=600_000,
        ice_transport_policy="relay",
    )


@pytest.fixture
async def customer(visitor: Visitor, stub: StubHall, token: Token) -> Client:
    stub.views["call", "k-1"] = call_view(room=ROOM)
    return await visitor.greeted(token("customer", "c-1"))


def assert_credentials(data: dict[str, Any], principal: str, before_s: int) -> None:
    """The servers in order, and credentials that coturn would compute as well; they live for ten minutes."""
    assert data["ice_transport_policy"] == "relay"
    static, turn = data["ice_servers"]
    assert (static, turn["urls"]) == (STUN, [TURN])
    until_text, _, who = turn["username"].partition(":")
    assert who == principal
    assert before_s + 599 <= int(until_text) <= int(time.time()) + 600
    assert data["ice_until_ms"] == int(until_text) * 1000
    digest = hmac.new(b"between us", turn["username"].encode(), hashlib.sha1).digest()
    assert base64.b64decode(turn["credential"]) == digest


async def test_every_greeting_and_every_wish_brings_fresh_credentials(
    visitor: Visitor, stub: StubHall, token: Token
) -> None:
    """Given a secret shared with coturn, when a client comes, comes back, is reset or asks, then it has its own credentials."""
    before_s = int(time.time())
    for role, name, subprotocol in (("customer", "c-1", "tellerhall.v1.json"), ("agent", "a-1", MSGPACK)):
        client = await visitor.greeted(token(role, name), subprotocol=subprotocol)
        assert_credentials(client.messages[0]["data"], f"{role}:{name}", before_s)
        assert_credentials((await client.ask("rtc.config"))["data"]["value"], f"{role}:{name}", before_s)
    again = await visitor.greeted(token("customer", "c-1"), resume=0)
    assert again.messages[0]["type"] == "session.resumed"
    assert_credentials(again.messages[0]["data"], "customer:c-1", before_s)
    _, _, reset = stub.listeners["customer:c-1"]
    reset(Subscribed("reset", 0, views.SessionView("customer:c-1", 0), []))
    assert_credentials((await again.until("session.reset"))["data"], "customer:c-1", before_s)


def test_without_a_turn_server_the_list_is_told_as_it_is() -> None:
    """Given nothing configured, then the list is empty and said: no client falls back to a public server."""
    assert ice_configuration(Settings(), "customer:c-1", 0) == ([], "all", 0)
    assert ice_configuration(Settings(ice_servers=[STUN]), "customer:c-1", 0) == ([STUN], "all", 0)


def test_the_password_is_the_one_that_coturn_computes() -> None:
    """RFC 2202 2, case 2, through the base64 of coturn's REST form."""
    settings = Settings(turn_urls=(TURN,), turn_secret="Jefe", turn_ttl_ms=60_000)
    [turn] = ice_configuration(settings, "customer:c-1", 1_000_000_000).ice_servers
    assert turn["username"] == "1000060:customer:c-1"
    assert turn["credential"] == base64.b64encode(hmac.new(b"Jefe", b"1000060:customer:c-1", "sha1").digest()).decode()


async def test_a_candidate_goes_to_the_rooms_worker(customer: Client, stub: StubHall) -> None:
    """Given an open room, when its party trickles, then the worker hears it with the address the party speaks from."""
    assert (await customer.ask("rtc.candidate", {**OURS, "candidate": CANDIDATE, "sdp_mid": "0"}))["type"] == "ack"
    expected = Candidates("k-1", 2, "customer", [CANDIDATE], "127.0.0.1")
    assert stub.commands == [("media", "w-1", "Candidates", (7, expected), "", "")]
    assert (await customer.ask("rtc.candidate", {**OURS, "candidate": ""}))["type"] == "ack"
    assert len(stub.commands) == 1, "the worker waits for no end of candidates"
    stub.replies["Candidates"] = MediaRefused("too_many")
    assert (await customer.ask("rtc.candidate", {**OURS, "candidate": CANDIDATE}))["data"]["reason"] == "too_many"


async def test_a_bye_leaves_the_room_and_not_the_call(customer: Client, stub: StubHall) -> None:
    """Given an open room, when its party says bye, then the worker ends its links, and the call hears of nothing else."""
    assert (await customer.ask("rtc.bye", OURS))["type"] == "ack"
    assert stub.commands == [("media", "w-1", "LeaveOrder", (7, LeaveOrder("k-1", 2, "customer")), "", "")]


@pytest.mark.parametrize("type_", ["rtc.candidate", "rtc.bye"])
async def test_only_a_party_speaks_to_a_room_and_only_to_the_one_that_counts(
    customer: Client, stub: StubHall, type_: str
) -> None:
    """Given another's call, no room, another attempt or one that is not open; then it is refused by name."""
    data = {**OURS, **({"candidate": CANDIDATE} if type_ == "rtc.candidate" else {})}

    async def reason(**changes: Any) -> str:
        stub.views["call", "k-1"] = call_view(**{"room": ROOM, **changes})
        return str((await customer.ask(type_, data))["data"]["reason"])

    assert await reason(customer_id="c-2") == "not_yours"
    assert await reason(room=None) == "wrong_state"
    assert await reason(room=views.RoomView(3, True, "w-1", 7)) == "stale_attempt"
    assert await reason(room=views.RoomView(2, False, "w-1", 7)) == "not_ready"
    stub.views.clear()
    assert (await customer.ask(type_, data))["data"]["reason"] == "not_yours"
    assert stub.commands == []


@pytest.mark.parametrize(
    "candidate", ["x", "candidate:1\n1", "candidate:" + "1" * (CANDIDATE_LENGTH_MAX - len("candidate:") + 1)]
)
async def test_a_candidate_that_is_none_or_too_long_is_refused(
    customer: Client, stub: StubHall, candidate: str
) -> None:
    """Given a text that is no candidate, breaks lines, or is one character too long; then `bad_value`, and nobody hears it."""
    assert (await customer.ask("rtc.candidate", {**OURS, "candidate": candidate}))["data"]["reason"] == "bad_value"
    longest = "candidate:".ljust(CANDIDATE_LENGTH_MAX, "1")
    assert (await customer.ask("rtc.candidate", {**OURS, "candidate": longest}))["type"] == "ack"
    assert len(stub.commands) == 1


@pytest.mark.parametrize("role", ["supervisor", "operator"])
async def test_staff_have_no_media_here(visitor: Visitor, token: Token, role: str) -> None:
    """Given somebody who is no party of any room; then the messages of rooms are not for them."""
    client = await visitor.greeted(token(role, "s-1"))
    for type_ in ("rtc.candidate", "rtc.bye", "rtc.config"):
        assert (await client.ask(type_, OURS))["data"]["reason"] == "wrong_role"


async def test_whose_media_are_gone_is_asked_to_offer_again(customer: Client, stub: StubHall) -> None:
    """Given a party whom the worker hears no more, then that party is asked, after the event; of the other it is told alone,
    and nothing is asked of one who has come back meanwhile."""
    left = events.PartyLeft(1, "k-1", 2, "customer")
    stub.tell("customer:c-1", left, events.PartyJoined(1, "k-1", 2, "customer"), events.PartyLeft(1, "k-1", 2, "agent"))
    stub.tell("customer:c-1", left)
    await customer.until("rtc.restart")
    kinds = [one["type"] for one in customer.messages[1:]]
    assert kinds == ["call.party"] * 4 + ["rtc.restart"]
    assert customer.messages[-1]["data"] == {**OURS, "reason": "party_left"}
    assert "seq" not in customer.messages[-1]


async def test_the_secret_of_turn_is_told_to_nobody(visitor: Visitor, token: Token, settings: Settings) -> None:
    """Given a configured secret, then no message that a client gets contains it."""
    client = await visitor.greeted(token("customer", "c-1"))
    await client.ask("rtc.config")
    assert settings.turn_secret not in str(client.messages)


async def test_a_gateway_without_turn_tells_an_empty_list(tmp_path: Path, stub: StubHall, token: Token) -> None:
    gateway = Gateway(stub, Settings(keys_folder=tmp_path / "keys", stop_ms=100))  # type: ignore[arg-type]
    await gateway.start()
    async with aiohttp.ClientSession() as http:
        client = await Visitor(http, f"http://127.0.0.1:{gateway.port}").greeted(token("customer", "c-1"))
        assert client.messages[0]["data"]["ice_servers"] == []
        assert client.messages[0]["data"]["ice_until_ms"] == 0
        await client.socket.close()
    await gateway.stop()
