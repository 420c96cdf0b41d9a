"""The directory: which shard actor owns a division now, which slot is to host it, and which incarnation fills a slot.

Rules: an entry carries the epoch its owner took from the journal; an older epoch never overwrites a newer one, so a
frozen predecessor cannot take callers back (SAFETY.md 13). The directory only finds; what protects is the journal's
fence. The placement is a wish: it changes by compare and set, so that two who place at once do not undo each other.
Where replicas are to confirm, all writes are confirmed: an owner that a failover forgot would be found by nobody, and a
primary that was cut off must not vouch for a shard that was cut off with it.

Not here: epochs themselves (`journal`), who starts shards (`supervisor`) and notes them (`office`), which slot is chosen
(`placement`), how a division gets there (`moving`).
"""

import msgspec
from msgspec import Struct

from actors.store_client import Script, StoreClient


class Owner(Struct, frozen=True):
    epoch: int
    actor_name: str

    @property
    def slot_id(self) -> str:
        """The slot whose incarnation this actor is or was."""
        return slot_of(self.actor_name)


class Placement(Struct, frozen=True):
    """Where divisions are to be hosted."""

    version: int
    """Grows with every change; what `write_placement` expects."""
    slots: dict[str, str]
    """Division -> slot id (`shard-0`); a division that nobody has placed yet is missing."""


class PartEntry(Struct, frozen=True):
    """The incarnation that was started last in a slot. It may be gone by now."""

    name: str
    pid: int
    started_at_ms: int
    restarts_count: int
    """How often this supervisor had to start the slot anew."""
    ray_node: str = ""
    """Where `pid` means something."""


_WRITE_OWNER = Script("""
local owner = redis.call('HMGET', KEYS[1], 'epoch', 'actor_name')
local epoch = tonumber(owner[1] or '0')
if tonumber(ARGV[1]) < epoch then return 0 end
if tonumber(ARGV[1]) == epoch then return owner[2] == ARGV[2] and 1 or 0 end
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'actor_name', ARGV[2])
return 1
""")


_NOTE_ALIVE = Script("""
if tonumber(redis.call('HGET', KEYS[1], 'epoch') or '0') > tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'alive_at_ms', ARGV[2])
return 1
""")

_WRITE_PLACEMENT = Script("""
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then return 1 end
if tonumber(redis.call('HGET', KEYS[1], ARGV[3]) or '0') ~= tonumber(ARGV[4]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HINCRBY', KEYS[1], ARGV[3], 1)
return 1
""")

PARTS_KEY = "tellerhall:{parts}:running"
INCARNATIONS_KEY = "tellerhall:{parts}:incarnations"
"""Written by the supervisor alone (`office`), in one step with the look at its epoch: hence one hash tag for all."""
_PLACEMENT_KEY = "tellerhall:placement"
_VERSION_FIELD = "@version"
"""Among the divisions; no id begins like that (`dispatch.plan.Id`)."""


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
        [is_written] = await self._client.run_script(
            _WRITE_OWNER, [([_key(division_id)], [epoch, actor_name])], is_confirmed=True
        )
        return bool(is_written)

    async def note_alive(self, epochs: dict[str, int], at_ms: int) -> set[str]:
        """Renew the lease of these divisions, given with the epoch under which they are owned, in one round trip.

        Returns those that a newer epoch owns: whoever asks must not read or decide in them any more (SAFETY.md 13). For the
        others `at_ms` tells a successor how long nobody could be heard (SAFETY.md 8).
        """
        answers = await self._client.run_script(
            _NOTE_ALIVE,
            [([_key(division_id)], [epoch, at_ms]) for division_id, epoch in epochs.items()],
            is_confirmed=bool(epochs),
        )
        return {division_id for division_id, is_ours in zip(epochs, answers, strict=True) if not is_ours}

    async def read_alive(self, division_id: str) -> int:
        """Return when an owner of the division lived last; 0 when none ever did."""
        [at_ms] = await self._client.run([("HGET", _key(division_id), "alive_at_ms")])
        return int(at_ms or 0)

    async def read_placement(self) -> Placement:
        """Return which slot is to host which division."""
        [fields] = await self._client.run([("HGETALL", _PLACEMENT_KEY)])
        slots = {field.decode(): value.decode() for field, value in fields.items()}
        return Placement(int(slots.pop(_VERSION_FIELD, "0")), slots)

    async def write_placement(self, division_id: str, slot_id: str, expected: int) -> bool:
        """Place a division. False: the placement is no longer of the version `expected`; read it again and think again."""
        [is_written] = await self._client.run_script(
            _WRITE_PLACEMENT, [([_PLACEMENT_KEY], [division_id, slot_id, _VERSION_FIELD, expected])], is_confirmed=True
        )
        return bool(is_written)

    async def read_incarnations(self) -> dict[str, int]:
        """Return how many incarnations each slot has had, for a backup: calls name the epochs of their media workers."""
        [fields] = await self._client.run([("HGETALL", INCARNATIONS_KEY)])
        return {slot.decode(): int(count) for slot, count in fields.items()}

    async def restore_incarnations(self, counts: dict[str, int]) -> None:
        """Let no slot begin at or below these, for a restore into a hall that does not run."""
        known = await self.read_incarnations()
        raised = {slot: count for slot, count in counts.items() if count > known.get(slot, 0)}
        if raised:
            await self._client.run(
                [("HSET", INCARNATIONS_KEY, slot, count) for slot, count in raised.items()], is_confirmed=True
            )

    async def read_parts(self) -> dict[str, PartEntry]:
        """Return what was noted last, by slot."""
        [fields] = await self._client.run([("HGETALL", PARTS_KEY)])
        return {slot.decode(): _part_entry(value) for slot, value in fields.items()}


def slot_of(actor_name: str) -> str:
    """Return the slot that the actor fills or filled: `shard-1-e7` filled `shard-1`."""
    return actor_name.rpartition("-e")[0] or actor_name


def _part_entry(value: bytes) -> PartEntry:
    return msgspec.msgpack.decode(value, type=PartEntry)


def _key(division_id: str) -> str:
    return f"tellerhall:{{{division_id}}}:owner"
