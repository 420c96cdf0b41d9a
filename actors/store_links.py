"""Ways to the store: one server, or the primary that Sentinels name. Both carry the same requests.

Rules
- A request is a list of commands with one reply each, in order; what a server refused has an exception as its reply.
- A request is sent once.
- Commands for one server travel in one round trip, over one connection, in order.

Theory. Confirmation by replicas (`replicas_min`) rides in the same round trip: WAITAOF answers how many replicas have on their
disks what THIS connection wrote; so it must follow a write on the same connection (M: asked on a fresh one it says yes at
once), and a repeat must write again to be told the truth. WAIT goes before it: a replica that is asked for its position tells
what is on its disk before it has synced what it just read, and speaks again after a second (M: 1,004 ms an append; with WAIT
before, 0.7 ms).

Not here: the way to a cluster (`store_cluster`), time limits and scripts (`store_client`), the forms of addresses
(`store_address`).
"""

import asyncio
from typing import Any, Protocol

import redis.asyncio as redis
from msgspec import Struct
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from actors.store_address import Node, StoreAddress
from actors.store_errors import StoreUnavailable

StoreCommand = tuple[str | bytes | int, ...]

CONNECT_S = 2.0
"""A server accepts in microseconds to milliseconds; 2 s leaves room for one lost packet and its repeat."""
REPLICAS_WAIT_MS = 1_500
"""For WAIT and again for WAITAOF: together below the time limit of a request. A replica that syncs each write needs 1 ms."""


class Request(Struct, frozen=True):
    commands: list[StoreCommand]
    is_atomic: bool = False
    """All commands in one step, none if any cannot be queued. Their keys lie together."""
    is_confirmed: bool = False
    """The reply waits for the replicas that the address asks for. Its last write must be in this request."""


class Link(Protocol):
    """How requests reach the store."""

    async def send(self, request: Request) -> list[Any]:
        """Return one reply a command. Raises StoreUnavailable, and the library's errors, for what was lost as a whole."""

    async def send_each(self, commands: list[StoreCommand]) -> dict[str, list[Any]]:
        """Ask every server that holds data; return its replies by its name."""

    def forget(self) -> None:
        """What was learned of who is primary may be wrong: ask again before the next request."""

    async def close(self) -> None: ...


class ServerLink:
    """One server."""

    def __init__(self, url: str, request_s: float, connections_max: int, replicas_min: int = 0) -> None:
        """`url`: as the client library understands it."""
        self._replicas_min = replicas_min
        pool = redis.BlockingConnectionPool.from_url(
            url,
            max_connections=connections_max,
            timeout=request_s,
            socket_timeout=request_s,
            socket_connect_timeout=CONNECT_S,
            retry=Retry(NoBackoff(), 0),
            client_name="tellerhall",
        )
        self._redis = redis.Redis(connection_pool=pool)

    async def send(self, request: Request) -> list[Any]:
        commands = request.commands
        if request.is_atomic:
            commands = [("MULTI",), *commands, ("EXEC",)]
        confirm_count = self._replicas_min if request.is_confirmed else 0
        if confirm_count:
            wait, wait_disk = ("WAIT", confirm_count), ("WAITAOF", 1, confirm_count)
            commands = [*commands, (*wait, REPLICAS_WAIT_MS), (*wait_disk, REPLICAS_WAIT_MS)]
        async with self._redis.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            replies = await pipe.execute(raise_on_error=False)
        if confirm_count:
            *replies, _, confirmed = replies
            if not all(isinstance(reply, Exception) for reply in replies):
                check_confirmed(confirmed, confirm_count)
        return _outcomes(replies) if request.is_atomic else replies

    async def send_each(self, commands: list[StoreCommand]) -> dict[str, list[Any]]:
        return {"": await self.send(Request(commands))}

    def forget(self) -> None:
        """There is only this one."""

    async def close(self) -> None:
        await self._redis.aclose(close_connection_pool=True)


def check_confirmed(reply: Any, count: int) -> None:
    """Raise StoreUnavailable unless WAITAOF has counted this server's disk and enough replicas."""
    if isinstance(reply, Exception):
        raise reply
    local, replicas = (int(one) for one in reply)
    if local < 1 or replicas < count:
        raise StoreUnavailable("replica_missing", f"{replicas} of {count} replicas have it on disk")


def _outcomes(replies: list[Any]) -> list[Any]:
    """Take the replies of a transaction apart; if it was refused, that is what became of each of its commands."""
    *queued, outcomes = replies
    if not isinstance(outcomes, Exception):
        return list(outcomes)
    refusal = next((reply for reply in queued if isinstance(reply, Exception)), outcomes)
    return [refusal] * (len(queued) - 1)


class SentinelLink:
    """The primary, wherever it is now."""

    def __init__(self, address: StoreAddress, request_s: float, connections_max: int) -> None:
        self._address = address
        self._request_s = request_s
        self._connections_max = connections_max
        self._lock = asyncio.Lock()
        self._node: Node | None = None
        self._link_by_node: dict[Node, ServerLink] = {}
        self._is_doubted = True

    async def send(self, request: Request) -> list[Any]:
        link = await self._primary()
        try:
            replies = await link.send(request)
        except Exception:
            self.forget()
            raise
        if any(isinstance(reply, exceptions.ReadOnlyError | exceptions.MasterDownError) for reply in replies):
            self.forget()
        return replies

    async def send_each(self, commands: list[StoreCommand]) -> dict[str, list[Any]]:
        replies = await self.send(Request(commands))
        return {str(self._node): replies}

    def forget(self) -> None:
        self._is_doubted = True

    async def _primary(self) -> ServerLink:
        async with self._lock:
            if self._is_doubted or self._node is None:
                await self._find()
            assert self._node is not None, "`_find` found it or raised"
            return self._link_by_node[self._node]

    async def _find(self) -> None:
        """Ask the Sentinels in order. Raises ConnectionError when none of them knows."""
        failures = []
        for sentinel in self._address.nodes:
            try:
                node = await self._ask(sentinel)
            except (exceptions.RedisError, OSError, TimeoutError) as error:
                failures.append(f"{sentinel}: {error}")
                continue
            if node is None:
                failures.append(f"{sentinel}: knows no {self._address.service!r}")
                continue
            await self._turn_to(node)
            return
        raise exceptions.ConnectionError(f"no Sentinel names the primary: {'; '.join(failures)}")

    async def _ask(self, sentinel: Node) -> Node | None:
        link = ServerLink(self._address.sentinel_url(sentinel), CONNECT_S, 1)
        try:
            question: StoreCommand = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._address.service)
            [reply] = await link.send(Request([question]))
        finally:
            await link.close()
        if isinstance(reply, Exception):
            raise reply
        return None if reply is None else Node(text_of(reply[0]), int(reply[1]))

    async def _turn_to(self, node: Node) -> None:
        """Connections to a former primary go, also those in use: what they wait for would not be worth having."""
        self._is_doubted = False
        if node == self._node:
            return
        former = self._link_by_node.pop(self._node) if self._node is not None else None
        self._link_by_node[node] = self._server(node)
        self._node = node
        if former is not None:
            await former.close()

    def _server(self, node: Node) -> ServerLink:
        url, replicas_min = self._address.server_url(node), self._address.replicas_min
        return ServerLink(url, self._request_s, self._connections_max, replicas_min)

    async def close(self) -> None:
        for link in self._link_by_node.values():
            await link.close()


def text_of(value: Any) -> str:
    """Return what a server calls itself or others, which arrives as bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)
