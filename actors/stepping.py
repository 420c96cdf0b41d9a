"""One division's part of a shard's turn: every item stepped at the instant it arrived, due timers first.

Rules
- The steps of a turn are one synchronous stretch; only after an exception the journal is read again in between.
- An exception is a bug, after which memory is worth nothing: it is made anew from the journal and the whole turn of
  this division stepped again, without what was poisonous. An item has `STRIKES_MAX` tries and is then quarantined by
  name, for its repeats too; timers that raise as often stop the division by name (SAFETY.md 4).
- After an outage `Resume` comes first, and what waited before anything that is due (SAFETY.md 8).
"""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

import structlog

from actors.audience import is_replaced
from actors.clock import SteadyClock
from actors.disk import DiskFloor
from actors.hosting import HostedDivision
from actors.intake import Intake, Work
from actors.items import Item, Submit, Subscribe, Unsubscribe, WorkerHello
from actors.journal_room import JournalRoom
from actors.performer import Performer
from actors.tracing import CALLS
from dispatch.commands import AdmitHandOver, Command, Connect, Disconnect, InviteCustomer, RequestCall, Resume
from dispatch.effects import Reply
from dispatch.handing_in import brings_call

STRIKES_MAX = 2
QUARANTINE_MAX = 1_000
"""Command ids remembered as poisonous; each cost two replays to find out."""
JOURNAL_AHEAD_MS_MAX = 5_000
"""SAFETY.md 8: with a wall clock further behind, new calls are refused until somebody has looked."""

log = structlog.get_logger()

Again = Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]
"""Repeats an action until the store has done it."""


class _StepFailed(Exception):
    """A bug showed: the division's memory is worth nothing."""

    def __init__(self, work: Work | None) -> None:
        """`work`: whose step raised; None for the timers."""
        super().__init__()
        self.work = work


class Stepping:
    """Belongs to one shard."""

    def __init__(
        self,
        clock: SteadyClock,
        intake: Intake,
        performer: Performer,
        again: Again,
        disk: DiskFloor,
        journal_room: JournalRoom,
    ) -> None:
        self._clock = clock
        self._intake = intake
        self._performer = performer
        self._again = again
        self._disk = disk
        self._journal_room = journal_room
        self._quarantine: OrderedDict[tuple[str, str, str], None] = OrderedDict()
        """(division, principal, command id)."""

    async def step_all(self, division: HostedDivision, works: list[Work], outage_ms: int) -> dict[Work, Reply]:
        """Step a division's items and timers. Returns their replies; none at all when the division is stopped."""
        if division.stopped_reason:
            return {}
        for work in works:
            work.command = self._command_of(work.item)
        timers_strikes = 0
        while not division.stopped_reason:
            replies: dict[Work, Reply] = {}
            try:
                self._try_all(division, works, outage_ms, replies)
                return replies
            except _StepFailed as failed:
                await self._again(division.come_back)
                if failed.work is not None:
                    failed.work.strikes += 1
                else:
                    timers_strikes += 1
            if timers_strikes >= STRIKES_MAX:
                division.stop("division_stopped")
        return {}

    def _try_all(self, division: HostedDivision, works: list[Work], outage_ms: int, replies: dict[Work, Reply]) -> None:
        """Raises _StepFailed, which says whose step it was."""
        culprit: Work | None = None
        try:
            if outage_ms:
                division.step(Resume(outage_ms=outage_ms), self._clock.now_ms())
            for work in works:
                if not outage_ms:
                    division.expire_before(work.at_ms)
                culprit = work
                replies[work] = self._step(division, work)
                culprit = None
            division.expire_before(self._intake.reached_ms())
        except Exception as error:
            name = "timers" if culprit is None else type(culprit.command).__name__
            log.exception("division.step_failed", division=division.division_id, step=name)
            raise _StepFailed(culprit) from error

    def _step(self, division: HostedDivision, work: Work) -> Reply:
        command = work.command
        if command is None:
            return Reply()
        if self._is_quarantined(division, work, command):
            return Reply("quarantined")
        state = division.engine.state
        if isinstance(work.item, Subscribe) and is_replaced(state, work.item):
            return Reply("replaced")
        # A repeat for a call that exists is answered from memory, whatever the clock says.
        if isinstance(command, RequestCall | InviteCustomer) and command.call_id not in state.calls:
            closed = self._why_closed(division)
            if closed:
                return Reply(closed)
            if isinstance(work.item, Submit):
                CALLS.remember(command.call_id, work.item.traceparent)
        elif isinstance(command, AdmitHandOver) and isinstance(work.item, Submit):
            closed = self._why_closed(division) if brings_call(state, command.call) else ""
            if closed:
                return Reply(closed)
            CALLS.remember(command.call.call_id, work.item.traceparent)
        return division.step(command, work.at_ms)

    def _why_closed(self, division: HostedDivision) -> str:
        """Name what keeps new calls out of the hall, while those in progress go on; empty: nothing does."""
        if is_clock_behind(division):
            return "clock_behind"
        if self._journal_room.is_full(division.division_id):
            return "journal_full"
        return "disk_low" if self._disk.is_low or self._performer.workers.are_disks_low else ""

    def _is_quarantined(self, division: HostedDivision, work: Work, command: Command) -> bool:
        key = (division.division_id, command.principal, command.id)
        if work.strikes >= STRIKES_MAX:
            log.error("command.quarantined", division=key[0], principal=key[1], id=key[2])
            if command.id:
                self._quarantine[key] = None
            if len(self._quarantine) > QUARANTINE_MAX:
                self._quarantine.popitem(last=False)
            return True
        return bool(command.id) and key in self._quarantine

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


def is_clock_behind(division: HostedDivision) -> bool:
    """Say whether the journal is further ahead of the wall clock than clocks differ."""
    return division.engine.now_ms - time.time_ns() // 1_000_000 > JOURNAL_AHEAD_MS_MAX
