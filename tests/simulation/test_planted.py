"""The checkers doubted: bugs that nobody wants, put into the real shell and engine, and each is found.

Each seed holds without the bug: all of them are among those of `test_simulation.py`, or run here without it too. Each bug is
found by the checker that is there for it, told by its words: any other failure would say nothing of that checker.

Not found by the checkers: a frozen shard that answers reads from memory without asking for its lease. What it shows was
durable once; `tests/actors/test_ownership.py` has that rule.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from actors import courier, hosting, shard
from actors.archive import Archive
from actors.audience import Audience
from actors.follower import Follower
from actors.hosting import HostedDivision
from actors.inbox import Inbox
from actors.items import Submit, Subscribed
from actors.journal import Append
from actors.journal_memory import MemoryJournal
from actors.subscription import Subscription
from dispatch import timers
from dispatch.commands import AdmitHandOver, Command, HangUp, ReportHandOver
from dispatch.effects import Reply
from dispatch.engine import DECISIONS, EXPIRIES
from dispatch.events import Answered
from tests.simulation.clockwork import Violation
from tests.simulation.run import run
from tests.simulation.test_simulation import SEEDS
from tests.simulation.weather import Weather

Plant = pytest.MonkeyPatch


def shown_before_durable(patch: Plant) -> None:
    """A turn does not wait for its append."""
    durable = shard.Shard._make_durable

    async def at_once(self: shard.Shard, appends: list[Append]) -> set[str]:
        self._tasks.append(asyncio.create_task(durable(self, appends)))  # type: ignore[arg-type]
        return {one.division_id for one in appends}

    patch.setattr(shard.Shard, "_make_durable", at_once)


def no_fence(patch: Plant) -> None:
    """The store takes whatever comes, as the next batch of whoever owns the division."""
    add = MemoryJournal._add

    def any_epoch(self: MemoryJournal, one: Append) -> str:
        division = self._division_by_id.get(one.division_id)
        if division is not None and one.epoch < division.epoch:
            one = structs.replace(one, epoch=division.epoch, batch=division.last + 1)
        return add(self, one)

    patch.setattr(MemoryJournal, "_add", any_epoch)


def endless_ringing(patch: Plant) -> None:
    """The deadline of a reservation comes, and nothing is done."""
    patch.setitem(EXPIRIES, timers.RESERVATION, lambda engine, timer: None)


def hollow_hang_up(patch: Plant) -> None:
    """Who hangs up is told that it is done, and the call goes on."""
    patch.setitem(DECISIONS, HangUp, lambda engine, command: Reply())


def overbooked(patch: Plant) -> None:
    """A shard decides as if every agent could do twice as much."""

    def doubled(decide: Callable[..., Any]) -> Callable[..., Any]:
        def decided(self: HostedDivision, *args: Any) -> Any:
            units = [(agent, agent.capacity_units) for agent in self.engine.state.agents.values()]
            for agent, capacity_units in units:
                agent.capacity_units = 2 * capacity_units
            try:
                return decide(self, *args)
            finally:
                for agent, capacity_units in units:
                    agent.capacity_units = capacity_units

        return decided

    for name in ("step", "expire_before"):
        patch.setattr(HostedDivision, name, doubled(getattr(HostedDivision, name)))


def forgetful_replay(patch: Plant) -> None:
    """A recovery leaves out what was answered, without which everything else can be replayed."""
    whole = hosting.decode_events
    patch.setattr(hosting, "decode_events", lambda payload: [e for e in whole(payload) if type(e) is not Answered])


def half_replay(patch: Plant) -> None:
    """A recovery leaves out the last event of each larger batch."""
    whole = hosting.decode_events
    patch.setattr(hosting, "decode_events", lambda payload: whole(payload)[:-1] or whole(payload))


def lost_notice(patch: Plant) -> None:
    """Each fifth event that a client is owed counts as told and is not."""
    take, count = Subscription.take, iter(range(1, 1 << 30))

    def sometimes(self: Subscription, notice: Any) -> bool:
        if notice.seq == self.last_seq + 1 and self.early is None and next(count) % 5 == 0:
            self.last_seq = notice.seq
            return True
        return take(self, notice)

    patch.setattr(Subscription, "take", sometimes)


def gap_after_resume(patch: Plant) -> None:
    """Who comes back is not told the first of what it missed."""
    subscribe = Audience.subscribe

    def short(self: Audience, *args: Any) -> Subscribed:
        subscribed = subscribe(self, *args)
        return structs.replace(subscribed, missed=subscribed.missed[1:])

    patch.setattr(Audience, "subscribe", short)


def admitted_called_refused(patch: Plant) -> None:
    """The origin hears of each hand-over that the target said no."""
    told = courier.report_of

    def refused(errand: Any, answer: Reply) -> Command:
        report = told(errand, answer)
        return structs.replace(report, reason="queue_full") if isinstance(report, ReportHandOver) else report

    patch.setattr(courier, "report_of", refused)


def forgotten_arrivals(patch: Plant) -> None:
    """A target does not know again what it has admitted; batches are carried out as often as they come."""
    admit = DECISIONS[AdmitHandOver]

    def forgetful(engine: Any, command: AdmitHandOver) -> Reply:
        state, call_id = engine.state, command.call.call_id
        state.handed_in.pop(call_id, None)
        call = state.calls.get(call_id)
        origins = call.origins if call is not None else ()
        if call is not None:
            call.origins = ()
        try:
            return admit(engine, command)
        finally:
            if call is not None and state.calls.get(call_id) is call:
                call.origins = origins

    patch.setitem(DECISIONS, AdmitHandOver, forgetful)
    patch.setattr(Inbox, "take", _carry_out)


async def _carry_out(self: Inbox, sender: str, number: int, begin: Callable[[], Any]) -> bytes:
    answer: bytes = await begin()
    return answer


def carried_out_again(patch: Plant) -> None:
    """A repeat is taken for a new command."""
    whole, known = shard.decode_items, dict[tuple[str, str], int]()

    def renamed(item: Any) -> Any:
        if type(item) is not Submit or not item.command.id:
            return item
        key = (item.command.principal, item.command.id)
        known[key] = known.get(key, 0) + 1
        again = f"{item.command.id}/{known[key]}" if known[key] > 1 else item.command.id
        return structs.replace(item, command=structs.replace(item.command, id=again))

    patch.setattr(shard, "decode_items", lambda payload: [renamed(item) for item in whole(payload)])


def misdated_snapshot(patch: Plant) -> None:
    """A snapshot says that it is one batch younger than it is."""
    write = Follower._write_snapshot

    async def dated(self: Follower) -> None:
        self._engine_batch -= 1
        try:
            await write(self)
        finally:
            self._engine_batch += 1

    patch.setattr(Follower, "_write_snapshot", dated)


def unarchived(patch: Plant) -> None:
    """Each seventh batch counts as archived and is not; the journal forgets it."""
    add = Archive.add

    async def most(self: Archive, batches: list[tuple[int, list[Any]]]) -> None:
        await add(self, [(batch, events if batch % 7 else []) for batch, events in batches])

    patch.setattr(Archive, "add", most)


KILLS = Weather(disasters={"kill_shard": 4.0, "kill_at_a_step": 4.0})
LOSSES = Weather(loss_ratio=0.05, repeat_ratio=0.4)


@pytest.mark.parametrize(
    ("plant", "seed", "weather", "found"),
    [
        (shown_before_durable, 3, None, "which is not durable"),
        (no_fence, 8, None, "the store is at batch"),
        (endless_ringing, 3, None, "rings past"),
        (hollow_hang_up, 3, None, "after all faults stopped"),
        (overbooked, 3, None, "is over capacity"),
        (half_replay, 3, KILLS, "shadow.failed"),
        (forgetful_replay, 8, None, "in memory is not what batch"),
        (lost_notice, 3, None, "got number"),
        (gap_after_resume, 3, None, "was resumed up to"),
        (admitted_called_refused, 4, None, "5: "),
        (forgotten_arrivals, 4, LOSSES, "5: "),
        (carried_out_again, 3, None, "and then"),
        (misdated_snapshot, 3, None, "is not what its batches make"),
        (unarchived, 3, None, "the history of"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_a_planted_bug_is_found(
    plant: Callable[[Plant], None], seed: int, weather: Weather | None, found: str, monkeypatch: Plant
) -> None:
    """Given a bug in the product; then the run of that seed ends with the violation that means it."""
    plant(monkeypatch)
    assert seed in SEEDS
    failure = run(seed, weather and structs.replace(weather)).failure
    assert isinstance(failure, Violation)
    assert found in str(failure)


@pytest.mark.parametrize(("seed", "weather"), [(3, KILLS), (4, LOSSES)])
def test_without_the_bug_the_same_hall_holds(seed: int, weather: Weather) -> None:
    """Given the same seed and weather and no bug; then the run holds."""
    run(seed, structs.replace(weather)).check()
