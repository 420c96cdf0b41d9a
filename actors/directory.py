"""The directory: which shard actor owns a division now, and which incarnation of a part fills a slot.

Rules: an entry carries the epoch its owner took from the journal; an older epoch never overwrites a newer one, so a
frozen predecessor cannot take callers back (SAFETY.md 13). The directory only finds; what protects is the journal's
fence.

Not here: epochs themselves (`journal`), who starts shards (`supervisor`).
"""

import msgspec
from msgspec import Struct

from actors.store_client import Script, StoreClient


class Owner(Struct, frozen=True):
    epoch: int
    actor_name: str


class PartEntry(Struct, frozen=True):
    """The incarnation that was started last in a slot. It may be gone by now."""

    name: str
    pid: int
    started_at_ms: int
    restarts_count: int
    """How often this supervisor had to start the slot anew."""


_WRITE_OWNER = Script("""
local owner = redis.call('HMGET', KEYS[1], 'epoch', 'actor_name')
local epoch = tonumber(owner[1] or '0')
if tonumber(ARGV[1]) < epoch then return 0 end
if tonumber(ARGV[1]) == epoch then return owner[2] == ARGV[2] and 1 or 0 end
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'actor_name', ARGV[2])
return 1
""")


class Directory:
    """Owners by division, in the store. Every method may raise StoreUnavailable."""

    def __init__(self, client: StoreClient) -> None:
        self._client = client

    async def read_owner(self, division_id: str) -> Owner | None:
        """Return who owned the division last; it may be gone by now."""
        [fields] = await self._client.run([("HMGET", _key(division_id), "epoch", "actor_name")])
        epoch, actor_name = fields
        return None if epoch is None else Owner(int(epoch), actor_name.decode())

    async def write_owner(self, division_id: str, epoch: int, actor_name: str) -> bool:
        """Enter the owner. False: a newer epoch stands there, or this one under another name; the caller stops."""
        [is_written] = await self._client.run_script(_WRITE_OWNER, [([_key(division_id)], [epoch, actor_name])])
        return bool(is_written)

    async def note_alive(self, division_ids: list[str], at_ms: int) -> None:
        """The owner lived at `at_ms`: how a successor knows how long nobody could be heard (SAFETY.md 8)."""
        await self._client.run([("HSET", _key(division_id), "alive_at_ms", at_ms) for division_id in division_ids])

    async def read_alive(self, division_id: str) -> int:
        """Return when an owner of the division lived last; 0 when none ever did."""
        [at_ms] = await self._client.run([("HGET", _key(division_id), "alive_at_ms")])
        return int(at_ms or 0)

    async def next_incarnation(self, slot: str) -> int:
        """Count the incarnations of a part of the hall, from 1; the number goes into its name."""
        [count] = await self._client.run([("HINCRBY", "tellerhall:incarnations", slot, 1)])
        return int(count)

    async def write_part(self, slot: str, entry: PartEntry) -> None:
        """Note which incarnation runs in a slot: for a supervisor that comes after this one, and for people."""
        await self._client.run([("HSET", "tellerhall:parts", slot, msgspec.msgpack.encode(entry))])

    async def read_parts(self) -> dict[str, PartEntry]:
        """Return what was noted last, by slot."""
        [fields] = await self._client.run([("HGETALL", "tellerhall:parts")])
        return {slot.decode(): _part_entry(value) for slot, value in fields.items()}


def _part_entry(value: bytes) -> PartEntry:
    return msgspec.msgpack.decode(value, type=PartEntry)


def _key(division_id: str) -> str:
    return f"tellerhall:{{{division_id}}}:owner"
