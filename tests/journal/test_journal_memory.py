"""The faults that the journal in memory plays on demand."""

import asyncio

import pytest

from actors.journal import Append, Fenced, NotDurable, StoreUnavailable
from actors.journal_memory import MemoryJournal


async def test_a_lost_reply_is_not_a_lost_append() -> None:
    """Given a reply that gets lost, when the same append is repeated, then the batch is there once."""
    journal = MemoryJournal()
    epoch = (await journal.open("main")).epoch
    journal.lose_replies(2)
    for _ in range(2):
        with pytest.raises(StoreUnavailable) as lost:
            await journal.append([Append("main", epoch, 1, b"one")])
        assert lost.value.reason == "timeout"
    await journal.append([Append("main", epoch, 1, b"one")])
    assert await journal.read("main", 0, 10) == [(1, b"one")]


async def test_a_refusal_has_no_effect() -> None:
    """Given a full store, when a batch is appended, then it is not there, and may be different the next time."""
    journal = MemoryJournal()
    epoch = (await journal.open("main")).epoch
    journal.refuse_appends(1, "out_of_memory")
    with pytest.raises(StoreUnavailable, match="out_of_memory"):
        await journal.append([Append("main", epoch, 1, b"one")])
    assert await journal.last_batch("main") == 0
    await journal.append([Append("main", epoch, 1, b"another one")])


async def test_a_stalled_append_of_an_old_epoch_is_refused_when_it_goes_on() -> None:
    """Given an append stuck on its way, when a new owner opens meanwhile, then the stuck one comes too late."""
    journal = MemoryJournal()
    epoch = (await journal.open("main")).epoch
    journal.stall()
    opening = asyncio.create_task(journal.open("main"))
    await asyncio.sleep(0)
    late = asyncio.create_task(journal.append([Append("main", epoch, 1, b"late")]))
    await asyncio.sleep(0)
    assert not opening.done()
    assert not late.done()
    journal.go_on()
    assert (await opening).epoch == epoch + 1
    with pytest.raises(Fenced):
        await late


async def test_memory_is_refused_where_durability_is_asked_for() -> None:
    """SAFETY.md 18: given no permission for less, when durability is checked, then memory is refused by name."""
    with pytest.raises(NotDurable, match="memory"):
        await MemoryJournal(accept_weaker_durability=False).check_durability()
    assert (await MemoryJournal().check_durability()).weaknesses
