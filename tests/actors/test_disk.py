"""The floor of free disk, held against the real disk's own figure: only the floor is moved."""

import shutil
from pathlib import Path

import pytest

from actors.disk import FLOOR_BYTES, DiskFloor, DiskSettings, floor_of, measure
from actors.local import LocalHall
from actors.performer import Performer
from actors.shard import Shard, ShardSettings
from dispatch.commands import ApplyPlan
from tests.actors.kit import PLAN, ready, ringing

FAR_ABOVE = 1 << 60


def settings(folder: Path, floor_bytes: int | None) -> DiskSettings:
    return DiskSettings({"archive": str(folder), "recordings": str(folder / "not" / "made" / "yet")}, floor_bytes)


def test_a_disk_is_measured_once_as_the_kernel_says_it(tmp_path: Path) -> None:
    """Given two folders on one disk, one of them not made yet, then there is one place with what is free for this user."""
    [place] = measure(settings(tmp_path, 5))
    free = shutil.disk_usage(tmp_path).free
    assert place.names == ["archive", "recordings"]
    # Others write to this disk meanwhile.
    assert abs(place.free_bytes - free) < free / 10
    assert (place.floor_bytes, place.is_low) == (5, False)


@pytest.mark.parametrize(
    ("total", "given", "floor"),
    [(100 * 2**30, None, FLOOR_BYTES), (2**30, None, 2**30 // 20), (2**30, 7, 7), (2**30, 0, 0)],
)
def test_the_floor_is_what_was_set_or_the_smaller_default(total: int, given: int | None, floor: int) -> None:
    """Given a disk's size, then the default floor is 1 GiB, or 5 % where that is less."""
    assert floor_of(total, given) == floor


async def test_a_folder_that_cannot_be_reached_is_unknown_and_not_low(tmp_path: Path) -> None:
    """Given a path through a file, then the place is named as unknown, and calls are taken all the same."""
    (tmp_path / "file").write_text("")
    disk = DiskFloor(DiskSettings({"archive": str(tmp_path / ("x" * 300))}, 0))
    await disk.look()
    assert [place["free_bytes"] for place in disk.values()] == [-1]
    assert not disk.is_low


async def test_below_the_floor_new_calls_are_refused_and_those_in_progress_go_on(tmp_path: Path) -> None:
    """SAFETY.md 21. Given a floor raised above what is free, then no new call is taken until it is lowered again."""
    local = LocalHall(PLAN)
    disk = DiskFloor(settings(tmp_path, 0))
    shard = Shard(ShardSettings("shard-0-e1", ["main"]), local.journal, local.directory, Performer(local.network), disk)
    local.network.parts[shard.settings.name] = local.shard = shard
    await shard.start()
    shard.submit("main", ApplyPlan(plan=PLAN, digest="local"))
    hall = local.hall("g-1")
    try:
        reservation_id = await ringing(hall, "anna", "call-1")
        disk.settings = settings(tmp_path, FAR_ABOVE)
        await disk.look()
        assert (await hall.call("call-2").request("c-2", "loans")).reason == "disk_low"
        assert (await hall.agent("anna").accept(reservation_id)).is_accepted
        assert (await hall.call("call-1").report_connected(principal="agent:anna")).is_accepted
        assert (await hall.call("call-1").hang_up(principal="agent:anna")).is_accepted
        status = (await hall.status())["divisions"]["main"]
        assert status["disk"][0]["is_low"]
        assert status["measures"]["refused"] == {"disk_low": 1}
        disk.settings = settings(tmp_path, 0)
        await disk.look()
        await ready(hall, "anna")
        assert (await hall.call("call-3").request("c-3", "loans")).is_accepted
    finally:
        await hall.close()
        await local.kill_shard()
