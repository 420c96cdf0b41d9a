"""The supervisor's office over a real store: one holder at a time, and nothing from a former one."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from actors import guard as guarding
from actors import office as module
from actors.directory import Directory, PartEntry
from actors.guard import Guard
from actors.local import LocalNetwork
from actors.office import TRUST_S, VACANT_S, Office, Ownership, Seen, Superseded, read_office, take_office
from actors.store import EmbeddedStore
from actors.store_client import StoreClient
from actors.supervisor import Supervisor, SupervisorSettings
from tests.waiting import until

ENTRY = PartEntry("shard-0-e1", 1, 2, 3, "node")


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[StoreClient]:
    store = EmbeddedStore(tmp_path / "store")
    await store.start()
    client = StoreClient(store.url)
    yield client
    await client.close()
    await store.stop()


async def take(client: StoreClient) -> Office:
    office = await take_office(client, await read_office(client))
    assert office is not None
    return office


async def test_of_many_that_follow_exactly_one_gets_the_office(client: StoreClient) -> None:
    """Given an office that stands still; when many who saw that take it at once; then one has it, under the next epoch."""
    await take(client)
    seen = await read_office(client)
    taken = [one for one in await asyncio.gather(*(take_office(client, seen) for _ in range(20))) if one is not None]
    assert [one.epoch for one in taken] == [2]
    assert (await read_office(client)).hall_id == seen.hall_id != ""


async def test_who_lives_is_not_followed(client: StoreClient) -> None:
    """Given somebody who saw the office; when its holder shows life after that; then the office is not to be had."""
    office = await take(client)
    seen = await read_office(client)
    await office.beat()
    assert await take_office(client, seen) is None
    await office.beat()


async def test_nothing_of_a_former_holder_is_written(client: StoreClient) -> None:
    """13: given a holder who has been followed; when it writes anything; then that is refused, and all is as it was."""
    stale = await take(client)
    await stale.beat()
    await stale.want(b"wanted")
    await stale.enter_part("shard-0", ENTRY)
    assert await stale.next_incarnation("shard-0") == 1
    office = await take(client)
    writes = [
        stale.beat,
        lambda: stale.want(b"else"),
        stale.want_nothing,
        lambda: stale.enter_part("shard-0", PartEntry("shard-0-e2", 9, 9, 9)),
        lambda: stale.strike_part("shard-0"),
        lambda: stale.next_incarnation("shard-0"),
    ]
    for write in writes:
        with pytest.raises(Superseded):
            await write()
    assert not stale.is_trusted()
    assert (await read_office(client)).wanted == b"wanted"
    assert await Directory(client).read_parts() == {"shard-0": ENTRY}
    assert await office.next_incarnation("shard-0") == 2


async def test_trust_ends_before_anybody_can_follow(client: StoreClient) -> None:
    """13: given a holder whose clock alone goes on, as after a freeze; then its trust is gone before others may follow."""
    now_s = 100.0
    epoch = (await take(client)).epoch
    office = Office(client, epoch, lambda: now_s)
    assert not office.is_trusted(), "nothing is confirmed yet"
    await office.beat()
    now_s += TRUST_S - 0.01
    assert office.is_trusted()
    now_s += 0.01
    assert not office.is_trusted()
    assert TRUST_S < VACANT_S
    await office.beat()
    assert office.is_trusted()


async def test_a_hall_has_one_owner(client: StoreClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given an owner who lives, then another is turned away; given one who is silent, then another takes the hall from it."""
    monkeypatch.setattr(module, "VACANT_S", 0.3)
    first, second = Ownership(client), Ownership(client)
    assert await first.take()
    taking = asyncio.create_task(second.take())
    while not taking.done():
        assert await first.beat()
        await asyncio.sleep(0.05)
    assert not taking.result()
    assert await second.take(), "nobody beats now"
    assert not await first.beat()
    await first.give_up()
    assert await second.beat(), "who is no owner has nothing to give up"
    await second.give_up()
    assert await Ownership(client).take()


async def test_a_guard_that_was_frozen_follows_nobody_for_that(
    client: StoreClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """9: given a machine that stood still with holder and guard on it; then the holder has its time again to show life."""
    monkeypatch.setattr(guarding, "LOOK_S", 0.05)
    followed: list[Seen] = []

    async def follow(guard: Guard, seen: Seen) -> None:
        followed.append(seen)

    monkeypatch.setattr(Guard, "_follow", follow)
    monkeypatch.setattr("actors.wiring.ray_node", lambda: "here")
    office = await take(client)
    await office.beat()
    watching = asyncio.create_task(Guard(client).run())
    await asyncio.sleep(0.5)
    time.sleep(VACANT_S + 0.5)  # noqa: ASYNC251 - this is the freeze
    await asyncio.sleep(0.5)
    assert followed == []
    await office.beat()
    beats = (await read_office(client)).beats
    await until(lambda: bool(followed))
    assert followed[0].beats == beats
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


class Ended:
    """A part's process that notes when it is ended."""

    def __init__(self) -> None:
        self.kills_count = 0

    def kill(self) -> None:
        self.kills_count += 1


async def test_what_is_to_be_ended_is_ended_once_the_office_is_confirmed_again(client: StoreClient) -> None:
    """Given a part that is gone while the office is not confirmed; then it is ended as soon as it is, and would else keep its
    port; but not by one who has been followed meanwhile."""
    await take(client)
    settings = SupervisorSettings([], f"unix://{client.address.socket_url.partition('://')[2]}", epoch=1)
    supervisor = Supervisor(msgspec.msgpack.encode(settings), LocalNetwork())
    part, late = Ended(), Ended()
    supervisor._end_soon(part)  # type: ignore[arg-type]
    holding = asyncio.create_task(supervisor._hold_office())
    await until(lambda: part.kills_count == 1)
    await take(client)
    await holding
    supervisor._end_soon(late)  # type: ignore[arg-type]
    await asyncio.to_thread(supervisor._endings.shutdown)
    assert (part.kills_count, late.kills_count) == (1, 0)
    await supervisor._client.close()
