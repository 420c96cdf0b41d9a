"""The shard: where the virtual actors live, one turn at a time.

A turn: take all that waits, step each item in its division's engine at the instant it arrived (timers that were due earlier
first), append each division's events as ONE journal entry, all in one round trip, wait until that is durable, then
release notices, answers, reads and effects. Nothing becomes visible, by any way, before it is durable.

Rules
- No await between reading and writing an engine: a turn's steps are one synchronous stretch.
- A stepped command is never refused for store trouble; the turn waits and repeats the SAME append (SAFETY.md 1). What has
  not been stepped yet is refused by name after `UNSTEPPED_S`.
- Fenced means over: the shard decides nothing more in that division and forgets it; with its last one it ends. Who waits
  for it turns to the new owner.
- What is answered from memory alone is answered under a lease (`lease`).
- Divisions come and go between any two steps of the loop: a turn is about those that were there when it began, and shows
  nothing of one that has gone meanwhile, unless that was durable.
- Leases end only by time in which the store answered (SAFETY.md 9).

Not here: how divisions come (`takeover`), what waits (`intake`), poison (`stepping`), engine and recovery (`hosting`),
answers (`answering`), who is told (`audience`), what effects do (`performer`), who is lost (`hearing`), Ray (`wiring`).
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog
from msgspec import Struct

from actors.answering import Answering
from actors.appending import Appending
from actors.audience import Audience, division_of
from actors.clock import SteadyClock
from actors.disk import DiskFloor
from actors.hearing import Hearing
from actors.hosting import HostedDivision
from actors.inbox import Inbox
from actors.intake import Intake, Work
from actors.items import TakeDivision, decode_items, encode
from actors.journal import Append, Fenced, Journal, StoreUnavailable
from actors.journal_room import JournalRoom
from actors.lease import Leases, Proofs
from actors.mailbox import NotOwner
from actors.measures import ShardMeasures
from actors.performer import Performer
from actors.reporting import shard_status
from actors.stepping import Stepping, is_clock_behind
from actors.takeover import Owners, Replaced, Takeover
from actors.transitions import LateLines
from dispatch.commands import Command
from dispatch.effects import Reply

TURN_MAX = 5_000
"""Items in one turn: 50 ms of steps, so that an answer never waits longer for its neighbours."""
STALL_MS = 1_000
"""What took longer was an outage: nobody was heard, so leases and graces move (SAFETY.md 8)."""
AWAKE_MS = 250
"""While anything waits for time a turn comes at least so often: from when on this process was frozen is known so exactly."""
ALIVE_EVERY_S = 1.0
UNPROVED_S = 5.0
"""How long a poll may wait for proof; then its gateway looks again for the owner."""
STOP_S = 5.0
"""How long the turn under way may take to become durable when the shard is to stop in good order."""

log = structlog.get_logger()


class ShardEnded(Exception):
    """This shard decides nothing any more; another one owns its divisions."""


class ShardSettings(Struct, frozen=True):
    name: str
    """With the epoch, so that a frozen predecessor keeps its own (SAFETY.md 13)."""
    division_ids: list[str]
    """All of the hall, where there is a slot; those of this shard otherwise."""
    slot_id: str = ""
    """Of the divisions those are hosted that the directory's placement gives to this slot. Empty: all of them."""


class ShardDirectory(Owners, Proofs, Protocol):
    """What the shard needs of `directory.Directory`."""


class Shard:
    """Hosts some divisions. `start`, then `receive` and `poll`; `ended` is set when it must not go on."""

    def __init__(
        self,
        settings: ShardSettings,
        journal: Journal,
        directory: ShardDirectory,
        performer: Performer,
        disk: DiskFloor | None = None,
    ) -> None:
        """`disk`: below its floor no new call is taken; None: no disk is looked at."""
        self.settings = settings
        self._performer = performer
        self._clock = SteadyClock()
        self.divisions: dict[str, HostedDivision] = {}
        """Those that it owns, as far as it knows."""
        self.audience = Audience()
        self.ended = asyncio.Event()
        self._inbox = Inbox()
        self._intake = Intake(self._clock)
        self.disk = disk or DiskFloor()
        self.measures = ShardMeasures()
        self._appending = Appending(journal, self._intake, self.measures)
        self.journal_room = JournalRoom(journal, self.divisions)
        self._stepping = Stepping(
            self._clock, self._intake, performer, self._appending.again, self.disk, self.journal_room
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._outages_ms: dict[str, int] = {}
        """Division -> the outage that its next turn has to make up for."""
        self._leases = Leases(self.divisions, directory, self._clock, self._lose)
        self._takeover = Takeover(
            settings.name,
            settings.slot_id,
            settings.division_ids,
            self.divisions,
            journal,
            directory,
            performer.network,
            self._clock,
            self._host,
        )
        self._is_store_silent = False
        self._lines = LateLines()
        self._answering = Answering(self.audience, self._clock, self.measures, lambda one: shard_status(self, one))
        self.turns_count = 0
        self.items_count = 0
        self._hearing = Hearing(self.audience, performer, self._clock, self.submit)
        performer.attach(self.submit)

    def __repr__(self) -> str:
        return f"<Shard {self.settings.name} waiting={len(self._intake)} {list(self.divisions.values())}>"

    @property
    def waiting_count(self) -> int:
        """Items that wait for a turn."""
        return len(self._intake)

    def media_rooms(self) -> dict[str, int]:
        """Rooms of each media worker that this shard knows."""
        return self._performer.workers.loads()

    # -- life

    async def stand_by(self) -> None:
        """Read along with the divisions that it will own, until cancelled; then `start`."""
        await self._guard(self._takeover.follow)

    async def start(self) -> None:
        """Begin to take turns, own the divisions, come back from the journal. What it raises has ended the shard."""
        await self.disk.look()
        # What has been read is served at once, while the rest still is being read.
        self._tasks = [
            asyncio.create_task(self._guard(self._take_turns), name="turns"),
            asyncio.create_task(self._guard(self.disk.watch), name="disk"),
            asyncio.create_task(self._guard(self.journal_room.watch), name="journal-room"),
        ]
        try:
            await self._takeover.start()
        except BaseException:
            await self.abort()
            raise
        self._tasks.append(asyncio.create_task(self._guard(self._keep_alive), name="alive"))
        with contextlib.suppress(StoreUnavailable):  # It is looked at again in a second.
            await self._takeover.look()

    def _host(self, division: HostedDivision, outage_ms: int) -> None:
        """Serve a division from now on: what it still owes is done, and who belongs to it is expected."""
        division_id, now_ms = division.division_id, self._clock.now_ms()
        self.divisions[division_id] = division
        self._outages_ms[division_id] = outage_ms
        self._intake.wake()
        if division.stopped_reason:
            return
        self._performer.perform(division_id, division.engine.pending_effects())
        self._performer.expect(division.engine.state.calls.values(), now_ms)
        gateways = {one.gateway_id for one in division.engine.state.recipients.values() if one.gateway_id}
        self.audience.expect(sorted(gateways), now_ms)

    def _drop(self, division: HostedDivision) -> None:
        """Forget a division that lives elsewhere from now on; who waits for it here is sent there."""
        if self.divisions.get(division.division_id) is not division:
            return
        del self.divisions[division.division_id]
        self._outages_ms.pop(division.division_id, None)
        self.audience.drop(division.division_id)
        self._performer.drop(division.division_id)
        self._intake.disown(division.division_id)

    def _lose(self, division: HostedDivision) -> None:
        """Another owns it, and nobody had asked: this process slept, or was not heard."""
        if self.divisions.get(division.division_id) is not division:
            return  # It was let go in good order while the question was on its way.
        log.warning("division.lost", shard=self.settings.name, division=division.division_id, epoch=division.epoch)
        self._drop(division)
        if not self.divisions or not self.settings.slot_id:
            self._end()

    def _end(self) -> None:
        if not self.ended.is_set():
            self.ended.set()
            self._intake.end(ShardEnded(self.settings.name))
            self._intake.wake()
            self._lines.write()

    async def stop(self) -> None:
        """Finish what waits, in bounded time, and end; who is not answered by then asks the successor."""
        self.ended.set()
        self._intake.wake()
        if self._tasks:
            await asyncio.wait(self._tasks[:1], timeout=STOP_S)
        await self.abort()

    async def abort(self) -> None:
        """End at once, as a kill does: what is not durable yet is lost."""
        self.ended.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._lines.write()
        await self._takeover.close()
        await self._leases.close()
        self._intake.end(ShardEnded(self.settings.name))
        await self._performer.close()

    async def _guard(self, run: Callable[[], Awaitable[None]]) -> None:
        """A loop that fails ends the shard: its successor starts from the journal."""
        try:
            await run()
        except (Fenced, Replaced) as error:
            log.warning("shard.fenced", shard=self.settings.name, reason=str(error))
        except Exception:
            log.exception("shard.failed", shard=self.settings.name)
        self._end()

    # -- in and out

    async def receive(self, sender: str, number: int, payload: bytes) -> bytes:
        """Take a batch of items; return their answers once all are durable. Raises ShardEnded."""
        if self.ended.is_set():
            raise ShardEnded(self.settings.name)
        return await self._inbox.take(sender, number, lambda: self._intake.begin(decode_items(payload)))

    def submit(self, division_id: str, command: Command) -> None:
        """Put a command of the shell's own in; nobody waits for it. Where the division has gone, its new owner makes it."""
        if division_id in self.divisions:
            self._intake.submit(division_id, command)

    async def poll(self, gateway_id: str, cursor: int, wait_s: float) -> bytes:
        """Return the gateway's next notices; asking is also its proof of life. Raises ShardEnded, NotOwner."""
        division = self._polled(gateway_id)
        polled = await self.audience.poll(gateway_id, cursor, wait_s, self._clock.now_ms())
        try:
            async with asyncio.timeout(UNPROVED_S):
                await self._leases.hold([division])
        except (StoreUnavailable, TimeoutError) as error:
            raise NotOwner("the store does not say who owns it") from error
        if self._polled(gateway_id) is not division:
            raise NotOwner(self.settings.name)
        polled.epoch = division.epoch
        return encode(polled)

    def _polled(self, gateway_id: str) -> HostedDivision:
        """Raises ShardEnded, NotOwner."""
        if self.ended.is_set():
            raise ShardEnded(self.settings.name)
        division = self.divisions.get(division_of(gateway_id))
        if division is None:
            raise NotOwner(self.settings.name)
        return division

    # -- turns

    async def _take_turns(self) -> None:
        while not self.ended.is_set() or len(self._intake):
            await self._wait_for_work()
            await self._turn(self._intake.take(TURN_MAX))

    async def _wait_for_work(self) -> None:
        if self.ended.is_set() or any(self._outages_ms.values()):
            await asyncio.sleep(0)
            return
        deadlines = [at for one in self.divisions.values() if (at := one.deadline_ms()) is not None]
        if not deadlines:
            await self._intake.wait(None)
            return
        now_ms = self._clock.now_ms()
        due_ms = min(max(min(deadlines), now_ms), now_ms + AWAKE_MS)
        await self._intake.wait((due_ms - now_ms) / 1_000)
        if self._clock.now_ms() - due_ms > STALL_MS:
            # This process was frozen: nobody was heard, as in an outage of the store.
            self._make_up_for(self._clock.now_ms() - due_ms)

    async def _turn(self, works: list[Work]) -> None:
        began_s = time.monotonic()
        self.turns_count += 1
        self.items_count += len(works)
        hosted = dict(self.divisions)
        works_by_division: dict[str, list[Work]] = {}
        for work in works:
            works_by_division.setdefault(work.item.division_id, []).append(work)
        replies: dict[Work, Reply] = {}
        for division_id, division in hosted.items():
            own, outage_ms = works_by_division.get(division_id, []), self._outages_ms.pop(division_id, 0)
            replies |= await self._stepping.step_all(division, own, outage_ms)
        appends = [append for one in hosted.values() if (append := one.append()) is not None]
        durable = await self._make_durable(appends) if appends else set()
        # What was not appended was decided from memory alone.
        unproved = [hosted[one] for one in works_by_division if one in hosted and one not in durable]
        if unproved:
            await self._appending.again(lambda: self._leases.hold(unproved))
        took_ms = int((time.monotonic() - began_s) * 1_000)
        if took_ms > STALL_MS:
            # Whatever it waited for, an append, a proof or a replay: nothing was heard meanwhile.
            self._make_up_for(took_ms)
        shown = {one: own for one, own in hosted.items() if one in durable or self.divisions.get(one) is own}
        self._release(shown, works, replies)
        if works or appends:
            self.measures.turn_s.observe(time.monotonic() - began_s)

    # -- durable, then visible

    async def _make_durable(self, appends: list[Append]) -> set[str]:
        """Wait until the store has the entries; return the divisions that have theirs. The others are lost. Raises Fenced."""
        appended = await self._appending.append(appends)
        if appended.took_ms > STALL_MS:
            log.warning("journal.stalled", shard=self.settings.name, took_ms=appended.took_ms)
        for one in appends:
            division = self.divisions.get(one.division_id)
            if division is None or division.epoch != one.epoch:
                continue
            if one.division_id in appended.fenced:
                self._lose(division)
            else:
                division.proved_s = appended.asked_s
        return {one.division_id for one in appends} - appended.fenced

    def _make_up_for(self, outage_ms: int) -> None:
        """Nobody was heard for so long: what waits for somebody gets the time back."""
        for division_id in self.divisions:
            self._outages_ms[division_id] = self._outages_ms.get(division_id, 0) + outage_ms
        self._hearing.forgive(outage_ms)

    def _release(self, shown: dict[str, HostedDivision], works: list[Work], replies: dict[Work, Reply]) -> None:
        """Show what this turn did in the divisions of `shown`: theirs is durable, or proved to be the present."""
        for division in shown.values():
            self._lines.add(division.division_id, division.events)
            notices, effects = division.release()
            if self.divisions.get(division.division_id) is division:
                self.audience.tell(division.division_id, notices)
                self._performer.perform(division.division_id, effects)
        for work in works:
            own = shown.get(work.item.division_id)
            if isinstance(work.item, TakeDivision):
                self._takeover.begin_for(work, work.item.division_id)
            elif own is None:
                work.disown()
            else:
                # Of one that stopped meanwhile no step was kept.
                self._answering.answer(work, own, None if own.stopped_reason else replies.get(work))
        for division in self._answering.leaving():
            log.info("division.let_go", shard=self.settings.name, division=division.division_id, epoch=division.epoch)
            self._drop(division)

    # -- once a second

    async def _keep_alive(self) -> None:
        heard_at_ms = self._clock.now_ms()
        while not self.ended.is_set():
            await asyncio.sleep(ALIVE_EVERY_S)
            self._is_store_silent = not await self._is_store_answering()
            if self._is_store_silent:
                self._intake.refuse_old()
                continue
            unheard_ms = self._clock.now_ms() - heard_at_ms - int(ALIVE_EVERY_S * 1_000)
            heard_at_ms = self._clock.now_ms()
            if unheard_ms > STALL_MS:
                self._hearing.forgive(unheard_ms)
            self._hearing.end_leases(list(self.divisions))
            for division_id in [one for one, own in self.divisions.items() if is_clock_behind(own)]:
                log.error("clock.behind_journal", division=division_id)

    async def _is_store_answering(self) -> bool:
        """Prove what is owned, and see what else is to be. No lease ends while nobody could renew it (SAFETY.md 9)."""
        if self._appending.waiting_ms() > STALL_MS:
            return False
        try:
            await self._leases.renew()
            if not self.ended.is_set():
                await self._takeover.look()
        except StoreUnavailable:
            return False
        return True
