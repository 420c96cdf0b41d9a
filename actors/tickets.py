"""Tickets: a short secret that stands for somebody who is signed in, good once, through any gateway of the hall.

Rules: the store holds a digest of the ticket and what it stands for, opaque to it; whoever reads the store can use none of
them. Taking is one atomic step: of two who bring the same ticket one gets it. Each ends by itself after `LIFE_MS`; one person
has at most `OPEN_MAX` that nobody has taken. Nothing of a ticket is ever logged.

Theory: a ticket names the group it lies in (made from who it is for), so that in a cluster the keys of one person lie together
and one script may touch them. If the reply to a take is lost, the ticket is gone: who brought it asks for another one.

Not here: who may have one, and what it opens (`gateway/entrance.py`).
"""

import hashlib
import re
import secrets
import time
from typing import Protocol

from actors.store_client import Script, StoreClient

LIFE_MS = 30_000
"""From asking for it to the upgrade takes a page a round trip or two; a slow phone some seconds."""
OPEN_MAX = 16
"""A page that comes back again and again leaves some behind; whoever needs more floods."""
PATTERN = re.compile(r"([0-9a-f]{16})\.([A-Za-z0-9_-]{43})")


class Tickets(Protocol):
    """What gateways need."""

    async def issue(self, owner: str, content: bytes) -> str:
        """Return a new ticket for `content`; empty where `owner` has too many open ones. Raises StoreUnavailable."""

    async def take(self, ticket: str) -> bytes | None:
        """Return what the ticket stands for, once; None for a used, old or made-up one. Raises StoreUnavailable."""


_ISSUE = Script("""
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms)
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[4]) then return 0 end
redis.call('ZADD', KEYS[1], now_ms + ARGV[3], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return 1
""")

_TAKE = Script("""
local content = redis.call('GET', KEYS[2])
if not content then return false end
redis.call('DEL', KEYS[2])
redis.call('ZREM', KEYS[1], ARGV[1])
return content
""")


class StoreTickets:
    """Tickets in the store."""

    def __init__(self, client: StoreClient, *, life_ms: int = LIFE_MS) -> None:
        self._client = client
        self._life_ms = life_ms

    async def issue(self, owner: str, content: bytes) -> str:
        ticket, group, digest = _new(owner)
        calls: list[tuple[list[str], list[str | bytes | int]]] = [
            (_keys(group, digest), [digest, content, self._life_ms, OPEN_MAX])
        ]
        [is_issued] = await self._client.run_script(_ISSUE, calls)
        return ticket if is_issued else ""

    async def take(self, ticket: str) -> bytes | None:
        found = PATTERN.fullmatch(ticket)
        if found is None:
            return None
        group, digest = found[1], _digest(ticket)
        [content] = await self._client.run_script(_TAKE, [(_keys(group, digest), [digest])])
        return content if content is None else bytes(content)


class MemoryTickets:
    """The same in memory, for a single gateway without a store, as in tests."""

    def __init__(self, *, life_ms: int = LIFE_MS) -> None:
        self._life_s = life_ms / 1000
        self._open: dict[str, dict[str, tuple[float, bytes]]] = {}

    async def issue(self, owner: str, content: bytes) -> str:
        ticket, group, digest = _new(owner)
        now_s = time.monotonic()
        kept = {one: facts for one, facts in self._open.get(group, {}).items() if facts[0] > now_s}
        if len(kept) >= OPEN_MAX:
            return ""
        self._open[group] = {**kept, digest: (now_s + self._life_s, content)}
        return ticket

    async def take(self, ticket: str) -> bytes | None:
        found = PATTERN.fullmatch(ticket)
        ends_at_s, content = self._open.get(found[1], {}).pop(_digest(ticket), (0.0, b"")) if found else (0.0, b"")
        return content if ends_at_s > time.monotonic() else None


def _new(owner: str) -> tuple[str, str, str]:
    """Return (ticket, group, digest)."""
    group = hashlib.sha256(owner.encode()).hexdigest()[:16]
    ticket = f"{group}.{secrets.token_urlsafe(32)}"
    return ticket, group, _digest(ticket)


def _digest(ticket: str) -> str:
    return hashlib.sha256(ticket.encode()).hexdigest()


def _keys(group: str, digest: str) -> list[str]:
    return [f"tellerhall:ticket:{{{group}}}:open", f"tellerhall:ticket:{{{group}}}:{digest}"]
