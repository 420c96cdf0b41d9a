"""Opening hours: when a queue takes calls, with holidays, in integers.

Local time is UTC plus an offset; a zone with summer time has a list of changes, made from the time zone's name
where the configuration is read (`actors/configuration.py`), so that the engine needs no clock and no zone data.
Days are numbered from 1970-01-01, a Thursday; weekdays 0 (Monday) to 6 (Sunday), as in ISO 8601 less one.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

DAY_MINUTES = 1_440
MINUTE_MS = 60_000
DAY_MS = DAY_MINUTES * MINUTE_MS
SEARCH_DAYS = 400
"""So far ahead the next change is looked for."""
SEARCH_MS = SEARCH_DAYS * DAY_MS

Phase = Literal["open", "closing", "closed"]
OPEN: Phase = "open"
CLOSING: Phase = "closing"
CLOSED: Phase = "closed"

Minute = Annotated[int, Meta(ge=0, le=DAY_MINUTES)]
Span = tuple[Minute, Minute]
"""[opens, closes) in minutes after local midnight; 1440 is the end of the day."""
Date = Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}\Z")]


class Hours(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """When a queue is open. Spans of one day are sorted and do not overlap."""

    weekly: list[list[Span]] = field(default_factory=list)
    """Seven lists, Monday first; an empty list: closed that day."""
    special: dict[Date, list[Span]] = field(default_factory=dict)
    """Date -> spans that hold instead of the weekday's; an empty list: a holiday."""
    offset_minutes: Annotated[int, Meta(ge=-840, le=840)] = 0
    """Local time less UTC."""
    offset_changes: list[tuple[int, int]] = field(default_factory=list)
    """(from which instant in ms, offset in minutes), sorted: summer time and back."""

    def problems(self) -> list[str]:
        """Return what is wrong, in words."""
        found = [] if len(self.weekly) == 7 else [f"weekly has {len(self.weekly)} days, it needs 7, Monday first"]
        days = [(f"weekly[{index}]", spans) for index, spans in enumerate(self.weekly)]
        for name, spans in days + [(f"special.{date}", spans) for date, spans in self.special.items()]:
            ends = [minute for span in spans for minute in span]
            if ends != sorted(set(ends)):
                found.append(f"{name}: spans must be sorted, not empty and apart, as in [[540, 720], [780, 1080]]")
        for date in self.special:
            if not _is_date(date):
                found.append(f"special.{date}: no such day")
        if self.offset_changes != sorted(self.offset_changes):
            found.append("offset_changes must be sorted by instant")
        return found


def _is_date(date: str) -> bool:
    year, month, day = (int(part) for part in date.split("-"))
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    lengths = (31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
    return 1 <= month <= 12 and 1 <= day <= lengths[month - 1]


def date_of(day: int) -> str:
    """Return the ISO date of a day number (days since 1970-01-01), by the civil calendar (Hinnant 2013, days_from_civil)."""
    shifted = day + 719_468
    era, day_of_era = divmod(shifted, 146_097)
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_shifted = (5 * day_of_year + 2) // 153
    day_of_month = day_of_year - (153 * month_shifted + 2) // 5 + 1
    month = month_shifted + 3 if month_shifted < 10 else month_shifted - 9
    year = year_of_era + era * 400 + (1 if month <= 2 else 0)
    return f"{year:04d}-{month:02d}-{day_of_month:02d}"


def phase_at(hours: Hours | None, closing_grace_ms: int, now_ms: int) -> tuple[Phase, int]:
    """Return the phase at `now_ms` and the instant of the next change (0: none within `SEARCH_DAYS`).

    open -> closing (new calls are refused, who waits is served) for `closing_grace_ms` -> closed -> open ...
    """
    if hours is None:
        return OPEN, 0
    closed_at_ms, next_open_ms = None, 0
    for opens_at_ms, closes_at_ms in _openings(hours, now_ms):
        if opens_at_ms > now_ms:
            next_open_ms = opens_at_ms
            break
        if closes_at_ms > now_ms:
            return OPEN, closes_at_ms if closes_at_ms < now_ms + SEARCH_MS else 0
        closed_at_ms = closes_at_ms
    if closed_at_ms is not None and now_ms < closed_at_ms + closing_grace_ms:
        until_ms = closed_at_ms + closing_grace_ms
        return CLOSING, min(until_ms, next_open_ms) if next_open_ms else until_ms
    return CLOSED, next_open_ms


def _openings(hours: Hours, now_ms: int) -> Iterator[tuple[int, int]]:
    """[opens, closes) by the clock on the wall, in order, two days back to `SEARCH_DAYS` ahead; those that touch are one."""
    pending: tuple[int, int] | None = None
    for opens_at_ms, closes_at_ms in _spans(hours, now_ms - 2 * DAY_MS, now_ms + SEARCH_MS):
        if pending is not None and pending[1] == opens_at_ms:
            pending = (pending[0], closes_at_ms)
            continue
        if pending is not None:
            yield pending
        pending = (opens_at_ms, closes_at_ms)
    if pending is not None:
        yield pending


def _spans(hours: Hours, from_ms: int, until_ms: int) -> Iterator[tuple[int, int]]:
    """The same, span by span. Between two changes of the offset local time is UTC and a constant, so no time is guessed."""
    changes = [at_ms for at_ms, _ in hours.offset_changes if from_ms < at_ms < until_ms]
    for start_ms, end_ms in pairwise([from_ms, *changes, until_ms]):
        offset_ms = _offset_ms(hours, start_ms)
        for day in range((start_ms + offset_ms) // DAY_MS, (end_ms - 1 + offset_ms) // DAY_MS + 1):
            for opens, closes in hours.special.get(date_of(day), hours.weekly[(day + 3) % 7]):
                opens_at_ms = max(start_ms, day * DAY_MS + opens * MINUTE_MS - offset_ms)
                closes_at_ms = min(end_ms, day * DAY_MS + closes * MINUTE_MS - offset_ms)
                if opens_at_ms < closes_at_ms:
                    yield opens_at_ms, closes_at_ms


def _offset_ms(hours: Hours, at_ms: int) -> int:
    offset = hours.offset_minutes
    for from_ms, minutes in hours.offset_changes:
        if from_ms > at_ms:
            break
        offset = minutes
    return offset * MINUTE_MS
