"""The capture log: what one party sent, as it came, in a file that can only grow and shows every change.

Format. A log is a row of blocks: `THC1`, payload length, SHA-256, payload. Each hash covers the hash before it, the length
and the payload, so a changed byte shows, and so does a block that was taken out; a cut tail shows only against the last
hash, which the manifest keeps. A block holds whole records: stream and marker, sequence, timestamp, arrival in us of the
worker's clock, length, bytes. Three stream numbers are set apart: descriptions of streams (JSON), sender reports, the end.

Writing. The event loop only fills a bytearray; one thread for all logs hashes, writes and syncs. A block closes at 64 KiB
or after 1 s; the first one at the first packet, because calls wait for its confirmation. A file is synced when its first
block is written and then once a second: syncing every block would hold up the journal's own syncs on the same disk, and a
killed process loses nothing that was written. Whatever fails, fails one log, by name, and never stops the forwarding.

Not here: what a log means as pictures and sound (`timeline.py`, `mux.py`), where it lies (`recording.py`).
"""

import asyncio
import contextlib
import errno
import hashlib
import json
import os
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import Struct
from time import monotonic
from typing import NamedTuple, TypeVar

from media.reports import RecordingFailure
from media.rtcp import SenderReport

BLOCK = Struct("<4sI32s")
RECORD = Struct("<HHIqH")
MAGIC = b"THC1"
BLOCK_BYTES = 64 * 1024
BLOCK_BYTES_MAX = 1 << 20
"""A longer block was never written: its length is damaged."""
SYNC_EVERY_S = 1.0
WRITER_QUIET_S = 0.25
"""How long the thread sleeps at most while some file is not synced."""
STREAM_MASK = 0x7FFF
DESCRIPTION, REPORT, END = 0x7FFF, 0x7FFE, 0x7FFD
STREAMS_MAX = 0x7F00
FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

T = TypeVar("T")


class _File:
    """One log's file. Touched by the writer's thread alone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1
        self._hash = bytes(32)
        self._synced_at = float("-inf")
        self.is_dirty = False

    def write(self, payload: bytearray) -> None:
        if self._descriptor < 0:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o640)
        self._hash = chain(self._hash, payload)
        rest = memoryview(BLOCK.pack(MAGIC, len(payload), self._hash) + payload)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        self.is_dirty = True

    def sync_if_due(self, now: float) -> bool:
        """Sync once a second at most; say whether it was done."""
        if not self.is_dirty or now - self._synced_at < SYNC_EVERY_S:
            return False
        os.fdatasync(self._descriptor)
        self._synced_at, self.is_dirty = now, False
        return True

    def close(self) -> None:
        if self._descriptor >= 0:
            os.fsync(self._descriptor)
            self.abandon()

    def abandon(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor, self.is_dirty = -1, False


def chain(before: bytes, payload: bytes | bytearray) -> bytes:
    """The next hash of a chain."""
    return hashlib.sha256(before + len(payload).to_bytes(4, "little") + payload).digest()


class CaptureWriter:
    """The one thread that writes every log of a worker, and does its other work with the disk."""

    def __init__(self, backlog_bytes_max: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._backlog_bytes_max = backlog_bytes_max
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._dirty: dict[_File, CaptureLog] = {}
        # Two counters with one writer each: the difference needs no lock.
        self._given_bytes = self._written_bytes = 0
        self._thread = threading.Thread(target=self._work, name="capture-writer", daemon=True)
        self._thread.start()

    @property
    def backlog_bytes(self) -> int:
        """Captured bytes that are not written yet."""
        return self._given_bytes - self._written_bytes

    def run(self, function: Callable[[], T]) -> "asyncio.Future[T]":
        """Do something with the disk in the thread, after all that was given before."""
        future: asyncio.Future[T] = self._loop.create_future()

        def work() -> None:
            try:
                result = function()
            except Exception as error:
                self.tell(_fail, future, error)
            else:
                self.tell(_succeed, future, result)

        self._jobs.put(work)
        return future

    def give(self, log: "CaptureLog", file: _File, payload: bytearray) -> bool:
        """Write a block soon; False when too much waits already."""
        if self.backlog_bytes > self._backlog_bytes_max:
            return False
        self._given_bytes += len(payload)
        self._jobs.put(lambda: self._write(log, file, payload))
        return True

    def _write(self, log: "CaptureLog", file: _File, payload: bytearray) -> None:
        try:
            file.write(payload)
            self._dirty[file] = log
        except OSError as error:
            self._give_up(log, file, error)
        finally:
            self._written_bytes += len(payload)

    def _give_up(self, log: "CaptureLog", file: _File, error: OSError) -> None:
        self._dirty.pop(file, None)
        with contextlib.suppress(OSError):
            file.abandon()
        self.tell(log.fail, "disk_full" if error.errno in FULL_ERRORS else "disk_failed")

    def _work(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=WRITER_QUIET_S if self._dirty else None)
                if job is None:
                    return
                job()
            except queue.Empty:
                pass
            self._sync(monotonic())

    def _sync(self, now: float) -> None:
        for file, log in list(self._dirty.items()):
            try:
                if file.sync_if_due(now):
                    self.tell(log.confirm)
            except OSError as error:
                self._give_up(log, file, error)
                continue
            if not file.is_dirty:
                self._dirty.pop(file, None)

    def tell(self, function: Callable[..., None], *arguments: object) -> None:
        """Call back into the event loop; nobody is left to hear it when the loop has ended."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)

    async def close(self, timeout_s: float) -> None:
        """End the thread after all that was given before. A stuck disk does not hold up the caller."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join, timeout_s)


def _succeed(future: "asyncio.Future[T]", result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: "asyncio.Future[T]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


class CaptureLog:
    """One party's log, as the event loop sees it. Satisfies `Sink`. Times are monotonic seconds plus `clock_offset_s`."""

    def __init__(
        self,
        path: Path,
        writer: CaptureWriter,
        clock_offset_s: float,
        on_confirmed: Callable[[], None],
        on_failed: Callable[[RecordingFailure], None],
    ) -> None:
        self.path = path
        self.is_confirmed = False
        """Bytes of it have reached the disk."""
        self.failure: RecordingFailure | None = None
        self._writer, self._file = writer, _File(path)
        self._clock_offset_s = clock_offset_s
        self._on_confirmed, self._on_failed = on_confirmed, on_failed
        self._buffer = bytearray()
        self._flush_at = 1
        self._stream_count = 0
        self._is_closed = False

    def add_stream(self, description: dict[str, object]) -> int:
        """Describe a new stream; its number for `append`. Raises ValueError after STREAMS_MAX reconnects."""
        if self._stream_count >= STREAMS_MAX:
            raise ValueError("too many streams in one log")
        stream = self._stream_count
        self._stream_count += 1
        self._add(DESCRIPTION, 0, stream, 0, monotonic(), json.dumps({**description, "stream": stream}).encode())
        return stream

    def append(self, stream: int, marker: int, sequence: int, timestamp: int, now: float, payload: bytes) -> None:
        """Note one packet. 1 us."""
        self._add(stream, marker, sequence, timestamp, now, payload)
        if len(self._buffer) >= self._flush_at:
            self.flush()

    def append_report(self, stream: int, report: SenderReport, now: float) -> None:
        """Note a sender report."""
        self._add(REPORT, 0, stream, report.timestamp, now, report.ntp.to_bytes(8, "little"))

    def _add(self, stream: int, marker: int, sequence: int, timestamp: int, now: float, payload: bytes) -> None:
        if self._is_closed:
            return
        arrival_us = int((now + self._clock_offset_s) * 1_000_000)
        self._buffer += RECORD.pack(stream | marker << 8, sequence, timestamp, arrival_us, len(payload))
        self._buffer += payload

    def flush(self) -> None:
        """Give what waits to the writer. Call once a second."""
        if not self._buffer or self._is_closed:
            return
        self._flush_at = BLOCK_BYTES
        if self._writer.give(self, self._file, self._buffer):
            self._buffer = bytearray()
        else:
            self.fail("writer_too_slow")

    async def seal(self) -> None:
        """End the log. Raises OSError when its last bytes did not reach the disk."""
        if self._is_closed:
            return
        self._add(END, 0, 0, 0, monotonic(), b"")
        self.flush()
        self._is_closed = True
        await self._writer.run(self._file.close)

    def confirm(self) -> None:
        """Called after a sync."""
        if not self.is_confirmed and self.failure is None:
            self.is_confirmed = True
            self._on_confirmed()

    def fail(self, reason: RecordingFailure) -> None:
        """Take no more; the first reason counts."""
        self._is_closed = True
        if self.failure is None:
            self.failure = reason
            self._buffer = bytearray()
            self._on_failed(reason)


class Record(NamedTuple):
    """One record of a log, as read."""

    stream: int
    is_marked: bool
    sequence: int
    timestamp: int
    arrival_us: int
    payload: bytes


class CaptureReader:
    """Reads a log block by block. Memory: one block."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.problems: list[str] = []
        """What is wrong with the file, in words; complete after reading."""
        self.head = bytes(32)
        """The hash of the last whole block."""
        self.is_complete = False
        """Whether the log was ended and not just cut off."""

    def records(self) -> Iterator[Record]:
        """Yield all records that can be read. May be called again."""
        self.problems, self.head, self.is_complete = [], bytes(32), False
        for payload in self._blocks():
            at = 0
            while at + RECORD.size <= len(payload):
                stream, sequence, timestamp, arrival_us, length = RECORD.unpack_from(payload, at)
                at += RECORD.size
                self.is_complete = stream == END
                yield Record(
                    stream & STREAM_MASK,
                    stream > STREAM_MASK,
                    sequence,
                    timestamp,
                    arrival_us,
                    payload[at : at + length],
                )
                at += length

    def _blocks(self) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            at = 0
            while header := file.read(BLOCK.size):
                length = 0
                if len(header) == BLOCK.size:
                    magic, length, stored = BLOCK.unpack(header)
                    if magic != MAGIC or length > BLOCK_BYTES_MAX:
                        self.problems.append(f"not a block at byte {at}: the rest is not readable")
                        return
                payload = file.read(length)
                if len(header) < BLOCK.size or len(payload) < length:
                    self.problems.append(f"cut off in the block at byte {at}")
                    return
                is_whole = chain(self.head, payload) == stored
                # The stored hash goes on either way, so that one changed block does not condemn all that follow.
                self.head = stored
                if is_whole:
                    yield payload
                else:
                    self.problems.append(f"hash chain broken at byte {at}: the block was changed and is left out")
                at += BLOCK.size + length
