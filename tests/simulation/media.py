"""Media workers as message ends: the product's `MediaPart` around a worker without packets.

A worker keeps the promises of `media.worker.MediaWorker`: one room a call, higher attempts replace lower ones, what has ended
stays ended, every recorded room is sealed. Who has an answer to an offer joins a little later.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import msgspec

from actors.media_part import MediaPart, MediaPartSettings
from actors.network import Network
from actors.parts import HallSettings
from media import reports as rp
from tests.simulation.truth import Truth

JOIN_S = (0.05, 1.5)
SEAL_S = (0.05, 2.0)
OPEN_S = (0.0, 0.3)
REFUSED_RATIO = 0.03
ROOMS_MAX = 12


class PaperWorker:
    """Rooms without packets."""

    def __init__(
        self, settings: rp.MediaSettings, report: Callable[[rp.Report], None], chance: random.Random, truth: Truth
    ) -> None:
        self.settings = settings
        self.rooms: dict[str, rp.RoomOrder] = {}
        self._report = report
        self._chance = chance
        self._truth = truth
        self._ended: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Nothing is bound."""

    async def stop(self) -> None:
        """Nothing is held."""

    def measures(self) -> dict[str, float]:
        return {"rooms": float(len(self.rooms))}

    async def open_room(self, order: rp.RoomOrder) -> str | None:
        own = self.settings
        self._truth.check_order(order.labels["division"], order.room_id, order.attempt, own.worker_id, own.epoch)
        await asyncio.sleep(self._chance.uniform(*OPEN_S))
        if (reason := self._why_not(order)) is not None:
            return reason
        before = self.rooms.get(order.room_id)
        if before is not None and before.attempt < order.attempt:
            await self.close_room(order.room_id, before.attempt)
        self.rooms[order.room_id] = order
        return None

    def _why_not(self, order: rp.RoomOrder) -> str | None:
        before = self.rooms.get(order.room_id)
        if before is not None and order.attempt < before.attempt:
            return "stale_attempt"
        if order.attempt <= self._ended.get(order.room_id, 0):
            return "room_closed"
        if before is None and len(self.rooms) >= self.settings.rooms_max:
            return "rooms_full"
        return "disk_failed" if self._chance.random() < REFUSED_RATIO else None

    async def close_room(self, room_id: str, attempt: int) -> None:
        self._ended[room_id] = max(attempt, self._ended.get(room_id, 0))
        room = self.rooms.get(room_id)
        if room is None or room.attempt != attempt:
            return
        del self.rooms[room_id]
        if room.recording != "off":
            self._begin(self._seal(room))

    async def open_link(
        self, room_id: str, attempt: int, party: str, sdp_offer: str, flow: str = "both"
    ) -> tuple[str, str]:
        room = self.rooms.get(room_id)
        if room is None:
            raise rp.MediaRefused("unknown_room")
        if room.attempt != attempt:
            raise rp.MediaRefused("stale_attempt")
        self._begin(self._join(room, party))
        return "v=0", "link"

    async def _join(self, room: rp.RoomOrder, party: str) -> None:
        await asyncio.sleep(self._chance.uniform(*JOIN_S))
        if self.rooms.get(room.room_id) is room:
            self._report(rp.PartyJoined(room.room_id, room.attempt, party))
            if room.recording != "off":
                self._report(rp.RecordingStarted(room.room_id, room.attempt, party))

    async def _seal(self, room: rp.RoomOrder) -> None:
        await asyncio.sleep(self._chance.uniform(*SEAL_S))
        self._report(rp.RecordingSealed(room.room_id, room.attempt, "0" * 64, [], []))

    def _begin(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def media_part(worker_id: str, epoch: int, division_ids: list[str], network: Network) -> MediaPart:
    """Make the part; `MediaWorker` and `open_hall` of its module are the simulation's while one runs."""
    settings = MediaPartSettings(
        HallSettings(division_ids, "memory:"),
        rp.MediaSettings(worker_id=worker_id, epoch=epoch, recordings_folder="nowhere", rooms_max=ROOMS_MAX),
    )
    return MediaPart(msgspec.msgpack.encode(settings), network)
