"""Between the sockets and aiohttp: who may come in, how long a request may take to come, and how much may come at all.

Rules: a door decides from bytes and time alone and keeps neither; whoever is over a bound is answered if that is possible, and
cut off. A WebSocket is looked after by its session (`gateway/rounds.py`), and here only its bytes and frames are counted. Each
step is O(1) beside the data themselves.

Theory: aiohttp has one time limit (an idle connection) and bounds on single lines, none on how slowly a request may come or an
answer be read, nor on frames. `Door` is an asyncio protocol that stands between transport and aiohttp's own protocol and hands
everything on, so it needs nothing of aiohttp's inside but one attribute (`_message_tail`, see `Door.open_frames`). aiohttp
writes to the transport directly: the way out costs nothing.

    new -> head -> busy -> idle -> head ...        `answered` ends busy; an upgrade ends the table
    refused: told so at its first byte

Not here: all doors together and their clock (`gateway/porter.py`), requests by address and client (`gateway/bounds.py`), the
kernel's own bounds (`gateway/app.py`, `listening_socket`).
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from aiohttp import web

from gateway.frames import FrameCount
from gateway.limits import (
    FIRST_BYTE_MS_MAX,
    HEAD_BYTES_MAX,
    HEAD_MS_MAX,
    HTTP_BYTES_BURST,
    HTTP_BYTES_PER_S,
    IDLE_S_MAX,
    READ_BYTES_MIN,
    READ_COST_BYTES,
    READ_MS_MAX,
    REST_MS_MAX,
    SOCKET_BYTES_BURST,
    SOCKET_BYTES_PER_S,
    TokenBucket,
)

if TYPE_CHECKING:
    from gateway.porter import Porter

END_OF_HEAD = b"\r\n\r\n"
LINGER_0 = struct.pack("ii", 1, 0)

NEW, HEAD, BUSY, IDLE, REST, REFUSED = "new", "head", "busy", "idle", "rest", "refused"
LIMIT_S_BY_STATE = {
    NEW: FIRST_BYTE_MS_MAX / 1000,
    HEAD: HEAD_MS_MAX / 1000,
    # A little above aiohttp's own bounds of these two, which end a connection in good order.
    IDLE: IDLE_S_MAX + 5.0,
    REST: REST_MS_MAX / 1000 + 1.0,
    REFUSED: REST_MS_MAX / 1000,
}
"""State -> how long it may last. Not here: `busy`, whose bounds are the command's and the reader's."""
WAITING = frozenset({NEW, HEAD, IDLE, REFUSED})
"""Nothing of these is being worked on."""


class Door(asyncio.Protocol):
    """One connection's way in."""

    __slots__ = (
        "_answer",
        "_bytes",
        "_close",
        "_ending",
        "_frames",
        "_head_bytes",
        "_inner",
        "_is_shut",
        "_mark",
        "_porter",
        "_since_s",
        "_state",
        "_transport",
        "fault",
        "is_held",
        "peer",
    )

    def __init__(self, porter: "Porter") -> None:
        self._porter = porter
        self._inner: asyncio.Protocol | None = None
        self._transport: asyncio.Transport | None = None
        self._bytes: TokenBucket | None = None
        self._frames: FrameCount | None = None
        self._close: Callable[[int], None] | None = None
        self._state = NEW
        self._since_s = 0.0
        self._head_bytes = 0
        self._ending = b""
        self._mark = (0.0, 0)
        """Since when, and how much, the peer has to read."""
        self._is_shut = False
        self._answer = b""
        self.peer = ""
        """The address of the other end of the socket; empty where it has none."""
        self.is_held = False
        """It counts for its address; the porter's."""
        self.fault = 0
        """The close code of what was wrong with what came; 0: nothing was."""

    # -- from the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if isinstance(peer, tuple) else ""
        now_s = self._porter.now_s()
        if not self._porter.make_room():
            reset(transport)
            return
        self._answer = self._porter.enter(self, now_s)
        self._go(REFUSED if self._answer else NEW, now_s)
        if self._answer:
            return
        if not self._porter.is_trusted(self.peer):
            self._bytes = TokenBucket(HTTP_BYTES_PER_S, HTTP_BYTES_BURST, now_s)
        self._inner = self._porter.make_inner()
        self._inner.connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._porter.leave(self)
        self._close = None
        if self._inner is not None:
            self._inner.connection_lost(error)

    def data_received(self, data: bytes) -> None:
        if self._is_shut or self._transport is None:
            return
        if self._inner is None:
            self._say_no(self._answer)
            return
        now_s = self._porter.now_s()
        if self._bytes is not None and not self._bytes.take(now_s, len(data) + READ_COST_BYTES):
            self.shut(4008)
            return
        if self._frames is not None:
            fault = self._frames.take(data, now_s)
            if fault:
                self.shut(fault)
                return
        elif self._state in (NEW, HEAD, IDLE) and not self._take_head(data, now_s):
            return
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received() if self._inner is not None else None

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()

    # -- from the handlers

    def answered(self, is_whole: bool) -> None:
        """An answer begins. `is_whole`: so was its request; the rest of one that was not is waited for a short time."""
        if self._frames is None and self._state != REFUSED:
            self._head_bytes, self._ending = 0, b""
            self._go(IDLE if is_whole else REST, self._porter.now_s())

    def open_frames(self, request: web.Request, close: Callable[[int], None]) -> bool:
        """From here on frames come; `close` ends the connection with a code. False: some came before our answer.

        RFC 6455 section 4.1 lets a client send after the server's handshake alone. aiohttp keeps what comes earlier in
        `_message_tail`, and there nobody would count it.
        """
        if getattr(request.protocol, "_message_tail", b""):
            return False
        now_s = self._porter.now_s()
        self._porter.forget(self)
        self._frames, self._close = FrameCount(now_s), close
        self._bytes = TokenBucket(SOCKET_BYTES_PER_S, SOCKET_BYTES_BURST, now_s)
        return True

    def close_frames(self) -> None:
        """It was no upgrade after all: this stays a connection of plain requests."""
        self._frames = self._close = None
        self._porter.recall(self)
        self._go(BUSY, self._porter.now_s())

    def shut(self, code: int) -> None:
        """Nothing more is read from this peer. A WebSocket is closed with `code`, anything else is reset."""
        self._is_shut, self.fault = True, code
        if self._transport is None:
            return
        if self._close is not None:
            self._close(code)
        else:
            self._porter.count("flood")
            reset(self._transport)

    # -- from the clock

    def check(self, now_s: float) -> None:
        """Cut off who is too slow."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        limit_s = LIMIT_S_BY_STATE.get(self._state)
        if limit_s is not None and now_s - self._since_s > limit_s and not transport.get_write_buffer_size():
            self._porter.count(self._state)
            reset(transport)
        elif self._is_unread(transport.get_write_buffer_size(), now_s):
            self._porter.count("unread")
            reset(transport)

    def make_way(self) -> None:
        """Another connection needs the place of this one, for which nothing is being done."""
        self._porter.count("made_way")
        if self._transport is not None:
            reset(self._transport)

    def _is_unread(self, unread: int, now_s: float) -> bool:
        since_s, before = self._mark
        # Grown: it was read far enough for more to be written.
        if not unread or not before or unread > before or unread <= before - READ_BYTES_MIN:
            self._mark = (now_s, unread)
            return False
        return now_s - since_s > READ_MS_MAX / 1000

    def _go(self, state: str, now_s: float) -> None:
        self._state, self._since_s = state, now_s
        self._porter.note(self, state in WAITING)

    def _take_head(self, data: bytes, now_s: float) -> bool:
        """Look for the end of the headers; False when there is none within the bound, and the peer was told."""
        if self._state != HEAD:
            self._go(HEAD, now_s)
        joint = self._ending + data[:3]
        if END_OF_HEAD in joint or END_OF_HEAD in data:
            self._go(BUSY, now_s)
            return True
        self._ending = (self._ending + data[-3:])[-3:]
        self._head_bytes += len(data)
        if self._head_bytes <= HEAD_BYTES_MAX:
            return True
        self._porter.count("head_too_large")
        self._say_no(no("431 Request Header Fields Too Large"))
        return False

    def _say_no(self, answer: bytes) -> None:
        self._is_shut = True
        if self._transport is not None:
            self._transport.write(answer)
            self._transport.close()

    def __repr__(self) -> str:
        return f"<Door {self._state}{' shut' if self._is_shut else ''}>"


def door_of(request: web.BaseRequest) -> Door | None:
    """Return the door that `request` came through; None once it is gone."""
    transport = request.transport
    door = transport.get_protocol() if transport is not None else None
    return door if isinstance(door, Door) else None


def no(status: str, retry_after_s: int = 0) -> bytes:
    """Return a whole answer without a body, for who is not to cost more."""
    retry = f"Retry-After: {retry_after_s}\r\n" if retry_after_s else ""
    return f"HTTP/1.1 {status}\r\n{retry}Content-Length: 0\r\nConnection: close\r\n\r\n".encode()


def reset(transport: asyncio.Transport) -> None:
    """End a connection so that nothing of it stays in the kernel."""
    raw = transport.get_extra_info("socket")
    if raw is not None:
        try:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
        except OSError:
            pass  # It is closed already.
    transport.abort()
