"""The bound on a journal, at it and one before, over a real shard: new calls wait outside, those in progress end."""

from collections.abc import AsyncIterator

import pytest

from actors.hall import Hall
from actors.journal import Append, JournalSize
from actors.journal_memory import MemoryJournal
from actors.journal_room import SIZE_MAX, JournalRoom
from actors.local import LocalHall, local_hall
from actors.shard import Shard
from tests.actors.kit import PLAN, ready, ringing

FAR = 1 << 60


@pytest.fixture
async def local() -> AsyncIterator[LocalHall]:
    """A hall in this process."""
    async with local_hall(PLAN, MemoryJournal()) as one:
        yield one


@pytest.fixture
async def hall(local: LocalHall) -> AsyncIterator[Hall]:
    """A gateway's end of it."""
    one = local.hall("g-1")
    yield one
    await one.close()


async def look(shard: Shard, size_max: JournalSize) -> None:
    """Move the bound and look at once."""
    shard.journal_room.size_max = size_max
    await shard.journal_room.look()


async def test_a_full_journal_takes_no_new_call_and_lets_those_in_progress_end(local: LocalHall, hall: Hall) -> None:
    """Given a journal at its bound, when a call is asked for, then it is refused by name, and the one that rings goes on.

    After a snapshot and a trim calls are taken again.
    """
    shard = local.shard
    assert shard is not None
    reservation_id = await ringing(hall, "anna", "call-1")
    size = await local.journal.size("main")
    await look(shard, size)
    assert (await hall.call("call-2").request("c-2", "loans")).reason == "journal_full"
    status = (await hall.status())["divisions"]["main"]
    assert (status["is_journal_full"], status["journal_batches"]) == (True, size.batches)
    assert (await hall.agent("anna").accept(reservation_id)).is_accepted
    assert (await hall.call("call-1").report_connected(principal="agent:anna")).is_accepted
    assert (await hall.call("call-1").hang_up(principal="agent:anna")).is_accepted
    batch = await local.journal.last_batch("main")
    await local.journal.write_snapshot("main", batch, [shard.divisions["main"].engine.snapshot()])
    await local.journal.trim("main", batch)
    await look(shard, size)
    await ready(hall, "anna")
    assert (await hall.call("call-2").request("c-2", "loans")).is_accepted
    assert not (await hall.status())["divisions"]["main"]["is_journal_full"]


@pytest.mark.parametrize(
    ("size_max", "is_full"),
    [
        (JournalSize(2, FAR), True),
        (JournalSize(3, FAR), False),
        (JournalSize(FAR, 8), True),
        (JournalSize(FAR, 9), False),
        (SIZE_MAX, False),
    ],
)
async def test_the_bound_counts_batches_and_bytes(size_max: JournalSize, is_full: bool) -> None:
    """Given two batches of four bytes, when looked at, then the journal is full at either bound and not one before it."""
    journal = MemoryJournal()
    epoch = (await journal.open("main")).epoch
    for batch in (1, 2):
        await journal.append([Append("main", epoch, batch, b"four")])
    room = JournalRoom(journal, ["main"])
    room.size_max = size_max
    assert not room.is_full("main")
    await room.look()
    assert room.is_full("main") == is_full


async def test_a_division_that_left_is_not_counted_any_more() -> None:
    """Given a full journal, when its division is not hosted here any more, then nothing is said of it."""
    journal = MemoryJournal()
    epoch = (await journal.open("main")).epoch
    await journal.append([Append("main", epoch, 1, b"x")])
    hosted = ["main"]
    room = JournalRoom(journal, hosted)
    room.size_max = JournalSize(1, FAR)
    await room.look()
    assert room.values("main") == {"journal_batches": 1, "journal_bytes": 1, "is_journal_full": True}
    hosted.clear()
    await room.look()
    assert not room.is_full("main")
