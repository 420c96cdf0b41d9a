"""Opening hours by the name of a time zone: the engine gets an offset and its changes, for two years at least."""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from actors.configuration import ConfigurationError, load, plan_digest
from actors.time_zones import YEARS, offsets
from dispatch.hours import Hours, phase_at

NOW = datetime(2026, 11, 24, tzinfo=UTC)
Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a configuration whose one queue has these hours."""

    def write_file(hours: str) -> Path:
        path = tmp_path / "hall.toml"
        path.write_text(
            f'[[divisions]]\ndivision_id = "main"\n[[divisions.queues]]\nid = "loans"\nhours = {{ {hours} }}\n'
        )
        return path

    return write_file


WEEKLY = "weekly = [[[540, 1080]], [[540, 1080]], [[540, 1080]], [[540, 1080]], [[540, 1080]], [], []]"


def hours_of(path: Path, now: datetime = NOW) -> Hours:
    hours = load(path, now=now).divisions[0].queues[0].hours
    assert hours is not None
    return hours


def at_ms(zone: str, *when: int) -> int:
    return int(datetime(*when, tzinfo=ZoneInfo(zone)).timestamp()) * 1000  # type: ignore[misc, arg-type]


def test_a_zone_without_summer_time(write: Write) -> None:
    """Given Shanghai; then it is 480 minutes, and there are no changes."""
    hours = hours_of(write(f'time_zone = "Asia/Shanghai", {WEEKLY}'))
    assert (hours.offset_minutes, hours.offset_changes) == (480, [])


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Chatham"])
def test_every_opening_follows_the_local_clock(write: Write, zone: str) -> None:
    """Given a zone with summer time; then for two years the queue opens on each Monday at nine by that zone's own clock."""
    hours = hours_of(write(f'time_zone = "{zone}", {WEEKLY}'))
    for week in range(104):
        day = datetime(2026, 11, 30, tzinfo=UTC).toordinal() + 7 * week
        monday = datetime.fromordinal(day)
        opens_at_ms = at_ms(zone, monday.year, monday.month, monday.day, 9)
        assert phase_at(hours, 0, opens_at_ms - 1)[0] == "closed"
        assert phase_at(hours, 0, opens_at_ms) == ("open", opens_at_ms + 9 * 3_600_000)


def test_the_changes_are_the_zones_own() -> None:
    """Given Berlin from 2026 on; then it changes on the last Sundays of March and October at 1:00 UTC."""
    first, changes = offsets(ZoneInfo("Europe/Berlin"), 2026)
    assert first == 60
    assert [(datetime.fromtimestamp(at / 1000, UTC).isoformat()[:16], minutes) for at, minutes in changes] == [
        ("2026-03-29T01:00", 120),
        ("2026-10-25T01:00", 60),
        ("2027-03-28T01:00", 120),
        ("2027-10-31T01:00", 60),
        ("2028-03-26T01:00", 120),
        ("2028-10-29T01:00", 60),
    ]
    assert len(changes) == 2 * YEARS


def test_a_plan_is_the_same_all_year(write: Write) -> None:
    """Given a file that is read on the first and on the last day of a year; then digests are equal; next year they are not."""
    path = write(f'time_zone = "Europe/Berlin", {WEEKLY}')
    instants = (
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2026, 12, 31, 23, 59, tzinfo=UTC),
        datetime(2027, 1, 1, tzinfo=UTC),
    )
    first, last, next_year = (plan_digest(load(path, now=now).divisions[0]) for now in instants)
    assert first == last != next_year


@pytest.mark.parametrize(
    ("hours", "what"),
    [
        ('time_zone = "Asia/Shangai", ' + WEEKLY, "allowed is a time zone's name"),
        ('time_zone = "", ' + WEEKLY, "allowed is a time zone's name"),
        ('time_zone = "../etc/passwd", ' + WEEKLY, "allowed is a time zone's name"),
        ('time_zone = "Asia", ' + WEEKLY, "allowed is a time zone's name"),
        ("time_zone = 8, " + WEEKLY, "allowed is a time zone's name"),
        ('time_zone = "Asia/Shanghai", offset_minutes = 480, ' + WEEKLY, "allowed is either time_zone or"),
        ('time_zone = "Asia/Shanghai", offset_changes = [], ' + WEEKLY, "allowed is either time_zone or"),
    ],
)
def test_what_is_no_zone_is_named(write: Write, hours: str, what: str) -> None:
    """Given a zone that does not exist, or an offset beside it; then the line names the key, the value and what is allowed."""
    with pytest.raises(ConfigurationError) as error:
        load(write(hours), now=NOW)
    [line] = error.value.lines
    assert "divisions[0].queues[0].hours.time_zone: " in line
    assert what in line


@pytest.mark.parametrize(
    ("hours", "place"),
    [
        ("weekly = [[[540, 1441]], [], [], [], [], [], []]", "hours.weekly[0][0]: [540, 1441] is there"),
        ("weekly = [[[540]], [], [], [], [], [], []]", "hours.weekly[0][0]: [540] is there"),
        ("weekly = [[]]", "hours: weekly has 1 days"),
        ("weekly = [[[1080, 540]], [], [], [], [], [], []]", "hours: weekly[0]: spans must be sorted"),
        (f'special = {{ "2027-02-30" = [] }}, {WEEKLY}', "hours: special.2027-02-30: no such day"),
        (f"zone = 1, {WEEKLY}", "hours.zone: 1 is there: unknown key"),
        (f"offset_minutes = 841, {WEEKLY}", "hours.offset_minutes: 841 is there"),
    ],
)
def test_wrong_hours_are_named_by_their_place(write: Write, hours: str, place: str) -> None:
    """Given hours with a mistake; then the one line says where, down to the span."""
    with pytest.raises(ConfigurationError) as error:
        load(write(hours), now=NOW)
    [line] = error.value.lines
    assert f"divisions[0].queues[0].{place}" in line


def test_empty_hours_are_a_mistake(write: Write) -> None:
    """Given a queue whose hours are an empty table; then its seven days are missing: who wants no hours says none."""
    with pytest.raises(ConfigurationError, match="weekly has 0 days"):
        load(write(""))


def test_a_machine_without_zones_has_ours() -> None:
    """Given a machine that keeps no zones of its own; then those of the package are found."""
    program = "from zoneinfo import ZoneInfo, TZPATH; assert TZPATH == (); print(ZoneInfo('Asia/Shanghai'))"
    answer = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONTZPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.stdout == "Asia/Shanghai\n", answer.stderr
