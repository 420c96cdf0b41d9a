"""The one connection to the store: bounded requests, errors by name, scripts that survive a restart of the server.

Rules: `redis` is imported in the `store_` files and nowhere else. Every request has a time limit and is sent once; whether to
repeat it is for the caller, who knows whether a repeat is harmless. A server error is never passed on as text to parse: it
is `StoreUnavailable` with a `reason` from a short list.

Theory: a request is a list of commands that travel in one round trip. Scripts are called by their digest; a server
that was restarted or failed over has forgotten them and says NOSCRIPT without doing anything, so the script is
loaded and the whole list sent again. That asks one thing of scripts: running one again after it succeeded must be
harmless.

Not here: forms of addresses (`store_address`), the ways to one or several servers (`store_links`, `store_cluster`), names of
errors (`store_errors`), what the commands mean (`journal`, `people`, `directory`), the server itself (`store`).
"""

import asyncio
import hashlib
from collections.abc import Coroutine
from typing import Any, TypeVar

from redis import exceptions

from actors.store_address import parse_address
from actors.store_cluster import ClusterLink
from actors.store_errors import Reason, StoreUnavailable, unavailable
from actors.store_links import CONNECT_S, Link, Request, SentinelLink, ServerLink, StoreCommand

__all__ = ["Reason", "Script", "StoreClient", "StoreCommand", "StoreUnavailable"]

REQUEST_S = 5.0
"""Longer than the worst fsync seen on a busy disk, shorter than a caller's patience (15 s at the gateway)."""
CONNECTIONS_MAX = 16
"""Appends use one at a time; the rest is for readers, of which a process has a handful."""
SCRIPT_ROUNDS_MAX = 3
"""A second NOSCRIPT needs a second restart between two round trips."""

_Replies = TypeVar("_Replies")


class Script:
    """A Lua script that the server runs as one atomic step. Must be harmless when run again after success."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.digest = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


class StoreClient:
    """Speaks to the store, one server or several; connects at the first request and again after each loss."""

    def __init__(self, url: str, *, request_s: float = REQUEST_S, connections_max: int = CONNECTIONS_MAX) -> None:
        """`url`: a form that `store_address` knows. Raises AddressWrong."""
        self._request_s = request_s
        self.address = parse_address(url)
        self.answers_count = 0
        """By which it can be seen from outside that somebody who asks much gets on."""
        self._link = self._make_link(connections_max)

    def _make_link(self, connections_max: int) -> Link:
        address = self.address
        if address.kind == "sentinel":
            return SentinelLink(address, self._request_s, connections_max)
        if address.kind == "cluster":
            return ClusterLink(address, self._request_s, connections_max)
        server = address.server_url(address.nodes[0]) if address.nodes else address.socket_url
        return ServerLink(server, self._request_s, connections_max, address.replicas_min)

    async def run(
        self, commands: list[StoreCommand], *, is_atomic: bool = False, is_confirmed: bool = False
    ) -> list[Any]:
        """Return one reply a command, in order, after one round trip. Raises StoreUnavailable if any one failed.

        `is_confirmed`: also wait until so many replicas as the address asks for have the last write on disk.
        """
        replies = await self._send(Request(commands, is_atomic, is_confirmed))
        _raise_first(replies)
        return replies

    async def attempt(self, commands: list[StoreCommand], *, is_atomic: bool = False) -> list[Any]:
        """Like `run`, but a command that the server refused has its exception as its reply."""
        return await self._send(Request(commands, is_atomic))

    async def attempt_each(self, commands: list[StoreCommand]) -> dict[str, list[Any]]:
        """Like `attempt`, of every server that holds data, by its name; a single one has the name ``."""
        return await self._bounded(self._link.send_each(commands))

    async def run_script(
        self, script: Script, calls: list[tuple[list[str], list[str | bytes | int]]], *, is_confirmed: bool = False
    ) -> list[Any]:
        """Run `script` once for each (keys, arguments), in order, in one round trip; return the replies.

        Calls before one that failed have taken effect; each call is atomic, the list is not. In a cluster the keys of one
        call must lie together, and calls whose keys lie apart are carried out beside each other.
        """
        commands: list[StoreCommand] = [
            ("EVALSHA", script.digest, len(keys), *keys, *arguments) for keys, arguments in calls
        ]
        replies: list[Any] = []
        for _ in range(SCRIPT_ROUNDS_MAX):
            replies = await self._send(Request(commands, is_confirmed=is_confirmed))
            if not any(isinstance(reply, exceptions.NoScriptError) for reply in replies):
                break
            await self.run([("SCRIPT LOAD", script.source)])
        _raise_first(replies)
        return replies

    async def _send(self, request: Request) -> list[Any]:
        return await self._bounded(self._link.send(request))

    async def _bounded(self, sending: Coroutine[Any, Any, _Replies]) -> _Replies:
        """Wait for it, for as long as a request may take. Raises StoreUnavailable."""
        cancels = _count_cancels()
        try:
            async with asyncio.timeout(self._request_s + CONNECT_S):
                replies = await sending
        except (StoreUnavailable, exceptions.RedisError, OSError, TimeoutError) as error:
            # Fewer replicas than asked for may mean that this primary was left behind by a failover.
            self._link.forget()
            _heed_cancel(cancels)
            raise unavailable(error) from error
        _heed_cancel(cancels)
        self.answers_count += 1
        return replies

    async def close(self) -> None:
        """Close all connections. Safe to call twice."""
        cancels = _count_cancels()
        try:
            async with asyncio.timeout(CONNECT_S):
                await self._link.close()
        except (exceptions.RedisError, OSError, TimeoutError):
            pass  # The connections are gone either way, and nobody waits for their answers.
        _heed_cancel(cancels)


def _count_cancels() -> int:
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0


def _heed_cancel(cancels_before: int) -> None:
    """End the task if it was cancelled in the request and the library lost that.

    It sends through `asyncio.wait_for`, which in Python 3.11 swallows a cancellation that comes as the send completes; a
    task that loops over requests would then never end (seen when the store was stopped just after a restart).
    """
    if _count_cancels() > cancels_before:
        raise asyncio.CancelledError


def _raise_first(replies: list[Any]) -> None:
    for reply in replies:
        if isinstance(reply, Exception):
            raise unavailable(reply) from reply
