"""Time zones by name, made into what the engine knows: an offset from UTC and the instants at which it changes.

Rules: `time_zone` of a queue's `hours` becomes `offset_minutes` and `offset_changes`, from the beginning of this year (UTC) on
for three years. So a plan is the same whenever it is read within a year, and good for two years at least; by then the
hall must have been started again. The zones are the machine's, or those of the package `tzdata`.

Not here: what hours mean (`dispatch/hours`), the other keys of the file (`configuration`).
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from actors.checking import Problem, join

YEARS = 3
"""Counted from the beginning of this one."""
KEY = "time_zone"
_DAY, _MINUTE = timedelta(days=1), timedelta(minutes=1)


def replace_time_zones(table: dict[str, Any], now: datetime) -> Iterator[Problem]:
    """Replace every `time_zone` in a configuration's table; yield what is wrong with those that cannot be."""
    for path, hours in _all_hours(table):
        if KEY not in hours:
            continue
        name = hours.pop(KEY)
        if "offset_minutes" in hours or "offset_changes" in hours:
            yield Problem(
                join(path, KEY), repr(name), "allowed is either time_zone or offset_minutes and offset_changes"
            )
            continue
        zone = _find(name)
        if zone is None:
            yield Problem(join(path, KEY), repr(name), 'allowed is a time zone\'s name, as in "Asia/Shanghai"')
            continue
        hours["offset_minutes"], hours["offset_changes"] = offsets(zone, now.year)


def _all_hours(table: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(path, table) of each queue's hours; where the file has something else there, the check of types says so."""
    for number, division in enumerate(_list(table.get("divisions"))):
        queues = division.get("queues") if isinstance(division, dict) else None
        for index, queue in enumerate(_list(queues)):
            hours = queue.get("hours") if isinstance(queue, dict) else None
            if isinstance(hours, dict):
                yield f"divisions[{number}].queues[{index}].hours", hours


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _find(name: object) -> ZoneInfo | None:
    try:
        return ZoneInfo(name) if isinstance(name, str) and name else None
    except (KeyError, ValueError, OSError):
        # Unknown, no name of a zone at all, or a folder of them.
        return None


def offsets(zone: ZoneInfo, year: int) -> tuple[int, list[tuple[int, int]]]:
    """Return (offset in minutes as the year begins, [(from which instant in ms, offset in minutes)]), for `YEARS` years."""
    at, end = datetime(year, 1, 1, tzinfo=UTC), datetime(year + YEARS, 1, 1, tzinfo=UTC)
    first = offset = _offset_minutes(zone, at)
    changes = []
    while at < end:
        following = _offset_minutes(zone, at + _DAY)
        if following != offset:
            changes.append((_change_ms(zone, at, offset), following))
        at, offset = at + _DAY, following
    return first, changes


def _offset_minutes(zone: ZoneInfo, at: datetime) -> int:
    offset = at.astimezone(zone).utcoffset()
    assert offset is not None
    return int(offset.total_seconds()) // 60


def _change_ms(zone: ZoneInfo, before: datetime, offset: int) -> int:
    """Return the minute at which the offset ends that holds at `before`, and no more a day later."""
    low, high = 0, _DAY // _MINUTE
    while high - low > 1:
        middle = (low + high) // 2
        if _offset_minutes(zone, before + middle * _MINUTE) == offset:
            low = middle
        else:
            high = middle
    return int((before + high * _MINUTE).timestamp()) * 1000
