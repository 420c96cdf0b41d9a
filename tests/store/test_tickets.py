"""Tickets: good once, for a while, for as many as are allowed; the store in memory and two real ones alike."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from actors.store_client import StoreClient
from actors.tickets import LIFE_MS, OPEN_MAX, PATTERN, MemoryTickets, StoreTickets, Tickets
from tests.store.conftest import MakeServer
from tests.waiting import PATIENCE_S

Make = Callable[..., Tickets]


@pytest.fixture(params=["memory", "valkey", "redis"])
async def make_tickets(request: pytest.FixtureRequest, make_server: MakeServer) -> AsyncIterator[Make]:
    """Makes tickets over one store; each as another gateway would have them."""
    if request.param == "memory":
        memory: dict[int, MemoryTickets] = {}
        yield lambda life_ms=LIFE_MS: memory.setdefault(life_ms, MemoryTickets(life_ms=life_ms))
        return
    server = await make_server("store", program=request.param).start()
    clients: list[StoreClient] = []

    def make(life_ms: int = LIFE_MS) -> Tickets:
        clients.append(StoreClient(server.url))
        return StoreTickets(clients[-1], life_ms=life_ms)

    yield make
    for client in clients:
        await client.close()


async def test_a_ticket_is_good_once_through_any_gateway(make_tickets: Make) -> None:
    """Given a ticket of one gateway; when it is brought to another one, twice; then it is taken there, once."""
    ticket = await make_tickets().issue("customer:c-1", b"who\x00it is")
    assert PATTERN.fullmatch(ticket)
    elsewhere = make_tickets()
    assert await elsewhere.take(ticket) == b"who\x00it is"
    assert await elsewhere.take(ticket) is None
    assert await make_tickets().take(ticket) is None


async def test_of_many_at_once_one_gets_it(make_tickets: Make) -> None:
    """Given one ticket brought fifty times at once, through two gateways; then exactly one has it."""
    gateways = [make_tickets(), make_tickets()]
    ticket = await gateways[0].issue("customer:c-1", b"x")
    found = await asyncio.gather(*(gateways[n % 2].take(ticket) for n in range(50)))
    assert sorted(one is not None for one in found) == [False] * 49 + [True]


async def test_nothing_but_a_ticket_is_one(make_tickets: Make) -> None:
    """Given nonsense, a changed secret and another's group; then none of them is a ticket, and the real one still is."""
    tickets = make_tickets()
    ticket = await tickets.issue("customer:c-1", b"x")
    other = await tickets.issue("customer:c-2", b"y")
    group, _, secret = ticket.partition(".")
    changed = secret[:-1] + ("A" if secret[-1] != "A" else "B")
    for nonsense in (
        "",
        ".",
        "x",
        f"{group}.",
        f"{group}.{changed}",
        f"{other.partition('.')[0]}.{secret}",
        f"{ticket}\n",
    ):
        assert await tickets.take(nonsense) is None
    assert await tickets.take(ticket) == b"x"


async def test_a_ticket_ends_by_itself(make_tickets: Make) -> None:
    """Given a ticket for a moment; when that is over; then it is none, and leaves room for another."""
    tickets = make_tickets(life_ms=150)
    left = [await tickets.issue("customer:c-1", b"x") for _ in range(OPEN_MAX)]
    assert all(left)
    async with asyncio.timeout(PATIENCE_S):
        while not await tickets.issue("customer:c-1", b"y"):
            pass
    assert await tickets.take(left[0]) is None


async def test_open_tickets_of_one_person_are_bounded(make_tickets: Make) -> None:
    """Given as many open tickets as a person may have; then one more is refused; others get theirs; a taken one makes room."""
    tickets = make_tickets()
    mine = [await tickets.issue("customer:c-1", b"x") for _ in range(OPEN_MAX)]
    assert all(mine)
    assert await tickets.issue("customer:c-1", b"x") == ""
    assert await tickets.issue("customer:c-2", b"x") != ""
    assert await tickets.take(mine[3]) == b"x"
    assert await tickets.issue("customer:c-1", b"x") != ""


async def test_the_store_holds_no_ticket(make_server: MakeServer) -> None:
    """Given a ticket; then neither it nor its secret stands in the store, and every key of it ends by itself."""
    server = await make_server("store").start()
    client = StoreClient(server.url)
    ticket = await StoreTickets(client).issue("customer:c-1", b"x")
    [keys] = await client.run([("KEYS", "*")])
    assert len(keys) == 2
    text: list[Any] = list(keys)
    for key in keys:
        [life_ms] = await client.run([("PTTL", key)])
        assert 0 < life_ms <= LIFE_MS
    [text_members] = await client.run([("ZRANGE", next(key for key in keys if key.endswith(b"open")), 0, -1)])
    secret = ticket.partition(".")[2].encode()
    assert not any(secret in one for one in [*text, *text_members])
    await client.close()
