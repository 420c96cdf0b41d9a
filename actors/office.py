"""The supervisor's office: who holds it, what is wanted of the holder, and writes that a former holder cannot make.

Rules
- The office has an epoch, which grows with every holder. Everything a supervisor writes carries its epoch and is refused
  by the store once another holds the office (SAFETY.md 13).
- A holder shows its life by a count that it raises twice a second. Nobody compares clocks: who would follow watches the
  count stand still for `VACANT_S` in which the store answered (a silent store must not look like a dead holder), and then
  takes the office only if epoch and count are still the ones it saw. Of several that try, exactly one gets it.
- A holder trusts its office for `TRUST_S` after the last word that the store confirmed, less than anybody needs to follow
  it. One that was frozen finds its trust gone when it comes back, and neither ends nor starts anything.
- Where replicas are to confirm, all writes are confirmed: no epoch is given twice after a failover, and a primary that was cut
  off confirms nobody.

What is not covered: an instruction given to Ray in the microseconds between looking at the trust and a freeze.

Not here: what a supervisor does (`supervisor`), who follows it (`guard`).
"""

import asyncio
import time
from collections.abc import Callable
from uuid import uuid4

import msgspec
from msgspec import Struct

from actors.directory import INCARNATIONS_KEY, PARTS_KEY, PartEntry
from actors.store_client import Script, StoreClient

BEAT_S = 0.5
TRUST_S = 2.0
VACANT_S = 3.0
"""Longer than `TRUST_S` and a lost beat; a part of a lost node is to serve elsewhere within 10 s, this included."""

_KEY = "tellerhall:{parts}:office"
_OWNER_KEY = "tellerhall:{parts}:owner"

_TAKE = Script("""
local office = redis.call('HMGET', KEYS[1], 'epoch', 'beats', 'claim')
local epoch = tonumber(office[1] or '0')
if office[3] == ARGV[1] then return epoch end
if epoch ~= tonumber(ARGV[2]) or tonumber(office[2] or '0') ~= tonumber(ARGV[3]) then return 0 end
redis.call('HSET', KEYS[1], 'epoch', epoch + 1, 'beats', 0, 'claim', ARGV[1])
redis.call('HSETNX', KEYS[1], 'hall', ARGV[1])
return epoch + 1
""")

_WRITE = Script("""
local epoch = tonumber(redis.call('HGET', KEYS[1], 'epoch') or '0')
if epoch ~= tonumber(ARGV[1]) then return 0 end
if ARGV[2] == 'beat' then redis.call('HINCRBY', KEYS[1], 'beats', 1) end
if ARGV[2] == 'want' then redis.call('HSET', KEYS[1], 'wanted', ARGV[3]) end
if ARGV[2] == 'want_nothing' then redis.call('HDEL', KEYS[1], 'wanted') end
if ARGV[2] == 'enter' then redis.call('HSET', KEYS[2], ARGV[3], ARGV[4]) end
if ARGV[2] == 'strike' then redis.call('HDEL', KEYS[2], ARGV[3]) end
if ARGV[2] == 'count' then return redis.call('HINCRBY', KEYS[2], ARGV[3], 1) end
return 1
""")


_OWN = Script("""
if redis.call('HGET', KEYS[1], 'id') ~= ARGV[1] then return 0 end
if ARGV[2] == 'end' then redis.call('DEL', KEYS[1]) else redis.call('HINCRBY', KEYS[1], 'beats', 1) end
return 1
""")


class Superseded(Exception):
    """Another supervisor holds the office: decide nothing more, and end."""


class Seen(Struct, frozen=True):
    """The office as somebody saw it."""

    epoch: int
    """0: nobody ever held it."""
    beats: int
    wanted: bytes
    """The settings of a supervisor; empty while no hall is to run."""
    hall_id: str = ""
    """Made once for each store, so that two halls on one Ray cluster know each other apart."""


async def read_office(client: StoreClient) -> Seen:
    """Raises StoreUnavailable."""
    [(epoch, beats, wanted, hall)] = await client.run([("HMGET", _KEY, "epoch", "beats", "wanted", "hall")])
    return Seen(int(epoch or 0), int(beats or 0), wanted or b"", (hall or b"").decode())


async def take_office(client: StoreClient, seen: Seen) -> "Office | None":
    """Take the office if it still is as seen; None: somebody holds it. Raises StoreUnavailable."""
    [epoch] = await client.run_script(_TAKE, [([_KEY], [uuid4().hex, seen.epoch, seen.beats])], is_confirmed=True)
    return Office(client, int(epoch)) if epoch else None


class Office:
    """The office as held under one epoch. Every method but `is_trusted` raises StoreUnavailable, and Superseded."""

    def __init__(self, client: StoreClient, epoch: int, clock_s: Callable[[], float] = time.monotonic) -> None:
        self.epoch = epoch
        self._client = client
        self._clock_s = clock_s
        self._trusted_until_s = clock_s()
        """A holder that has confirmed nothing yet trusts nothing."""

    def __repr__(self) -> str:
        return f"<Office epoch={self.epoch} {'trusted' if self.is_trusted() else 'not trusted'}>"

    def is_trusted(self) -> bool:
        """Say whether nobody can have followed yet. Ask right before each thing that cannot be taken back."""
        return self._clock_s() < self._trusted_until_s

    async def beat(self) -> None:
        """Show life; renews the trust from the instant of asking."""
        asked_s = self._clock_s()
        await self._write([], "beat")
        self._trusted_until_s = asked_s + TRUST_S

    async def want(self, settings: bytes) -> None:
        """Note what every later holder is to keep running."""
        await self._write([], "want", settings)

    async def want_nothing(self) -> None:
        """The hall is to end: nobody follows this holder."""
        await self._write([], "want_nothing")

    async def next_incarnation(self, slot_id: str) -> int:
        """Count the incarnations of a part of the hall, from 1; the number goes into its name.

        A number may be left out: a request whose answer was lost is asked again.
        """
        return await self._write([INCARNATIONS_KEY], "count", slot_id)

    async def enter_part(self, slot_id: str, entry: PartEntry) -> None:
        """Note which incarnation runs in a slot: for the next holder, and for people."""
        await self._write([PARTS_KEY], "enter", slot_id, msgspec.msgpack.encode(entry))

    async def strike_part(self, slot_id: str) -> None:
        """The slot is no more."""
        await self._write([PARTS_KEY], "strike", slot_id)

    async def _write(self, keys: list[str], *arguments: str | bytes) -> int:
        [answer] = await self._client.run_script(_WRITE, [([_KEY, *keys], [self.epoch, *arguments])], is_confirmed=True)
        if not answer:
            self._trusted_until_s = self._clock_s()
            raise Superseded(f"epoch {self.epoch}")
        return int(answer)


class Ownership:
    """Which `tellerhall up` a hall belongs to. Raises StoreUnavailable."""

    def __init__(self, client: StoreClient) -> None:
        self._client = client
        self._id = uuid4().hex

    async def take(self) -> bool:
        """Take the hall; False: it has an owner who lives. Takes `VACANT_S` if there was one."""
        before = await self._read()
        if before[0] is not None:
            await asyncio.sleep(VACANT_S)
            if await self._read() != before:
                return False
        await self._client.run([("HSET", _OWNER_KEY, "id", self._id, "beats", 0)])
        return True

    async def beat(self) -> bool:
        """Show life; False: another has taken the hall meanwhile."""
        [is_ours] = await self._client.run_script(_OWN, [([_OWNER_KEY], [self._id, "beat"])])
        return bool(is_ours)

    async def give_up(self) -> None:
        """The next owner need not wait."""
        await self._client.run_script(_OWN, [([_OWNER_KEY], [self._id, "end"])])

    async def _read(self) -> list[bytes | None]:
        [fields] = await self._client.run([("HMGET", _OWNER_KEY, "id", "beats")])
        return list(fields)
