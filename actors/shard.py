"""The shard: where the virtual actors live, one turn at a time.

A turn: take all that waits, step each item in its division's engine at the instant it arrived (timers that were due earlier
first), append each division's events as ONE journal entry, all in one round trip, wait until that is durable, then
release notices, answers, reads and effects. Nothing becomes visible, by any way, before it is durable.

Rules
- No await between reading and writing an engine: a turn's steps are one synchronous stretch.
- A stepped command is never refused for store trouble; the turn waits and repeats the SAME append (SAFETY.md 1). What has
  not been stepped yet is refused by name after `UNSTEPPED_S`.
- Fenced means over: the shard decides nothing more and ends.
- An item whose step raises is tried once more after a replay, then quarantined by name (SAFETY.md 4).

Not here: engine and recovery (`hosting`), who is told (`audience`), what effects do (`performer`), Ray (`wiring`).
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from msgspec import Struct

from actors.audience import Audience
from actors.clock import SteadyClock
from actors.directory import Directory
from actors.hosting import HostedDivision
from actors.inbox import Inbox
from actors.items import (
    Item,
    ReadStatus,
    Submit,
    Subscribe,
    Unsubscribe,
    WorkerHello,
    decode_items,
    encode,
    encode_refusal,
)
from actors.journal import Append, Fenced, Journal, StoreUnavailable
from actors.performer import Performer
from actors.reading import disowned_rooms, read
from dispatch.commands import Command, Connect, Disconnect, LoseGateway, RequestCall, Resume
from dispatch.effects import Reply
from dispatch.lifecycle import LIVE_STATES

WAITING_MAX = 50_000
"""Items that may wait for a turn; a batch beyond is refused as `overloaded`."""
TURN_MAX = 5_000
"""Items in one turn: 50 ms of steps, so that an answer never waits longer for its neighbours."""
UNSTEPPED_S = 10.0
"""How long an item may wait for a store that does not answer before it is refused as `store_unavailable`."""
STALL_MS = 1_000
"""An append that took longer was an outage: nobody was heard, so leases and graces move (SAFETY.md 8)."""
ALIVE_EVERY_S = 1.0
JOURNAL_AHEAD_MS_MAX = 5_000
"""SAFETY.md 8: with a wall clock further behind, new calls are refused until somebody has looked."""
RETRY_FIRST_S = 0.02
RETRY_MAX_S = 0.5
STRIKES_MAX = 2

log = structlog.get_logger()


class ShardEnded(Exception):
    """This shard decides nothing any more; another one owns its divisions."""


class ShardSettings(Struct, frozen=True):
    name: str
    """With the epoch, so that a frozen predecessor keeps its own (SAFETY.md 13)."""
    division_ids: list[str]


class Work:
    """One item on its way through a turn."""

    __slots__ = ("at_ms", "body", "done", "item", "strikes")

    def __init__(self, item: Item, at_ms: int, done: Callable[[], None]) -> None:
        self.item = item
        self.at_ms = at_ms
        self.done = done
        self.body = b""
        self.strikes = 0

    def answer(self, value: Any) -> None:
        self.body = encode(value)
        self.done()


class Shard:
    """Hosts some divisions. `start`, then `receive` and `poll`; `ended` is set when it must not go on."""

    def __init__(
        self, settings: ShardSettings, journal: Journal, directory: Directory | None, performer: Performer
    ) -> None:
        self.settings = settings
        self._journal = journal
        self._directory = directory
        self._performer = performer
        self._clock = SteadyClock()
        self.divisions = {one: HostedDivision(one, journal) for one in settings.division_ids}
        self.audience = Audience()
        self.ended = asyncio.Event()
        self._inbox = Inbox()
        self._waiting: deque[Work] = deque()
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._outage_ms = 0
        self.turns_count = 0
        self.items_count = 0
        performer.attach(self.submit)

    def __repr__(self) -> str:
        return f"<Shard {self.settings.name} waiting={len(self._waiting)} {list(self.divisions.values())}>"

    # -- life

    async def start(self) -> None:
        """Own the divisions, come back from the journal, and begin to take turns."""
        for division in self.divisions.values():
            await self._own(division)
        for division in self.divisions.values():
            await self._make_up_for_outage(division)
            self._performer.perform(division.division_id, division.engine.pending_effects())
            gateways = {one.gateway_id for one in division.engine.state.recipients.values() if one.gateway_id}
            self.audience.expect(sorted(gateways), self._clock.now_ms())
        self._tasks = [
            asyncio.create_task(self._guard(self._take_turns), name="turns"),
            asyncio.create_task(self._guard(self._keep_alive), name="alive"),
        ]

    async def _own(self, division: HostedDivision) -> None:
        await division.open()
        self._clock.not_behind(division.engine.now_ms)
        if self._directory is None:
            return
        if not await self._directory.write_owner(division.division_id, division.epoch, self.settings.name):
            raise ShardEnded(f"{division.division_id}: a newer owner than epoch {division.epoch} is entered")

    async def _make_up_for_outage(self, division: HostedDivision) -> None:
        if self._directory is None:
            return
        alive_at_ms = await self._directory.read_alive(division.division_id)
        outage_ms = self._clock.now_ms() - alive_at_ms
        if alive_at_ms and outage_ms > 0:
            self.submit(division.division_id, Resume(outage_ms=outage_ms))

    async def stop(self) -> None:
        """Finish the turn under way and end; what waits is refused as `not_ready`."""
        self.ended.set()
        self._wake.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._performer.close()
        self._refuse(list(self._waiting), "not_ready")
        self._waiting.clear()

    async def _guard(self, run: Callable[[], Awaitable[None]]) -> None:
        """A loop that fails ends the shard: its successor starts from the journal."""
        try:
            await run()
        except Fenced as error:
            log.warning("shard.fenced", shard=self.settings.name, reason=str(error))
        except Exception:
            log.exception("shard.failed", shard=self.settings.name)
        finally:
            self.ended.set()

    # -- in and out

    async def receive(self, sender: str, number: int, payload: bytes) -> bytes:
        """Take a batch of items; return their answers once all are durable. Raises ShardEnded."""
        if self.ended.is_set():
            raise ShardEnded(self.settings.name)
        return await self._inbox.take(sender, number, lambda: self._begin(decode_items(payload)))

    def _begin(self, items: list[Item]) -> "asyncio.Future[bytes]":
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        at_ms = self._clock.now_ms()
        missing = len(items)

        def done() -> None:
            nonlocal missing
            missing -= 1
            if not missing and not answer.done():
                answer.set_result(b"".join([_array_head(len(works)), *[work.body for work in works]]))

        works = [Work(item, at_ms, done) for item in items]
        if not works:
            answer.set_result(encode([]))
        elif len(self._waiting) + len(works) > WAITING_MAX:
            self._refuse(works, "overloaded")
        else:
            self._waiting.extend(works)
            self._wake.set()
        return answer

    def submit(self, division_id: str, command: Command) -> None:
        """Put a command of the shell's own in; nobody waits for its answer."""
        self._waiting.append(Work(Submit(division_id, command), self._clock.now_ms(), lambda: None))
        self._wake.set()

    async def poll(self, gateway_id: str, cursor: int, wait_s: float) -> bytes:
        """Return the gateway's next notices; asking is also its proof of life. Raises ShardEnded."""
        if self.ended.is_set():
            raise ShardEnded(self.settings.name)
        return encode(await self.audience.poll(gateway_id, cursor, wait_s, self._clock.now_ms()))

    def _refuse(self, works: list[Work], reason: str) -> None:
        """Refuse what was never stepped."""
        for work in works:
            work.body = encode_refusal(reason)
            work.done()

    # -- turns

    async def _take_turns(self) -> None:
        while not self.ended.is_set():
            await self._wait_for_work()
            works = [self._waiting.popleft() for _ in range(min(TURN_MAX, len(self._waiting)))]
            await self._turn(works)

    async def _wait_for_work(self) -> None:
        if self._waiting:
            await asyncio.sleep(0)
            return
        self._wake.clear()
        deadlines = [at for one in self.divisions.values() if (at := one.engine.next_deadline_ms()) is not None]
        wait_s = max(0, min(deadlines) - self._clock.now_ms()) / 1_000 if deadlines else None
        if wait_s is None or wait_s > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), wait_s)

    async def _turn(self, works: list[Work]) -> None:
        self.turns_count += 1
        self.items_count += len(works)
        outage_ms, self._outage_ms = self._outage_ms, 0
        replies: dict[Work, Reply] = {}
        for division in self.divisions.values():
            own = [work for work in works if work.item.division_id == division.division_id]
            await self._step_all(division, own, outage_ms, replies)
        appends = [append for one in self.divisions.values() if (append := one.append()) is not None]
        if appends:
            await self._make_durable(appends)
        self._release(works, replies)

    async def _step_all(
        self, division: HostedDivision, works: list[Work], outage_ms: int, replies: dict[Work, Reply]
    ) -> None:
        """Step a division's items; one that raises is tried again after a replay, then quarantined."""
        timers_strikes = 0
        while not division.stopped_reason:
            work: Work | None = None
            try:
                if outage_ms:
                    division.step_now(Resume(outage_ms=outage_ms), self._clock.now_ms())
                for work in works:
                    replies[work] = self._step(division, work, is_late=outage_ms > 0)
                work = None
                division.expire(self._waiting[0].at_ms if self._waiting else self._clock.now_ms())
                return
            except Exception:
                log.exception(
                    "division.step_failed", division=division.division_id, item=type(work and work.item).__name__
                )
                await self._again(division.recover)
                if work is not None:
                    work.strikes += 1
                else:
                    timers_strikes += 1
                if timers_strikes >= STRIKES_MAX:
                    division.stopped_reason = "division_stopped"
        for work in works:
            replies[work] = Reply(division.stopped_reason)

    def _step(self, division: HostedDivision, work: Work, is_late: bool) -> Reply:
        command = self._command_of(work.item)
        if command is None:
            return Reply()
        if work.strikes >= STRIKES_MAX:
            log.error("command.quarantined", division=division.division_id, principal=command.principal, id=command.id)
            return Reply("quarantined")
        if isinstance(command, RequestCall) and self._is_clock_behind(division):
            return Reply("clock_behind")
        if is_late:
            return division.step_now(command, work.at_ms)
        return division.step(command, work.at_ms)

    def _is_clock_behind(self, division: HostedDivision) -> bool:
        return division.engine.now_ms - time.time_ns() // 1_000_000 > JOURNAL_AHEAD_MS_MAX

    def _command_of(self, item: Item) -> Command | None:
        if isinstance(item, Submit):
            return item.command
        if isinstance(item, Subscribe):
            return Connect(recipient=item.recipient, gateway_id=item.gateway_id, connection_id=item.connection_id)
        if isinstance(item, Unsubscribe):
            return Disconnect(recipient=item.recipient, connection_id=item.connection_id)
        if isinstance(item, WorkerHello):
            return self._performer.hello(item, self._clock.now_ms())
        return None

    # -- durable, then visible

    async def _make_durable(self, appends: list[Append]) -> None:
        """Wait until the store has the entries. Raises Fenced."""
        began = time.monotonic()
        await self._again(lambda: self._journal.append(appends))
        took_ms = int((time.monotonic() - began) * 1_000)
        if took_ms > STALL_MS:
            log.warning("journal.stalled", shard=self.settings.name, took_ms=took_ms)
            self._outage_ms += took_ms
            self.audience.forgive(took_ms)
            self._performer.forgive(took_ms)

    async def _again(self, action: Callable[[], Awaitable[None]]) -> None:
        """Repeat what the store did not do, or did without saying so, until it does."""
        pause_s = RETRY_FIRST_S
        while True:
            try:
                await action()
                return
            except StoreUnavailable as error:
                log.warning("store.unavailable", shard=self.settings.name, reason=error.reason)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, RETRY_MAX_S)
                self._refuse_old()

    def _refuse_old(self) -> None:
        oldest_ms = self._clock.now_ms() - int(UNSTEPPED_S * 1_000)
        old = []
        while self._waiting and self._waiting[0].at_ms < oldest_ms:
            old.append(self._waiting.popleft())
        self._refuse(old, "store_unavailable")

    def _release(self, works: list[Work], replies: dict[Work, Reply]) -> None:
        for division in self.divisions.values():
            notices, effects = division.release()
            self.audience.tell(notices)
            if effects:
                self._performer.perform(division.division_id, effects)
        for work in works:
            if work in replies:
                work.answer(self._answer_of(work, replies[work]))
            else:
                self._refuse([work], "not_owner")

    def _answer_of(self, work: Work, reply: Reply) -> Any:
        item = work.item
        state = self.divisions[item.division_id].engine.state
        if isinstance(item, Subscribe):
            return self.audience.subscribe(state, item, reply)
        if isinstance(item, Unsubscribe):
            self.audience.unsubscribe(item)
            return reply
        if isinstance(item, WorkerHello):
            return disowned_rooms(state, item)
        if isinstance(item, Submit):
            return reply
        if isinstance(item, ReadStatus):
            return self._status(item.division_id)
        return read(state, item)

    def _status(self, division_id: str) -> dict[str, Any]:
        division = self.divisions[division_id]
        state = division.engine.state
        live = {one: sum(queue.counts[one] for queue in state.queues.values()) for one in LIVE_STATES}
        return {
            "shard": self.settings.name,
            "epoch": division.epoch,
            "batch": division.batch,
            "stopped_reason": division.stopped_reason,
            "admitted_count": state.calls_admitted_count,
            "calls_in_memory": len(state.calls),
            **{f"live_{one}": count for one, count in live.items()},
            "waiting_items": len(self._waiting),
            "turns_count": self.turns_count,
            "items_count": self.items_count,
            "media_rooms": self._performer.workers.loads(),
        }

    # -- once a second

    async def _keep_alive(self) -> None:
        while not self.ended.is_set():
            await asyncio.sleep(ALIVE_EVERY_S)
            now_ms = self._clock.now_ms()
            for gateway_id in self.audience.lost(now_ms):
                log.warning("gateway.lost", shard=self.settings.name, gateway=gateway_id)
                for division_id in self.divisions:
                    self.submit(division_id, LoseGateway(gateway_id=gateway_id))
            for command in self._performer.lost(now_ms):
                for division_id in self.divisions:
                    self.submit(division_id, command)
            if self._directory is not None:
                with contextlib.suppress(StoreUnavailable):
                    await self._directory.note_alive(list(self.divisions), now_ms)


def _array_head(count: int) -> bytes:
    """MessagePack's head of an array of `count` values, so that encoded answers need no second encoding."""
    if count < 16:
        return bytes([0x90 | count])
    if count < 65_536:
        return b"\xdc" + count.to_bytes(2, "big")
    return b"\xdd" + count.to_bytes(4, "big")
