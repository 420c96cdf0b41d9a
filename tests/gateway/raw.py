"""What attackers send: bytes on a socket, without a library that would forbid it; and somebody who is served meanwhile."""

import asyncio
import base64
import ctypes
import socket
import struct
from collections.abc import Coroutine
from typing import Any

import pytest
import uvloop

from gateway.app import Gateway
from tests.gateway.client import JSON, Visitor
from tests.waiting import PATIENCE_S

TEXT, BINARY, CLOSE, PING, PONG, CONTINUATION = 1, 2, 8, 9, 10, 0
SO_ATTACH_FILTER = 26
ON_UVLOOP = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy. fixture")
"""For modules that import the fixture below: the plugin's other way is one for all tests of a folder."""


@pytest.fixture
def event_loop_policy() -> uvloop.EventLoopPolicy:
    """Sockets as gateways have them."""
    return uvloop.EventLoopPolicy()


def frame(opcode: int, payload: bytes = b"", *, is_last: bool = True, is_masked: bool = True, bits: int = 0) -> bytes:
    """One frame of a client (RFC 6455 section 5.2), masked with zeros. `bits`: the reserved ones."""
    first = (0x80 if is_last else 0) | bits << 4 | opcode
    mask, length = 0x80 if is_masked else 0, len(payload)
    if length < 126:
        head = struct.pack("!BB", first, mask | length)
    elif length < 65_536:
        head = struct.pack("!BBH", first, mask | 126, length)
    else:
        head = struct.pack("!BBQ", first, mask | 127, length)
    return head + (b"\0\0\0\0" if is_masked else b"") + payload


def upgrade(token: str = "", **headers: str) -> bytes:
    """The head of an upgrade."""
    protocols = JSON + (f", bearer.{token}" if token else "")
    named = {
        "Host": "hall",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(b"0123456789abcdef").decode(),
        "Sec-WebSocket-Protocol": protocols,
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    return get("/v1/ws", **named)


def get(path: str, **headers: str) -> bytes:
    """The head of a plain request."""
    named = {"Host": "hall", **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items()), "", ""]
    return "\r\n".join(lines).encode()


class Raw:
    """One TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port: int, source: str = "127.0.0.1", *, window: int = 0) -> "Raw":
        """Connect from an address of this machine; `window`: bytes that the kernel takes for us, 0 for as it likes."""
        made = socket.socket()
        made.setblocking(False)
        if window:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        made.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", port))
        return cls(*await asyncio.open_connection(sock=made, limit=window or 65_536))

    @property
    def socket(self) -> socket.socket:
        found: socket.socket = self.writer.get_extra_info("socket")
        return found

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Read one HTTP answer: status (0: the connection ended without one), headers, body."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in head[1:-2])}
                body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        except (asyncio.IncompleteReadError, ConnectionError):
            return 0, {}, b""
        return int(head[0].split(" ")[1]), headers, body

    async def frame(self) -> tuple[int, bytes]:
        """Read one frame of the server: opcode (-1: the connection ended) and payload."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                first, length = await self.reader.readexactly(2)
                if length == 126:
                    length = int.from_bytes(await self.reader.readexactly(2), "big")
                elif length == 127:
                    length = int.from_bytes(await self.reader.readexactly(8), "big")
                return first & 0xF, await self.reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return -1, b""

    async def close_code(self) -> int:
        """Read frames until the server closes; 0: it ended without a word."""
        while True:
            opcode, payload = await self.frame()
            if opcode == CLOSE:
                return int.from_bytes(payload[:2], "big")
            if opcode < 0:
                return 0

    async def ended(self) -> None:
        """Wait until the server has ended the connection; whatever comes before is read."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while await self.reader.read(65_536):
                    pass
        except ConnectionError:
            return

    def vanish(self) -> None:
        """From now on the kernel drops whatever comes for this socket, as where a phone is gone: no answer, no reset."""
        nothing = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
        self.socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(nothing)))

    def end(self) -> None:
        self.writer.transport.abort()


async def signed_in(gateway: Gateway, token: str, **options: Any) -> Raw:
    """A WebSocket that was greeted, as bytes."""
    raw = await Raw.open(gateway.port, **options)
    raw.send(upgrade(token))
    status, _, _ = await raw.answer()
    assert status == 101
    opcode, payload = await raw.frame()
    assert (opcode, b"session.welcome" in payload) == (TEXT, True)
    return raw


async def while_served(visitor: Visitor, token: str, attack: Coroutine[Any, Any, None]) -> None:
    """Run `attack` to its end, and have somebody else ask meanwhile, over WebSocket and REST: each time that is answered.

    Not how fast, but before the attack is over: an attack that held the loop up would end first.
    """
    client = await visitor.greeted(token)
    running = asyncio.create_task(attack)
    served_count = 0
    try:
        while not running.done():
            assert (await client.ask("call.hang_up", {"call_id": "k"}))["type"] == "ack"
            status, _, _ = await visitor.request("GET", "/v1/queues", token)
            assert status == 200
            served_count += not running.done()
            await asyncio.wait({running}, timeout=0.15)
        await running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await client.socket.close()
    assert served_count > 0
