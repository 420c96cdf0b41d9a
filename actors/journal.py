"""The journal: where a division's decisions become durable, and the fence that keeps a stale shard from deciding.

Rules
- A batch is one opaque payload. Batches of a division are numbered 1, 2, 3 ... without a gap, over all epochs.
- `append` returns when the payload is on disk. If it raises StoreUnavailable, nobody knows: repeat the SAME append,
  or drop the memory, `open` anew (a late append of the old epoch is then refused) and replay. A lost reply is not a
  lost append (SAFETY.md 1): a repeat of the last batch is answered with OK.
- With replicas that must confirm, durable means: on their disks too. What they have not confirmed is read by nobody.
- Only the holder of the newest epoch appends. Whoever is told `Fenced` drops its memory for good.
- A reader never skips: a hole in front of what it asked for is `JournalGap`, not an empty answer.

Theory: per division four kinds of keys share a hash tag, so that one server of a cluster holds them all and one
script may touch them together. `head` holds epoch and last batch; `batches` is a stream whose ids are `<batch>-0`;
`snapshot` names the valid set of `piece` keys. The append script compares epoch and batch number, adds the entry
and moves the head in one atomic step. With `appendfsync always` the server sends no reply before the step is
fsynced. A snapshot's pieces are written one a round trip (M: one 13.7 MB value held appends up to 63 ms, SAFETY.md
3) under a fresh name with a time to live; a second script keeps them, moves the name and lets the old ones expire.
A writer that dies half-way leaves nothing for long.

Not here: what a payload means (`dispatch/codec`), who reads it (`shard`, `follower`), the same thing in memory
(`journal_memory`).
"""

import secrets
from typing import Any, Protocol, Self

from msgspec import Struct

from actors.durability import Durability, NotDurable, check_durability
from actors.store_client import Script, StoreClient, StoreCommand, StoreUnavailable

__all__ = [
    "Append",
    "Durability",
    "Fenced",
    "Journal",
    "JournalGap",
    "JournalSize",
    "NotDurable",
    "Opened",
    "RedisJournal",
    "StoreUnavailable",
]

PIECE_BYTES_MAX = 256 * 1024
"""SAFETY.md 3: a larger value in one request delays the appends behind it noticeably."""
PIECES_MAX = 4_096
"""1 GiB of snapshot: twenty times the largest division that was planned for."""
PAYLOAD_BYTES_MAX = 16 * 1024 * 1024
"""Ten times what a shard's largest batch holds. Beyond it something is wrong, and every other division would wait."""
PIECE_LIFE_S = 3_600
"""Pieces that no snapshot names vanish after this. Writing 1 GiB takes minutes."""
OLD_PIECE_LIFE_S = 60
"""How long a reader of a replaced snapshot may go on; reading 1 GiB takes seconds."""
SNAPSHOT_READS_MAX = 5
"""A reader that was slower than that starts again; snapshots are minutes apart."""


class Append(Struct, frozen=True):
    """One batch of one division. `epoch` is what `open` gave; `batch` is the last one + 1."""

    division_id: str
    epoch: int
    batch: int
    payload: bytes


class Opened(Struct, frozen=True):
    epoch: int
    last_batch: int
    """0: nothing was ever appended."""


class JournalSize(Struct, frozen=True):
    """What the journal holds of a division beyond its snapshot: all that has not been trimmed."""

    batches: int
    bytes: int
    """Of payloads; the store needs about a tenth more for each in memory and on disk."""


class Fenced(Exception):
    """The store refused the batch for good: drop the memory of these divisions. Others of the same call are durable."""

    def __init__(self, reasons: dict[str, str]) -> None:
        """`reasons`: division -> `epoch` (a newer one exists), `batch` (not last or next), `payload` (differs)."""
        super().__init__(", ".join(f"{division_id}: {reason}" for division_id, reason in reasons.items()))
        self.reasons = reasons

    def __reduce__(self) -> tuple[type[Self], tuple[dict[str, str]]]:
        return type(self), (self.reasons,)


class JournalGap(Exception):
    """The batches asked for have been trimmed: begin with the snapshot."""

    def __init__(self, division_id: str, wanted_batch: int, first_batch: int) -> None:
        """`first_batch`: the oldest that is still there, or the next to come."""
        super().__init__(f"{division_id}: batch {wanted_batch} has been trimmed, the journal begins at {first_batch}")
        self.division_id = division_id
        self.wanted_batch = wanted_batch
        self.first_batch = first_batch

    def __reduce__(self) -> tuple[type[Self], tuple[str, int, int]]:
        return type(self), (self.division_id, self.wanted_batch, self.first_batch)


class Journal(Protocol):
    """What shard and follower need of a journal. Every method may raise StoreUnavailable."""

    async def open(self, division_id: str) -> Opened:
        """Take the next epoch, which fences all older ones. A lost reply costs an epoch and nothing else."""

    async def append(self, appends: list[Append]) -> None:
        """Make all batches durable in one round trip, at most one a division. Raises Fenced."""

    async def last_batch(self, division_id: str) -> int:
        """Return the number of the newest batch; 0 when there is none."""

    async def read(self, division_id: str, after_batch: int, count_max: int) -> list[tuple[int, bytes]]:
        """Return up to `count_max` batches from `after_batch` + 1 on, in order; empty at the end. Raises JournalGap."""

    async def size(self, division_id: str) -> JournalSize:
        """Return how much has not been trimmed. Cost: O(1)."""

    async def write_snapshot(self, division_id: str, batch: int, pieces: list[bytes]) -> None:
        """Replace the snapshot by the state after `batch`, in one instant. One that is not newer is ignored."""

    async def read_snapshot(self, division_id: str) -> tuple[int, list[bytes]] | None:
        """Return (batch, pieces) of the newest snapshot."""

    async def trim(self, division_id: str, up_to_batch: int) -> None:
        """Forget batches up to and including this one. Raises ValueError beyond the snapshot: they would be lost."""

    async def check_durability(self) -> Durability:
        """Ask the store what it promises. Raises NotDurable unless weaker is accepted (SAFETY.md 18)."""

    async def close(self) -> None:
        """Let go of the connection."""


_APPEND = Script("""
local head = redis.call('HMGET', KEYS[1], 'epoch', 'batch', 'bytes')
if tonumber(ARGV[1]) ~= tonumber(head[1] or '0') then return 'epoch' end
local batch, last = tonumber(ARGV[2]), tonumber(head[2] or '0')
if batch == last + 1 then
  local bytes = string.format('%.0f', tonumber(head[3] or '0') + #ARGV[3])
  redis.call('XADD', KEYS[2], ARGV[2] .. '-0', 'p', ARGV[3], 'b', bytes)
  redis.call('HSET', KEYS[1], 'batch', ARGV[2], 'bytes', bytes)
  return 'ok'
end
if batch ~= last then return 'batch' end
local entry = redis.call('XRANGE', KEYS[2], ARGV[2] .. '-0', ARGV[2] .. '-0')
if #entry == 1 and entry[1][2][2] ~= ARGV[3] then return 'payload' end
redis.call('HSET', KEYS[1], 'batch', ARGV[2])
return 'ok'
""")
"""Answers `ok`, or why not. The stream is written first: a full or read-only store refuses before anything has changed.

`b` is how many bytes of payload there ever were up to this batch, so that the size of what is left is a difference.
A repeat of a last batch that has been trimmed meanwhile cannot be compared; its epoch vouches for it. It writes the head anew,
since replicas confirm only what this connection has written.
"""

_BEGIN_AFTER = Script("""
local batch = redis.call('HGET', KEYS[1], 'batch')
if batch and batch ~= ARGV[1] then return 0 end
if redis.call('XLEN', KEYS[2]) > 0 then return 0 end
redis.call('HSET', KEYS[1], 'batch', ARGV[1])
return 1
""")

_SIZE = Script("""
local count = redis.call('XLEN', KEYS[2])
if count == 0 then return {0, '0'} end
local first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1][2]
local last = tonumber(redis.call('HGET', KEYS[1], 'bytes') or '0')
return {count, string.format('%.0f', last - tonumber(first[4] or '0') + #first[2])}
""")

_SWITCH_SNAPSHOT = Script("""
local old = redis.call('HMGET', KEYS[1], 'batch', 'name', 'pieces')
if tonumber(ARGV[1]) <= tonumber(old[1] or '0') then return 'old' end
for i = 1, tonumber(ARGV[3]) do
  if redis.call('EXISTS', ARGV[4] .. ARGV[2] .. ':' .. i) == 0 then return 'lost' end
end
for i = 1, tonumber(ARGV[3]) do redis.call('PERSIST', ARGV[4] .. ARGV[2] .. ':' .. i) end
redis.call('HSET', KEYS[1], 'batch', ARGV[1], 'name', ARGV[2], 'pieces', ARGV[3])
for i = 1, tonumber(old[3] or '0') do redis.call('EXPIRE', ARGV[4] .. old[2] .. ':' .. i, ARGV[5]) end
return 'ok'
""")
"""Run again after success it answers `old`, which is as good. Pieces of the old snapshot stay for those who read them now."""


class RedisJournal:
    """The journal in Valkey or Redis."""

    def __init__(self, url: str, *, accept_weaker_durability: bool = False, client: StoreClient | None = None) -> None:
        """`client`: a connection that is shared with others; `close` closes it all the same."""
        self._client = client or StoreClient(url)
        self._has_replicas = self._client.address.replicas_min > 0
        self._accept_weaker_durability = accept_weaker_durability

    async def open(self, division_id: str) -> Opened:
        head = _key(division_id, "head")
        epoch, batch = await self._client.run(
            [("HINCRBY", head, "epoch", 1), ("HGET", head, "batch")], is_atomic=True, is_confirmed=True
        )
        return Opened(int(epoch), int(batch or 0))

    async def append(self, appends: list[Append]) -> None:
        if not appends:
            return
        check_appends(appends)
        answers = await self._client.run_script(
            _APPEND,
            [
                ([_key(one.division_id, "head"), _key(one.division_id, "batches")], [one.epoch, one.batch, one.payload])
                for one in appends
            ],
            is_confirmed=True,
        )
        pairs = zip(appends, answers, strict=True)
        refused = {one.division_id: answer.decode() for one, answer in pairs if answer != b"ok"}
        if refused:
            raise Fenced(refused)

    async def last_batch(self, division_id: str) -> int:
        [batch] = await self._client.run([("HGET", _key(division_id, "head"), "batch")])
        return int(batch or 0)

    async def read(self, division_id: str, after_batch: int, count_max: int) -> list[tuple[int, bytes]]:
        # The head first: a batch that is appended between the two commands must not look like a hole.
        commands: list[StoreCommand] = [
            ("HGET", _key(division_id, "head"), "batch"),
            ("XRANGE", _key(division_id, "batches"), f"{after_batch + 1}-0", "+", "COUNT", count_max),
        ]
        if self._has_replicas:
            last, entries = await self._read_confirmed(division_id, after_batch, commands)
        else:
            last, entries = await self._client.run(commands)
        batches = [(int(entry_id.partition(b"-")[0]), fields[b"p"]) for entry_id, fields in entries or []]
        check_follows(division_id, after_batch, batches, int(last or 0))
        return batches

    async def _read_confirmed(self, division_id: str, after_batch: int, commands: list[StoreCommand]) -> list[Any]:
        """What no replica has yet may be lost, so nobody may see it: replicas confirm a write that follows the reading."""
        last_batch = await self.last_batch(division_id)
        if last_batch <= after_batch:
            return [last_batch, []]
        write: StoreCommand = ("HINCRBY", _key(division_id, "head"), "reads", 1)
        return (await self._client.run([*commands, write], is_confirmed=True))[:-1]

    async def last_batches(self, division_ids: list[str]) -> dict[str, int]:
        """Return the newest batch of each division, all as of one instant, for a backup.

        In a cluster the divisions lie on several servers and the instants differ by a round trip.
        """
        is_atomic = self._client.address.kind != "cluster"
        commands: list[StoreCommand] = [("HGET", _key(one, "head"), "batch") for one in division_ids]
        batches = await self._client.run(commands, is_atomic=is_atomic) if commands else []
        return {one: int(batch or 0) for one, batch in zip(division_ids, batches, strict=True)}

    async def begin_after(self, division_id: str, batch: int) -> bool:
        """Let an empty journal go on after `batch`, for a restore. False: it is not empty."""
        keys = [_key(division_id, "head"), _key(division_id, "batches")]
        [answer] = await self._client.run_script(_BEGIN_AFTER, [(keys, [batch])], is_confirmed=True)
        return bool(answer)

    async def erase(self, division_id: str) -> None:
        """Forget all of a division but its epoch, which only grows. For a restore that was told to replace it."""
        [fields] = await self._client.run([("HMGET", _key(division_id, "snapshot"), "name", "pieces")])
        name, count = fields
        pieces = [
            f"{_key(division_id, 'piece')}:{name.decode()}:{index}" for index in range(1, int(count or 0) + 1) if name
        ]
        await self._client.run(
            [
                ("HDEL", _key(division_id, "head"), "batch", "bytes", "reads"),
                *(("DEL", key) for key in (_key(division_id, "batches"), _key(division_id, "snapshot"), *pieces)),
            ],
            is_confirmed=True,
        )

    async def size(self, division_id: str) -> JournalSize:
        keys = [_key(division_id, "head"), _key(division_id, "batches")]
        [(batches, size)] = await self._client.run_script(_SIZE, [(keys, [])])
        return JournalSize(int(batches), int(size))

    async def write_snapshot(self, division_id: str, batch: int, pieces: list[bytes]) -> None:
        check_pieces(pieces)
        name = secrets.token_hex(8)
        piece_key = _key(division_id, "piece") + ":"
        for index, piece in enumerate(pieces, start=1):
            await self._client.run([("SET", f"{piece_key}{name}:{index}", piece, "EX", PIECE_LIFE_S)])
        [answer] = await self._client.run_script(
            _SWITCH_SNAPSHOT,
            [([_key(division_id, "snapshot")], [batch, name, len(pieces), piece_key, OLD_PIECE_LIFE_S])],
            is_confirmed=True,
        )
        if answer == b"lost":
            raise StoreUnavailable("timeout", f"writing the snapshot of {division_id} took more than {PIECE_LIFE_S} s")

    async def read_snapshot(self, division_id: str) -> tuple[int, list[bytes]] | None:
        for _ in range(SNAPSHOT_READS_MAX):
            [fields] = await self._client.run([("HMGET", _key(division_id, "snapshot"), "batch", "name", "pieces")])
            batch, name, count = fields
            if batch is None:
                return None
            piece_key = f"{_key(division_id, 'piece')}:{name.decode()}:"
            pieces = [await self._read_piece(f"{piece_key}{index}") for index in range(1, int(count) + 1)]
            whole = [piece for piece in pieces if piece is not None]
            if len(whole) == len(pieces):
                return int(batch), whole
        raise StoreUnavailable("timeout", f"the snapshot of {division_id} was replaced each time it was read")

    async def _read_piece(self, key: str) -> bytes | None:
        [piece] = await self._client.run([("GET", key)])
        return piece if isinstance(piece, bytes) else None

    async def trim(self, division_id: str, up_to_batch: int) -> None:
        [batch] = await self._client.run([("HGET", _key(division_id, "snapshot"), "batch")])
        check_trim(division_id, up_to_batch, int(batch or 0))
        await self._client.run([("XTRIM", _key(division_id, "batches"), "MINID", f"{up_to_batch + 1}-0")])

    async def check_durability(self) -> Durability:
        return await check_durability(self._client, accept_weaker=self._accept_weaker_durability)

    async def close(self) -> None:
        await self._client.close()


def check_follows(division_id: str, after_batch: int, batches: list[tuple[int, bytes]], last: int) -> None:
    """Raise JournalGap unless `batches` begin right after `after_batch`, or that is the end."""
    first = batches[0][0] if batches else last + 1
    if first > after_batch + 1:
        raise JournalGap(division_id, after_batch + 1, first)


def check_pieces(pieces: list[bytes]) -> None:
    """Raise ValueError for a snapshot that breaks the bounds."""
    if not 1 <= len(pieces) <= PIECES_MAX:
        raise ValueError(f"a snapshot has 1 to {PIECES_MAX} pieces, not {len(pieces)}")
    largest = max(len(piece) for piece in pieces)
    if largest > PIECE_BYTES_MAX:
        raise ValueError(f"a snapshot's piece has at most {PIECE_BYTES_MAX} bytes, not {largest}")


def check_trim(division_id: str, up_to_batch: int, snapshot_batch: int) -> None:
    """Raise ValueError for a trim that would lose what no snapshot holds."""
    if up_to_batch > snapshot_batch:
        raise ValueError(f"{division_id}: trimming up to {up_to_batch}, but the snapshot stands at {snapshot_batch}")


def check_appends(appends: list[Append]) -> None:
    """Raise ValueError for appends that break the bounds."""
    if len({one.division_id for one in appends}) != len(appends):
        raise ValueError("one append a division and call: a second one would have to wait for the first's answer")
    for one in appends:
        if one.batch < 1:
            raise ValueError(f"{one.division_id}: batches are numbered from 1, not {one.batch}")
        if len(one.payload) > PAYLOAD_BYTES_MAX:
            raise ValueError(f"{one.division_id}: {len(one.payload)} bytes in one batch, at most {PAYLOAD_BYTES_MAX}")


def _key(division_id: str, part: str) -> str:
    return f"tellerhall:{{{division_id}}}:{part}"
