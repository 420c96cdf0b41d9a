"""What the follower is asked beside histories: reports, events in their order, calls that ended on a day; and what it answers.

Not here: the batches that carry them (`items`), who answers (`histories`).
"""

from typing import Literal

from msgspec import Struct

from actors.archive_reading import EndedFilter, Placed
from dispatch.counts import AgentCounts, QueueCounts

ReportKind = Literal["queues", "agents"]


class ReadReport(Struct, array_like=True, tag="report"):
    """The counters of [from, to), in steps of `interval_ms`; all three are multiples of 15 minutes. Answer: `Report`."""

    division_id: str
    kind: ReportKind
    from_ms: int
    to_ms: int
    interval_ms: int


class ReadEnded(Struct, array_like=True, tag="ended"):
    """A page of the calls that ended on a day (UTC, `2026-11-28`), after a position. Answer: `EndedPage`."""

    division_id: str
    day: str
    after: tuple[int, int]
    count_max: int
    wanted: EndedFilter = EndedFilter()


class ReadEvents(Struct, array_like=True, tag="events"):
    """The next archived events after a position; None: none, only where the archive ends now. Answer: `EventsPage`."""

    division_id: str
    after: tuple[int, int] | None
    count_max: int


class DropHistory(Struct, array_like=True, tag="drop"):
    """Remove the histories of the days before this one, for good. Answer: the days that were removed."""

    division_id: str
    before_day: str


class ReportRow(Struct, array_like=True):
    """What happened to one queue, or was done by one agent, in a step. One of the two is there."""

    start_ms: int
    """0 in a total."""
    id: str
    queue: QueueCounts | None
    agent: AgentCounts | None


class Report(Struct, array_like=True):
    """Counters, and how far they reach."""

    kind: ReportKind
    from_ms: int
    to_ms: int
    interval_ms: int
    as_of_ms: int
    """Nothing later is counted."""
    floor_ms: int
    """Nothing before is kept by interval."""
    is_caught_up: bool
    """All that was durable when it was asked for is counted."""
    rows: list[ReportRow]
    """By start and id; what has no counters has no row."""
    totals: list[ReportRow]
    """By id: the sums over the rows."""


class EventsPage(Struct, array_like=True):
    """Events in their order, and where the archive ended before they were read."""

    events: list[Placed]
    end: tuple[int, int]


HistoryItem = ReadReport | ReadEnded | ReadEvents | DropHistory
