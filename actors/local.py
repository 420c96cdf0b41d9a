"""A hall inside one process: the real shard, mailboxes, feeds and engine, without Ray.

For tests of what stands above (the gateway) and for the simulator. The network is a dictionary; nothing else differs.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from actors.directory import Owner, PartEntry, Placement
from actors.hall import FOLLOWER_NAME, Hall
from actors.items import ReadHistory, ReadPart, decode_follower_items, encode
from actors.journal import Journal
from actors.journal_memory import MemoryJournal
from actors.mailbox import PeerGone
from actors.network import PollablePeer
from actors.performer import Performer
from actors.placement import settle
from actors.shard import Shard, ShardEnded, ShardSettings
from dispatch.codec import decode_events
from dispatch.commands import ApplyPlan
from dispatch.plan import Plan


class LocalPeer:
    """A part in this process. Its answer arrives in a later turn of the loop, as over a wire."""

    def __init__(self, name: str, part: Any) -> None:
        self.name = name
        self._part = part

    async def receive(self, sender: str, number: int, payload: bytes) -> bytes:
        await asyncio.sleep(0)
        try:
            answer: bytes = await self._part.receive(sender, number, payload)
        except ShardEnded as error:
            raise PeerGone(str(error)) from error
        return answer

    async def poll(self, gateway_id: str, cursor: int, wait_s: float) -> bytes:
        try:
            answer: bytes = await self._part.poll(gateway_id, cursor, wait_s)
        except ShardEnded as error:
            raise PeerGone(str(error)) from error
        return answer


class LocalNetwork:
    """Parts by name."""

    def __init__(self) -> None:
        self.parts: dict[str, Any] = {}

    async def peer(self, name: str) -> PollablePeer:
        part = self.parts.get(name)
        if part is None:
            raise PeerGone(f"no part {name!r}")
        return LocalPeer(name, part)


class LocalDirectory:
    """Owners and placement by division, in memory; the twin of `directory.Directory`."""

    def __init__(self) -> None:
        self._owners: dict[str, Owner] = {}
        self._alive_at_ms: dict[str, int] = {}
        self._placement = Placement(0, {})
        self.parts: dict[str, PartEntry] = {}
        """What runs in each slot."""

    async def owner_name(self, division_id: str) -> str:
        """Return who owns the division. Raises PeerGone."""
        if division_id not in self._owners:
            raise PeerGone(f"nobody owns {division_id}")
        return self._owners[division_id].actor_name

    async def read_owner(self, division_id: str) -> Owner | None:
        return self._owners.get(division_id)

    async def write_owner(self, division_id: str, epoch: int, actor_name: str) -> bool:
        present = self._owners.get(division_id)
        if present is not None and (
            epoch < present.epoch or (epoch == present.epoch and actor_name != present.actor_name)
        ):
            return False
        self._owners[division_id] = Owner(epoch, actor_name)
        return True

    async def note_alive(self, epochs: dict[str, int], at_ms: int) -> set[str]:
        lost = {one for one, epoch in epochs.items() if one in self._owners and self._owners[one].epoch > epoch}
        self._alive_at_ms.update(dict.fromkeys(epochs.keys() - lost, at_ms))
        return lost

    async def read_alive(self, division_id: str) -> int:
        return self._alive_at_ms.get(division_id, 0)

    async def read_parts(self) -> dict[str, PartEntry]:
        return self.parts

    async def read_placement(self) -> Placement:
        return self._placement

    async def write_placement(self, division_id: str, slot_id: str, expected: int) -> bool:
        if self._placement.slots.get(division_id) == slot_id:
            return True
        if self._placement.version != expected:
            return False
        self._placement = Placement(expected + 1, {**self._placement.slots, division_id: slot_id})
        return True


class LocalFollower:
    """Answers histories straight from the journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def receive(self, sender: str, number: int, payload: bytes) -> bytes:
        answers: list[Any] = []
        for item in decode_follower_items(payload):
            if isinstance(item, ReadPart):
                answers.append({"divisions": {}, "disk": []})
                continue
            if not isinstance(item, ReadHistory):
                # Nothing is archived here; a `Histories` over a real archive in this one's place answers these.
                answers.append({"refused": "not_ready"})
                continue
            batches = await self._journal.read(item.division_id, 0, 1_000_000)
            events = [event for _, entry in batches for event in decode_events(entry)]
            answers.append([event for event in events if getattr(event, "call_id", None) == item.call_id])
        return encode(answers)


class LocalHall:
    """A hall of one or more shards over a journal. `kill_shard` and `start_shard` let tests fail them over."""

    def __init__(
        self, plan: Plan, journal: Journal | None = None, others: tuple[Plan, ...] = (), shards_count: int = 1
    ) -> None:
        """`others`: further divisions. They go to the shards in turn, the one of `plan` to shard 0."""
        self.plan = plan
        self.plans = (plan, *others)
        self.journal = journal or MemoryJournal()
        self.directory = LocalDirectory()
        self.network = LocalNetwork()
        self.shards: dict[int, Shard] = {}
        """Those that run, by the number of their slot."""
        self.slot_ids = [f"shard-{number}" for number in range(shards_count)]
        self._epochs = dict.fromkeys(range(shards_count), 0)

    @property
    def shard(self) -> Shard | None:
        """Shard 0."""
        return self.shards.get(0)

    @property
    def division_ids(self) -> list[str]:
        return [plan.division_id for plan in self.plans]

    async def start_shard(self, number: int = 0) -> Shard:
        """Start the next incarnation of a shard. One that runs already is left alone, as one that froze would be."""
        await settle(self.directory, self.division_ids, self.slot_ids)
        self._epochs[number] += 1
        slot_id = self.slot_ids[number]
        name = f"{slot_id}-e{self._epochs[number]}"
        settings = ShardSettings(name, self.division_ids, slot_id)
        shard = Shard(settings, self.journal, self.directory, Performer(self.network, self.directory.read_owner))
        self.network.parts[name] = self.shards[number] = shard
        self.directory.parts[slot_id] = PartEntry(name, os.getpid(), time.time_ns() // 1_000_000, 0)
        await shard.start()
        for plan in self.plans:
            shard.submit(plan.division_id, ApplyPlan(plan=plan, digest="local"))
        return shard

    async def kill_shard(self, number: int = 0) -> None:
        """Take a shard away without a word to anybody, as a kill -9 does: its memory is gone, what is durable stays."""
        shard = self.shards.pop(number, None)
        if shard is not None:
            self.network.parts.pop(shard.settings.name, None)
            await shard.abort()

    def hall(self, gateway_id: str) -> Hall:
        """Make a client of this hall; the caller closes it."""
        return Hall(
            self.network,
            self.division_ids,
            self.directory.owner_name,
            gateway_id=gateway_id,
            read_parts=self.directory.read_parts,
            directory=self.directory,
        )


@asynccontextmanager
async def local_hall(
    plan: Plan, journal: Journal | None = None, others: tuple[Plan, ...] = (), shards_count: int = 1
) -> AsyncIterator[LocalHall]:
    """Run a hall inside this process for as long as the context lasts."""
    local = LocalHall(plan, journal, others, shards_count)
    local.network.parts[FOLLOWER_NAME] = LocalFollower(local.journal)
    for number in range(shards_count):
        await local.start_shard(number)
    try:
        yield local
    finally:
        for number in range(shards_count):
            await local.kill_shard(number)
