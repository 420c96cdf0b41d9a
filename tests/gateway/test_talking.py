"""Transfer, further parties, hold, supervision, callbacks and invitations through a real gateway and the real engine."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from gateway.client_messages import CLIENT_TYPES, CallRequest, CallTransfer, CustomerInvite
from gateway.codec import CODECS, Codec
from gateway.refusals import KNOWN_REASONS, Refused
from tests.gateway.client import JSON, Client, Visitor
from tests.gateway.test_call_life import PLAN, REQUEST, hall, local, ready_agent, ringing, visitor

__all__ = ["hall", "local", "visitor"]
Token = Callable[..., str]


async def connected(visitor: Visitor, token: Token) -> tuple[Client, Client, str]:
    """A call of c-1 that talks with a-1: (customer, agent, call id)."""
    customer, agent, call_id, reservation_id = await ringing(visitor, token)
    assert (await agent.ask("reservation.accept", {"reservation_id": reservation_id}))["type"] == "ack"
    assert (await agent.ask("call.connected", {"call_id": call_id}))["type"] == "ack"
    await customer.until("call.connected")
    await agent.until("call.connected")
    return customer, agent, call_id


async def done(client: Client, type_: str, data: dict[str, Any]) -> dict[str, Any]:
    """Ask and expect an ack; returns its value."""
    answer = await client.ask(type_, data)
    assert answer["type"] == "ack", answer
    value: dict[str, Any] = answer["data"]["value"]
    return value


async def joined(visitor: Visitor, token: Token, agent: Client, call_id: str, role: str = "consult") -> Client:
    """Agent a-2 comes into the call."""
    other = await ready_agent(visitor, token, "a-2")
    assert await done(agent, "party.invite", {"call_id": call_id, "role": role, "to_agent_id": "a-2"}) == {
        "agent_id": "a-2"
    }
    new = (await other.until("reservation.new"))["data"]
    assert (new["party_role"], new["call_id"]) == (role, call_id)
    await agent.until("party.ringing")
    await done(other, "reservation.accept", {"reservation_id": new["reservation_id"]})
    assert (await other.until("party.added"))["data"]["agent_id"] == "a-2"
    await agent.until("party.added")
    return other


async def test_hold(visitor: Visitor, token: Token) -> None:
    """Given a call; when the agent holds it; then both are told until when, and again when it is over."""
    customer, agent, call_id = await connected(visitor, token)
    await done(agent, "call.hold", {"call_id": call_id, "is_held": True})
    held = (await customer.until("call.hold"))["data"]
    assert held["is_held"]
    assert held["until_ms"] > 0
    _, shown, _ = await visitor.request("GET", f"/v1/calls/{call_id}", token("customer", "c-1"))
    assert shown["on_hold_until_ms"] == held["until_ms"]
    await done(agent, "call.hold", {"call_id": call_id, "is_held": False})
    assert not (await customer.until("call.hold"))["data"]["is_held"]


async def test_a_script_is_shown_and_answered(visitor: Visitor, token: Token) -> None:
    """Given a call; when the agent shows a step; then customer and agent have it word for word, and each answer once."""
    customer, agent, call_id = await connected(visitor, token)
    text = "此产品可能亏损。\nDo you agree?"
    step = {"call_id": call_id, "step_id": "risk/3", "text": text, "answers": ["yes", "no"]}
    assert await done(agent, "script.step", step) == {"number": 1}
    shown = (await customer.until("script.step"))["data"]
    assert shown == {**step, "number": 1}
    assert (await agent.until("script.step"))["data"] == shown
    assert (await customer.ask("script.step", step))["data"]["reason"] == "wrong_role"
    assert (await agent.ask("script.answer", {"call_id": call_id, "number": 1, "answer": "yes"}))["type"] == "error"
    wrong = await customer.ask("script.answer", {"call_id": call_id, "number": 1, "answer": "perhaps"})
    assert wrong["data"]["reason"] == "bad_value"
    assert await done(customer, "script.answer", {"call_id": call_id, "number": 1, "answer": "yes"}) == {}
    answered = {"call_id": call_id, "number": 1, "step_id": "risk/3", "answer": "yes"}
    assert (await agent.until("script.answer"))["data"] == answered
    again = await customer.ask("script.answer", {"call_id": call_id, "number": 1, "answer": "no"})
    assert again["data"]["reason"] == "already_answered"
    for role, who in (("customer", "c-1"), ("agent", "a-1")):
        _, call, _ = await visitor.request("GET", f"/v1/calls/{call_id}", token(role, who))
        assert call["script"] == {
            "number": 1,
            "step_id": "risk/3",
            "text": text,
            "answers": ["yes", "no"],
            "answer": "yes",
        }
    assert await done(agent, "script.step", {**step, "answers": []}) == {"number": 2}
    late = await customer.ask("script.answer", {"call_id": call_id, "number": 1, "answer": "yes"})
    assert late["data"]["reason"] == "step_replaced"


async def test_a_consulted_transfer(visitor: Visitor, token: Token) -> None:
    """Given a-2 who consults; when the transfer is completed; then a-2 gets the call, a-1 the wrap-up, the customer a name."""
    customer, agent, call_id = await connected(visitor, token)
    other = await joined(visitor, token, agent, call_id)
    status, problem, _ = await visitor.request("GET", f"/v1/calls/{call_id}", token("agent", "a-2"))
    assert (status, problem["parties"][0]["role"]) == (200, "consult")
    await done(agent, "transfer.complete", {"call_id": call_id, "to_agent_id": "a-2"})
    assert (await customer.until("call.owner"))["data"] == {"call_id": call_id, "agent_name": "Ben"}
    own = (await other.until("call.owner"))["data"]
    assert (own["call"]["agent_id"], own["call"]["customer"], own["call"]["state"]) == ("a-2", "***", "connected")
    former = (await agent.until("call.owner"))["data"]
    assert (former["to_agent_id"], former["wrap_up"]) == ("a-2", "until_done")
    assert "call" not in former
    assert (await agent.ask("call.hang_up", {"call_id": call_id}))["data"]["reason"] == "not_yours"
    await done(other, "call.hang_up", {"call_id": call_id})
    assert (await customer.until("call.ended"))["data"]["reason"] == "agent_hung_up"
    types = [one["type"] for one in customer.messages]
    assert "party.added" not in types  # of a consultation the customer hears nothing
    for client in (customer, agent, other):
        numbers = [one["seq"] for one in client.messages if "seq" in one]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


async def test_a_party_leaves_and_is_removed(visitor: Visitor, token: Token) -> None:
    """Given an expert in the call; when they leave and are rung anew and called off; then both pages know why."""
    customer, agent, call_id = await connected(visitor, token)
    other = await joined(visitor, token, agent, call_id, "expert")
    assert (await customer.until("party.added"))["data"] == {
        "call_id": call_id,
        "party_role": "expert",
        "agent_name": "Ben",
    }
    await done(other, "party.remove", {"call_id": call_id})
    left = (await agent.until("party.removed"))["data"]
    assert (left["agent_id"], left["reason"], left["wrap_up"]) == ("a-2", "left", "until_done")
    assert (await customer.until("party.removed"))["data"] == {
        "call_id": call_id,
        "party_role": "expert",
        "reason": "left",
    }
    await done(other, "wrapup.done", {"call_id": call_id})
    body = {"role": "third", "to_agent_id": "a-2"}
    path = f"/v1/calls/{call_id}/parties"
    assert (await visitor.request("POST", path, token("supervisor", "s-1"), json=body))[0] == 200
    await other.until("reservation.new")
    assert (await visitor.request("DELETE", f"{path}/a-2", token("supervisor", "s-1")))[0] == 200
    assert (await other.until("reservation.closed"))["data"]["outcome"] == "rescinded"
    assert (await agent.until("party.removed"))["data"] == {
        "call_id": call_id,
        "reason": "rescinded",
        "agent_id": "a-2",
    }


async def test_a_blind_transfer_to_an_agent(visitor: Visitor, token: Token) -> None:
    """Given a-2 who is free; when the call is given there; then a-1 is in wrap-up and the call rings at a-2."""
    customer, agent, call_id = await connected(visitor, token)
    refused = await agent.ask("call.transfer", {"call_id": call_id, "to_agent_id": "a-2"})
    assert refused["data"]["reason"] == "agent_unavailable"
    other = await ready_agent(visitor, token, "a-2")
    assert await done(agent, "call.transfer", {"call_id": call_id, "to_agent_id": "a-2"}) == {"queue_id": "loans"}
    gone = (await agent.until("call.transferred"))["data"]
    assert (gone["wrap_up"], gone["wrap_up_until_ms"] > 0) == ("until_done", True)
    assert "wrap_up" not in (await customer.until("call.transferred"))["data"]
    await done(
        other,
        "reservation.accept",
        {"reservation_id": (await other.until("reservation.new"))["data"]["reservation_id"]},
    )
    assert (await customer.until("call.matched"))["data"]["agent_name"] == "Ben"


async def test_a_transferred_customer_hears_the_position_again(visitor: Visitor, token: Token) -> None:
    """Given a call that is given back into its queue, where nobody is free; then its position is told."""
    customer, agent, call_id = await connected(visitor, token)
    body = {"to_queue_id": "loans"}
    path = f"/v1/calls/{call_id}/transfer"
    assert (await visitor.request("POST", path, token("agent", "a-1"), json=body))[0] == 200
    await agent.until("call.transferred")
    update = (await customer.until("queue.update"))["data"]
    assert (update["call_id"], update["position"]) == (call_id, 1)


async def test_staff_take_over_and_listen(visitor: Visitor, token: Token) -> None:
    """Given a supervisor; when they listen and then take over for a-2; then ownership moves and the customer gets the name."""
    customer, agent, call_id = await connected(visitor, token)
    path = f"/v1/calls/{call_id}"
    staff = token("supervisor", "s-1")
    for mode in ("monitor", "whisper", "barge", ""):
        assert (await visitor.request("PUT", f"{path}/supervision", staff, json={"mode": mode}))[0] == 200
        _, shown, _ = await visitor.request("GET", path, staff)
        assert shown["supervisors"] == ({"s-1": mode} if mode else {})
    other = {"mode": "monitor", "supervisor_id": "s-2"}
    status, problem, _ = await visitor.request("PUT", f"{path}/supervision", staff, json=other)
    assert (status, problem["reason"]) == (403, "not_yours")
    operator = token("operator", "o-1")
    assert (await visitor.request("PUT", f"{path}/supervision", operator, json={"mode": "barge"}))[0] == 400
    assert (await visitor.request("PUT", f"{path}/supervision", operator, json=other))[0] == 200
    status, problem, _ = await visitor.request("PUT", f"{path}/owner", staff, json={"agent_id": "a-2"})
    assert (status, problem["reason"]) == (409, "agent_unavailable")
    taking = await ready_agent(visitor, token, "a-2")
    assert (await visitor.request("PUT", f"{path}/owner", staff, json={"agent_id": "a-2"}))[0] == 200
    assert (await taking.until("call.owner"))["data"]["reason"] == "taken_over"
    assert (await agent.until("call.owner"))["data"]["wrap_up"] == "until_done"
    assert (await customer.until("call.owner"))["data"]["agent_name"] == "Ben"


async def test_priority_over_rest(visitor: Visitor, token: Token) -> None:
    """Given two who wait; when staff give the second one credit; then it is first; a customer may not."""
    first = await visitor.greeted(token("customer", "c-1"))
    await done(first, "call.request", REQUEST)
    body = {**REQUEST, "customer_id": "c-2", "region": "gz", "excluded_agent_ids": ["a-1"]}
    status, made, _ = await visitor.request("POST", "/v1/calls", token("supervisor", "s-1"), json=body)
    assert status == 201
    path = f"/v1/calls/{made['call_id']}"
    assert (await visitor.request("PATCH", path, token("customer", "c-2"), json={"credit_ms": 1}))[0] == 403
    assert (await visitor.request("PATCH", path, token("supervisor", "s-1"), json={"credit_ms": 90_000}))[0] == 200
    _, shown, _ = await visitor.request("GET", path, token("supervisor", "s-1"))
    assert (shown["position"], shown["credit_ms"], shown["is_absolute"]) == (1, 90_000, False)
    status, problem, _ = await visitor.request("PATCH", path, token("operator", "o-1"), json={"credit_ms": 90_001})
    assert (status, problem["reason"]) == (400, "bad_value")
    assert "90000" in problem["detail"]


async def test_wishes_that_are_not_a_customers(visitor: Visitor, token: Token) -> None:
    """Given a customer who asks for priority or for one agent alone; then not_yours; an operator may."""
    for wish in ({"credit_ms": 1}, {"is_absolute": True}, {"required_agent_id": "a-1"}):
        status, problem, _ = await visitor.request(
            "POST", "/v1/calls", token("customer", "c-1"), json={**REQUEST, **wish}
        )
        assert (status, problem["reason"]) == (403, "not_yours")
    body = {**REQUEST, "customer_id": "c-1", "required_agent_id": "a-9"}
    status, problem, _ = await visitor.request("POST", "/v1/calls", token("operator", "o-1"), json=body)
    assert (status, problem["reason"]) == (404, "unknown_agent")
    status, _, _ = await visitor.request(
        "POST", "/v1/calls", token("operator", "o-1"), json={**body, "required_agent_id": "a-2", "is_absolute": True}
    )
    assert status == 201


async def test_a_preferred_agent(visitor: Visitor, token: Token) -> None:
    """Given two free agents; when a customer prefers the second; then it rings there."""
    first, second = await ready_agent(visitor, token), await ready_agent(visitor, token, "a-2")
    customer = await visitor.greeted(token("customer", "c-1"))
    await done(customer, "call.request", {**REQUEST, "preferred_agent_id": "a-2"})
    assert (await second.until("reservation.new"))["data"]["why"]
    assert "reservation.new" not in [one["type"] for one in first.messages]


async def test_busy_elsewhere(visitor: Visitor, token: Token) -> None:
    """Given a ringing agent who is busy elsewhere; then the call waits again, for that reason, and nobody asks that agent."""
    customer, agent, _, reservation_id = await ringing(visitor, token)
    await done(agent, "reservation.decline", {"reservation_id": reservation_id, "is_busy": True})
    assert (await agent.until("reservation.closed"))["data"]["outcome"] == "busy"
    assert (await customer.until("call.waiting"))["data"]["reason"] == "busy"
    second = await visitor.greeted(token("customer", "c-2"))
    await done(second, "call.request", REQUEST)
    assert (await second.until("queue.update"))["data"]["position"] == 2


async def test_a_callback(visitor: Visitor, token: Token) -> None:
    """Given a customer who waits; when they ask for a callback and go; then the call keeps its place and rings when it may."""
    customer = await visitor.greeted(token("customer", "c-1"))
    call_id = (await done(customer, "call.request", REQUEST))["call_id"]
    await done(customer, "call.callback", {"call_id": call_id})
    assert (await customer.until("call.callback"))["data"] == {"call_id": call_id, "cause": "asked"}
    await customer.socket.close()
    agent = await ready_agent(visitor, token)
    new = (await agent.until("reservation.new"))["data"]
    assert new["call_id"] == call_id
    await done(agent, "reservation.accept", {"reservation_id": new["reservation_id"]})
    customer = await visitor.greeted(token("customer", "c-1"))
    shown = customer.messages[0]["data"]["session"]["call"]
    assert (shown["state"], shown["is_callback"], shown["agent_name"]) == ("connecting", True, "Li Na")
    body = {**REQUEST, "customer_id": "c-2", "is_callback": True}
    _, made, _ = await visitor.request("POST", "/v1/calls", token("operator", "o-1"), json=body)
    _, shown, _ = await visitor.request("GET", f"/v1/calls/{made['call_id']}", token("customer", "c-2"))
    assert (shown["is_callback"], shown["position"]) == (True, 1)
    path = f"/v1/calls/{made['call_id']}/callback"
    assert (await visitor.request("POST", path, token("customer", "c-2")))[0] == 200
    assert (await visitor.request("POST", path, token("customer", "c-3")))[0] == 403


async def test_an_invitation(visitor: Visitor, token: Token) -> None:
    """Given an agent who invites; when the customer follows the link; then it rings at that agent; nobody else may come."""
    other, agent = await ready_agent(visitor, token, "a-2"), await ready_agent(visitor, token)
    data = {"customer_id": "c-1", "queue_id": "loans", "business_reference": "shop 7"}
    invited = await done(agent, "customer.invite", data)
    call_id = invited["call_id"]
    assert (await agent.until("call.invited"))["data"]["customer"] == "***"
    stranger = await visitor.greeted(token("customer", "c-2"))
    assert (await stranger.ask("invitation.accept", {"call_id": call_id}))["data"]["reason"] == "not_yours"
    _, shown, _ = await visitor.request("GET", f"/v1/calls/{call_id}", token("customer", "c-1"))
    assert (shown["state"], shown["agent_name"], shown["invited_until_ms"]) == ("invited", "Li Na", invited["until_ms"])
    customer = await visitor.greeted(token("customer", "c-1"))
    await done(customer, "invitation.accept", {"call_id": call_id, "is_consented": True})
    assert (await customer.until("invitation.accepted"))["data"]["media"] == "external"
    await agent.until("invitation.accepted")
    new = (await agent.until("reservation.new"))["data"]
    assert (new["call_id"], new["customer"], new["business_reference"]) == (call_id, "***", "shop 7")
    assert "reservation.new" not in [one["type"] for one in other.messages]


async def test_staff_invite_for_an_agent(visitor: Visitor, token: Token) -> None:
    """Given an operator; when an invitation is made over REST; then the customer who is there is told whose it is."""
    customer = await visitor.greeted(token("customer", "c-1"))
    body = {"customer_id": "c-1", "agent_id": "a-2", "queue_id": "loans", "valid_ms": 5_000}
    status, made, headers = await visitor.request("POST", "/v1/invitations", token("operator", "o-1"), json=body)
    assert (status, headers["Location"]) == (201, f"/v1/calls/{made['call_id']}")
    told = (await customer.until("call.invited"))["data"]
    assert (told["agent_name"], told["until_ms"]) == ("Ben", made["until_ms"])
    for role in ("agent", "customer"):
        assert (await visitor.request("POST", "/v1/invitations", token(role, "a-1"), json=body))[0] == 403
    body["valid_ms"] = PLAN.invitation_ms + 1
    status, problem, _ = await visitor.request("POST", "/v1/invitations", token("operator", "o-1"), json=body)
    assert (status, problem["reason"]) == (400, "bad_value")


def read(role: str, type_: str, data: dict[str, Any]) -> Any:
    """Decode a client's message as a gateway does."""
    codec: Codec = CODECS[JSON]
    envelope = codec.envelope(json.dumps({"v": 1, "id": "x", "type": type_, "data": data}).encode())
    return codec.data(envelope, role)


@pytest.mark.parametrize(
    ("role", "type_", "data", "name", "bound"),
    [
        ("customer", "call.request", {"queue_id": "q"}, "need", {f"s{number}": 1 for number in range(16)}),
        ("customer", "call.request", {"queue_id": "q"}, "region", "x" * 64),
        ("customer", "call.request", {"queue_id": "q"}, "carrier", "x" * 64),
        ("customer", "call.request", {"queue_id": "q"}, "preferred_agent_id", "a" * 64),
        ("agent", "call.transfer", {"call_id": "k"}, "credit_ms", 86_400_000),
        ("agent", "customer.invite", {"customer_id": "c", "queue_id": "q"}, "valid_ms", 7 * 86_400_000),
    ],
)
def test_bounds(role: str, type_: str, data: dict[str, Any], name: str, bound: Any) -> None:
    """Given a field at its bound; then it is read; one past it is `bad_value`."""
    assert getattr(read(role, type_, {**data, name: bound}), name) == bound
    past = bound + 1 if isinstance(bound, int) else bound + "x" if isinstance(bound, str) else {**bound, "more": 1}
    with pytest.raises(Refused, match="bad_value"):
        read(role, type_, {**data, name: past})


def test_what_is_not_said_is_nothing() -> None:
    """Wire compatibility: given the messages of the first version; then no field is missing, and no wish is made."""
    request = read("customer", "call.request", {"queue_id": "q"})
    assert (request.need, request.preferred_agent_id, request.is_callback) == ({}, "", False)
    assert read("agent", "reservation.decline", {"reservation_id": "r"}).is_busy is False
    assert read("agent", "call.transfer", {"call_id": "k"}).credit_ms is None
    assert {CallRequest, CallTransfer, CustomerInvite} <= {
        one for types in CLIENT_TYPES.values() for one in types.values()
    }


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ("queue_closed", 503),
        ("no_agents", 503),
        ("callbacks_full", 503),
        ("too_many_needs", 503),
        ("not_qualified", 422),
        ("agent_unavailable", 409),
        ("no_agent_free", 409),
        ("too_many_parties", 409),
    ],
)
def test_each_new_reason_has_its_status(reason: str, status: int) -> None:
    """Given a reason of the engine; then the gateway knows it, and its status."""
    assert reason in KNOWN_REASONS
    assert Refused(reason).status == status
