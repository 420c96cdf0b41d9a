"""People and directory: the small records beside the journal."""

import pytest

from actors.directory import Directory, Owner, Placement
from actors.people import FIELDS_MAX, TEXT_MAX, People
from actors.store_client import StoreClient


async def test_a_person_is_remembered_changed_and_erased(client: StoreClient) -> None:
    """SAFETY.md 7: given a record, when a field is added and the person erased, then nothing of it is left."""
    people = People(client, keep_s=60)
    assert await people.get("customer:7") == {}
    await people.put("customer:7", {"display_name": "王小明"})
    await people.put("customer:7", {"language": "zh"})
    await people.put("customer:7", {})
    assert await people.get("customer:7") == {"display_name": "王小明", "language": "zh"}
    [life_s] = await client.run([("TTL", "tellerhall:person:customer:7")])
    assert 0 < life_s <= 60
    assert await people.erase("customer:7")
    assert not await people.erase("customer:7")
    assert await people.get("customer:7") == {}
    assert await client.run([("KEYS", "*")]) == [[]]


async def test_bounds_of_a_person(client: StoreClient) -> None:
    """Given the longest text and one character more, then the first is kept and the second refused."""
    people = People(client)
    await people.put("customer:7", {"note": "x" * TEXT_MAX})
    for reference, fields in (
        ("customer:7", {"note": "x" * (TEXT_MAX + 1)}),
        ("customer:7", {str(index): "" for index in range(FIELDS_MAX + 1)}),
        ("", {"note": ""}),
        ("x" * (TEXT_MAX + 1), {"note": ""}),
    ):
        with pytest.raises(ValueError, match=r"(has|takes)"):
            await people.put(reference, fields)
    assert await people.get("customer:7") == {"note": "x" * TEXT_MAX}


async def test_an_older_epoch_never_takes_a_division_back(client: StoreClient) -> None:
    """SAFETY.md 13: given a newer owner, when a frozen predecessor enters itself, then the newer one stays."""
    directory = Directory(client)
    assert await directory.read_owner("main") is None
    assert await directory.write_owner("main", 3, "shard-1-e3")
    assert await directory.write_owner("main", 3, "shard-1-e3")
    assert await directory.write_owner("main", 7, "shard-2-e7")
    assert not await directory.write_owner("main", 3, "shard-1-e3")
    assert not await directory.write_owner("main", 7, "shard-9-e7")
    assert await directory.read_owner("main") == Owner(7, "shard-2-e7")


async def test_the_owner_of_an_older_epoch_has_no_lease(client: StoreClient) -> None:
    """SAFETY.md 13: given divisions under newer owners, when a frozen predecessor renews, then it is told which it lost."""
    directory = Directory(client)
    assert await directory.write_owner("main", 3, "shard-1-e3")
    assert await directory.write_owner("east", 4, "shard-1-e3")
    assert await directory.note_alive({"main": 3, "east": 4, "new": 1}, 1_000) == set()
    assert await directory.write_owner("main", 5, "shard-2-e1")
    assert await directory.note_alive({"main": 3, "east": 4}, 2_000) == {"main"}
    assert [await directory.read_alive(one) for one in ("main", "east")] == [1_000, 2_000]
    assert await directory.note_alive({}, 3_000) == set()


async def test_the_placement_changes_by_compare_and_set(client: StoreClient) -> None:
    """Given two who place by what they read, when the second writes, then it is told that its reading is old."""
    directory = Directory(client)
    assert await directory.read_placement() == Placement(0, {})
    assert await directory.write_placement("main", "shard-0", 0)
    assert not await directory.write_placement("east", "shard-1", 0)
    assert await directory.write_placement("main", "shard-0", 0)
    assert await directory.write_placement("east", "shard-1", 1)
    assert await directory.write_placement("main", "shard-1", 2)
    assert await directory.read_placement() == Placement(3, {"main": "shard-1", "east": "shard-1"})
