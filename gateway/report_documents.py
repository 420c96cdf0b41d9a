"""Reports as documents: counters with the figures made from them, as JSON or as CSV.

Rules: a figure stands beside the counters that it is made from, and its definition beside both; T is in its name. Sums are made
from counters, never from figures. A share without anything to share is null, an empty cell in CSV.

Not here: counting (`dispatch/measures.py`), reading (`actors/reports.py`), who may ask (`gateway/rest_reports.py`).
"""

import csv
import io
from datetime import UTC, datetime
from typing import Any, Literal

from msgspec import Struct, structs

from actors.history_items import Report, ReportRow
from dispatch.counts import (
    DEFINITIONS,
    AgentCounts,
    QueueCounts,
    occupancy,
    service_level,
    service_level_name,
    service_level_target,
    wait_percentile_ms,
)

PERCENTILES = {"wait_p50_ms": 500, "wait_p90_ms": 900, "wait_p95_ms": 950, "wait_p99_ms": 990}
BUCKETS = ("waits", "abandoned_waits")
"""Of use to the figures alone."""

Counts = dict[str, int | dict[str, int]]
Figures = dict[str, float | int | None]


class ReportLine(Struct, kw_only=True):
    """One queue or agent in one step, or over the whole report."""

    start_ms: int | None
    """Null over the whole report."""
    id: str
    is_final: bool
    """Nothing that came in this step is open any more; agents: the step is over."""
    counts: Counts
    """Counters as `dispatch/counts.py` explains them; by reason where a counter has reasons."""
    figures: Figures
    """Named with their T or percentage; `definitions` says what each is."""


class ReportDocument(Struct, kw_only=True):
    """Counters of a stretch of time, by step, and over the whole of it."""

    kind: Literal["queues", "agents"]
    division_id: str
    from_ms: int
    to_ms: int
    interval_ms: int
    as_of_ms: int
    """Nothing later is counted."""
    floor_ms: int
    """Nothing earlier is kept by step."""
    is_caught_up: bool
    """All that was durable when it was asked for is counted."""
    definitions: dict[str, str]
    rows: list[ReportLine]
    totals: list[ReportLine]


def report_document(report: Report, division_id: str, within_ms: int) -> ReportDocument:
    """Return the report with its figures. Raises ValueError for a T that no figure can be made for."""
    name = service_level_name(within_ms)
    definitions = {
        key.replace("service_level_<T>s", name): text.replace("within T", f"within {within_ms} ms").replace(
            "after T", f"after {within_ms} ms"
        )
        if "<T>" in key
        else text
        for key, text in DEFINITIONS.items()
    }
    return ReportDocument(
        kind=report.kind,
        division_id=division_id,
        from_ms=report.from_ms,
        to_ms=report.to_ms,
        interval_ms=report.interval_ms,
        as_of_ms=report.as_of_ms,
        floor_ms=report.floor_ms,
        is_caught_up=report.is_caught_up,
        definitions=definitions,
        rows=[_line(row, row.start_ms, row.start_ms + report.interval_ms, report, within_ms) for row in report.rows],
        totals=[_line(row, None, report.to_ms, report, within_ms) for row in report.totals],
    )


def _line(row: ReportRow, start_ms: int | None, end_ms: int, report: Report, within_ms: int) -> ReportLine:
    is_over = end_ms <= report.as_of_ms
    if row.queue is not None:
        is_final = is_over and not row.queue.live_count
        return ReportLine(
            start_ms=start_ms,
            id=row.id,
            is_final=is_final,
            counts=_counters(row.queue),
            figures=queue_figures(row.queue, within_ms),
        )
    counts = row.agent or AgentCounts()
    return ReportLine(
        start_ms=start_ms,
        id=row.id,
        is_final=is_over,
        counts=_counters(counts),
        figures={"occupancy": occupancy(counts)},
    )


def _counters(counts: QueueCounts | AgentCounts) -> Counts:
    return {name: value for name, value in structs.asdict(counts).items() if name not in BUCKETS}


def queue_figures(counts: QueueCounts, within_ms: int) -> Figures:
    """Return every figure of a queue. Raises ValueError for a T that is no edge of the buckets."""
    return {
        service_level_name(within_ms): service_level(counts, within_ms),
        "service_level_target": service_level_target(counts),
        **{name: wait_percentile_ms(counts, per_mille) for name, per_mille in PERCENTILES.items()},
    }


# -- CSV


def report_csv(document: ReportDocument) -> str:
    """Return the rows as CSV (RFC 4180) with a head line; totals are those without a start.

    Counters by reason are a column a reason. The definition of the service level is the last column, so that a file that was
    sent on still says what it means.
    """
    lines = [*document.rows, *document.totals]
    flat = [_flat(line) for line in lines]
    columns = list(dict.fromkeys(name for row in flat for name in sorted(row, key=_plain_first)))
    definition = "; ".join(f"{name}: {text}" for name, text in document.definitions.items())
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\r\n")
    writer.writerow(["start", "start_ms", "id", "is_final", *columns, "definitions"])
    for line, row in zip(lines, flat, strict=True):
        begin = [_iso(line.start_ms), line.start_ms] if line.start_ms is not None else ["total", ""]
        cells = ["" if row.get(name) is None else row[name] for name in columns]
        writer.writerow([*begin, line.id, int(line.is_final), *cells, definition])
    return target.getvalue()


def _flat(line: ReportLine) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in {**line.figures, **line.counts}.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{reason}": count for reason, count in value.items()}
        else:
            flat[name] = value
    return flat


def _plain_first(name: str) -> tuple[bool, str]:
    return ("." in name, name)


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
