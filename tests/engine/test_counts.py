"""Counters by interval, their bounds, and the figures made from them (docs/routing.md, Counters)."""

import pytest

from dispatch import events as ev
from dispatch.counts import (
    OTHER,
    REASONS_MAX,
    WAIT_EDGES_MS,
    AgentCounts,
    QueueCounts,
    add_named,
    occupancy,
    service_level,
    service_level_name,
    service_level_target,
    wait_bucket,
    wait_percentile_ms,
)
from dispatch.measures import INTERVAL_MS, Measures
from tests.engine.paper import (
    HOUR_MS,
    START_MS,
    accepted,
    connected,
    ended,
    fold,
    plan_event,
    queued,
    ready,
    reserved,
    talking,
    time_of,
)

# -- intervals


def test_a_call_counts_in_the_interval_in_which_it_came() -> None:
    """Given a call queued a second before a border and answered and ended after it, then all of it is in the first interval."""
    border = START_MS + INTERVAL_MS
    talk = [queued(border - 1_000), reserved(border - 1_000), accepted(border + 1_000), connected(border + 2_000)]
    end = ended(border + 60_000, "customer_hung_up", "anna", wrap_up="timed")
    measures = fold(plan_event(), talk, end, ev.WrapUpEnded(border + 80_000, "c1", "anna", "done"))
    assert measures.queues_in(START_MS)["loans"] == measures.queue("loans")
    assert measures.queues_in(border) == {}


def test_agent_time_is_cut_at_borders() -> None:
    """Given an agent ready from 5 minutes before a border to 5 minutes after the next, then each interval has its part."""
    start = START_MS + INTERVAL_MS - 300_000
    measures = fold(plan_event(), ready(start), ready(start + 1_500_000, activity="not_ready", reason="lunch"))
    parts = [measures.agents_in(START_MS + k * INTERVAL_MS, start + 1_600_000)["anna"] for k in range(3)]
    assert [one.ready_ms for one in parts] == [300_000, 900_000, 300_000]
    assert [one.offline_ms for one in parts] == [600_000, 0, 0]
    assert [one.not_ready_ms for one in parts] == [{}, {}, {"lunch": 100_000}]


def test_time_that_ends_on_a_border_stays_before_it() -> None:
    """Given a change at the very border, then the interval before has the old state, the one after nothing of it."""
    border = START_MS + INTERVAL_MS
    measures = fold(plan_event(), ready(START_MS), ready(border, activity="not_ready", reason="lunch"))
    assert measures.agents_in(START_MS, border)["anna"] == AgentCounts(ready_ms=INTERVAL_MS)
    assert measures.agents_in(border, border + 5)["anna"] == AgentCounts(not_ready_ms={"lunch": 5})


def test_an_interval_wholly_offline_is_no_record_and_is_answered() -> None:
    """Given an agent offline for ten intervals between two shifts, then they hold no record, and each is answered in full."""
    back = START_MS + 10 * INTERVAL_MS
    measures = fold(
        plan_event(agents=("anna",)), ready(START_MS), ready(START_MS + INTERVAL_MS, activity="offline"), ready(back)
    )
    assert measures.starts() == [START_MS]
    for k in range(1, 10):
        assert measures.agents_in(START_MS + k * INTERVAL_MS, back + 1)["anna"] == AgentCounts(offline_ms=INTERVAL_MS)


def test_an_agent_with_two_calls_is_in_a_call_first_then_in_wrap_up() -> None:
    """Given an agent who talks in one call and wraps up another, then that is time in a call; wrap-up before reserved."""
    at = START_MS + 10_000
    measures = fold(
        plan_event(), talking(at), talking(at, "c2"), ended(at + 5_000, "agent_hung_up", "anna", wrap_up="timed")
    )
    assert measures.agent("anna", at + 9_000).in_call_ms == 10_000
    fold(ended(at + 9_000, "agent_hung_up", "anna", "c2"), reserved(at + 9_000, "c3"), measures=measures)
    assert measures.agent("anna", at + 12_000).wrap_up_ms == 3_000


# -- bounds


def test_intervals_max_at_the_bound_and_one_past() -> None:
    """Given room for 4 intervals, then the 4th is kept beside the first; the 5th drops the first, and the totals stay."""
    measures = Measures(intervals_max=4)
    for k in range(4):
        fold(queued(START_MS + k * INTERVAL_MS, f"c{k}"), measures=measures)
    assert measures.starts() == [START_MS + k * INTERVAL_MS for k in range(4)]
    fold(queued(START_MS + 4 * INTERVAL_MS, "c4"), measures=measures)
    assert measures.starts() == [START_MS + k * INTERVAL_MS for k in range(1, 5)]
    fold(connected(START_MS + 4 * INTERVAL_MS, "c0"), measures=measures)
    assert measures.starts() == [START_MS + k * INTERVAL_MS for k in range(1, 5)]
    assert (measures.queue("loans").offered_count, measures.queue("loans").answered_count) == (5, 1)
    assert measures.agents_in(START_MS, START_MS + 5 * INTERVAL_MS) == {}


def test_records_max_at_the_bound_and_one_past() -> None:
    """Given room for 4 records, then the 5th drops the oldest interval whole; the newest is never dropped."""
    measures = Measures(records_max=4)
    for k in range(2):
        for queue_id in ("loans", "cards"):
            fold(queued(START_MS + k * INTERVAL_MS, f"{queue_id}{k}", queue_id), measures=measures)
    assert len(measures.starts()) == 2
    last = START_MS + 2 * INTERVAL_MS
    fold(queued(last, "c5"), measures=measures)
    assert measures.starts() == [START_MS + INTERVAL_MS, last]
    for k in range(9):
        fold(queued(last, f"d{k}", f"queue{k}"), measures=measures)
    assert measures.starts() == [last]
    assert len(measures.queues_in(last)) == 10


def test_a_long_absence_is_cut_to_the_intervals_that_are_kept() -> None:
    """Given an agent left ready for a year, then the totals have the year and the intervals their bound."""
    measures, year_ms = Measures(intervals_max=96), 365 * 24 * HOUR_MS
    fold(plan_event(), ready(START_MS), ready(START_MS + year_ms, activity="offline"), measures=measures)
    assert len(measures.starts()) == 96 - 1
    assert measures.agent("anna", START_MS + year_ms).ready_ms == year_ms


def test_reasons_max_at_the_bound_and_one_past() -> None:
    """Given as many texts as fit beside `other`, then each has its count; the next text is counted as `other`, and stays so."""
    counts: dict[str, int] = {}
    for number in range(REASONS_MAX - 1):
        add_named(counts, f"reason {number}", 1)
    assert len(counts) == REASONS_MAX - 1
    assert OTHER not in counts
    for name in ("one more", "and another", "reason 0"):
        add_named(counts, name, 1)
    assert len(counts) == REASONS_MAX
    assert (counts[OTHER], counts["reason 0"]) == (2, 2)


def test_free_text_of_staff_is_bounded_where_it_is_counted() -> None:
    """Given ends and breaks with a new text each, then no dictionary of a counter grows beyond the bound."""
    measures = fold(plan_event())
    for number in range(3 * REASONS_MAX):
        at = START_MS + 10 * number
        fold(
            queued(at),
            ended(at + 1, f"text {number}"),
            ready(at + 2, activity="not_ready", reason=f"{number}"),
            measures=measures,
        )
    assert len(measures.queue("loans").ended) == REASONS_MAX
    assert sum(measures.queue("loans").ended.values()) == 3 * REASONS_MAX
    anna = measures.agent("anna", START_MS + 5_000)
    assert len(anna.not_ready_ms) == REASONS_MAX
    assert time_of(anna) == 5_000


def test_who_left_the_plan_is_added_up() -> None:
    """Given a plan without an agent and a queue that had calls, then their totals are in the one record of the former."""
    measures = fold(
        plan_event(),
        queued(START_MS, queue_id="old"),
        ended(START_MS + 9, "customer_lost"),
        ready(START_MS + 10, "ben"),
    )
    fold(plan_event(START_MS + 1_000, agents=("anna",)), measures=measures)
    ledger = measures._books.ledger
    assert (ledger.queues, ledger.agents) == ({}, {})
    assert (ledger.former_queues.offered_count, ledger.former_agents.ready_ms) == (1, 990)
    assert measures.agent("ben", START_MS + 5_000) == AgentCounts()


def test_a_queue_that_left_the_plan_keeps_its_counters_while_it_has_work() -> None:
    """Given a queue out of the plan with a live call, then its counters stay until a plan finds neither call nor wrap-up."""
    at = START_MS + 10_000
    old = [queued(START_MS, queue_id="old"), reserved(START_MS), accepted(at), connected(at), plan_event(at + 1_000)]
    measures = fold(
        plan_event(), old, ended(at + 5_000, "agent_hung_up", "anna", wrap_up="timed"), plan_event(at + 6_000)
    )
    assert measures.queue("old").answered_count == 1
    fold(ev.WrapUpEnded(at + 8_000, "c1", "anna", "done"), measures=measures)
    assert measures.queue("old").wrap_up_ms == 3_000
    fold(plan_event(at + 9_000), measures=measures)
    assert measures.queue("old") == QueueCounts()


def test_the_oldest_interval_that_is_kept_takes_counts() -> None:
    """Given room for one interval, then a queue's and an agent's counters of now are in it."""
    measures = fold(plan_event(), queued(START_MS), reserved(START_MS), measures=Measures(intervals_max=1))
    assert measures.queues_in(START_MS)["loans"].reserved_count == 1
    assert measures.agents_in(START_MS, START_MS)["anna"].reserved_count == 1


def test_who_left_the_plan_finishes_first() -> None:
    """Given an agent who leaves the plan in a call, then the work is counted to its end, then no more than offline."""
    at = START_MS + 10_000
    measures = fold(plan_event(), ready(START_MS), talking(at), plan_event(at + 1_000, agents=("ben",)))
    fold(
        ended(at + 5_000, "agent_hung_up", "anna", wrap_up="timed"),
        ev.WrapUpEnded(at + 8_000, "c1", "anna", "done"),
        measures=measures,
    )
    anna = measures.agent("anna", at + 20_000)
    assert (anna.in_call_ms, anna.wrap_up_ms, anna.offline_ms) == (6_000, 3_000, 12_000)


# -- figures


def test_service_level_is_the_one_definition() -> None:
    """Given 6 answers in 20 s, 2 later, 1 gone after 20 s and 3 gone sooner, then it is 6 / (8 + 1)."""
    events: list[ev.Event] = [plan_event()]
    waits = [*[("a", 20_000)] * 6, *[("a", 20_001)] * 2, ("g", 20_001), *[("g", 20_000)] * 2, ("g", 1_000)]
    for number, (kind, waited_ms) in enumerate(waits):
        at, call_id = START_MS + waited_ms, f"c{number}"
        events.append(queued(START_MS, call_id))
        events.append(connected(at, call_id) if kind == "a" else ended(at, "customer_hung_up", call_id=call_id))
    counts = fold(sorted(events, key=lambda event: event.at_ms)).queue("loans")
    assert service_level(counts, 20_000) == service_level_target(counts) == 6 / 9
    assert service_level(counts, 10_000) == 0
    assert service_level(counts, 30_000) == 1
    assert (service_level_name(20_000), service_level_name(2_500)) == ("service_level_20s", "service_level_2500ms")


@pytest.mark.parametrize("within_ms", [0, 20_001, 86_400_001])
def test_a_service_level_that_the_buckets_cannot_tell_is_refused(within_ms: int) -> None:
    """Given a T that is no edge, then it is refused rather than guessed."""
    with pytest.raises(ValueError, match="no edge"):
        service_level(QueueCounts(), within_ms)


def test_nothing_has_no_figure() -> None:
    """Given no call and no time, then figures are None, not 0."""
    assert service_level(QueueCounts(), 20_000) is service_level_target(QueueCounts()) is None
    assert occupancy(AgentCounts(offline_ms=5, not_ready_ms={"": 5})) is wait_percentile_ms(QueueCounts(), 500) is None


def test_usual_targets_are_edges() -> None:
    """Given the edges, then they rise, and every usual T is one."""
    assert list(WAIT_EDGES_MS) == sorted(set(WAIT_EDGES_MS))
    usual = (1, 2, 3, 5, 8, 10, 12, 15, 20, 25, 30, 40, 45, 60, 90, 120, 180, 240, 300, 600, 900, 1_800, 3_600, 86_400)
    assert all(seconds * 1_000 in WAIT_EDGES_MS for seconds in usual)


@pytest.mark.parametrize("wait_ms", [0, 1, 500, 501, 86_400_000, 86_400_001, 9_000_000_000])
def test_percentile_holds_what_it_says(wait_ms: int) -> None:
    """Given one wait, also beyond the last edge, then every percentile is that wait: the edge is cut to the longest."""
    counts = fold(plan_event(), queued(START_MS), connected(START_MS + wait_ms)).queue("loans")
    assert [wait_percentile_ms(counts, rank) for rank in (1, 500, 1_000)] == [wait_ms] * 3


def test_percentiles_by_nearest_rank() -> None:
    """Given waits of 1 to 100 s, then p50 is 50 s, p99 99 s and p100 the longest, each at its bucket's upper edge."""
    counts = QueueCounts(answered_count=100, wait_ms_max=100_000)
    for seconds in range(1, 101):
        add_named(counts.waits, wait_bucket(1_000 * seconds), 1)
    assert [wait_percentile_ms(counts, rank) for rank in (500, 900, 990, 1_000)] == [50_000, 90_000, 100_000, 100_000]
    for rank in (0, 1_001):
        with pytest.raises(ValueError, match="1 to 1000"):
            wait_percentile_ms(counts, rank)
