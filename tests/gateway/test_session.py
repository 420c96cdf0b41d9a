"""Greeting, events, resume, reset, replacement: one client's session before a scripted hall."""

import asyncio
from collections.abc import Callable

import pytest

from actors.hall import Notice, Subscribed
from dispatch import events, views
from gateway.app import Gateway
from tests.gateway.client import MSGPACK, Visitor
from tests.gateway.stub_hall import StubHall, unavailable

Token = Callable[..., str]
CUSTOMER = "customer:c-1"


def call_view(**changes: object) -> views.CallView:
    known = {
        "call_id": "k-1",
        "state": "connected",
        "customer_id": "c-1",
        "queue_id": "loans",
        "queued_at_ms": 1,
        "due_at_ms": 2,
        "business_reference": "",
        "recording": "off",
        "media": "room",
        "agent_id": "a-1",
        "agent_name": "Li Na",
    }
    return views.CallView(**{**known, **changes})  # type: ignore[arg-type]


def agent_view(agent_id: str = "a-1", name: str = "Li Na") -> views.AgentView:
    return views.AgentView(agent_id, name, {"loans": 3}, "ready", "", "idle", True, 0, 0, 100, [], [], [], 5)


def reserved(**changes: object) -> events.CallReserved:
    known = {
        "at_ms": 7,
        "call_id": "k-1",
        "reservation_id": "r-1",
        "agent_id": "a-1",
        "customer_id": "c-1",
        "queue_id": "loans",
        "attempt": 1,
        "expires_at_ms": 99,
        "waited_ms": 5,
        "why": "longest_idle",
    }
    return events.CallReserved(**{**known, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("subprotocol", ["tellerhall.v1.json", MSGPACK])
async def test_welcome_carries_the_snapshot(visitor: Visitor, token: Token, subprotocol: str) -> None:
    """Given no call; when a customer connects; then the welcome says all that docs/protocol.md names."""
    client = await visitor.greeted(token("customer", "c-1"), subprotocol=subprotocol)
    assert client.socket.protocol == subprotocol
    welcome = client.messages[0]
    assert welcome["v"] == 1
    assert welcome["type"] == "session.welcome"
    assert welcome["data"]["session"] == {"call": None}
    assert {"seq", "server_ms", "ping_ms", "ice_servers", "principal", "role", "gateway_id"} <= set(welcome["data"])
    assert welcome["data"]["principal"] == CUSTOMER


async def test_an_agents_snapshot(visitor: Visitor, stub: StubHall, token: Token) -> None:
    """Given a ringing reservation and a call; when the agent connects; then both are in it, the customer masked."""
    stub.people["customer:c-1"] = {"display_name": "王小明"}
    view = views.SessionView("agent:a-1", 4, agent_view(), reserved(), call_view(), views.WrapUpView("k-0", 9, "timed"))
    stub.subscribed["agent:a-1"] = lambda after: Subscribed(kind="welcome", seq=4, session=view, missed=[])
    client = await visitor.greeted(token("agent", "a-1"))
    session = client.messages[0]["data"]["session"]
    assert session["agent"] == {"id": "a-1", "name": "Li Na", "skills": {"loans": 3}}
    assert session["reservation"]["customer"] == "王**"
    assert session["wrap_up"] == {"call_id": "k-0", "until_ms": 9, "kind": "timed"}
    assert session["call"]["call_id"] == "k-1"
    assert "customer_id" not in str(session)


async def test_events_keep_their_order_behind_a_name_that_is_looked_up(
    visitor: Visitor, stub: StubHall, token: Token
) -> None:
    """Given an unknown agent's name; when accepted, opened and connected come at once; then they arrive in order."""
    stub.views["agent", "a-1"] = agent_view()
    client = await visitor.greeted(token("customer", "c-1"))
    stub.tell(
        CUSTOMER,
        events.CallReserved(1, "k-1", "r-1", "a-1", "c-1", "loans", 1, 9, 0, "x"),
        events.ReservationAccepted(2, "k-1", "r-1", "a-1", 99, 1),
        events.RoomOpened(3, "k-1", 1, "w-1"),
    )
    stub.tell(CUSTOMER, events.CallConnected(4, "k-1", "a-1", "c-1"))
    got = [await client.next() for _ in range(4)]
    assert [one["type"] for one in got] == ["call.ringing", "call.matched", "rtc.room", "call.connected"]
    assert [one["seq"] for one in got] == [1, 2, 3, 4]
    assert got[1]["data"] == {"call_id": "k-1", "agent_name": "Li Na"}
    assert got[1]["at_ms"] == 2
    assert "a-1" not in str(got)


async def test_a_name_that_cannot_be_had_holds_nothing_back(visitor: Visitor, stub: StubHall, token: Token) -> None:
    """Given look-ups that fail, expected or by a bug; then the events come in order without the name."""
    client = await visitor.greeted(token("customer", "c-1"))
    for fault in (unavailable("not_ready"), RuntimeError("bug")):
        stub.fault = fault
        stub.tell(
            CUSTOMER, events.ReservationAccepted(2, "k-1", "r-1", "a-9", 99, 1), events.CallConnected(3, "k-1", "", "")
        )
        matched = await client.next()
        assert matched["data"] == {"call_id": "k-1", "agent_name": ""}
        assert (await client.next())["type"] == "call.connected"


async def test_a_reservation_shows_the_masked_customer(visitor: Visitor, stub: StubHall, token: Token) -> None:
    """Given a name kept apart; when it rings; then the agent sees it masked, and never the customer's id."""
    stub.people["customer:c-1"] = {"display_name": "Ann S."}
    client = await visitor.greeted(token("agent", "a-1"))
    stub.tell("agent:a-1", reserved())
    message = await client.next()
    assert message["type"] == "reservation.new"
    assert message["data"]["customer"] == "A** S."
    assert "c-1" not in str(message["data"])


async def test_resume_gives_the_missed_events(visitor: Visitor, stub: StubHall, token: Token) -> None:
    """Given two missed events; when the client resumes after 3; then resumed comes first and they follow."""
    missed = [
        Notice(CUSTOMER, 4, events.CallConnected(1, "k-1", "a-1", "c-1")),
        Notice(CUSTOMER, 5, events.CallEnded(2, "k-1", "c-1", "loans", "hung_up")),
    ]
    stub.subscribed[CUSTOMER] = lambda after: Subscribed(
        kind="resumed", seq=5, session=None, missed=missed[after - 3 :]
    )
    client = await visitor.greeted(token("customer", "c-1"), resume=3)
    assert client.messages[0]["type"] == "session.resumed"
    assert client.messages[0]["data"]["missed_count"] == 2
    got = [await client.next(), await client.next()]
    assert [(one["type"], one["seq"]) for one in got] == [("call.connected", 4), ("call.ended", 5)]
    assert "wrap_up" not in got[1]["data"]


async def test_a_reset_replaces_what_was_known(visitor: Visitor, stub: StubHall, token: Token) -> None:
    """Given an open session; when the hall says reset; then the snapshot comes, and numbers go on from it."""
    client = await visitor.greeted(token("customer", "c-1"))
    stub.reset(CUSTOMER, views.SessionView(CUSTOMER, 40, call=call_view(state="waiting", position=3)))
    message = await client.next()
    assert message["type"] == "session.reset"
    assert message["data"]["seq"] == 40
    assert message["data"]["session"]["call"]["position"] == 3
    assert "agent_name" not in message["data"]["session"]["call"]
    stub.tell(CUSTOMER, events.CallConnected(1, "k-1", "a-1", "c-1"))
    assert (await client.next())["seq"] == 41


async def test_a_snapshot_shows_no_name_that_was_looked_up_for_what_it_replaced(
    visitor: Visitor, stub: StubHall, token: Token
) -> None:
    """Given the name of a customer who rings being looked up; when a snapshot with another one comes; then it has its name."""
    stub.people = {"customer:c-1": {"display_name": "Ann"}, "customer:c-2": {"display_name": "Bo"}}
    client = await visitor.greeted(token("agent", "a-1"))
    stub.tell("agent:a-1", reserved())
    session = views.SessionView("agent:a-1", 7, agent_view(), reserved(customer_id="c-2"))
    stub.reset("agent:a-1", session)
    assert (await client.next())["data"]["session"]["reservation"]["customer"] == "B**"


@pytest.mark.parametrize("fault", [None, unavailable("not_ready"), RuntimeError("bug")])
async def test_a_call_that_cannot_be_had_holds_nothing_back(
    visitor: Visitor, stub: StubHall, token: Token, fault: Exception | None
) -> None:
    """Given a new owner whose call is gone or cannot be read; then the message comes without it, and what follows too."""
    client = await visitor.greeted(token("agent", "a-1"))
    stub.fault = fault
    moved = events.OwnershipMoved(1, "k-9", "a-2", "a-1", "taken_over", 100)
    stub.tell("agent:a-1", moved, events.CallConnected(2, "k-9", "a-1", "c-1"))
    owner = await client.next()
    assert (owner["type"], owner["data"]["to_agent_id"], "call" in owner["data"]) == ("call.owner", "a-1", False)
    assert (await client.next())["type"] == "call.connected"


async def test_a_repeated_event_is_told_once(visitor: Visitor, stub: StubHall, token: Token) -> None:
    """Given event 1 told; when it is delivered again with event 2; then only 2 follows."""
    client = await visitor.greeted(token("customer", "c-1"))
    stub.tell(CUSTOMER, events.CallConnected(1, "k-1", "a-1", "c-1"))
    stub.seq[CUSTOMER] = 0
    stub.tell(CUSTOMER, events.CallConnected(1, "k-1", "a-1", "c-1"), events.CallMoved(2, "k-1", "a", "b", 3))
    assert [(await client.next())["seq"] for _ in range(2)] == [1, 2]


async def test_a_missing_event_ends_the_connection(visitor: Visitor, stub: StubHall, token: Token) -> None:
    """Given event 1 was lost; when event 2 comes; then 1011: the client resumes and misses nothing."""
    client = await visitor.greeted(token("customer", "c-1"))
    stub.seq[CUSTOMER] = 1
    stub.tell(CUSTOMER, events.CallConnected(1, "k-1", "a-1", "c-1"))
    assert await client.closed() == 1011


async def test_an_event_without_words_keeps_the_numbers(visitor: Visitor, stub: StubHall, token: Token) -> None:
    """Given an event that this role has no message for; then a note carries its number."""
    client = await visitor.greeted(token("customer", "c-1"))
    stub.tell(CUSTOMER, events.CallForgotten(1, "k-1", "c-1"))
    message = await client.next()
    assert (message["type"], message["seq"]) == ("session.note", 1)


async def test_a_newer_connection_replaces_the_older(visitor: Visitor, token: Token) -> None:
    """Given one connection; when the same principal connects again; then the first is closed with 4004."""
    first = await visitor.greeted(token("customer", "c-1"))
    second = await visitor.greeted(token("customer", "c-1"))
    assert await first.closed() == 4004
    assert (await second.ask("call.hang_up", {"call_id": "k"}))["type"] == "ack"


async def test_a_hall_that_is_not_there(visitor: Visitor, stub: StubHall, token: Token) -> None:
    """Given the hall cannot subscribe; when a client connects; then a typed error and 1011 tell it to resume."""
    stub.fault = unavailable("store_unavailable")
    client = await visitor.connect(token("customer", "c-1"))
    assert await client.closed() == 1011
    assert client.messages[0]["type"] == "error"
    assert client.messages[0]["data"]["reason"] == "store_unavailable"


async def test_a_newer_connection_through_another_gateway(visitor: Visitor, stub: StubHall, token: Token) -> None:
    """Given the hall says that another gateway holds the client now; then this connection is closed with 4004."""
    client = await visitor.greeted(token("customer", "c-1"))
    stub.listeners[CUSTOMER][1]([Notice(CUSTOMER, 0, events.Connected(1, CUSTOMER, "g-2", "other"))])
    assert await client.closed() == 4004


async def test_an_agent_who_is_not_in_the_plan(visitor: Visitor, stub: StubHall, token: Token) -> None:
    """Given the division refuses an unknown agent; then the reason is told and 4003 says stop."""
    stub.subscribed["agent:a-9"] = lambda after: Subscribed("refused", 0, None, [], "unknown_recipient")
    client = await visitor.connect(token("agent", "a-9"))
    assert await client.closed() == 4003
    assert client.messages[0]["data"]["reason"] == "unknown_recipient"


async def test_positions_are_told_when_they_change(visitor: Visitor, stub: StubHall, token: Token) -> None:
    """Given a waiting call; then its position comes without a number, again only when it changed, and never after it rings."""
    client = await visitor.greeted(token("customer", "c-1"))
    stub.tell(CUSTOMER, events.CallQueued(1, "k-1", "c-1", "loans", 1, 2))
    await client.until("call.queued")
    stub.position_views = [views.PositionView("k-1", 2, 30_000)]
    update = await client.next()
    assert update["type"] == "queue.update"
    assert update["data"] == {"call_id": "k-1", "position": 2, "estimate_ms": 30_000}
    assert "seq" not in update
    stub.position_views = [views.PositionView("k-1", 1, None)]
    assert (await client.next())["data"]["position"] == 1
    stub.tell(CUSTOMER, events.CallReserved(1, "k-1", "r-1", "a-1", "c-1", "loans", 1, 9, 0, "x"))
    stub.position_views = [views.PositionView("k-1", 5, None)]
    assert (await client.next())["type"] == "call.ringing"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2.2):
            await client.next()


async def test_goaway_then_1001(visitor: Visitor, gateway: Gateway, token: Token) -> None:
    """Given an open session; when the gateway stops; then goaway says resume, and 1001 follows."""
    client = await visitor.greeted(token("customer", "c-1"))
    stopping = asyncio.create_task(gateway.stop())
    message = await client.next()
    assert message["type"] == "session.goaway"
    assert message["data"]["action"] == "resume"
    assert await client.closed() == 1001
    await stopping
