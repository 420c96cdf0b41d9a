"""The follower as a part: what it tells operators of its divisions, of the store and of its disk, beside histories."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.items import ReadHistory, ReadPart, decode_answer, decode_bodies, encode
from actors.journal import Append, RedisJournal
from actors.local import LocalNetwork
from actors.parts import FollowerPart, FollowerPartSettings, StoreSettings
from actors.store import EmbeddedStore
from tests.journal.division import Division
from tests.waiting import until


@pytest.fixture
async def journal(store: EmbeddedStore) -> AsyncIterator[RedisJournal]:
    journal = RedisJournal(store.url)
    yield journal
    await journal.close()


@pytest.fixture
async def part(store: EmbeddedStore, tmp_path: Path) -> AsyncIterator[FollowerPart]:
    disk = {"folders": {"archive": str(tmp_path)}, "floor_bytes": 5}
    settings = msgspec.to_builtins(
        FollowerPartSettings(["main"], StoreSettings(store.url), str(tmp_path / "archive"))
    ) | {"disk": disk}
    part = FollowerPart(msgspec.msgpack.encode(settings), LocalNetwork())
    yield part
    await part.stop()


async def said(part: FollowerPart, number: int) -> dict[str, Any]:
    """Ask it as a gateway does."""
    [body] = decode_bodies(await part.receive("a-gateway", number, encode([ReadPart()])))
    answer: dict[str, Any] = decode_answer(ReadPart, body)
    return answer


async def test_it_tells_how_far_it_is_and_what_the_store_promises(part: FollowerPart, journal: RedisJournal) -> None:
    """Given a division at work, then archive and snapshot positions, the store's promises, disk and build are told."""
    division = Division(journal)
    await division.open()
    await division.request(1)
    await part.start()
    assert part._followers["main"].report()["snapshot_at_ms"] == 0
    history = await part.receive("a-gateway", 0, encode([ReadHistory("main", "call-1")]))
    assert decode_answer(ReadHistory, decode_bodies(history)[0]) == division.events_of("call-1")
    await part._followers["main"].write_snapshot()
    answer = await said(part, 1)
    main = answer["divisions"]["main"]
    assert (main["archive_batch"], main["snapshot_batch"]) == (division.batch, division.batch)
    assert main["snapshot_at_ms"] > 0
    assert (main["failure"], main["is_stopped"]) == ("", False)
    assert answer["store"]["fsync"] == "always"
    assert answer["store"]["weaknesses"] == []
    assert [disk["names"] for disk in answer["disk"]] == [["archive"]]
    assert len(answer["build"]) == 12


async def test_what_it_cannot_replay_is_named(part: FollowerPart, journal: RedisJournal) -> None:
    """SAFETY.md 4. Given an entry of nonsense, then it stops, and tells operators at what."""
    opened = await journal.open("main")
    await journal.append([Append("main", opened.epoch, 1, b"\xc1")])
    await part.start()
    await until(lambda: bool(part._stopped))
    main = (await said(part, 0))["divisions"]["main"]
    assert main["is_stopped"]
    assert "batch 1 of main cannot be replayed" in main["failure"]


async def test_a_silent_store_leaves_the_rest_told(
    part: FollowerPart, journal: RedisJournal, store: EmbeddedStore
) -> None:
    """Given a store that is gone, then the follower still answers, and claims nothing of what the store promises."""
    await Division(journal).open()
    await part.start()
    await store.stop()
    async with asyncio.timeout(30):
        answer = await said(part, 0)
    assert answer["store"] == {}
    assert "main" in answer["divisions"]
