"""The asking side of `rpc`: one connection to one incarnation of a part, made when first needed and again after a loss.

A lost connection, whatever the reason, is `PeerGone` to everybody who waits on it: at once, where the other's process has
ended, since its kernel says so. Nothing is repeated here.
"""

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable
from itertools import count

import msgspec
import structlog

from actors.mailbox import NotOwner, PeerGone
from actors.rpc import (
    ANSWER,
    CLIENT,
    ENDED,
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

NUMBERS = 2**32

log = structlog.get_logger()

FindAddress = Callable[[], Awaitable[Address]]
"""Where the part listens. Raises PeerGone."""


class RequestFailed(Exception):
    """The part raised something that it does not raise in good order; its own log has it."""


class RpcClient:
    """To one incarnation of a part. Use it in one loop."""

    def __init__(self, name: str, find_address: FindAddress) -> None:
        self._name = name
        self._find_address = find_address
        self._address: Address | None = None
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<RpcClient {self._name} {self._address} {self._connection}>"

    async def receive(self, sender: str, number: int, payload: bytes) -> bytes:
        """Deliver a batch and return its answers. Raises PeerGone, NotOwner, RequestFailed."""
        return await self._ask(RECEIVE, msgspec.msgpack.encode((sender, number, payload)))

    async def poll(self, gateway_id: str, cursor: int, wait_s: float) -> bytes:
        """Wait for the gateway's next notices. Raises PeerGone, NotOwner, RequestFailed."""
        return await self._ask(POLL, msgspec.msgpack.encode((gateway_id, cursor, wait_s)))

    async def _ask(self, kind: int, body: bytes) -> bytes:
        connection = self._connection
        if connection is None or connection.is_lost:
            async with self._connecting:
                connection = self._connection
                if connection is None or connection.is_lost:
                    connection = self._connection = await self._connected()
        if self._is_closed:
            connection.close()
        return await connection.ask(kind, body)

    async def _connected(self) -> "Connection":
        """Raises PeerGone."""
        if self._address is None:
            self._address = await self._find_address()
        address, loop = self._address, asyncio.get_running_loop()
        connection = Connection(self._name, address.secret)
        try:
            async with asyncio.timeout(HELLO_S):
                await loop.create_connection(
                    lambda: connection, address.host, address.port, ssl=tls(ssl.Purpose.SERVER_AUTH)
                )
                await connection.proved
        except (OSError, TimeoutError) as error:
            connection.close()
            raise PeerGone(f"{self._name} at {address.host}:{address.port}: {error or type(error).__name__}") from error
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Who waits is told `PeerGone`, and so is whoever asks later: nobody would end another connection."""
        self._is_closed = True
        if self._connection is not None:
            self._connection.close()


class Connection(asyncio.Protocol):
    """Requests under way, by number."""

    def __init__(self, name: str, secret: bytes) -> None:
        self._name = name
        self._secret = secret
        self._nonce = os.urandom(NONCE_BYTES)
        self._server_nonce = b""
        self.proved: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.proved.add_done_callback(_seen)
        self.is_lost = False
        self._frames = Frames()
        self._numbers = count()
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._transport: asyncio.Transport | None = None

    def __repr__(self) -> str:
        return f"<Connection {'lost' if self.is_lost else 'open'} waiting={len(self._waiting)}>"

    async def ask(self, kind: int, body: bytes) -> bytes:
        """Raises PeerGone, NotOwner, RequestFailed."""
        if self.is_lost or self._transport is None:
            raise PeerGone(f"{self._name}: the connection is lost")
        number = next(self._numbers) % NUMBERS
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            self._transport.write(frame(number, kind, body))
            return await answer
        finally:
            # One who was cancelled is not answered any more.
            self._waiting.pop(number, None)

    def close(self) -> None:
        self._lose(f"{self._name}: the connection was closed")
        if self._transport is not None:
            self._transport.abort()

    # -- the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        if self.is_lost:
            self.close()
            return
        notice_silence(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        self._frames.feed(data)
        try:
            if self._prove():
                for number, kind, body in self._frames:
                    self._settle(number, kind, body)
        except BrokenRule as error:
            log.warning("rpc.broken_rule", peer=self._name, reason=str(error))
            self.close()

    def _prove(self) -> bool:
        """Whether both sides have proved themselves by now. Raises BrokenRule."""
        if self.proved.done():
            return not self.is_lost
        if not self._server_nonce:
            self._server_nonce = self._frames.take(NONCE_BYTES) or b""
            if self._server_nonce and self._transport is not None:
                self._transport.write(self._nonce + proof(self._secret, CLIENT, self._nonce, self._server_nonce))
        said = self._frames.take(PROOF_BYTES) if self._server_nonce else None
        if said is None:
            return False
        if not is_proved(said, self._secret, SERVER, self._server_nonce, self._nonce):
            raise BrokenRule("no proof of the secret")
        self.proved.set_result(None)
        return True

    def _settle(self, number: int, kind: int, body: bytes) -> None:
        answer = self._waiting.pop(number, None)
        if answer is None or answer.done():
            return
        if kind == ANSWER:
            answer.set_result(body)
        elif kind == ENDED:
            answer.set_exception(PeerGone(f"{self._name}: {body.decode()}"))
        elif kind == NOT_OWNER:
            answer.set_exception(NotOwner(body.decode()))
        else:
            answer.set_exception(RequestFailed(f"{self._name}: {body.decode()}"))

    def connection_lost(self, error: Exception | None) -> None:
        self._lose(f"{self._name}: {error or 'the connection ended'}")
        self._transport = None

    def _lose(self, reason: str) -> None:
        self.is_lost = True
        if not self.proved.done():
            self.proved.set_exception(PeerGone(reason))
        waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            if not answer.done():
                answer.set_exception(PeerGone(reason))


def _seen(future: "asyncio.Future[None]") -> None:
    """Nobody may wait for it any more; asyncio would log that as an oversight."""
    if not future.cancelled():
        future.exception()
