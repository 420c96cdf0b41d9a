"""Which slot hosts which division: the pure choice, and entering it beside others who do the same."""

import asyncio

import pytest

from actors import placement
from actors.directory import Placement
from actors.local import LocalDirectory
from actors.placement import PlacementContested, place, settle

SLOTS = ["shard-0", "shard-1", "shard-2"]


def test_the_fewest_first_ties_by_order() -> None:
    """Given nothing placed; then divisions go round in the order of the slots."""
    assert place(["a", "b", "c", "d"], SLOTS, {}) == {
        "a": "shard-0",
        "b": "shard-1",
        "c": "shard-2",
        "d": "shard-0",
    }


def test_what_is_placed_stays() -> None:
    """Given two in one slot by an operator's wish; then they stay there, and new ones go elsewhere."""
    placed = place(["a", "b", "c", "d"], SLOTS, {"a": "shard-1", "b": "shard-1"})
    assert placed == {"a": "shard-1", "b": "shard-1", "c": "shard-0", "d": "shard-2"}


def test_a_slot_that_is_no_more_counts_for_nothing() -> None:
    """Given a hall that runs with fewer shards than before; then what was there is placed anew."""
    assert place(["a", "b", "c"], SLOTS[:2], {"a": "shard-2", "b": "shard-0", "gone": "shard-1"}) == {
        "a": "shard-1",
        "b": "shard-0",
        "c": "shard-0",
    }


async def test_two_who_place_at_once_agree() -> None:
    """Given two starters at the same time; then both return what the directory holds."""
    directory = LocalDirectory()
    division_ids = [f"d-{number}" for number in range(20)]
    first, second = await asyncio.gather(settle(directory, division_ids, SLOTS), settle(directory, division_ids, SLOTS))
    assert first == second == (await directory.read_placement()).slots


class ContestedDirectory(LocalDirectory):
    """Somebody changes the placement between every reading and writing."""

    reads_count = 0

    async def read_placement(self) -> Placement:
        self.reads_count += 1
        return Placement(-self.reads_count, {})


async def test_the_bound_of_tries() -> None:
    """Given a placement that others change each time; then it is given up by name after SETTLE_TRIES."""
    directory = ContestedDirectory()
    with pytest.raises(PlacementContested):
        await settle(directory, ["a"], SLOTS)
    assert directory.reads_count == placement.SETTLE_TRIES
