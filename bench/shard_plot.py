"""The plot of `bench/shard.py`: how long a decision takes against how many calls come a second."""

from pathlib import Path

from matplotlib.figure import Figure

from bench.shard_load import P99_MS_MAX, Row

BLUE, RED, GREY = "#1f5fbf", "#c02b2b", "#888888"


def draw(rows: list[Row], naive_rows: list[Row], path: Path) -> None:
    """Write the plot to `path`."""
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for some, colour, name in ((rows, BLUE, "one batch in flight"), (naive_rows, RED, "one Ray call a message")):
        rates = [row["rate"] for row in some]
        axes.plot(rates, [row["p99"] for row in some], "o-", color=colour, label=f"{name}: p99")
        axes.plot(rates, [row["p50"] for row in some], "o--", color=colour, alpha=0.6, label=f"{name}: p50")
    axes.axhline(P99_MS_MAX, color=GREY, linewidth=1, linestyle=":", label=f"{P99_MS_MAX:.0f} ms")
    axes.set_xscale("log")
    axes.set_yscale("log")
    ticks = sorted({int(row["rate"]) for row in [*rows, *naive_rows]})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.set_xlabel("calls a second, full lives")
    axes.set_ylabel("ms from request to reservation")
    axes.set_title("One shard: how fast it decides, against load", loc="left")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
