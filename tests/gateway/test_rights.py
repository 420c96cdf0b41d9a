"""Every operation of REST and every message, tried by every role upon everybody's things: the verdict is the table's.

SAFETY.md 12: another customer's call, another agent's reservation, another division's call, recording and board.
"""

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from actors.store_client import StoreClient
from gateway.client_messages import CLIENT_TYPES
from gateway.messages import Role
from gateway.operations import Operation, Whose
from gateway.rest import OPERATIONS
from tests.gateway.rights import (
    ALLOWED_IS_NOT,
    CALLERS,
    MARKS,
    MESSAGE_REFUSALS,
    RELATION_RULES,
    WHOSE_BY_TYPE,
    Caller,
    Relation,
    World,
    path_of,
    sample_of,
    verdict_of,
    world,
)
from tests.journal.conftest import client, store

__all__ = ["client", "store"]
STATUS = {"not_signed_in": 401, "token_expired": 401, "wrong_role": 403, "not_yours": 403, "unknown": 404}
NOT_HERE = {
    "look_at_session": 404,  # Needs a room, which an external call has not.
    "report_queues": 503,  # Nothing is archived in this hall.
    "report_agents": 503,
    "list_ended_calls": 503,
    "show_status": 200,
}
"""GET operations that may answer otherwise than 200 or 204 in this hall, to somebody who may ask."""
OPERATION_IDS = [one.id for one in OPERATIONS]


def test_every_kind_of_owner_has_a_rule() -> None:
    """Given the kinds of things that operations name; then each has a verdict for each relation."""
    assert set(RELATION_RULES) == set(get_args(Whose))
    for rules in RELATION_RULES.values():
        assert set(rules) == set(get_args(Relation))


def test_every_message_has_a_rule() -> None:
    """Given the messages of all roles; then each says whose thing it touches, and no rule is left over."""
    assert set(WHOSE_BY_TYPE) == {name for types in CLIENT_TYPES.values() for name in types}
    kinds = {kind for kind, _ in MESSAGE_REFUSALS} | {"self"}
    assert set(WHOSE_BY_TYPE.values()) <= kinds


async def ask(made: World, operation: Operation, token: str, first: str = "") -> tuple[int, str, str]:
    """Return (status, reason of a refusal, whole answer)."""
    options: dict[str, Any] = {"headers": {"Authorization": f"Bearer {token}"} if token else {}}
    if operation.body is not None:
        options["json"] = sample_of(operation.body, {}, ("to_queue_id", "customer_id", "supervisor_id"))
    elif operation.body_media_type:
        options["data"] = "v=0"
        options["headers"]["Content-Type"] = operation.body_media_type
    url = made.visitor.base + path_of(operation, made, first)
    async with made.visitor.http.request(operation.method, url, **options) as response:
        text = await response.text()
    is_problem = response.content_type == "application/problem+json"
    return response.status, str(json.loads(text)["reason"]) if is_problem else "", text


@pytest.mark.parametrize("operation", OPERATIONS, ids=OPERATION_IDS)
async def test_rest(operation: Operation, tmp_path: Path, client: StoreClient) -> None:
    """Given everybody; then each is let or refused as the table says, what exists is refused like what does not, and no answer
    to anybody else holds anything of the owner's."""
    async with world(tmp_path / "hall", client) as made:
        await try_strangers(made, operation)
        verdicts = [(caller, verdict_of(operation, caller)) for caller in CALLERS]
        for caller, verdict in sorted(verdicts, key=lambda one: one[1] == "allowed"):
            status, reason, text = await ask(made, operation, caller.token(made.issuer))
            if verdict == "allowed":
                check_allowed(operation, caller, status, reason)
            else:
                assert (status, reason_class(reason)) == (STATUS[verdict], verdict), (caller.name, status, text)
            if verdict != "allowed" or caller.division != "main":
                assert_no_marks(operation, caller, text)
            if verdict in ("not_yours", "unknown") and "{id}" in operation.path and operation.whose != "agent":
                nothing = await ask(made, operation, caller.token(made.issuer), "no-such-thing")
                assert nothing[:2] == (status, reason), (caller.name, "existence shows", text, nothing)


async def try_strangers(made: World, operation: Operation) -> None:
    """Nobody, an expired token, one of a division that is not here, whatever the role."""
    assert (await ask(made, operation, ""))[:2] == (401, "not_signed_in")
    for role in get_args(Role):
        expired = Caller("", role, "kim", "main", "mine", -60).token(made.issuer)
        assert (await ask(made, operation, expired))[:2] == (401, "token_expired")
        elsewhere = Caller("", role, "kim", "south", "mine").token(made.issuer)
        assert (await ask(made, operation, elsewhere))[:2] == (403, "wrong_role")


def check_allowed(operation: Operation, caller: Caller, status: int, reason: str) -> None:
    assert status != 401, (caller.name, reason)
    assert reason not in ALLOWED_IS_NOT, (caller.name, reason)
    if operation.method == "GET":
        expected = {200, 204, NOT_HERE.get(operation.id, 200)}
        assert status in expected, (caller.name, status, reason)


def assert_no_marks(operation: Operation, caller: Caller, text: str) -> None:
    if operation.whose == "hall" or operation.id == "create_call":
        return  # The hall's own things; and what one has just asked for oneself.
    own = ("kim",) if caller.subject == "kim" else ()
    # A problem may repeat the path, which the caller brought: a call's id is no mark.
    found = [mark for mark in MARKS if mark in text and mark not in own]
    assert not found, (caller.name, found, text)


def reason_class(reason: str) -> str:
    return (
        "unknown"
        if reason in ("not_found", "unknown_call", "unknown_agent", "unknown_queue", "unknown_division")
        else reason
    )


# -- messages


def cells(caller: Caller) -> list[tuple[str, str, Relation]]:
    """(type, whose, relation) of each message that the caller's role may send."""
    found: list[tuple[str, str, Relation]] = []
    for name in CLIENT_TYPES[caller.role]:
        whose = WHOSE_BY_TYPE[name]
        # The reservation is agent a-2's, and a wrap-up is nobody's yet.
        relation: Relation = "anothers" if whose in ("reservation", "wrap_up") else caller.relation
        found.append((name, whose, relation))
    return sorted(found, key=lambda one: one[0] in ("call.hang_up", "rtc.bye"))


def targets(made: World, whose: str, is_real: bool) -> dict[str, Any]:
    real = {
        "call": {"call_id": made.call_id},
        "wrap_up": {"call_id": made.call_id},
        "reservation": {"reservation_id": made.reservation_id},
        "agent": {"agent_id": "a-3"},
        "board": {"division_id": "main"},
        "self": {},
    }[whose]
    return real if is_real else dict.fromkeys(real, "no-such-thing")


@pytest.mark.parametrize("caller", CALLERS, ids=lambda one: one.name)
async def test_messages(caller: Caller, tmp_path: Path) -> None:
    """Given everybody; then each message upon what is not theirs is refused as the table says, and like what does not
    exist; and messages of other roles are refused by name."""
    async with world(tmp_path) as made:
        client = await made.connect(caller)
        everything = {name for types in CLIENT_TYPES.values() for name in types}
        for name in sorted(everything - set(CLIENT_TYPES[caller.role])):
            answer = await client.ask(name, {"call_id": made.call_id})
            assert answer["data"]["reason"] == "wrong_role", (name, answer)
        for name, whose, relation in cells(caller):
            if name in ("session.pong", "session.ack", "agent.state"):
                continue  # Not answered; or the speaker's own state, which must stay as it is here.
            kind = CLIENT_TYPES[caller.role][name]
            also = ("supervisor_id", "to_queue_id")
            answer = await client.ask(name, sample_of(kind, targets(made, whose, True), also))
            reason = answer["data"].get("reason", "")
            refused = MESSAGE_REFUSALS.get((whose, relation))
            if refused is None:
                assert reason not in ALLOWED_IS_NOT, (name, answer)
                continue
            assert reason in refused, (name, answer)
            nothing = await client.ask(name, sample_of(kind, targets(made, whose, False), also))
            assert nothing["data"]["reason"] == reason, (name, "existence shows", answer, nothing)
        if caller.relation in ("anothers", "other_division"):
            told = json.dumps(client.messages)
            assert not [mark for mark in MARKS if mark in told and mark != caller.subject], caller.name


async def test_an_agent_of_another_division_is_unknown(tmp_path: Path) -> None:
    """Given an agent's id that only the other division has; then staff are told that there is none."""
    async with world(tmp_path) as made:
        for role in ("supervisor", "operator"):
            token = made.issuer.issue(role, "s-1", 60, "north")
            status, problem, _ = await made.visitor.request("GET", "/v1/agents/a-3", token)
            assert (status, problem["reason"]) == (404, "not_found")


async def test_the_reservation_is_its_agents(tmp_path: Path) -> None:
    """Given the agent at whom a call rings; then what others are refused works."""
    async with world(tmp_path) as made:
        owner = await made.sign_in("agent", "a-2")
        answer = await owner.ask("reservation.decline", {"reservation_id": made.reservation_id})
        assert answer["type"] == "ack", answer
