"""People and directory: the small records beside the journal."""

import pytest

from actors.directory import Directory, Owner
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
