"""A media worker: rooms on one UDP port, in one process, on one event loop.

Rules. Nothing that a party or an order contains raises an exception out of here but `MediaRefused`. Everything is bounded:
rooms, parties, links of a party, offers at a time, and every wait. A room is closed by its owner alone; a worker that
hears nothing of its shard or store goes on carrying its calls. Reports may repeat; they are made in the loop and must not
block.

Theory of operation. `open_room`, `answer` and `close_room` change the set of rooms. One timer beats every 40 ms: it mends
losses, and gives every link its second's work in turn, so that sixty links do not report in one burst. Sealing a
recording takes place behind the caller's back and ends in a `RecordingSealed`; what a killed worker left behind is sealed
when the next one starts.

Event loop: use uvloop (aiortc's own paths profit, ours hardly). Per packet there is one tuple for the ring and one bytes
for the payload, both gone after 512 packets, so the garbage collector finds nothing to do while calls flow; a host that
keeps large object graphs should `gc.freeze()` after start, since a full collection holds up every call.
"""

import asyncio
import shutil
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine
from ipaddress import IPv4Address
from pathlib import Path
from time import monotonic, time
from typing import Any

import structlog

from media.capture import CaptureWriter
from media.contract import check_contract
from media.evidence import (
    find_attempt,
    is_locked,
    is_party,
    is_room_id,
    read_sealed,
    recently_sealed,
    unsealed_attempts,
)
from media.link import PartyLink
from media.port import Port
from media.recording import open_recording
from media.reports import (
    MediaRefused,
    MediaSettings,
    RecordingSealed,
    Report,
    RoomFailed,
    RoomFailure,
    RoomOpened,
    RoomOrder,
)
from media.room import Party, Room
from media.sdp import BadOffer, Flow, Offer, check_offer
from media.sealing import Finaliser

BEAT_S = 0.04
BEATS_PER_SECOND = 25
PARTIES_PER_ROOM_MAX = 2
"""One-to-one calls. A client offers one section of each kind, so there is one other to hear."""
ANSWERS_MAX = 16
"""Offers being answered at a time; one takes 7 ms of CPU."""
ANSWERS_PER_PARTY_MAX = 1_000
"""Reconnects of one party in one room: a page that offers in a loop shall not fill the capture log's stream numbers."""
ANSWER_TIMEOUT_S = 5.0
STOP_TIMEOUT_S = 5.0
ENDED_ROOMS_MAX = 10_000
"""Remembered, so that a late order does not open a room again."""
RETOLD_S = 3_600
"""Recordings sealed so long before a start are reported again; whoever waited for one has given up by then."""
LAGS_KEPT = 1_500
"""One minute of beats."""

_log = structlog.get_logger("media")


class MediaWorker:
    """`start`, then orders, then `stop`. All methods belong to one running event loop."""

    def __init__(self, settings: MediaSettings, report: Callable[[Report], None]) -> None:
        self.settings = settings
        self.port = 0
        """The UDP port, once started."""
        self._on_report = report
        self._rooms: dict[str, Room] = {}
        self._opening: dict[str, RoomOrder] = {}
        self._ended: OrderedDict[str, int] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._answers = self._room_count = 0
        self._is_running = False
        self._lags_s: deque[float] = deque(maxlen=LAGS_KEPT)
        self._gone = {"nacks": 0, "pictures": 0, "repairs": 0, "link_drops": 0}
        self._root = Path(settings.recordings_folder)

    def __repr__(self) -> str:
        links = sum(len(room.links()) for room in self._rooms.values())
        return f"<MediaWorker {self.settings.worker_id} {len(self._rooms)} rooms, {links} links>"

    def _report(self, report: Report) -> None:
        party, reason = getattr(report, "party", None), getattr(report, "reason", None)
        told = {name: value for name, value in (("party", party), ("reason", reason)) if value is not None}
        _log.info(type(report).__name__, room_id=report.room_id, attempt=report.attempt, **told)
        self._on_report(report)

    async def start(self) -> None:
        """Bind the port and begin.

        Raises OSError (port or folder), ValueError (an advertised address is no IPv4 address, or there is none) or
        ContractBroken (wrong libraries): the host must not go on.
        """
        if not [IPv4Address(address) for address in self.settings.advertised_addresses]:
            raise ValueError("advertised_addresses is empty")
        if self.settings.is_contract_checked:
            await check_contract()
        await asyncio.to_thread(self._root.mkdir, parents=True, exist_ok=True)
        self._port = Port(self.settings.host, self.settings.port)
        self.port = self._port.number
        self._writer = CaptureWriter(self.settings.capture_backlog_bytes_max)
        self._finaliser = Finaliser(self._root)
        self._is_running = True
        self._timer = asyncio.create_task(self._beat())
        self._spawn(self._recover())

    async def stop(self) -> None:
        """Close all rooms, seal what can be sealed in STOP_TIMEOUT_S, leave nothing running. The rest waits for a start."""
        if not self._is_running:
            return
        self._is_running = False
        self._timer.cancel()
        for room_id, room in list(self._rooms.items()):
            await self._end_room(room_id, room)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_TIMEOUT_S)
        remaining = list(self._tasks)
        for task in remaining:
            task.cancel()
        await asyncio.gather(self._timer, *remaining, return_exceptions=True)
        self._finaliser.close()
        await self._writer.close(STOP_TIMEOUT_S)
        self._port.close()

    # Rooms.

    async def open_room(self, order: RoomOrder) -> RoomFailure | None:
        """Open a room, report `RoomOpened` or `RoomFailed`, and return why it failed.

        A repeat reports again; a higher attempt replaces a lower.
        """
        room = self._rooms.get(order.room_id)
        if room is not None and room.order.attempt == order.attempt:
            self._report(RoomOpened(order.room_id, order.attempt))
            return None
        opening = self._opening.get(order.room_id)
        if opening is not None and opening.attempt == order.attempt:
            return None
        failure = self._why_not(order)
        if failure is None:
            failure = await self._open(order)
        if failure is not None:
            self._report(RoomFailed(order.room_id, order.attempt, failure))
        return failure

    def _why_not(self, order: RoomOrder) -> RoomFailure | None:
        if not self._is_running:
            return "not_ready"
        if not is_room_id(order.room_id) or order.attempt < 0:
            return "bad_room_id"
        names = order.parties
        is_named = all(map(is_party, names)) and len(set(names)) == len(names)
        if not is_named or not 1 <= len(names) <= PARTIES_PER_ROOM_MAX:
            return "bad_order"
        room, opening = self._rooms.get(order.room_id), self._opening.get(order.room_id)
        known = [one.attempt for one in (room and room.order, opening) if one]
        if any(attempt > order.attempt for attempt in known):
            return "stale_attempt"
        ended = self._ended.get(order.room_id, -1)
        if ended >= order.attempt:
            return "room_closed" if ended == order.attempt else "stale_attempt"
        if len(self._rooms) + len(self._opening) >= self.settings.rooms_max:
            return "rooms_full"
        planned = [*(room.order for room in self._rooms.values()), *self._opening.values(), order]
        if sum(len(one.parties) for one in planned) > self.settings.parties_max:
            return "parties_full"
        return None

    async def _open(self, order: RoomOrder) -> RoomFailure | None:
        older = self._rooms.get(order.room_id)
        self._opening[order.room_id] = order
        try:
            if older is not None:
                await self._end_room(order.room_id, older)
            self._room_count += 1
            room = Room(self._room_count, self.settings, order, self._report, self._spawn, self._count_gone)
            if order.recording != "off":
                if shutil.disk_usage(self._root).free < self.settings.free_disk_floor_bytes:
                    return "disk_low"
                started, failed = room.on_recording_started, room.on_recording_failed
                room.recording = await open_recording(self.settings, order, self._writer, started, failed)
                if room.recording is None:
                    return "room_closed"
        except OSError:
            return "disk_failed"
        finally:
            is_wanted = self._opening.get(order.room_id) is order
            if is_wanted:
                del self._opening[order.room_id]
        if not is_wanted or not self._is_running:
            await self._finish(room)
            return "room_closed"
        self._rooms[order.room_id] = room
        self._report(RoomOpened(order.room_id, order.attempt))
        return None

    async def close_room(self, room_id: str, attempt: int) -> None:
        """End a room. Its recording is sealed later and reported then; a repeat for a sealed one reports it again."""
        if not is_room_id(room_id):
            return
        room, opening = self._rooms.get(room_id), self._opening.get(room_id)
        if opening is not None and opening.attempt == attempt:
            del self._opening[room_id]  # `_open` finds that it is no longer wanted.
        if room is not None and room.order.attempt == attempt:
            await self._end_room(room_id, room)
            return
        is_known = self._ended.get(room_id, -1) >= attempt
        self._remember_end(room_id, attempt)
        if self._is_running and (is_known or (room is None and opening is None)):
            self._spawn(self._report_again(room_id, attempt))

    async def _end_room(self, room_id: str, room: Room) -> None:
        if self._rooms.get(room_id) is room:
            del self._rooms[room_id]
            self._remember_end(room_id, room.order.attempt)
            await self._finish(room)

    async def _finish(self, room: Room) -> None:
        await room.close()
        if room.recording is not None:
            self._spawn(self._seal(room.recording.folder))

    def _remember_end(self, room_id: str, attempt: int) -> None:
        self._ended[room_id] = max(attempt, self._ended.get(room_id, -1))
        self._ended.move_to_end(room_id)
        if len(self._ended) > ENDED_ROOMS_MAX:
            self._ended.popitem(last=False)

    # Links.

    def _place(self, room_id: str, attempt: int, party: str) -> tuple[Room, Party]:
        """Return a party's place. Raises MediaRefused."""
        room = self._rooms.get(room_id)
        if not self._is_running:
            raise MediaRefused("not_ready")
        if room is None:
            raise MediaRefused("unknown_room")
        if room.order.attempt != attempt:
            raise MediaRefused("stale_attempt")
        if party not in room.parties:
            raise MediaRefused("unknown_party")
        return room, room.parties[party]

    async def add_candidates(
        self, room_id: str, attempt: int, party: str, link_id: str, ufrag: str, texts: list[str], address: str
    ) -> None:
        """Take candidates that a party trickles; see `Room.add_candidates`. Raises MediaRefused."""
        room, place = self._place(room_id, attempt, party)
        await room.add_candidates(place, link_id, ufrag, texts, address)

    def leave(self, room_id: str, attempt: int, party: str, link_id: str = "") -> None:
        """End a party's links, or the one of that id; the party may come again. Raises MediaRefused."""
        room, place = self._place(room_id, attempt, party)
        room.leave(place, link_id)

    async def answer(self, room_id: str, attempt: int, party: str, sdp_offer: str, flow: Flow = "both") -> str:
        """Answer a party's SDP offer; the newest one counts. Raises MediaRefused."""
        return (await self.open_link(room_id, attempt, party, sdp_offer, flow))[0]

    async def open_link(
        self, room_id: str, attempt: int, party: str, sdp_offer: str, flow: Flow = "both"
    ) -> tuple[str, str]:
        """As `answer`, and the new link's id beside the answer."""
        room, place = self._place(room_id, attempt, party)
        if self._answers >= ANSWERS_MAX or place.answer_count >= ANSWERS_PER_PARTY_MAX:
            raise MediaRefused("not_ready")
        try:
            offer = check_offer(sdp_offer, flow)
        except BadOffer:
            raise MediaRefused("bad_sdp") from None
        self._answers += 1
        try:
            return await asyncio.wait_for(self._answer(room, place, offer), ANSWER_TIMEOUT_S)
        except TimeoutError:
            raise MediaRefused("not_ready") from None
        finally:
            self._answers -= 1

    async def _answer(self, room: Room, party: Party, offer: Offer) -> tuple[str, str]:
        async with party.answering:
            if room.is_closed:  # It ended while an earlier offer of this party was answered.
                raise MediaRefused("unknown_room")
            party.answer_count += 1
            link = PartyLink(self._port, self.settings.advertised_addresses)
            link.flow = offer.flow
            room.add_link(party, link)
            try:
                return await link.answer(offer), link.link_id
            except asyncio.CancelledError:
                link.end()
                raise
            except Exception:
                # aiortc raises whatever it likes about an offer that it cannot read: to us all of it is a bad offer.
                link.end()
                raise MediaRefused("bad_sdp") from None

    # Recordings.

    async def _seal(self, folder: Path) -> None:
        sealed = await self._finaliser.finalise(folder)
        if sealed is not None:
            self._report(sealed)
        else:
            _log.warning("recording_not_sealed", folder=str(folder))

    async def _recover(self) -> None:
        """Seal what an earlier worker left. Folders of workers that live are locked and are left alone.

        What is sealed already is told again: its worker may have been killed before it could tell.
        """
        since_s = time() - RETOLD_S
        for folder in await asyncio.to_thread(lambda: list(recently_sealed(self._root, since_s))):
            self._report_if_sealed(await asyncio.to_thread(read_sealed, folder))
        for folder in await asyncio.to_thread(lambda: list(unsealed_attempts(self._root))):
            if not await asyncio.to_thread(is_locked, folder):
                await self._seal(folder)

    async def recording(self, room_id: str, attempt: int) -> RecordingSealed | None:
        """The sealed recording of an attempt, whichever worker made it; None while there is none."""
        folder = await asyncio.to_thread(find_attempt, self._root, room_id, attempt)
        return None if folder is None else await asyncio.to_thread(read_sealed, folder)

    async def _report_again(self, room_id: str, attempt: int) -> None:
        self._report_if_sealed(await self.recording(room_id, attempt))

    def _report_if_sealed(self, sealed: RecordingSealed | None) -> None:
        if sealed is not None:
            self._report(sealed)

    # Time and measures.

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _beat(self) -> None:
        beat = 0
        while True:
            due = monotonic() + BEAT_S
            await asyncio.sleep(BEAT_S)
            now = monotonic()
            self._lags_s.append(max(0.0, now - due))
            beat = (beat + 1) % BEATS_PER_SECOND
            for room in list(self._rooms.values()):
                is_turn = room.number % BEATS_PER_SECOND == beat
                for link in room.links():
                    link.mend(now)
                    if is_turn:
                        link.tick(now)
                if is_turn:
                    room.tick(now)

    def _count_gone(self, link: PartyLink) -> None:
        for name, value in link.counts().items():
            self._gone[name] += value

    def measures(self) -> dict[str, float]:
        """Counters since the start, and what is now. Cheap enough for once a second."""
        rooms = self._rooms.values()
        links = [link for room in rooms for link in room.links()]
        lags = sorted(self._lags_s)
        counted = dict(self._gone)
        for link in links:
            for name, value in link.counts().items():
                counted[name] += value
        found: dict[str, float] = {
            "rooms": len(self._rooms),
            "parties": sum(party.is_joined for room in rooms for party in room.parties.values()),
            "links": len(links),
            "packets_in": self._port.packets_in if self._is_running else 0,
            "packets_out": self._port.packets_out if self._is_running else 0,
            "bytes_in": self._port.bytes_in if self._is_running else 0,
            "bytes_out": self._port.bytes_out if self._is_running else 0,
            "drops": self._port.drops if self._is_running else 0,
            "capture_backlog_bytes": self._writer.backlog_bytes if self._is_running else 0,
            "recordings_to_seal": self._finaliser.waiting_count if self._is_running else 0,
            "loop_lag_ms_p50": 1000 * lags[len(lags) // 2] if lags else 0.0,
            "loop_lag_ms_p99": 1000 * lags[int(len(lags) * 0.99)] if lags else 0.0,
        }
        return {**found, **counted}
