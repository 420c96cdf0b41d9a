"""Moves, kills, replacements and store faults all at once, from a seed; the callers' own books against the journal."""

import asyncio
from random import Random

import pytest

from actors import takeover
from actors.hall import Hall
from actors.journal_memory import MemoryJournal
from actors.local import LocalHall, local_hall
from actors.moving import MoveRefused
from actors.shard import Shard
from dispatch.events import CallEnded
from tests.actors.kit import PLAN, Client, history
from tests.actors.test_moving import Caller, each_once
from tests.actors.test_ownership import EAST
from tests.waiting import until

FAULTS = 25
CALLERS = 8
DIVISIONS = ("main", "east")


class Trouble:
    """Does one thing after another to the hall, chosen by the seed."""

    def __init__(self, local: LocalHall, hall: Hall, journal: MemoryJournal, seed: int) -> None:
        self._local = local
        self._hall = hall
        self._journal = journal
        self._random = Random(seed)
        self._moves: list[asyncio.Task[None]] = []
        self.frozen: list[Shard] = []
        self.moved_count = 0

    async def make(self) -> None:
        for _ in range(FAULTS):
            await asyncio.sleep(self._random.random() * 0.2)
            kind = self._random.choices(["move", "kill", "replace", "lose", "refuse"], [6, 2, 1, 1, 1])[0]
            await {"move": self._move, "kill": self._kill, "replace": self._replace}.get(kind, self._disturb)()
        await asyncio.gather(*self._moves)

    async def _move(self) -> None:
        division_id, slot_id = self._random.choice(DIVISIONS), self._random.choice(self._local.slot_ids)
        self._moves.append(asyncio.create_task(self._moved(division_id, slot_id)))

    async def _moved(self, division_id: str, slot_id: str) -> None:
        try:
            await self._hall.move(division_id, slot_id)
            self.moved_count += 1
        except MoveRefused:
            return  # One of the others was in the way: the division is somewhere all the same, as is seen at the end.

    async def _kill(self) -> None:
        number = self._random.randrange(len(self._local.slot_ids))
        await self._local.kill_shard(number)
        await asyncio.sleep(self._random.random() * 0.2)
        await self._local.start_shard(number)

    async def _replace(self) -> None:
        """As after a freeze: the former one goes on beside its successor."""
        number = self._random.randrange(len(self._local.slot_ids))
        self.frozen.append(self._local.shards[number])
        await self._local.start_shard(number)

    async def _disturb(self) -> None:
        self._journal.lose_replies(self._random.randrange(3))
        self._journal.refuse_appends(self._random.randrange(3))


@pytest.mark.parametrize("seed", [1, 2])
async def test_nothing_is_lost_or_doubled(journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """1, 5, 10, 13: given callers at work in all this; then each acknowledged command counts once, and numbers go on."""
    monkeypatch.setattr(takeover, "LET_GO_S", 0.3)
    async with local_hall(PLAN, journal, (EAST,), shards_count=3) as local:
        hall = local.hall("g-1")
        clients = [Client(f"customer:stays-{number}") for number in range(5)]
        for number, client in enumerate(clients):
            await client.connect(hall)
            assert (await hall.call(f"stays-{number}").request(f"stays-{number}", "slow")).is_accepted
        callers = [Caller(hall, number) for number in range(CALLERS)]
        trouble = Trouble(local, hall, journal, seed)
        await trouble.make()
        for caller in callers:
            await caller.stop()
        assert trouble.moved_count > 0
        for number, client in enumerate(clients):
            assert (await hall.call(f"stays-{number}").hang_up()).is_accepted
            await until(lambda client=client: client.has(CallEnded))  # type: ignore[misc]
            assert len(client.events) == (client.seq or 0)
        each_once(callers, [event for event in await history(journal) if "call-" in getattr(event, "call_id", "")])
        for division_id in DIVISIONS:
            assert sum(division_id in shard.divisions for shard in local.shards.values()) == 1
        await asyncio.gather(*(shard.abort() for shard in trouble.frozen))
        await hall.close()
