"""Reports: counted once from the archive, whatever was restarted when; told by interval, queue and agent."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors import reports as reports_module
from actors.archive import Archive
from actors.archive_reading import EndedFilter
from actors.follower import Follower
from actors.histories import Histories
from actors.history_items import DropHistory, EventsPage, ReadEnded, ReadEvents, ReadReport, Report
from actors.items import HallUnavailable, ReadHistory, decode_answer
from actors.journal_memory import MemoryJournal
from actors.reports import FILE, ROWS_MAX, Reports
from dispatch import commands as cm
from dispatch.counts import add
from dispatch.measures import INTERVAL_MS, Measures
from tests.journal.division import DAY_MS, NOON_MS, Division
from tests.waiting import until


class Desk:
    """A division with its follower, archive and reports, all of which can begin anew over the same folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.division = Division(MemoryJournal())
        self.archive = self.reports = None  # type: ignore[assignment]

    async def begin(self) -> None:
        """What a start of the follower's process does."""
        self.archive = Archive(self.folder, "main")
        self.follower = Follower(self.division.journal, self.archive, "main")
        self.reports = Reports(self.archive, self.folder / "main", "main", lambda: self.division.now_ms)
        self.histories = Histories({"main": self.follower}, {"main": self.archive}, {"main": self.reports})

    async def die(self) -> None:
        """A kill: what is in memory is gone."""
        await self.archive.close()

    async def ask(self, item: Any) -> Any:
        return decode_answer(type(item), await self.histories.answer(item))

    async def answer_a_call(self, number: int, wait_ms: int = 3_000) -> None:
        """A call that waits, is answered, talks for 10 s and ends."""
        division, call_id = self.division, f"call-{number}"
        await division.do(cm.SetActivity(agent_id="anna", activity="not_ready", reason="tea"))
        await division.request(number)
        await division.wait(wait_ms)
        await division.do(cm.SetActivity(agent_id="anna", activity="ready"))
        reservation_id = division.engine.state.calls[call_id].reservations[0].id
        await division.do(cm.AcceptReservation(principal="agent:anna", agent_id="anna", reservation_id=reservation_id))
        await division.do(cm.ReportConnected(principal="agent:anna", call_id=call_id))
        await division.wait(10_000)
        await division.hang_up(call_id)

    def expected(self) -> Measures:
        """The fold over all that was decided, without a restart."""
        measures = Measures()
        for event in self.division.events:
            measures.apply(event)
        return measures


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path / "archive")
    await desk.division.open()
    await desk.begin()
    yield desk
    await desk.archive.close()


def whole_day(kind: str = "queues", interval_ms: int = INTERVAL_MS) -> ReadReport:
    start_ms = NOON_MS - DAY_MS // 2
    return ReadReport("main", kind, start_ms, start_ms + 2 * DAY_MS, interval_ms)  # type: ignore[arg-type]


@pytest.mark.parametrize("saves", [(), (0, 2), (0, 1, 2, 3), (3,)])
async def test_a_restart_neither_loses_nor_doubles(desk: Desk, saves: tuple[int, ...]) -> None:
    """Given kills between calls, some after the counters were kept and some long before; then all is counted once."""
    for number in range(4):
        await desk.answer_a_call(number)
        await desk.ask(whole_day())
        if number in saves:
            await desk.reports.save()
        await desk.answer_a_call(10 + number)
        await desk.follower.catch_up()
        await desk.die()
        await desk.begin()
    await desk.follower.catch_up()
    assert await desk.reports.catch_up()
    assert desk.reports._measures is not None
    assert desk.reports._measures.snapshot() == desk.expected().snapshot()
    report: Report = await desk.ask(whole_day())
    [row] = report.totals
    assert row.queue is not None
    assert (row.id, row.queue.offered_count, row.queue.answered_count) == ("loans", 8, 8)


async def test_kept_counters_are_not_counted_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given counters that were kept; when it begins anew; then only later events are read."""
    await desk.answer_a_call(1)
    await desk.ask(whole_day())
    await desk.reports.save()
    kept = desk.reports._position
    await desk.die()
    await desk.begin()
    read: list[Any] = []
    after = desk.archive.after

    async def watched(position: Any, count_max: int) -> Any:
        read.append(position)
        return await after(position, count_max)

    monkeypatch.setattr(desk.archive, "after", watched)
    await desk.ask(whole_day())
    assert read[0] == kept


@pytest.mark.parametrize("damage", ["cut", "gone", "ahead", "newer"])
async def test_a_file_that_is_no_good_is_made_anew(desk: Desk, damage: str) -> None:
    """Given counters that are damaged, missing, of another history or a newer program; then the archive is counted anew."""
    await desk.answer_a_call(1)
    await desk.ask(whole_day())
    await desk.reports.save()
    await desk.die()
    path = desk.folder / "main" / FILE
    data = path.read_bytes()
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "gone":
        path.unlink()
    elif damage == "ahead":
        batch, place, measures = msgspec.msgpack.decode(data)
        path.write_bytes(msgspec.msgpack.encode([batch + 1, place, measures]))
    else:
        batch, place, measures = msgspec.msgpack.decode(data)
        path.write_bytes(msgspec.msgpack.encode([batch, place, measures[:1] + b"\x63" + measures[2:]]))
    await desk.begin()
    report: Report = await desk.ask(whole_day())
    assert report.totals[0].queue is not None
    assert report.totals[0].queue.answered_count == 1


async def test_intervals_are_added_up_into_steps(desk: Desk) -> None:
    """Given calls in three quarters of an hour; then steps of 15 min, 30 min and a day have the same sum, their totals."""
    for number in range(3):
        await desk.answer_a_call(number)
        await desk.division.wait(INTERVAL_MS)
    reports = [await desk.ask(whole_day(interval_ms=one)) for one in (INTERVAL_MS, 2 * INTERVAL_MS, DAY_MS)]
    assert [len(one.rows) for one in reports] == [3, 2, 1]
    for report in reports:
        total = report.totals[0].queue
        summed = type(total)()
        for row in report.rows:
            assert (row.start_ms - report.from_ms) % report.interval_ms == 0
            add(summed, row.queue)
        assert summed == total
        assert (total.answered_count, total.wait_ms, total.talk_ms) == (3, 9_000, 30_000)


async def test_an_agents_time_runs_until_now(desk: Desk) -> None:
    """Given an agent who is ready since; when time passes without an event; then a report has it as ready time."""
    desk.division.now_ms += 60_000
    before: Report = await desk.ask(whole_day("agents"))
    desk.division.now_ms += 60_000
    after: Report = await desk.ask(whole_day("agents"))
    [earlier], [later] = before.totals, after.totals
    assert earlier.agent is not None
    assert later.agent is not None
    assert later.agent.ready_ms - earlier.agent.ready_ms == 60_000
    assert after.as_of_ms == desk.division.now_ms


async def test_a_report_that_is_behind_says_so(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a fold that does not get done in time; then the report says so, and knows nothing of the time since."""
    monkeypatch.setattr(reports_module, "PAGE", 3)
    await desk.answer_a_call(1)
    await desk.follower.catch_up()
    await desk.reports._step()
    monkeypatch.setattr(reports_module, "CATCH_UP_S", 0.0)
    report: Report = await desk.ask(whole_day("agents"))
    assert not report.is_caught_up
    assert report.as_of_ms == NOON_MS


async def test_the_bound_on_rows(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given as many rows as may be; then they are told; one more is refused by name."""
    assert ROWS_MAX == 10_000
    for number in range(2):
        await desk.answer_a_call(number)
        await desk.division.wait(INTERVAL_MS)
    monkeypatch.setattr(reports_module, "ROWS_MAX", 2)
    assert len((await desk.ask(whole_day())).rows) == 2
    monkeypatch.setattr(reports_module, "ROWS_MAX", 1)
    with pytest.raises(HallUnavailable, match="report_too_large"):
        await desk.ask(whole_day())


async def test_it_runs_by_itself_and_keeps_what_it_counted(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given events enough; when it runs in its task; then the counters are kept without anybody's word."""
    monkeypatch.setattr(reports_module, "SAVE_EVENTS", 5)
    await desk.answer_a_call(1)
    await desk.follower.catch_up()
    running = asyncio.create_task(desk.reports.run())
    await until((desk.folder / "main" / FILE).exists)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert desk.reports.status() == {"reports_batch": desk.division.batch, "reports_failure": ""}


async def test_events_come_in_pages_in_order(desk: Desk) -> None:
    """Given events over midnight; when they are read page by page; then they are all of them, in order, and the end is told."""
    await desk.answer_a_call(1)
    await desk.division.wait(DAY_MS)
    await desk.answer_a_call(2)
    await desk.follower.catch_up()
    end: EventsPage = await desk.ask(ReadEvents("main", None, 10))
    assert (end.events, end.end[0]) == ([], desk.division.batch)
    position, found = (0, -1), []
    while page := (await desk.ask(ReadEvents("main", position, 4))).events:
        assert len(page) <= 4
        found += [one.event for one in page]
        position = page[-1].position
    assert found == desk.division.events
    assert (await desk.ask(ReadEvents("main", end.end, 10))).events == []


async def test_calls_that_ended_on_a_day_come_in_pages(desk: Desk) -> None:
    """Given calls that ended on two days; then a day's are told in order, page by page, and filters leave some out."""
    for number in range(5):
        await desk.answer_a_call(number)
    await desk.division.wait(DAY_MS)
    await desk.answer_a_call(9)
    first = await desk.ask(ReadEnded("main", "2023-12-09", (0, -1), 3))
    assert [one.call_id for one in first.calls] == ["call-0", "call-1", "call-2"]
    rest = await desk.ask(ReadEnded("main", "2023-12-09", first.next, 3))
    assert [one.call_id for one in rest.calls] == ["call-3", "call-4"]
    assert rest.next is None
    assert [one.call_id for one in (await desk.ask(ReadEnded("main", "2023-12-10", (0, -1), 9))).calls] == ["call-9"]
    assert (await desk.ask(ReadEnded("main", "2021-01-01", (0, -1), 9))).calls == []
    wanted = ReadEnded("main", "2023-12-09", (0, -1), 9, EndedFilter(customer_id="c3"))
    assert [one.call_id for one in (await desk.ask(wanted)).calls] == ["call-3"]


async def test_dropped_days_are_gone_and_the_rest_is_not(desk: Desk) -> None:
    """Given two days; when what is before the second is dropped; then its calls are unknown, the counters are not."""
    await desk.answer_a_call(1)
    await desk.division.wait(DAY_MS)
    await desk.answer_a_call(2)
    await desk.ask(whole_day())
    assert await desk.ask(DropHistory("main", "2023-12-10")) == ["2023-12-09"]
    assert await desk.ask(ReadHistory("main", "call-1")) == []
    assert await desk.ask(ReadHistory("main", "call-2")) == desk.division.events_of("call-2")
    report: Report = await desk.ask(whole_day())
    assert report.totals[0].queue is not None
    assert report.totals[0].queue.answered_count == 2


async def test_another_division_is_refused_by_name(desk: Desk) -> None:
    with pytest.raises(HallUnavailable, match="unknown_division"):
        await desk.ask(ReadEvents("other", None, 1))
