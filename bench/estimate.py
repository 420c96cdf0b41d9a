"""How far each estimator of the wait is off: days of a hall through the real engine, every waiting call asked every minute.

Each waiting call is asked about when it is queued and after every further minute; the real wait is until an agent
accepted. Only calls that were answered can be compared: of who gave up nobody knows how long it would have been. All estimators
are compared on the same questions, those on which each of them knew something.

    make bench-estimate          12 days from day 0 on; QUICK=1: 4 days; FIRST_DAY=100: other days of the same kind

RESULT: mean absolute error and the error of the worst tenth (p90), in seconds, by estimator; `bias_s` above 0 says too long.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

from bench.estimate_day import SERVICES, Asked, Day
from bench.measuring import IS_QUICK, SEED, machine
from dispatch.estimate import DEFAULT, ESTIMATORS

DAYS_COUNT = 4 if IS_QUICK else 12
FIRST_DAY = int(os.environ.get("FIRST_DAY", "0"))
IMAGE = Path("out/estimate.png" if IS_QUICK or FIRST_DAY else "docs/images/estimate.png")
NAMES = tuple(ESTIMATORS)
COLOURS = ("#b0413e", "#c9a227", "#3a7d7c", "#1f3b73")
FORMER = "answer_gap"
BIN_S, BINS_COUNT = 20, 12


class Errors:
    """Errors of one estimator over some questions, in seconds; there is at least one."""

    def __init__(self, asked: list[Asked], name: str) -> None:
        index = NAMES.index(name)
        errors = [(one.estimates_ms[index] or 0) - one.real_ms for one in asked]
        self.absolute_s = sorted(abs(error) / 1_000 for error in errors)
        self.mean_s = sum(self.absolute_s) / len(errors)
        self.p50_s, self.p90_s = (self.absolute_s[len(errors) * rank // 100] for rank in (50, 90))
        self.bias_s = sum(errors) / len(errors) / 1_000


def print_errors(title: str, asked: list[Asked]) -> None:
    if not asked:
        print(f"\n{title}: no questions")
        return
    mean_s = sum(one.real_ms for one in asked) / len(asked) / 1_000
    print(f"\n{title}: {len(asked):,} questions, real wait {mean_s:.1f} s on average")
    print(f"{'estimator':<16} {'mean error s':>12} {'p50 s':>8} {'p90 s':>8} {'bias s':>8} {'error/wait':>11}")
    for name in NAMES:
        errors = Errors(asked, name)
        print(
            f"{name:<16} {errors.mean_s:>12.1f} {errors.p50_s:>8.1f} {errors.p90_s:>8.1f} {errors.bias_s:>+8.1f} "
            f"{errors.mean_s / mean_s:>11.2f}"
        )


def draw(asked: list[Asked]) -> None:
    """Left: what was said against what it was, with the middle 80 %. Right: the share of answers off by at most so much."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2))
    for name, colour in zip(NAMES, COLOURS, strict=True):
        if name in (FORMER, DEFAULT):
            _draw_bins(left, asked, name, colour)
        absolute_s = Errors(asked, name).absolute_s
        shares = [(index + 1) / len(absolute_s) for index in range(len(absolute_s))]
        right.plot(absolute_s, shares, color=colour, label=name)
    most_s = BIN_S * BINS_COUNT
    left.plot([0, most_s], [0, most_s], color="grey", linewidth=0.8)
    left.set(
        xlim=(0, most_s),
        ylim=(0, 1.6 * most_s),
        xlabel="real wait still ahead, s",
        ylabel="said, s: median and middle 80 %",
    )
    right.set(xlim=(0, 120), ylim=(0, 1), xlabel="off by at most, s", ylabel="share of the answers")
    left.legend(frameon=False)
    right.legend(frameon=False, loc="lower right")
    figure.tight_layout()
    IMAGE.parent.mkdir(exist_ok=True)
    figure.savefig(IMAGE, dpi=110)


def _draw_bins(axes: plt.Axes, asked: list[Asked], name: str, colour: str) -> None:
    bins: list[list[float]] = [[] for _ in range(BINS_COUNT)]
    for one in asked:
        place = one.real_ms // (1_000 * BIN_S)
        if place < BINS_COUNT:
            bins[place].append((one.estimates_ms[NAMES.index(name)] or 0) / 1_000)
    filled = [(index, sorted(said)) for index, said in enumerate(bins) if len(said) >= 20]
    middles_s = [(index + 0.5) * BIN_S for index, _ in filled]
    low, middle, high = ([said[len(said) * rank // 100] for _, said in filled] for rank in (10, 50, 90))
    axes.plot(middles_s, middle, color=colour, label=name)
    axes.fill_between(middles_s, low, high, color=colour, alpha=0.15, linewidth=0)


def main() -> int:
    print(machine())
    everything: list[Asked] = []
    for number in range(FIRST_DAY, FIRST_DAY + DAYS_COUNT):
        day = Day(number)
        day.run()
        everything += day.asked
        waits = sum(one.waited_ms == 0 for one in day.asked)
        print(
            f"day {number}: busyness {day.busyness:.2f}, {day.calls_count:,} calls, {len(day.answered_at_ms):,} answered, "
            f"{waits:,} had to wait, {len(day.engine.state.agents)} agents"
        )
    answered = [one for one in everything if one.real_ms >= 0]
    unknown = {name: sum(one.estimates_ms[index] is None for one in answered) for index, name in enumerate(NAMES)}
    asked = [one for one in answered if None not in one.estimates_ms]
    print(f"{len(everything):,} questions, {len(answered):,} of them answered calls'; nothing known: {unknown}")
    kinds: list[tuple[str, Callable[[Asked], bool]]] = [
        ("all", lambda one: True),
        ("when queued", lambda one: one.waited_ms == 0),
        ("after a minute or more", lambda one: one.waited_ms > 0),
        *((service.id, lambda one, id=service.id: one.queue_id == id) for service in SERVICES),
    ]
    for title, belongs in kinds:
        print_errors(title, [one for one in asked if belongs(one)])
    draw(asked)
    errors = {name: Errors(asked, name) for name in NAMES}
    result = {
        "estimator": DEFAULT,
        "mean_error_s": {name: round(one.mean_s, 1) for name, one in errors.items()},
        "p90_error_s": {name: round(one.p90_s, 1) for name, one in errors.items()},
        "bias_s": {name: round(one.bias_s, 1) for name, one in errors.items()},
        "real_wait_s": round(sum(one.real_ms for one in asked) / len(asked) / 1_000, 1),
        "questions": len(asked),
        "days": DAYS_COUNT,
        "first_day": FIRST_DAY,
        "seed": SEED,
    }
    print("RESULT", json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
