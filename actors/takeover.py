"""Taking divisions over: how a shard comes to own what the placement gives to its slot, while calls are live.

The taking shard does it all, in this order; each step may fail, be late or be the last thing that it does:
1. It warms up: reads snapshot and journal as anybody may, while the source serves. (Without a living source it begins at 3.)
2. It asks the source to let go. That one finishes its turn, answers `NOT_OWNER` from then on and forgets the division.
3. It takes the next epoch. Whatever the source believes: it decides nothing more (SAFETY.md 13).
4. It reads the rest of the journal, which cannot grow any more.
5. It enters itself as the owner, where senders and feeds look again every few ms, and serves.

Ways back
- Before 2 nothing has happened: the source goes on, and a division that cannot be replayed, or not within `WARM_UP_S`, stays
  where it lives. One that nobody serves is stopped here by name, where operators see it.
- A source that does not answer within `LET_GO_S` is fenced by 3, and hears of it at its next append or proof.
- A taker that dies leaves the placement, which names its slot: whoever fills that next starts with the division.
- A taker that lives and fails tries again, at the `look` once a second, ever more slowly.

Rule: nobody takes from a newer incarnation of its own slot. Who finds one has been replaced, and ends.

Not here: the wish and the operator's command (`moving`), engine and replay (`hosting`), serving (`shard`).
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

import structlog

from actors.clock import SteadyClock
from actors.directory import Owner, Placement, slot_of
from actors.hosting import HostedDivision
from actors.intake import Work
from actors.items import HallUnavailable, LetGo, decode_answer, decode_bodies, encode
from actors.journal import Journal, StoreUnavailable
from actors.mailbox import PeerGone
from actors.network import Network, ask_once
from actors.shadow import Shadow
from dispatch.effects import Reply

WARM_UP_S = 45.0
"""Reading 50,000 calls takes a second, their journal some more; a journal that grows faster than it is read never ends."""
LET_GO_S = 2.0
"""A turn takes milliseconds; who does not finish one in this time is frozen, gone, or has no store, and is fenced."""
OPEN_S = 20.0
"""Nobody owns the division from step 2 to 5: a store in trouble is asked again at once for this long, then at each look."""
OPEN_PAUSE_S = 0.1
TAKES_MAX = 4
"""Takeovers at a time: each holds a division twice in memory and costs the neighbours time while it replays."""
PAUSE_FIRST_S = 1.0
PAUSE_MAX_S = 30.0

log = structlog.get_logger()

Host = Callable[[HostedDivision, int], None]
"""(division, outage_ms): serve it from now on; nobody could be heard for `outage_ms`."""


class Owners(Protocol):
    """What is needed of `directory.Directory`."""

    async def read_owner(self, division_id: str) -> Owner | None: ...

    async def write_owner(self, division_id: str, epoch: int, actor_name: str) -> bool: ...

    async def read_alive(self, division_id: str) -> int: ...

    async def read_placement(self) -> Placement: ...


class NotTaken(Exception):
    """The division was not taken; `reason` says why. Whoever owns it goes on."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Replaced(Exception):
    """A newer incarnation fills this shard's slot."""


class _Pause:
    """When a division that could not be taken is tried again."""

    __slots__ = ("until_s", "wait_s")

    def __init__(self) -> None:
        self.wait_s = PAUSE_FIRST_S
        self.until_s = 0.0

    def lengthen(self) -> None:
        self.until_s = time.monotonic() + self.wait_s
        self.wait_s = min(2 * self.wait_s, PAUSE_MAX_S)


class Takeover:
    """Belongs to one shard."""

    def __init__(
        self,
        actor_name: str,
        slot_id: str,
        division_ids: list[str],
        divisions: dict[str, HostedDivision],
        journal: Journal,
        directory: Owners,
        network: Network,
        clock: SteadyClock,
        host: Host,
    ) -> None:
        """`slot_id` empty: all of `division_ids` are this shard's, whatever the placement says. `divisions`: those it hosts."""
        self._actor_name = actor_name
        self._slot_id = slot_id
        self._division_ids = division_ids
        self._divisions = divisions
        self._journal = journal
        self._directory = directory
        self._network = network
        self._clock = clock
        self._host = host
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._shadow = Shadow(journal)
        self._pauses: dict[str, _Pause] = {}
        self._asked: set[asyncio.Task[None]] = set()
        """Answers to those who wait for a takeover."""

    def __repr__(self) -> str:
        return f"<Takeover of {sorted(self._tasks)} paused={sorted(self._pauses)}>"

    # -- what is to be here

    async def follow(self) -> None:
        """Read along with what will be here, until cancelled: a later `start` has little left to read.

        Raises Replaced: who made this standby is gone, and its successor filled the slot with a newer one.
        """
        await self._shadow.follow(self._wanted_by_newest)

    async def _wanted_by_newest(self) -> list[str]:
        division_ids = await self._wanted()
        for division_id in division_ids:
            self._check_newest(await self._directory.read_owner(division_id))
        return division_ids

    async def start(self) -> None:
        """Own at once what nobody else does, all beside each other; the rest is for `look`.

        Raises StoreUnavailable only when not one could be started for it: what one division lacks is no trouble of the others.
        """
        wanted = await self._wanted()
        outcomes = await asyncio.gather(*(self._start_one(one) for one in wanted), return_exceptions=True)
        self._shadow.clear()
        failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        for division_id, outcome in zip(wanted, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                log.warning("division.not_started", division=division_id, reason=str(outcome))
        for failure in failures:
            # What somebody else took at the same instant is his, or found again by `look`.
            is_passing = isinstance(failure, NotTaken) and self._slot_id
            is_one_of_several = isinstance(failure, StoreUnavailable) and len(failures) < len(wanted)
            if not is_passing and not is_one_of_several:
                raise failure

    async def _start_one(self, division_id: str) -> None:
        owner = await self._directory.read_owner(division_id)
        if owner is None or not self._slot_id or owner.slot_id == self._slot_id:
            self._check_newest(owner)
            await self._enter(self._shadow.take(division_id), 0)

    async def look(self) -> None:
        """Begin to take what is to be here and is not. Raises StoreUnavailable, Replaced."""
        for division_id in await self._wanted():
            pause = self._pauses.get(division_id)
            is_due = pause is None or time.monotonic() >= pause.until_s
            if division_id not in self._divisions and is_due and len(self._tasks) < TAKES_MAX:
                self._check_newest(await self._directory.read_owner(division_id))
                if division_id not in self._divisions:
                    self._begin(division_id)

    async def take(self, division_id: str) -> Reply:
        """Take it now; an operator waits. The answer says why not, where it was not to be."""
        try:
            if division_id in self._divisions:
                return Reply()
            if division_id not in await self._wanted():
                return Reply("not_placed_here")
            if division_id not in self._tasks and len(self._tasks) >= TAKES_MAX:
                return Reply("overloaded")
            await asyncio.shield(self._begin(division_id))
        except NotTaken as error:
            return Reply(error.reason)
        except StoreUnavailable:
            return Reply("store_unavailable")
        except Replaced:
            return Reply("not_ready")
        return Reply()

    def begin_for(self, work: Work, division_id: str) -> None:
        """Answer the item once the division is here, or why it is not."""

        async def take() -> None:
            try:
                work.answer(await self.take(division_id))
            except Exception:
                log.exception("division.take_failed", division=division_id)
                work.refuse("internal")

        task = asyncio.create_task(take(), name=f"asked for {division_id}")
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)

    async def close(self) -> None:
        tasks = [*self._tasks.values(), *self._asked]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _wanted(self) -> list[str]:
        if not self._slot_id:
            return self._division_ids
        slots = (await self._directory.read_placement()).slots
        return [one for one in self._division_ids if slots.get(one) == self._slot_id]

    # -- one division

    def _begin(self, division_id: str) -> "asyncio.Task[None]":
        """Return the takeover under way, or begin one."""
        if division_id in self._tasks:
            return self._tasks[division_id]
        task = asyncio.create_task(self._take(division_id), name=f"take {division_id}")
        self._tasks[division_id] = task
        task.add_done_callback(lambda done: self._end(division_id, done))
        return task

    def _end(self, division_id: str, done: "asyncio.Task[None]") -> None:
        del self._tasks[division_id]
        error = None if done.cancelled() else done.exception()
        if done.cancelled() or error is None:
            self._pauses.pop(division_id, None)
            return
        log.warning("division.not_taken", division=division_id, shard=self._actor_name, reason=repr(error))
        if not isinstance(error, StoreUnavailable):
            # Without a store nobody may own it by now: that is tried again at every look.
            self._pauses.setdefault(division_id, _Pause()).lengthen()

    async def _take(self, division_id: str) -> None:
        """Raises NotTaken, StoreUnavailable, Replaced."""
        began_s = time.monotonic()
        owner = await self._directory.read_owner(division_id)
        division = HostedDivision(division_id, self._journal)
        if owner is not None and await self._lives(owner.actor_name):
            await self._warm_up(division)
        let_go_s = time.monotonic()
        is_elsewhere = owner is not None and owner.slot_id != slot_of(self._actor_name)
        gone_at_ms = await self._ask_to_let_go(division_id, owner) if owner is not None and is_elsewhere else 0
        await self._open(division, gone_at_ms)
        now_s = time.monotonic()
        log.info(
            "division.taken",
            division=division_id,
            shard=self._actor_name,
            source=owner.actor_name if owner is not None else "",
            warm_up_ms=int((let_go_s - began_s) * 1_000),
            pause_ms=int((now_s - let_go_s) * 1_000),
        )

    async def _warm_up(self, division: HostedDivision) -> None:
        """Raises NotTaken where the owner lives and goes on; StoreUnavailable."""
        try:
            async with asyncio.timeout(WARM_UP_S):
                await division.warm_up()
        except StoreUnavailable:
            raise
        except TimeoutError:
            raise NotTaken("cannot_catch_up") from None
        except Exception as error:
            log.exception("division.cannot_replay", division=division.division_id)
            raise NotTaken("cannot_replay") from error

    async def _lives(self, actor_name: str) -> bool:
        try:
            await self._network.peer(actor_name)
        except PeerGone:
            return False
        return True

    async def _ask_to_let_go(self, division_id: str, owner: Owner) -> int:
        """Return when the source let go, by its clock; 0 when it does not answer, or has nothing to let go of."""
        try:
            async with asyncio.timeout(LET_GO_S):
                letters = encode([LetGo(division_id, owner.epoch)])
                [body] = decode_bodies(await ask_once(self._network, owner.actor_name, letters))
                reply = decode_answer(LetGo, body)
        except (PeerGone, HallUnavailable, TimeoutError) as error:
            log.warning("division.not_let_go", division=division_id, source=owner.actor_name, reason=repr(error))
            return 0
        if not reply.is_accepted:
            raise NotTaken(reply.reason)
        return int(reply.value["at_ms"])

    async def _open(self, division: HostedDivision, gone_at_ms: int) -> None:
        """Nobody serves the division meanwhile: insist, within a bound."""
        until_s = time.monotonic() + OPEN_S
        while True:
            try:
                # Who slept through its own replacement must not take from its successor.
                self._check_newest(await self._directory.read_owner(division.division_id))
                await self._enter(division, gone_at_ms)
                return
            except StoreUnavailable:
                if time.monotonic() > until_s:
                    raise
                await asyncio.sleep(OPEN_PAUSE_S)

    async def _enter(self, division: HostedDivision, gone_at_ms: int) -> None:
        """Fence, replay, enter as the owner, serve. Raises NotTaken, StoreUnavailable."""
        await division.open()
        self._clock.not_behind(division.engine.now_ms)
        if not await self._directory.write_owner(division.division_id, division.epoch, self._actor_name):
            raise NotTaken("owner_changed")
        # Who wrote last lived then, also one who lived too briefly to say so: no outage is made up for twice.
        alive_at_ms = gone_at_ms or await self._directory.read_alive(division.division_id)
        heard_at_ms = max(alive_at_ms, division.engine.now_ms)
        self._host(division, max(0, self._clock.now_ms() - heard_at_ms) if heard_at_ms else 0)

    def _check_newest(self, owner: Owner | None) -> None:
        """Raises Replaced."""
        if owner is None or slot_of(self._actor_name) != owner.slot_id:
            return
        if _incarnation(owner.actor_name) > _incarnation(self._actor_name):
            raise Replaced(f"{owner.actor_name} has taken the place of {self._actor_name}")


def _incarnation(actor_name: str) -> int:
    number = actor_name.rpartition("-e")[2]
    return int(number) if number.isdigit() else 0
