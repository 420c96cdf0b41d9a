"""Customers and agents through a real gateway before a real hall: engine, shard, mailboxes and feeds, in this process."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from actors.hall import Hall
from actors.local import LocalHall, local_hall
from dispatch.model import ANSWERS_MAX
from dispatch.plan import AgentPlan, Plan, QueuePlan
from gateway.app import Gateway
from gateway.development_issuer import DevelopmentIssuer
from gateway.settings import Settings
from tests.gateway.client import JSON, MSGPACK, Client, Visitor

Token = Callable[..., str]
PLAN = Plan(
    division_id="main",
    queues=[
        QueuePlan(id="loans", media="external", recording="off", wrap_up="until_done", reservation_timeout_ms=1_000),
        QueuePlan(id="cards", recording="required", need={"cards": 1}),
    ],
    agents=[AgentPlan(id="a-1", name="Li Na"), AgentPlan(id="a-2", name="Ben")],
    reconnect_grace_ms=5_000,
)
REQUEST = {"queue_id": "loans", "is_consented": True, "business_reference": "b-7"}


@pytest.fixture
async def local() -> AsyncIterator[LocalHall]:
    async with local_hall(PLAN) as local:
        yield local


@pytest.fixture
async def hall(local: LocalHall) -> AsyncIterator[Hall]:
    hall = local.hall("g-1")
    yield hall
    await hall.close()


@pytest.fixture
async def visitor(hall: Hall, settings: Settings) -> AsyncIterator[Visitor]:
    gateway = Gateway(hall, settings)
    await gateway.start()
    async with aiohttp.ClientSession() as http:
        yield Visitor(http, f"http://127.0.0.1:{gateway.port}")
        await gateway.stop()


async def ready_agent(visitor: Visitor, token: Token, agent_id: str = "a-1", subprotocol: str = JSON) -> Client:
    """Connect an agent and make it ready."""
    agent = await visitor.greeted(token("agent", agent_id), subprotocol=subprotocol)
    assert (await agent.ask("agent.state", {"activity": "ready"}))["type"] == "ack"
    return agent


async def ringing(visitor: Visitor, token: Token) -> tuple[Client, Client, str, str]:
    """Bring a customer's call to ring at agent a-1: (customer, agent, call id, reservation id)."""
    agent = await ready_agent(visitor, token)
    customer = await visitor.greeted(token("customer", "c-1"))
    answer = await customer.ask("call.request", REQUEST)
    new = await agent.until("reservation.new")
    assert new["data"]["call_id"] == answer["data"]["value"]["call_id"]
    return customer, agent, new["data"]["call_id"], new["data"]["reservation_id"]


def events_of(client: Client) -> list[str]:
    """The numbered messages a client got, whose numbers must have no gap."""
    numbered = [message for message in client.messages if "seq" in message]
    numbers = [message["seq"] for message in numbered]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    return [message["type"] for message in numbered]


@pytest.mark.parametrize(("customer_speaks", "agent_speaks"), [(JSON, MSGPACK), (MSGPACK, JSON)])
async def test_a_whole_call(visitor: Visitor, token: Token, customer_speaks: str, agent_speaks: str) -> None:
    """Given a ready agent; when a customer asks; then ring, accept, connect, hang up and wrap-up, each told to both."""
    agent = await ready_agent(visitor, token, subprotocol=agent_speaks)
    customer = await visitor.greeted(token("customer", "c-1"), subprotocol=customer_speaks)
    call_id = (await customer.ask("call.request", REQUEST))["data"]["value"]["call_id"]
    new = (await agent.until("reservation.new"))["data"]
    assert (new["call_id"], new["queue_id"], new["business_reference"]) == (call_id, "loans", "b-7")
    assert new["customer"].startswith("***")
    assert new["why"]
    accept = await agent.ask("reservation.accept", {"reservation_id": new["reservation_id"]})
    assert accept["type"] == "ack"
    matched = await customer.until("call.matched")
    assert matched["data"]["agent_name"] == "Li Na"
    assert (await agent.ask("call.connected", {"call_id": call_id}))["type"] == "ack"
    await customer.until("call.connected")
    assert (await customer.ask("call.hang_up", {"call_id": call_id}))["type"] == "ack"
    ended = await agent.until("call.ended")
    assert ended["data"]["wrap_up"] == "until_done"
    assert (await agent.ask("wrapup.extend", {"call_id": call_id, "extra_ms": 1_000}))["type"] in ("ack", "error")
    assert (await agent.ask("wrapup.done", {"call_id": call_id}))["type"] == "ack"
    await agent.until("wrapup.ended")
    if "call.ended" not in events_of(customer):
        await customer.until("call.ended")
    assert events_of(customer) == ["call.queued", "call.ringing", "call.matched", "call.connected", "call.ended"]
    told = events_of(agent)
    order = ["agent.state", "reservation.new", "reservation.accepted", "call.connected", "call.ended", "wrapup.ended"]
    assert [one for one in told if one in order] == order
    assert "session.note" not in told


async def test_history_and_views_over_rest(visitor: Visitor, token: Token) -> None:
    """Given a call in progress; then REST shows it to its parties and staff, and its history in order."""
    customer, agent, call_id, reservation_id = await ringing(visitor, token)
    await agent.ask("reservation.accept", {"reservation_id": reservation_id})
    await agent.ask("call.connected", {"call_id": call_id})
    _, shown, _ = await visitor.request("GET", f"/v1/calls/{call_id}", token("customer", "c-1"))
    assert (shown["state"], shown["agent_name"]) == ("connected", "Li Na")
    status, problem, _ = await visitor.request("GET", f"/v1/calls/{call_id}", token("customer", "c-2"))
    assert (status, problem["reason"]) == (403, "not_yours")
    status, problem, _ = await visitor.request("GET", f"/v1/calls/{call_id}", token("agent", "a-2"))
    assert (status, problem["reason"]) == (403, "not_yours")
    _, agents, _ = await visitor.request("GET", "/v1/agents", token("supervisor", "s-1"))
    assert {one["agent_id"]: one["occupation"] for one in agents["agents"]} == {"a-1": "in_call", "a-2": "idle"}
    _, queue, _ = await visitor.request("GET", "/v1/queues/loans", token("supervisor", "s-1"))
    assert queue["live_calls"]["connected"] == 1
    status, _, _ = await visitor.request("DELETE", f"/v1/calls/{call_id}", token("supervisor", "s-1"))
    assert status == 200
    await customer.until("call.ended")
    _, history, _ = await visitor.request("GET", f"/v1/calls/{call_id}/history", token("supervisor", "s-1"))
    types = [one["type"] for one in history["events"]]
    order = ["call_queued", "call_reserved", "reservation_accepted", "call_connected", "call_ended"]
    assert [one for one in types if one in order] == order
    assert (await visitor.request("GET", "/readyz"))[0] == 200


async def test_strangers_are_refused(visitor: Visitor, token: Token) -> None:
    """SAFETY.md 12: given a ringing call; then another customer and another agent can do nothing with it."""
    customer, _, call_id, reservation_id = await ringing(visitor, token)
    stranger = await visitor.greeted(token("customer", "c-2"))
    other = await visitor.greeted(token("agent", "a-2"))

    async def reason(client: Client, type_: str, data: dict[str, Any]) -> str:
        answer = await client.ask(type_, data)
        assert answer["type"] == "error"
        return str(answer["data"]["reason"])

    offer = {"call_id": call_id, "attempt": 1, "sdp": "v=0"}
    assert await reason(stranger, "call.hang_up", {"call_id": call_id}) == "not_yours"
    assert await reason(stranger, "rtc.sdp_offer", offer) == "not_yours"
    assert await reason(other, "rtc.sdp_offer", offer) == "not_yours"
    assert await reason(other, "reservation.accept", {"reservation_id": reservation_id}) == "not_yours"
    assert await reason(other, "reservation.decline", {"reservation_id": reservation_id}) == "not_yours"
    assert await reason(other, "call.connected", {"call_id": call_id}) in ("not_yours", "wrong_state")
    assert await reason(other, "call.hang_up", {"call_id": call_id}) == "not_yours"
    assert await reason(other, "reservation.accept", {"reservation_id": "r-none"}) == "not_yours"
    assert await reason(other, "wrapup.done", {"call_id": call_id}) in ("not_in_wrap_up", "not_yours")
    assert await reason(stranger, "call.hang_up", {"call_id": "none"}) == "not_yours"
    status, problem, _ = await visitor.request("DELETE", f"/v1/calls/{call_id}", token("customer", "c-2"))
    assert (status, problem["reason"]) == (403, "not_yours")
    assert await reason(customer, "rtc.sdp_offer", offer) == "wrong_state"


async def test_a_late_accept(visitor: Visitor, token: Token) -> None:
    """Given a reservation that expired; when the agent accepts it; then it is refused by name and nothing is bridged."""
    _, agent, _, reservation_id = await ringing(visitor, token)
    closed = await agent.until("reservation.closed")
    assert closed["data"]["outcome"] == "expired"
    error = await agent.ask("reservation.accept", {"reservation_id": reservation_id})
    assert (error["type"], error["data"]["reason"]) == ("error", "not_pending")


async def test_repeats_are_harmless(visitor: Visitor, token: Token) -> None:
    """SAFETY.md 6: given a request; when it is repeated over WebSocket and REST; then the same call and one only."""
    customer = await visitor.greeted(token("customer", "c-1"))
    first = await customer.ask("call.request", REQUEST, "one")
    again = await customer.ask("call.request", REQUEST, "one")
    assert again["data"] == first["data"]
    await customer.socket.close()
    customer = await visitor.greeted(token("customer", "c-1"))
    assert (await customer.ask("call.request", REQUEST, "one"))["data"] == first["data"]
    second = await customer.ask("call.request", REQUEST, "two")
    assert second["data"]["reason"] == "already_in_call"
    assert second["data"]["detail"] == first["data"]["value"]["call_id"]
    headers = {"Idempotency-Key": "rest-1"}
    made = [
        await visitor.request("POST", "/v1/calls", token("customer", "c-3"), json=REQUEST, headers=headers)
        for _ in range(2)
    ]
    assert [status for status, _, _ in made] == [201, 201]
    assert made[0][1] == made[1][1]
    _, queue, _ = await visitor.request("GET", "/v1/queues/loans", token("operator", "o-1"))
    assert queue["waiting_count"] == 2


async def test_a_back_ends_key_outlives_whatever_it_does_besides(visitor: Visitor, token: Token) -> None:
    """SAFETY.md 6: given a call that one key asked for; when its owner does more than is remembered of a client, and repeats;
    then the answer is the first one, also after the call's end: no second call."""
    operator, body = token("operator", "bank"), {**REQUEST, "customer_id": "c-1"}

    async def ask(method: str, path: str, key: str, **more: Any) -> tuple[int, Any]:
        status, answer, _ = await visitor.request(method, path, operator, headers={"Idempotency-Key": key}, **more)
        return status, answer

    first = await ask("POST", "/v1/calls", "first", json=body)
    assert first[0] == 201
    for number in range(ANSWERS_MAX + 1):
        assert (await ask("DELETE", "/v1/calls/none", f"other-{number}"))[0] == 404
    assert await ask("POST", "/v1/calls", "first", json=body) == first
    assert (await ask("DELETE", f"/v1/calls/{first[1]['call_id']}", "end"))[0] == 200
    assert await ask("POST", "/v1/calls", "first", json=body) == first
    _, queue, _ = await visitor.request("GET", "/v1/queues/loans", operator)
    assert queue["waiting_count"] == 0


async def test_a_clients_id_takes_no_room_among_the_keys(visitor: Visitor, token: Token) -> None:
    """Given an id that looks like a key of REST as the hall keeps it for a day; then it is refused: clients could fill that."""
    customer = await visitor.greeted(token("customer", "c-1"))
    answer = await customer.ask("call.request", REQUEST, "key:1")
    assert (answer["type"], answer["data"]["reason"]) == ("error", "bad_value")
    assert (await customer.ask("call.request", REQUEST, "key"))["type"] == "ack"


async def test_refusals_have_reasons(visitor: Visitor, token: Token) -> None:
    """Given requests that cannot be; then each is refused by name."""
    customer = await visitor.greeted(token("customer", "c-1"))
    answer = await customer.ask("call.request", {"queue_id": "none"})
    assert answer["data"]["reason"] == "unknown_queue"
    answer = await customer.ask("call.request", {"queue_id": "cards", "is_consented": False})
    assert answer["data"]["reason"] == "consent_required"
    stranger = await visitor.connect(token("agent", "a-99"))
    assert await stranger.closed() == 4003


async def test_a_reload_resumes(visitor: Visitor, token: Token) -> None:
    """Given a waiting call; when the page reloads, with and without its number; then it misses nothing."""
    customer = await visitor.greeted(token("customer", "c-1"))
    call_id = (await customer.ask("call.request", REQUEST))["data"]["value"]["call_id"]
    if not any("seq" in message for message in customer.messages):
        await customer.until("call.queued")
    seq = max(message["seq"] for message in customer.messages if "seq" in message)
    await customer.socket.close()
    customer = await visitor.greeted(token("customer", "c-1"), resume=seq)
    assert customer.messages[0]["type"] == "session.resumed"
    assert customer.messages[0]["data"]["missed_count"] == 0
    update = await customer.until("queue.update")
    assert (update["data"]["call_id"], update["data"]["position"]) == (call_id, 1)
    customer = await visitor.greeted(token("customer", "c-1"))
    call = customer.messages[0]["data"]["session"]["call"]
    assert (call["call_id"], call["state"], call["position"]) == (call_id, "waiting", 1)
    agent = await ready_agent(visitor, token)
    await agent.until("reservation.new")
    await customer.socket.close()
    customer = await visitor.greeted(token("customer", "c-1"), resume=seq)
    assert (await customer.next())["type"] == "call.ringing"
    customer = await visitor.greeted(token("customer", "c-1"), resume=seq + 1_000)
    assert customer.messages[0]["type"] == "session.reset"
    customer = await visitor.greeted(token("customer", "c-1"), resume=0)
    assert customer.messages[0]["data"]["missed_count"] >= 2


async def test_an_agents_reload_shows_the_ringing_reservation(visitor: Visitor, token: Token) -> None:
    """Given a ringing reservation; when the desktop reloads; then the snapshot rings."""
    _, _, call_id, reservation_id = await ringing(visitor, token)
    agent = await visitor.greeted(token("agent", "a-1"))
    session = agent.messages[0]["data"]["session"]
    assert session["activity"] == "ready"
    assert session["agent"]["name"] == "Li Na"
    assert session["reservation"]["reservation_id"] == reservation_id
    assert session["reservation"]["call_id"] == call_id


async def test_two_gateways_one_client(
    local: LocalHall, visitor: Visitor, token: Token, tmp_path: Path, issuer: DevelopmentIssuer
) -> None:
    """Given a session here; when the client connects through another gateway; then the old one gets 4004, numbers go on."""
    customer = await visitor.greeted(token("customer", "c-1"))
    await customer.ask("call.request", REQUEST)
    hall = local.hall("g-2")
    gateway = Gateway(hall, Settings(keys_folder=tmp_path / "keys", gateway_id="g-2", stop_ms=100))
    await gateway.start()
    elsewhere = Visitor(visitor.http, f"http://127.0.0.1:{gateway.port}")
    moved = await elsewhere.greeted(token("customer", "c-1"), resume=0)
    assert moved.messages[0]["type"] == "session.resumed"
    assert (await moved.next())["type"] == "call.queued"
    assert await customer.closed() == 4004
    await gateway.stop()
    await hall.close()


async def test_a_shard_that_dies_is_a_pause(local: LocalHall, visitor: Visitor, token: Token) -> None:
    """Given a ringing call; when the shard is lost and comes back; then the clients keep their connections and go on."""
    customer, agent, call_id, reservation_id = await ringing(visitor, token)
    await local.kill_shard()
    asking = asyncio.create_task(agent.ask("reservation.accept", {"reservation_id": reservation_id}))
    await asyncio.sleep(0.2)
    await local.start_shard()
    assert (await asking)["type"] in ("ack", "error")
    if "call.matched" not in events_of(customer):
        await customer.until(lambda message: message["type"] in ("call.matched", "call.waiting"))
    answer = await customer.ask("call.hang_up", {"call_id": call_id})
    assert answer["type"] == "ack"
    await customer.until("call.ended")
    events_of(customer)
    events_of(agent)
