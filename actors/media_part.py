"""A media worker as a part: orders in, reports out, and the translation between calls and rooms.

`media/` knows rooms, `dispatch/` knows calls; only this file knows both. Reports go to the room's division as commands, each
repeated until the shard has it (within a bound), in the order in which they were made; every one is harmless when repeated.
"""

import asyncio
import time
from typing import Any

import msgspec
import structlog
from msgspec import Struct

from actors.disk import DiskFloor, DiskSettings
from actors.hall import Hall, HallUnavailable
from actors.inbox import Inbox
from actors.items import ReadPart, WorkerHello, encode
from actors.media_items import (
    Candidates,
    CloseRoomOrder,
    LeaveOrder,
    MediaAnswer,
    MediaItem,
    OpenRoomOrder,
    SdpOffer,
    decode_media_items,
)
from actors.network import Network
from actors.parts import HallSettings, open_hall
from actors.reporting import part_facts
from actors.spans import tell
from actors.tracing import CALLS
from dispatch import commands as cm
from media import reports as rp
from media.worker import MediaWorker

HELLO_S = 1.0
REPORT_TRIES = 240
REPORT_PAUSE_S = 0.5
"""Two minutes at the least: a hall that was restarted is back by then; afterwards the reconciliation at `hello` decides."""
REPORTS_MAX = 10_000
LAST_REPORTS_S = 2.0
ORDER_S = 10.0
"""For one order; shorter than its sender waits, so that one party who is stuck is answered as such, and the others of the
same batch get their answers."""

log = structlog.get_logger()


class MediaPartSettings(Struct, frozen=True):
    hall: HallSettings
    worker: rp.MediaSettings
    disk: DiskSettings = DiskSettings()


class MediaPart:
    """Hosts one MediaWorker."""

    def __init__(self, settings: bytes, network: Network) -> None:
        own = msgspec.msgpack.decode(settings, type=MediaPartSettings)
        self.ended = asyncio.Event()
        self._settings = own
        self._network = network
        self._worker = MediaWorker(own.worker, self._report)
        self._disk = DiskFloor(own.disk)
        self._inbox = Inbox()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._division_by_room: dict[str, str] = {}
        self._rooms: dict[tuple[str, int], str] = {}
        """(call id, attempt) of each open room -> division."""
        self._last_reports: dict[str, asyncio.Task[Any]] = {}
        """Call id -> its newest report on the way."""

    async def start(self) -> None:
        self._hall, self._client = open_hall(self._settings.hall, self._network)
        await self._worker.start()
        self._begin(self._disk.watch())
        self._begin_hellos()

    async def stop(self) -> None:
        await self._worker.stop()
        reports = [task for task in self._tasks if task.get_name() == "report"]
        if reports:
            await asyncio.wait(reports, timeout=LAST_REPORTS_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._hall.close()
        await self._client.close()

    async def status(self) -> dict[str, Any]:
        worker = self._settings.worker
        own = {"worker_id": worker.worker_id, "worker_epoch": worker.epoch, "rooms_max": worker.rooms_max}
        return {"measures": self._worker.measures(), "disk": self._disk.values(), **own, **part_facts()}

    # -- orders

    async def receive(self, sender: str, number: int, payload: bytes) -> bytes:
        return await self._inbox.take(sender, number, lambda: self._begin(self._carry_out(payload)))

    async def _carry_out(self, payload: bytes) -> bytes:
        """Orders of one batch at once: one slow party must not hold up the others."""
        items = decode_media_items(payload)
        return encode(await asyncio.gather(*(self._carry_out_one(item) for item in items)))

    async def _carry_out_one(self, item: MediaItem) -> MediaAnswer | dict[str, Any]:
        if isinstance(item, ReadPart):
            return await self.status()
        try:
            async with asyncio.timeout(ORDER_S):
                return await self._carry_out_in_time(item)
        except TimeoutError:
            log.warning("media.order_slow", order=type(item).__name__, call=item.call_id)
            if isinstance(item, OpenRoomOrder):
                # It may stand by half, and nobody will come.
                self._begin(self._worker.close_room(item.call_id, item.attempt))
            return MediaAnswer("overloaded")
        except rp.MediaRefused as error:
            return MediaAnswer(error.reason)
        except Exception:
            log.exception("media.order_failed", order=type(item).__name__)
            return MediaAnswer("internal")

    async def _carry_out_in_time(
        self, item: OpenRoomOrder | CloseRoomOrder | SdpOffer | Candidates | LeaveOrder
    ) -> MediaAnswer:
        """Cancelled when the time is over; what closes a room goes on."""
        if isinstance(item, OpenRoomOrder):
            return await self._open(item)
        if isinstance(item, CloseRoomOrder):
            await asyncio.shield(self._begin(self._worker.close_room(item.call_id, item.attempt)))
            self._rooms.pop((item.call_id, item.attempt), None)
            return MediaAnswer()
        worker, room = self._worker, (item.call_id, item.attempt, item.party)
        if isinstance(item, Candidates):
            await worker.add_candidates(*room, item.link_id, item.ufrag, item.texts, item.from_address)
            return MediaAnswer()
        if isinstance(item, LeaveOrder):
            worker.leave(*room, item.link_id)
            return MediaAnswer()
        return MediaAnswer("", *await worker.open_link(*room, item.sdp, item.flow))

    async def _open(self, item: OpenRoomOrder) -> MediaAnswer:
        began_ms = time.time_ns() // 1_000_000
        CALLS.remember(item.call_id, item.traceparent)
        self._division_by_room[item.call_id] = item.division_id
        if len(self._division_by_room) > REPORTS_MAX:
            del self._division_by_room[next(iter(self._division_by_room))]
        failure = await self._worker.open_room(
            rp.RoomOrder(
                room_id=item.call_id,
                attempt=item.attempt,
                parties=item.parties,
                recording=item.recording,  # type: ignore[arg-type]
                business_reference=item.business_reference,
                labels={"division": item.division_id, "queue": item.queue_id},
            )
        )
        tell("open room", item.traceparent, began_ms, failure or "", call_id=item.call_id, attempt=item.attempt)
        if failure is not None:
            return MediaAnswer(failure)
        self._rooms[item.call_id, item.attempt] = item.division_id
        return MediaAnswer()

    # -- reports

    def _report(self, report: rp.Report) -> None:
        if isinstance(report, rp.RoomFailed):
            self._rooms.pop((report.room_id, report.attempt), None)
        command = command_of(report)
        if command is None:
            return
        if len(self._tasks) >= REPORTS_MAX:
            log.error("media.report_dropped", report=type(report).__name__, call=report.room_id)
            return
        room_id = report.room_id
        task = self._begin(self._submit(room_id, command, self._last_reports.get(room_id)), "report")
        self._last_reports[room_id] = task
        task.add_done_callback(lambda done: self._forget_report(room_id, done))

    def _forget_report(self, room_id: str, done: "asyncio.Task[Any]") -> None:
        if self._last_reports.get(room_id) is done:
            del self._last_reports[room_id]

    async def _submit(self, room_id: str, command: cm.Command, before: "asyncio.Task[Any] | None") -> None:
        """Bring the report to its division; after a restart of this worker that may be any."""
        if before is not None:
            # In an outage each is repeated on its own: a party who left and came back must not end as one who left.
            await asyncio.wait({before})
        known = self._division_by_room.get(room_id)
        divisions = [known] if known else self._settings.hall.division_ids
        for division_id in divisions:
            for _ in range(REPORT_TRIES):
                try:
                    await self._hall.submit(command, division_id)
                    if isinstance(command, cm.ReportRecordingSealed):
                        self._division_by_room.pop(room_id, None)
                    break
                except HallUnavailable:
                    await asyncio.sleep(REPORT_PAUSE_S)

    def _begin(self, work: Any, name: str = "work") -> "asyncio.Task[Any]":
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # -- proof of life

    def _begin_hellos(self) -> None:
        """To each division by itself: one that is away for a while must not make this worker look dead for the others."""
        for division_id in self._settings.hall.division_ids:
            self._begin(self._say_hello(division_id))

    async def _say_hello(self, division_id: str) -> None:
        while True:
            try:
                await self._say_hello_to(self._hall, division_id)
            except HallUnavailable:
                pass  # It is said again, to whoever owns the division then.
            except Exception:
                # Without this word the worker counts as lost, with every call that it carries.
                log.exception("media.hello_failed", division=division_id)
            await asyncio.sleep(HELLO_S)

    async def _say_hello_to(self, hall: Hall, division_id: str) -> None:
        rooms = [room for room, division in self._rooms.items() if division == division_id]
        worker = self._settings.worker
        disowned = await hall.hello(
            WorkerHello(
                division_id,
                worker.worker_id,
                worker.epoch,
                rooms,
                len(self._rooms),
                worker.rooms_max,
                self._disk.is_low,
            )
        )
        for call_id, attempt in disowned:
            log.warning("media.room_disowned", call=call_id, attempt=attempt)
            self._rooms.pop((call_id, attempt), None)
            # A slow disk holds up the sealing, and must not hold up the next word.
            self._begin(self._worker.close_room(call_id, attempt))


def command_of(report: rp.Report) -> cm.Command | None:
    """Translate a worker's report into the engine's command. `RoomOpened` is the answer to its order already."""
    room: dict[str, Any] = {"principal": "system:media", "call_id": report.room_id, "attempt": report.attempt}
    if isinstance(report, rp.RoomFailed):
        return cm.ReportRoomFailed(**room, reason=report.reason)
    if isinstance(report, rp.PartyJoined):
        return cm.ReportPartyJoined(**room, party=report.party)
    if isinstance(report, rp.PartyLeft):
        return cm.ReportPartyLeft(**room, party=report.party)
    if isinstance(report, rp.RecordingStarted):
        return cm.ReportRecordingStarted(**room, party=report.party)
    if isinstance(report, rp.RecordingFailed):
        return cm.ReportRecordingFailed(**room, party=report.party, reason=report.reason)
    if isinstance(report, rp.RecordingSealed):
        files = [msgspec.to_builtins(one) for one in report.files]
        gaps = [str(gap) for gap in report.gaps]
        return cm.ReportRecordingSealed(**room, manifest_sha256=report.manifest_sha256, files=files, gaps=gaps)
    return None
