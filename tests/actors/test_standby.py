"""A standby: the next incarnation of a slot, made in advance, and the divisions it follows until then."""

import asyncio
from itertools import count

import pytest

from actors import shadow as shadow_module
from actors import standby as module
from actors.hosting import HostedDivision
from actors.journal import Append
from actors.journal_memory import MemoryJournal
from actors.local import local_hall
from actors.mailbox import PeerGone
from actors.performer import Performer
from actors.shadow import Shadow
from actors.shard import Shard, ShardSettings
from actors.standby import Made, Standby
from tests.actors.kit import PLAN
from tests.journal.division import Division
from tests.waiting import until


class ScriptedHandle:
    """A part's process that lives until it is told not to."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_alive = True
        self.is_standing_by = False

    async def pulse(self, timeout_s: float) -> tuple[float, int]:
        await asyncio.sleep(0)
        if not self.is_alive:
            raise PeerGone(self.name)
        return 0.0, 0

    async def stand_by(self) -> None:
        self.is_standing_by = True


class Maker:
    """Starts processes under the epochs 1, 2, 3 ..."""

    def __init__(self) -> None:
        self.made: list[ScriptedHandle] = []
        self.ended: list[str] = []
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self._epochs = count(1)
        self.machine = "n"

    async def make(self) -> Made:
        handle = ScriptedHandle(f"shard-0-e{next(self._epochs)}")
        await self.may_go_on.wait()
        self.made.append(handle)
        return Made(handle, self.machine)  # type: ignore[arg-type]

    def end(self, handle: ScriptedHandle) -> None:
        handle.is_alive = False
        self.ended.append(handle.name)

    def standby(self) -> Standby:
        return Standby("shard-0", self.make, self.end, self.is_misplaced)  # type: ignore[arg-type]

    async def is_misplaced(self, node_id: str) -> bool:
        if not self.machine:
            raise TimeoutError("nobody knows the machines now")
        return node_id != self.machine


@pytest.fixture
def maker(monkeypatch: pytest.MonkeyPatch) -> Maker:
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    return Maker()


async def test_one_is_ready_and_is_used_once(maker: Maker) -> None:
    """Given a filled slot; then one waits, is given out once, and the next is made when the slot is filled again."""
    standby = maker.standby()
    standby.begin()
    await until(lambda: bool(maker.made) and maker.made[0].is_standing_by)
    taken = await standby.take()
    assert taken is not None
    assert taken.handle.name == "shard-0-e1"
    assert await standby.take() is None
    await asyncio.sleep(0.05)
    assert len(maker.made) == 1
    standby.begin()
    await until(lambda: len(maker.made) == 2)
    await standby.close()
    assert maker.ended == ["shard-0-e2"]


async def test_the_next_is_made_though_the_last_look_is_not_over(maker: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a slot that is filled again sooner than the standby is looked at; then the next one is made all the same."""
    monkeypatch.setattr(module, "LOOK_S", 0.2)
    standby = maker.standby()
    standby.begin()
    await until(lambda: bool(maker.made) and maker.made[0].is_standing_by)
    assert await standby.take() is not None
    standby.begin()
    await until(lambda: len(maker.made) == 2 and maker.made[1].is_standing_by)
    await standby.close()
    assert maker.ended == ["shard-0-e2"]


async def test_one_that_is_in_use_is_not_ended_for_an_earlier_silence(maker: Maker) -> None:
    """Given a standby that is asked whether it lives while it is taken; when that question is lost; then it goes on."""
    standby = maker.standby()
    standby.begin()
    await until(lambda: bool(maker.made) and maker.made[0].is_standing_by)
    handle, asked, may_fail = maker.made[0], asyncio.Event(), asyncio.Event()
    pulse = handle.pulse

    async def lost_once(timeout_s: float) -> tuple[float, int]:
        if asked.is_set():
            return await pulse(timeout_s)
        asked.set()
        await may_fail.wait()
        raise TimeoutError

    handle.pulse = lost_once  # type: ignore[method-assign]
    await asked.wait()
    assert await standby.take() is not None
    may_fail.set()
    await asyncio.sleep(0.05)
    assert maker.ended == []
    await standby.close()


async def test_one_that_died_is_not_used_and_is_followed(maker: Maker) -> None:
    """Given a standby whose process is killed; then it is ended for certain and another one waits."""
    standby = maker.standby()
    standby.begin()
    await until(lambda: bool(maker.made) and maker.made[0].is_standing_by)
    maker.made[0].is_alive = False
    await until(lambda: len(maker.made) == 2 and maker.made[1].is_standing_by)
    assert maker.ended == ["shard-0-e1"]
    maker.made[1].is_alive = False
    assert await standby.take() is None
    await standby.close()


async def test_one_goes_to_a_better_machine(maker: Maker) -> None:
    """Given a standby that waits; when a better machine is known, then one waits there; where nobody knows, it stays."""
    standby = maker.standby()
    standby.begin()
    await until(lambda: bool(maker.made) and maker.made[0].is_standing_by)
    maker.machine = ""
    await asyncio.sleep(0.05)
    assert maker.ended == []
    maker.machine = "m"
    await until(lambda: len(maker.made) == 2 and maker.made[1].is_standing_by)
    assert maker.ended == ["shard-0-e1"]
    await standby.close()


async def test_one_that_comes_too_late_is_ended(maker: Maker) -> None:
    """Given a standby that is still being made when the slot falls empty; then the slot is filled without it, and it is ended.

    Its epoch is below that of the one which fills the slot by then: it would count as replaced.
    """
    maker.may_go_on.clear()
    standby = maker.standby()
    standby.begin()
    await asyncio.sleep(0.02)
    assert await standby.take() is None
    maker.may_go_on.set()
    await until(lambda: maker.ended == ["shard-0-e1"])
    assert await standby.take() is None
    await standby.close()


async def test_a_shadow_has_only_the_rest_left_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a division that was followed; when it is opened; then it is as its owner left it, and only the end was read."""
    monkeypatch.setattr(shadow_module, "FOLLOW_S", 0.01)
    journal = MemoryJournal()
    owner = Division(journal)
    await owner.open()
    shadow = Shadow(journal)
    following = asyncio.create_task(shadow.follow(wanted))
    await owner.request(1)
    await until(lambda: f"batch={owner.batch}" in repr(shadow))
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    followed_batch = owner.batch
    await owner.request(2)
    asked: list[int] = []
    read = journal.read

    async def noted(division_id: str, after_batch: int, count_max: int) -> list[tuple[int, bytes]]:
        asked.append(after_batch)
        return await read(division_id, after_batch, count_max)

    monkeypatch.setattr(journal, "read", noted)
    division = shadow.take("main")
    await division.open()
    assert asked[0] == followed_batch
    assert division.engine.digest() == owner.engine.digest()


async def test_a_shadow_survives_a_trim(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a shadow that fell behind a snapshot and a trim; then it begins again at the snapshot."""
    journal = MemoryJournal()
    owner = Division(journal)
    await owner.open()
    division = HostedDivision("main", journal)
    await division.warm_up()
    await owner.request(1)
    await journal.write_snapshot("main", owner.batch, [owner.engine.snapshot()])
    await journal.trim("main", owner.batch)
    await division.follow()
    assert division.engine.digest() == owner.engine.digest()


async def test_a_shadow_lets_go_of_what_is_placed_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a followed division that an operator moves away; then it is not held any longer."""
    monkeypatch.setattr(shadow_module, "FOLLOW_S", 0.01)
    journal = MemoryJournal()
    await Division(journal).open()
    placed = ["main"]

    async def here() -> list[str]:
        return placed

    shadow = Shadow(journal)
    following = asyncio.create_task(shadow.follow(here))
    await until(lambda: "main" in repr(shadow))
    placed.clear()
    await until(lambda: "main" not in repr(shadow))
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_a_standby_that_was_overtaken_ends_itself() -> None:
    """13: given a standby whose supervisor is gone; when the slot is filled by a newer incarnation; then it ends."""
    async with local_hall(PLAN) as local:
        await local.kill_shard()
        await local.start_shard()
        settings = ShardSettings("shard-0-e1", local.division_ids, "shard-0")
        late = Shard(settings, local.journal, local.directory, Performer(local.network))
        await asyncio.wait_for(late.stand_by(), 20)
        assert late.ended.is_set()
        await late.abort()


async def test_what_cannot_be_replayed_keeps_no_other_division_from_being_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """4: given a damaged division beside a sound one; then the sound one is followed."""
    monkeypatch.setattr(shadow_module, "PAUSE_S", 0.01)
    journal = MemoryJournal()
    await Division(journal).open()
    opened = await journal.open("bad")
    await journal.append([Append("bad", opened.epoch, 1, b"\x92\x01nonsense")])

    async def both() -> list[str]:
        return ["bad", "main"]

    shadow = Shadow(journal)
    following = asyncio.create_task(shadow.follow(both))
    await until(lambda: "main" in repr(shadow))
    assert "bad" not in repr(shadow)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def wanted() -> list[str]:
    return ["main"]
