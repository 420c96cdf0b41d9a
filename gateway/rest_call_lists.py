"""REST about many calls: those that are live, page by page, those that ended on a day, and how long histories are kept.

Rules: for staff, of the token's division. A page ends with the place to go on after (`next`), which stays good whoever has
come or gone meanwhile: nothing that was there all the time is missed or seen twice. Pages are bounded.

Not here: one call (`gateway/rest_calls.py`), the archive (`actors/archive.py`).
"""

import re
from datetime import UTC, date, datetime
from typing import Annotated, Literal, get_args

from msgspec import Meta, Struct

from actors.archive_reading import START, EndedFilter, EndedPage, Position
from actors.history_items import DropHistory, ReadEnded
from actors.items import CallsPage, ReadCallsPage
from gateway import documents
from gateway.operations import STAFF, Asked, Operation
from gateway.refusals import Refused

LIMIT_MAX = 500
LIMIT = 100
LiveState = Literal["invited", "waiting", "reserved", "connecting", "connected", "handing_over"]
LIVE_STATES: tuple[str, ...] = get_args(LiveState)
Name = Annotated[str, Meta(max_length=128)]
Day = Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$")]
Limit = Annotated[int, Meta(ge=1, le=LIMIT_MAX)]
_PLACE = re.compile(r"(\d{1,18})-(\d{1,18})")


class CallsQuery(Struct, forbid_unknown_fields=True):
    """Which live calls."""

    state: LiveState | None = None
    """Default: all that have not ended."""
    queue_id: Name = ""
    after: Annotated[int, Meta(ge=0, le=1 << 53)] = 0
    """The `next` of the page before."""
    limit: Limit = LIMIT


class CallList(Struct):
    """In the order in which they came."""

    calls: list[documents.CallDocument]
    next: int | None
    """For `after`: there are more; null: that was all."""


class EndedQuery(Struct, forbid_unknown_fields=True):
    """Which calls that are over."""

    day: Day | None = None
    """The day (UTC) on which they ended, as in `2026-11-28`; default: today."""
    queue_id: Name = ""
    agent_id: Name = ""
    """Who talked last."""
    customer_id: Name = ""
    reason: Name = ""
    """As in the history: `agent_hung_up`, `abandoned`, ..."""
    after: Name = ""
    """The `next` of the page before."""
    limit: Limit = LIMIT


class EndedCall(Struct):
    """A call that is over; its history tells the rest."""

    call_id: str
    customer_id: str
    queue_id: str
    reason: str
    agent_id: str
    """Empty when no agent had it."""
    waited_ms: int
    talked_ms: int
    ended_at_ms: int


class EndedCallList(Struct):
    """In the order in which they ended."""

    day: str
    calls: list[EndedCall]
    next: str | None
    """For `after`: there may be more; null: that was all so far."""


class DropQuery(Struct, forbid_unknown_fields=True):
    """Until when histories go."""

    before: Day
    """The first day (UTC) that is kept, as in `2026-11-28`; never later than today."""


class DroppedHistories(Struct):
    """Nobody can read the histories of these days any more."""

    days: list[str]


async def list_calls(asked: Asked) -> CallList:
    """Calls that have not ended. A call that ends between two pages is in one of them or in none."""
    speaker, query = asked.speaker, asked.query
    states = [query.state] if query.state is not None else list(LIVE_STATES)
    item = ReadCallsPage(speaker.division_id, states, query.queue_id, query.after, query.limit)
    page: CallsPage = await speaker.within_time(speaker.hall.ask(item))
    return CallList([documents.call_document(view, speaker.identity.role) for view in page.calls], page.next)


async def list_ended_calls(asked: Asked) -> EndedCallList:
    """From the archive, for as long as that is kept. With filters a page may hold fewer calls than asked for and go on."""
    speaker, query = asked.speaker, asked.query
    day = _day(query.day).isoformat() if query.day else datetime.now(UTC).date().isoformat()
    wanted = EndedFilter(query.queue_id, query.agent_id, query.customer_id, query.reason)
    item = ReadEnded(speaker.division_id, day, _place(query.after), query.limit, wanted)
    page: EndedPage = await speaker.within_time(speaker.hall.ask_follower(item))
    calls = [
        EndedCall(
            one.call_id,
            one.customer_id,
            one.queue_id,
            one.reason,
            one.agent_id,
            one.waited_ms,
            one.talked_ms,
            one.at_ms,
        )
        for one in page.calls
    ]
    return EndedCallList(day, calls, f"{page.next[0]}-{page.next[1] + 1}" if page.next is not None else None)


async def drop_histories(asked: Asked) -> DroppedHistories:
    """The histories of the days before go for good; recordings, reports and the audit log stay. A repeat finds nothing."""
    before = _day(asked.query.before)
    if before > datetime.now(UTC).date():
        raise Refused("bad_value", "before: today at the latest; today's histories are still being written")
    item = DropHistory(asked.speaker.division_id, before.isoformat())
    return DroppedHistories(await asked.speaker.within_time(asked.speaker.hall.ask_follower(item)))


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Refused("bad_value", f"{text}: no such day") from None


def _place(text: str) -> Position:
    if not text:
        return START
    found = _PLACE.fullmatch(text)
    if found is None:
        raise Refused("bad_value", "after: send the `next` of the page before")
    return int(found[1]), int(found[2]) - 1


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET",
        path="/v1/calls",
        handler=list_calls,
        summary="Calls that have not ended, page by page",
        roles=STAFF,
        whose="division",
        query=CallsQuery,
        answer=CallList,
    ),
    Operation(
        method="GET",
        path="/v1/ended-calls",
        handler=list_ended_calls,
        summary="Calls that ended on a day, page by page",
        roles=STAFF,
        whose="division",
        query=EndedQuery,
        answer=EndedCallList,
        is_audited=True,
    ),
    Operation(
        method="DELETE",
        path="/v1/histories",
        handler=drop_histories,
        summary="Let histories go that need not be kept any longer",
        roles=("operator",),
        whose="division",
        query=DropQuery,
        answer=DroppedHistories,
    ),
)
