"""The one connection to the store: bounded requests, errors by name, scripts that survive a restart of the server.

Rules: `redis` is imported here and nowhere else. Every request has a time limit and is sent once; whether to repeat
it is for the caller, who knows whether a repeat is harmless. A server error is never passed on as text to parse: it
is `StoreUnavailable` with a `reason` from a short list.

Theory: a request is a list of commands that travel in one round trip. Scripts are called by their digest; a server
that was restarted or failed over has forgotten them and says NOSCRIPT without doing anything, so the script is
loaded and the whole list sent again. That asks one thing of scripts: running one again after it succeeded must be
harmless.

Not here: what the commands mean (`journal`, `people`, `directory`), the server itself (`store`).
"""

import asyncio
import hashlib
from typing import Any, Literal, Self

import redis.asyncio as redis
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

Reason = Literal[
    "not_connected",
    "timeout",
    "loading",
    "out_of_memory",
    "disk_failed",
    "read_only",
    "not_allowed",
    "script_lost",
    "refused",
]
"""`disk_failed`: the server cannot write its append-only file. `loading`: it reads its files after a start."""

StoreCommand = tuple[str | bytes | int, ...]

CONNECT_S = 2.0
"""A server accepts in microseconds to milliseconds; 2 s leaves room for one lost packet and its repeat."""
REQUEST_S = 5.0
"""Longer than the worst fsync seen on a busy disk, shorter than a caller's patience (15 s at the gateway)."""
CONNECTIONS_MAX = 16
"""Appends use one at a time; the rest is for readers, of which a process has a handful."""
SCRIPT_ROUNDS_MAX = 3
"""A second NOSCRIPT needs a second restart between two round trips."""

_REASON_BY_ERROR: list[tuple[type[Exception], Reason]] = [
    (exceptions.OutOfMemoryError, "out_of_memory"),
    (exceptions.ReadOnlyError, "read_only"),
    (exceptions.BusyLoadingError, "loading"),
    (exceptions.NoPermissionError, "not_allowed"),
    (exceptions.AuthenticationError, "not_allowed"),
    (exceptions.AuthorizationError, "not_allowed"),
    (exceptions.TimeoutError, "timeout"),
    (TimeoutError, "timeout"),
    (exceptions.ConnectionError, "not_connected"),
    (OSError, "not_connected"),
]
"""In this order: the library derives most of the upper ones from its ConnectionError."""


class StoreUnavailable(Exception):
    """The store did not do it, or nobody knows whether it did. Repeat the SAME request, or read what is true."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason: Reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[Self], tuple[Reason, str]]:
        return type(self), (self.reason, self.detail)


class Script:
    """A Lua script that the server runs as one atomic step. Must be harmless when run again after success."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.digest = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


class StoreClient:
    """Speaks to one Redis-protocol server; connects at the first request and again after each loss."""

    def __init__(self, url: str, *, request_s: float = REQUEST_S, connections_max: int = CONNECTIONS_MAX) -> None:
        """`url`: `unix:///path`, `redis://` or `rediss://` (TLS), with user, password and database as usual."""
        self._request_s = request_s
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

    async def run(self, commands: list[StoreCommand], *, is_atomic: bool = False) -> list[Any]:
        """Return one reply a command, in order, after one round trip. Raises StoreUnavailable if any one failed."""
        replies = await self.attempt(commands, is_atomic=is_atomic)
        for reply in replies:
            if isinstance(reply, Exception):
                raise _unavailable(reply) from reply
        return replies

    async def attempt(self, commands: list[StoreCommand], *, is_atomic: bool = False) -> list[Any]:
        """Like `run`, but a command that the server refused has its exception as its reply."""
        cancels = _count_cancels()
        try:
            async with (
                asyncio.timeout(self._request_s + CONNECT_S),
                self._redis.pipeline(transaction=is_atomic) as pipe,
            ):
                for command in commands:
                    pipe.execute_command(*command)
                replies = await pipe.execute(raise_on_error=False)
        except (exceptions.RedisError, OSError, TimeoutError) as error:
            _heed_cancel(cancels)
            raise _unavailable(error) from error
        _heed_cancel(cancels)
        return replies

    async def run_script(self, script: Script, calls: list[tuple[list[str], list[str | bytes | int]]]) -> list[Any]:
        """Run `script` once for each (keys, arguments), in order, in one round trip; return the replies.

        Calls before one that failed have taken effect; each call is atomic, the list is not.
        """
        commands: list[StoreCommand] = [
            ("EVALSHA", script.digest, len(keys), *keys, *arguments) for keys, arguments in calls
        ]
        for _ in range(SCRIPT_ROUNDS_MAX):
            replies = await self.attempt(commands)
            if not any(isinstance(reply, exceptions.NoScriptError) for reply in replies):
                break
            await self.run([("SCRIPT LOAD", script.source)])
        for reply in replies:
            if isinstance(reply, Exception):
                raise _unavailable(reply) from reply
        return replies

    async def close(self) -> None:
        """Close all connections. Safe to call twice."""
        cancels = _count_cancels()
        try:
            async with asyncio.timeout(CONNECT_S):
                await self._redis.aclose(close_connection_pool=True)
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


def _unavailable(error: Exception) -> StoreUnavailable:
    text = str(error)
    if isinstance(error, exceptions.ConnectionError) and isinstance(error.__cause__, exceptions.RedisError):
        error = error.__cause__  # What happens while connecting, a wrong password say, arrives as a ConnectionError.
    for kind, reason in _REASON_BY_ERROR:
        if isinstance(error, kind):
            return StoreUnavailable(reason, text)
    if isinstance(error, exceptions.NoScriptError):
        return StoreUnavailable("script_lost", text)
    if text.startswith("MISCONF"):
        return StoreUnavailable("disk_failed", text)
    return StoreUnavailable("refused", text)
