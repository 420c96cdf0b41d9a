"""REST: roles, ownership, problems, idempotency keys; health, metrics, pages."""

import re
from collections.abc import Callable
from pathlib import Path

import aiohttp
import msgspec
import pytest

from actors.hall import MoveRefused
from dispatch import events, views
from dispatch.effects import Reply
from dispatch.wishes import Wishes
from gateway.app import Gateway
from gateway.settings import Settings
from media.evidence import Manifest
from tests.gateway.client import Visitor
from tests.gateway.stub_hall import StubHall, unavailable
from tests.gateway.test_session import agent_view, call_view

Token = Callable[..., str]
REQUEST = {"queue_id": "loans", "is_consented": True}


async def test_create_a_call(visitor: Visitor, stub: StubHall, token: Token) -> None:
    """Given a key; when the same request comes twice; then the same call, under the same id, 201."""
    headers = {"Idempotency-Key": "key-1"}
    first = await visitor.request("POST", "/v1/calls", token("customer", "c-1"), json=REQUEST, headers=headers)
    again = await visitor.request("POST", "/v1/calls", token("customer", "c-1"), json=REQUEST, headers=headers)
    assert first[0] == again[0] == 201
    assert first[1] == again[1]
    assert first[2]["Location"] == f"/v1/calls/{first[1]['call_id']}"
    assert [command[4:] for command in stub.commands] == [("customer:c-1", "key:key-1")] * 2
    other = await visitor.request("POST", "/v1/calls", token("customer", "c-1"), json=REQUEST)
    assert other[1]["call_id"] != first[1]["call_id"]


async def test_an_operator_says_for_whom(visitor: Visitor, stub: StubHall, token: Token) -> None:
    """Given an operator; then the call is the customer's; without a customer it is refused."""
    body = {**REQUEST, "customer_id": "c-9", "display_name": "Bo Ek"}
    status, _, _ = await visitor.request("POST", "/v1/calls", token("operator", "o-1"), json=body)
    assert status == 201
    assert stub.commands[-1][3][0] == "c-9"
    assert stub.commands[-1][4] == "operator:o-1"
    assert stub.people["customer:c-9"] == {"display_name": "Bo Ek"}
    status, problem, _ = await visitor.request("POST", "/v1/calls", token("operator", "o-1"), json=REQUEST)
    assert (status, problem["reason"]) == (400, "bad_value")
    status, problem, _ = await visitor.request(
        "POST", "/v1/calls", token("customer", "c-1"), json={**REQUEST, "customer_id": "c-9"}
    )
    assert (status, problem["reason"]) == (403, "not_yours")


async def test_all_wishes_reach_the_engine(visitor: Visitor, stub: StubHall, token: Token) -> None:
    """Given staff who ask for everything; then the command holds all of it; given nothing, it holds no wishes."""
    wishes = {
        "need": {"english": 5},
        "joint_need": {"interpreter": 3},
        "credit_ms": 7,
        "is_absolute": True,
        "required_agent_id": "a-1",
        "preferred_agent_id": "a-2",
        "manager_id": "a-3",
        "excluded_agent_ids": ["a-4"],
        "region": "gd",
        "carrier": "mobile",
        "is_callback": True,
    }
    assert set(wishes) == set(Wishes.__struct_fields__)
    body = {**REQUEST, "customer_id": "c-9"}
    for more, expected in ((wishes, Wishes(**wishes)), ({}, None)):
        status, _, _ = await visitor.request("POST", "/v1/calls", token("supervisor", "s-1"), json={**body, **more})
        assert (status, stub.commands[-1][3][4]) == (201, expected)


@pytest.mark.parametrize(
    ("name", "bound", "past"),
    [
        ("excluded_agent_ids", [f"a-{n}" for n in range(16)], [f"a-{n}" for n in range(17)]),
        ("need", {f"s{n}": 10 for n in range(16)}, {f"s{n}": 1 for n in range(17)}),
        ("joint_need", {"s": 10}, {"s": 11}),
        ("credit_ms", 86_400_000, 86_400_001),
        ("region", "x" * 64, "x" * 65),
    ],
)
async def test_the_bounds_of_wishes(visitor: Visitor, token: Token, name: str, bound: object, past: object) -> None:
    """Given a wish at its bound; then it goes on to the engine; one past it is `bad_value`."""
    body = {**REQUEST, "customer_id": "c-9"}
    assert (await visitor.request("POST", "/v1/calls", token("operator", "o-1"), json={**body, name: bound}))[0] == 201
    status, problem, _ = await visitor.request("POST", "/v1/calls", token("operator", "o-1"), json={**body, name: past})
    assert (status, problem["reason"]) == (400, "bad_value")


async def test_a_limit_says_what_to_tell_and_to_ask(visitor: Visitor, stub: StubHall, token: Token) -> None:
    """Given a closed queue that asks for a message; then the refusal has its text, and `then`; over WebSocket too."""
    stub.replies["request"] = Reply("queue_closed", {"then": "message", "text": "Back at nine"})
    status, problem, _ = await visitor.request("POST", "/v1/calls", token("customer", "c-1"), json=REQUEST)
    assert (status, problem["detail"], problem["then"]) == (503, "Back at nine", "message")
    client = await visitor.greeted(token("customer", "c-1"))
    error = await client.ask("call.request", REQUEST)
    assert error["data"] == {"reason": "queue_closed", "detail": "Back at nine", "then": "message"}
    stub.replies["request"] = Reply("queue_closed", {"then": "refuse", "text": ""})
    error = await client.ask("call.request", REQUEST)
    assert error["data"] == {"reason": "queue_closed", "detail": ""}


@pytest.mark.parametrize(
    ("method", "path", "role", "status", "reason"),
    [
        ("POST", "/v1/calls", "", 401, "not_signed_in"),
        ("POST", "/v1/calls", "agent", 403, "wrong_role"),
        ("GET", "/v1/calls/k-1/history", "customer", 403, "wrong_role"),
        ("GET", "/v1/calls/k-1/history", "agent", 403, "wrong_role"),
        ("GET", "/v1/calls/k-9", "supervisor", 404, "unknown_call"),
        ("GET", "/v1/calls/k-9/history", "supervisor", 404, "not_found"),
        ("GET", "/v1/agents", "agent", 403, "wrong_role"),
        ("GET", "/v1/agents", "customer", 403, "wrong_role"),
        ("GET", "/v1/agents/a-2", "agent", 403, "not_yours"),
        ("GET", "/v1/agents/a-9", "operator", 404, "not_found"),
        ("GET", "/v1/queues/none", "customer", 404, "not_found"),
        ("GET", "/v1/recordings/k-1", "customer", 403, "wrong_role"),
        ("GET", "/v1/recordings/k-1", "agent", 403, "wrong_role"),
        ("GET", "/v1/recordings/k-9", "supervisor", 404, "not_found"),
        ("PATCH", "/v1/calls/k-1", "customer", 403, "wrong_role"),
        ("PATCH", "/v1/calls/k-1", "agent", 403, "wrong_role"),
        ("PUT", "/v1/calls/k-1/owner", "agent", 403, "wrong_role"),
        ("PUT", "/v1/calls/k-1/supervision", "agent", 403, "wrong_role"),
        ("POST", "/v1/calls/k-1/transfer", "customer", 403, "wrong_role"),
        ("POST", "/v1/calls/k-1/parties", "customer", 403, "wrong_role"),
        ("DELETE", "/v1/calls/k-1/parties/a-1", "customer", 403, "wrong_role"),
        ("POST", "/v1/calls/k-1/callback", "agent", 403, "wrong_role"),
        ("POST", "/v1/invitations", "customer", 403, "wrong_role"),
        ("GET", "/v1/nothing", "", 404, "not_found"),
        ("PUT", "/v1/calls/k-1", "operator", 405, "not_found"),
        ("GET", "/pages/../app.py", "", 404, "not_found"),
        ("GET", "/pages/%2e%2e/app.py", "", 404, "not_found"),
    ],
)
async def test_what_is_refused(
    visitor: Visitor, token: Token, method: str, path: str, role: str, status: int, reason: str
) -> None:
    """Given each role; then what is not for it is a problem document with its reason."""
    subject = {"agent": "a-1", "customer": "c-1"}.get(role, "x-1")
    seen, problem, headers = await visitor.request(method, path, token(role, subject) if role else "")
    assert (seen, problem["reason"]) == (status, reason)
    assert headers["Content-Type"] == "application/problem+json"
    assert problem["type"] == f"urn:tellerhall:problem:{reason}"


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"{", 400, "malformed"),
        (b'{"queue_id":' * 2_000, 400, "bad_value"),
        (b"{}", 400, "bad_value"),
        (b'{"queue_id":"q","surprise":1}', 400, "bad_value"),
        (b'{"queue_id":"' + b"x" * 70_000 + b'"}', 413, "too_large"),
    ],
)
async def test_bad_bodies(visitor: Visitor, token: Token, body: bytes, status: int, reason: str) -> None:
    """Given nonsense as a body; then its reason, never a stack trace."""
    seen, problem, _ = await visitor.request("POST", "/v1/calls", token("customer", "c-1"), data=body)
    assert (seen, problem["reason"]) == (status, reason)


async def test_a_bad_key(visitor: Visitor, token: Token) -> None:
    """Given an idempotency key one past the bound; then it is refused by name."""
    headers = {"Idempotency-Key": "x" * 65}
    status, problem, _ = await visitor.request(
        "POST", "/v1/calls", token("customer", "c-1"), json=REQUEST, headers=headers
    )
    assert (status, problem["reason"]) == (400, "bad_value")
    assert "Idempotency-Key" in problem["detail"]


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ("queue_full", 503),
        ("already_in_call", 409),
        ("consent_required", 422),
        ("unknown_queue", 404),
        ("not_yours", 403),
    ],
)
async def test_refusals_of_the_engine(visitor: Visitor, stub: StubHall, token: Token, reason: str, status: int) -> None:
    """Given the engine says no; then its reason and a fitting status."""
    stub.replies["request"] = Reply(reason, {"call_id": "k-1"})
    seen, problem, _ = await visitor.request("POST", "/v1/calls", token("customer", "c-1"), json=REQUEST)
    assert (seen, problem["reason"], problem["detail"]) == (status, reason, "k-1")


async def test_trouble_below_says_when_to_try_again(visitor: Visitor, stub: StubHall, token: Token) -> None:
    """Given the store is away; then 503 with Retry-After; given a bug, 500 without a word of it."""
    stub.replies["request"] = unavailable("store_unavailable")
    status, problem, headers = await visitor.request("POST", "/v1/calls", token("customer", "c-1"), json=REQUEST)
    assert (status, problem["reason"], headers["Retry-After"]) == (503, "store_unavailable", "2")
    stub.replies["request"] = RuntimeError("secret")
    status, problem, _ = await visitor.request("POST", "/v1/calls", token("customer", "c-1"), json=REQUEST)
    assert (status, problem["reason"]) == (500, "internal")
    assert "secret" not in str(problem)


async def test_a_call_is_shown_to_its_parties_alone(visitor: Visitor, stub: StubHall, token: Token) -> None:
    """SAFETY.md 12: another customer and another agent see nothing; each party what is for it."""
    stub.views["call", "k-1"] = call_view()
    for role, subject in (("customer", "c-2"), ("agent", "a-2")):
        status, problem, _ = await visitor.request("GET", "/v1/calls/k-1", token(role, subject))
        assert (status, problem["reason"]) == (403, "not_yours")
    _, shown, _ = await visitor.request("GET", "/v1/calls/k-1", token("customer", "c-1"))
    assert shown["agent_name"] == "Li Na"
    assert "agent_id" not in shown
    _, shown, _ = await visitor.request("GET", "/v1/calls/k-1", token("agent", "a-1"))
    assert "customer_id" not in shown
    _, shown, _ = await visitor.request("GET", "/v1/calls/k-1", token("supervisor", "s-1"))
    assert (shown["customer_id"], shown["agent_id"]) == ("c-1", "a-1")


async def test_end_a_call(visitor: Visitor, stub: StubHall, token: Token) -> None:
    """Given a call; when it is deleted; then it is hung up under the caller's name and key."""
    headers = {"Idempotency-Key": "key-1"}
    status, _, _ = await visitor.request("DELETE", "/v1/calls/k-1", token("supervisor", "s-1"), headers=headers)
    assert status == 200
    assert stub.commands == [("call", "k-1", "hang_up", ("",), "supervisor:s-1", "key:key-1")]


async def test_only_staff_give_a_reason(visitor: Visitor, stub: StubHall, token: Token) -> None:
    """Given a reason for the end; then it is taken from staff and refused from a party, who could blame the hall."""
    body = b'{"reason":"media_lost"}'
    for role, subject in (("customer", "c-1"), ("agent", "a-1")):
        status, problem, _ = await visitor.request("DELETE", "/v1/calls/k-1", token(role, subject), data=body)
        assert (status, problem["reason"]) == (403, "wrong_role")
    assert stub.commands == []
    status, _, _ = await visitor.request("DELETE", "/v1/calls/k-1", token("operator", "o-1"), data=body)
    assert status == 200
    assert stub.commands[0][3] == ("media_lost",)


async def test_history(visitor: Visitor, stub: StubHall, token: Token) -> None:
    """Given events; then they come in order, each with its name."""
    stub.histories["k-1"] = [
        events.CallQueued(1, "k-1", "c-1", "loans", 1, 2),
        events.CallConnected(3, "k-1", "a-1", "c-1"),
    ]
    _, body, _ = await visitor.request("GET", "/v1/calls/k-1/history", token("operator", "o-1"))
    assert [(one["type"], one["at_ms"]) for one in body["events"]] == [("call_queued", 1), ("call_connected", 3)]
    assert body["events"][0]["queue_id"] == "loans"


async def test_queues_and_agents(visitor: Visitor, stub: StubHall, token: Token) -> None:
    """Given a queue and an agent; then a customer sees names and lengths, staff the counts."""
    stub.views["queue", "loans"] = views.QueueView("loans", {"en": "Loans"}, 2, 900, {"ready": 1}, {"waiting": 2}, 40)
    stub.views["agent", "a-1"] = agent_view()
    _, body, _ = await visitor.request("GET", "/v1/queues", token("customer", "c-1"))
    assert body == {"queues": [{"queue_id": "loans", "name": {"en": "Loans"}, "waiting_count": 2}]}
    _, body, _ = await visitor.request("GET", "/v1/queues/loans", token("agent", "a-1"))
    assert (body["longest_wait_ms"], body["agents"]) == (900, {"ready": 1})
    _, body, _ = await visitor.request("GET", "/v1/agents", token("supervisor", "s-1"))
    assert body["agents"][0]["name"] == "Li Na"
    _, body, _ = await visitor.request("GET", "/v1/agents/a-1", token("agent", "a-1"))
    assert body["activity"] == "ready"
    async with visitor.http.get(visitor.base + "/metrics") as response:
        text = await response.text()
    assert 'tellerhall_queue_waiting_calls{division="main",queue="loans"} 2.0' in text


async def test_recordings_are_of_the_own_division(visitor: Visitor, settings: Settings, token: Token) -> None:
    """SAFETY.md 12: given a manifest of each division; then only the own one is shown, and no path leads out."""
    assert settings.recordings_folder is not None
    for call_id, division, attempt in (("k-1", "main", 2), ("k-1", "main", 1), ("k-2", "other", 1)):
        folder = settings.recordings_folder / "2026-01-31" / call_id / f"attempt-{attempt}"
        folder.mkdir(parents=True)
        manifest = Manifest(
            call_id=call_id,
            attempt=attempt,
            business_reference="",
            parties=["customer", "agent"],
            labels={"division": division},
            worker_id="w-1",
            worker_epoch=1,
            started_at_ms=1,
            ended_at_ms=2,
            duration_ms=1,
            sealed_at_ms=3,
            files=[],
        )
        (folder / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    status, body, _ = await visitor.request("GET", "/v1/recordings/k-1", token("supervisor", "s-1"))
    assert (status, body["call_id"]) == (200, "k-1")
    assert [one["attempt"] for one in body["manifests"]] == [1, 2]
    for path in ("k-2", "%2e%2e", "..", "k-1%2f..%2f..", "%00", ".", "*", "k-%3f"):
        status, problem, _ = await visitor.request("GET", f"/v1/recordings/{path}", token("supervisor", "s-1"))
        assert (status, problem["reason"]) in ((404, "not_found"), (400, "malformed")), path


async def test_health(visitor: Visitor, stub: StubHall) -> None:
    """Given a hall that answers, says no, and is away; then healthz stays 200 and readyz names the reason."""
    assert (await visitor.request("GET", "/readyz"))[0] == 200
    stub.status_value = {"divisions": {"main": {"unavailable": "store_unavailable"}, "other": {"epoch": 1}}}
    assert (await visitor.request("GET", "/readyz"))[0] == 200
    del stub.status_value["divisions"]["other"]
    status, problem, _ = await visitor.request("GET", "/readyz")
    assert (status, problem["reason"]) == (503, "store_unavailable")
    stub.fault = unavailable("not_ready")
    status, problem, _ = await visitor.request("GET", "/readyz")
    assert (status, problem["reason"]) == (503, "not_ready")
    assert (await visitor.request("GET", "/healthz"))[0] == 200


async def test_metrics_count_what_happened(visitor: Visitor, token: Token) -> None:
    """Given a session and a refusal; then both are counted, under few labels."""
    client = await visitor.greeted(token("customer", "c-1"))
    await client.ask("call.fly" + "x" * 50)
    await visitor.request("GET", "/v1/calls/some-id-of-a-client", token("customer", "c-1"))
    async with visitor.http.get(visitor.base + "/metrics") as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text = await response.text()
    assert 'tellerhall_gateway_connections{role="customer"} 1.0' in text
    assert 'tellerhall_gateway_refusals_total{reason="unknown_type"} 1.0' in text
    assert 'tellerhall_gateway_messages_received_total{type="unknown"} 1.0' in text
    assert 'route="/v1/calls/{id}"' in text
    assert "some-id-of-a-client" not in text
    assert "call.fly" not in text


async def test_metrics_have_an_address_of_their_own(tmp_path: Path, stub: StubHall) -> None:
    """Given a metrics port; then they stand there and no longer on the main one."""
    gateway = Gateway(stub, Settings(keys_folder=tmp_path, metrics_port=0, stop_ms=100))  # type: ignore[arg-type]
    await gateway.start()
    async with aiohttp.ClientSession() as http:
        async with http.get(f"http://127.0.0.1:{gateway.metrics_port}/metrics") as response:
            assert response.status == 200
        async with http.get(f"http://127.0.0.1:{gateway.port}/metrics") as response:
            assert response.status == 404
    await gateway.stop()


async def test_requests_are_bounded(tmp_path: Path, stub: StubHall, token: Token) -> None:
    """Given two requests at once allowed; when a third comes; then 429 with Retry-After; staff are not bounded here."""
    settings = Settings(keys_folder=tmp_path / "keys", messages_per_s=0.01, messages_burst=2, stop_ms=100)
    gateway = Gateway(stub, settings)  # type: ignore[arg-type]
    await gateway.start()
    async with aiohttp.ClientSession() as http:
        visitor = Visitor(http, f"http://127.0.0.1:{gateway.port}")
        seen = [await visitor.request("GET", "/v1/queues", token("customer", "c-1")) for _ in range(3)]
        assert [status for status, _, _ in seen] == [200, 200, 429]
        assert 99 <= int(seen[2][2]["Retry-After"]) <= 150, "until there is one more, and up to half as much again"
        seen = [await visitor.request("GET", "/v1/queues", token("operator", "o-1")) for _ in range(3)]
        assert [status for status, _, _ in seen] == [200, 200, 200]
    await gateway.stop()


async def test_security_headers(visitor: Visitor) -> None:
    """Given any answer; then scripts come only from here, no frames, camera and microphone for this origin alone."""
    _, _, headers = await visitor.request("GET", "/healthz")
    assert "script-src 'self'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "camera=(self)" in headers["Permissions-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", "/customer", "/agent"])
async def test_pages_load_what_they_name(visitor: Visitor, path: str) -> None:
    """Given a page; then it and everything that it names come from here, with the policy that lets nothing else in."""
    async with visitor.http.get(visitor.base + path) as response:
        assert (response.status, response.content_type) == (200, "text/html")
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert response.headers["Cache-Control"] == "no-cache"
        text = await response.text()
    named = set(re.findall(r'(?:src|href)="(/pages/[^"#]+)', text))
    assert named
    for asset in named:
        async with visitor.http.get(visitor.base + asset) as response:
            assert response.status == 200, asset
            if asset.endswith(".js"):
                assert response.content_type in ("text/javascript", "application/javascript")


async def test_an_operator_moves_a_division(visitor: Visitor, stub: StubHall, token: Token) -> None:
    """Given an operator; then the hall is told to move the division; others, and what cannot be, are refused by name."""
    path, body = "/v1/divisions/main/slot", {"slot_id": "shard-1"}
    status, _, _ = await visitor.request("PUT", path, token("supervisor", "s-1"), json=body)
    assert (status, stub.moves) == (403, [])
    status, answer, _ = await visitor.request("PUT", path, token("operator", "o-1"), json=body)
    assert (status, answer) == (200, {"division_id": "main", "slot_id": "shard-1"})
    assert stub.moves == [("main", "shard-1")]
    for reason, expected in (("unknown_slot", 404), ("cannot_replay", 409), ("not_ready", 503)):
        stub.fault = MoveRefused(reason)
        status, problem, _ = await visitor.request("PUT", path, token("operator", "o-1"), json=body)
        assert (status, problem["reason"]) == (expected, reason)
