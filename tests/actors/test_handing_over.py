"""Calls on their way from one shard's division to another's: once, whoever is killed at whatever point (SAFETY.md 14)."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from actors import courier
from actors.courier import Courier
from actors.disk import DiskSettings
from actors.hall import Hall
from actors.items import Submit, begins_call
from actors.journal import Append
from actors.journal_memory import MemoryJournal
from actors.local import LocalHall, LocalNetwork, local_hall
from dispatch import events as ev
from dispatch.commands import AdmitHandOver, Command, EndHandedCall, ReportHandOver, RevokeHandOver
from dispatch.effects import HandOver, TakeBack, TellEnd
from dispatch.handing_facts import HandedCall
from dispatch.plan import AgentPlan, Plan, QueuePlan, Way
from tests.actors.kit import Client, history
from tests.waiting import until


def loans(**fields: Any) -> QueuePlan:
    return QueuePlan(id="loans", media="external", recording="off", wrap_up="none", **fields)


WEST = Plan(
    division_id="main",
    queues=[loans(waiting_max=0, on_full=[Way("overflow", ["east/loans"])])],
    agents=[AgentPlan(id="wanda", skills={"none": 1})],
    hand_over_give_up_ms=600_000,
)
EAST = Plan(
    division_id="east",
    queues=[loans(waiting_max=2)],
    agents=[AgentPlan(id="emma")],
)
SHARDS = {"main": 0, "east": 1}


class CutJournal(MemoryJournal):
    """A store at whose n-th write of a division the shard behind it is killed: before it is done, or just after."""

    def __init__(self, division_id: str, at: int, *, is_done: bool) -> None:
        super().__init__()
        self.cut = asyncio.Event()
        self._division_id = division_id
        self._left = at
        self._is_done = is_done

    async def append(self, appends: list[Append]) -> None:
        if any(one.division_id == self._division_id for one in appends) and not self.cut.is_set():
            self._left -= 1
            if not self._left:
                if self._is_done:
                    await super().append(appends)
                self.cut.set()
                await asyncio.Event().wait()
        await super().append(appends)


async def kill_at_the_cut(local: LocalHall, journal: CutJournal, division_id: str) -> None:
    await journal.cut.wait()
    await local.kill_shard(SHARDS[division_id])
    await local.start_shard(SHARDS[division_id])


async def live_a_life(hall: Hall) -> tuple[Client, Client]:
    """A customer asks in `main`, goes on in `east`, talks there and hangs up by way of `main`; returns both its pages."""
    page = Client("customer:zoe")
    await page.connect(hall)
    call = hall.call("call-1")
    assert (await call.request("zoe", "loans", command_id="r-1")).is_accepted
    await until(lambda: page.has(ev.CallHandedOver))
    moved = page.events[-1]
    assert isinstance(moved, ev.CallHandedOver)
    there = Client("customer:zoe", moved.to_division)
    there.seq = moved.seq
    assert (await there.connect(hall)).kind == "resumed"
    emma = hall.agent("emma", "east")
    assert (await emma.set_ready(command_id="s-1")).is_accepted
    view = await call.view()
    assert view is not None
    assert (await emma.accept(view.reservation_id, command_id="a-1")).is_accepted
    assert (await hall.call("call-1", "east").report_connected(principal="agent:emma", command_id="c-1")).is_accepted
    assert (await call.hang_up(principal="customer:zoe", command_id="h-1")).is_accepted
    return page, there


async def settled(journal: MemoryJournal) -> Counter[tuple[str, str]]:
    """(division, kind of event) of both journals, once the last word of the hand-over is durable."""
    for _ in range(500):
        told = {one: await history(journal, one) for one in SHARDS}
        if any(isinstance(event, ev.OriginTold) for event in told["east"]):
            break
        await asyncio.sleep(0.02)
    return Counter((one, type(event).__name__) for one, events in told.items() for event in events)


ONCE = {
    ("main", "CallQueued"): 1,
    ("main", "CallHandingOver"): 1,
    ("main", "CallHandedOver"): 1,
    ("main", "HandedCallEnded"): 1,
    ("east", "HandOverAdmitted"): 1,
    ("east", "CallReserved"): 1,
    ("east", "ReservationAccepted"): 1,
    ("east", "CallConnected"): 1,
    ("east", "CallEnded"): 1,
    ("east", "OriginTold"): 1,
}


def check_once(counts: Counter[tuple[str, str]]) -> None:
    of_the_call = {key: count for key, count in counts.items() if key in ONCE or key[1].startswith(("Call", "Hand"))}
    assert of_the_call == ONCE


WRITES = {"main": 5, "east": 8}
"""Batches that each division writes in that life at least; its plan is the first."""


async def test_a_call_is_handed_over_and_followed() -> None:
    """Given a full queue with an overflow to another shard's division, then the call lives on there, and numbers go on."""
    journal = MemoryJournal()
    async with local_hall(WEST, journal, (EAST,), shards_count=2) as local:
        assert [list(shard.divisions) for shard in local.shards.values()] == [["main"], ["east"]]
        hall = local.hall("g-1")
        page, there = await live_a_life(hall)
        check_once(await settled(journal))
        await until(lambda: there.has(ev.CallEnded) and page.has(ev.HandedCallEnded))
        assert [type(event).__name__ for event in there.events] == [
            "HandOverAdmitted", "CallReserved", "ReservationAccepted", "CallConnected", "CallEnded",
        ]  # fmt: skip
        assert not there.resets, "the last number was good in the new division"
        for shard in local.shards.values():
            assert not len(shard._performer.courier)
        await hall.close()
        for division_id in SHARDS:
            assert len(await journal.read(division_id, 0, 1_000)) >= WRITES[division_id]


@pytest.mark.parametrize("is_done", [False, True], ids=["before-it-is-durable", "after-it-is-durable"])
@pytest.mark.parametrize(
    ("division_id", "at"), [(one, at) for one, count in WRITES.items() for at in range(2, count + 1)]
)
async def test_killed_at_every_write(division_id: str, at: int, is_done: bool) -> None:
    """Given a shard killed at its n-th write, before or after it is durable, then everything happens once all the same."""
    journal = CutJournal(division_id, at, is_done=is_done)
    async with local_hall(WEST, journal, (EAST,), shards_count=2) as local:
        hall = local.hall("g-1")
        killing = asyncio.create_task(kill_at_the_cut(local, journal, division_id))
        page, there = await live_a_life(hall)
        check_once(await settled(journal))
        await asyncio.wait_for(killing, 10)
        await until(lambda: there.has(ev.CallEnded) and page.has(ev.HandedCallEnded))
        await hall.close()


async def test_both_killed_between_two_words() -> None:
    """Given both shards killed while the target is being asked, then the call is handed over once they are back."""
    journal = MemoryJournal()
    async with local_hall(WEST, journal, (EAST,), shards_count=2) as local:
        hall = local.hall("g-1")
        await local.kill_shard(1)
        assert (await hall.call("call-1").request("zoe", "loans")).is_accepted
        await local.kill_shard(0)
        await local.start_shard(1)
        await local.start_shard(0)
        for _ in range(500):
            if any(isinstance(event, ev.CallHandedOver) for event in await history(journal)):
                break
            await asyncio.sleep(0.02)
        view = await hall.call("call-1").view()
        assert view is not None
        assert view.state == "waiting"
        assert (await hall.call("call-1").hang_up()).is_accepted
        assert (await settled(journal))["east", "CallEnded"] == 1
        await hall.close()


async def test_the_origin_moves_while_the_target_is_away() -> None:
    """Given a target that is away, when the origin moves to another shard, then its new owner hands the call over."""
    journal = MemoryJournal()
    async with local_hall(WEST, journal, (EAST,), shards_count=2) as local:
        hall = local.hall("g-1")
        await local.kill_shard(1)
        assert (await hall.call("call-1").request("zoe", "loans")).is_accepted
        await local.start_shard(1)
        await hall.move("main", "shard-1")
        for _ in range(500):
            if any(isinstance(event, ev.CallHandedOver) for event in await history(journal)):
                break
            await asyncio.sleep(0.02)
        assert [type(one).__name__ for one in await history(journal, "east")].count("HandOverAdmitted") == 1
        assert not len(local.shards[0]._performer.courier)
        await hall.close()


async def test_a_division_that_never_was() -> None:
    """Given an overflow to a division that nobody ever owned, then it is refused at once and the call ends by its limit."""
    nowhere = [Way("overflow", ["nowhere/loans"])]
    async with local_hall(Plan(division_id="main", queues=[loans(waiting_max=0, on_full=nowhere)])) as local:
        hall = local.hall("g-1")
        assert (await hall.call("call-1").request("zoe", "loans")).is_accepted
        for _ in range(500):
            view = await hall.call("call-1").view()
            assert view is not None
            if view.state == "ended":
                break
            await asyncio.sleep(0.02)
        assert view.end_reason == "queue_full"
        refused = [event for event in await history(local.journal) if isinstance(event, ev.HandOverRefused)]
        assert [event.reason for event in refused] == ["unknown_division"]
        await hall.close()


async def test_a_target_without_disk_takes_no_call(tmp_path: Path) -> None:
    """SAFETY.md 21. Given a target below its floor of disk, then it admits nothing; once there is room, it is asked again."""
    async with local_hall(WEST, None, (EAST,), shards_count=2) as local:
        hall, disk = local.hall("g-1"), local.shards[1].disk
        disk.settings = DiskSettings({"archive": str(tmp_path)}, 1 << 60)
        await disk.look()
        await disk.look()
        assert (await hall.call("call-1").request("zoe", "loans")).is_accepted
        await asyncio.sleep(0.5)
        east = local.shards[1].divisions["east"].engine.state
        assert not east.calls
        view = await hall.call("call-1").view()
        assert view is not None
        assert view.state == "handing_over"
        disk.settings = DiskSettings({"archive": str(tmp_path)}, 0)
        await disk.look()
        await disk.look()
        await until(lambda: "call-1" in east.calls)
        await hall.close()


def test_a_hand_over_is_a_newcomer() -> None:
    """Given an overloaded target, then hand-overs are refused before anything that ends a call, the wish to end one too."""
    assert begins_call(Submit("east", AdmitHandOver(handed("call-1").call)))
    assert not begins_call(Submit("east", RevokeHandOver("call-1", 5, "main", 1, "customer_hung_up")))
    assert not begins_call(Submit("main", EndHandedCall("call-1", 4, "customer_hung_up")))


# -- the courier alone


def handed(call_id: str, version: int = 4) -> HandOver:
    call = HandedCall(call_id=call_id, customer_id="zoe", queue_id="loans", from_division="main", version=version,
                      valid_until_ms=1, hops=1, queued_at_ms=1)  # fmt: skip
    return HandOver("east", call)


@pytest.fixture
async def idle() -> AsyncIterator[tuple[Courier, list[Command], asyncio.Event]]:
    """A courier whose directory does not answer before the event; all are unknown divisions to it then."""
    reports: list[Command] = []
    answer = asyncio.Event()

    async def read_owner(division_id: str) -> None:
        await answer.wait()

    one = Courier(LocalNetwork(), read_owner, lambda division_id, command: reports.append(command))
    yield one, reports, answer
    await one.close()


async def test_a_later_version_takes_the_place_of_the_one_before(
    idle: tuple[Courier, list[Command], asyncio.Event],
) -> None:
    """Given an errand under way, when it is given again, or an older one, nothing; a later one is all that counts."""
    one, reports, answer = idle
    one.take("main", handed("call-1", 4))
    one.take("main", handed("call-1", 4))
    one.take("main", TakeBack("east", "call-1", 5, "", 1, "main"))
    one.take("main", handed("call-1", 4))
    await asyncio.sleep(0)
    assert len(one) == 1
    answer.set()
    await until(lambda: not len(one))
    assert reports == [ReportHandOver("call-1", 5, "unknown_division")]


async def test_errands_are_bounded(
    idle: tuple[Courier, list[Command], asyncio.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given as many errands as may be, when one more comes, then it is left out; a later version of one under way is not."""
    one, reports, answer = idle
    monkeypatch.setattr(courier, "ERRANDS_MAX", 3)
    for number in range(4):
        one.take("main", handed(f"call-{number}"))
    one.take("main", TakeBack("east", "call-0", 5, "", 1, "main"))
    assert len(one) == 3
    answer.set()
    await until(lambda: not len(one))
    versions = {command.call_id: command.version for command in reports if isinstance(command, ReportHandOver)}
    assert versions == {"call-0": 5, "call-1": 4, "call-2": 4}


async def test_a_division_that_moves_takes_its_errands_along(
    idle: tuple[Courier, list[Command], asyncio.Event],
) -> None:
    """Given errands of two divisions, when one is dropped, then only the other's go on."""
    one, reports, answer = idle
    one.take("main", handed("call-1"))
    one.take("other", TellEnd("east", "call-2", 4, "customer_hung_up"))
    one.drop("main")
    answer.set()
    await until(lambda: not len(one))
    assert [type(command).__name__ for command in reports] == ["ReportEndTold"]


async def test_an_errand_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a target that never answers for good, then the errand is given up after its time."""
    monkeypatch.setattr(courier, "ERRAND_S", 0.2)
    async with local_hall(EAST) as local:
        await local.kill_shard()
        reports: list[Command] = []
        one = Courier(local.network, local.directory.read_owner, lambda division_id, command: reports.append(command))
        monkeypatch.setattr("actors.mailbox.LETTER_S", 0.05)
        one.take("main", handed("call-1"))
        await until(lambda: not len(one))
        assert not reports
        await one.close()
