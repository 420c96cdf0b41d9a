"""Whole halls under faults, from fixed seeds and one that is new each time (`make sim SEED=n` runs one again).

What is checked on the way and at the end stand in `truth`, `people` and `verdict`; that they find what is wrong, in
`test_planted.py`.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.run import random_seed, run
from tests.simulation.weather import DISASTERS, Weather

ROOT = Path(__file__).parents[2]
SEEDS = (3, 4, 5, 8, 12, 31)
"""8: a predecessor that was followed goes on writing, and is fenced."""


@pytest.mark.parametrize("seed", SEEDS)
def test_a_hall_holds_under_faults(seed: int) -> None:
    """ROUTING.md 5: given a hall, people and weather from a fixed seed; then every invariant holds, and all ends."""
    run(seed).check()


def test_a_hall_holds_under_faults_from_a_new_seed(capsys: pytest.CaptureFixture[str]) -> None:
    """Given a seed that nobody has seen, which is printed; then the same."""
    outcome = run(random_seed())
    with capsys.disabled():
        print(f"\n{outcome.told()}")
    outcome.check()


def test_a_hall_without_faults_holds() -> None:
    """Given fair weather; then all comes to its end, and every customer who asked was answered."""
    outcome = run(1, Weather())
    outcome.check()
    assert outcome.calls_count > 0


def test_every_kind_of_fault_strikes_at_once() -> None:
    """Given every kind of disaster in one run, and requests that get lost, late and repeated; then the hall holds."""
    weather = Weather(
        spike_ratio=0.02, spike_s=3.0, loss_ratio=0.01, repeat_ratio=0.1, store_spike_ratio=0.005, store_loss_ratio=0.01,
        store_refusal_ratio=0.01, late_end_ratio=0.5, disasters=dict.fromkeys(DISASTERS, 15.0),
    )  # fmt: skip
    run(2, weather).check()


def _digest_under(hash_seed: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation.run", "4"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return done.stdout.strip()


def test_equal_traces_under_two_hash_seeds() -> None:
    """ROUTING.md 5.17: given one seed, when run in two processes under two hash seeds, then the trace is byte-equal."""
    first = _digest_under("1")
    assert "digest" in first
    assert first == _digest_under("2")
