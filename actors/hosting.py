"""One division in a shard: its engine, its epoch, and the way back from the journal.

The engine's memory runs ahead of the journal only inside one turn of the shard's loop. Whenever that lead cannot be
made durable, or a step raised, the memory is thrown away and made anew from the journal (SAFETY.md 1, 4).

A division may be warmed up while another shard still owns it: `warm_up` reads, `open` fences the former owner and reads only
what came since.
"""

import asyncio
import time

import structlog

from actors.journal import Append, Journal, JournalGap, StoreUnavailable, check_appends
from dispatch import IS_COMPILED
from dispatch.codec import decode_events, encode_events
from dispatch.commands import Command
from dispatch.effects import Effect, Notify, Reply
from dispatch.engine import Engine
from dispatch.events import Event

READ_BATCHES = 500
"""Journal entries a round trip while replaying: about 1 MB."""
YIELD_BATCHES = 10
"""How many of them in one stretch, while others are served: some 10 ms of a busy division's."""
READS_MAX = 5
"""The snapshot may be replaced and the journal trimmed below a reader; that happens once in many minutes."""

log = structlog.get_logger()


class HostedDivision:
    """A division that this shard owns."""

    def __init__(self, division_id: str, journal: Journal) -> None:
        self.division_id = division_id
        self._journal = journal
        self.engine = Engine(division_id)
        self.epoch = 0
        self.proved_s = 0.0
        """When the newest proof of owning it was asked for (`lease`), by the monotonic clock."""
        self._is_warm = False
        """The engine is what the journal said up to `batch`, and nothing was decided since."""
        self.batch = 0
        """The last batch that is durable."""
        self.events: list[Event] = []
        """Decided in this turn, not durable yet."""
        self.effects: list[Effect] = []
        self.stopped_reason = ""
        """Not empty: an operator must look (SAFETY.md 4); every item is refused by this name."""

    def __repr__(self) -> str:
        return f"<HostedDivision {self.division_id} epoch={self.epoch} batch={self.batch} {self.engine!r}>"

    async def warm_up(self) -> None:
        """Read snapshot and journal while another owns the division. Raises StoreUnavailable, and whatever replaying raises."""
        await self._read_anew()
        self._is_warm = True

    async def follow(self) -> None:
        """Read what came since the warm-up. Raises like `warm_up`."""
        try:
            await self._follow()
        except JournalGap:
            await self._read_anew()

    async def open(self) -> None:
        """Take the next epoch, which fences every predecessor, and come back from the journal. Raises StoreUnavailable.

        Harmless when repeated, at the cost of an epoch.
        """
        asked_s = time.monotonic()
        opened = await self._journal.open(self.division_id)
        self.epoch, self.proved_s = opened.epoch, asked_s
        await self.come_back()

    async def come_back(self) -> None:
        """Recover, or stop: what cannot be replayed is never skipped (SAFETY.md 4). Raises StoreUnavailable."""
        try:
            await self.recover()
        except StoreUnavailable:
            raise
        except Exception:
            log.exception("division.cannot_replay", division=self.division_id, epoch=self.epoch)
            self.stop("division_stopped")

    def stop(self, reason: str) -> None:
        """Decide nothing more; what was decided and is not durable yet did not happen."""
        log.error("division.stopped", division=self.division_id, epoch=self.epoch, reason=reason)
        self.stopped_reason = reason
        self.events, self.effects = [], []

    def deadline_ms(self) -> int | None:
        """When something comes due; None when nothing waits for time, or it is stopped."""
        return None if self.stopped_reason else self.engine.next_deadline_ms()

    async def recover(self) -> None:
        """Throw memory away, unless it is warm, and replay. Raises StoreUnavailable; `JournalGap` after `READS_MAX` tries."""
        is_warm, self._is_warm = self._is_warm, False
        try:
            await (self._follow() if is_warm else self._read_anew())
        except StoreUnavailable:
            self._is_warm = is_warm
            raise
        except JournalGap:
            await self._read_anew()
        self.engine.wake()
        self.events, self.effects = [], []
        log.info(
            "division.replayed",
            division=self.division_id,
            epoch=self.epoch,
            batch=self.batch,
            was_warm=is_warm,
            is_compiled=IS_COMPILED,
            engine=repr(self.engine),
        )

    async def _read_anew(self) -> None:
        """Raises JournalGap after `READS_MAX` tries."""
        for attempt in range(1, READS_MAX + 1):
            try:
                snapshot = await self._journal.read_snapshot(self.division_id)
                self.batch, self.engine = 0, Engine(self.division_id)
                if snapshot is not None:
                    data = b"".join(snapshot[1])
                    # In a thread: a large division takes half a second, and others are served here meanwhile.
                    self.engine = await asyncio.to_thread(Engine.restore, self.division_id, data)
                    self.batch = snapshot[0]
                await self._follow()
                return
            except JournalGap:
                if attempt == READS_MAX:
                    raise
                log.warning("division.replay_again", division=self.division_id, attempt=attempt)

    async def _follow(self) -> None:
        """Replay what comes after `batch`. Raises JournalGap."""
        is_more = True
        while is_more:
            entries = await self._journal.read(self.division_id, self.batch, READ_BATCHES)
            for index, (number, payload) in enumerate(entries, start=1):
                self.engine.replay(decode_events(payload))
                self.batch = number
                if index % YIELD_BATCHES == 0:
                    await asyncio.sleep(0)
            is_more = len(entries) == READ_BATCHES

    def step(self, command: Command, at_ms: int) -> Reply:
        """Carry out the command; what was due before it is the caller's to expire first."""
        events, effects = self.engine.step(command, at_ms)
        reply = effects.pop()
        assert isinstance(reply, Reply)
        self._keep(events, effects)
        return reply

    def expire_before(self, at_ms: int) -> None:
        """Do what has come due by `at_ms`."""
        deadline_ms = self.engine.next_deadline_ms()
        if deadline_ms is not None and deadline_ms <= at_ms:
            self._keep(*self.engine.expire(at_ms))

    def _keep(self, events: list[Event], effects: list[Effect]) -> None:
        self.events.extend(events)
        self.effects.extend(effects)

    def append(self) -> Append | None:
        """This turn's events as ONE journal entry, or None when nothing was decided.

        What no journal takes stops the division: whoever shares its shard, and its store's round trip, is not to end with it.
        """
        if not self.events:
            return None
        try:
            append = Append(self.division_id, self.epoch, self.batch + 1, encode_events(self.events))
            check_appends([append])
        except Exception:
            log.exception(
                "division.cannot_append", division=self.division_id, epoch=self.epoch, events=len(self.events)
            )
            self.stop("division_stopped")
            return None
        return append

    def release(self) -> tuple[list[Notify], list[Effect]]:
        """The entry is durable: hand out what may be seen and done now."""
        if self.events:
            self.batch += 1
        effects, self.effects, self.events = self.effects, [], []
        notices = [effect for effect in effects if isinstance(effect, Notify)]
        return notices, [effect for effect in effects if not isinstance(effect, Notify)]
