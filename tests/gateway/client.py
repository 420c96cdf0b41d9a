"""A small WebSocket client for tests: real aiohttp, typed like a page would use it."""

import asyncio
import itertools
import json
from collections import deque
from typing import Any

import aiohttp
import msgspec

JSON = "tellerhall.v1.json"
MSGPACK = "tellerhall.v1.msgpack"
TIMEOUT_S = 5.0
"""Bound for whatever a test waits for; a test that comes near it has failed."""


class Client:
    """One connection. `messages` holds all that came, in order."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.messages: list[dict[str, Any]] = []
        self._unread: deque[dict[str, Any]] = deque()
        """Came while an answer was awaited."""
        self._numbers = itertools.count(1)

    @property
    def is_text(self) -> bool:
        return self.socket.protocol != MSGPACK

    async def send(self, type_: str, data: Any = None, id_: str = "") -> str:
        """Send and return the id."""
        id_ = id_ or f"c{next(self._numbers)}-{id(self)}"
        message = {"v": 1, "id": id_, "type": type_, "data": {} if data is None else data}
        if self.is_text:
            await self.socket.send_str(json.dumps(message))
        else:
            await self.socket.send_bytes(msgspec.msgpack.encode(message))
        return id_

    async def ask(self, type_: str, data: Any = None, id_: str = "") -> dict[str, Any]:
        """Send and return the `ack` or `error` that answers it."""
        id_ = await self.send(type_, data, id_)
        while True:
            message = await self._receive()
            if message.get("re") == id_:
                return message
            self._unread.append(message)

    async def next(self) -> dict[str, Any]:
        """Return the next message that no `ask` was answered with; raises AssertionError when the connection was closed."""
        return self._unread.popleft() if self._unread else await self._receive()

    async def _receive(self) -> dict[str, Any]:
        async with asyncio.timeout(TIMEOUT_S):
            frame = await self.socket.receive()
        assert frame.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), (frame.type, self.socket.close_code)
        message = json.loads(frame.data) if self.is_text else msgspec.msgpack.decode(frame.data)
        self.messages.append(message)
        return message

    async def until(self, wanted: Any) -> dict[str, Any]:
        """Return the next message that `wanted` (a type, or a predicate) accepts."""
        while True:
            message = await self.next()
            if message["type"] == wanted if isinstance(wanted, str) else wanted(message):
                return message

    async def closed(self) -> int:
        """Read to the end and return the close code."""
        async with asyncio.timeout(3 * TIMEOUT_S):
            while not self.socket.closed:
                frame = await self.socket.receive()
                if frame.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                    self.messages.append(json.loads(frame.data) if self.is_text else msgspec.msgpack.decode(frame.data))
        return self.socket.close_code or 0


class Visitor:
    """Opens connections and sends requests to one gateway."""

    def __init__(self, http: aiohttp.ClientSession, base: str) -> None:
        self.http = http
        self.base = base

    async def connect(self, token: str, resume: int | None = None, subprotocol: str = JSON, **options: Any) -> Client:
        """Open a WebSocket with the token as pages offer it, without waiting for the greeting."""
        query = "" if resume is None else f"?resume={resume}"
        socket = await self.http.ws_connect(
            f"{self.base}/v1/ws{query}", protocols=(subprotocol, f"bearer.{token}"), max_msg_size=0, **options
        )
        return Client(socket)

    async def ticket(self, token: str) -> str:
        """Return a ticket, as a subprotocol."""
        status, body, _ = await self.request("POST", "/v1/tickets", token)
        assert status == 201, body
        return f"ticket.{body['ticket']}"

    async def admitted(self, ticket: str) -> Client:
        """Open a WebSocket with what `ticket` gave, without waiting for the greeting."""
        return Client(await self.http.ws_connect(f"{self.base}/v1/ws", protocols=(JSON, ticket), max_msg_size=0))

    async def greeted(self, token: str, resume: int | None = None, subprotocol: str = JSON) -> Client:
        """Open a WebSocket and read the greeting, which is `messages[0]`."""
        client = await self.connect(token, resume, subprotocol)
        await client.next()
        return client

    async def request(
        self, method: str, path: str, token: str = "", **options: Any
    ) -> tuple[int, dict[str, Any], dict[str, str]]:
        """Return status, JSON body and headers."""
        headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **options.pop("headers", {})}
        async with self.http.request(method, self.base + path, headers=headers, **options) as response:
            return response.status, json.loads(await response.read()), dict(response.headers)
