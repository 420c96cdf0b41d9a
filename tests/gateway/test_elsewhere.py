"""A customer whose call goes on in another division, through a real gateway before a real hall of two shards."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from actors.local import LocalHall, local_hall
from dispatch import events, views
from dispatch.plan import AgentPlan, Plan, QueuePlan, Way
from gateway.app import Gateway
from gateway.customer import waiting_after
from gateway.settings import Settings
from gateway.translation import call_of
from tests.gateway.client import Client, Visitor
from tests.gateway.test_call_life import REQUEST
from tests.gateway.test_session import call_view
from tests.waiting import until

Token = Callable[..., str]
LOANS: dict[str, Any] = {"id": "loans", "media": "external", "recording": "off", "wrap_up": "none"}
MAIN = Plan(
    "main",
    [
        QueuePlan(**LOANS, waiting_max=0, need={"loan": 1}, on_full=[Way("overflow", ["east/loans"])]),
        QueuePlan(**{**LOANS, "id": "cards"}),
    ],
    [AgentPlan("m-1", name="Max")],
)
EAST = Plan("east", [QueuePlan(**LOANS)], [AgentPlan("e-1", name="Emma"), AgentPlan("m-1", name="Mia")])


@pytest.fixture
async def local() -> AsyncIterator[LocalHall]:
    async with local_hall(MAIN, None, (EAST,), shards_count=2) as local:
        yield local


@pytest.fixture
async def visitor(local: LocalHall, settings: Settings) -> AsyncIterator[Visitor]:
    hall = local.hall("g-1")
    gateway = Gateway(hall, settings)
    await gateway.start()
    async with aiohttp.ClientSession() as http:
        yield Visitor(http, f"http://127.0.0.1:{gateway.port}")
        await gateway.stop()
    await hall.close()


async def emma(visitor: Visitor, token: Token) -> Client:
    agent = await visitor.greeted(token("agent", "e-1", division_id="east"))
    assert (await agent.ask("agent.state", {"activity": "ready"}))["type"] == "ack"
    return agent


async def matched(visitor: Visitor, token: Token, customer: Client) -> tuple[Client, str]:
    """The customer's call in `east` is accepted there; returns the agent's page and the call."""
    agent = await emma(visitor, token)
    new = (await agent.until("reservation.new"))["data"]
    assert (await agent.ask("reservation.accept", {"reservation_id": new["reservation_id"]}))["type"] == "ack"
    assert (await customer.until("call.matched"))["data"]["agent_name"] == "Emma"
    return agent, new["call_id"]


async def test_a_customers_page_follows_the_call(visitor: Visitor, token: Token) -> None:
    """Given a call that another division takes, then the page hears of it there on the same socket, and ends it there."""
    customer = await visitor.greeted(token("customer", "c-1"))
    assert (await customer.ask("call.request", REQUEST))["type"] == "ack"
    moved = await customer.until("call.handed_over")
    assert moved["data"]["division_id"] == "east"
    admitted = await customer.until("call.queued")
    assert admitted["seq"] == moved["data"]["seq"] + 1
    agent, call_id = await matched(visitor, token, customer)
    assert (await customer.ask("call.hang_up", {"call_id": call_id}))["type"] == "ack"
    assert (await customer.until("call.ended"))["data"]["reason"] == "customer_hung_up"
    assert (await agent.until("call.ended"))["data"]["call_id"] == call_id


@pytest.mark.parametrize("seen", ["all", "before-it-left", "nothing"])
async def test_a_page_that_comes_back_is_led_there(visitor: Visitor, token: Token, seen: str) -> None:
    """Given a connection that dropped after, or before, the call went on, when the page comes back, then it misses nothing."""
    first = await visitor.greeted(token("customer", "c-1"))
    assert (await first.ask("call.request", REQUEST))["type"] == "ack"
    last = (await first.until("call.queued"))["seq"]
    admitted = await first.until(lambda one: one["type"] == "call.queued")
    await first.socket.close()
    resume = {"all": admitted["seq"], "before-it-left": last, "nothing": None}[seen]
    customer = await visitor.greeted(token("customer", "c-1"), resume)
    if seen == "before-it-left":
        moved = await customer.until("call.handed_over")
        assert (await customer.until("call.queued"))["seq"] == moved["data"]["seq"] + 1
    elif seen == "nothing":
        assert customer.messages[0]["data"]["session"]["call"]["state"] == "waiting"
    await matched(visitor, token, customer)
    numbers = [message["seq"] for message in customer.messages if "seq" in message]
    assert numbers == sorted(set(numbers))


async def test_the_next_call_is_asked_for_at_home(visitor: Visitor, token: Token, local: LocalHall) -> None:
    """Given a call that ended elsewhere, when the customer asks again, then at home, and its page hears of that call."""
    customer = await visitor.greeted(token("customer", "c-1"))
    assert (await customer.ask("call.request", REQUEST))["type"] == "ack"
    await customer.until("call.handed_over")
    _, call_id = await matched(visitor, token, customer)
    assert (await customer.ask("call.hang_up", {"call_id": call_id}))["type"] == "ack"
    await customer.until("call.ended")
    for _ in range(100):
        answer = await customer.ask("call.request", REQUEST)
        if answer["type"] == "ack":
            break
        assert answer["data"]["reason"] == "already_in_call", "home has not been told of the end yet"
    again = await customer.until(lambda one: one["type"] == "call.handed_over")
    assert again["data"]["call_id"] == answer["data"]["value"]["call_id"] != call_id


async def test_a_transfer_to_another_division(visitor: Visitor, token: Token) -> None:
    """Given a talk, when its agent transfers it to `east/loans`, then the page is led there; half a name is refused."""
    agent = await visitor.greeted(token("agent", "m-1"))
    assert (await agent.ask("agent.state", {"activity": "ready"}))["type"] == "ack"
    customer = await visitor.greeted(token("customer", "c-1"))
    call_id = (await customer.ask("call.request", {**REQUEST, "queue_id": "cards"}))["data"]["value"]["call_id"]
    new = (await agent.until("reservation.new"))["data"]
    assert (await agent.ask("reservation.accept", {"reservation_id": new["reservation_id"]}))["type"] == "ack"
    assert (await agent.ask("call.connected", {"call_id": call_id}))["type"] == "ack"
    for wrong in ("east/", "/loans", "a/b/c", "east/lo ans"):
        answer = await agent.ask("call.transfer", {"call_id": call_id, "to_queue_id": wrong})
        assert answer["data"]["reason"] == "bad_value", wrong
    answer = await agent.ask("call.transfer", {"call_id": call_id, "to_queue_id": "east/loans"})
    assert answer["data"]["value"] == {"to": "east/loans"}
    await customer.until("call.handing_over")
    assert (await customer.until("call.handed_over"))["data"]["division_id"] == "east"
    await matched(visitor, token, customer)


def test_a_call_on_its_way_waits_for_its_customer() -> None:
    """Given a call between two divisions, then its page sees it waiting, in no line until it is admitted or refused."""
    for state in ("handing_over", "handed_over"):
        assert call_of("customer", call_view(state=state), "").state == "waiting"
    assert isinstance(call_view(), views.CallView)
    left = events.CallHandingOver(1, "k-1", "loans", "east", "loans", 4, 9, "queue_full")
    back = events.HandOverRefused(1, "k-1", 4, "east", "loans", "queue_full")
    assert (waiting_after("k-1", left), waiting_after("", back)) == ("", "k-1")


async def test_ids_of_staff_mean_somebody_else_there(visitor: Visitor, token: Token, local: LocalHall) -> None:
    """Given a call in `east` that agent m-1 of `east` has, when m-1 of `main`, or staff of `main`, ask for it, then no."""
    customer = await visitor.greeted(token("customer", "c-1"))
    assert (await customer.ask("call.request", REQUEST))["type"] == "ack"
    moved = await customer.until("call.handed_over")
    mia = await visitor.greeted(token("agent", "m-1", division_id="east"))
    assert (await mia.ask("agent.state", {"activity": "ready"}))["type"] == "ack"
    new = (await mia.until("reservation.new"))["data"]
    assert (await mia.ask("reservation.accept", {"reservation_id": new["reservation_id"]}))["type"] == "ack"
    call_id = moved["data"]["call_id"]
    max_ = await visitor.greeted(token("agent", "m-1"))
    offer = {"call_id": call_id, "attempt": 1, "sdp": "v=0"}
    assert (await max_.ask("rtc.sdp_offer", offer))["data"]["reason"] == "not_yours"
    answer = await max_.ask("call.hang_up", {"call_id": call_id})
    assert (answer["data"]["reason"], answer["data"]["detail"]) == ("moved", "east")
    path = f"/v1/calls/{call_id}"
    status, problem, _ = await visitor.request("GET", path, token("agent", "m-1"))
    assert (status, problem["reason"]) == (403, "not_yours")
    for role in ("supervisor", "operator"):
        status, document, _ = await visitor.request("GET", path, token(role, "s-1"))
        assert (status, document["state"], document["agent_name"]) == (200, "handed_over", "")
        headers = {"Idempotency-Key": f"k-{role}"}
        status, problem, _ = await visitor.request("DELETE", path, token(role, "s-1"), headers=headers)
        assert (status, problem["reason"]) == (409, "moved")
        body = {"json": {"agent_id": "e-1"}, "headers": {"Idempotency-Key": f"o-{role}"}}
        status, problem, _ = await visitor.request("PUT", f"{path}/owner", token(role, "s-1"), **body)
        assert (status, problem["reason"]) == (409, "moved")
    assert (await mia.ask("call.hang_up", {"call_id": call_id}))["type"] == "ack"


async def test_a_page_that_was_away_learns_of_the_end(visitor: Visitor, token: Token, local: LocalHall) -> None:
    """Given a call that ended elsewhere while its page was away, then the page hears of it: its number is another."""
    first = await visitor.greeted(token("customer", "c-1"))
    call_id = (await first.ask("call.request", REQUEST))["data"]["value"]["call_id"]
    await first.until("call.handed_over")
    admitted = await first.until("call.queued")
    await first.socket.close()
    hall = local.hall("g-2")
    assert (await hall.call(call_id, "east").hang_up()).is_accepted
    main = local.shards[0].divisions["main"].engine.state
    await until(lambda: main.calls[call_id].state == "ended")
    assert main.recipients["customer:c-1"].seq == admitted["seq"], "the same number, of something else"
    customer = await visitor.greeted(token("customer", "c-1"), admitted["seq"])
    greeting = customer.messages[0]
    assert greeting["type"] == "session.reset"
    assert greeting["data"]["session"]["call"]["state"] == "ended"
    await hall.close()


@pytest.mark.parametrize("resume", [True, False])
async def test_a_page_that_finds_its_call_ended_there_asks_at_home(
    visitor: Visitor, token: Token, local: LocalHall, monkeypatch: pytest.MonkeyPatch, resume: bool
) -> None:
    """Given a page that was led to a call which ended there, when home is told late and it asks anew, then it hears of it."""
    first = await visitor.greeted(token("customer", "c-1"))
    call_id = (await first.ask("call.request", REQUEST))["data"]["value"]["call_id"]
    await first.until("call.handed_over")
    last = (await first.until("call.queued"))["seq"]
    await first.socket.close()
    late: list[tuple[str, Any]] = []
    there = local.shards[1]._performer.courier
    with monkeypatch.context() as patch:
        patch.setattr(there, "take", lambda division_id, errand: late.append((division_id, errand)))
        hall = local.hall("g-2")
        assert (await hall.call(call_id, "east").hang_up()).is_accepted
        customer = await visitor.greeted(token("customer", "c-1"), last if resume else None)
        await until(lambda: bool(late))
    there.take(*late[0])
    main = local.shards[0].divisions["main"].engine.state
    await until(lambda: main.calls[call_id].state == "ended")
    answer = await customer.ask("call.request", {**REQUEST, "queue_id": "cards"})
    assert answer["type"] == "ack"
    new_id = answer["data"]["value"]["call_id"]
    queued = await customer.until(lambda one: one["type"] == "call.queued" and one["data"]["call_id"] == new_id)
    assert queued["data"]["queue_id"] == "cards"
    await hall.close()
