"""What every answer carries, whoever asks for whatever; where a page may come from; and pages that live by their own policy."""

import asyncio
import json
import re
import ssl
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import aiohttp
import pytest

from gateway.app import PAGE_BY_PATH, PAGES_FOLDER, Gateway
from gateway.operations import Operation
from gateway.problems import CONTENT_SECURITY_POLICY, SECURITY_HEADERS
from gateway.rest import OPERATIONS
from gateway.settings import Settings
from gateway.tls import development_certificate
from tests.gateway.client import JSON, Visitor
from tests.gateway.stub_hall import StubHall

Token = Callable[..., str]


def assert_guarded(headers: "aiohttp.typedefs.LooseHeaders", where: str) -> None:
    carried = dict(headers)  # type: ignore[arg-type]
    for name, value in SECURITY_HEADERS.items():
        assert carried.get(name) == value, (where, name)
    assert carried["Server"] == "tellerhall", where


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        *(("GET", path, 200) for path in PAGE_BY_PATH),
        ("HEAD", "/", 200),
        ("GET", "/pages/client.js", 200),
        ("GET", "/pages/style.css", 200),
        ("GET", "/pages/icon.svg", 200),
        ("GET", "/pages/none.js", 404),
        ("GET", "/pages/../app.py", 404),
        ("GET", "/pages/", 404),
        ("GET", "/no-such-path", 404),
        ("DELETE", "/", 404),
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("GET", "/metrics", 200),
        ("GET", "/v1/queues", 401),
        ("GET", "/v1/ws", 400),
        ("POST", "/v1/tickets", 401),
        ("OPTIONS", "/v1/calls", 200),
    ],
)
async def test_every_answer_is_guarded(visitor: Visitor, method: str, path: str, status: int) -> None:
    """Given pages, files, errors, health, REST, preflights; then each answer carries all security headers."""
    async with visitor.http.request(method, visitor.base + path, allow_redirects=False) as response:
        await response.read()
        assert response.status in (status, 405 if status == 404 else status, 403 if path == "/pages/" else status)
        assert_guarded(response.headers, path)
        assert "Strict-Transport-Security" not in response.headers


async def test_refusals_and_bugs_are_guarded(visitor: Visitor, stub: StubHall, token: Token) -> None:
    """Given a wrong role, a bad body, a body that is too large and a bug of ours; then each problem carries them too."""
    stub.replies["request"] = RuntimeError("secret")
    customer = {"Authorization": f"Bearer {token('customer', 'c-1')}"}
    good = {"queue_id": "loans", "is_consented": True}
    for options, status in (
        ({"json": good}, 500), ({"data": b"{"}, 400), ({"json": {**good, "nonsense": 1}}, 400), ({"data": b"x" * 2_000_000},
        413),
    ):  # fmt: skip
        async with visitor.http.post(visitor.base + "/v1/calls", headers=customer, **options) as response:  # type: ignore[arg-type]
            assert response.status == status
            assert_guarded(response.headers, str(status))


async def test_with_tls_browsers_are_told_to_stay_with_it(tmp_path: Path, stub: StubHall, token: Token) -> None:
    """RFC 6797: given TLS in this process; then every answer has Strict-Transport-Security, pages and errors alike."""
    certificate, key = development_certificate(tmp_path / "tls", ["127.0.0.1"])
    settings = Settings(keys_folder=tmp_path / "keys", certificate_path=certificate, key_path=key, stop_ms=100)
    gateway = Gateway(stub, settings)  # type: ignore[arg-type]
    await gateway.start()
    trusting = ssl.create_default_context(cafile=str(certificate))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting)) as http:
        for path in ("/", "/pages/client.js", "/v1/queues", "/no-such-path"):
            async with http.get(f"https://127.0.0.1:{gateway.port}{path}") as response:
                assert response.headers["Strict-Transport-Security"] == "max-age=31536000"
                assert_guarded(response.headers, path)
    await gateway.stop()


# -- where a page may come from


def foreign(base: str) -> list[str]:
    """Origins that are nearly ours."""
    host = base.removeprefix("http://")
    return [
        "https://evil.example", "null", "", f"https://{host}", f"{base}.evil.example", f"http://evil.example#{host}",
        f"{base}/", base.rpartition(":")[0], f"{base}0", base.replace("127.0.0.1", "127.0.0.2"), f"http://x@{host}",
        "file://", base.upper(),
    ]  # fmt: skip


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one.id)
async def test_a_foreign_page_may_do_nothing(
    visitor: Visitor, token: Token, operation: Operation, stub: StubHall
) -> None:
    """Given any operation and a good token; when a foreign page asks; then wrong_origin, and nothing reaches the hall."""
    path = operation.path.replace("{", "x-").replace("}", "")
    for origin in foreign(visitor.base):
        headers = {"Origin": origin}
        status, problem, _ = await visitor.request(
            operation.method, path, token(operation.roles[0], "x-1"), headers=headers
        )
        assert (status, problem["reason"]) == (403, "wrong_origin"), origin
    assert stub.commands == []


async def test_a_foreign_page_gets_no_upgrade(visitor: Visitor, token: Token, stub: StubHall) -> None:
    """Given a good ticket; when a foreign page brings it; then 403 before any upgrade, and the ticket is still good."""
    ticket = await visitor.ticket(token("customer", "c-1"))
    for origin in foreign(visitor.base):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await visitor.http.ws_connect(f"{visitor.base}/v1/ws", protocols=(JSON, ticket), headers={"Origin": origin})
        assert refused.value.status == 403
    assert not stub.listeners
    client = await visitor.admitted(ticket)
    assert (await client.next())["type"] == "session.welcome"
    await client.socket.close()


async def test_configured_origins_are_exact(tmp_path: Path, stub: StubHall, token: Token) -> None:
    """Given one origin that may; then it may, and what only resembles it may not."""
    settings = Settings(keys_folder=tmp_path / "keys", allowed_origins=("https://bank.example",), stop_ms=100)
    gateway = Gateway(stub, settings)  # type: ignore[arg-type]
    await gateway.start()
    async with aiohttp.ClientSession() as http:
        visitor = Visitor(http, f"http://127.0.0.1:{gateway.port}")
        operator = token("operator", "o-1")
        for origin, expected in (
            ("https://bank.example", 200), ("http://bank.example", 403), ("https://bank.example:443", 403),
            ("https://a.bank.example", 403), ("https://bank.example.evil", 403), ("https://BANK.example", 403),
        ):  # fmt: skip
            status, _, _ = await visitor.request("GET", "/v1/queues", operator, headers={"Origin": origin})
            assert status == expected, origin
    await gateway.stop()


# -- pages under their own policy


class Inline(HTMLParser):
    """Finds what the policy would not let run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._in = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self._in = tag if tag in ("script", "style") else ""
        self.found += [f"{tag} {name}" for name in values if name == "style" or name.startswith("on")]
        for name in ("src", "href", "action"):
            if re.match(r"(?:\w+:)?//|javascript:|data:", values.get(name) or ""):
                self.found.append(f"{tag} {name}={values[name]}")

    def handle_data(self, data: str) -> None:
        if self._in and data.strip():
            self.found.append(f"inline {self._in}")

    def handle_endtag(self, tag: str) -> None:
        self._in = ""


def test_the_policy_is_strict() -> None:
    """Given the policy; then nothing by default, scripts and styles from here alone, no frames, nothing inline or evaluated."""
    parts = dict(one.split(" ", 1) for one in CONTENT_SECURITY_POLICY.split("; "))
    assert parts["default-src"] == "'none'"
    assert parts["script-src"] == parts["style-src"] == parts["connect-src"] == "'self'"
    assert parts["frame-ancestors"] == parts["base-uri"] == "'none'"
    assert not re.search(r"unsafe|\*|https?:", CONTENT_SECURITY_POLICY)
    assert {"camera=(self)", "microphone=(self)"} <= set(SECURITY_HEADERS["Permissions-Policy"].split(", "))


@pytest.mark.parametrize("path", sorted(PAGES_FOLDER.glob("*.html")), ids=lambda path: path.name)
def test_pages_have_nothing_inline(path: Path) -> None:
    """Given each page; then no script, style or handler stands in it, and nothing comes from elsewhere."""
    parser = Inline()
    parser.feed(path.read_text())
    assert parser.found == []


@pytest.mark.parametrize("path", sorted(PAGES_FOLDER.glob("*.js")), ids=lambda path: path.name)
def test_scripts_evaluate_nothing(path: Path) -> None:
    """Given each script; then it makes no code and no markup out of text, and sets no style attribute."""
    text = path.read_text()
    pattern = (
        r"\beval\(|new Function\(|\.(inner|outer)HTML\b|insertAdjacentHTML|document\.write|setAttribute\(\"style\""
    )
    assert not re.search(pattern, text)


async def test_what_is_no_http_gets_a_problem_and_no_page(gateway: Gateway) -> None:
    """Given bytes that are no request; then a problem with every answer's headers, and not a byte of the request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nno header <script>\r\n\r\n")
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Type: application/problem+json" in head
    assert all(f"{name}: {value}".encode() in head for name, value in SECURITY_HEADERS.items())
    assert (json.loads(body)["reason"], b"script" in body) == ("malformed", False)
