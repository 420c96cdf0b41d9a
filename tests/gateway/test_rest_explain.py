"""Over REST: why a call is where it is, an agent's state set by staff, and a customer's record erased."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from actors.hall import Hall
from actors.local import LocalHall, local_hall
from actors.people import People
from actors.store_client import StoreClient
from dispatch.plan import Plan
from gateway.people import customer_reference
from tests.gateway.archiving import ArchivingFollower
from tests.gateway.client import Visitor
from tests.gateway.test_call_life import PLAN, REQUEST, hall, ready_agent, visitor
from tests.gateway.test_talking import done
from tests.journal.conftest import client, store

__all__ = ["client", "hall", "store", "visitor"]
Token = Callable[..., str]


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[LocalHall]:
    async with local_hall(PLAN, others=(Plan(division_id="other"),)) as local:
        follower = ArchivingFollower(local, tmp_path / "archive")
        yield local
        await follower.close()


async def test_a_waiting_call_says_why(visitor: Visitor, token: Token) -> None:
    """Given nobody who is signed in; then the call says so, with names instead of places in an array."""
    customer = await visitor.greeted(token("customer", "c-1"))
    call_id = (await done(customer, "call.request", REQUEST))["call_id"]
    status, body, _ = await visitor.request("GET", f"/v1/calls/{call_id}/explanation", token("supervisor", "s-1"))
    assert status == 200
    assert body["now"]["state"] == "waiting"
    assert body["now"]["position"] == 1
    assert body["now"]["reasons"] == ["nobody_signed_in"]
    assert {one["doing"] for one in body["now"]["groups"]} == {"offline"}
    assert body["decisions"] == []


async def test_a_ringing_call_says_whom_it_asks(visitor: Visitor, token: Token) -> None:
    """Given an agent who is asked; then the rule that chose them stands there, now and among the decisions."""
    agent = await ready_agent(visitor, token)
    customer = await visitor.greeted(token("customer", "c-1"))
    call_id = (await done(customer, "call.request", REQUEST))["call_id"]
    await agent.until("reservation.new")
    _, body, _ = await visitor.request("GET", f"/v1/calls/{call_id}/explanation", token("operator", "o-1"))
    [asked] = body["now"]["asked"]
    assert (asked["agent_id"], asked["rule"]) == ("a-1", "longest_idle")
    [decision] = body["decisions"]
    assert (decision["agent_id"], decision["rule"], decision["outcome"]) == ("a-1", "longest_idle", "pending")


async def test_a_call_that_nobody_knows(visitor: Visitor, token: Token) -> None:
    """Given no such call; then it is unknown."""
    status, body, _ = await visitor.request("GET", "/v1/calls/nothing/explanation", token("operator", "o-1"))
    assert (status, body["reason"]) == (404, "unknown_call")


async def test_staff_set_an_agents_state(visitor: Visitor, token: Token) -> None:
    """Given a ready agent; when a supervisor says so; then they are not ready, with the reason, and are told."""
    agent = await ready_agent(visitor, token)
    path, supervisor = "/v1/agents/a-1/state", token("supervisor", "s-1")
    body = {"activity": "not_ready", "reason": "training"}
    assert (await visitor.request("PUT", path, supervisor, json=body))[:2] == (200, {})
    told = (await agent.until("agent.state"))["data"]
    while told["activity"] != "not_ready":
        told = (await agent.until("agent.state"))["data"]
    assert told["reason"] == "training"
    status, problem, _ = await visitor.request("PUT", path, supervisor, json={"activity": "asleep"})
    assert (status, problem["reason"]) == (400, "bad_value")
    status, problem, _ = await visitor.request("PUT", "/v1/agents/nobody/state", supervisor, json=body)
    assert (status, problem["reason"]) == (404, "unknown_agent")


async def test_a_customers_record_is_erased(visitor: Visitor, token: Token, hall: Hall, client: StoreClient) -> None:
    """Given a name that a customer gave; when an operator erases it; then it is gone, and a repeat finds nothing."""
    hall._people = People(client)
    await hall.remember_person(customer_reference("c-1"), {"name": "Ann Smith"})
    operator = token("operator", "o-1")
    assert (await visitor.request("DELETE", "/v1/customers/c-1", operator))[:2] == (200, {"was_known": True})
    assert await hall.person(customer_reference("c-1")) == {}
    assert (await visitor.request("DELETE", "/v1/customers/c-1", operator))[:2] == (200, {"was_known": False})
    status, problem, _ = await visitor.request("DELETE", "/v1/customers/c-1", token("supervisor", "s-1"))
    assert (status, problem["reason"]) == (403, "wrong_role")
