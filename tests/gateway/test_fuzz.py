"""Fuzzers before a real gateway and a real hall: no 5xx but 503, no close without a documented code, and the hall goes on.

Bounded for `make test`; `make fuzz` goes on for `FUZZ_S` seconds, with other numbers each time.
"""

import asyncio
import contextlib
import os
import re
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.hall import Hall
from actors.local import local_hall
from gateway.app import Gateway
from gateway.development_issuer import DevelopmentIssuer
from gateway.settings import Settings
from tests.gateway.client import JSON, MSGPACK, TIMEOUT_S, Client, Visitor
from tests.gateway.fuzzing import ROLES, SUBJECT_BY_ROLE, bounded, encoded, frames, rest_fuzzer
from tests.gateway.test_call_life import PLAN, REQUEST

Token = Callable[..., str]
FUZZ_S = float(os.environ.get("FUZZ_S", "0"))
REST_EXAMPLES = 5
SOCKET_EXAMPLES = 40
FRAMES_MAX = 12
PROTOCOL = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
DOCUMENTED = {int(code) for code in re.findall(r"^\| (\d{4}) \|", PROTOCOL, re.MULTILINE)}
UNDER_NO_CIRCUMSTANCES = {1011}
"""Documented, and still a mistake of ours when it follows from what a client says."""


@pytest.fixture
async def hall() -> AsyncIterator[Hall]:
    async with local_hall(PLAN) as local:
        hall = local.hall("g-1")
        yield hall
        await hall.close()


@pytest.fixture
def issuer(tmp_path: Path) -> DevelopmentIssuer:
    return DevelopmentIssuer.open(tmp_path / "keys")


@pytest.fixture
async def visitor(hall: Hall, tmp_path: Path) -> AsyncIterator[Visitor]:
    settings = Settings(
        keys_folder=tmp_path / "keys",
        recordings_folder=tmp_path / "recordings",
        stop_ms=200,
        messages_per_s=10_000.0,
        messages_burst=10_000,
        command_timeout_ms=3_000,
    )
    gateway = Gateway(hall, settings)
    await gateway.start()
    async with aiohttp.ClientSession() as http:
        yield Visitor(http, f"http://127.0.0.1:{gateway.port}")
        await gateway.stop()


async def assert_healthy(visitor: Visitor, token: Token) -> None:
    """The hall answers, and a customer nobody knew gets a call and ends it."""
    status, problem, _ = await visitor.request("GET", "/readyz")
    assert status == 200, problem
    name = f"c-{time.monotonic_ns()}"
    status, call, _ = await visitor.request("POST", "/v1/calls", token("customer", name), json=REQUEST)
    assert status == 201, call
    status, problem, _ = await visitor.request("DELETE", f"/v1/calls/{call['call_id']}", token("customer", name))
    assert status == 200, problem


async def two_calls(visitor: Visitor, token: Token) -> list[str]:
    """A call of `c-1` and one of `c-2`, which wait."""
    found = []
    for subject in ("c-1", "c-2"):
        _, call, _ = await visitor.request("POST", "/v1/calls", token("customer", subject), json=REQUEST)
        found.append(call["call_id"])
    return found


async def test_rest(visitor: Visitor, token: Token) -> None:
    """Given everything that OpenAPI allows, and much that it forbids, by every role upon ids that exist and that do not; then
    each answer has a status, a type and a body that OpenAPI names, no 5xx but 503, and the hall serves on."""
    call_ids = await two_calls(visitor, token)
    tokens = {role: token(role, SUBJECT_BY_ROLE[role]) for role in ROLES}
    until_s = time.monotonic() + (FUZZ_S or 3_600)
    run, asked = 0, {}
    while True:
        fuzzer = rest_fuzzer(visitor.base, tokens, call_ids, REST_EXAMPLES, run, until_s)
        while (done := await asyncio.to_thread(next, fuzzer, None)) is not None:
            asked[done[0]] = asked.get(done[0], 0) + done[1]
        await assert_healthy(visitor, token)
        run += 1
        if not FUZZ_S or time.monotonic() > until_s:
            break
    assert min(asked.values()) > 0


@pytest.mark.filterwarnings(
    "ignore:Do not use the `random` module"
)  # The gateway does, in the loop beside the fuzzer's thread.
@pytest.mark.parametrize("subprotocol", [JSON, MSGPACK])
async def test_sockets(visitor: Visitor, token: Token, subprotocol: str) -> None:
    """Given frames of every kind by every role; then what has an id is answered once, nothing is closed but with a documented
    code, and the hall serves on."""
    call_ids = await two_calls(visitor, token)
    ids = [*call_ids, f"{call_ids[0]}.1", "k-unknown"]
    until_s = time.monotonic() + FUZZ_S
    run = 0
    while not run or time.monotonic() < until_s:
        for role in ROLES:
            talk = talking(visitor, token(role, SUBJECT_BY_ROLE[role]), subprotocol)
            strategy = st.lists(frames(role, ids), min_size=1, max_size=FRAMES_MAX)
            await asyncio.to_thread(bounded(given(strategy)(talk), SOCKET_EXAMPLES, run))
            await assert_healthy(visitor, token)
        run += 1


@pytest.mark.parametrize("role", ROLES)
async def test_any_number_resumes(visitor: Visitor, token: Token, role: str) -> None:
    """Given a client that claims to have seen whatever number; then it is greeted, and its next message answered; what is no
    number is refused by name."""
    for resume in (0, 1, 2**31, 10**18 - 1):
        client = await visitor.greeted(token(role, SUBJECT_BY_ROLE[role]), resume=resume)
        assert client.messages[0]["type"] in ("session.welcome", "session.resumed", "session.reset")
        assert (await client.ask("call.fly"))["data"]["reason"] == "unknown_type"
        await client.socket.close()
    for resume in ("-1", "1e3", "", "9" * 19, "٣", "%00"):
        url = f"{visitor.base}/v1/ws?resume={resume}"
        headers = {"Authorization": f"Bearer {token(role, SUBJECT_BY_ROLE[role])}"}
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await visitor.http.ws_connect(url, protocols=(JSON,), headers=headers)
        assert refused.value.status == 400


def talking(visitor: Visitor, signed: str, subprotocol: str) -> Callable[[list[Any]], None]:
    """A conversation as hypothesis calls it, from its thread; it is held in the gateway's loop."""
    loop = asyncio.get_running_loop()

    def talk(sent: list[Any]) -> None:
        work = converse(visitor, signed, subprotocol, sent)
        asyncio.run_coroutine_threadsafe(work, loop).result(12 * TIMEOUT_S)

    return talk


async def converse(visitor: Visitor, token: str, subprotocol: str, sent: list[Any]) -> None:
    """Send the frames, then a message that is always answered; judge what came."""
    client = await let_in(visitor, token, subprotocol)
    try:
        last = {"v": 1, "id": "the last one", "type": "call.fly"}
        with contextlib.suppress(ConnectionError):  # It may have been closed at one of them; the code says why.
            for frame in [*sent, last]:
                payload = encoded(frame, client.is_text)
                await (client.socket.send_str if isinstance(payload, str) else client.socket.send_bytes)(payload)
        answers = await answers_of(client)
        if client.socket.closed:
            assert client.socket.close_code in DOCUMENTED - UNDER_NO_CIRCUMSTANCES, (client.socket.close_code, sent)
            return
        assert [one["type"] for one in answers if one.get("re") == "the last one"] == ["error"]
        assert "Traceback" not in str(answers)
        assert not [one for one in answers if one["type"] == "error" and one["data"]["reason"] == "internal"], answers
        assert len([one for one in answers if one["type"] in ("ack", "error")]) <= len(sent) + 1
    finally:
        await client.socket.close()


async def let_in(visitor: Visitor, token: str, subprotocol: str) -> Client:
    """Connect; one client may do that a few times a second, and waits as it is told."""
    while True:
        try:
            return await visitor.greeted(token, subprotocol=subprotocol)
        except aiohttp.WSServerHandshakeError as error:
            if error.status != 429:
                raise
            await asyncio.sleep(float((error.headers or {})["Retry-After"]))


async def answers_of(client: Client) -> list[dict[str, Any]]:
    """Everything up to the answer to the last message, or to the end."""
    found: list[dict[str, Any]] = []
    while True:
        async with asyncio.timeout(TIMEOUT_S):
            frame = await client.socket.receive()
        if frame.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            await client.socket.close()
            return found
        found.append(msgspec.json.decode(frame.data) if client.is_text else msgspec.msgpack.decode(frame.data))
        if found[-1].get("re") == "the last one":
            return found
