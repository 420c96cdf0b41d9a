"""Instants and durations as people write them: `09:00:05`, `Tue 08:59:00`, `1 min 30 s`.

A scenario has one day and one offset from UTC; instants of other days carry their weekday, or beyond six days their date.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone

DAY_MS = 86_400_000
UNITS_MS = {"d": DAY_MS, "h": 3_600_000, "min": 60_000, "s": 1_000, "ms": 1}
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

INSTANT = r"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun|\d{4}-\d\d-\d\d) )?\d\d:\d\d:\d\d(?:\.\d{3})?"
DURATION = r"\d+ (?:d|h|min|s|ms)(?: \d+ (?:h|min|s|ms))*"


def duration_ms(text: str) -> int:
    """`1 min 30 s` -> 90,000. Raises ValueError for anything else."""
    if not re.fullmatch(DURATION, text):
        raise ValueError(f"no duration with a unit: {text!r}")
    numbers = text.split()
    return sum(int(number) * UNITS_MS[unit] for number, unit in zip(numbers[::2], numbers[1::2], strict=True))


def in_words(ms: int) -> str:
    """90,000 -> `1 min 30 s`."""
    parts, rest = [], abs(ms)
    for unit, size in UNITS_MS.items():
        count, rest = divmod(rest, size)
        parts += [f"{count} {unit}"] if count else []
    return ("-" if ms < 0 else "") + (" ".join(parts) or "0 s")


@dataclass(frozen=True)
class Clock:
    """The scene's day, and its local time less UTC."""

    day: date
    offset_minutes: int = 0

    @property
    def midnight_ms(self) -> int:
        """The instant at which the scene's day begins."""
        midnight = datetime(self.day.year, self.day.month, self.day.day, tzinfo=UTC)
        return int(midnight.timestamp()) * 1_000 - self.offset_minutes * 60_000

    def instant_ms(self, text: str) -> int:
        """`Tue 08:59:00`: the next Tuesday at or after the scene's day; raises ValueError for anything else."""
        day, _, clock = text.rpartition(" ")
        days = 0
        if day in WEEKDAYS:
            days = (WEEKDAYS.index(day) - self.day.weekday()) % 7
        elif day:
            days = (date.fromisoformat(day) - self.day).days
        hours, minutes, seconds = clock.split(":")
        second, _, milli = seconds.partition(".")
        at_ms = (int(hours) * 3_600 + int(minutes) * 60 + int(second)) * 1_000 + int(milli or 0)
        return self.midnight_ms + days * DAY_MS + at_ms

    def tell(self, at_ms: int) -> str:
        """The inverse of `instant_ms`."""
        zone = timezone(timedelta(minutes=self.offset_minutes))
        local = datetime.fromtimestamp(at_ms // 1_000, zone)
        milli = at_ms % 1_000
        clock = local.strftime("%H:%M:%S") + (f".{milli:03d}" if milli else "")
        days = (local.date() - self.day).days
        if days == 0:
            return clock
        return f"{WEEKDAYS[local.weekday()] if 0 < days < 7 else local.date().isoformat()} {clock}"
