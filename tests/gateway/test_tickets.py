"""Tickets at the door: what they open, once, for whom, and that no trace of them is left."""

import json
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from actors.store_client import StoreUnavailable
from actors.tickets import LIFE_MS, OPEN_MAX, MemoryTickets
from gateway.app import Gateway
from gateway.development_issuer import rotate
from gateway.settings import Settings
from tests.gateway.client import JSON, Visitor
from tests.gateway.stub_hall import StubHall

Token = Callable[..., str]


@pytest.mark.parametrize("role", ["customer", "agent", "supervisor", "operator"])
async def test_a_ticket_opens_one_connection(visitor: Visitor, token: Token, role: str) -> None:
    """Given a ticket; when it is brought twice; then it opens what its token would, once, and then 4005."""
    ticket = await visitor.ticket(token(role, "x-1"))
    client = await visitor.admitted(ticket)
    welcome = await client.next()
    assert welcome["data"]["principal"] == f"{role}:x-1"
    assert client.socket.protocol == JSON
    again = await visitor.admitted(ticket)
    assert await again.closed() == 4005
    assert again.messages == []
    await client.socket.close()


async def test_the_answer_says_how_long(visitor: Visitor, token: Token) -> None:
    """docs/protocol.md: 201, a ticket that fits into a subprotocol, its end, and nothing that a cache may keep."""
    status, body, headers = await visitor.request("POST", "/v1/tickets", token("customer", "c-1"))
    assert (status, headers["Cache-Control"]) == (201, "no-store")
    assert set(body) == {"ticket", "expires_at_ms"}
    assert set(body["ticket"]) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


@pytest.mark.parametrize("ticket", ["", "x", "0" * 16 + "." + "A" * 43])
async def test_a_made_up_ticket_opens_nothing(visitor: Visitor, stub: StubHall, ticket: str) -> None:
    """Given nonsense or a ticket that nobody issued; then 4005, and nobody is subscribed."""
    assert await (await visitor.admitted(f"ticket.{ticket}")).closed() == 4005
    assert not stub.listeners
    assert not stub.unsubscribed


async def test_nobody_gets_a_ticket_without_a_token(visitor: Visitor, token: Token) -> None:
    """Given no token, an expired one, another division's, a foreign page; then there is no ticket."""
    for bad, expected in (("", 401), (token("customer", "c-1", -60), 401), (token("customer", "c-1", 60, "no"), 403)):
        status, _, _ = await visitor.request("POST", "/v1/tickets", bad)
        assert status == expected
    headers = {"Origin": "https://evil.example"}
    status, body, _ = await visitor.request("POST", "/v1/tickets", token("customer", "c-1"), headers=headers)
    assert (status, body["reason"]) == (403, "wrong_origin")


async def test_open_tickets_are_bounded(visitor: Visitor, token: Token) -> None:
    """Given as many as one person may have; then one more is 429 with the time after which there is room again."""
    mine = token("customer", "c-1")
    for _ in range(OPEN_MAX):
        await visitor.ticket(mine)
    status, body, headers = await visitor.request("POST", "/v1/tickets", mine)
    assert (status, body["reason"], headers["Retry-After"]) == (429, "too_many", str(LIFE_MS // 1000))
    await visitor.ticket(token("customer", "c-2"))


async def test_a_ticket_outlives_neither_key_nor_token(
    visitor: Visitor, gateway: Gateway, token: Token, tmp_path: Path
) -> None:
    """Given a ticket; when its token's key is taken out meanwhile; then it opens nothing."""
    ticket = await visitor.ticket(token("customer", "c-1"))
    rotate(tmp_path / "keys", is_leaked=True)
    await gateway._keys._refresh()
    assert await (await visitor.admitted(ticket)).closed() == 4001


async def test_a_ticket_is_good_at_the_next_gateway(stub: StubHall, token: Token, tmp_path: Path) -> None:
    """Given two gateways of a hall; when one has given a ticket; then the other takes it."""
    tickets = MemoryTickets()
    settings = Settings(keys_folder=tmp_path / "keys", stop_ms=100)
    gateways = [Gateway(stub, settings, tickets) for _ in range(2)]  # type: ignore[arg-type]
    async with aiohttp.ClientSession() as http:
        visitors = []
        for gateway in gateways:
            await gateway.start()
            visitors.append(Visitor(http, f"http://127.0.0.1:{gateway.port}"))
        client = await visitors[1].admitted(await visitors[0].ticket(token("customer", "c-1")))
        assert (await client.next())["type"] == "session.welcome"
        await client.socket.close()
    for gateway in gateways:
        await gateway.stop()


class NoTickets:
    """A store that does not answer."""

    async def issue(self, owner: str, content: bytes) -> str:
        raise StoreUnavailable("timeout")

    async def take(self, ticket: str) -> bytes | None:
        raise StoreUnavailable("timeout")


async def test_a_silent_store_is_no_wrong_ticket(visitor: Visitor, gateway: Gateway, token: Token) -> None:
    """Given a store that does not answer; then 503, and at the door 1011: come again, nobody has to sign in anew."""
    ticket = await visitor.ticket(token("customer", "c-1"))
    gateway._services.tickets = NoTickets()
    status, body, _ = await visitor.request("POST", "/v1/tickets", token("customer", "c-1"))
    assert (status, body["reason"]) == (503, "store_unavailable")
    assert await (await visitor.admitted(ticket)).closed() == 1011


async def test_no_trace_of_a_ticket(visitor: Visitor, token: Token, capfd: pytest.CaptureFixture[str]) -> None:
    """Given tickets that are issued, used, used again; then neither they nor the token stand in what is logged or measured."""
    mine = token("customer", "c-1")
    ticket = await visitor.ticket(mine)
    client = await visitor.admitted(ticket)
    await client.next()
    await (await visitor.admitted(ticket)).closed()
    await client.socket.close()
    async with visitor.http.get(f"{visitor.base}/metrics") as response:
        measured = await response.text()
    captured = capfd.readouterr()
    secret = ticket.rpartition(".")[2]
    for text in (captured.out, captured.err, measured, json.dumps(client.messages)):
        assert secret not in text
        assert mine[-40:] not in text
