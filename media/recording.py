"""The recording of one room: its folder, its lock, and a capture log for each party that was heard.

One log per party and attempt: a party that reconnects goes on in the same log as the next segment. The disk is touched in
the writer's thread only.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from media.capture import CaptureLog, CaptureWriter
from media.evidence import ROOM_FILE, RoomRecord, attempt_folder, lock_folder, sync, write_whole
from media.reports import MediaSettings, RecordingFailure, RoomOrder
from media.up_track import UpTrack


class Recording:
    """Made by `open_recording`."""

    def __init__(
        self,
        folder: Path,
        lock: int,
        writer: CaptureWriter,
        on_started: Callable[[str], None],
        on_failed: Callable[[str, RecordingFailure], None],
    ) -> None:
        self.folder = folder
        self.logs: dict[str, CaptureLog] = {}
        self._lock, self._writer = lock, writer
        self._on_started, self._on_failed = on_started, on_failed
        self._segments: dict[str, int] = {}
        # The wall clock once, then the monotonic clock: a jump of the wall clock in a call tears no recording.
        self._clock_offset_s = time.time() - time.monotonic()

    def is_confirmed(self, party: str) -> bool:
        """Whether bytes of this party are on the disk."""
        log = self.logs.get(party)
        return log is not None and log.is_confirmed

    def begin_segment(self, party: str) -> None:
        """The party connected anew: streams captured from now on share another clock."""
        self._segments[party] = self._segments.get(party, 0) + 1

    def capture(self, party: str, up: UpTrack, now: float) -> None:
        """Record `up` as the party's stream of its kind from its next packet on."""
        log = self.logs.get(party)
        if log is None:
            log = self.logs[party] = CaptureLog(
                self.folder / f"{party}.capture",
                self._writer,
                self._clock_offset_s,
                lambda: self._on_started(party),
                lambda reason: self._on_failed(party, reason),
            )
        stream = log.add_stream(
            {
                "kind": up.kind,
                "codec": up.mime_type,
                "clock_rate": up.clock_rate,
                "segment": self._segments.get(party, 1),
                "ssrc": up.ssrc,
            }
        )
        up.capture(log, stream, now)

    def flush(self) -> None:
        """Once a second."""
        for log in self.logs.values():
            log.flush()

    async def seal(self) -> None:
        """End all logs and give the folder free. A log that fails here has said so by its own way."""
        for log in self.logs.values():
            try:
                await log.seal()
            except OSError:
                log.fail("disk_failed")
        await self._writer.run(lambda: os.close(self._lock))


async def open_recording(
    settings: MediaSettings,
    order: RoomOrder,
    writer: CaptureWriter,
    on_started: Callable[[str], None],
    on_failed: Callable[[str, RecordingFailure], None],
) -> Recording | None:
    """Make the attempt's folder. None when this attempt has a recording already; raises OSError for trouble with the disk."""
    opened_at_ms = time.time_ns() // 1_000_000
    record = RoomRecord(
        room_id=order.room_id,
        attempt=order.attempt,
        business_reference=order.business_reference,
        parties=order.parties,
        recording=order.recording,
        labels=order.labels,
        worker_id=settings.worker_id,
        worker_epoch=settings.epoch,
        opened_at_ms=opened_at_ms,
    )
    folder = attempt_folder(Path(settings.recordings_folder), order.room_id, order.attempt, opened_at_ms)
    lock = await writer.run(lambda: _make_folder(folder, msgspec.json.format(msgspec.json.encode(record))))
    return None if lock is None else Recording(folder, lock, writer, on_started, on_failed)


def _make_folder(folder: Path, record: bytes) -> int | None:
    folder.mkdir(parents=True, exist_ok=True)
    lock = lock_folder(folder)
    if lock is None:
        return None
    try:
        if (folder / ROOM_FILE).exists():
            os.close(lock)
            return None
        write_whole(folder / ROOM_FILE, record)
        for made in folder.parents[:3]:
            sync(made)
    except OSError:
        os.close(lock)
        raise
    return lock
