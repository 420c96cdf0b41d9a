"""One WebSocket: frames out without waiting, payloads in, and an end with a close code in bounded time.

Rules: sending never waits and needs no task: a frame goes straight to the transport, whose buffer is bounded here. Whoever
does not read, does not answer pings or floods us is closed, by name of the cause (`docs/protocol.md`, close codes).
Closing is: our close frame, at most `CLOSE_GRACE_MS` for the peer's, then the socket is reset with linger 0.

Theory: aiohttp accepts, parses and answers the upgrade. Frames of a server are not masked and, without compression,
are a header and the payload (RFC 6455 section 5.2), so we write them ourselves; `send_str` would be a coroutine that can
block for ever on a peer that never reads (measured). A whole batch of events is one write. All timing is done by
`check`, which a sweeper calls about once a second (`gateway/rounds.py`): no timers per connection.

Not here: what messages mean (`gateway/session.py`).
"""

import asyncio
import struct
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import WSMsgType, web

from gateway import messages as wire
from gateway.codec import Codec
from gateway.door import door_of, reset
from gateway.limits import (
    CLOSE_GRACE_MS,
    MESSAGE_BYTES_MAX,
    SEND_BUFFER_BYTES_MAX,
    SILENCE_PINGS_MAX,
    STALL_BYTES_MIN,
    STALL_MS_MAX,
    WRITER_LIMIT_BYTES,
)
from gateway.refusals import Refused

_FIN = 0x80


class Connection:
    """A client's WebSocket after the upgrade."""

    __slots__ = (
        "_closing_at_s",
        "_heard_at_s",
        "_is_busy",
        "_loop",
        "_numbers",
        "_ping_s",
        "_pinged_at_s",
        "_socket",
        "_stalled_at_s",
        "_taken_bytes",
        "_transport",
        "_written_bytes",
        "close_code",
        "codec",
        "sent_count",
    )

    def __init__(self, codec: Codec, ping_ms: int) -> None:
        self.codec = codec
        self._ping_s = ping_ms / 1000
        self._socket = web.WebSocketResponse(
            # A peer that answers a protocol error's close frame with nothing is not waited for longer than this.
            timeout=CLOSE_GRACE_MS / 1000,
            autoclose=False,
            autoping=False,
            heartbeat=None,
            protocols=(codec.name,),
            compress=False,
            max_msg_size=MESSAGE_BYTES_MAX,
            writer_limit=WRITER_LIMIT_BYTES,
        )
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._numbers = 0
        self._heard_at_s = self._pinged_at_s = self._loop.time()
        self._stalled_at_s = 0.0
        self._written_bytes = 0
        self._taken_bytes = 0
        """Of these, what the peer had read when it was last seen to read."""
        self._closing_at_s = 0.0
        self.close_code = 0
        """How it ended; 0 while it has not."""
        self._is_busy = False
        """A message is being carried out, so nothing is read: silence is then no sign of death."""
        self.sent_count = 0

    @property
    def response(self) -> web.WebSocketResponse:
        """What the request handler returns to aiohttp."""
        return self._socket

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self.close_code and not self._transport.is_closing()

    async def upgrade(self, request: web.Request) -> None:
        """Answer the upgrade; raises aiohttp's HTTPBadRequest when it is none, and `Refused`."""
        door = door_of(request)
        if door is None:
            raise ConnectionResetError("gone before the upgrade")
        if not door.open_frames(request, self.close):
            raise Refused("malformed", "wait for the server's handshake before the first frame")
        try:
            await self._socket.prepare(request)
        except BaseException:
            door.close_frames()
            raise
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("gone during the upgrade")
        self._transport = transport
        if door.fault:
            self.close(door.fault)

    def send(self, batch: list[wire.Outgoing]) -> None:
        """Write `batch` in one go. Never waits; a client that is too far behind is closed with 4009."""
        if self.is_open:
            self.send_built(b"".join(built_frame(self.codec, message) for message in batch), len(batch))

    def send_built(self, frames: bytes, count: int = 1) -> None:
        """Write `count` frames that `built_frame` made for this codec, once for all who get them. Never waits, as `send`."""
        transport = self._transport
        if transport is None or not self.is_open:
            return
        if transport.get_write_buffer_size() > SEND_BUFFER_BYTES_MAX:
            self.close(4009)
            return
        transport.write(frames)
        self._written_bytes += len(frames)
        self.sent_count += count

    @property
    def unsent_bytes(self) -> int:
        """What this process holds for a peer that has not read it yet."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def say(self, data: wire.FromServer, re: str = "") -> None:
        """Send one message without a number of its own."""
        self.send([self.outgoing(data, re=re)])

    def outgoing(self, data: wire.FromServer, re: str = "", seq: int = 0, at_ms: int = 0) -> wire.Outgoing:
        """Put the envelope around `data`."""
        self._numbers += 1
        return wire.Outgoing(wire.VERSION, f"s{self._numbers}", data.TYPE, data, re, seq, at_ms)

    async def payloads(self) -> AsyncIterator[bytes | None]:
        """Yield what the client sends until the end; None for a frame of the wrong type."""
        while True:
            message = await self._socket.receive()
            self._heard_at_s = self._loop.time()
            if message.type is WSMsgType.CLOSE:
                self._answer_close(message.data)
                return
            if message.type in (WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
                self.close_code = int(self.close_code or self._socket.close_code or 1006)
                return
            if self.close_code:
                continue
            if message.type is WSMsgType.PING:
                self._control(WSMsgType.PONG, bytes(message.data))
            elif message.type is not WSMsgType.PONG:
                # Nothing is read until the message is carried out: that is the bound on what one client has in flight.
                self._is_busy = True
                yield self._payload(message)
                self._is_busy = False
                self._heard_at_s = self._loop.time()

    def close(self, code: int) -> None:
        """Say goodbye with `code`; the first one counts. `check` ends what the peer does not."""
        if not self.is_open:
            return
        self._control(WSMsgType.CLOSE, struct.pack("!H", code))
        self.close_code = code
        self._closing_at_s = self._loop.time()

    async def drain_close(self) -> None:
        """Wait for the peer's close after ours, at most the grace; for a connection that nobody looks after."""
        try:
            async with asyncio.timeout(CLOSE_GRACE_MS / 1000):
                async for _ in self.payloads():
                    pass
        except TimeoutError:
            self.abort()

    def abort(self) -> None:
        """Reset the socket: nothing of it stays in the kernel."""
        if self._transport is None or self._transport.is_closing():
            return
        self.close_code = self.close_code or 1006
        reset(self._transport)

    def check(self, now_s: float, now_ms: int) -> None:
        """Ping when it is time; close who does not read or is silent; reset who does not answer a close."""
        if self._transport is None:
            return
        if self.close_code:
            if now_s - self._closing_at_s > CLOSE_GRACE_MS / 1000:
                self.abort()
            return
        if self._is_stalled(now_s):
            self.close(4009)
            return
        if not self._is_busy and now_s - self._heard_at_s > (SILENCE_PINGS_MAX + 0.5) * self._ping_s:
            self.close(4009)
        elif now_s - self._pinged_at_s >= self._ping_s:
            self._pinged_at_s = now_s
            self.say(wire.SessionPing(now_ms))

    def _is_stalled(self, now_s: float) -> bool:
        """Whether the peer reads next to nothing of what there is. What is written meanwhile does not count for it."""
        unsent = self.unsent_bytes
        taken = self._written_bytes - unsent
        if not unsent:
            self._stalled_at_s = 0.0
        elif not self._stalled_at_s or taken >= self._taken_bytes + STALL_BYTES_MIN:
            self._stalled_at_s, self._taken_bytes = now_s, taken
        else:
            return now_s - self._stalled_at_s > STALL_MS_MAX / 1000
        return False

    def _payload(self, message: Any) -> bytes | None:
        if self.codec.is_text:
            return message.data.encode() if message.type is WSMsgType.TEXT else None
        return message.data if message.type is WSMsgType.BINARY else None

    def _answer_close(self, code: int | None) -> None:
        """Finish the closing handshake (RFC 6455 section 5.5.1) and let go of the socket."""
        if not self.close_code:
            self._control(WSMsgType.CLOSE, struct.pack("!H", code if code and 1000 <= code < 5000 else 1000))
            self.close_code = 1000
        if self._transport is not None:
            self._transport.close()

    def _control(self, opcode: WSMsgType, payload: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            frame = _frame(payload, opcode)
            self._transport.write(frame)
            self._written_bytes += len(frame)

    def __repr__(self) -> str:
        return f"<Connection {self.codec.name} sent={self.sent_count} close_code={self.close_code}>"


def built_frame(codec: Codec, message: wire.Outgoing) -> bytes:
    """Return the whole frame of a message, for any connection of this codec."""
    return _frame(codec.encode(message), WSMsgType.TEXT if codec.is_text else WSMsgType.BINARY)


def _frame(payload: bytes, opcode: int) -> bytes:
    """Return one unmasked, whole frame (RFC 6455 section 5.2)."""
    length = len(payload)
    if length < 126:
        return struct.pack("!BB", _FIN | opcode, length) + payload
    if length < 65_536:
        return struct.pack("!BBH", _FIN | opcode, 126, length) + payload
    return struct.pack("!BBQ", _FIN | opcode, 127, length) + payload
