"""What a gateway records: before it is done and before it is answered, by reference alone, and for whom it may be read."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actors.audit import AuditFull, Entry, Line, MemoryAudit, decode_line, link
from actors.audit_archive import AuditFiles
from actors.hall import HallUnavailable
from actors.store_client import StoreUnavailable
from dispatch.effects import Reply
from dispatch.model import KEY_PREFIX
from gateway.app import Gateway
from gateway.settings import Settings
from tests.gateway.client import Visitor
from tests.gateway.stub_hall import StubHall
from tests.waiting import until

Token = Callable[..., str]


def recorded(gateway: Gateway) -> list[Line]:
    audit = gateway._services.auditor.audit
    assert isinstance(audit, MemoryAudit)
    return [decode_line(line) for line in audit.lines]


def facts(gateway: Gateway) -> list[tuple[str, str, str]]:
    return [(line.what, line.who, line.outcome) for line in recorded(gateway)]


async def test_what_staff_do_over_rest_is_recorded_twice(visitor: Visitor, gateway: Gateway, token: Token) -> None:
    """Given a supervisor who takes a call over; then it stands there as asked and as done, by reference."""
    path, body = "/v1/calls/c-1/owner", {"agent_id": "a-2"}
    headers = {"Idempotency-Key": "k-1"}
    status, _, _ = await visitor.request(
        "PUT", path, token("supervisor", "s-1", 60, "main"), json=body, headers=headers
    )
    assert status == 200
    assert facts(gateway) == [("take_over", "supervisor:s-1", "asked"), ("take_over", "supervisor:s-1", "done")]
    for line in recorded(gateway):
        assert (line.about, line.ref, line.division) == ({"id": "c-1", "agent_id": "a-2"}, f"{KEY_PREFIX}k-1", "main")


async def test_a_refusal_is_an_outcome(visitor: Visitor, gateway: Gateway, stub: StubHall, token: Token) -> None:
    """Given an engine, a hall or a bug that says no; then the outcome names it, before the answer."""
    answers = {
        "wrong_state": Reply("wrong_state"),
        "not_ready": HallUnavailable("not_ready"),
        "internal": RuntimeError(),
    }
    for reason, reply in answers.items():
        stub.replies["take_over"] = reply
        _, problem, _ = await visitor.request(
            "PUT", "/v1/calls/c-1/owner", token("operator", "o-1"), json={"agent_id": "a-2"}
        )
        assert problem["reason"] == reason
        assert facts(gateway)[-2:] == [("take_over", "operator:o-1", "asked"), ("take_over", "operator:o-1", reason)]


async def test_what_people_write_stays_outside(visitor: Visitor, gateway: Gateway, token: Token) -> None:
    """SAFETY.md 7: given names and free words in path and body; then none of them stands in the log."""
    body = {
        "queue_id": "loans", "customer_id": "c-1", "display_name": "Wang Xiaoming",
        "business_reference": "13800138000", "region": "Wang Street 7",
    }  # fmt: skip
    operator = token("operator", "o-1")
    await visitor.request("POST", "/v1/calls", operator, json=body)
    await visitor.request("DELETE", "/v1/calls/Wang%20Xiaoming", operator, json={"reason": "Wang Xiaoming is angry"})
    text = "".join(map(str, recorded(gateway)))
    assert facts(gateway)[-1][:2] == ("end_call", "operator:o-1")
    for word in ("Wang", "Xiaoming", "13800138000", "Street", "angry"):
        assert word not in text


async def test_what_customers_and_agents_do_is_the_journals(visitor: Visitor, gateway: Gateway, token: Token) -> None:
    """Given the same operation by a customer; then the audit log says nothing: the journal has it."""
    await visitor.request("DELETE", "/v1/calls/c-1", token("customer", "c-1"))
    await visitor.request("GET", "/v1/queues", token("operator", "o-1"))
    assert facts(gateway) == []


@pytest.mark.parametrize("path", ["/v1/recordings/c-1", "/v1/calls/c-1/history", "/v1/audit"])
async def test_who_looked_is_recorded(visitor: Visitor, gateway: Gateway, token: Token, path: str) -> None:
    """Given an operator who opens a recording, a history, the log itself; then that is recorded before it is shown."""
    await visitor.request("GET", path, token("operator", "o-1"))
    assert [(who, outcome) for _, who, outcome in facts(gateway)] == [("operator:o-1", "asked")]


async def test_every_login_is_recorded_once(visitor: Visitor, gateway: Gateway, token: Token) -> None:
    """Given logins by token and by ticket, and a resume; then each stands there, before anything else."""
    for role in ("customer", "agent", "supervisor"):
        client = await visitor.greeted(token(role, "x-1"))
        await client.socket.close()
    client = await visitor.admitted(await visitor.ticket(token("operator", "o-1")))
    await client.next()
    await client.socket.close()
    client = await visitor.greeted(token("customer", "x-1"), resume=0)
    await client.socket.close()
    logins = [(line.who, line.about) for line in recorded(gateway) if line.what == "login"]
    fresh = {"is_resume": "false"}
    assert logins == [
        ("customer:x-1", fresh), ("agent:x-1", fresh), ("supervisor:x-1", fresh),
        ("operator:o-1", fresh), ("customer:x-1", {"is_resume": "true"}),
    ]  # fmt: skip


async def test_refused_logins_are_counted(visitor: Visitor, gateway: Gateway, token: Token) -> None:
    """Given many who are refused; then one entry has their numbers by reason, and nothing that they brought."""
    for _ in range(20):
        assert await (await visitor.connect("forged")).closed() == 4001
        await visitor.request("GET", "/v1/queues", token("customer", "c-1", -60))
        assert await (await visitor.admitted("ticket.forged")).closed() == 4005
    assert facts(gateway) == []
    await gateway._services.auditor._flush()
    [line] = recorded(gateway)
    assert (line.what, line.who) == ("logins.refused", "gateway")
    assert line.about == {"not_signed_in": "20", "ticket_unknown": "20", "token_expired": "20"}


async def test_what_supervisors_do_over_a_websocket(
    visitor: Visitor, gateway: Gateway, stub: StubHall, token: Token
) -> None:
    """Given a supervisor who monitors, forces a state, ends a call and watches; then all but watching is recorded twice."""
    client = await visitor.greeted(token("supervisor", "s-1"))
    stub.replies["set_activity"] = Reply("unknown_agent")
    await client.ask("call.monitor", {"call_id": "c-1", "mode": "barge"}, "m-1")
    await client.ask("agent.force_state", {"agent_id": "a-1", "activity": "offline", "reason": "Wang is ill"}, "m-2")
    await client.ask("call.hang_up", {"call_id": "c-1", "reason": "Wang is angry"}, "m-3")
    await client.ask("call.priority", {"call_id": "c-1", "credit_ms": 5}, "m-4")
    await client.ask("watch.subscribe", {"board": "queues"})
    lines = recorded(gateway)[1:]
    assert [(line.what, line.outcome, line.ref) for line in lines] == [
        ("call.monitor", "asked", "m-1"), ("call.monitor", "done", "m-1"),
        ("agent.force_state", "asked", "m-2"), ("agent.force_state", "unknown_agent", "m-2"),
        ("call.hang_up", "asked", "m-3"), ("call.hang_up", "done", "m-3"),
        ("call.priority", "asked", "m-4"), ("call.priority", "done", "m-4"),
    ]  # fmt: skip
    assert lines[0].about == {"call_id": "c-1", "mode": "barge"}
    assert "Wang" not in "".join(map(str, lines))
    await client.socket.close()


class Unwritable(MemoryAudit):
    """A log that fails from the n-th entry on."""

    def __init__(self, error: Exception, after: int) -> None:
        super().__init__()
        self.error, self.after = error, after

    async def append(self, entries: list[Entry]) -> None:
        if len(self.lines) >= self.after:
            raise self.error
        await super().append(entries)


@pytest.mark.parametrize(
    ("error", "reason"), [(StoreUnavailable("timeout"), "store_unavailable"), (AuditFull("full"), "audit_full")]
)
async def test_what_cannot_be_recorded_is_not_done(
    visitor: Visitor, gateway: Gateway, stub: StubHall, token: Token, error: Exception, reason: str
) -> None:
    """Given a log that cannot be written; then nothing is done that must be recorded, nobody comes in, and 503 says why."""
    gateway._services.auditor.audit = Unwritable(error, 0)
    operator = token("operator", "o-1")
    for method, path, body in (
        ("PUT", "/v1/calls/c-1/owner", {"agent_id": "a-1"}),
        ("PUT", "/v1/divisions/main/slot", {"slot_id": "shard-1"}),
        ("GET", "/v1/recordings/c-1", None),
    ):
        status, problem, _ = await visitor.request(method, path, operator, json=body)
        assert (status, problem["reason"]) == (503, reason)
    assert await (await visitor.connect(operator)).closed() == 1011
    assert (stub.commands, stub.moves, stub.listeners) == ([], [], {})


async def test_an_action_is_answered_after_its_outcome_is_durable(
    visitor: Visitor, gateway: Gateway, stub: StubHall, token: Token
) -> None:
    """Given a log that fails between the two entries; then the action is not acknowledged, and a repeat is told to come."""
    gateway._services.auditor.audit = Unwritable(StoreUnavailable("timeout"), 1)
    status, problem, _ = await visitor.request(
        "PUT", "/v1/calls/c-1/owner", token("operator", "o-1"), json={"agent_id": "a-1"}
    )
    assert (status, problem["reason"]) == (503, "store_unavailable")
    assert len(stub.commands) == 1
    assert facts(gateway) == [("take_over", "operator:o-1", "asked")]


async def test_a_caller_who_leaves_does_not_cut_the_outcome(
    visitor: Visitor, gateway: Gateway, stub: StubHall, token: Token
) -> None:
    """Given an action that takes a while; when its caller goes away meanwhile; then the outcome is recorded all the same."""
    stub.delay_s = 0.3
    asking = asyncio.create_task(
        visitor.request("PUT", "/v1/calls/c-1/owner", token("operator", "o-1"), json={"agent_id": "a-1"})
    )
    await until(lambda: len(stub.commands) == 1)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await until(lambda: len(recorded(gateway)) == 2)
    assert facts(gateway)[-1][2] == "done"


# -- reading


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(keys_folder=tmp_path / "keys", audit_folder=tmp_path / "audit", stop_ms=200)


async def test_pages_of_the_log(
    visitor: Visitor, gateway: Gateway, stub: StubHall, token: Token, tmp_path: Path
) -> None:
    """Given entries of two divisions, archived and not; then an operator pages through those of their own one, in order."""
    stub.division_ids = ["main", "north"]
    audit = gateway._services.auditor.audit
    assert isinstance(audit, MemoryAudit)
    for number in range(40):
        division = ("", "main", "north")[number % 3]
        await audit.record(Entry(at_ms=number * 10_000_000, what="test", who="x", division=division, ref=str(number)))
    files = AuditFiles(tmp_path / "audit", tmp_path / "keys" / "audit-head.json")
    files.append(audit.lines[:30])
    for division, wanted in (("", {0, 1}), ("main", {0, 1}), ("north", {2})):
        seen, after = [], 0
        operator = token("operator", "o-1", 60, division)
        while True:
            _, page, _ = await visitor.request("GET", f"/v1/audit?after={after}&limit=7", operator)
            assert len(page["entries"]) <= 7
            seen += [int(one["ref"]) for one in page["entries"] if one["what"] == "test"]
            if page["next"] == after or page["next"] >= 40:
                break
            after = page["next"]
        assert seen == [number for number in range(40) if number % 3 in wanted]


async def test_the_head_is_the_end(visitor: Visitor, gateway: Gateway, token: Token) -> None:
    """Given a recorded entry; then the head is its number and hash; nobody but operators learns of it."""
    audit = gateway._services.auditor.audit
    assert isinstance(audit, MemoryAudit)
    await audit.record(Entry(at_ms=1, what="test", who="x"))
    _, answer, _ = await visitor.request("GET", "/v1/audit/head", token("operator", "o-1"))
    assert answer == {"seq": 1, "hash": link_hash(audit.lines[0])}


def link_hash(line: bytes) -> str:
    known: dict[str, Any] = json.loads(line)
    values = {name: known[name] for name in Entry.__struct_fields__}
    return link(type("H", (), {"seq": 0, "hash": known["prev"]})(), [Entry(**values)])[1][0]
