"""The formulas against exact values from the literature (CAPACITY.md, Oracles) and against each other."""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.erlang import Pool, erlang_b, erlang_c, p_answered_within, p_longer, predict, service_level

GARNETT = Pool(arrival_rate=48, service_rate=1, agents=50, patience_rate=1 / 2)
"""Garnett, Mandelbaum, Reiman 2002; minutes."""
OFFICE = Pool(arrival_rate=100 / 30, service_rate=1 / 3, agents=14)
"""100 calls in 30 minutes of 3 minutes each; minutes."""
T = 20 / 60


@pytest.mark.parametrize(
    ("agents", "load", "blocked", "waits"),
    [
        (10, 5, 0.018385, 0.036105),
        (20, 12.0306, 0.010000, 0.024723),
        (50, 40, 0.018691, 0.086953),
        (120, 100, 0.005690, 0.033196),
    ],
)
def test_erlang_b_and_c(agents: int, load: float, blocked: float, waits: float) -> None:
    """Given the tabulated cases, then blocking and waiting agree to the last digit that is printed."""
    assert erlang_b(agents, load) == pytest.approx(blocked, abs=5e-7)
    assert erlang_c(agents, load) == pytest.approx(waits, abs=5e-7)


def test_everybody_waits_where_the_load_is_too_high() -> None:
    """Given as much load as agents and nobody who gives up, then everybody waits, and there is no steady state."""
    assert erlang_c(10, 10) == 1.0
    with pytest.raises(ValueError, match="without end"):
        predict(Pool(arrival_rate=10, service_rate=1, agents=10))


def test_the_office_without_impatience() -> None:
    """Given 10 erlangs and 14 agents, then Erlang C's values, service level within 20 s included."""
    prediction = predict(OFFICE)

    assert prediction.p_wait == pytest.approx(0.174132, abs=5e-7)
    assert prediction.occupancy == pytest.approx(0.714286, abs=5e-7)
    assert service_level(OFFICE, prediction, T) == pytest.approx(0.888350, abs=5e-7)


def test_the_office_with_impatience() -> None:
    """Given the same with a mean patience of 5 minutes, then Erlang A's values."""
    pool = Pool(OFFICE.arrival_rate, OFFICE.service_rate, OFFICE.agents, patience_rate=1 / 5)
    prediction = predict(pool)

    assert prediction.p_wait == pytest.approx(0.14526, abs=5e-6)
    assert prediction.p_abandon == pytest.approx(0.013984, abs=5e-7)
    assert prediction.occupancy == pytest.approx(0.704297, abs=5e-7)
    assert prediction.wait_mean == pytest.approx(0.069919, abs=5e-7)
    # The table's service level is the share of all arrivals; ours leaves out who gave up within 20 s.
    assert p_answered_within(pool, prediction, T) == pytest.approx(0.916792, abs=5e-7)
    assert service_level(pool, prediction, T) > 0.916792


def test_garnett_mandelbaum_reiman() -> None:
    """Given the paper's example, then its figures, the 90th percentile of the wait among them."""
    prediction = predict(GARNETT)

    assert prediction.p_wait == pytest.approx(0.46777, abs=5e-6)
    assert prediction.p_abandon == pytest.approx(0.03091, abs=5e-6)
    assert prediction.wait_mean * 60 == pytest.approx(3.7095, abs=5e-5)
    assert prediction.line_mean == pytest.approx(2.9676, abs=5e-5)
    assert prediction.occupancy == pytest.approx(0.93032, abs=5e-6)
    assert p_longer(GARNETT, prediction, 12.445 / 60) == pytest.approx(0.1, abs=2e-5)


def test_a_bounded_line() -> None:
    """Given M/M/12/17, then blocking, waiting time and occupancy of the table."""
    prediction = predict(Pool(arrival_rate=4.2, service_rate=0.5, agents=12, line_max=5))

    assert prediction.p_block == pytest.approx(0.00948, abs=5e-6)
    assert prediction.wait_mean == pytest.approx(0.06112, abs=5e-6)
    assert prediction.occupancy == pytest.approx(0.69337, abs=5e-6)


def test_no_waiting_line_is_erlang_b() -> None:
    """Given a line for nobody, then what is blocked is Erlang B."""
    prediction = predict(Pool(arrival_rate=40, service_rate=1, agents=50, line_max=0))

    assert prediction.p_block == pytest.approx(erlang_b(50, 40))
    assert prediction.p_wait == 0


def test_a_large_pool_stays_finite() -> None:
    """Given 5,000 agents, whose first terms are too small for a float, then the tails are still shares."""
    pool = Pool(arrival_rate=4_990, service_rate=1, agents=5_000, patience_rate=1 / 2)
    prediction = predict(pool)

    for time in (0.0, 0.001, 0.01, 1.0):
        assert 0 <= p_longer(pool, prediction, time) <= prediction.p_wait
    assert p_answered_within(pool, prediction, 10.0) == pytest.approx(1 - prediction.p_abandon, abs=1e-9)


@settings(deadline=None, max_examples=40)
@given(
    load=st.floats(0.3, 1.5),
    agents=st.integers(1, 80),
    patience_rate=st.floats(0.05, 3),
    line_max=st.none() | st.integers(0, 40),
)
def test_two_ways_to_the_same_number(load: float, agents: int, patience_rate: float, line_max: int | None) -> None:
    """Given any pool, then waits by the distribution, added up over time, are the waits by the states and Little's law."""
    pool = Pool(load * agents, 1.0, agents, patience_rate, line_max)
    prediction = predict(pool)

    assert p_longer(pool, prediction, 0.0) == pytest.approx(prediction.p_wait, abs=1e-9)
    ever = p_answered_within(pool, prediction, 50 / patience_rate)
    assert ever == pytest.approx(1 - prediction.p_block - prediction.p_abandon, abs=1e-9)
    by_time = _integral(lambda time: p_longer(pool, prediction, time), 10 / patience_rate)
    assert math.isclose(by_time, prediction.wait_mean * (1 - prediction.p_block), rel_tol=5e-3, abs_tol=1e-6)


def _integral(function: Callable[[float], float], until: float) -> float:
    """Return the integral from 0, by midpoints that are dense near 0, where a large pool changes within 1 / agents."""
    points = 800
    edges = [until * (index / points) ** 2 for index in range(points + 1)]
    return sum(function((begin + end) / 2) * (end - begin) for begin, end in pairwise(edges))
