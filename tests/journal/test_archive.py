"""The archive: idempotent, cursor never ahead, history over midnight (SAFETY.md 2)."""

import sqlite3
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path

import pytest

from actors.archive import FILES_OPEN_MAX, Archive, ArchiveUnavailable
from dispatch.events import AgentActivityChanged, CallEnded, CallForgotten, CallQueued, Event
from tests.journal.division import DAY_MS, NOON_MS


def queued(call_id: str, at_ms: int = NOON_MS) -> Event:
    """A call's first event."""
    return CallQueued(at_ms, call_id, "c1", "loans", at_ms, at_ms + 20_000)


def ended(call_id: str, at_ms: int = NOON_MS) -> Event:
    """A later event of the call."""
    return CallEnded(at_ms, call_id, "c1", "loans", "customer")


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[Archive]:
    """An empty archive of division `main`."""
    archive = Archive(tmp_path / "archive", "main")
    yield archive
    await archive.close()


async def test_events_of_a_call_come_back_in_order(archive: Archive) -> None:
    """Given two calls in one batch and another, when a history is read, then it has that call's events alone, in order."""
    assert await archive.cursor() == 0
    await archive.add([(1, [queued("a"), queued("b"), ended("a")]), (2, [ended("b")])])
    assert await archive.cursor() == 2
    assert await archive.history("a") == [queued("a"), ended("a")]
    assert await archive.history("b") == [queued("b"), ended("b")]
    assert await archive.history("unknown") == []
    assert await archive.history("") == []


async def test_a_repeat_changes_nothing(archive: Archive) -> None:
    """Given a batch that was archived, when it is archived again with an older one, then rows and cursor stay."""
    await archive.add([(1, [queued("a")]), (2, [ended("a")])])
    await archive.add([(1, [queued("a")])])
    await archive.add([])
    assert await archive.history("a") == [queued("a"), ended("a")]
    assert await archive.cursor() == 2


async def test_a_batch_over_midnight_lies_in_two_days(archive: Archive, tmp_path: Path) -> None:
    """Given a call that ends after midnight, when its history is read, then both days are in it, in order."""
    evening, morning = NOON_MS, NOON_MS + DAY_MS
    await archive.add([(1, [queued("a", evening)]), (2, [ended("b", evening), CallForgotten(morning, "a", "c1")])])
    await archive.add([(3, [ended("a", morning + 1)])])
    assert sorted(path.stem for path in (tmp_path / "archive" / "main").glob("*.sqlite")) == [
        "2023-12-09",
        "2023-12-10",
    ]
    assert [event.at_ms for event in await archive.history("a")] == [evening, morning, morning + 1]
    assert await archive.cursor() == 3


async def test_a_crash_between_two_days_leaves_the_cursor_behind(archive: Archive, tmp_path: Path) -> None:
    """Given a second day that cannot be written, when a batch over midnight fails, then its repeat makes it whole."""
    batches: list[tuple[int, list[Event]]] = [(1, [queued("a"), ended("a", NOON_MS + DAY_MS)])]
    folder = tmp_path / "archive" / "main"
    folder.mkdir(parents=True)
    blocker = folder / "2023-12-10.sqlite"
    blocker.write_bytes(b"no database" * 100)
    with pytest.raises(ArchiveUnavailable, match="not a database"):
        await archive.add(batches)
    blocker.unlink()
    assert await archive.cursor() == 0
    await archive.add(batches)
    assert len(await archive.history("a")) == 2
    assert await archive.cursor() == 1


async def test_what_was_archived_is_there_after_a_restart(archive: Archive, tmp_path: Path) -> None:
    """Given an archive that was never closed, when another opens the folder, then it has cursor and history."""
    await archive.add([(7, [queued("a")])])
    second = Archive(tmp_path / "archive", "main")
    assert await second.cursor() == 7
    assert await second.history("a") == [queued("a")]
    await second.close()


async def test_old_days_are_dropped_and_the_cursor_stays(archive: Archive) -> None:
    """Given three days, when all before a far day are dropped, then the newest stays, since it holds the cursor."""
    for number in range(3):
        await archive.add([(number + 1, [queued(f"call-{number}", NOON_MS + number * DAY_MS)])])
    assert await archive.drop_before(date(2023, 12, 10)) == ["2023-12-09"]
    assert await archive.drop_before(date(2030, 1, 1)) == ["2023-12-10"]
    assert await archive.history("call-1") == []
    assert await archive.history("call-2") == [queued("call-2", NOON_MS + 2 * DAY_MS)]
    assert await archive.cursor() == 3


async def test_more_days_than_open_files(archive: Archive) -> None:
    """Given more days than files may be open, when the oldest call is looked up, then it is found."""
    days = FILES_OPEN_MAX + 3
    for number in range(days):
        await archive.add([(number + 1, [queued(f"call-{number}", NOON_MS + number * DAY_MS)])])
    assert await archive.history("call-0") == [queued("call-0")]
    assert await archive.cursor() == days
    assert f"open={FILES_OPEN_MAX}" in repr(archive)


async def test_events_without_a_call_are_kept_and_in_no_history(archive: Archive, tmp_path: Path) -> None:
    """Given an event of an agent alone, when it is archived, then the file has it and names the agent."""
    await archive.add([(1, [AgentActivityChanged(NOON_MS, "anna", "ready")])])
    file = sqlite3.connect(tmp_path / "archive" / "main" / "2023-12-09.sqlite")
    rows = file.execute("SELECT agent_id, call_id, type FROM events").fetchall()
    plan = file.execute(
        "EXPLAIN QUERY PLAN SELECT body FROM events WHERE call_id = ? AND call_id <> ''", ("a",)
    ).fetchall()
    file.close()
    assert rows == [("anna", "", "AgentActivityChanged")]
    assert "events_by_call" in plan[0][3]


async def test_a_newer_format_is_refused(archive: Archive, tmp_path: Path) -> None:
    """Given a file of a later Tellerhall, when it is opened, then the error says so and nothing is changed."""
    folder = tmp_path / "archive" / "main"
    folder.mkdir(parents=True)
    file = sqlite3.connect(folder / "2023-12-09.sqlite")
    file.execute("PRAGMA user_version = 99")
    file.close()
    with pytest.raises(ArchiveUnavailable, match="format 99"):
        await archive.cursor()
