"""What is read out of an archive's files: events in their order, and calls that ended on a day.

Rules: a position is (batch, place), and only grows; what is read after a position never changes afterwards, so a reader who
keeps its position durably misses nothing and sees nothing twice. Pages are bounded in rows.

Theory: a batch over midnight lies in two files, the later day with the higher places. So the days in order, each in the order
of its rows, are the journal's order. Of days that are over only the last batch is remembered, by which most are passed over.

Not here: writing, and the thread all this runs in (`archive`).
"""

import sqlite3
from collections.abc import Callable

from msgspec import Struct

from dispatch.codec import decode_events
from dispatch.events import CallEnded, Event

PAGE_MAX = 5_000
"""Rows of one read: some 10 ms of the archive's thread, which the follower's writing waits for."""
LOOKED_AT_MAX = 50_000
"""Ended calls of a day that one page with a filter passes over; the page then ends early, with a place to go on at."""

Position = tuple[int, int]
"""(batch, place)."""
START: Position = (0, -1)
"""Before everything."""
OpenDay = Callable[[str], sqlite3.Connection]

_AFTER = (
    "SELECT batch, place, body FROM events WHERE (batch, place) > (?, ?) AND (batch, place) <= (?, ?) "
    "ORDER BY batch, place LIMIT ?"
)
_ENDED = (
    "SELECT batch, place, body FROM events WHERE type = 'CallEnded' AND (batch, place) > (?, ?) "
    "ORDER BY batch, place LIMIT ?"
)
ENDED_INDEX = "CREATE INDEX IF NOT EXISTS events_ended ON events (batch, place) WHERE type = 'CallEnded'"
"""A day of a large division has millions of events, and a hundred thousand of these."""


class Placed(Struct, array_like=True, frozen=True):
    """An event and its position."""

    batch: int
    place: int
    event: Event

    @property
    def position(self) -> Position:
        return (self.batch, self.place)


class EndedPage(Struct, array_like=True, frozen=True):
    """Some calls that ended on a day, and where to go on; None: that was all."""

    calls: list[CallEnded]
    next: tuple[int, int] | None


class EndedFilter(Struct, array_like=True, frozen=True):
    """Which ended calls; an empty field says nothing."""

    queue_id: str = ""
    agent_id: str = ""
    customer_id: str = ""
    reason: str = ""

    def takes(self, call: CallEnded) -> bool:
        return all(
            wanted in ("", getattr(call, name))
            for name in self.__struct_fields__
            if (wanted := getattr(self, name)) != ""
        )


def read_after(open_day: OpenDay, days: list[str], after: Position, until_batch: int, count_max: int) -> list[Placed]:
    """Return the next events after a position, up to a batch; `days` are those that may hold any, in order."""
    found: list[Placed] = []
    for day in days:
        room = min(count_max, PAGE_MAX) - len(found)
        if room <= 0:
            break
        rows = open_day(day).execute(_AFTER, (*after, until_batch, 1 << 62, room)).fetchall()
        found += [Placed(batch, place, decode_events(body)[0]) for batch, place, body in rows]
    return found


def last_batch(file: sqlite3.Connection) -> int:
    """Return the highest batch of a day's file; 0 for an empty one."""
    [row] = file.execute("SELECT max(batch) FROM events").fetchall()
    return int(row[0] or 0)


def read_ended(file: sqlite3.Connection, after: Position, count_max: int, wanted: EndedFilter) -> EndedPage:
    """Return a page of the calls that ended on a day, in the order in which they did."""
    calls: list[CallEnded] = []
    looked_at_count, position = 0, after
    rows = file.execute(_ENDED, (*after, LOOKED_AT_MAX + 1))
    for batch, place, body in rows:
        if len(calls) >= count_max or looked_at_count >= LOOKED_AT_MAX:
            return EndedPage(calls, position)
        looked_at_count, position = looked_at_count + 1, (batch, place)
        [event] = decode_events(body)
        if isinstance(event, CallEnded) and wanted.takes(event):
            calls.append(event)
    return EndedPage(calls, None)
