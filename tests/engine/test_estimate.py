"""Estimated wait (docs/routing.md, Position and estimated wait): what each estimator says, and what feeds them."""

import pytest

from dispatch import commands as cm
from dispatch import estimate as es
from dispatch.engine import Engine
from dispatch.estimate import Place, after_answer, after_joining, after_leaving, after_talk, estimated_wait_ms
from dispatch.model import Pace
from dispatch.plan import AgentPlan, Plan, QueuePlan
from dispatch.viewing import position_views, queue_view

START_MS = 1_700_000_000_000
FIRST = Place(1, now_ms=START_MS)


def line_of(gaps_ms: list[int], *, is_still_there: bool = False) -> Pace:
    """A queue whose line loses a call after each of these times; then it is empty, unless it is still there."""
    pace, at_ms = Pace(), START_MS
    after_joining(pace, at_ms)
    for number, gap_ms in enumerate(gaps_ms, 1):
        at_ms += gap_ms
        waiting_count = 1 if is_still_there or number < len(gaps_ms) else 0
        after_leaving(pace, at_ms, has_waited=True, is_asked=True, waiting_count=waiting_count)
    return pace


# -- single estimators


def test_nothing_known_is_none_not_a_guess() -> None:
    """Given a queue that nothing has happened in, then no estimator says anything."""
    assert [estimated_wait_ms(Pace(), FIRST, name) for name in es.ESTIMATORS] == [None] * len(es.ESTIMATORS)


def test_an_unknown_estimator_is_an_error() -> None:
    """Given a name that is none, then it is refused."""
    with pytest.raises(KeyError):
        estimated_wait_ms(Pace(), FIRST, "guess")


def test_answer_gap_is_position_times_the_smoothed_gap() -> None:
    """Given answers 10 s apart and one after 18 s, then the gap moves by an eighth of the difference."""
    pace = Pace()
    for at_s in (0, 10, 20, 38):
        after_answer(pace, START_MS + 1_000 * at_s)
    assert pace.gap_ms == 11_000
    assert estimated_wait_ms(pace, Place(3), "answer_gap") == 33_000


def test_a_pause_at_the_bound_counts_and_one_past_does_not() -> None:
    """Given a gap of 10 s, then one of 600,000 ms moves it, and one of a millisecond more does not."""
    assert es.smoothed_gap(10_000, es.GAP_MS_MAX) == 10_000 + 590_000 // 8
    assert es.smoothed_gap(10_000, es.GAP_MS_MAX + 1) == 10_000
    assert es.smoothed_gap(0, 0) == 1


def test_talk_share_is_how_often_one_of_those_who_talk_ends() -> None:
    """Given talks of 240 s and 8 of them at once, then one ends every 30 s; nobody talking, or no talk yet: None."""
    pace = Pace()
    after_talk(pace, 240_000)
    assert estimated_wait_ms(pace, Place(2, talking_count=8), "talk_share") == 60_000
    assert estimated_wait_ms(pace, Place(2), "talk_share") is None
    assert estimated_wait_ms(Pace(), Place(2, talking_count=8), "talk_share") is None
    after_talk(pace, 240_000 + 3_200)
    assert pace.talk_ms == 240_100


def test_line_pace_is_time_with_a_line_over_calls_that_left_it() -> None:
    """Given a line that a call leaves every 7 s, then position 5 is about 35 s; the first ones already say so."""
    for count in (1, 3, 40, 1_000):
        estimate = estimated_wait_ms(line_of([7_000] * count), Place(5), "line_pace")
        assert estimate is not None
        # The half call that stands for the time since the last one is little after some calls.
        expected_ms = 35_000 * min(count, 32) / (min(count, 32) + 0.5)
        assert abs(estimate - expected_ms) < 700, count


def test_a_line_that_speeds_up_is_followed() -> None:
    """Given 100 calls at 20 s each, then 64 at 5 s, then the estimate is nearer to the new pace by far."""
    estimate = estimated_wait_ms(line_of([20_000] * 100 + [5_000] * 64), Place(1), "line_pace")
    assert estimate is not None
    assert 5_000 < estimate < 7_500


def test_time_without_a_line_does_not_count() -> None:
    """Given an hour with calls that find a free agent at once between two lines, then the pace is that of the lines."""
    pace = line_of([7_000] * 10)
    before = estimated_wait_ms(pace, Place(1), "line_pace")
    for at_s in range(0, 3_600, 60):
        after_joining(pace, START_MS + 1_000_000 + 1_000 * at_s)
        after_leaving(pace, START_MS + 1_000_000 + 1_000 * at_s, has_waited=False, is_asked=True, waiting_count=0)
    assert estimated_wait_ms(pace, Place(1, now_ms=START_MS + 5_000_000), "line_pace") == before
    assert pace.line_since_ms == 0


def test_a_line_that_stands_still_makes_the_estimate_grow() -> None:
    """Given a line at 7 s that nobody leaves any more, then the estimate grows with each minute."""
    pace = line_of([7_000] * 32, is_still_there=True)
    last_ms = START_MS + 32 * 7_000
    estimates = [
        estimated_wait_ms(pace, Place(1, now_ms=last_ms + 60_000 * minute), "line_pace") or 0 for minute in range(5)
    ]
    assert estimates == sorted(set(estimates))
    assert estimates[4] > 2 * estimates[0]


def test_a_standstill_counts_up_to_its_bound() -> None:
    """Given a quick line, then a standstill of 10 minutes counts, and one of a night no more: callbacks wait all night."""
    last_ms = START_MS + 70_000
    estimates = {}
    for still_ms in (es.GAP_MS_MAX - 1, es.GAP_MS_MAX, es.GAP_MS_MAX + 1, 36_000_000):
        pace = line_of([7_000] * 10, is_still_there=True)
        asked = estimated_wait_ms(pace, Place(1_000, now_ms=last_ms + still_ms), "line_pace")
        after_leaving(pace, last_ms + still_ms, has_waited=True, is_asked=True, waiting_count=0)
        estimates[still_ms] = (asked, pace.line_ms)
    assert (
        estimates[es.GAP_MS_MAX - 1]
        != estimates[es.GAP_MS_MAX]
        == estimates[es.GAP_MS_MAX + 1]
        == estimates[36_000_000]
    )


def test_a_slow_line_may_stand_still_for_longer() -> None:
    """Given a line at 20 minutes a call, then half an hour counts in full; the bound is 4 of its paces."""
    slow = line_of([1_200_000] * 32)
    assert 1_100_000 < (estimated_wait_ms(slow, Place(1), "line_pace") or 0) < 1_250_000
    before = slow.line_ms
    after_joining(slow, START_MS)
    after_leaving(slow, START_MS + 1_800_000, has_waited=True, is_asked=True, waiting_count=0)
    assert slow.line_ms == before + 1_800_000 - before // es.LINE_WEIGHT


def test_line_and_head_takes_a_quarter_from_the_head() -> None:
    """Given a pace of 8 s and a head that has waited 50 s, then for who waited 10 s it is 3/4 of the pace's and 1/4 of 40 s."""
    pace = line_of([8_000] * 1_000)
    place = Place(5, waited_ms=10_000, head_waited_ms=50_000)
    by_pace = estimated_wait_ms(pace, place, "line_pace")
    assert by_pace is not None
    assert estimated_wait_ms(pace, place, "line_and_head") == (3 * by_pace + 40_000) // 4
    assert estimated_wait_ms(pace, place) == estimated_wait_ms(pace, place, es.DEFAULT)


def test_line_and_head_never_counts_back() -> None:
    """Given a call that has waited longer than the head (which has priority), then the head's part is 0, not less."""
    pace = line_of([8_000] * 1_000)
    place = Place(5, waited_ms=90_000, head_waited_ms=50_000)
    by_pace = estimated_wait_ms(pace, place, "line_pace")
    assert by_pace is not None
    assert estimated_wait_ms(pace, place, "line_and_head") == 3 * by_pace // 4


def test_before_any_line_the_talk_says_something_then_the_gap() -> None:
    """Given no line so far, then the default falls back on who talks now, and without them on the gap."""
    pace = Pace()
    for at_s in (0, 10):
        after_answer(pace, START_MS + 1_000 * at_s)
    assert estimated_wait_ms(pace, Place(2)) == 20_000
    after_talk(pace, 240_000)
    assert estimated_wait_ms(pace, Place(2, talking_count=8)) == 60_000


# -- as the engine feeds them


def hall(*queue_ids: str, agents: int = 1) -> Engine:
    queues = [QueuePlan(id=one, media="external", recording="off", wrap_up="none", need={one: 1}) for one in queue_ids]
    people = [AgentPlan(id=f"a{number}", skills=dict.fromkeys(queue_ids, 1)) for number in range(agents)]
    engine = Engine("d")
    engine.step(cm.ApplyPlan(Plan(division_id="d", queues=queues, agents=people), "p"), START_MS)
    for one in people:
        engine.step(cm.SetActivity(one.id, "ready"), START_MS)
    return engine


def serve(engine: Engine, call_id: str, at_ms: int) -> None:
    """Who is asked for the call takes it, and the two see each other."""
    (asked,) = engine.state.calls[call_id].reservations
    engine.step(cm.AcceptReservation(asked.id, asked.agent_id), at_ms)
    engine.step(cm.ReportConnected(call_id), at_ms)


def test_one_agent_with_talks_of_a_minute() -> None:
    """Given one agent, talks of 60 s and a line, then who stands at position n is told about n minutes, and it shrinks."""
    engine = hall("loans")
    for number in range(40):
        engine.step(cm.RequestCall(f"c{number}", f"z{number}", "loans"), START_MS)
    assert queue_view(engine.state, "loans", START_MS).estimate_ms is None  # type: ignore[union-attr]
    for number in range(20):
        serve(engine, f"c{number}", START_MS + 60_000 * number)
        engine.step(cm.HangUp(f"c{number}"), START_MS + 60_000 * (number + 1))
    serve(engine, "c20", START_MS + 60_000 * 20)
    waiting = [f"c{number}" for number in range(21, 40)]
    views = position_views(engine.state, waiting)
    assert [view.position for view in views] == list(range(1, 20))
    for view in views:
        assert view.estimate_ms is not None
        # All came at once, so the head has waited no longer than the others: three quarters of the pace remain.
        assert abs(view.estimate_ms - view.position * 45_000) < view.position * 3_000, view
    by_pace = estimated_wait_ms(engine.state.paces["loans"], Place(10, now_ms=engine.now_ms), "line_pace")
    assert by_pace is not None
    assert abs(by_pace - 600_000) < 30_000
    joining = queue_view(engine.state, "loans", engine.now_ms)
    assert joining is not None
    assert (joining.estimate_ms or 0) > (views[-1].estimate_ms or 0)


def test_a_free_agent_and_no_line_is_no_wait() -> None:
    """Given a ready agent and nobody who waits, then who joins now waits 0 ms."""
    view = queue_view(hall("loans").state, "loans", START_MS)
    assert view is not None
    assert view.estimate_ms == 0


def test_a_transfer_leaves_no_line_behind() -> None:
    """Given a queue with nobody waiting, when its talking call is transferred away, then it has no line: no time runs there."""
    engine = hall("loans", "cards")
    engine.step(cm.RequestCall("c1", "z1", "loans"), START_MS)
    serve(engine, "c1", START_MS + 5_000)
    engine.step(cm.TransferCall("c1", "cards", principal="operator:o"), START_MS + 65_000)
    loans, cards = engine.state.paces["loans"], engine.state.paces["cards"]
    assert (loans.line_since_ms, loans.pending_ms, loans.talk_ms) == (0, 0, 60_000)
    assert cards.line_since_ms == START_MS + 65_000


def test_a_call_served_at_once_says_nothing_of_the_line() -> None:
    """Given calls that each find a free agent, then no pace of a line is known, however many they are."""
    engine = hall("loans")
    for number in range(5):
        at_ms = START_MS + 100_000 * number
        engine.step(cm.RequestCall(f"c{number}", f"z{number}", "loans"), at_ms)
        serve(engine, f"c{number}", at_ms + 3_000)
        engine.step(cm.HangUp(f"c{number}"), at_ms + 63_000)
    pace = engine.state.paces["loans"]
    assert (pace.left_units, pace.line_ms, pace.line_since_ms, pace.talk_ms) == (0, 0, 0, 60_000)


def test_a_customer_who_gives_up_moves_the_line() -> None:
    """Given a line whose people give up every 10 s, then it moves by half a place each time, though nobody is answered."""
    engine = hall("loans", agents=0)
    for number in range(12):
        engine.step(cm.RequestCall(f"c{number}", f"z{number}", "loans"), START_MS)
    for number in range(10):
        engine.step(cm.HangUp(f"c{number}", principal=f"customer:z{number}"), START_MS + 10_000 * (number + 1))
    estimate = estimated_wait_ms(engine.state.paces["loans"], Place(2, now_ms=engine.now_ms), "line_pace")
    assert estimate is not None
    assert abs(estimate - 40_000) < 4_000
