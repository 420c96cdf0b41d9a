"""The follower's process: the product's `FollowerPart` with followers and archives, over the simulated store."""

import asyncio
from pathlib import Path
from typing import Any

from actors.archive import Archive
from actors.disk import DiskFloor
from actors.follower import Follower
from actors.histories import Histories
from actors.inbox import Inbox
from actors.parts import FollowerPart


class FollowingEnd(FollowerPart):
    """Made without a settings file and a real store; everything else is the product's."""

    def __init__(
        self, journal: Any, folder: Path, division_ids: list[str], snapshot_batches: int, snapshot_s: float
    ) -> None:
        self.ended = asyncio.Event()
        self._journal = journal
        self._archives = {one: Archive(folder, one) for one in division_ids}
        self._followers = {
            one: Follower(journal, archive, one, snapshot_batches=snapshot_batches, snapshot_s=snapshot_s)
            for one, archive in self._archives.items()
        }
        self._histories = Histories(self._followers, self._archives, {})
        self._audit = None
        self._disk = DiskFloor()
        self._stopped = set()
        self._inbox = Inbox()
        self._tasks = set()

    async def start(self) -> None:
        for division_id, follower in self._followers.items():
            self._begin(self._follow(division_id, follower))

    def let_go(self) -> None:
        """The process is dead: the kernel closes its files."""
        for archive in self._archives.values():
            archive._close_files()
