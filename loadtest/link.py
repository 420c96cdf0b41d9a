"""One WebSocket of a virtual client: a lean, blocking client that gevent turns into a waiting greenlet.

Rules: JSON subprotocol, no compression. Frames of clients are masked (RFC 6455 section 5.3); the server's are whole, so a
fragmented one is an error. Several greenlets may send; one reads. What the server says is read into the gateway's own types.

Theory: locust replaces the socket module's waiting by gevent's before it loads anything of ours, so plain sockets are cheap
here: a lean client of this kind holds thousands of users in half a core (GATEWAY.md).

Not here: coming back when it is lost (`loadtest/client.py`).
"""

import base64
import contextlib
import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Raw, Struct

from gateway import messages as wire
from gateway.client_fields import FromClient

SUBPROTOCOL = "tellerhall.v1.json"
CONNECT_S = 15.0
HEADER_BYTES_MAX = 16_384
FRAME_BYTES_MAX = 1_048_576
"""A snapshot or a batch of events is some KiB; more is a mistake of the server."""
CODE_BY_STATUS = {401: 4001, 403: 4003, 429: 4008, 503: 4008}
TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA


TICK_S = 0.5
"""So often a reader that hears nothing looks whether it is still to wait."""


class LinkLost(Exception):
    """The connection is gone or makes no sense; the text says how."""


class LinkClosed(LinkLost):
    """The server has closed it, with a close code or, at the upgrade, the one that its refusal stands for."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Heard(Struct):
    """What the server put around its data."""

    type: str
    data: Raw
    re: str = ""
    seq: int = 0


class Said(Struct):
    """What a client puts around its data."""

    v: int
    id: str
    type: str
    data: FromClient | dict[str, Any]


_KINDS: tuple[type[wire.FromServer], ...] = (
    wire.Ack,
    wire.Error,
    wire.CallQueued,
    wire.CallMatched,
    wire.CallConnected,
    wire.CallEnded,
    wire.CallRequeued,
    wire.ReservationNew,
    wire.ReservationAccepted,
    wire.ReservationClosed,
    wire.WrapUpEnded,
    wire.AgentState,
    wire.SessionPing,
)
_DECODERS: dict[str, Any] = {kind.TYPE: msgspec.json.Decoder(kind) for kind in _KINDS}
_HEARD = msgspec.json.Decoder(Heard)
_ENCODE = msgspec.json.Encoder().encode


def read_data(heard: Heard) -> wire.FromServer | None:
    """Return the message's data; None for a type that virtual clients have no use for."""
    decoder = _DECODERS.get(heard.type)
    data: wire.FromServer | None = decoder.decode(heard.data) if decoder is not None else None
    return data


class Link:
    """One connection, from the upgrade to the end."""

    def __init__(self, url: str, token: str, on_tick: Callable[[], None] = lambda: None) -> None:
        """`on_tick`: called by the reader about every `TICK_S` while nothing comes."""
        self._parts = urlsplit(url)
        self._token = token
        self._on_tick = on_tick
        self._socket: socket.socket | None = None
        self._buffer = b""
        self._silent_s_max = CONNECT_S
        self._heard_s = 0.0
        self._sending = threading.Lock()

    def open(self, resume: int | None = None) -> None:
        """Connect and upgrade, from that event number on; raises LinkLost or OSError."""
        query = "" if resume is None else f"?resume={resume}"
        host, port = self._parts.hostname or "", self._parts.port or (443 if self._parts.scheme == "https" else 80)
        plain = socket.create_connection((host, port), CONNECT_S)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._parts.scheme == "https":
            # A hall under test may have made its certificate itself; the token is worth nothing anywhere else.
            plain = ssl._create_unverified_context().wrap_socket(plain, server_hostname=host)
        self._socket = plain
        key = base64.b64encode(os.urandom(16)).decode()
        plain.sendall(
            f"GET /v1/ws{query} HTTP/1.1\r\nHost: {self._parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n"
            f"Authorization: Bearer {self._token}\r\n\r\n".encode()
        )
        plain.settimeout(TICK_S)
        self._heard_s = time.monotonic()
        while b"\r\n\r\n" not in self._buffer:
            if len(self._buffer) > HEADER_BYTES_MAX:
                raise LinkLost("the answer to the upgrade has no end")
            self._fill()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        status = head.split(b"\r\n", 1)[0].decode("latin-1")
        if " 101 " not in f"{status} ":
            code = next((code for refusal, code in CODE_BY_STATUS.items() if f" {refusal} " in f"{status} "), 0)
            raise LinkClosed(code, f"the upgrade was refused: {status}")

    def limit_silence(self, silent_s_max: float) -> None:
        """Take the path to be dead when nothing came for so long, heartbeats included."""
        self._silent_s_max = silent_s_max

    def say(self, type_: str, data: FromClient | dict[str, Any], message_id: str = "") -> None:
        """Send one message; raises LinkLost."""
        self._send(TEXT, _ENCODE(Said(wire.VERSION, message_id or new_id(), type_, data)))

    def hear(self) -> Heard:
        """Return what the server says next; raises LinkLost with the reason."""
        while True:
            opcode, payload = self._frame()
            if opcode == TEXT:
                return _HEARD.decode(payload)
            if opcode == PING:
                self._send(PONG, payload)
            elif opcode == CLOSE:
                code = struct.unpack("!H", payload[:2])[0] if payload else 1005
                raise LinkClosed(code, f"closed by the server with {code}")
            elif opcode != PONG:
                raise LinkLost(f"frame with opcode {opcode}")

    def close(self) -> None:
        """Say goodbye and let go; does not wait for the other side. Safe from any thread, and when repeated."""
        try:
            self._send(CLOSE, struct.pack("!H", 1000))
        except LinkLost:
            pass
        taken, self._socket = self._socket, None
        if taken is not None:
            with contextlib.suppress(OSError):
                taken.shutdown(socket.SHUT_RDWR)  # A reader that waits in another thread wakes up.
            taken.close()

    def _send(self, opcode: int, payload: bytes) -> None:
        mask, length = os.urandom(4), len(payload)
        header = struct.pack("!BB", 0x80 | opcode, 0x80 | length)
        if length >= 126:
            header = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, length)
        with self._sending:
            if self._socket is None:
                raise LinkLost("not connected")
            try:
                self._socket.sendall(header + mask + _masked(payload, mask))
            except OSError as error:
                raise LinkLost(f"cannot send: {error}") from error

    def _frame(self) -> tuple[int, bytes]:
        first, second = self._take(2)
        if not first & 0x80:
            raise LinkLost("fragmented frame")
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", self._take(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self._take(8))
        if length > FRAME_BYTES_MAX:
            raise LinkLost(f"frame of {length} bytes")
        return first & 0x0F, self._take(length)

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._fill()
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def _fill(self) -> None:
        taken = self._socket
        if taken is None:
            raise LinkLost("not connected")
        try:
            received = taken.recv(65_536)
        except TimeoutError:
            self._on_tick()
            if time.monotonic() - self._heard_s > self._silent_s_max:
                raise LinkLost(f"nothing was heard for {self._silent_s_max:.0f} s") from None
            return
        except OSError as error:
            raise LinkLost(f"cannot receive: {error}") from error
        if not received:
            raise LinkLost("the connection ended without a close")
        self._heard_s = time.monotonic()
        self._buffer += received


def new_id() -> str:
    """An idempotency key, which must differ from those of earlier runs of the same principal."""
    return os.urandom(16).hex()


def _masked(payload: bytes, mask: bytes) -> bytes:
    """Return payload XOR mask, as one big number: much faster than byte by byte."""
    length = len(payload)
    key = (mask * (length // 4 + 1))[:length]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(length, "big")
