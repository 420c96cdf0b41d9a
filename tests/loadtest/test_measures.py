"""The arithmetic of the report, on a run that is small enough to be reckoned by hand."""

import csv
import json
from pathlib import Path

import pytest

from loadtest import measures, plots, report, workload
from loadtest.accounting import Mismatch
from loadtest.course import failures
from loadtest.measures import LineWait, Measures
from loadtest.workload import Workload
from tests.loadtest import made_up

WORKLOAD = Workload(seed=1, seconds=4, agents=2, queue_ids=["cards", "loans"])


def _measures() -> Measures:
    return measures.measure(WORKLOAD, workload.schedule(WORKLOAD), made_up.run())


def test_percentiles_are_observed_values() -> None:
    """Given 1 to 100, then p50 is 50 and p99 is 99 (nearest rank); of one value all are that value; of none there are none."""
    of_hundred = measures.percentiles(map(float, range(1, 101)))

    assert of_hundred.values == {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0}
    assert (of_hundred.count, of_hundred.max) == (100, 100.0)
    assert measures.percentiles([7.0]).values["p99"] == 7.0
    assert measures.percentiles([]) == measures.Percentiles(0, {}, 0.0)


def test_waits_count_from_the_intended_instant() -> None:
    """Given requests sent 1 ms late, then that 1 ms is part of the waits, and is the lateness."""
    assert measures.waits_ms(made_up.run()) == [100.0, 2_200.0]
    assert measures.line_waits(made_up.run()) == {
        0: LineWait(10.0, True),
        1: LineWait(1_402.0, True),
        2: LineWait(12.0, True),
    }
    assert _measures().lateness_ms.max == 1.0


def test_decision_latency_is_of_calls_that_found_a_free_agent() -> None:
    """Given one call that waited in line and two that did not, then only these two have a decision latency."""
    assert measures.decisions_ms(made_up.run()) == [10.0, 12.0]


@pytest.mark.parametrize(("within_ms", "level"), [(99.9, 0.0), (100.0, 1 / 2), (2_200.0, 1.0)])
def test_the_service_level_leaves_out_who_gave_up_in_time(within_ms: float, level: float) -> None:
    """Answered within T / (answered + abandoned after T): who gave up after exactly 100 ms counts only for a shorter T."""
    assert measures.service_level_ratio(made_up.run().calls, within_ms) == pytest.approx(level)


def test_who_gave_up_late_counts_against_the_service_level() -> None:
    """Given T below the abandoned call's 100 ms, then it is in the denominator: none of three."""
    calls = made_up.run().calls
    calls[0].connected_ms = 150.0

    assert measures.service_level_ratio(calls, 50.0) == pytest.approx(1 / 3)


def test_occupancy_by_hand() -> None:
    """Given a window of 4 s: a-1 is busy 150-1900 and 2600-4000, rings 110-150, 1902-2600; a-2 rings 612-706."""
    busy_ms, ringing_ms = 1_750 + 1_400, 40 + 698 + 94

    ratio = measures.occupancy_ratio(made_up.run().engagements, 2, (0.0, 4_000.0))

    assert ratio == pytest.approx(busy_ms / (8_000 - ringing_ms))


def test_a_late_generator_and_a_mismatch_fail_by_name() -> None:
    """Given lateness at the bound, then the run passes; one past it or with a mismatch it fails, and says of what."""
    figures = _measures()

    assert failures([], figures, 1.0) == []
    assert failures([], figures, 0.9) == ["generator_late (p99 1 ms, allowed 1 ms)"]
    assert failures([Mismatch("balance", "k-0", "lost")], figures, 1.0) == ["accounts (1 mismatches)"]


def test_the_files_of_a_report(tmp_path: Path) -> None:
    """Given a failed run, then the page needs nothing from elsewhere, texts name the call, CSV and JSON hold every record."""
    seen = made_up.run()
    summary = _summary([Mismatch("balance", "k-<0>", "lost")])

    report.write(tmp_path, summary, seen, plots.draw(WORKLOAD, workload.schedule(WORKLOAD), seen))

    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 3
    assert "k-&lt;0&gt;" in page
    assert not any(f'{attribute}="http' in page for attribute in ("src", "href"))
    assert "k-<0>" in (tmp_path / "summary.txt").read_text()
    assert json.loads((tmp_path / "summary.json").read_text())["measures"]["counts"]["offered"] == 4
    with (tmp_path / "calls.csv").open() as file:
        assert [row["outcome"] for row in csv.DictReader(file)] == ["answered", "answered", "abandoned", "refused"]


def _summary(mismatches: list[Mismatch]) -> report.Summary:
    circumstances = report.Circumstances(
        seed=1,
        customers=4,
        agents=2,
        seconds=4,
        schedule_sha256="s",
        configuration_sha256="c",
        commit=report.commit(),
        machine=report.machine(),
        load_average_before=0.0,
        started_at_ms=1,
    )
    figures = _measures()
    return report.Summary(
        failures=failures(mismatches, figures, 1.0),
        mismatches=mismatches,
        circumstances=circumstances,
        measures=figures,
        definitions=measures.DEFINITIONS,
    )
