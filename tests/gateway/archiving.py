"""A follower with a real archive and real reports, behind a hall inside this process."""

import time
from pathlib import Path

import msgspec

from actors.archive import Archive
from actors.follower import Follower
from actors.hall import FOLLOWER_NAME
from actors.histories import Histories
from actors.items import ReadPart, decode_follower_items, encode
from actors.local import LocalHall
from actors.reports import Reports


class ArchivingFollower:
    """What `FollowerPart` is to a hall over a real store; it follows when it is asked, and in `catch_up`."""

    def __init__(self, local: LocalHall, folder: Path) -> None:
        self.archives = {one: Archive(folder, one) for one in local.division_ids}
        self.followers = {one: Follower(local.journal, archive, one) for one, archive in self.archives.items()}
        self.reports = {
            one: Reports(archive, folder / one, one, lambda: time.time_ns() // 1_000_000)
            for one, archive in self.archives.items()
        }
        self._histories = Histories(self.followers, self.archives, self.reports)
        local.network.parts[FOLLOWER_NAME] = self

    async def receive(self, sender: str, number: int, payload: bytes) -> bytes:
        await self.catch_up()
        bodies = [
            encode({"divisions": {}, "disk": []}) if isinstance(item, ReadPart) else await self._histories.answer(item)
            for item in decode_follower_items(payload)
        ]
        return encode([msgspec.Raw(body) for body in bodies])

    async def catch_up(self) -> None:
        for follower in self.followers.values():
            await follower.catch_up()

    async def close(self) -> None:
        for archive in self.archives.values():
            await archive.close()
