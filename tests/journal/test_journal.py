"""What every journal promises (SAFETY.md 1, 2, 3), over the real one and its twin in memory."""

import pytest

from actors.journal import (
    PAYLOAD_BYTES_MAX,
    PIECE_BYTES_MAX,
    Append,
    Fenced,
    Journal,
    JournalGap,
    JournalSize,
    Opened,
)


async def fill(journal: Journal, division_id: str, count: int) -> int:
    """Append `count` batches named by their number; return the epoch."""
    opened = await journal.open(division_id)
    for batch in range(opened.last_batch + 1, opened.last_batch + count + 1):
        await journal.append([Append(division_id, opened.epoch, batch, f"batch {batch}".encode())])
    return opened.epoch


async def test_opening_takes_the_next_epoch_and_says_where_to_go_on(journal: Journal) -> None:
    """Given a division never seen, when it is opened twice with a batch between, then epochs grow and batches go on."""
    assert await journal.open("main") == Opened(1, 0)
    await journal.append([Append("main", 1, 1, b"one")])
    assert await journal.open("main") == Opened(2, 1)
    assert await journal.open("other") == Opened(1, 0)


async def test_what_was_appended_is_read_in_order_and_in_steps(journal: Journal) -> None:
    """Given five batches, when they are read two at a time, then each comes once, in order, with any bytes in it."""
    payloads = [b"", b"\x00\xff", b"three", b"\r\n$5", b"five"]
    opened = await journal.open("main")
    for batch, payload in enumerate(payloads, start=1):
        await journal.append([Append("main", opened.epoch, batch, payload)])
    read = [await journal.read("main", after, 2) for after in (0, 2, 4, 5)]
    assert read == [[(1, b""), (2, b"\x00\xff")], [(3, b"three"), (4, b"\r\n$5")], [(5, b"five")], []]
    assert await journal.last_batch("main") == 5


async def test_several_divisions_in_one_append_stay_apart(journal: Journal) -> None:
    """Given two divisions, when one call appends to both, then each has its own batch."""
    first, second = await journal.open("north"), await journal.open("south")
    await journal.append([Append("north", first.epoch, 1, b"n"), Append("south", second.epoch, 1, b"s")])
    assert await journal.read("north", 0, 10) == [(1, b"n")]
    assert await journal.read("south", 0, 10) == [(1, b"s")]


async def test_a_repeat_of_the_last_batch_is_answered_with_ok(journal: Journal) -> None:
    """SAFETY.md 1: given an append whose reply was lost, when it is repeated, then it counts once."""
    epoch = await fill(journal, "main", 2)
    await journal.append([Append("main", epoch, 2, b"batch 2")])
    assert await journal.read("main", 0, 10) == [(1, b"batch 1"), (2, b"batch 2")]


@pytest.mark.parametrize(("batch", "payload", "reason"), [(1, b"batch 1", "batch"), (4, b"batch 4", "batch")])
async def test_any_other_number_is_refused(journal: Journal, batch: int, payload: bytes, reason: str) -> None:
    """SAFETY.md 1: given two batches, when one before the last or past the next is appended, then it is refused."""
    epoch = await fill(journal, "main", 2)
    with pytest.raises(Fenced) as refused:
        await journal.append([Append("main", epoch, batch, payload)])
    assert refused.value.reasons == {"main": reason}
    assert await journal.last_batch("main") == 2


async def test_a_repeat_with_other_bytes_is_no_repeat(journal: Journal) -> None:
    """Given a last batch, when its number comes with another payload, then it is refused: two minds disagree."""
    epoch = await fill(journal, "main", 2)
    with pytest.raises(Fenced) as refused:
        await journal.append([Append("main", epoch, 2, b"something else")])
    assert refused.value.reasons == {"main": "payload"}


async def test_a_stale_owner_can_decide_nothing(journal: Journal) -> None:
    """Given a newer epoch, when the old owner appends or repeats its last batch, then both are refused."""
    old_epoch = await fill(journal, "main", 1)
    new = await journal.open("main")
    for batch, payload in ((2, b"late"), (1, b"batch 1")):
        with pytest.raises(Fenced) as refused:
            await journal.append([Append("main", old_epoch, batch, payload)])
        assert refused.value.reasons == {"main": "epoch"}
    await journal.append([Append("main", new.epoch, 2, b"by the new owner")])
    assert await journal.read("main", 1, 10) == [(2, b"by the new owner")]


async def test_one_fenced_division_does_not_hold_the_others(journal: Journal) -> None:
    """Given one stale and one current division, when both append, then the error names the stale one alone."""
    stale, current = await journal.open("stale"), await journal.open("current")
    await journal.open("stale")
    with pytest.raises(Fenced) as refused:
        await journal.append([Append("stale", stale.epoch, 1, b"x"), Append("current", current.epoch, 1, b"y")])
    assert refused.value.reasons == {"stale": "epoch"}
    assert await journal.read("current", 0, 10) == [(1, b"y")]


async def test_an_epoch_that_the_store_never_gave_is_refused(journal: Journal) -> None:
    """Given a store that lost its data, when an owner with an epoch of its own comes, then it cannot go on unnoticed."""
    with pytest.raises(Fenced):
        await journal.append([Append("main", 7, 1, b"x")])


async def test_bounds_of_an_append(journal: Journal) -> None:
    """Given the largest payload, one byte more, batch 0 and a division twice: the first is taken, the rest are errors."""
    epoch = (await journal.open("main")).epoch
    await journal.append([Append("main", epoch, 1, bytes(PAYLOAD_BYTES_MAX))])
    with pytest.raises(ValueError, match="at most"):
        await journal.append([Append("main", epoch, 2, bytes(PAYLOAD_BYTES_MAX + 1))])
    with pytest.raises(ValueError, match="numbered from 1"):
        await journal.append([Append("main", epoch, 0, b"")])
    with pytest.raises(ValueError, match="one append a division"):
        await journal.append([Append("main", epoch, 2, b""), Append("main", epoch, 3, b"")])
    await journal.append([])
    assert await journal.last_batch("main") == 1


async def test_snapshots_replace_each_other_and_never_go_back(journal: Journal) -> None:
    """Given a snapshot at 2, when one at 3, then one at 1 is written, then the one at 3 is read."""
    await fill(journal, "main", 3)
    assert await journal.read_snapshot("main") is None
    await journal.write_snapshot("main", 2, [b"a" * PIECE_BYTES_MAX, b"b"])
    assert await journal.read_snapshot("main") == (2, [b"a" * PIECE_BYTES_MAX, b"b"])
    await journal.write_snapshot("main", 3, [b"c"])
    await journal.write_snapshot("main", 1, [b"old"])
    assert await journal.read_snapshot("main") == (3, [b"c"])


async def test_bounds_of_a_snapshot(journal: Journal) -> None:
    """SAFETY.md 3: given a piece one byte over 256 KiB, or no piece, then it is refused before anything is written."""
    for pieces in ([b"x" * (PIECE_BYTES_MAX + 1)], []):
        with pytest.raises(ValueError, match="piece"):
            await journal.write_snapshot("main", 1, pieces)
    assert await journal.read_snapshot("main") is None


async def test_trimming_keeps_the_numbers_and_refuses_to_lose_anything(journal: Journal) -> None:
    """Given five batches and a snapshot at 4, when trimmed, then 5 remains, 6 follows, and 5 cannot be trimmed."""
    epoch = await fill(journal, "main", 5)
    with pytest.raises(ValueError, match="snapshot"):
        await journal.trim("main", 1)
    await journal.write_snapshot("main", 4, [b"state"])
    await journal.trim("main", 4)
    with pytest.raises(ValueError, match="snapshot"):
        await journal.trim("main", 5)
    assert await journal.read("main", 4, 10) == [(5, b"batch 5")]
    await journal.append([Append("main", epoch, 6, b"batch 6")])
    assert await journal.open("main") == Opened(epoch + 1, 6)


async def test_a_reader_is_told_of_a_hole(journal: Journal) -> None:
    """Given trimmed batches, when somebody reads from before them, then that is an error and no silent skip."""
    epoch = await fill(journal, "main", 3)
    await journal.write_snapshot("main", 3, [b"state"])
    await journal.trim("main", 2)
    with pytest.raises(JournalGap) as gap:
        await journal.read("main", 0, 10)
    assert (gap.value.wanted_batch, gap.value.first_batch) == (1, 3)
    assert await journal.read("main", 2, 10) == [(3, b"batch 3")]
    await journal.trim("main", 3)
    with pytest.raises(JournalGap):
        await journal.read("main", 2, 10)
    assert await journal.read("main", 3, 10) == []
    await journal.append([Append("main", epoch, 3, b"batch 3")])


async def test_the_size_is_what_has_not_been_trimmed(journal: Journal) -> None:
    """Given five batches, when three are trimmed and one is appended, then count and bytes are those of the three left."""
    assert await journal.size("main") == JournalSize(0, 0)
    epoch = await fill(journal, "main", 5)
    assert await journal.size("main") == JournalSize(5, 5 * len(b"batch 1"))
    await journal.append([Append("main", epoch, 5, b"batch 5")])
    await journal.write_snapshot("main", 5, [b"state"])
    await journal.trim("main", 3)
    await journal.append([Append("main", epoch, 6, b"six")])
    assert await journal.size("main") == JournalSize(3, 2 * len(b"batch 1") + 3)
    await journal.write_snapshot("main", 6, [b"state"])
    await journal.trim("main", 6)
    assert await journal.size("main") == JournalSize(0, 0)
