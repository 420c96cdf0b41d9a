"""Opening hours: when a queue takes calls, with holidays, in integers.

Local time is UTC plus an offset; a zone with summer time has a list of changes, made from the time zone's name
where the configuration is read (`actors/configuration.py`), so that the engine needs no clock and no zone data.
Days are numbered from 1970-01-01, a Thursday; weekdays 0 (Monday) to 6 (Sunday), as in ISO 8601 less one.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

DAY_MINUTES = 1_440
MINUTE_MS = 60_000
SEARCH_DAYS = 400
"""A queue that does not open within so many days never does: no timer is set for it."""

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
    edges = _edges(hours, now_ms)
    opened_at_ms = max((at_ms for at_ms, opens in edges if opens and at_ms <= now_ms), default=None)
    closed_at_ms = max((at_ms for at_ms, opens in edges if not opens and at_ms <= now_ms), default=None)
    next_open_ms = min((at_ms for at_ms, opens in edges if opens and at_ms > now_ms), default=0)
    next_close_ms = min((at_ms for at_ms, opens in edges if not opens and at_ms > now_ms), default=0)
    if opened_at_ms is not None and (closed_at_ms is None or opened_at_ms >= closed_at_ms):
        return OPEN, next_close_ms
    if closed_at_ms is not None and now_ms < closed_at_ms + closing_grace_ms:
        until_ms = closed_at_ms + closing_grace_ms
        return CLOSING, min(until_ms, next_open_ms) if next_open_ms else until_ms
    return CLOSED, next_open_ms


def _edges(hours: Hours, now_ms: int) -> list[tuple[int, bool]]:
    """(instant, does it open there), from two days back to the first opening and closing ahead; spans that touch are one."""
    edges: list[tuple[int, bool]] = []
    today = (now_ms + _offset_ms(hours, now_ms)) // (DAY_MINUTES * MINUTE_MS)
    for day in range(today - 2, today + SEARCH_DAYS):
        for opens, closes in hours.special.get(date_of(day), hours.weekly[(day + 3) % 7]):
            opens_at_ms, closes_at_ms = _instant(hours, day, opens), _instant(hours, day, closes)
            if edges and edges[-1][0] == opens_at_ms:
                edges.pop()
            else:
                edges.append((opens_at_ms, True))
            edges.append((closes_at_ms, False))
        if day > today and len(edges) > 1 and edges[-2][0] > now_ms and _is_final(edges[-1][0], hours, day):
            break
    return edges


def _is_final(closes_at_ms: int, hours: Hours, day: int) -> bool:
    """Say whether a closing is final: before the end of its day, so that no span of the next day continues it."""
    return closes_at_ms < _instant(hours, day, DAY_MINUTES)


def _instant(hours: Hours, day: int, minute: int) -> int:
    local_ms = (day * DAY_MINUTES + minute) * MINUTE_MS
    return local_ms - _offset_ms(hours, local_ms - hours.offset_minutes * MINUTE_MS)


def _offset_ms(hours: Hours, at_ms: int) -> int:
    offset = hours.offset_minutes
    for from_ms, minutes in hours.offset_changes:
        if from_ms > at_ms:
            break
        offset = minutes
    return offset * MINUTE_MS
