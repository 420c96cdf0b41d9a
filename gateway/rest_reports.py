"""REST about reports: what happened in the queues and what the agents did, by interval and in total.

Rules: for staff, of the token's division. Steps are multiples of 15 minutes, and so is where they begin; a report is bounded in
steps and rows. `Accept: text/csv` makes it CSV.

Not here: the documents (`gateway/report_documents.py`), counting (`actors/reports.py`).
"""

import time
from typing import Annotated, Any

from aiohttp import web
from msgspec import Meta, Struct

from actors.hall import HallUnavailable
from actors.history_items import ReadReport, Report, ReportKind
from dispatch.counts import WAIT_EDGES_MS
from dispatch.measures import INTERVAL_MS, INTERVALS_MAX
from gateway.operations import STAFF, Asked, Operation
from gateway.refusals import Refused
from gateway.report_documents import ReportDocument, report_csv, report_document

DAY_MS = 86_400_000
INTERVAL_MS_MAX = 31 * DAY_MS
CSV = "text/csv"

Instant = Annotated[int, Meta(ge=0, le=1 << 45)]


class ReportQuery(Struct, forbid_unknown_fields=True):
    """Query of both reports. Instants are ms since 1970, at a quarter of an hour."""

    from_ms: Instant | None = None
    """Default: a day before `to_ms`."""
    to_ms: Instant | None = None
    """Not in it any more. Default: the end of the present quarter of an hour."""
    interval_ms: Annotated[int, Meta(ge=INTERVAL_MS, le=INTERVAL_MS_MAX)] = INTERVAL_MS
    """How long a step is: 900000, 1800000, 3600000, ..."""
    service_level_ms: Annotated[int, Meta(ge=1, le=DAY_MS)] = 20_000
    """T of the service level that is computed beside each queue's own target."""


async def report_queues(asked: Asked) -> Any:
    """Calls by what became of them, waits, talk and wrap-up, with service levels. As CSV where `Accept` asks for `text/csv`."""
    return await _report(asked, "queues")


async def report_agents(asked: Asked) -> Any:
    """Each agent's time by what was done in it, and reservations by outcome. As CSV where `Accept` asks for `text/csv`."""
    return await _report(asked, "agents")


async def _report(asked: Asked, kind: ReportKind) -> Any:
    query: ReportQuery = asked.query
    from_ms, to_ms = _stretch(query)
    if query.service_level_ms not in WAIT_EDGES_MS:
        raise Refused("bad_value", f"service_level_ms: not kept for this T; the nearest is {_nearest(query)}")
    division_id = asked.speaker.division_id
    item = ReadReport(division_id, kind, from_ms, to_ms, query.interval_ms)
    try:
        report: Report = await asked.speaker.within_time(asked.speaker.hall.ask_follower(item))
    except HallUnavailable as error:
        if error.reason == "report_too_large":
            raise Refused("too_many_rows", "ask for fewer or longer steps, or for less time") from None
        raise
    document = report_document(report, division_id, query.service_level_ms)
    if not _wants_csv(asked.headers.get("Accept", "")):
        return document
    name = f"{kind}-{from_ms}-{to_ms}.csv"
    headers = {"Cache-Control": "no-store", "Content-Disposition": f'attachment; filename="{name}"', "Vary": "Accept"}
    return web.Response(text=report_csv(document), content_type=CSV, charset="utf-8", headers=headers)


def _stretch(query: ReportQuery) -> tuple[int, int]:
    """Return [from, to); raises `Refused`."""
    now_ms = time.time_ns() // 1_000_000
    to_ms = query.to_ms if query.to_ms is not None else (now_ms // INTERVAL_MS + 1) * INTERVAL_MS
    from_ms = query.from_ms if query.from_ms is not None else max(0, to_ms - DAY_MS)
    for name, value in (("from_ms", from_ms), ("to_ms", to_ms), ("interval_ms", query.interval_ms)):
        if value % INTERVAL_MS:
            raise Refused("bad_value", f"{name}: {value} is no multiple of {INTERVAL_MS}, a quarter of an hour")
    if not 0 < to_ms - from_ms <= INTERVALS_MAX * INTERVAL_MS:
        raise Refused("bad_value", f"to_ms: after from_ms, by {INTERVALS_MAX * INTERVAL_MS} at most")
    return from_ms, to_ms


def _nearest(query: ReportQuery) -> int:
    edges_ms: tuple[int, ...] = WAIT_EDGES_MS
    return min(edges_ms, key=lambda edge_ms: abs(edge_ms - query.service_level_ms))


def _wants_csv(accept: str) -> bool:
    """Say whether CSV is asked for, and not JSON before it."""
    kinds = [one.partition(";")[0].strip().lower() for one in accept.split(",")]
    if CSV not in kinds:
        return False
    return "application/json" not in kinds[: kinds.index(CSV)]


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET",
        path="/v1/reports/queues",
        handler=report_queues,
        summary="What happened in the queues, by interval and in total",
        roles=STAFF,
        whose="division",
        query=ReportQuery,
        answer=ReportDocument,
        other_media_types=(CSV,),
        headers=("Accept",),
        more_statuses=(422,),
    ),
    Operation(
        method="GET",
        path="/v1/reports/agents",
        handler=report_agents,
        summary="What the agents did, by interval and in total",
        roles=STAFF,
        whose="division",
        query=ReportQuery,
        answer=ReportDocument,
        other_media_types=(CSV,),
        headers=("Accept",),
        more_statuses=(422,),
    ),
)
