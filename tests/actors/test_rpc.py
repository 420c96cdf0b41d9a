"""Requests between parts over their own connections: order, errors by name, proof, bounds, losses."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from actors import rpc, rpc_client, rpc_server
from actors.inbox import Straggler
from actors.mailbox import NotOwner, PeerGone
from actors.rpc import CLIENT, HEAD, NONCE_BYTES, PROOF_BYTES, RECEIVE, Address, BrokenRule, Frames, frame, proof
from actors.rpc_client import RequestFailed, RpcClient
from actors.rpc_server import RpcServer
from actors.shard import ShardEnded
from tests.store.certificates import Authority
from tests.waiting import until


class Part:
    """Answers with what it got; holds what it is told to hold; raises what it is told to raise."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.gate = asyncio.Event()
        self.error: Exception | None = None

    async def receive(self, sender: str, number: int, payload: bytes) -> bytes:
        self.asked.append(f"{sender} {number}")
        if self.error is not None:
            raise self.error
        if sender == "held":
            await self.gate.wait()
        return payload * max(1, number)

    async def poll(self, gateway_id: str, cursor: int, wait_s: float) -> bytes:
        await self.gate.wait()
        return f"{gateway_id} {cursor} {wait_s}".encode()


def client_of(address: Address) -> RpcClient:
    async def find() -> Address:
        return address

    return RpcClient("part-e1", find)


@asynccontextmanager
async def served(part: Part) -> AsyncIterator[tuple[RpcServer, Address, RpcClient]]:
    server = RpcServer(part, ShardEnded)
    address = await server.start("127.0.0.1")
    client = client_of(address)
    try:
        yield server, address, client
    finally:
        client.close()
        await server.close()
        await until(lambda: not server.connections)


async def test_answers_come_as_they_are_ready() -> None:
    """Given a poll and a batch that wait; when a later batch is ready; then it is answered first, all over one connection."""
    part = Part()
    async with served(part) as (server, _, client):
        poll = asyncio.create_task(client.poll("g/d", 7, 1.5))
        held = asyncio.create_task(client.receive("held", 1, b"h"))
        assert await client.receive("s", 3, b"ab") == b"ababab"
        assert not poll.done()
        assert not held.done()
        assert len(server.connections) == 1
        part.gate.set()
        assert await asyncio.gather(poll, held) == [b"g/d 7 1.5", b"h"]


@pytest.mark.parametrize(
    ("error", "seen", "words"),
    [
        (ShardEnded("shard-0-e4"), PeerGone, "ShardEnded"),
        (NotOwner("shard-0-e4"), NotOwner, "shard-0-e4"),
        (PeerGone("nobody"), PeerGone, "nobody"),
        (KeyError("a customer's name"), RequestFailed, "KeyError"),
    ],
)
async def test_errors_by_name(error: Exception, seen: type[Exception], words: str) -> None:
    """Given a part that raises; when it is asked; then the error has its name here, and nothing of what it was about."""
    part = Part()
    async with served(part) as (_, _, client):
        part.error = error
        with pytest.raises(seen, match=words) as raised:
            await client.receive("s", 0, b"")
        assert type(raised.value) is seen
        assert "customer" not in str(raised.value)
        part.error = None
        assert await client.receive("s", 1, b"on") == b"on"


async def test_one_who_gives_up_disturbs_nobody() -> None:
    """Given a request that was cancelled; when its answer comes late; then it is dropped, and the connection goes on."""
    part = Part()
    async with served(part) as (server, _, client):
        held = asyncio.create_task(client.receive("held", 1, b"late"))
        await until(lambda: bool(part.asked))
        held.cancel()
        await asyncio.gather(held, return_exceptions=True)
        part.gate.set()
        assert await client.receive("s", 1, b"on") == b"on"
        assert len(server.connections) == 1


async def test_a_loss_is_told_at_once_and_the_next_request_connects_again() -> None:
    """Given requests under way; when the connection is lost; then all are told, and the next one has a connection."""
    part = Part()
    async with served(part) as (server, _, client):
        held = [asyncio.create_task(client.receive("held", number, b"h")) for number in range(3)]
        await until(lambda: len(part.asked) == 3)
        for connection in list(server.connections):
            connection.abort()
        outcomes = await asyncio.gather(*held, return_exceptions=True)
        assert [type(one) for one in outcomes] == [PeerGone] * 3
        assert await client.receive("s", 1, b"again") == b"again"


async def test_a_part_that_is_gone_is_gone() -> None:
    """Given a part that has ended; when it is asked; then PeerGone, before and after its address is known."""
    part = Part()
    async with served(part) as (server, address, client):
        assert await client.receive("s", 1, b"x") == b"x"
        await server.close()
        for one in (client, client_of(address)):
            with pytest.raises(PeerGone):
                await one.receive("s", 2, b"x")


async def test_what_comes_after_the_part_has_stopped_is_told_so() -> None:
    """Given a server that closes while an answer is still being made; when one more request comes; then PeerGone, unbegun."""
    part = Part()
    async with served(part) as (server, _, client):
        held = asyncio.ensure_future(client.receive("held", 1, b"x"))
        await until(lambda: len(part.asked) == 1)
        server.is_closing = True
        with pytest.raises(PeerGone, match="stopping"):
            await client.receive("s", 2, b"x")
        assert len(part.asked) == 1
        part.gate.set()
        assert await held == b"x"


async def test_a_straggler_is_told_so_and_logged_as_nothing() -> None:
    """Given a batch that comes out of order; then its sender, who has gone on, is told so, and no error is logged."""

    class Late(Part):
        async def receive(self, sender: str, number: int, payload: bytes) -> bytes:
            raise Straggler("batch 1 of s after 2")

    with structlog.testing.capture_logs() as lines:
        async with served(Late()) as (_, _, client):
            with pytest.raises(RequestFailed, match="after 2"):
                await client.receive("s", 1, b"x")
    assert not lines


async def test_many_strangers_make_one_line_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given many who break the rules within a second; then one line says so, and the next one how many were left out."""
    async with served(Part()) as (_, address, _):
        with structlog.testing.capture_logs() as lines:
            for _ in range(5):
                await refused(address, lambda _: os.urandom(NONCE_BYTES + PROOF_BYTES))
            assert [line["event"] for line in lines] == ["rpc.broken_rule"]
            monkeypatch.setattr(rpc_server, "WARN_S", 0.0)
            await refused(address, lambda _: os.urandom(NONCE_BYTES + PROOF_BYTES))
            await until(lambda: len(lines) == 2)
        assert lines[1]["left_out_count"] == 4


async def test_a_closed_client_stays_closed() -> None:
    """Given a client that was closed; when it is asked again; then PeerGone, and no connection stays."""
    async with served(Part()) as (server, _, client):
        assert await client.receive("s", 1, b"x") == b"x"
        client.close()
        with pytest.raises(PeerGone):
            await client.receive("s", 2, b"x")
        await until(lambda: not server.connections)


async def test_many_who_come_at_once_share_a_connection() -> None:
    """Given no connection yet; when many ask at once; then one is made."""
    part = Part()
    async with served(part) as (server, _, client):
        answers = await asyncio.gather(*(client.receive("s", 1, b"%d" % number) for number in range(100)))
        assert answers == [b"%d" % number for number in range(100)]
        assert len(server.connections) == 1


# -- proof


async def refused(address: Address, said: Callable[[bytes], bytes]) -> bytes:
    """Say something after the server's nonce; return what it answers before it closes."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    nonce = await reader.readexactly(NONCE_BYTES)
    writer.write(said(nonce))
    try:
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_who_does_not_know_the_secret_is_not_heard() -> None:
    """Given a stranger; when it speaks without proof, or repeats the server's; then it is cut off and nothing is asked."""
    part = Part()
    request = frame(0, RECEIVE, msgspec.msgpack.encode(("s", 0, b"x")))
    own = os.urandom(NONCE_BYTES)
    async with served(part) as (_, address, _):
        for said in (
            lambda nonce: own + os.urandom(PROOF_BYTES) + request,
            lambda nonce: nonce + proof(b"another secret", CLIENT, nonce, nonce) + request,
            lambda nonce: b"GET / HTTP/1.1\r\nHost: a-bank.example.org\r\nAccept: text/html, */*\r\n\r\n",
        ):
            assert await refused(address, said) == b""
    assert not part.asked


async def test_a_server_that_does_not_know_the_secret_is_told_nothing() -> None:
    """Given another process at the part's old port; when the part is asked; then PeerGone, and the request is not sent."""
    part, impostor = Part(), Part()
    async with served(part) as (_, address, _), served(impostor) as (_, other, _):
        client = client_of(Address(other.host, other.port, address.secret))
        with pytest.raises(PeerGone):
            await client.receive("s", 0, b"for the part alone")
    assert not impostor.asked


async def test_a_stranger_who_says_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a connection that never proves itself; when its time is over; then it is closed and counts no more."""
    monkeypatch.setattr(rpc_server, "HELLO_S", 0.05)
    async with served(Part()) as (server, address, _):
        assert await refused(address, lambda _: b"") == b""
        assert not server.unproved


async def test_the_bound_of_strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given as many strangers as may wait; when one more comes; then the oldest is closed, and a peer is served."""
    monkeypatch.setattr(rpc_server, "UNPROVED_MAX", 3)
    async with served(Part()) as (server, address, client):
        opened = [await asyncio.open_connection(address.host, address.port) for _ in range(3)]
        await until(lambda: len(server.unproved) == 3)
        assert await client.receive("s", 1, b"x") == b"x"
        assert (len(server.unproved), len(server.connections)) == (2, 3)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await opened[0][0].readexactly(NONCE_BYTES + 1)
        for _, writer in opened:
            writer.close()
        await until(lambda: not server.unproved)


async def test_the_bound_of_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given as many peers as may connect; when one more comes; then it is told PeerGone and the others are served."""
    monkeypatch.setattr(rpc_server, "CONNECTIONS_MAX", 2)
    async with served(Part()) as (_, address, client):
        other, third = client_of(address), client_of(address)
        for one in (client, other):
            assert await one.receive("s", 1, b"x") == b"x"
        with pytest.raises(PeerGone):
            await third.receive("s", 1, b"x")
        assert await client.receive("s", 1, b"x") == b"x"
        other.close()


async def test_under_rays_tls_certificates_are_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Given Ray under TLS; when parts speak; then both show certificates, and who speaks in the clear is not heard."""
    files = Authority(tmp_path / "authority").issue("part")
    monkeypatch.setenv("RAY_USE_TLS", "1")
    monkeypatch.setenv("RAY_TLS_CA_CERT", str(files.ca))
    monkeypatch.setenv("RAY_TLS_SERVER_CERT", str(files.certificate))
    monkeypatch.setenv("RAY_TLS_SERVER_KEY", str(files.key))
    part = Part()
    async with served(part) as (server, address, client):
        assert await client.receive("s", 1, b"x") == b"x"
        [connection] = server.connections
        assert connection.is_encrypted
        monkeypatch.setattr(rpc_client, "tls", lambda _: None)
        monkeypatch.setattr(rpc_client, "HELLO_S", 0.5)
        with pytest.raises(PeerGone):
            await client_of(address).receive("s", 2, b"x")
        stranger = ssl.create_default_context(cafile=str(files.ca))
        stranger.check_hostname = False
        monkeypatch.setattr(rpc_client, "tls", lambda _: stranger)
        with pytest.raises(PeerGone):
            await client_of(address).receive("s", 3, b"x")
    assert part.asked == ["s 1"]


# -- bounds


async def test_the_bound_of_requests_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given as many requests under way as may be; when one more is sent; then it is read once one of them is answered."""
    monkeypatch.setattr(rpc_server, "REQUESTS_MAX", 3)
    part = Part()
    async with served(part) as (_, _, client):
        held = [asyncio.create_task(client.receive("held", number, b"h")) for number in range(3)]
        await until(lambda: len(part.asked) == 3)
        one_more = asyncio.create_task(client.receive("s", 1, b"x"))
        await asyncio.sleep(0.1)
        assert len(part.asked) == 3
        part.gate.set()
        assert await one_more == b"x"
        await asyncio.gather(*held)


async def test_who_does_not_read_is_not_read() -> None:
    """Given a peer that asks and never reads; when its answers pile up; then it is not read any more, and others are served."""
    part = Part()
    async with served(part) as (_, address, client):
        reader, writer = await asyncio.open_connection(address.host, address.port, limit=1)
        nonce, own = await reader.readexactly(NONCE_BYTES), os.urandom(NONCE_BYTES)
        writer.write(own + proof(address.secret, CLIENT, own, nonce))
        request = msgspec.msgpack.encode(("greedy", 64, bytes(16 * 1024)))
        for number in range(400):
            writer.write(frame(number, RECEIVE, request))
            await asyncio.sleep(0)
        assert await client.receive("s", 1, b"x") == b"x"
        await until(lambda: "greedy 64" in part.asked)
        await asyncio.sleep(0.5)  # What had been read by then is answered.
        asked = part.asked.count("greedy 64")
        await asyncio.sleep(0.5)
        assert part.asked.count("greedy 64") == asked < 400
        writer.transport.abort()


async def test_the_bound_of_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a bound of a frame; when a body meets it, it passes; one byte more is refused at its sender, and by a receiver."""
    monkeypatch.setattr(rpc, "FRAME_BYTES_MAX", 1_000)
    room = 1_000 - len(msgspec.msgpack.encode(("s", 1, bytes(500)))) + 500
    part = Part()
    async with served(part) as (_, address, client):
        assert len(await client.receive("s", 1, bytes(room))) == room
        with pytest.raises(ValueError, match="do not fit"):
            await client.receive("s", 1, bytes(room + 1))
        too_long = HEAD.pack(1_001, 0, RECEIVE)

        def said(nonce: bytes) -> bytes:
            own = os.urandom(NONCE_BYTES)
            return own + proof(address.secret, CLIENT, own, nonce) + too_long

        assert len(await refused(address, said)) == PROOF_BYTES
        assert await client.receive("s", 2, b"x") == b"xx"
    assert part.asked == ["s 1", "s 2"]


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 255), st.binary(max_size=300))), st.data())
def test_frames_are_cut_wherever_they_were_torn(sent: list[tuple[int, int, bytes]], data: st.DataObject) -> None:
    """Given frames in a stream; when it arrives in any pieces; then the same frames come out, in order."""
    stream = b"".join(frame(*one) for one in sent)
    frames, got, start = Frames(), [], 0
    while start < len(stream):
        end = data.draw(st.integers(start + 1, len(stream)))
        frames.feed(stream[start:end])
        got += list(frames)
        start = end
    assert got == sent


def test_a_frame_too_long_is_seen_by_its_head() -> None:
    """Given a head that names too many bytes; when it arrives; then the rule is broken before any of them is kept."""
    frames = Frames()
    frames.feed(HEAD.pack(rpc.FRAME_BYTES_MAX + 1, 0, RECEIVE))
    with pytest.raises(BrokenRule):
        list(frames)
