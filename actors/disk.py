"""The floor of free disk: below it the hall takes no new calls, so that those in progress never meet a full disk.

Rules: measured where the data lie, once a second, from the kernel's own figure of what is free for this user. Below the floor
new calls are refused by name (`disk_low`) and an alert stands in status and metrics; everything that ends calls goes on. Above
it again calls are admitted again, without anybody's doing.

A folder that is not there yet is measured where it will be made. One that cannot be measured is an alert and stops nothing:
that a network's folder hangs is no proof that it is full.

Not here: the refusal itself (`stepping`), a media worker's own floor for recordings (`media/worker`).
"""

import asyncio
import os
from pathlib import Path
from typing import Any

import structlog
from msgspec import Struct, field

FLOOR_BYTES = 1024**3
FLOOR_RATIO = 0.05
"""Where nothing is set, the smaller of the two counts: 1 GiB holds an hour of the journal of a busy hall, and a small disk is
not to be refused from the start."""
EVERY_S = 1.0
LOOK_S = 2.0
"""A local disk answers in microseconds; a network's that does not within this time is named as unknown."""

log = structlog.get_logger("actors.disk")


class DiskSettings(Struct, frozen=True):
    """Which folders to look at, by what lies in them."""

    folders: dict[str, str] = field(default_factory=dict)
    floor_bytes: int | None = None
    """None: the smaller of `FLOOR_BYTES` and `FLOOR_RATIO` of the disk."""


class DiskPlace(Struct, frozen=True):
    """One disk. `free_bytes` is -1 where it could not be measured."""

    names: list[str]
    """What lies on it: `store`, `archive`, `recordings`."""
    free_bytes: int
    total_bytes: int
    floor_bytes: int

    @property
    def is_low(self) -> bool:
        return 0 <= self.free_bytes < self.floor_bytes


class DiskFloor:
    """Looks at the disks of one part."""

    def __init__(self, settings: DiskSettings | None = None) -> None:
        self.settings = settings or DiskSettings()
        self.places: list[DiskPlace] = []
        self._look: asyncio.Future[list[DiskPlace]] | None = None
        """A look that has not come back yet: no second thread is put behind a disk that hangs."""

    def __repr__(self) -> str:
        return f"<DiskFloor {self.places}>"

    @property
    def is_low(self) -> bool:
        """Was some disk below its floor at the last look?"""
        return any(place.is_low for place in self.places)

    async def look(self) -> None:
        """Measure all disks, within `LOOK_S`. Never raises."""
        if not self.settings.folders:
            return
        was_low = self.is_low
        if self._look is None:
            self._look = asyncio.ensure_future(asyncio.to_thread(measure, self.settings))
        look = self._look
        done, _ = await asyncio.wait({look}, timeout=LOOK_S)
        if not done:
            self.places = [DiskPlace(list(self.settings.folders), -1, 0, self.settings.floor_bytes or FLOOR_BYTES)]
            return
        # Another who looked at the same time may have taken it already.
        self.places = look.result()
        if self._look is look:
            self._look = None
        if self.is_low != was_low:
            log.warning("disk.low" if self.is_low else "disk.enough", places=self.values())

    async def watch(self) -> None:
        """Look once a second until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(EVERY_S)

    def values(self) -> list[dict[str, Any]]:
        """The last look, for a status."""
        return [
            {
                "names": place.names,
                "free_bytes": place.free_bytes,
                "total_bytes": place.total_bytes,
                "floor_bytes": place.floor_bytes,
                "is_low": place.is_low,
            }
            for place in self.places
        ]


def measure(settings: DiskSettings) -> list[DiskPlace]:
    """Look at each disk once, however many folders lie on it. Touches the disks: for a thread."""
    places: dict[int, DiskPlace] = {}
    for name, folder in settings.folders.items():
        try:
            path = _nearest(Path(folder))
            device, figures = path.stat().st_dev, os.statvfs(path)
        except OSError:
            places[-1 - len(places)] = DiskPlace([name], -1, 0, settings.floor_bytes or FLOOR_BYTES)
            continue
        free, total = figures.f_bavail * figures.f_frsize, figures.f_blocks * figures.f_frsize
        names = [*(places[device].names if device in places else []), name]
        places[device] = DiskPlace(names, free, total, floor_of(total, settings.floor_bytes))
    return list(places.values())


def floor_of(total_bytes: int, floor_bytes: int | None) -> int:
    """The floor of a disk of that size."""
    return floor_bytes if floor_bytes is not None else min(FLOOR_BYTES, int(total_bytes * FLOOR_RATIO))


def _nearest(path: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
