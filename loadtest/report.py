"""A run on paper: `summary.json` for programs, `summary.txt` and `report.html` for people, CSV files for further questions.

Rules: every figure comes with its definition, the seed, the digests, the commit and the machine, so that it can be repeated and
doubted. The page needs no network: plots are inside it. Nothing is rounded in JSON and CSV.

Not here: the figures (`loadtest/measures.py`), drawing (`loadtest/plots.py`).
"""

import csv
import html
import os
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from loadtest.accounting import Mismatch
from loadtest.measures import DEFINITIONS, SERVICE_LEVEL_MS, Measures, Percentiles, Predicted
from loadtest.records import CallRecord, Engagement, Records

FILES = ("summary.json", "summary.txt", "report.html", "calls.csv", "engagements.csv")
MISMATCHES_SHOWN = 50
"""In the texts; `summary.json` has all of them."""

STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; } th, td { padding: .25rem .8rem .25rem 0; text-align: left; }
td.figure { text-align: right; font-variant-numeric: tabular-nums; } small { opacity: .75; }
tr { border-bottom: 1px solid #8884; } .passed { color: #1a7f4b; } .failed { color: #c02b2b; }
figure { margin: 1rem 0; background: white; border-radius: .5rem; } svg { width: 100%; height: auto; }
"""


class Circumstances(Struct, frozen=True, kw_only=True):
    """Under what a figure was measured."""

    seed: int
    customers: int
    agents: int
    seconds: int
    schedule_sha256: str
    configuration_sha256: str
    commit: str
    machine: str
    load_average_before: float
    started_at_ms: int


class Summary(Struct, frozen=True, kw_only=True):
    """Everything that is known of a run. `failures` empty: it passed."""

    failures: list[str]
    mismatches: list[Mismatch]
    circumstances: Circumstances
    measures: Measures
    definitions: dict[str, str]


def commit() -> str:
    """Return the commit that runs here, marked when files differ from it; `unknown` outside of a checkout."""
    folder = Path(__file__).parent.parent
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return answer.stdout.strip()


def machine() -> str:
    """Return what this machine is, in a line."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {memory_gib:.0f} GiB, " + (
        f"Python {platform.python_version()}"
    )


def write(folder: Path, summary: Summary, records: Records, plots: list[str]) -> None:
    """Write all files of the report into `folder`. `plots` are SVG drawings."""
    (folder / "summary.json").write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=2))
    (folder / "summary.txt").write_text(text(summary) + "\n", encoding="utf-8")
    (folder / "report.html").write_text(page(summary, plots), encoding="utf-8")
    outcomes = [(*msgspec.structs.astuple(one), one.outcome) for one in records.calls]
    _write_csv(folder / "calls.csv", (*CallRecord.__struct_fields__, "outcome"), outcomes)
    engagements = [msgspec.structs.astuple(one) for one in records.engagements]
    _write_csv(folder / "engagements.csv", Engagement.__struct_fields__, engagements)


def _write_csv(path: Path, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


# -- rows that text and page share


def _rows(measures: Measures) -> list[tuple[str, str]]:
    """Name -> figure, in the order of reading."""
    counts, offered = measures.counts, max(1, measures.counts["offered"])
    return [
        *((name, f"{count} ({count / offered:.1%})") for name, count in counts.items()),
        ("service_level_1s", f"{measures.service_level_1s:.1%}"),
        ("occupancy_ratio", f"{measures.occupancy_ratio:.1%}"),
        ("wait_ms", _line(measures.wait_ms)),
        ("line_wait_ms", _line(measures.line_wait_ms)),
        ("decision_ms", _line(measures.decision_ms)),
        ("lateness_ms", _line(measures.lateness_ms)),
    ]


def _line(one: Percentiles) -> str:
    values = "  ".join(f"{name} {value:.1f}" for name, value in one.values.items())
    return f"{values}  max {one.max:.1f}  (n = {one.count})" if one.count else "nothing to measure"


def _circumstances(one: Circumstances) -> list[tuple[str, str]]:
    return [(name, str(getattr(one, name))) for name in one.__struct_fields__]


def _verdict(summary: Summary) -> str:
    return "passed" if not summary.failures else "FAILED: " + "; ".join(summary.failures)


def _figure(value: float) -> str:
    return f"{value:.4f}" if value < 10 else f"{value:.1f}"


def _window(measures: Measures) -> str:
    return f"from {measures.window_ms[0] / 1000:g} s to {measures.window_ms[1] / 1000:g} s"


# -- text


def text(summary: Summary) -> str:
    """Return the summary for a terminal."""
    measures = summary.measures
    lines = [f"load test {_verdict(summary)}", ""]
    lines += [f"  {name:<20}{figure}" for name, figure in _rows(measures)]
    lines += [f"  refused by reason   {measures.refusals}"] if measures.refusals else []
    lines += ["", f"  beside Erlang A, one pool, {_window(measures)}:   measured   predicted"]
    lines += [_prediction_line(one) for one in measures.predictions]
    lines += ["", *(f"  {name:<22}{value}" for name, value in _circumstances(summary.circumstances))]
    lines += ["", *(f"  {mismatch}" for mismatch in summary.mismatches[:MISMATCHES_SHOWN])]
    if len(summary.mismatches) > MISMATCHES_SHOWN:
        lines.append(f"  and {len(summary.mismatches) - MISMATCHES_SHOWN} more in summary.json")
    return "\n".join(lines).rstrip()


def _prediction_line(one: Predicted) -> str:
    return f"  {one.name:<50}{_figure(one.measured):>10}  {_figure(one.predicted):>10}"


# -- page


def page(summary: Summary, plots: list[str]) -> str:
    """Return the report as one page that needs nothing else."""
    measures = summary.measures
    kind = "failed" if summary.failures else "passed"
    figures = [(name, figure, DEFINITIONS.get(name, "")) for name, figure in _rows(measures)]
    predictions = [(one.name, _figure(one.measured), _figure(one.predicted)) for one in measures.predictions]
    mismatches = [(one.rule, one.what, one.detail) for one in summary.mismatches[:MISMATCHES_SHOWN]]
    return "\n".join(
        [
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>Tellerhall load test</title>',
            f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>',
            f'<h1>Load test</h1><p class="{kind}"><strong>{html.escape(_verdict(summary))}</strong></p>',
            _table(("figure", "value", "definition"), figures),
            *(_table(("rule", "what", "mismatch"), mismatches) if mismatches else "",),
            *(f"<figure>{plot}</figure>" for plot in plots),
            f"<h2>Beside the prediction</h2><p>Erlang A for one pool with the schedule's own rate and mean hold time, "
            f"{_window(measures)}. One run of this length is a small sample, talk is lognormal and the agents share skills "
            f"only in part: the order of magnitude counts. Service level within {SERVICE_LEVEL_MS} ms.</p>",
            _table(("figure", "measured", "predicted"), predictions),
            "<h2>Circumstances</h2>",
            _table(("name", "value"), _circumstances(summary.circumstances)),
            '<p>Also here: <a href="locust.html">locust\'s own page</a>, <code>summary.json</code>, '
            "<code>calls.csv</code>, <code>engagements.csv</code>, <code>schedule.jsonl</code>.</p></html>",
        ]
    )


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
