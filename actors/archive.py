"""The archive: the history of a division, one SQLite file a day, on disk for as long as the bank keeps it (SAFETY.md 2).

Rules
- A row is an event, named by (batch, place in the batch). Writing a batch again changes nothing.
- The cursor says up to which batch all is archived. It is committed with the rows of that batch, or after rows of
  earlier days: it is never ahead of what is on disk.
- An event lies in the file of its own day (UTC), so that a day is dropped by removing a file.

Theory: SQLite in WAL mode with `synchronous = FULL` makes one fsync a transaction. All work runs in one thread of
its own, so that no fsync holds the event loop and no connection is shared between threads. A batch over midnight is
two transactions, the later day with the cursor; a crash between them repeats the first, which is idempotent. Each
file carries the cursor that was last written with it, the highest counts.

Not here: who feeds it and when the journal may forget (`follower`).
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TypeVar

import structlog

from actors.archive_reading import (
    ENDED_INDEX,
    EndedFilter,
    EndedPage,
    Placed,
    Position,
    last_batch,
    read_after,
    read_ended,
)
from dispatch.codec import decode_events, encode_events
from dispatch.events import CallQueued, Event

DAY_MS = 86_400_000
FILES_OPEN_MAX = 4
"""Today, yesterday and two for whoever looks back."""
HISTORY_EVENTS_MAX = 10_000
"""A call has some 15 events; one that is requeued for hours has hundreds."""
FORMAT = 1
"""PRAGMA user_version of the files."""

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS events (
  batch INTEGER NOT NULL, place INTEGER NOT NULL, at_ms INTEGER NOT NULL,
  call_id TEXT NOT NULL, agent_id TEXT NOT NULL, type TEXT NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY (batch, place)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS events_by_call ON events (call_id) WHERE call_id <> '';
{ENDED_INDEX};
CREATE TABLE IF NOT EXISTS cursor (only INTEGER PRIMARY KEY CHECK (only = 1), batch INTEGER NOT NULL);
PRAGMA user_version = {FORMAT};
"""
_ADD = "INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?, ?, ?)"
_MOVE_CURSOR = "INSERT INTO cursor VALUES (1, ?) ON CONFLICT (only) DO UPDATE SET batch = max(batch, excluded.batch)"
_HISTORY = (
    "SELECT batch, place, type, body FROM events WHERE call_id = ? AND call_id <> '' ORDER BY batch, place LIMIT ?"
)

_Row = tuple[int, int, int, str, str, str, bytes]
_Result = TypeVar("_Result")

log = structlog.get_logger("actors.archive")


class ArchiveUnavailable(Exception):
    """The disk is full or broken, or a file is not ours. Nothing is lost: the journal keeps what is not archived."""


class Archive:
    """The archive of one division. One writer at a time; a second one does no harm, since rows are idempotent."""

    def __init__(self, folder: Path, division_id: str) -> None:
        """`folder` holds one folder a division."""
        self._folder = folder / division_id
        self._division_id = division_id
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"archive-{division_id}")
        self._files: dict[str, sqlite3.Connection] = {}
        self._last_batches: dict[str, int] = {}
        """Of days that were over when they were read."""

    def __repr__(self) -> str:
        return f"Archive({self._division_id!r}, days={len(self._days())}, open={len(self._files)})"

    async def cursor(self) -> int:
        """Return the batch up to which all is archived; 0 when there is nothing."""
        return await self._run(self._read_cursor)

    async def add(self, batches: list[tuple[int, list[Event]]]) -> None:
        """Archive these batches, given in order, durably, and move the cursor to the last one."""
        if batches:
            await self._run(lambda: self._write(batches))

    async def history(self, call_id: str) -> list[Event]:
        """Return the call's archived events in order; empty when it is unknown.

        Cost: one index look-up a day, from today back to the day on which the call was queued.
        """
        return await self._run(lambda: self._read_history(call_id)) if call_id else []

    async def after(self, position: Position, count_max: int) -> list[Placed]:
        """Return the next archived events after a position, in order; empty when there are none yet.

        Only what the cursor covers: a batch of which one day is written and the next is not is no end of anything.
        """
        return await self._run(lambda: self._read_after(position, count_max))

    async def ended_on(self, day: date, after: Position, count_max: int, wanted: EndedFilter) -> EndedPage:
        """Return a page of the calls that ended on a day (UTC), in the order in which they did; O(calls passed over)."""
        return await self._run(lambda: self._read_ended(day.isoformat(), after, count_max, wanted))

    async def days(self) -> list[str]:
        """Return the days that are kept, as ISO dates in order."""
        return await self._run(self._days)

    async def drop_before(self, day: date) -> list[str]:
        """Remove the files of the days before `day`; return these days. The newest file stays: it may hold the cursor."""
        return await self._run(lambda: self._drop(day.isoformat()))

    async def close(self) -> None:
        """Close all files. The archive must not be used afterwards."""
        await self._run(self._close_files)
        self._thread.shutdown(wait=False)

    async def _run(self, work: Callable[[], _Result]) -> _Result:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except (sqlite3.Error, OSError) as error:
            raise ArchiveUnavailable(f"archive of {self._division_id}: {error}") from error

    # Everything below runs in the archive's thread.

    def _write(self, batches: list[tuple[int, list[Event]]]) -> None:
        rows_by_day: dict[str, list[_Row]] = {}
        for day, row in _rows(batches):
            rows_by_day.setdefault(day, []).append(row)
        days = sorted(rows_by_day) or self._days()[-1:]
        for day in days:
            file = self._open(day)
            self._last_batches.pop(day, None)
            with file:
                file.executemany(_ADD, rows_by_day.get(day, []))
                if day == days[-1]:
                    file.execute(_MOVE_CURSOR, (batches[-1][0],))

    def _read_cursor(self) -> int:
        found = [self._open(day).execute("SELECT batch FROM cursor").fetchone() for day in self._days()]
        return max((int(row[0]) for row in found if row), default=0)

    def _read_history(self, call_id: str) -> list[Event]:
        rows: list[tuple[int, int, str, bytes]] = []
        for day in reversed(self._days()):
            found = self._open(day).execute(_HISTORY, (call_id, HISTORY_EVENTS_MAX)).fetchall()
            rows = found + rows
            if any(row[2] == CallQueued.__name__ for row in found):
                break
        if len(rows) > HISTORY_EVENTS_MAX:
            log.error("archive.history_cut", call_id=call_id, events_max=HISTORY_EVENTS_MAX)
        return [event for row in sorted(rows)[:HISTORY_EVENTS_MAX] for event in decode_events(row[3])]

    def _read_after(self, position: Position, count_max: int) -> list[Placed]:
        days = self._days()
        for day in days[:-1]:
            if day not in self._last_batches:
                self._last_batches[day] = last_batch(self._open(day))
        left = [day for day in days if self._last_batches.get(day, position[0]) >= position[0]]
        return read_after(self._open, left, position, self._read_newest_cursor(days), count_max)

    def _read_newest_cursor(self, days: list[str]) -> int:
        """The cursor of the newest file that has one; it is the highest."""
        for day in reversed(days):
            row = self._open(day).execute("SELECT batch FROM cursor").fetchone()
            if row:
                return int(row[0])
        return 0

    def _read_ended(self, day: str, after: Position, count_max: int, wanted: EndedFilter) -> EndedPage:
        if day not in self._days():
            return EndedPage([], None)
        return read_ended(self._open(day), after, count_max, wanted)

    def _drop(self, before: str) -> list[str]:
        days = [day for day in self._days()[:-1] if day < before]
        for day in days:
            file = self._files.pop(day, None)
            self._last_batches.pop(day, None)
            if file is not None:
                file.close()
            for suffix in (".sqlite", ".sqlite-wal", ".sqlite-shm"):
                (self._folder / f"{day}{suffix}").unlink(missing_ok=True)
        return days

    def _days(self) -> list[str]:
        """Return the days that have a file, in order: ISO dates sort as text."""
        return sorted(path.stem for path in self._folder.glob("????-??-??.sqlite"))

    def _open(self, day: str) -> sqlite3.Connection:
        file = self._files.pop(day, None)
        if file is None:
            while len(self._files) >= FILES_OPEN_MAX:
                self._files.pop(next(iter(self._files))).close()
            file = _open_file(self._folder / f"{day}.sqlite")
        self._files[day] = file  # At the end again: the one that was used longest ago is closed first.
        return file

    def _close_files(self) -> None:
        while self._files:
            self._files.popitem()[1].close()


def _open_file(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = sqlite3.connect(path, timeout=5.0, check_same_thread=False)
    try:
        [version] = file.execute("PRAGMA user_version").fetchone()
        if version > FORMAT:
            raise sqlite3.DatabaseError(f"{path} has format {version}, this program reads up to {FORMAT}")
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("PRAGMA synchronous = FULL")
        file.executescript(_SCHEMA)
    except BaseException:
        file.close()
        raise
    return file


def _rows(batches: Iterable[tuple[int, list[Event]]]) -> Iterator[tuple[str, _Row]]:
    """Yield (day, row) for each event, in order."""
    day_number, day = -1, ""
    for batch, events in batches:
        for place, event in enumerate(events):
            at_ms = event.at_ms
            if at_ms // DAY_MS != day_number:
                day_number, day = at_ms // DAY_MS, datetime.fromtimestamp(at_ms / 1000, UTC).date().isoformat()
            call_id, agent_id = getattr(event, "call_id", ""), getattr(event, "agent_id", "")
            yield day, (batch, place, at_ms, call_id, agent_id, type(event).__name__, encode_events([event]))
