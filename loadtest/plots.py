"""The drawings of a report, as SVG to be put into the page.

Rules: each plot answers one question, which is its title. Text stays text, so the page can be searched and stays small.

Not here: the figures beside them (`loadtest/measures.py`).
"""

import io
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from loadtest.erlang import p_longer, predict
from loadtest.measures import decisions_ms, line_waits, pool_of
from loadtest.records import Records
from loadtest.workload import Arrival, Workload

BINS = 60
BLUE, RED, GREEN, GREY = "#1f5fbf", "#c02b2b", "#1a7f4b", "#888888"


def draw(workload: Workload, arrivals: list[Arrival], records: Records) -> list[str]:
    """Return the plots of a run, in the order of reading."""
    mpl.rcParams["svg.fonttype"] = "none"
    return [
        _plot("Who is busy: agents and calls over the run", "s since the start", lambda axes: _busy(axes, records)),
        _plot("How long calls wait in line", "s in line", lambda axes: _waits(axes, workload, arrivals, records)),
        _plot("How fast the hall decides when an agent is free", "ms", lambda axes: _decisions(axes, records)),
    ]


def _plot(title: str, across: str, fill: Callable[[Any], None]) -> str:
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left")
    axes.set_xlabel(across)
    axes.grid(alpha=0.25)
    fill(axes)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    svg = out.getvalue()
    return svg[svg.index("<svg") :]


def _busy(axes: Any, records: Records) -> None:
    agents = [(one.reserved_ms, one.over_ms) for one in records.engagements]
    calls = [(one.sent_ms, one.ended_ms) for one in records.calls if one.sent_ms is not None and not one.refusal]
    for label, colour, spans in (("agents not idle", BLUE, agents), ("calls not ended", RED, calls)):
        steps = [(begin, 1) for begin, _ in spans if begin is not None] + [
            (end, -1) for _, end in spans if end is not None
        ]
        steps.sort()
        axes.step(
            [at_ms / 1000 for at_ms, _ in steps],
            list(accumulate(change for _, change in steps)),
            where="post",
            color=colour,
            label=label,
        )
    axes.set_ylim(bottom=0)


def _waits(axes: Any, workload: Workload, arrivals: list[Arrival], records: Records) -> None:
    waits_s = sorted(one.wait_ms / 1000 for one in line_waits(records).values())
    pool = pool_of(workload, arrivals)
    prediction = predict(pool)
    longest_s = max(waits_s[-1] if waits_s else 0.0, 1.0)
    grid = [longest_s * index / BINS for index in range(BINS + 1)]
    shares = [1 - index / len(waits_s) for index in range(len(waits_s))]
    axes.step(waits_s, shares, where="post", color=BLUE, label="measured: share that waits longer")
    axes.plot(grid, [p_longer(pool, prediction, at) for at in grid], "--", color=GREY, label="Erlang A, one pool")
    axes.set_yscale("log")
    axes.set_ylim(0.5 / max(1, len(waits_s)), 1.1)


def _decisions(axes: Any, records: Records) -> None:
    decisions = sorted(decisions_ms(records))
    if not decisions:
        return
    shares = [(index + 1) / len(decisions) for index in range(len(decisions))]
    axes.step(decisions, shares, where="post", color=GREEN, label="share decided within")
    axes.set_xscale("log")
    axes.set_ylim(0, 1.02)
