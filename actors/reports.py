"""Reports: a division's counters by queue, agent and interval, folded from its archive behind the shard.

Rules
- The counters and the position in the archive up to which they count are one file, replaced whole: a restart goes on there, and
  counts nothing twice and leaves nothing out. A file that is missing, damaged, or ahead of the archive is made anew from the
  whole archive, a thousand events at a time; reports say meanwhile that they are behind.
- It is behind the archive by design: a counter that fails holds up neither the archive nor the journal.
- What a report does not cover it says: `as_of_ms`, `floor_ms`, `is_caught_up`.

Theory: `Measures` is a pure fold over events, each once and in order; a position (batch, place) says which were counted.

Not here: what each counter means (`dispatch/counts`), ratios and percentages made from them (`gateway/report_documents`).
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog
from msgspec import Struct

from actors.archive import Archive, ArchiveUnavailable
from actors.archive_reading import START, Position
from actors.history_items import Report, ReportKind, ReportRow
from dispatch.counts import AgentCounts, QueueCounts, add
from dispatch.measures import INTERVAL_MS, Measures

PAGE = 1_000
"""Events folded at once: some 5 ms, between which the follower's other work goes on."""
POLL_S = 0.5
PAUSE_MAX_S = 5.0
SAVE_S = 60.0
SAVE_EVENTS = 200_000
"""What a restart has to count again at most: about a second."""
CATCH_UP_S = 2.0
"""How long a report waits for the newest events; then it says that it is behind."""
ROWS_MAX = 10_000
"""In one report: more than a month of days for 300 agents; who wants more asks for less at a time."""
FILE = "counters.msgpack"

Counts = QueueCounts | AgentCounts

log = structlog.get_logger("actors.reports")


class _Saved(Struct, array_like=True):
    batch: int
    place: int
    measures: bytes


class TooManyRows(Exception):
    """The report would be longer than `ROWS_MAX`."""


class Reports:
    """Of one division. Use: `run` in a task; `report` at any time; `save` at the end."""

    def __init__(self, archive: Archive, folder: Path, division_id: str, now_ms: Callable[[], int]) -> None:
        """`folder` is the division's own in the archive."""
        self._archive = archive
        self._path = folder / FILE
        self._division_id = division_id
        self._now_ms = now_ms
        self._measures: Measures | None = None
        self._position: Position = START
        self._saved_position: Position = START
        self._unsaved_count = 0
        self._saved_at_s = 0.0
        self._failure = ""
        self._skipped_count = 0
        self._lock = asyncio.Lock()

    def __repr__(self) -> str:
        return f"Reports({self._division_id!r}, position={self._position}, failure={self._failure!r})"

    def status(self) -> dict[str, object]:
        """What operators are told: how far the counters are, and what is in the way."""
        failure = self._failure
        if not failure and self._skipped_count:
            failure = f"{self._skipped_count} events could not be counted; the log says which"
        return {"reports_batch": self._position[0], "reports_failure": failure}

    async def run(self) -> None:
        """Count until cancelled; wait out troubles of the disk."""
        pause_s = POLL_S
        while True:
            try:
                async with self._lock:
                    count = await self._step()
                    await self._maybe_save()
                self._failure, pause_s = "", 0.0 if count == PAGE else POLL_S
            except (ArchiveUnavailable, OSError) as error:
                self._fail(error)
                pause_s = min(max(pause_s, POLL_S) * 2, PAUSE_MAX_S)
            await asyncio.sleep(pause_s)

    def _fail(self, error: Exception) -> None:
        if not self._failure:
            log.warning("reports.wait", division_id=self._division_id, failure=str(error))
        self._failure = str(error) or type(error).__name__

    async def catch_up(self) -> bool:
        """Count what is archived now, for at most `CATCH_UP_S`; say whether that was all. Raises ArchiveUnavailable."""
        deadline_s = asyncio.get_running_loop().time() + CATCH_UP_S
        while asyncio.get_running_loop().time() < deadline_s:
            async with self._lock:
                if not await self._step():
                    return True
        return False

    async def save(self) -> None:
        """Keep the counters as they are now. Raises OSError."""
        async with self._lock:
            await self._save()

    # -- counting

    async def _step(self) -> int:
        """Count the next events; return how many there were."""
        if self._measures is None:
            await self._begin()
        assert self._measures is not None
        page = await self._archive.after(self._position, PAGE)
        for placed in page:
            try:
                self._measures.apply(placed.event)
            except Exception:
                # A counter less is better than no report at all; nothing is decided by it.
                self._skipped_count += 1
                log.exception("reports.event_skipped", division_id=self._division_id, batch=placed.batch)
            self._position = placed.position
        self._unsaved_count += len(page)
        return len(page)

    async def _begin(self) -> None:
        found = await asyncio.to_thread(self._load)
        cursor = await self._archive.cursor()
        if found is not None and found[0][0] > cursor:
            log.error("reports.ahead", division_id=self._division_id, batch=found[0][0], archive_batch=cursor)
            found = None
        if found is None:
            found = (START, Measures())
            log.info("reports.counting_anew", division_id=self._division_id, archive_batch=cursor)
        self._position, self._measures = found
        self._saved_position, self._saved_at_s = self._position, asyncio.get_running_loop().time()

    def _load(self) -> tuple[Position, Measures] | None:
        try:
            saved = msgspec.msgpack.decode(self._path.read_bytes(), type=_Saved)
            return (saved.batch, saved.place), Measures.restore(saved.measures)
        except FileNotFoundError:
            return None
        except (msgspec.DecodeError, ValueError) as error:
            log.error("reports.unreadable", division_id=self._division_id, reason=str(error))
            return None

    async def _maybe_save(self) -> None:
        age_s = asyncio.get_running_loop().time() - self._saved_at_s
        if self._unsaved_count >= SAVE_EVENTS or (self._unsaved_count and age_s >= SAVE_S):
            await self._save()

    async def _save(self) -> None:
        if self._measures is None or self._position == self._saved_position:
            return
        data = msgspec.msgpack.encode(_Saved(*self._position, self._measures.snapshot()))
        position = self._position
        await asyncio.to_thread(_replace, self._path, data)
        self._saved_position, self._unsaved_count = position, 0
        self._saved_at_s = asyncio.get_running_loop().time()

    # -- telling

    async def report(self, kind: ReportKind, from_ms: int, to_ms: int, interval_ms: int) -> Report:
        """Return the counters of [from, to), in steps of `interval_ms`; all three are multiples of `INTERVAL_MS`.

        Raises TooManyRows, ArchiveUnavailable.
        """
        is_caught_up = await self.catch_up()
        assert self._measures is not None
        # Behind, nothing is known of the time since the last event that was counted.
        now_ms = max(self._measures.now_ms, self._now_ms() if is_caught_up else 0)
        steps: dict[tuple[int, str], Counts] = {}
        totals: dict[tuple[int, str], Counts] = {}
        for start_ms in self._starts(from_ms, to_ms, now_ms):
            step_ms = start_ms - (start_ms - from_ms) % interval_ms
            for one, counts in self._counts(kind, start_ms, now_ms).items():
                _add_to(steps, (step_ms, one), counts)
                _add_to(totals, (0, one), counts)
            if len(steps) > ROWS_MAX:
                raise TooManyRows
            await asyncio.sleep(0)
        floor_ms = self._measures.floor_ms
        return Report(kind, from_ms, to_ms, interval_ms, now_ms, floor_ms, is_caught_up, _rows(steps), _rows(totals))

    def _starts(self, from_ms: int, to_ms: int, now_ms: int) -> list[int]:
        """The intervals of the report that are kept and have begun."""
        assert self._measures is not None
        return list(range(max(from_ms, self._measures.first_ms), min(to_ms, now_ms + 1), INTERVAL_MS))

    def _counts(self, kind: ReportKind, start_ms: int, now_ms: int) -> dict[str, Counts]:
        assert self._measures is not None
        if kind == "queues":
            return dict(self._measures.queues_in(start_ms))
        return dict(self._measures.agents_in(start_ms, now_ms))


def _add_to(sums: dict[tuple[int, str], Counts], key: tuple[int, str], counts: Counts) -> None:
    present = sums.get(key)
    if isinstance(counts, QueueCounts):
        present = present if isinstance(present, QueueCounts) else QueueCounts()
        add(present, counts)
    else:
        present = present if isinstance(present, AgentCounts) else AgentCounts()
        add(present, counts)
    sums[key] = present


def _rows(sums: dict[tuple[int, str], Counts]) -> list[ReportRow]:
    return [
        ReportRow(start_ms, one, counts, None)
        if isinstance(counts, QueueCounts)
        else ReportRow(start_ms, one, None, counts)
        for (start_ms, one), counts in sorted(sums.items(), key=lambda item: item[0])
    ]


def _replace(path: Path, data: bytes) -> None:
    """Put `data` in the file's place, whole or not at all, and on disk before it counts."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_suffix(".new")
    with draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
