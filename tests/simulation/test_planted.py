"""The checkers doubted: bugs that nobody wants, put into the real shell, and each is found.

Each seed holds without the bug: all of them are among those of `test_simulation.py`, or run here without it too.

Not found by the checkers: a frozen shard that answers reads from memory without asking for its lease. What it shows was
durable once; `tests/actors/test_ownership.py` has that rule.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from actors import courier, hosting, shard
from actors.follower import Follower
from actors.hosting import HostedDivision
from actors.inbox import Inbox
from actors.items import Submit
from actors.journal import Append
from actors.journal_memory import MemoryJournal
from actors.subscription import Subscription
from dispatch.commands import Command, ReportHandOver
from dispatch.effects import Reply
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


def no_timers(patch: Plant) -> None:
    """Nothing ever comes due."""
    patch.setattr(HostedDivision, "deadline_ms", lambda self: None)
    patch.setattr(HostedDivision, "expire_before", lambda self, at_ms: None)


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


def admitted_called_refused(patch: Plant) -> None:
    """The origin hears of each hand-over that the target said no."""
    told = courier.report_of

    def refused(errand: Any, answer: Reply) -> Command:
        report = told(errand, answer)
        return structs.replace(report, reason="queue_full") if isinstance(report, ReportHandOver) else report

    patch.setattr(courier, "report_of", refused)


def forgotten_ids(patch: Plant) -> None:
    """Commands lose the ids by which a repeat is known, and batches are carried out as often as they come."""
    whole = shard.decode_items

    def without_ids(payload: bytes) -> list[Any]:
        items = whole(payload)
        return [structs.replace(one, command=_nameless(one.command)) if type(one) is Submit else one for one in items]

    async def again(self: Inbox, sender: str, number: int, begin: Callable[[], Any]) -> bytes:
        answer: bytes = await begin()
        return answer

    patch.setattr(shard, "decode_items", without_ids)
    patch.setattr(Inbox, "take", again)


def _nameless(command: Command) -> Command:
    return structs.replace(command, id="")


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


KILLS = Weather(disasters={"kill_shard": 4.0, "kill_at_a_step": 4.0})
LOSSES = Weather(loss_ratio=0.05, repeat_ratio=0.2)


@pytest.mark.parametrize(
    ("plant", "seed", "weather"),
    [
        (shown_before_durable, 3, None),
        (no_fence, 8, None),
        (no_timers, 3, None),
        (half_replay, 3, KILLS),
        (lost_notice, 3, None),
        (admitted_called_refused, 4, None),
        (forgotten_ids, 3, LOSSES),
        (misdated_snapshot, 3, None),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_a_planted_bug_is_found(
    plant: Callable[[Plant], None], seed: int, weather: Weather | None, monkeypatch: Plant
) -> None:
    """Given a bug in the shell; then the run of that seed ends with a violation."""
    plant(monkeypatch)
    assert seed in SEEDS
    assert isinstance(run(seed, weather and structs.replace(weather)).failure, Violation)


@pytest.mark.parametrize("weather", [KILLS, LOSSES])
def test_without_the_bug_the_same_hall_holds(weather: Weather) -> None:
    """Given the same weather and no bug; then the run holds."""
    run(3, structs.replace(weather)).check()
