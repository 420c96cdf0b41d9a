"""Attacks over plain HTTP, by real sockets: who is slow, idle, huge, ambiguous or packed is told so or cut off.

Others are served meanwhile. On uvloop, as gateways run.
"""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
from msgspec.structs import replace

from gateway import bounds, door, porter
from gateway.app import Gateway
from gateway.limits import BODY_BYTES_MAX, HEAD_BYTES_MAX, HEADERS_MAX
from gateway.settings import Settings
from tests.gateway.client import Visitor
from tests.gateway.raw import ON_UVLOOP, Raw, event_loop_policy, get, upgrade, while_served
from tests.gateway.stub_hall import StubHall
from tests.waiting import PATIENCE_S, until

__all__ = ["event_loop_policy"]
pytestmark = ON_UVLOOP
Token = Callable[..., str]


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bounds, a twentieth as long."""
    monkeypatch.setattr(porter, "ROUND_S", 0.05)
    for state in (door.NEW, door.HEAD):
        monkeypatch.setitem(door.LIMIT_S_BY_STATE, state, door.LIMIT_S_BY_STATE[state] / 20)
    monkeypatch.setattr(bounds, "BODY_MS_MAX", 500)
    monkeypatch.setattr(door, "READ_MS_MAX", 400)


@pytest.fixture
async def few(stub: StubHall, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gateway]:
    """A gateway with room for 10 sockets, that bounds this machine's addresses too: 4 connections each."""
    monkeypatch.setattr(porter, "PLAIN_SOCKETS_MAX", 5)
    settings = replace(settings, connections_max=5, unlimited_networks=(), connections_per_address_max=4)
    gateway = Gateway(stub, settings)  # type: ignore[arg-type]
    await gateway.start()
    yield gateway
    await gateway.stop()


async def works(gateway: Gateway, source: str = "127.0.0.9") -> bool:
    """Whether somebody at another address is served."""
    raw = await Raw.open(gateway.port, source)
    raw.send(get("/healthz", Connection="close"))
    status, _, _ = await raw.answer()
    raw.end()
    return status == 200


async def test_who_says_nothing_is_let_go(gateway: Gateway, soon: None) -> None:
    """Given a connection without a byte; then it is ended in the time for the first, not kept for the idle time."""
    raw = await Raw.open(gateway.port)
    await raw.ended()
    assert await works(gateway)


async def test_slow_headers(gateway: Gateway, visitor: Visitor, token: Token, soon: None) -> None:
    """Slowloris: given fifty who send a header line now and then; then each is cut off, others are served meanwhile."""

    async def attack() -> None:
        peers = [await Raw.open(gateway.port) for _ in range(50)]
        for peer in peers:
            peer.send(get("/healthz")[:-2])
        await asyncio.gather(*(drip(peer, b"X-A: b\r\n") for peer in peers))

    await while_served(visitor, token("customer", "c-1"), attack())


async def drip(peer: Raw, piece: bytes) -> None:
    """Send `piece` again and again until the server ends the connection."""

    async def sending() -> None:
        while True:
            peer.send(piece)
            await asyncio.sleep(0.05)

    task = asyncio.create_task(sending())
    await peer.ended()
    task.cancel()
    peer.end()


async def test_headers_of_a_second_request_are_slow(gateway: Gateway, soon: None) -> None:
    """Given a request that was answered; when the next one's headers never end; then it is cut off as a first one is."""
    raw = await Raw.open(gateway.port)
    raw.send(get("/healthz"))
    assert (await raw.answer())[0] == 200
    await drip(raw, b"GET /healthz HTTP/1.1\r\nX: y")


async def test_half_an_upgrade(gateway: Gateway, token: Token, soon: None) -> None:
    """Given the first half of an upgrade; then it is cut off."""
    raw = await Raw.open(gateway.port)
    raw.send(upgrade(token("customer", "c-1"))[:-30])
    await raw.ended()


async def test_a_slow_body(gateway: Gateway, visitor: Visitor, token: Token, soon: None) -> None:
    """Given a body that comes byte by byte; then 408 by name, and the connection ends; others are served meanwhile."""
    head = post(token("customer", "c-2"), "Content-Length: 5000")
    answers: list[tuple[int, bytes]] = []

    async def attack() -> None:
        raw = await Raw.open(gateway.port)
        raw.send(head)
        for _ in range(3):
            raw.send(b" ")
            await asyncio.sleep(0.02)
        status, _, body = await raw.answer()
        answers.append((status, body))
        await raw.ended()

    await while_served(visitor, token("customer", "c-1"), attack())
    assert answers[0][0] == 408
    assert b"too_slow" in answers[0][1]


def post(token: str, *lines: str) -> bytes:
    """The head of `POST /v1/calls`."""
    named = ["POST /v1/calls HTTP/1.1", "Host: hall", f"Authorization: Bearer {token}", *lines]
    return ("\r\n".join(named) + "\r\n\r\n").encode()


async def test_an_answer_that_nobody_reads(gateway: Gateway, soon: None) -> None:
    """Given one who asks for pages and reads nothing; then the connection is cut off, and what was held for it is free."""
    raw = await Raw.open(gateway.port, window=4_096)
    raw.writer.transport.pause_reading()
    [held] = gateway._porters
    for _ in range(30):
        raw.send(get("/pages/style.css"))
    await until(lambda: len(held) > 0)
    await until(lambda: len(held) == 0)
    assert await works(gateway)


async def test_an_answer_that_is_read_drop_by_drop(gateway: Gateway, soon: None) -> None:
    """Given one who reads 16 bytes at a time; then it is cut off too: it takes less than the least."""
    raw = await Raw.open(gateway.port, window=4_096)
    raw.writer.transport.pause_reading()
    [held] = gateway._porters
    loop = asyncio.get_running_loop()
    for _ in range(30):
        raw.send(get("/pages/style.css"))
    duplicate = raw.socket.dup() if hasattr(raw.socket, "dup") else raw.socket
    duplicate.setblocking(False)
    async with asyncio.timeout(PATIENCE_S):
        await until(lambda: len(held) > 0)
        while len(held):
            try:
                await asyncio.wait_for(loop.sock_recv(duplicate, 16), 0.05)
            except (TimeoutError, ConnectionError):
                pass
            await asyncio.sleep(0.02)
    duplicate.close()


async def test_idle_connections_make_room(few: Gateway) -> None:
    """Given all sockets taken by connections without a request, from many addresses; when another comes; then the oldest go."""
    idle = [await Raw.open(few.port, f"127.0.0.{10 + number}") for number in range(10)]
    assert await works(few)
    await idle[0].ended()
    for one in idle:
        one.end()


async def test_one_address_has_its_share(few: Gateway) -> None:
    """Given an address at its bound of connections; then a further one is told 429; another address is served."""
    mine = [await Raw.open(few.port, "127.0.0.2") for _ in range(5)]
    for one in mine:
        one.send(get("/healthz"))
    seen = [await one.answer() for one in mine]
    assert [status for status, _, _ in seen] == [200, 200, 200, 200, 429]
    assert int(seen[4][1]["retry-after"]) >= 1
    assert await works(few)
    mine[0].end()
    [held] = few._porters
    await until(lambda: len(held) < 4)
    assert await works(few, "127.0.0.2")
    for one in mine:
        one.end()


@pytest.mark.parametrize("excess", [0, 1])
async def test_headers_at_their_bound(gateway: Gateway, excess: int) -> None:
    """Given as many headers as are allowed, and one more; then 200, and 400."""
    raw = await Raw.open(gateway.port)
    raw.send(get("/healthz", **{f"X-{number}": "y" for number in range(HEADERS_MAX - 1 + excess)}))
    assert (await raw.answer())[0] == (400 if excess else 200)


async def test_a_head_that_is_too_large(gateway: Gateway) -> None:
    """Given headers of more bytes than are allowed together; then 431, and the connection ends."""
    raw = await Raw.open(gateway.port)
    lines = [f"X-{number}: {'y' * 7_000}\r\n" for number in range(1 + HEAD_BYTES_MAX // 7_000)]
    raw.send(get("/healthz")[:-2] + "".join(lines).encode())
    assert (await raw.answer())[0] == 431
    await raw.ended()


async def test_a_url_that_is_too_long(gateway: Gateway) -> None:
    """Given a request line past its bound; then 400."""
    raw = await Raw.open(gateway.port)
    raw.send(get("/healthz?" + "a" * 9_000))
    assert (await raw.answer())[0] == 400


AMBIGUOUS = [
    ("Content-Length: 2", "Transfer-Encoding: chunked"),
    ("Transfer-Encoding: chunked", "Content-Length: 2"),
    ("Content-Length: 2", "Content-Length: 3"),
    ("Content-Length: 2, 3",),
    ("Content-Length: +2",),
    ("Content-Length: 0x2",),
    ("Content-Length: -1",),
    ("Content-Length : 2",),
    ("Transfer-Encoding: chunked, identity",),
    ("Transfer-Encoding: identity, chunked, identity",),
    ("Transfer-Encoding: xchunked",),
    ("Transfer-Encoding:\x0bchunked",),
    ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
    ("X: a", " Content-Length: 2"),
    ("X: a\rContent-Length: 2",),
    ("X: a\0b",),
]


@pytest.mark.parametrize("lines", AMBIGUOUS)
async def test_requests_that_two_servers_read_differently(
    gateway: Gateway, stub: StubHall, token: Token, lines: tuple[str, ...]
) -> None:
    """Request smuggling (RFC 9112 section 11.2): given headers that leave open where a body ends; then 400 and the end.

    What follows on the connection is never read as a request.
    """
    raw = await Raw.open(gateway.port)
    inner = get("/v1/queues", Authorization=f"Bearer {token('customer', 'c-9')}")
    raw.send(post(token("customer", "c-1"), *lines) + b"0\r\n\r\n" + inner)
    status, _, _ = await raw.answer()
    assert status == 400
    assert (await raw.answer())[0] == 0, "nothing more is answered"
    assert stub.commands == []


@pytest.mark.parametrize(
    "body", [b"zz\r\n{}\r\n0\r\n\r\n", b"-1\r\n{}\r\n0\r\n\r\n", b"2\r\n{}x\r\n0\r\n\r\n", b"f" * 20 + b"\r\n"]
)
async def test_chunks_that_are_none(gateway: Gateway, stub: StubHall, token: Token, body: bytes) -> None:
    """Given a chunked body that is not what it says; then 400, the end, and no command."""
    raw = await Raw.open(gateway.port)
    raw.send(post(token("customer", "c-1"), "Transfer-Encoding: chunked") + body)
    assert (await raw.answer())[0] == 400
    await raw.ended()
    assert stub.commands == []


async def test_requests_one_behind_the_other(gateway: Gateway) -> None:
    """Given a thousand requests in one go; then each is answered, in order, and the connection goes on."""
    raw = await Raw.open(gateway.port)
    raw.send(get("/healthz") * 1_000)
    seen = [(await raw.answer())[0] for _ in range(1_000)]
    assert seen == [200] * 1_000


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("br", bytes), ("zstd", bytes), ("gzip, gzip", bytes)],
)
async def test_a_packed_body_is_not_unpacked(
    gateway: Gateway, token: Token, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    """A compression bomb: given 30 MB in a few packed KiB; then 415 by name."""
    packed = pack(b"0" * 30_000_000)[:BODY_BYTES_MAX] if pack is not bytes else b"\x1b" * 100
    raw = await Raw.open(gateway.port)
    raw.send(post(token("customer", "c-1"), f"Content-Length: {len(packed)}", f"Content-Encoding: {encoding}") + packed)
    status, _, body = await raw.answer()
    assert (status, b"bad_encoding" in body) == (415, True)


@pytest.mark.parametrize("excess", [0, 1])
async def test_a_body_at_its_bound(gateway: Gateway, token: Token, excess: int) -> None:
    """Given a body as large as allowed, and one byte more; then it is read (and found to be no JSON), and 413."""
    raw = await Raw.open(gateway.port)
    body = b" " * (BODY_BYTES_MAX + excess)
    raw.send(post(token("customer", "c-1"), f"Content-Length: {len(body)}") + body)
    assert (await raw.answer())[0] == (413 if excess else 400)


async def test_a_body_without_an_end(gateway: Gateway, token: Token) -> None:
    """Given chunks without an end; then 413 once they are more than a body may have."""
    raw = await Raw.open(gateway.port)
    raw.send(post(token("customer", "c-1"), "Transfer-Encoding: chunked"))
    for _ in range(20):
        raw.send(b"2000\r\n" + b" " * 8_192 + b"\r\n")
    assert (await raw.answer())[0] == 413
    await raw.ended()


async def test_what_is_no_http(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    """Given bytes that are no HTTP; then 400, the end, and not a line in the log: a flood of them would fill it."""
    for nonsense in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\r\n" * 50 + b"@\r\n\r\n",
    ):
        raw = await Raw.open(gateway.port)
        raw.send(nonsense)
        status, headers, _ = await raw.answer()
        assert status in (400, 0)
        assert not status or headers["content-type"].startswith("application/problem+json")
        await raw.ended()
    assert caplog.records == []


async def test_a_door_costs_nobody_a_task(tmp_path: Path, stub: StubHall, settings: Settings) -> None:
    """Given connections in every state; when the gateway stops; then nothing of them is left."""
    gateway = Gateway(stub, settings)  # type: ignore[arg-type]
    before = asyncio.all_tasks()
    await gateway.start()
    raws = [await Raw.open(gateway.port) for _ in range(3)]
    raws[1].send(b"GET / HT")
    raws[2].send(get("/healthz"))
    await raws[2].answer()
    async with aiohttp.ClientSession() as http:
        await Visitor(http, f"http://127.0.0.1:{gateway.port}").request("GET", "/healthz")
    await gateway.stop()
    for raw in raws:
        await raw.ended()
        raw.end()
    assert not asyncio.all_tasks() - before - {asyncio.current_task()}
