"""Which divisions a shard has after its start and others' ends: all that its slot is to host, each as the journal says."""

import asyncio
from typing import Any

import pytest

from actors import takeover
from actors.hall import Hall
from actors.hosting import HostedDivision
from actors.journal import StoreUnavailable
from actors.journal_memory import MemoryJournal
from actors.local import LocalDirectory, LocalHall, local_hall
from actors.shard import Shard
from dispatch.engine import Engine
from dispatch.events import CallQueued, Resumed
from dispatch.plan import Plan
from tests.actors.kit import PLAN, history, ready
from tests.actors.test_moving import home, local
from tests.actors.test_ownership import EAST
from tests.waiting import until

__all__ = ["local"]
"""The fixture of three shards."""


async def test_a_placement_is_followed_without_a_word(local: LocalHall, hall: Hall) -> None:
    """Given a placement that somebody wrote who died at once; then the slot finds it by itself."""
    placement = await local.directory.read_placement()
    assert await local.directory.write_placement("main", "shard-2", placement.version)
    await until(lambda: "main" in local.shards[2].divisions)
    assert (await hall.call("call-1").request("c-1", "slow")).is_accepted


async def test_the_divisions_of_a_lost_shard_are_taken_by_others(
    local: LocalHall, hall: Hall, journal: MemoryJournal
) -> None:
    """Given a shard that died for good; when its divisions are placed elsewhere; then they come back there from the journal."""
    assert (await hall.call("call-1").request("c-1", "slow")).is_accepted
    await local.kill_shard(0)
    placement = await local.directory.read_placement()
    assert await local.directory.write_placement("main", "shard-1", placement.version)
    view = await hall.call("call-1").view()
    assert view is not None
    assert home(local) == 1


async def test_a_replaced_shard_takes_nothing_back(local: LocalHall, hall: Hall) -> None:
    """13: given a shard that froze and was replaced in its slot; when it goes on; then it ends and takes nothing back."""
    frozen = local.shards[0]
    successor = await local.start_shard(0)
    await asyncio.wait_for(frozen.ended.wait(), 5.0)
    assert frozen.divisions == {}
    assert "main" in successor.divisions
    assert (await hall.call("call-1").request("c-1", "slow")).is_accepted
    await frozen.abort()


async def test_divisions_start_beside_each_other(journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given several divisions of one shard; then each is read while the others are, not after them."""
    reading: list[str] = []
    read_snapshot = journal.read_snapshot

    async def slow(division_id: str) -> Any:
        reading.append(division_id)
        await until(lambda: len(reading) == 2)
        return await read_snapshot(division_id)

    monkeypatch.setattr(journal, "read_snapshot", slow)
    async with local_hall(PLAN, journal, (EAST,)) as local:
        assert sorted(local.shards[0].divisions) == ["east", "main"]


async def test_a_slow_division_keeps_no_other_waiting(journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a division that is still being read; then one that has been is served already."""
    is_read = asyncio.Event()
    read_snapshot = journal.read_snapshot

    async def slow(division_id: str) -> Any:
        if division_id == "east":
            await is_read.wait()
        return await read_snapshot(division_id)

    async with local_hall(PLAN, journal, (EAST,)) as local:
        hall = local.hall("g-1")
        assert (await hall.call("call-1").request("c-1", "slow")).is_accepted
        await local.kill_shard()
        monkeypatch.setattr(journal, "read_snapshot", slow)
        started = asyncio.create_task(local.start_shard())
        view = await hall.call("call-1").view()
        assert view is not None
        assert not started.done()
        is_read.set()
        assert sorted((await started).divisions) == ["east", "main"]
        await hall.close()


async def test_a_bad_division_keeps_no_other_from_starting(
    journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4: given one division whose snapshot is spoilt and one whose is lost on the way; then the third serves at once, the lost
    one when it can be read, and the spoilt one is stopped by name."""
    north = Plan(division_id="north", queues=EAST.queues, agents=EAST.agents)
    await journal.write_snapshot("east", 1, [b"spoilt"])
    is_lost = True
    read_snapshot = journal.read_snapshot

    async def loses(division_id: str) -> Any:
        if division_id == "north" and is_lost:
            raise StoreUnavailable("timeout", "a piece is missing")
        return await read_snapshot(division_id)

    monkeypatch.setattr(journal, "read_snapshot", loses)
    async with local_hall(PLAN, journal, (EAST, north)) as local:
        hall = local.hall("g-1")
        shard: Shard = local.shards[0]
        assert (await hall.call("call-1").request("c-1", "slow")).is_accepted
        assert shard.divisions["east"].stopped_reason == "division_stopped"
        assert "north" not in shard.divisions
        is_lost = False
        await until(lambda: "north" in shard.divisions)
        await hall.close()


async def test_a_warm_division_is_what_the_journal_says(local: LocalHall, hall: Hall, journal: MemoryJournal) -> None:
    """Given a division read while it was at work, and the rest after it was let go; then it is the same as read in one go."""
    await ready(hall, "anna")
    for number in range(5):
        assert (await hall.call(f"call-{number}").request(f"c-{number}", "slow")).is_accepted
    warm = HostedDivision("main", journal)
    await warm.warm_up()
    for number in range(5, 10):
        assert (await hall.call(f"call-{number}").request(f"c-{number}", "slow")).is_accepted
    await hall.move("main", "shard-1")
    await warm.recover()
    replayed = Engine("main")
    replayed.replay(await history(journal))
    assert warm.engine.digest() == replayed.digest()


async def test_an_outage_is_made_up_for_once(local: LocalHall, hall: Hall, journal: MemoryJournal) -> None:
    """8: given a successor that died before it could say that it lived; then the next one makes up for its own outage alone."""
    assert (await hall.call("call-1").request("c-1", "slow")).is_accepted
    [queued] = [event for event in await history(journal) if isinstance(event, CallQueued)]
    for number in range(2):
        await local.kill_shard(0)
        await local.directory.note_alive({"main": 99}, queued.at_ms - 5_000)
        await asyncio.sleep(0.05)
        await local.start_shard(0)
        assert (await hall.call(f"then-{number}").request(f"t-{number}", "slow")).is_accepted
    outages_ms = [event.outage_ms for event in await history(journal) if isinstance(event, Resumed)]
    assert len(outages_ms) == 2
    assert max(outages_ms) < 5_000


async def test_two_who_want_it_taken_at_once(local: LocalHall, hall: Hall) -> None:
    """Given an operator's word and the shard's own look at the same instant; then the division is taken once."""
    placement = await local.directory.read_placement()
    assert await local.directory.write_placement("main", "shard-1", placement.version)
    taking = local.shards[1]._takeover
    replies = await asyncio.gather(taking.take("main"), taking.look(), taking.take("main"), taking.look())
    assert [reply.is_accepted for reply in replies if reply is not None] == [True, True]
    owner = await local.directory.read_owner("main")
    assert owner is not None
    assert (owner.epoch, owner.slot_id) == (2, "shard-1")


async def test_the_bound_of_the_pause_between_tries(local: LocalHall, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a division that cannot be taken; then it is tried ever more slowly, and at least every PAUSE_MAX_S."""
    monkeypatch.setattr(takeover, "PAUSE_FIRST_S", 0.01)
    monkeypatch.setattr(takeover, "PAUSE_MAX_S", 0.04)
    tries = []

    async def broken(division: HostedDivision) -> None:
        tries.append(asyncio.get_running_loop().time())
        raise KeyError("a bug")

    monkeypatch.setattr(HostedDivision, "warm_up", broken)
    placement = await local.directory.read_placement()
    assert await local.directory.write_placement("main", "shard-1", placement.version)
    taking = local.shards[1]._takeover
    while len(tries) < 6:
        await taking.look()
        await asyncio.sleep(0.001)
    assert taking._pauses["main"].wait_s == 0.04
    assert home(local) == 0


class OutrunDirectory(LocalDirectory):
    """Somebody with a higher epoch is always faster."""

    is_outrun = False

    async def write_owner(self, division_id: str, epoch: int, actor_name: str) -> bool:
        return not self.is_outrun and await super().write_owner(division_id, epoch, actor_name)


async def test_a_shard_that_is_outrun_at_its_start_starts_all_the_same(journal: MemoryJournal) -> None:
    """13: given a division that somebody else takes while this shard starts; then the shard lives, and finds it again."""
    async with local_hall(PLAN, journal) as local:
        await local.kill_shard()
        local.directory = directory = OutrunDirectory()
        directory.is_outrun = True
        shard = await local.start_shard()
        assert (shard.divisions, shard.ended.is_set()) == ({}, False)
        directory.is_outrun = False
        await until(lambda: "main" in shard.divisions)
