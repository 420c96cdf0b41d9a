"""The follower: reads a division's journal behind the shard, archives it, writes snapshots, lets the journal forget.

Rules
- It only reads what the shard decided: it holds a replayed engine of its own, which keeps records alone (no line, pool or
  timer), and decides nothing (SAFETY.md 3).
- The journal forgets a batch only when a snapshot that was read back covers it AND the archive has it.
- An event that cannot be replayed stops the follower by name; it never skips one (SAFETY.md 4).

Theory: two positions run through the journal, the engine's (from the last snapshot on) and the archive's (its
durable cursor); a step reads after the lower one and gives each batch to whoever lacks it. So a crash between any
two instants repeats work and loses none. Two followers of one division, as in a failover, do the same things to the
same effect; the one that falls behind a trim begins again at the snapshot.

Not here: where it runs and who restarts it (`wiring`).
"""

import asyncio
import time
from typing import Any

import structlog

from actors.archive import Archive, ArchiveUnavailable
from actors.collector import uncollected
from actors.journal import PIECE_BYTES_MAX, Journal, JournalGap, StoreUnavailable
from dispatch.codec import decode_events
from dispatch.engine import Engine
from dispatch.events import Event

STEP_BATCHES_MAX = 64
"""Batches in one read: some hundred events each under load, so a step takes tens of milliseconds."""
POLL_S = 0.5
"""How often an idle journal is looked at; `catch_up` does not wait for it."""
PAUSE_MAX_S = 2.0
SNAPSHOT_BATCHES = 50_000
SNAPSHOT_EVENTS = 300_000
"""What a successor of the shard has to replay at most: 2 s at 2.2 us an event and 20 us a batch (measured, 2 cores). At 1,000
calls/s that is a snapshot every 20 s, which costs this process 1 s beside 50,000 live calls."""
SNAPSHOT_S = 300.0
"""A quiet division gets one after five minutes, if anything happened."""

log = structlog.get_logger("actors.follower")


class FollowerStopped(Exception):
    """The journal cannot be followed: an operator has to look, and the text says at what. Nothing is trimmed meanwhile."""


class Follower:
    """Follows one division. Use: `run` in a task; `history` and `catch_up` at any time."""

    def __init__(
        self,
        journal: Journal,
        archive: Archive,
        division_id: str,
        *,
        snapshot_batches: int = SNAPSHOT_BATCHES,
        snapshot_s: float = SNAPSHOT_S,
    ) -> None:
        self._journal = journal
        self._archive = archive
        self._division_id = division_id
        self._snapshot_batches = snapshot_batches
        self._snapshot_s = snapshot_s
        self._lock = asyncio.Lock()
        self._engine: Engine | None = None
        self._engine_batch = 0
        self._archive_batch = 0
        self._snapshot_batch = 0
        self._events_count = 0
        """Replayed since the last snapshot."""
        self._snapshot_at_s = 0.0
        self._snapshot_at_ms = 0
        """Of the journal's snapshot, by the wall clock; one that an earlier follower wrote is as old as its last event."""
        self._failure = ""

    def __repr__(self) -> str:
        return f"Follower({self._division_id!r}, {self.measures()}, failure={self._failure!r})"

    def measures(self) -> dict[str, int]:
        """Return the positions in the journal, as batch numbers."""
        return {
            "engine_batch": self._engine_batch,
            "archive_batch": self._archive_batch,
            "snapshot_batch": self._snapshot_batch,
        }

    def report(self) -> dict[str, Any]:
        """What operators are told: the positions, the snapshot's instant (0: there is none), and what is in the way."""
        return {**self.measures(), "snapshot_at_ms": self._snapshot_at_ms, "failure": self._failure}

    async def run(self) -> None:
        """Follow until cancelled; wait out troubles of store and disk. Raises FollowerStopped."""
        pause_s = POLL_S
        while True:
            try:
                async with self._lock:
                    count = await self._step()
                    await self._maybe_write_snapshot()
                self._failure = ""
                pause_s = 0.0 if count == STEP_BATCHES_MAX else POLL_S
            except (StoreUnavailable, ArchiveUnavailable) as error:
                if not self._failure:
                    log.warning("follower.waits", division_id=self._division_id, failure=str(error))
                self._failure = str(error)
                pause_s = min(max(pause_s, POLL_S) * 2, PAUSE_MAX_S)
            await asyncio.sleep(pause_s)

    async def catch_up(self) -> None:
        """Return when all that is in the journal now has been archived.

        Raises StoreUnavailable, ArchiveUnavailable (try again) or FollowerStopped.
        """
        last_batch = await self._journal.last_batch(self._division_id)
        while self._engine is None or min(self._archive_batch, self._engine_batch) < last_batch:
            async with self._lock:
                if await self._step() == 0:
                    return

    async def history(self, call_id: str) -> list[Event]:
        """Return all events of a call up to now, in order; empty when it is unknown. Raises like `catch_up`."""
        await self.catch_up()
        return await self._archive.history(call_id)

    async def write_snapshot(self) -> None:
        """Write a snapshot of all that was followed so far, and let the journal forget. For a stop in good order."""
        async with self._lock:
            await self._write_snapshot()

    async def _step(self) -> int:
        """Take the next batches in; return how many there were."""
        if self._engine is None:
            await self._begin()
        after = min(self._engine_batch, self._archive_batch)
        try:
            batches = await self._journal.read(self._division_id, after, STEP_BATCHES_MAX)
        except JournalGap as gap:
            await self._begin_after(gap)
            return STEP_BATCHES_MAX  # As if there were more: the next step begins at the new place.
        decoded = [(batch, self._decode(batch, payload)) for batch, payload in batches]
        await self._archive.add([one for one in decoded if one[0] > self._archive_batch])
        for batch, events in decoded:
            self._archive_batch = max(self._archive_batch, batch)
            if batch > self._engine_batch:
                self._replay(batch, events)
                await asyncio.sleep(0)
        return len(batches)

    async def _begin(self) -> None:
        snapshot = await self._journal.read_snapshot(self._division_id)
        cursor = await self._archive.cursor()
        last_batch = await self._journal.last_batch(self._division_id)
        if cursor > last_batch:
            raise FollowerStopped(
                f"the archive of {self._division_id} knows batch {cursor}, the journal ends at {last_batch}: they belong to "
                "different halls, or the store lost data. Move the archive's folder away, or restore the store."
            )
        batch, engine = 0, Engine(self._division_id)
        if snapshot is not None:
            batch, pieces = snapshot
            engine = Engine.restore(self._division_id, b"".join(pieces))
        self._engine, self._engine_batch, self._archive_batch = engine, batch, cursor
        self._snapshot_batch, self._snapshot_at_s = batch, asyncio.get_running_loop().time()
        self._snapshot_at_ms = engine.now_ms if batch else 0

    async def _begin_after(self, gap: JournalGap) -> None:
        """Somebody trimmed what we had not read: another follower, which then has done our work, or a lost archive."""
        await self._begin()
        if self._engine_batch + 1 < gap.first_batch:
            raise FollowerStopped(f"{gap}, and no snapshot covers what is missing")
        if self._archive_batch + 1 < gap.first_batch:
            log.error(
                "archive.gap",
                division_id=self._division_id,
                first_batch=self._archive_batch + 1,
                last_batch=gap.first_batch - 1,
            )
            self._archive_batch = gap.first_batch - 1

    def _decode(self, batch: int, payload: bytes) -> list[Event]:
        try:
            return decode_events(payload)
        except Exception as error:
            raise self._stopped(batch, error) from error

    def _replay(self, batch: int, events: list[Event]) -> None:
        assert self._engine is not None, "`_begin` made it"
        try:
            self._engine.replay(events)
        except Exception as error:
            # Half of the batch may be applied: this engine is not to be used again.
            self._engine = None
            raise self._stopped(batch, error) from error
        self._engine_batch = batch
        self._events_count += len(events)

    def _stopped(self, batch: int, error: Exception) -> FollowerStopped:
        self._failure = f"batch {batch} of {self._division_id} cannot be replayed: {type(error).__name__}: {error}"
        log.error("follower.stopped", division_id=self._division_id, batch=batch, error=type(error).__name__)
        return FollowerStopped(self._failure)

    async def _maybe_write_snapshot(self) -> None:
        age_s = asyncio.get_running_loop().time() - self._snapshot_at_s
        batches_count = self._engine_batch - self._snapshot_batch
        is_long = batches_count >= self._snapshot_batches or self._events_count >= SNAPSHOT_EVENTS
        if is_long or age_s >= self._snapshot_s:
            await self._write_snapshot()

    async def _write_snapshot(self) -> None:
        self._snapshot_at_s = asyncio.get_running_loop().time()
        if self._engine is None or self._engine_batch <= self._snapshot_batch:
            return
        data = self._engine.snapshot()
        # The journal forgets on the word of these bytes, so they are read back first. The engine made from them goes on: so
        # every later snapshot stands on what can be read.
        try:
            with uncollected():
                self._engine = await asyncio.to_thread(Engine.restore, self._division_id, data)
        except Exception as error:
            raise self._stopped(self._engine_batch, error) from error
        pieces = [data[start : start + PIECE_BYTES_MAX] for start in range(0, len(data), PIECE_BYTES_MAX)]
        await self._journal.write_snapshot(self._division_id, self._engine_batch, pieces)
        self._snapshot_batch, self._events_count = self._engine_batch, 0
        self._snapshot_at_ms = time.time_ns() // 1_000_000
        await self._journal.trim(self._division_id, min(self._snapshot_batch, self._archive_batch))
