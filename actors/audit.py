"""The audit log: who did what to whom, in one chain for the whole hall that shows whatever was changed, removed or cut.

Rules
- An entry holds opaque references, names from lists and instants; never a name, a reason in free words, a token or SDP.
- `record` returns when the entry is durable. What it is about is answered only then.
- Entries are numbered 1, 2, 3 ... Each holds the hash of the one before (SHA-256 over its very bytes); the head, number and
  hash of the last one, lies apart. Several gateways write the same chain; the store lets exactly one follow each head.
- Nothing here forgets an entry that is not in the archive (`audit_archive`); a log that cannot be archived is full some day,
  and then what must be recorded is refused.

Theory: a gateway gathers what comes while an append is under way, links it to the head that it knows, and sends it with that
head. Where somebody else was faster the store answers with the head that is, and the same entries are linked anew. A lost
reply is not a lost append: the same bytes again are recognised by the hash of their first entry and answered with OK.

Not here: what is recorded (`gateway/auditing.py`), files and checking them (`audit_archive`).
"""

import asyncio
import hashlib
from typing import Any, Protocol

import msgspec
from msgspec import Struct, field

from actors.store_client import Script, StoreClient, StoreUnavailable

GENESIS = "0" * 64
BATCH_MAX = 200
WAITING_MAX = 20_000
"""Entries that wait in one gateway: one for each of its connections, and more."""
STORED_MAX = 1_000_000
"""Entries that the store keeps for the archive: some 500 MB, and days of a follower that is away."""
KEPT_MAX = 20_000
"""Entries that stay in the store although they are archived: whoever repeats an append must find it."""
HEADS_MAX = 200
"""How often an append may meet a head that somebody else moved. One of all who try gets on each time."""
REPEATS_MAX = 2
DETAIL_LENGTH_MAX = 128


class Head(Struct, frozen=True):
    """The end of the chain."""

    seq: int = 0
    hash: str = GENESIS


class Entry(Struct, frozen=True, kw_only=True):
    """What is recorded. The order of the fields is that of the line."""

    at_ms: int
    what: str
    who: str
    """`supervisor:s-1`; `gateway` for what is nobody's."""
    division: str = ""
    about: dict[str, str] = field(default_factory=dict)
    """Opaque references and words from lists."""
    outcome: str = "done"
    """`asked` (it begins), `done`, or the reason of a refusal."""
    ref: str = ""
    """Joins `asked` and outcome: the command's id."""
    by: str = ""
    """Which gateway wrote it."""


class Line(Entry, frozen=True, kw_only=True):
    """An entry with its place in the chain."""

    seq: int
    prev: str


class AuditFull(Exception):
    """No more can be recorded now; what would have to be is refused."""


def hash_of(line: bytes) -> str:
    """Return what the next entry holds of this one."""
    return hashlib.sha256(line).hexdigest()


def link(head: Head, entries: list[Entry]) -> tuple[list[bytes], list[str]]:
    """Return lines that follow `head`, and their hashes."""
    lines, hashes, prev = [], [], head.hash
    for number, entry in enumerate(entries, head.seq + 1):
        values = {name: getattr(entry, name) for name in Entry.__struct_fields__}
        line = msgspec.json.encode(Line(**values, seq=number, prev=prev))
        prev = hash_of(line)
        lines.append(line)
        hashes.append(prev)
    return lines, hashes


class Audit(Protocol):
    """What gateways need."""

    async def record(self, entry: Entry) -> None:
        """Return when it is durable. Raises StoreUnavailable (perhaps it is; record it again), AuditFull."""

    async def head(self) -> Head:
        """Return the end of the chain. Raises StoreUnavailable."""

    async def read(self, after: int, count_max: int) -> list[bytes]:
        """Return lines after the number `after` that the store still has, in order. Raises StoreUnavailable."""

    async def close(self) -> None:
        """End what is under way; whoever waits is told."""


class _Gathering:
    """Gathers entries and appends them, one batch at a time."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Entry, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def record(self, entry: Entry) -> None:
        if len(self._waiting) >= WAITING_MAX:
            raise AuditFull(f"{WAITING_MAX} entries wait already")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, done))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        await done

    async def _write(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:BATCH_MAX], self._waiting[BATCH_MAX:]
                failure: Exception | None = StoreUnavailable("not_connected")
                try:
                    failure = await self._outcome([entry for entry, _ in batch])
                finally:
                    _tell([done for _, done in batch], failure)
        finally:
            self._writing = None

    async def _outcome(self, entries: list[Entry]) -> Exception | None:
        try:
            await self.append(entries)
        except (StoreUnavailable, AuditFull) as error:
            return error
        return None

    async def append(self, entries: list[Entry]) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
        waiting, self._waiting = self._waiting, []
        _tell([done for _, done in waiting], StoreUnavailable("not_connected"))


def _tell(waiting: list[asyncio.Future[None]], failure: Exception | None) -> None:
    for done in waiting:
        if done.done():
            continue  # Who waited has gone.
        if failure is None:
            done.set_result(None)
        else:
            done.set_exception(failure)


_HEAD_KEY = "tellerhall:{audit}:head"
_LINES_KEY = "tellerhall:{audit}:lines"

_APPEND = Script(f"""
local head = redis.call('HMGET', KEYS[1], 'seq', 'hash')
local seq, hash = tonumber(head[1] or '0'), head[2] or '{GENESIS}'
local first, count = tonumber(ARGV[1]), (#ARGV - 3) / 2
if seq + 1 ~= first or hash ~= ARGV[2] then
  local there = redis.call('XRANGE', KEYS[2], ARGV[1] .. '-0', ARGV[1] .. '-0')
  if #there == 1 and there[1][2][4] == ARGV[5] then
    redis.call('HSET', KEYS[1], 'seq', seq, 'hash', hash)
    return {{'ok', tostring(seq), hash}}
  end
  return {{'head', tostring(seq), hash}}
end
if redis.call('XLEN', KEYS[2]) + count > tonumber(ARGV[3]) then return {{'full', tostring(seq), hash}} end
for n = 0, count - 1 do
  redis.call('XADD', KEYS[2], string.format('%d-0', first + n), 'e', ARGV[4 + 2 * n], 'h', ARGV[5 + 2 * n])
end
redis.call('HSET', KEYS[1], 'seq', first + count - 1, 'hash', ARGV[3 + 2 * count])
return {{'ok', tostring(first + count - 1), ARGV[3 + 2 * count]}}
""")
"""ARGV: number of the first line, hash of the head that it follows, how many may be kept, then each line and its
hash.

A repeat writes the head anew, since replicas confirm only what this connection has written.
"""

_BEGIN_AFTER = Script("""
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], 'seq', ARGV[1], 'hash', ARGV[2])
return 1
""")


class StoreAudit(_Gathering):
    """The chain in the store."""

    def __init__(self, client: StoreClient, *, stored_max: int = STORED_MAX, kept_max: int = KEPT_MAX) -> None:
        super().__init__()
        self._client = client
        self._stored_max = stored_max
        self._kept_max = kept_max
        self._head = Head()

    async def append(self, entries: list[Entry]) -> None:
        """Put the entries at the end of the chain, whole. Raises StoreUnavailable, AuditFull."""
        for _ in range(HEADS_MAX):
            lines, hashes = link(self._head, entries)
            answer, seq, digest = await self._send(self._head, lines, hashes)
            self._head = Head(int(seq), digest.decode())
            if answer == b"ok":
                return
            if answer == b"full":
                raise AuditFull(f"{self._stored_max} entries wait for the archive")
        raise AuditFull("too many others append to the audit log")

    async def _send(self, head: Head, lines: list[bytes], hashes: list[str]) -> tuple[bytes, bytes, bytes]:
        pairs: list[str | bytes | int] = [one for pair in zip(lines, hashes, strict=True) for one in pair]
        arguments: list[str | bytes | int] = [head.seq + 1, head.hash, self._stored_max, *pairs]
        for repeat in range(REPEATS_MAX):
            try:
                [answer] = await self._client.run_script(_APPEND, [(KEYS, arguments)], is_confirmed=True)
            except StoreUnavailable:
                if repeat == REPEATS_MAX - 1:
                    raise
            else:
                return tuple(answer)
        raise AssertionError("the last repeat answers or raises")

    async def head(self) -> Head:
        [fields] = await self._client.run([("HMGET", _HEAD_KEY, "seq", "hash")])
        return Head() if fields[0] is None else Head(int(fields[0]), fields[1].decode())

    async def read(self, after: int, count_max: int) -> list[bytes]:
        [found] = await self._client.run([("XRANGE", _LINES_KEY, f"{after + 1}-0", "+", "COUNT", count_max)])
        return [bytes(fields[b"e"] if isinstance(fields, dict) else fields[1]) for _, fields in found]

    async def trim(self, archived: int) -> None:
        """Forget what is archived, but for the newest. Raises StoreUnavailable."""
        if archived > self._kept_max:
            await self._client.run([("XTRIM", _LINES_KEY, "MINID", f"{archived - self._kept_max + 1}-0")])

    async def begin_after(self, head: Head) -> bool:
        """Let the chain of an empty store go on after `head`, for a restore. False: the store has a chain of its own."""
        [is_begun] = await self._client.run_script(_BEGIN_AFTER, [([_HEAD_KEY], [head.seq, head.hash])])
        return bool(is_begun)


KEYS = [_HEAD_KEY, _LINES_KEY]


class MemoryAudit(_Gathering):
    """The same in memory, for a single gateway without a store, as in tests."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[bytes] = []
        self._head = Head()

    async def append(self, entries: list[Entry]) -> None:
        lines, hashes = link(self._head, entries)
        self.lines += lines
        self._head = Head(self._head.seq + len(lines), hashes[-1])

    async def head(self) -> Head:
        return self._head

    async def read(self, after: int, count_max: int) -> list[bytes]:
        return self.lines[after : after + count_max]


def decode_line(line: bytes) -> Line:
    """Raises msgspec.DecodeError, which a ValidationError is too."""
    return msgspec.json.decode(line, type=Line)


def shown(values: dict[str, Any]) -> dict[str, str]:
    """Return references as an entry holds them: short words without control characters; of anything else that it was there."""
    return {name: _shown(value) for name, value in values.items() if value not in ("", None)}


def _shown(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    is_plain = text.isascii() and text.isprintable() and " " not in text and len(text) <= DETAIL_LENGTH_MAX
    return text if is_plain else "(not shown)"
