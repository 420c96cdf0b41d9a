"""The shard: where the virtual actors live, one turn at a time.

A turn: take all that waits, step each item in its division's engine at the instant it arrived (timers that were due earlier
first), append each division's events as ONE journal entry, all in one round trip, wait until that is durable, then
release notices, answers, reads and effects. Nothing becomes visible, by any way, before it is durable.

Rules
- No await between reading and writing an engine: a turn's steps are one synchronous stretch.
- A stepped command is never refused for store trouble; the turn waits and repeats the SAME append (SAFETY.md 1). What has
  not been stepped yet is refused by name after `UNSTEPPED_S`.
- Fenced means over: the shard decides nothing more and ends, and who waits for it turns to its successor.
- Leases end only by time in which the store answered (SAFETY.md 9).

Not here: what waits (`intake`), poison (`stepping`), engine and recovery (`hosting`), who is told (`audience`), what effects
do (`performer`), Ray (`wiring`).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import structlog
from msgspec import Struct

from actors.audience import Audience
from actors.clock import SteadyClock
from actors.disk import DiskFloor
from actors.hosting import HostedDivision
from actors.inbox import Inbox
from actors.intake import Intake, Work
from actors.items import ReadStatus, Submit, Subscribe, Unsubscribe, WorkerHello, decode_items, encode
from actors.journal import Append, Fenced, Journal, StoreUnavailable
from actors.logs import write_lines
from actors.measures import ShardMeasures
from actors.performer import Performer
from actors.reading import disowned_rooms, read
from actors.reporting import shard_status
from actors.stepping import Stepping, is_clock_behind
from actors.transitions import lines_of
from dispatch.commands import Command, LoseGateway
from dispatch.effects import Reply

TURN_MAX = 5_000
"""Items in one turn: 50 ms of steps, so that an answer never waits longer for its neighbours."""
STALL_MS = 1_000
"""What took longer was an outage: nobody was heard, so leases and graces move (SAFETY.md 8)."""
ALIVE_EVERY_S = 1.0
RETRY_FIRST_S = 0.02
RETRY_MAX_S = 0.5
STOP_S = 5.0
"""How long the turn under way may take to become durable when the shard is to stop in good order."""

log = structlog.get_logger()


class ShardEnded(Exception):
    """This shard decides nothing any more; another one owns its divisions."""


class ShardSettings(Struct, frozen=True):
    name: str
    """With the epoch, so that a frozen predecessor keeps its own (SAFETY.md 13)."""
    division_ids: list[str]


class Owners(Protocol):
    """What the shard needs of `directory.Directory`."""

    async def write_owner(self, division_id: str, epoch: int, actor_name: str) -> bool: ...

    async def note_alive(self, epochs: dict[str, int], at_ms: int) -> set[str]: ...

    async def read_alive(self, division_id: str) -> int: ...


class Shard:
    """Hosts some divisions. `start`, then `receive` and `poll`; `ended` is set when it must not go on."""

    def __init__(
        self,
        settings: ShardSettings,
        journal: Journal,
        directory: Owners,
        performer: Performer,
        disk: DiskFloor | None = None,
    ) -> None:
        """`disk`: below its floor no new call is taken; None: no disk is looked at."""
        self.settings = settings
        self._journal = journal
        self._directory = directory
        self._performer = performer
        self._clock = SteadyClock()
        self.divisions = {one: HostedDivision(one, journal) for one in settings.division_ids}
        self.audience = Audience()
        self.ended = asyncio.Event()
        self._inbox = Inbox()
        self._intake = Intake(self._clock)
        self.disk = disk or DiskFloor()
        self.measures = ShardMeasures()
        self._stepping = Stepping(self._clock, self._intake, performer, self._again, self.disk)
        self._tasks: list[asyncio.Task[None]] = []
        self._outages_ms = dict.fromkeys(settings.division_ids, 0)
        """Division -> the outage that its next turn has to make up for."""
        self._append_began_s: float | None = None
        self._is_store_silent = False
        self.turns_count = 0
        self.items_count = 0
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

    async def start(self) -> None:
        """Own the divisions, come back from the journal, and begin to take turns."""
        await self.disk.look()
        for division in self.divisions.values():
            await self._own(division)
        for division in self.divisions.values():
            if division.stopped_reason:
                continue
            self._performer.perform(division.division_id, division.engine.pending_effects())
            self._performer.expect(division.engine.state.calls.values(), self._clock.now_ms())
            gateways = {one.gateway_id for one in division.engine.state.recipients.values() if one.gateway_id}
            self.audience.expect(sorted(gateways), self._clock.now_ms())
        self._tasks = [
            asyncio.create_task(self._guard(self._take_turns), name="turns"),
            asyncio.create_task(self._guard(self._keep_alive), name="alive"),
            asyncio.create_task(self._guard(self.disk.watch), name="disk"),
        ]

    async def _own(self, division: HostedDivision) -> None:
        await division.open()
        self._clock.not_behind(division.engine.now_ms)
        if not await self._directory.write_owner(division.division_id, division.epoch, self.settings.name):
            raise ShardEnded(f"{division.division_id}: a newer owner than epoch {division.epoch} is entered")
        alive_at_ms = await self._directory.read_alive(division.division_id)
        if alive_at_ms:
            self._outages_ms[division.division_id] = max(0, self._clock.now_ms() - alive_at_ms)

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
        self._intake.end(ShardEnded(self.settings.name))
        await self._performer.close()

    async def _guard(self, run: Callable[[], Awaitable[None]]) -> None:
        """A loop that fails ends the shard: its successor starts from the journal."""
        try:
            await run()
        except Fenced as error:
            log.warning("shard.fenced", shard=self.settings.name, reason=str(error))
        except Exception:
            log.exception("shard.failed", shard=self.settings.name)
        if not self.ended.is_set():
            self.ended.set()
            self._intake.end(ShardEnded(self.settings.name))

    # -- in and out

    async def receive(self, sender: str, number: int, payload: bytes) -> bytes:
        """Take a batch of items; return their answers once all are durable. Raises ShardEnded."""
        if self.ended.is_set():
            raise ShardEnded(self.settings.name)
        return await self._inbox.take(sender, number, lambda: self._intake.begin(decode_items(payload)))

    def submit(self, division_id: str, command: Command) -> None:
        """Put a command of the shell's own in; nobody waits for its answer."""
        self._intake.submit(division_id, command)

    async def poll(self, gateway_id: str, cursor: int, wait_s: float) -> bytes:
        """Return the gateway's next notices; asking is also its proof of life. Raises ShardEnded."""
        if self.ended.is_set():
            raise ShardEnded(self.settings.name)
        return encode(await self.audience.poll(gateway_id, cursor, wait_s, self._clock.now_ms()))

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
        due_ms = max(min(deadlines), self._clock.now_ms())
        await self._intake.wait((due_ms - self._clock.now_ms()) / 1_000)
        if self._clock.now_ms() - due_ms > STALL_MS:
            # This process was frozen: nobody was heard, as in an outage of the store.
            self._make_up_for(self._clock.now_ms() - due_ms)

    async def _turn(self, works: list[Work]) -> None:
        began_s = time.monotonic()
        self.turns_count += 1
        self.items_count += len(works)
        works_by_division: dict[str, list[Work]] = {one: [] for one in self.divisions}
        for work in works:
            works_by_division.get(work.item.division_id, []).append(work)
        replies: dict[Work, Reply] = {}
        for division_id, own in works_by_division.items():
            outage_ms, self._outages_ms[division_id] = self._outages_ms[division_id], 0
            replies |= await self._stepping.step_all(self.divisions[division_id], own, outage_ms)
        appends = [append for one in self.divisions.values() if (append := one.append()) is not None]
        if appends:
            await self._make_durable(appends)
        self._release(works, replies)
        if works or appends:
            self.measures.turn_s.observe(time.monotonic() - began_s)

    # -- durable, then visible

    async def _make_durable(self, appends: list[Append]) -> None:
        """Wait until the store has the entries. Raises Fenced."""
        self._append_began_s = time.monotonic()
        await self._again(lambda: self._journal.append(appends))
        took_s = time.monotonic() - self._append_began_s
        took_ms = int(took_s * 1_000)
        self.measures.append_s.observe(took_s)
        self._append_began_s = None
        if took_ms > STALL_MS:
            log.warning("journal.stalled", shard=self.settings.name, took_ms=took_ms)
            self._make_up_for(took_ms)

    def _make_up_for(self, outage_ms: int) -> None:
        """Nobody was heard for so long: what waits for somebody gets the time back."""
        for division_id in self._outages_ms:
            self._outages_ms[division_id] += outage_ms
        self._forgive(outage_ms)

    def _forgive(self, outage_ms: int) -> None:
        now_ms = self._clock.now_ms()
        self.audience.forgive(outage_ms, now_ms)
        self._performer.forgive(outage_ms, now_ms)

    async def _again(self, action: Callable[[], Awaitable[None]]) -> None:
        """Repeat what the store did not do, or did without saying so, until it does."""
        pause_s = RETRY_FIRST_S
        while True:
            try:
                await action()
                return
            except StoreUnavailable as error:
                log.warning("store.unavailable", shard=self.settings.name, reason=error.reason)
                self.measures.store_retries_count += 1
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, RETRY_MAX_S)
                self._intake.refuse_old()

    def _release(self, works: list[Work], replies: dict[Work, Reply]) -> None:
        lines = [line for one in self.divisions.values() for line in lines_of(one.division_id, one.events)]
        write_lines(lines)
        for division in self.divisions.values():
            notices, effects = division.release()
            self.audience.tell(division.division_id, notices)
            if effects:
                self._performer.perform(division.division_id, effects)
        for work in works:
            self._answer(work, replies.get(work))

    def _answer(self, work: Work, reply: Reply | None) -> None:
        """Answer one item. A read that fails is its asker's trouble, not that of all who wait for this turn."""
        division = self.divisions.get(work.item.division_id)
        if division is None:
            work.refuse("not_owner")
            return
        if reply is not None and reply.reason:
            self.measures.refuse(reply.reason)
        if reply is None and not isinstance(work.item, ReadStatus):
            work.refuse(division.stopped_reason)
            return
        try:
            work.answer(self._answer_of(work, reply or Reply()))
        except Exception:
            log.exception("item.not_answered", division=division.division_id, item=type(work.item).__name__)
            work.refuse("internal")

    def _answer_of(self, work: Work, reply: Reply) -> Any:
        item = work.item
        state = self.divisions[item.division_id].engine.state
        if isinstance(item, Subscribe):
            return self.audience.subscribe(state, item, reply, self._clock.now_ms())
        if isinstance(item, Unsubscribe):
            self.audience.unsubscribe(item)
            return reply
        if isinstance(item, WorkerHello):
            return disowned_rooms(state, item)
        if isinstance(item, Submit):
            return reply
        if isinstance(item, ReadStatus):
            return shard_status(self, item.division_id)
        return read(state, item, self._clock.now_ms())

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
                self._forgive(unheard_ms)
            self._end_leases()
            for division_id, division in self.divisions.items():
                if is_clock_behind(division):
                    log.error("clock.behind_journal", division=division_id)

    async def _is_store_answering(self) -> bool:
        """No lease ends while nobody could renew it (SAFETY.md 9)."""
        began_s = self._append_began_s
        if began_s is not None and (time.monotonic() - began_s) * 1_000 > STALL_MS:
            return False
        try:
            epochs = {one: division.epoch for one, division in self.divisions.items()}
            await self._directory.note_alive(epochs, self._clock.now_ms())
        except StoreUnavailable:
            return False
        return True

    def _end_leases(self) -> None:
        now_ms = self._clock.now_ms()
        for gateway_id in self.audience.lost(now_ms):
            log.warning("gateway.lost", shard=self.settings.name, gateway=gateway_id)
            for division_id in self.divisions:
                self.submit(division_id, LoseGateway(gateway_id=gateway_id))
        for command in self._performer.lost(now_ms):
            for division_id in self.divisions:
                self.submit(division_id, command)
