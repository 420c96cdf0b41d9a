"""The listening side of `rpc`: a part's requests come in, its answers go out as they are ready.

Bounds: `CONNECTIONS_MAX` connections, and `UNPROVED_MAX` without proof, of which one more ends the oldest (who knows the
secret proves it within ms, so strangers end each other), and none of those longer than `HELLO_S`; a connection with
`REQUESTS_MAX` requests under way, or whose answers its reader does not take, is not read until that is better.
"""

import asyncio
import errno
import os
import random
import secrets
import ssl
import time
from typing import Any, Protocol

import msgspec
import structlog

from actors.inbox import Straggler
from actors.mailbox import NotOwner, PeerGone
from actors.rpc import (
    ANSWER,
    CLIENT,
    ENDED,
    FAILED,
    HELLO_S,
    NONCE_BYTES,
    NOT_OWNER,
    POLL,
    PROOF_BYTES,
    RECEIVE,
    SERVER,
    Address,
    BrokenRule,
    Frames,
    frame,
    is_proved,
    notice_silence,
    proof,
    tls,
)

CONNECTIONS_MAX = 2_000
"""Gateways, shards and media workers of a large hall are some hundreds."""
UNPROVED_MAX = 2_000
"""After a failover everybody comes at once, to a loop that may be busy: as many as there may be peers."""
REQUESTS_MAX = 1_000
"""A peer has one batch and one poll under way for each division."""

WARN_S = 1.0

BATCHES = msgspec.msgpack.Decoder(tuple[str, int, bytes])
"""(sender, number, payload)."""
POLLS = msgspec.msgpack.Decoder(tuple[str, int, float])
"""(gateway, cursor, wait_s)."""

log = structlog.get_logger()


PORTS = "TELLERHALL_PART_PORTS"
"""`first-last`, for machines with a firewall between them: of these ports each part takes a free one."""


def ports() -> list[int]:
    """Which ports to try, in order; 0: any that is free. Raises ValueError."""
    said = os.environ.get(PORTS, "")
    if not said:
        return [0]
    first, _, last = said.partition("-")
    if not (first.isdigit() and last.isdigit() and 0 < int(first) <= int(last) < 65_536):
        raise ValueError(f"{PORTS}={said!r} should be two ports, as in 20000-20099")
    found = list(range(int(first), int(last) + 1))
    random.shuffle(found)
    return found


def tls_options() -> dict[str, Any]:
    """For a listening socket; a handshake takes no longer than a hello."""
    context = tls(ssl.Purpose.CLIENT_AUTH)
    return {} if context is None else {"ssl": context, "ssl_handshake_timeout": HELLO_S}


class Served(Protocol):
    """A part that others speak with."""

    async def receive(self, sender: str, number: int, payload: bytes) -> bytes: ...

    async def poll(self, gateway_id: str, cursor: int, wait_s: float) -> bytes: ...


class RpcServer:
    """Belongs to one part. `start`, then `close`."""

    def __init__(self, part: Any, ended: type[Exception]) -> None:
        """`part`: has what it can of `Served`. `ended`: what it raises when it does not go on."""
        self.part = part
        self.ended = ended
        self.secret = secrets.token_bytes(32)
        self.connections: set[Connection] = set()
        self.unproved: dict[Connection, None] = {}
        """Those that have not proved anything yet, the oldest first."""
        self.tasks: set[asyncio.Task[None]] = set()
        """Requests under way; they outlive their connection, since whoever asked will ask again."""
        self.is_closing = False
        """The part has stopped: what still comes is told so, and not begun."""
        self._server: asyncio.Server | None = None
        self._warned: dict[str, tuple[float, int]] = {}
        """Event -> when it was last logged, and how many were left out since."""

    def __repr__(self) -> str:
        return (
            f"<RpcServer connections={len(self.connections)} unproved={len(self.unproved)} requests={len(self.tasks)}>"
        )

    async def start(self, host: str) -> Address:
        """Listen at `host`, at a free port: any, or one of `PORTS`. Raises OSError when all of those are taken."""
        options = tls_options()
        for port in ports():
            try:
                self._server = await asyncio.get_running_loop().create_server(
                    lambda: Connection(self), host, port, backlog=CONNECTIONS_MAX, **options
                )
                break
            except OSError as error:
                if not port or error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise
        if self._server is None:
            raise OSError(f"no port is free at {host} of {PORTS}={os.environ[PORTS]}: it needs one for each part there")
        return Address(host, int(self._server.sockets[0].getsockname()[1]), self.secret)

    async def close(self) -> None:
        """Take no more, and end what is open, once what was answered is on its way; the rest was not answered."""
        self.is_closing = True
        if self._server is not None:
            self._server.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for connection in list(self.connections):
            connection.close()

    def warn(self, event: str, **what: Any) -> None:
        """One line of each event in `WARN_S` at most, with how many were left out: who floods us must not fill the log too."""
        now_s = time.monotonic()
        warned_s, unsaid_count = self._warned.get(event, (-WARN_S, 0))
        if now_s - warned_s < WARN_S:
            self._warned[event] = warned_s, unsaid_count + 1
            return
        log.warning(event, left_out_count=unsaid_count, **what)
        self._warned[event] = now_s, 0

    def admit(self, connection: "Connection") -> bool:
        """Whether there is room for it."""
        if len(self.connections) - len(self.unproved) >= CONNECTIONS_MAX:
            self.warn("rpc.full", connections=len(self.connections))
            return False
        if len(self.unproved) >= UNPROVED_MAX:
            self.warn("rpc.strangers", unproved=len(self.unproved))
            next(iter(self.unproved)).abort()
        self.connections.add(connection)
        self.unproved[connection] = None
        return True

    def forget(self, connection: "Connection") -> None:
        """It is lost."""
        self.connections.discard(connection)
        self.unproved.pop(connection, None)


class Connection(asyncio.Protocol):
    """One peer's."""

    def __init__(self, server: RpcServer) -> None:
        self._server = server
        self._frames = Frames()
        self._nonce = os.urandom(NONCE_BYTES)
        self._is_proved = False
        self._is_full = self._is_unread = False
        """Too many requests are under way; the peer does not take its answers."""
        self._transport: asyncio.Transport | None = None
        self._hello: asyncio.TimerHandle | None = None
        self._requests_count = 0
        """Under way."""

    # -- the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        if not self._server.admit(self):
            self.abort()
            return
        notice_silence(transport.get_extra_info("socket"))
        self._hello = asyncio.get_running_loop().call_later(HELLO_S, self.abort)
        self._write(self._nonce)

    def connection_lost(self, _error: Exception | None) -> None:
        self._server.forget(self)
        if self._hello is not None:
            self._hello.cancel()
        self._transport = None

    @property
    def is_encrypted(self) -> bool:
        return self._transport is not None and self._transport.get_extra_info("ssl_object") is not None

    def abort(self) -> None:
        self._server.forget(self)
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """End it, once what was written is on its way."""
        if self._transport is not None:
            self._transport.close()

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    # -- what comes in

    def data_received(self, data: bytes) -> None:
        self._frames.feed(data)
        try:
            if self._is_proved or self._prove():
                for number, kind, body in self._frames:
                    self._begin(number, kind, body)
        except BrokenRule as error:
            self._server.warn("rpc.broken_rule", reason=str(error))
            self.abort()

    def _prove(self) -> bool:
        """Whether the peer has proved itself by now. Raises BrokenRule."""
        said = self._frames.take(NONCE_BYTES + PROOF_BYTES)
        if said is None:
            return False
        nonce, secret = said[:NONCE_BYTES], self._server.secret
        if not is_proved(said[NONCE_BYTES:], secret, CLIENT, nonce, self._nonce):
            raise BrokenRule("no proof of the secret")
        self._is_proved = True
        self._server.unproved.pop(self, None)
        if self._hello is not None:
            self._hello.cancel()
        self._write(proof(secret, SERVER, self._nonce, nonce))
        return True

    def _begin(self, number: int, kind: int, body: bytes) -> None:
        if self._server.is_closing:
            self._write(frame(number, ENDED, b"it is stopping"))
            return
        task = asyncio.get_running_loop().create_task(self._serve(number, kind, body))
        self._server.tasks.add(task)
        task.add_done_callback(self._done)
        self._requests_count += 1
        if self._requests_count >= REQUESTS_MAX:
            self._is_full = True
            self._read_or_not()

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._server.tasks.discard(task)
        self._requests_count -= 1
        if self._is_full and self._requests_count < REQUESTS_MAX:
            self._is_full = False
            self._read_or_not()

    def pause_writing(self) -> None:
        self._is_unread = True
        self._read_or_not()

    def resume_writing(self) -> None:
        self._is_unread = False
        self._read_or_not()

    def _read_or_not(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if self._is_full or self._is_unread:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    # -- what goes out

    async def _serve(self, number: int, kind: int, body: bytes) -> None:
        try:
            answer = frame(number, ANSWER, await self._asked(kind, body))
        except self._server.ended as error:
            answer = frame(number, ENDED, type(error).__name__.encode())
        except NotOwner as error:
            answer = frame(number, NOT_OWNER, str(error).encode())
        except PeerGone as error:
            answer = frame(number, ENDED, str(error).encode())
        except Straggler as error:
            answer = frame(number, FAILED, str(error).encode())  # Nobody waits for it any more.
        except asyncio.CancelledError:
            self._write(frame(number, ENDED, b"cancelled"))
            raise
        except Exception as error:
            log.exception("rpc.failed", kind=kind)
            answer = frame(number, FAILED, type(error).__name__.encode())
        self._write(answer)

    async def _asked(self, kind: int, body: bytes) -> bytes:
        """Raises what the part raises."""
        part: Served = self._server.part
        if kind == RECEIVE:
            sender, batch_number, payload = BATCHES.decode(body)
            return await part.receive(sender, batch_number, payload)
        if kind == POLL:
            gateway_id, cursor, wait_s = POLLS.decode(body)
            return await part.poll(gateway_id, cursor, wait_s)
        raise ValueError(f"no request of kind {kind}")
