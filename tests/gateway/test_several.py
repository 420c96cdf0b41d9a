"""Several people asked at once: parallel reservations and joint needs, through a real gateway and the real engine."""

from collections.abc import AsyncIterator, Callable

import pytest

from actors.local import LocalHall, local_hall
from dispatch.plan import AgentPlan, Plan, QueuePlan
from tests.gateway.client import Client, Visitor
from tests.gateway.test_call_life import hall, ready_agent, visitor
from tests.gateway.test_talking import done

__all__ = ["hall", "visitor"]
Token = Callable[..., str]
PLAN = Plan(
    division_id="main",
    queues=[
        QueuePlan(id="many", media="external", recording="off", wrap_up="none", reservations_max=3),
        QueuePlan(id="pair", media="external", recording="off", wrap_up="none", joint_need={"expert": 1}),
    ],
    agents=[AgentPlan("a-1", name="Li Na"), AgentPlan("a-2", name="Ben"), AgentPlan("e-1", {"expert": 5}, "Eva")],
)


@pytest.fixture
async def local() -> AsyncIterator[LocalHall]:
    async with local_hall(PLAN) as local:
        yield local


async def rung(visitor: Visitor, token: Token, queue_id: str) -> tuple[Client, dict[str, Client], dict[str, str]]:
    """A call of c-1 in the queue, with everybody ready: (customer, agents by id, their reservations by id)."""
    agents = {agent_id: await ready_agent(visitor, token, agent_id) for agent_id in ("a-1", "a-2", "e-1")}
    customer = await visitor.greeted(token("customer", "c-1"))
    await done(customer, "call.request", {"queue_id": queue_id})
    asked = ["a-1", "a-2", "e-1"] if queue_id == "many" else ["a-1", "e-1"]
    news = {one: (await agents[one].until("reservation.new"))["data"] for one in asked}
    return customer, agents, {agent_id: new["reservation_id"] for agent_id, new in news.items()}


def told(client: Client) -> list[str]:
    """What a client was told of its call, in order and without a gap in the numbers."""
    numbered = [one for one in client.messages if "seq" in one]
    assert [one["seq"] for one in numbered] == list(range(numbered[0]["seq"], numbered[0]["seq"] + len(numbered)))
    return [one["type"] for one in numbered]


async def test_the_first_who_accepts_has_it(visitor: Visitor, token: Token) -> None:
    """Given three who are asked; when one declines and one accepts; then the third is let go; the customer heard one ring."""
    customer, agents, reservations = await rung(visitor, token, "many")
    await done(agents["a-1"], "reservation.decline", {"reservation_id": reservations["a-1"]})
    await done(agents["e-1"], "reservation.accept", {"reservation_id": reservations["e-1"]})
    assert (await agents["a-2"].until("reservation.closed"))["data"]["outcome"] == "rescinded"
    late = await agents["a-2"].ask("reservation.accept", {"reservation_id": reservations["a-2"]})
    assert late["data"]["reason"] == "not_pending"
    assert (await customer.until("call.matched"))["data"]["agent_name"] == "Eva"
    assert told(customer) == ["call.queued", "call.ringing", "call.matched"]


async def test_it_waits_again_once_nobody_is_asked(visitor: Visitor, token: Token) -> None:
    """Given three who are asked; when all decline; then the customer hears once that the call waits."""
    customer, agents, reservations = await rung(visitor, token, "many")
    for agent_id, reservation_id in reservations.items():
        await done(agents[agent_id], "reservation.decline", {"reservation_id": reservation_id})
    assert (await customer.until("queue.update"))["data"]["position"] == 1
    assert told(customer) == ["call.queued", "call.ringing", "call.waiting"]


async def test_two_people_or_nobody(visitor: Visitor, token: Token) -> None:
    """Given a call that needs two; when both accept; then one owns it and the other is in it, and all know who is who."""
    customer, agents, reservations = await rung(visitor, token, "pair")
    await done(agents["e-1"], "reservation.accept", {"reservation_id": reservations["e-1"]})
    for agent_id in ("a-1", "e-1"):
        assert (await agents[agent_id].until("reservation.joint"))["data"]["agent_id"] == "e-1"
    await done(agents["a-1"], "reservation.accept", {"reservation_id": reservations["a-1"]})
    assert (await agents["a-1"].until("reservation.accepted"))["data"]["reservation_id"] == reservations["a-1"]
    roles = [(await agents["e-1"].until("party.added"))["data"] for _ in range(2)]
    assert [(one["agent_id"], one["party_role"]) for one in roles] == [("a-1", "agent"), ("e-1", "expert")]
    assert (await customer.until("call.matched"))["data"]["agent_name"] == "Li Na"
    assert (await customer.until("party.added"))["data"]["agent_name"] == "Eva"
    assert told(customer) == ["call.queued", "call.ringing", "session.note", "call.matched", "party.added"]


async def test_one_of_two_declines(visitor: Visitor, token: Token) -> None:
    """Given a call that needs two; when one has accepted and the other is busy; then both are free and the call waits."""
    customer, agents, reservations = await rung(visitor, token, "pair")
    await done(agents["a-1"], "reservation.accept", {"reservation_id": reservations["a-1"]})
    await done(agents["e-1"], "reservation.decline", {"reservation_id": reservations["e-1"], "is_busy": True})
    closed = (await agents["a-1"].until("reservation.closed"))["data"]
    assert (closed["outcome"], closed["reason"]) == ("rescinded", "partner_busy")
    assert (await customer.until("call.waiting"))["data"]["reason"] == "rescinded"
