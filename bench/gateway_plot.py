"""The plot of `bench/gateway.py`: how long an agent's client waits for a reservation, and how a storm of reconnects passes."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

BLUE, RED, GREY = "#1f5fbf", "#c02b2b", "#888888"
P99_MS_MAX, STORM_S_MAX = 250, 90


def draw(load: dict[str, Any], storm: dict[str, Any], path: Path) -> None:
    """Write the plot to `path`."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for values, colour, name in (
        (load["latency_ms"], BLUE, "request to reservation"),
        (load["push_ms"], RED, "any event, from its instant in the hall"),
    ):
        ordered = sorted(max(0.1, one) for one in values)
        count = len(ordered)
        left.plot(ordered, [1 - place / count for place in range(count)], color=colour, label=name)
    left.axvline(P99_MS_MAX, color=GREY, linewidth=1, linestyle=":")
    left.axhline(0.01, color=GREY, linewidth=1, linestyle=":", label="1 %, 250 ms")
    left.set_xscale("log")
    left.set_yscale("log")
    left.set_xlabel("ms")
    left.set_ylabel("share that took longer")
    left.set_title(f"{load['connected']:,} connections, {load['requests']:,} calls", loc="left")
    left.legend(frameon=False)
    back = sorted(storm["back_s"])
    right.plot(back, range(1, len(back) + 1), color=BLUE)
    right.set_xlim(0, max(10.0, 1.1 * max(back, default=0.0)))
    right.set_xlabel(f"s after SIGKILL of one gateway (bound: {STORM_S_MAX} s)")
    right.set_ylabel("clients back in their session")
    right.set_title(f"{len(back):,} clients lose their gateway", loc="left")
    for axes in (left, right):
        axes.grid(alpha=0.25)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
