"""Attacks over a WebSocket, by real sockets: floods, bad frames, peers that do not read or are not there any more.

Each ends its own connection, by name where somebody can hear it, and nobody else's; others are served meanwhile. On uvloop.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from msgspec.structs import replace

from dispatch import events
from gateway.app import Gateway
from gateway.frames import NOT_MASKED, TOO_MANY, FrameCount
from gateway.limits import FRAMES_BURST, FRAMES_PER_S, MESSAGE_BYTES_MAX, SUBPROTOCOLS_MAX
from gateway.settings import Settings
from tests.gateway.client import Visitor
from tests.gateway.raw import (
    BINARY,
    CLOSE,
    CONTINUATION,
    ON_UVLOOP,
    PING,
    PONG,
    TEXT,
    Raw,
    event_loop_policy,
    frame,
    signed_in,
    upgrade,
    while_served,
)
from tests.gateway.stub_hall import StubHall
from tests.waiting import until

__all__ = ["event_loop_policy"]
pytestmark = ON_UVLOOP
Token = Callable[..., str]
SLOW_S_MAX = 10.0
"""The issue's bound, and so no bound on the machine: with all rounds it takes us 9 s at most."""
ATTACKER, OTHER = "c-9", "c-1"


def message(number: int, text: str = "") -> bytes:
    return f'{{"v":1,"id":"m{number}","type":"call.hang_up","data":{{"call_id":"k"}},"x":"{text}"}}'.encode()


BAD_FRAMES = {
    "not masked": (frame(TEXT, message(1), is_masked=False), 1002),
    "a reserved bit": (frame(TEXT, message(1), bits=4), 1002),
    "another reserved bit": (frame(TEXT, message(1), bits=1), 1002),
    "a reserved opcode": (frame(3, b"x"), 1002),
    "a reserved control opcode": (frame(11, b"x"), 1002),
    "a fragmented ping": (frame(PING, b"x", is_last=False), 1002),
    "a ping of 126 bytes": (frame(PING, b"x" * 126), 1002),
    "a continuation of nothing": (frame(CONTINUATION, b"x"), 1002),
    "a message inside of another": (frame(TEXT, b"{", is_last=False) + frame(TEXT, b"}"), 1002),
    "text that is not UTF-8": (frame(TEXT, b'{"v":1,"id":"\xff\xfe"}'), 1007),
    "half a surrogate": (frame(TEXT, b'{"v":1,"id":"\xed\xa0\x80"}'), 1007),
    "a close of one byte": (frame(CLOSE, b"x"), 1002),
    "a close with a code that is none": (frame(CLOSE, b"\x03\xed"), 1002),
    "larger than allowed": (frame(TEXT, b" " * MESSAGE_BYTES_MAX)[:200], 1009),
    "larger than any memory": (b"\x81\xff" + b"\x7f" + b"\xff" * 7 + b"\0\0\0\0", 1009),
    "larger than a number": (b"\x81\xff" + b"\xff" * 8 + b"\0\0\0\0", 1009),
    "too large in fragments": (
        frame(TEXT, b" " * 40_000, is_last=False) + frame(CONTINUATION, b" " * 40_000),
        1009,
    ),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
async def test_a_frame_that_is_none(gateway: Gateway, stub: StubHall, token: Token, name: str) -> None:
    """RFC 6455 sections 5 and 7.4: given a frame that breaks a rule; then the close code says which, and nothing is done."""
    data, code = BAD_FRAMES[name]
    raw = await signed_in(gateway, token("customer", ATTACKER))
    raw.send(data)
    assert await raw.close_code() == code
    await raw.ended()
    assert stub.commands == []


async def test_compression_is_not_agreed(gateway: Gateway, token: Token) -> None:
    """Given an offer of permessage-deflate; then the answer agrees to none, and a packed frame is a broken one."""
    raw = await Raw.open(gateway.port)
    raw.send(
        upgrade(token("customer", ATTACKER), Sec_WebSocket_Extensions="permessage-deflate; client_max_window_bits")
    )
    status, headers, _ = await raw.answer()
    assert status == 101
    assert "sec-websocket-extensions" not in headers
    raw.send(frame(TEXT, b"\x00" * 50, bits=4))
    assert await raw.close_code() == 1002


async def test_frames_before_the_handshake(gateway: Gateway, token: Token, stub: StubHall) -> None:
    """RFC 6455 section 4.1: given frames right behind the upgrade, which nobody would count; then 400, and nothing is done."""
    raw = await Raw.open(gateway.port)
    raw.send(upgrade(token("customer", ATTACKER)) + frame(TEXT, message(1)) * 1_000)
    status, _, body = await raw.answer()
    assert (status, b"malformed" in body) == (400, True)
    await raw.ended()
    assert stub.commands == []


@pytest.mark.parametrize("excess", [0, 1])
async def test_subprotocols_at_their_bound(gateway: Gateway, token: Token, excess: int) -> None:
    """Given as many subprotocols as may be offered, and one more; then 101, and 400."""
    raw = await Raw.open(gateway.port)
    others = ", ".join(f"p{number}" for number in range(SUBPROTOCOLS_MAX - 2 + excess))
    ours = f"tellerhall.v1.json, bearer.{token('customer', ATTACKER)}"
    raw.send(upgrade(Sec_WebSocket_Protocol=f"{ours}, {others}"))
    assert (await raw.answer())[0] == (400 if excess else 101)
    raw.end()


FLOODS = {
    "pings": frame(PING, b"x" * 10),
    "pongs": frame(PONG),
    "empty fragments": frame(CONTINUATION, is_last=False),
    "tiny messages": frame(TEXT, b"{}"),
    "binary messages": frame(BINARY, b"{}"),
    "large messages": frame(TEXT, b" " * 60_000),
}


@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood(gateway: Gateway, visitor: Visitor, token: Token, name: str) -> None:
    """Given one who sends without end; then 4008 (or, for what makes no sense, 4000), and it is cut off; others are served."""
    codes: list[int] = []

    async def attack() -> None:
        raw = await signed_in(gateway, token("customer", ATTACKER))
        if name == "empty fragments":
            raw.send(frame(TEXT, b"", is_last=False))
        pouring = asyncio.create_task(pour(raw, FLOODS[name]))
        codes.append(await raw.close_code())
        await raw.ended()
        pouring.cancel()

    await while_served(visitor, token("customer", OTHER), attack())
    assert codes[0] in (4008, 4000, 0), "0: the reset came before it could be read"


async def pour(raw: Raw, data: bytes) -> None:
    """Send for as long as the server takes it."""
    block = data * max(1, 16_384 // len(data))
    while True:
        raw.send(block)
        try:
            await raw.writer.drain()
        except ConnectionError:
            return
        await asyncio.sleep(0)


async def test_a_message_byte_by_byte(gateway: Gateway, token: Token) -> None:
    """Given a message that comes a byte at a time, as from a bad network; then it is carried out: that alone is no attack."""
    raw = await signed_in(gateway, token("customer", ATTACKER))
    for byte in frame(TEXT, message(1)):
        raw.send(bytes([byte]))
        await asyncio.sleep(0.001)
    opcode, payload = await raw.frame()
    assert (opcode, b'"ack"' in payload) == (TEXT, True)
    raw.end()


async def test_a_message_in_fragments_with_pings_between(gateway: Gateway, token: Token) -> None:
    """RFC 6455 section 5.4: given fragments with a ping between; then the ping is answered and the message carried out."""
    raw = await signed_in(gateway, token("customer", ATTACKER))
    text = message(1)
    raw.send(frame(TEXT, text[:9], is_last=False) + frame(PING, b"p") + frame(CONTINUATION, text[9:]))
    assert await raw.frame() == (PONG, b"p")
    assert b'"ack"' in (await raw.frame())[1]
    raw.end()


@pytest.mark.parametrize("step", [1, 3, 7, 100])
def test_frames_are_counted_however_they_come(step: int) -> None:
    """Given frames of all lengths in pieces of any size; then each is counted once: the last that is allowed passes."""
    lengths = [0, 1, 125, 126, 300, 65_535, 65_536]
    data = b"".join(frame(TEXT, b"x" * length) for length in lengths) + frame(PING) * (FRAMES_BURST - len(lengths))
    count = FrameCount(0.0)
    assert {count.take(data[at : at + step], 0.0) for at in range(0, len(data), step)} == {0}
    assert count.take(frame(PING), 0.0) == TOO_MANY
    assert count.take(frame(PING), 1.0 / FRAMES_PER_S + 0.001) == 0
    assert count.take(frame(PING, is_masked=False), 0.0) == NOT_MASKED


@pytest.fixture
async def watched(stub: StubHall, settings: Settings) -> AsyncIterator[Gateway]:
    """A gateway that asks for a sign of life every 0.3 s."""
    gateway = Gateway(stub, replace(settings, ping_ms=300))  # type: ignore[arg-type]
    await gateway.start()
    yield gateway
    await gateway.stop()


async def test_a_peer_that_reads_nothing(gateway: Gateway, visitor: Visitor, stub: StubHall, token: Token) -> None:
    """Issue: slow readers are cut off within 10 s. Given a peer that reads nothing while events come; others are served."""
    await slow_reader(gateway, visitor, stub, token, bytes_count=0)


async def test_a_peer_that_reads_a_trickle(gateway: Gateway, visitor: Visitor, stub: StubHall, token: Token) -> None:
    """Given a peer that reads 100 bytes now and then while more comes; then it is cut off as one that reads nothing."""
    await slow_reader(gateway, visitor, stub, token, bytes_count=100)


async def slow_reader(gateway: Gateway, visitor: Visitor, stub: StubHall, token: Token, bytes_count: int) -> None:
    principal, loop = f"customer:{ATTACKER}", asyncio.get_running_loop()

    async def attack() -> None:
        raw = await signed_in(gateway, token("customer", ATTACKER), window=4_096)
        raw.writer.transport.pause_reading()
        duplicate = raw.socket.dup()
        duplicate.setblocking(False)
        while principal in stub.listeners:
            stub.tell(principal, *[events.CallForgotten(1, "k" * 100, ATTACKER)] * 10)
            if bytes_count:
                try:
                    await asyncio.wait_for(loop.sock_recv(duplicate, bytes_count), 0.05)
                except (TimeoutError, ConnectionError):
                    pass
            await asyncio.sleep(0.02)
        duplicate.close()
        raw.end()

    async with asyncio.timeout(SLOW_S_MAX):
        await while_served(visitor, token("customer", OTHER), attack())


async def test_a_peer_that_vanished_while_it_was_silent(watched: Gateway, stub: StubHall, token: Token) -> None:
    """Given a peer that is gone without a word (a phone without power); then the pings that nobody answers end it."""
    raw = await signed_in(watched, token("customer", ATTACKER))
    raw.vanish()
    await until(lambda: stub.listeners == {})
    raw.end()


async def test_a_peer_that_vanished_while_it_was_told_something(gateway: Gateway, stub: StubHall, token: Token) -> None:
    """Given a peer gone without a word; when an event is for it; then the kernel gives it up (TCP_USER_TIMEOUT)."""
    raw = await signed_in(gateway, token("customer", ATTACKER))
    raw.vanish()
    stub.tell(f"customer:{ATTACKER}", events.CallForgotten(1, "k", ATTACKER))
    await until(lambda: stub.listeners == {})
    raw.end()


async def test_a_peer_that_does_not_answer_a_close(gateway: Gateway, stub: StubHall, token: Token) -> None:
    """Given a client that floods and ignores our close; then it is reset after the grace, though it goes on sending."""
    raw = await signed_in(gateway, token("customer", ATTACKER))
    pouring = asyncio.create_task(pour(raw, frame(PING)))
    await until(lambda: stub.listeners == {})
    await pouring
    raw.end()
