"""Who is let in: origin, subprotocol, token, role, room, TLS."""

import asyncio
import base64
import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from joserfc.jwk import ECKey

from gateway import entrance
from gateway.app import Gateway
from gateway.development_issuer import DevelopmentIssuer, rotate
from gateway.identity import open_verifier
from gateway.refusals import Refused
from gateway.settings import Settings
from gateway.tls import development_certificate
from tests.gateway.client import JSON, Visitor
from tests.gateway.stub_hall import StubHall

Token = Callable[..., str]


async def refusal(visitor: Visitor, **options: Any) -> tuple[int, dict[str, Any]]:
    """Try an upgrade and return the status and problem document of its refusal."""
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(b"0123456789abcdef").decode(),
        **options.pop("headers", {}),
    }
    async with visitor.http.get(visitor.base + options.pop("path", "/v1/ws"), headers=headers) as response:
        assert response.content_type == "application/problem+json"
        document = await response.json()
    assert document["status"] == response.status
    assert {"type", "title", "status", "detail", "reason"} <= set(document)
    return response.status, document


async def test_a_token_in_the_header(visitor: Visitor, token: Token) -> None:
    """Given an app; when it signs in by header; then it is welcome."""
    headers = {"Authorization": f"Bearer {token('customer', 'c-1')}"}
    socket = await visitor.http.ws_connect(f"{visitor.base}/v1/ws", protocols=(JSON,), headers=headers)
    assert json.loads((await socket.receive()).data)["type"] == "session.welcome"
    await socket.close()


async def test_no_token_is_401(visitor: Visitor) -> None:
    """docs/protocol.md: a missing token is HTTP 401."""
    status, document = await refusal(visitor, headers={"Sec-WebSocket-Protocol": JSON})
    assert (status, document["reason"]) == (401, "not_signed_in")


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda token: "nonsense", 4001),
        (lambda token: token("customer", "c-1")[:-4] + "AAAA", 4001),
        (lambda token: token("customer", "c-1", -10), 4002),
        (lambda token: token("customer", "c-1", 60, "elsewhere"), 4003),
    ],
)
async def test_a_page_sees_why_it_is_refused(
    visitor: Visitor, stub: StubHall, token: Token, make: Callable[[Token], str], code: int
) -> None:
    """Given a bad token offered as subprotocol; then the close code says why, and nobody is subscribed."""
    client = await visitor.connect(make(token))
    assert await client.closed() == code
    assert client.messages == []
    assert not stub.unsubscribed


async def test_an_unknown_subprotocol_is_400(visitor: Visitor, token: Token) -> None:
    """docs/protocol.md: no subprotocol that we know is HTTP 400."""
    headers = {"Sec-WebSocket-Protocol": "tellerhall.v9.json", "Authorization": f"Bearer {token('customer', 'c-1')}"}
    status, document = await refusal(visitor, headers=headers)
    assert (status, document["reason"]) == (400, "malformed")


async def test_a_foreign_origin_is_403(visitor: Visitor, token: Token) -> None:
    """Given a page of somebody else; then it may not use the browser's way to us, whatever token it has."""
    headers = {
        "Sec-WebSocket-Protocol": JSON,
        "Origin": visitor.base + ".evil.example",
        "Authorization": f"Bearer {token('customer', 'c-1')}",
    }
    status, document = await refusal(visitor, headers=headers)
    assert (status, document["reason"]) == (403, "wrong_origin")


async def test_the_own_origin_is_let_in(visitor: Visitor, token: Token) -> None:
    """Given our own page; then its origin is right."""
    client = await visitor.connect(token("customer", "c-1"), headers={"Origin": visitor.base})
    assert (await client.next())["type"] == "session.welcome"


async def test_no_upgrade_is_a_problem(visitor: Visitor, token: Token) -> None:
    """Given a plain request; then a problem document, not a page of aiohttp's."""
    headers = {"Sec-WebSocket-Protocol": JSON}
    status, document, _ = await visitor.request("GET", "/v1/ws", token("customer", "c-1"), headers=headers)
    assert (status, document["reason"]) == (400, "malformed")


@pytest.mark.parametrize("resume", ["-1", "x", "1.5", "9" * 19])
async def test_resume_is_a_number(visitor: Visitor, token: Token, resume: str) -> None:
    """Given nonsense to resume from; then 400 with the reason."""
    headers = {"Sec-WebSocket-Protocol": JSON, "Authorization": f"Bearer {token('customer', 'c-1')}"}
    status, document = await refusal(visitor, headers=headers, path=f"/v1/ws?resume={resume}")
    assert (status, document["reason"]) == (400, "bad_value")


async def test_a_full_gateway_says_when(tmp_path: Path, token: Token, stub: StubHall) -> None:
    """Given room for one; when a second comes; then 503 with the time to wait."""
    gateway = Gateway(stub, Settings(keys_folder=tmp_path / "keys", connections_max=1, stop_ms=100))  # type: ignore[arg-type]
    await gateway.start()
    async with aiohttp.ClientSession() as http:
        visitor = Visitor(http, f"http://127.0.0.1:{gateway.port}")
        client = await visitor.greeted(token("customer", "c-1"))
        status, document = await refusal(visitor, headers={"Sec-WebSocket-Protocol": JSON})
        assert (status, document["reason"]) == (503, "overloaded")
        await client.socket.close()
    await gateway.stop()


async def test_an_expiring_token_is_warned_then_ended(visitor: Visitor, token: Token) -> None:
    """Given a token for two seconds; then `session.token` warns at once and 4002 ends it."""
    client = await visitor.greeted(token("customer", "c-1", 2))
    warning = await client.until("session.token")
    assert warning["data"]["expires_at_ms"] > client.messages[0]["data"]["server_ms"]
    assert await client.closed() == 4002


def test_a_banks_own_issuer(tmp_path: Path) -> None:
    """Given a JWKS file; then its tokens count, and the development issuer's do not."""
    key = ECKey.generate_key("P-256", auto_kid=True)
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    verifier = open_verifier(Settings(jwks_path=tmp_path / "jwks.json", issuer="bank", audience="hall", host="0.0.0.0"))
    assert verifier.identify(DevelopmentIssuer(key, "bank", "hall").issue("agent", "a-1")).principal == "agent:a-1"
    with pytest.raises(Refused):
        verifier.identify(DevelopmentIssuer.open(tmp_path, "bank", "hall").issue("agent", "a-1"))


async def test_a_key_that_leaked_ends_its_sessions(visitor: Visitor, token: Token, tmp_path: Path) -> None:
    """Given somebody who is in; when the key of their token is taken out; then the connection ends as not signed in."""
    client = await visitor.greeted(token("customer", "c-1"))
    rotate(tmp_path / "keys", is_leaked=True)
    fresh = DevelopmentIssuer.open(tmp_path / "keys").issue("customer", "c-2")
    other = await visitor.greeted(fresh)
    assert await client.closed() == 4001
    await other.ask("call.request", {"queue_id": "q", "is_consented": True})
    await other.socket.close()


async def test_tls_with_the_development_certificate(tmp_path: Path, stub: StubHall, token: Token) -> None:
    """SAFETY.md 12: given the self-signed certificate; when a client trusts it; then wss works from its own origin."""
    certificate, key = development_certificate(tmp_path / "tls", ["10.1.2.3", "hall.test"])
    assert key.stat().st_mode & 0o777 == 0o600
    stamp = certificate.stat().st_mtime_ns
    assert development_certificate(tmp_path / "tls", ["10.1.2.3"])[0].stat().st_mtime_ns == stamp
    settings = Settings(keys_folder=tmp_path / "keys", certificate_path=certificate, key_path=key, stop_ms=100)
    gateway = Gateway(stub, settings)  # type: ignore[arg-type]
    await gateway.start()
    trusting = ssl.create_default_context(cafile=str(certificate))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting)) as http:
        base = f"https://127.0.0.1:{gateway.port}"
        client = await Visitor(http, base).connect(token("customer", "c-1"), headers={"Origin": base})
        assert (await client.next())["type"] == "session.welcome"
        await client.socket.close()
    await gateway.stop()


async def test_two_gateways_share_a_port(tmp_path: Path, stub: StubHall) -> None:
    """Given a shared port; then a second gateway listens on it too, and both serve."""
    first = Gateway(stub, Settings(keys_folder=tmp_path, is_port_shared=True, gateway_id="g-1"))  # type: ignore[arg-type]
    await first.start()
    settings = Settings(keys_folder=tmp_path, is_port_shared=True, gateway_id="g-2", port=first.port)
    second = Gateway(stub, settings)  # type: ignore[arg-type]
    await second.start()
    seen = set()
    for _ in range(200):
        async with aiohttp.ClientSession() as http:
            _, body, _ = await Visitor(http, f"http://127.0.0.1:{first.port}").request("GET", "/healthz")
        seen.add(body["gateway_id"])
        if len(seen) == 2:
            break
    assert seen == {"g-1", "g-2"}
    await asyncio.gather(first.stop(), second.stop())


async def test_those_let_in_and_not_greeted_yet_are_bounded(
    visitor: Visitor, stub: StubHall, token: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a hall that greets nobody for a while; when more come than may wait for that; then the others are told to come back
    later, and are let in when those are greeted, or gone."""
    monkeypatch.setattr(entrance, "ENTERING_MAX", 2)
    greets, subscribe = asyncio.Event(), stub.subscribe

    async def held(*arguments: Any, **more: Any) -> Any:
        await greets.wait()
        return await subscribe(*arguments, **more)

    monkeypatch.setattr(stub, "subscribe", held)
    entering = [await visitor.connect(token("customer", f"c-{number}")) for number in range(2)]
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await visitor.connect(token("customer", "c-2"))
    assert refused.value.status == 503
    assert refused.value.headers is not None
    assert int(refused.value.headers["Retry-After"]) >= 5
    greets.set()
    for client in entering:
        assert (await client.next())["type"] == "session.welcome"
    for number in range(2, 6):
        assert (await (await visitor.connect(token("customer", f"c-{number}"))).next())["type"] == "session.welcome"
