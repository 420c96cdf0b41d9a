"""The floor of free disk, held against the real disk's own figure: only the floor is moved."""

import shutil
from pathlib import Path

import pytest

from actors.disk import FLOOR_BYTES, DiskFloor, DiskSettings, floor_of, measure
from actors.items import WorkerHello
from actors.local import local_hall
from actors.workers import Workers
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


async def look_anew(disk: DiskFloor) -> None:
    """The shard looks by itself too, and who looks meanwhile joins it: the first look may be of the floor before."""
    await disk.look()
    await disk.look()


async def test_below_the_floor_new_calls_are_refused_and_those_in_progress_go_on(tmp_path: Path) -> None:
    """SAFETY.md 21. Given a floor raised above what is free, then no new call is taken until it is lowered again."""
    async with local_hall(PLAN) as local:
        assert local.shard is not None
        disk, hall = local.shard.disk, local.hall("g-1")
        disk.settings = settings(tmp_path, 0)
        reservation_id = await ringing(hall, "anna", "call-1")
        disk.settings = settings(tmp_path, FAR_ABOVE)
        await look_anew(disk)
        assert (await hall.call("call-2").request("c-2", "loans")).reason == "disk_low"
        assert (await hall.agent("anna").accept(reservation_id)).is_accepted
        assert (await hall.call("call-1").report_connected(principal="agent:anna")).is_accepted
        assert (await hall.call("call-1").hang_up(principal="agent:anna")).is_accepted
        status = (await hall.status())["divisions"]["main"]
        assert status["disk"][0]["is_low"]
        assert status["measures"]["refused"] == {"disk_low": 1}
        disk.settings = settings(tmp_path, 0)
        await look_anew(disk)
        await ready(hall, "anna")
        assert (await hall.call("call-3").request("c-3", "loans")).is_accepted
        await hall.close()


async def test_a_media_worker_with_little_disk_is_chosen_last_and_all_of_them_close_the_hall(tmp_path: Path) -> None:
    """Given workers on other machines, then one that is low gets rooms last, and when all are, no new call is taken."""
    async with local_hall(PLAN) as local:
        hall = local.hall("g-1")
        assert local.shard is not None
        await hall.hello(WorkerHello("main", "m-1", 1, [], 0, 10, True))
        assert (await hall.call("call-1").request("c-1", "slow")).reason == "disk_low"
        await hall.hello(WorkerHello("main", "m-2", 1, [], 9, 10, False))
        assert (await hall.call("call-1").request("c-1", "slow")).is_accepted
        assert local.shard.media_rooms() == {"m-1": 0, "m-2": 9}
        await hall.close()


def test_the_last_resort_is_a_worker_with_little_disk() -> None:
    """Given two workers of which the emptier is low, then the other comes first, and the low one when that is full."""
    known = Workers()
    known.hello(WorkerHello("main", "m-1", 1, [], 0, 10, True), 0)
    known.hello(WorkerHello("main", "m-2", 1, [], 9, 10, False), 0)
    assert [known.choose(), known.choose()] == [("m-2", 1), ("m-1", 1)]
    assert not known.are_disks_low
    known.hello(WorkerHello("main", "m-2", 1, [], 9, 10, True), 0)
    assert known.are_disks_low
    assert not Workers().are_disks_low
