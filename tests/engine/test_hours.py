"""Opening hours against the clock on the wall, minute by minute, over random calendars; and what queues make of them."""

from datetime import date, timedelta
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatch import commands as cm
from dispatch import events as ev
from dispatch.hours import DAY_MINUTES, MINUTE_MS, SEARCH_DAYS, Hours, Phase, Span, date_of, phase_at
from dispatch.plan import Way
from tests.engine.scene import START_MS, Scene, agent, plan, queue

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
EPOCH = date(1970, 1, 1)
MIDNIGHT_MS = START_MS // DAY_MS * DAY_MS
"""2023-11-14, a Tuesday."""
OFFICE: list[list[Span]] = [[(540, 720), (780, 1_020)]] * 5 + [[], []]
ALWAYS: list[list[Span]] = [[(0, DAY_MINUTES)]] * 7
AHEAD_DAYS = 7


# -- the dumb reference


def offset_at(hours: Hours, minute: int) -> int:
    found = hours.offset_minutes
    for from_ms, offset in hours.offset_changes:
        if from_ms <= minute * MINUTE_MS:
            found = offset
    return found


def opened(hours: Hours, first: int, count: int) -> list[bool]:
    """For each of `count` minutes since 1970 from `first` on: is the queue open, by the local date and time?"""

    @cache
    def spans_of(day: int) -> list[Span]:
        local = EPOCH + timedelta(days=day)
        return hours.special.get(local.isoformat(), hours.weekly[local.weekday()])

    found = []
    for minute in range(first, first + count):
        day, time = divmod(minute + offset_at(hours, minute), DAY_MINUTES)
        found.append(any(opens <= time < closes for opens, closes in spans_of(day)))
    return found


def phases(hours: Hours, grace_minutes: int, first: int, count: int) -> list[Phase]:
    """The same in phases; a grace of whole minutes, at most a day."""
    before = DAY_MINUTES + 1
    is_open = opened(hours, first - before, before + count)
    found: list[Phase] = []
    closed_for = DAY_MINUTES + 1
    for index, now in enumerate(is_open):
        closed_for = 0 if now else closed_for + 1
        if index >= before:
            found.append("open" if now else "closing" if closed_for <= grace_minutes else "closed")
    return found


def first_change(found: list[Phase]) -> int | None:
    return next((index for index, phase in enumerate(found) if phase != found[0]), None)


# -- random calendars

quarters = st.integers(0, 96).map(lambda quarter: quarter * 15)
midnights = st.sampled_from([0, DAY_MINUTES])


@st.composite
def spans(draw: st.DrawFn) -> list[Span]:
    ends = sorted(draw(st.sets(st.one_of(quarters, midnights), max_size=6)))
    pairs = list(zip(ends[::2], ends[1::2], strict=False))
    return [(opens, closes) for opens, closes in pairs if opens < closes]


@st.composite
def calendars(draw: st.DrawFn) -> tuple[Hours, int, int]:
    """(hours, grace in minutes, a minute to look at)."""
    first = MIDNIGHT_MS // MINUTE_MS + draw(st.integers(-3 * DAY_MINUTES, 3 * DAY_MINUTES))
    day = first // DAY_MINUTES
    special = draw(st.dictionaries(st.integers(day - 3, day + 6).map(date_of), spans(), max_size=4))
    offsets = st.integers(-56, 56).map(lambda quarter: quarter * 15)
    base = draw(offsets)
    jumps = st.tuples(
        st.integers(first - 4 * DAY_MINUTES, first + 6 * DAY_MINUTES), st.sampled_from([-120, -60, -30, 30, 60])
    )
    changes, offset = [], base
    for minute, jump in sorted(draw(st.lists(jumps, max_size=3, unique_by=lambda one: one[0]))):
        offset = max(-840, min(840, offset + jump))
        changes.append((minute * MINUTE_MS, offset))
    weekly = draw(st.lists(st.one_of(spans(), st.just([(0, DAY_MINUTES)]), st.just([])), min_size=7, max_size=7))
    hours = Hours(weekly, special, base, changes)
    return hours, draw(st.sampled_from([0, 1, 30, 90, 720, DAY_MINUTES])), first


@settings(max_examples=150, deadline=None)
@given(calendars(), st.sampled_from([0, 1, MINUTE_MS - 1]))
def test_phase_and_next_change_are_those_of_the_clock_on_the_wall(calendar: tuple[Hours, int, int], ms: int) -> None:
    """Given a calendar and an instant, then the phase is the wall clock's, and the next change is the first there is."""
    hours, grace_minutes, first = calendar
    assert hours.problems() == []
    expected = phases(hours, grace_minutes, first, AHEAD_DAYS * DAY_MINUTES)
    now_ms = first * MINUTE_MS + ms
    phase, until_ms = phase_at(hours, grace_minutes * MINUTE_MS, now_ms)
    assert phase == expected[0]
    change = first_change(expected)
    if change is not None:
        assert until_ms == (first + change) * MINUTE_MS
    else:
        assert until_ms == 0 or until_ms >= (first + len(expected)) * MINUTE_MS


# -- by hand


@pytest.mark.parametrize(
    ("clock", "phase", "until"),
    [
        ("08:59", "closed", "09:00"),
        ("09:00", "open", "12:00"),
        ("11:59", "open", "12:00"),
        ("12:00", "closing", "12:30"),
        ("12:29", "closing", "12:30"),
        ("12:30", "closed", "13:00"),
        ("13:00", "open", "17:00"),
        ("17:30", "closed", "33:00"),
    ],
)
def test_an_office_day(clock: str, phase: str, until: str) -> None:
    """Given 9 to 12 and 13 to 17 with half an hour's grace, then at each time of a Tuesday: what it is and until when."""
    assert phase_at(Hours(OFFICE), 1_800_000, at(clock)) == (phase, at(until))


def at(clock: str) -> int:
    """That time of the Tuesday, UTC; hours may go past 24."""
    hour, minute = clock.split(":")
    return MIDNIGHT_MS + int(hour) * HOUR_MS + int(minute) * MINUTE_MS


def test_to_the_millisecond() -> None:
    """Given a queue that opens at 9, then a millisecond before it is closed."""
    assert phase_at(Hours(OFFICE), 0, at("09:00") - 1) == ("closed", at("09:00"))
    assert phase_at(Hours(OFFICE), 0, at("12:00") - 1)[0] == "open"
    assert phase_at(Hours(OFFICE), 1, at("12:00")) == ("closing", at("12:00") + 1)


def test_over_midnight() -> None:
    """Given a Tuesday until 24:00 and a Wednesday from 0:00 to 2:00, then it is open throughout, and closes at 2:00."""
    weekly: list[list[Span]] = [[], [(1_200, 1_440)], [(0, 120)], [], [], [], []]
    assert phase_at(Hours(weekly), 0, at("23:59")) == ("open", at("26:00"))
    assert phase_at(Hours(weekly), 0, at("24:00")) == ("open", at("26:00"))
    assert phase_at(Hours(weekly), 0, at("26:00")) == ("closed", at("20:00") + 7 * DAY_MS)


def test_open_around_the_clock_never_changes() -> None:
    """Given seven whole days, then it is open, and there is no next change."""
    assert phase_at(Hours(ALWAYS), 1_800_000, at("12:00")) == ("open", 0)
    assert phase_at(None, 1_800_000, at("12:00")) == ("open", 0)


def test_never_open_never_changes() -> None:
    """Given no spans at all, then it is closed, and there is no next change."""
    assert phase_at(Hours([[]] * 7), 1_800_000, at("12:00")) == ("closed", 0)


def test_a_holiday_and_a_special_opening() -> None:
    """Given a Wednesday off and a Saturday morning, then the dates hold instead of the weekdays."""
    hours = Hours(OFFICE, {"2023-11-15": [], "2023-11-18": [(600, 660)]})
    assert phase_at(hours, 0, at("17:00")) == ("closed", at("09:00") + 2 * DAY_MS)
    assert phase_at(hours, 0, at("17:00") + 3 * DAY_MS) == ("closed", at("10:00") + 4 * DAY_MS)
    assert phase_at(hours, 0, at("10:00") + 4 * DAY_MS) == ("open", at("11:00") + 4 * DAY_MS)


@pytest.mark.parametrize(("ahead_days", "is_found"), [(SEARCH_DAYS, True), (SEARCH_DAYS + 1, False)])
def test_an_opening_is_looked_for_so_far_and_no_farther(ahead_days: int, is_found: bool) -> None:
    """Given one opening far ahead, then it is found within SEARCH_DAYS and not past it."""
    day = MIDNIGHT_MS // DAY_MS + ahead_days
    hours = Hours([[]] * 7, {date_of(day): [(0, 60)]})
    assert phase_at(hours, 0, at("12:00")) == ("closed", day * DAY_MS if is_found else 0)


def test_a_holiday_farther_ahead_than_is_looked_for_is_kept_all_the_same() -> None:
    """Given a queue open around the clock but for one day in two years, then it is closed on that day."""
    day = MIDNIGHT_MS // DAY_MS + 730
    scene = Scene(queue(hours=Hours(ALWAYS, {date_of(day): []}), closing_grace_ms=0))
    scene.wait(day * DAY_MS - scene.now_ms - 1)
    assert scene.request("c1").is_accepted
    scene.wait(1)
    assert scene.only(ev.CallEnded).reason == "queue_closed"
    assert scene.request("c2").reason == "queue_closed"
    scene.wait(DAY_MS)
    assert scene.request("c3").is_accepted


@pytest.mark.parametrize(
    ("offset_minutes", "opens"), [(480, "01:00"), (0, "09:00"), (-300, "14:00"), (330, "03:30")]
)  # fmt: skip
def test_local_time(offset_minutes: int, opens: str) -> None:
    """Given Shanghai, London, New York or Delhi, then nine o'clock there is this time in UTC."""
    hours = Hours(OFFICE, offset_minutes=offset_minutes)
    assert phase_at(hours, 0, at(opens) - 1)[0] == "closed"
    assert phase_at(hours, 0, at(opens))[0] == "open"


def test_summer_time_begins_and_ends() -> None:
    """Given Berlin, then nine o'clock is 8:00 UTC in winter and 7:00 in summer, on the days of the change too."""
    spring, autumn = 1_711_846_800_000, 1_729_990_800_000  # 2024-03-31 and 2024-10-27, 01:00 UTC
    hours = Hours([[(540, 1_020)]] * 7, {}, 60, [(spring, 120), (autumn, 60)])
    for day_ms, opens in ((spring - DAY_MS, 8), (spring, 7), (autumn - DAY_MS, 7), (autumn, 8)):
        opens_at_ms = day_ms // DAY_MS * DAY_MS + opens * HOUR_MS
        assert phase_at(hours, 0, opens_at_ms - 1) == ("closed", opens_at_ms)
        assert phase_at(hours, 0, opens_at_ms) == ("open", opens_at_ms + 8 * HOUR_MS)


@pytest.mark.parametrize("day", range(-1_000, 60_000, 977))
def test_dates_of_the_civil_calendar(day: int) -> None:
    """Given a day number, then its date is that of the standard library."""
    assert date_of(day) == (EPOCH + timedelta(days=day)).isoformat()


@pytest.mark.parametrize(
    ("hours", "says"),
    [
        (Hours([[]] * 6), "weekly has 6 days"),
        (Hours([[]] * 8), "weekly has 8 days"),
        (Hours([[(600, 540)], *[[]] * 6]), "weekly[0]: spans must be sorted"),
        (Hours([[(540, 540)], *[[]] * 6]), "weekly[0]: spans must be sorted"),
        (Hours([[(540, 720), (700, 800)], *[[]] * 6]), "weekly[0]: spans must be sorted"),
        (Hours([[(540, 720), (720, 800)], *[[]] * 6]), "weekly[0]: spans must be sorted"),
        (Hours([[]] * 7, {"2023-02-29": []}), "special.2023-02-29: no such day"),
        (Hours([[]] * 7, {"2023-13-01": []}), "special.2023-13-01: no such day"),
        (Hours([[]] * 7, {"2024-02-29": [(2, 1)]}), "special.2024-02-29: spans must be sorted"),
        (Hours([[]] * 7, {}, 0, [(2, 0), (1, 0)]), "offset_changes must be sorted"),
    ],
)
def test_hours_that_make_no_sense(hours: Hours, says: str) -> None:
    """Given hours with a mistake, when the plan is applied, then it is refused and says which."""
    reply = Scene().replan(plan(queue(hours=hours)))
    assert reply.value is not None
    assert [problem.startswith("queues[0].hours: " + says) for problem in reply.value["problems"]] == [True]


# -- queues with hours


def shop(*ways: Way, **fields: object) -> Scene:
    """Open on Tuesday until the scene's hour is over (22:13 to 23:00 UTC), closing for half an hour."""
    weekly: list[list[Span]] = [[], [(0, 1_380)], [(540, 1_020)], [], [], [], []]
    hours = Hours(weekly)
    scene = Scene(queue(hours=hours, on_closed=list(ways), **fields), queue("night"), agent("anna"))
    assert scene.request("early").is_accepted
    scene.wait(at("23:00") - scene.now_ms - 1)
    assert scene.request("last").is_accepted
    return scene


def test_after_closing_time_no_new_calls_and_who_waits_is_served() -> None:
    """Given closing time, then a new call is refused, one that waits is served within the grace."""
    scene = shop()
    scene.wait(1)
    assert scene.request("late").reason == "queue_closed"
    scene.wait(1_800_000 - 2)
    scene.ready("anna")
    assert scene.state("early") == "reserved anna"


def test_after_the_grace_who_waits_is_ended_by_name_and_a_talk_goes_on() -> None:
    """Given the end of the grace, then waiting calls end as queue_closed; who talks, talks on."""
    scene = shop()
    scene.ready("anna")
    scene.talk("early")
    scene.wait(1_800_000 - 1)
    assert scene.state("last") == "waiting"
    scene.wait(1)
    assert [event.reason for event in scene.last if isinstance(event, ev.CallEnded)] == ["queue_closed"]
    assert scene.state("early") == "connected anna"


def test_a_call_that_rings_at_the_end_of_the_grace_may_be_accepted_and_else_ends() -> None:
    """Given a call that rings when the queue closes, when accepted it is served; when declined it meets `on_closed`."""
    for is_accepted in (True, False):
        scene = shop()
        scene.hang_up("last")
        scene.wait(1_800_000 - 2)
        scene.ready("anna")
        assert scene.state("early") == "reserved anna"
        scene.wait(2)
        if is_accepted:
            scene.talk("early")
            assert scene.state("early") == "connected anna"
        else:
            scene.decline("early")
            assert scene.only(ev.CallEnded).reason == "queue_closed"


@pytest.mark.parametrize(
    ("way", "then"), [(Way("overflow", ["night"]), "night"), (Way("message"), "message"), (Way("callback"), "callback")]
)
def test_each_way_for_who_waits_when_the_queue_closes(way: Way, then: str) -> None:
    """Given a way for closing time, then who waits is moved, asked for a message, or called back tomorrow."""
    scene = shop(way)
    scene.wait(1_800_001)
    if then == "night":
        assert scene.call("last").queue_id == "night"
    elif then == "message":
        ended = [event for event in scene.last if isinstance(event, ev.CallEnded)]
        assert [(event.reason, event.then) for event in ended] == [("queue_closed", "message")] * 2
    else:
        assert scene.call("last").is_callback


def test_callbacks_wait_over_night_and_ring_when_the_queue_opens() -> None:
    """Given a callback at closing time, then it rings nobody over night, and the first thing in the morning."""
    scene = shop()
    key = scene.call("early").key
    assert scene.do(cm.RequestCallback("early", principal="customer:of-early")).is_accepted
    scene.wait(1_800_001)
    scene.ready("anna")
    assert scene.state("early") == "waiting"
    scene.wait(at("33:00") - scene.now_ms - 1)
    assert scene.state("early") == "waiting"
    scene.wait(1)
    assert (scene.state("early"), scene.call("early").key) == ("reserved anna", key)


def test_a_closed_queue_does_not_keep_its_agents_from_others() -> None:
    """Given a callback of a closed queue that is most due, when a call of an open one comes, then it is served."""
    scene = shop()
    scene.do(cm.RequestCallback("early", principal="customer:of-early"))
    scene.wait(1_800_001)
    scene.ready("anna")
    scene.request("c1", "night")
    assert scene.state("c1") == "reserved anna"


@pytest.mark.parametrize("with_snapshot", [False, True])
def test_it_closes_after_a_crash_too(with_snapshot: bool) -> None:
    """Given a shard that comes back before closing time, then the queue closes on time; after it, in the first step."""
    scene = shop()
    scene.crash(with_snapshot=with_snapshot)
    scene.wait(1_800_001)
    assert scene.count(ev.CallEnded) == 2
    scene = shop()
    scene.now_ms += 2_000_000
    scene.crash(with_snapshot=with_snapshot)
    scene.wait(0)
    assert scene.count(ev.CallEnded) == 2


def test_a_plan_that_closes_a_queue_leads_on_who_waits() -> None:
    """Given a waiting call, when a plan closes its queue without a grace, then the call meets `on_closed` in that step."""
    scene = Scene()
    scene.request("c1")
    scene.replan(plan(queue(hours=Hours([[]] * 7), closing_grace_ms=0)))
    scene.wait(0)
    assert scene.state("c1") == "ended"


@pytest.mark.parametrize(("grace_ms", "phase"), [(DAY_MS, "closing"), (0, "closed")])
def test_grace_at_its_bounds(grace_ms: int, phase: str) -> None:
    """Given a grace of a day, then the queue closes for nobody over night; without one it is closed at once."""
    assert phase_at(Hours(OFFICE), grace_ms, at("17:00"))[0] == phase
    assert phase_at(Hours(OFFICE), grace_ms, at("33:00") - 1)[0] == phase
