"""Does a step cost more in a larger hall, or beside a longer line? CPU per command at one mix of commands, and a plot.

The hall of `engine_hall` at load 0.97 with 500 to 20,000 agents; then 5,000 agents of whom none is free, with 0 to 50,000 calls
waiting: for each call that is over one comes. Both halls are full and in balance before anything is counted.
The mix is held equal by weight: a call's life is one request, accept, connect and hang-up and the deadlines it met, each at the
mean cost of its kind, divided by the five. The sizes take turns in each round, and a size's figure is the median of its
rounds, so that a noisy neighbour hits no size alone.
"""

from collections.abc import Callable
from pathlib import Path
from statistics import mean, median

from matplotlib.figure import Figure

from bench.engine_hall import Hall
from bench.measuring import IS_QUICK, settled

AGENTS_COUNTS = (500, 1_000, 2_000, 5_000, 10_000, 20_000)
WAITING_COUNTS = (0, 100, 1_000, 10_000, 50_000)
WAITING_AGENTS_COUNT = 5_000
ROUNDS = 3 if IS_QUICK else 5
CALLS_COUNT = 4_000 if IS_QUICK else 10_000
LIFE = ("RequestCall", "AcceptReservation", "ReportConnected", "HangUp")
PLOT = Path("out/engine-flat.png" if IS_QUICK else "docs/images/engine-flat.png")
BLUE, GREY = "#1f5fbf", "#888888"

Curve = dict[int, float]
"""Size -> mean CPU microseconds a command."""


def us_per_command(hall: Hall) -> float:
    """Mean CPU of the mix, microseconds."""
    by_step = hall.ns_by_step
    life_ns = sum(mean(by_step[name]) for name in LIFE) + sum(by_step["expire"]) / len(by_step["HangUp"])
    return life_ns / (len(LIFE) + 1) / 1e3


def with_agents(agents_count: int) -> Hall:
    """Make a hall of this many agents, in balance at its load."""
    hall = Hall(agents_count)
    hall.fill(int(agents_count * 0.95))
    hall.run(agents_count * 3 // 2 + 2_000)
    return hall


def with_waiting(waiting_count: int) -> Hall:
    """Make a hall in which this many calls wait."""
    hall = Hall(WAITING_AGENTS_COUNT)
    hall.fill(WAITING_AGENTS_COUNT + waiting_count)
    hall.keep(2 * WAITING_AGENTS_COUNT + waiting_count)
    return hall


def measure_curve(halls: dict[int, Hall], go_on: Callable[[Hall], None]) -> Curve:
    """Let the halls go on in turns; return each one's median over the rounds."""
    found: dict[int, list[float]] = {size: [] for size in halls}
    for _ in range(ROUNDS):
        for size, hall in halls.items():
            hall.forget_figures()
            with settled():
                go_on(hall)
            found[size].append(us_per_command(hall))
    return {size: median(us) for size, us in found.items()}


def draw(agents: Curve, waiting: Curve) -> None:
    """Draw both curves into one file."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, curve, across in ((left, agents, "agents"), (right, waiting, "waiting calls (5,000 agents)")):
        axes.plot(range(len(curve)), list(curve.values()), color=BLUE, marker="o")
        axes.axhline(2 * min(curve.values()), color=GREY, linestyle="--", label="twice the best")
        axes.set_xticks(range(len(curve)), [f"{size:,}" for size in curve])
        axes.set_xlabel(across)
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
    left.set_ylabel("CPU µs a command")
    left.set_ylim(bottom=0)
    figure.suptitle("What a command costs in a larger hall and beside a longer line", x=0.01, ha="left")
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PLOT, dpi=110, metadata={"Software": None})


def measure() -> dict[str, float]:
    """Print the tables of (d), draw the plot; return `flat_agents` and `flat_waiting`, worst over best."""
    halls = {count: with_agents(count) for count in AGENTS_COUNTS}
    agents = measure_curve(halls, lambda hall: hall.run(CALLS_COUNT))
    halls = {count: with_waiting(count) for count in WAITING_COUNTS}
    waiting = measure_curve(halls, lambda hall: hall.keep(CALLS_COUNT))
    print(f"(d) mean CPU us a command, same mix, {ROUNDS} rounds of {CALLS_COUNT:,} calls in turns, medians")
    for what, curve in (("agents", agents), ("waiting calls", waiting)):
        sizes = "  ".join(f"{size:,}: {us:.1f}" for size, us in curve.items())
        print(f"    {what}: {sizes}; worst over best {max(curve.values()) / min(curve.values()):.2f}")
    draw(agents, waiting)
    print(f"    drawn in {PLOT}")
    return {
        "flat_agents": round(max(agents.values()) / min(agents.values()), 2),
        "flat_waiting": round(max(waiting.values()) / min(waiting.values()), 2),
    }
