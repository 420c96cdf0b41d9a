"""What a reload, a jump of the clock, another division must not change; what holds at the extremes (5.28 to 5.33)."""

import pytest
from msgspec import structs

from dispatch import commands as cm
from dispatch import events as ev
from dispatch.engine import Engine
from dispatch.plan import DAY_MS, Plan, QueuePlan, Relaxation
from dispatch.viewing import position_views
from dispatch.wishes import Wishes
from tests.engine.busy_hall import AGENTS, QUEUES, busy_hall
from tests.engine.scene import START_MS, Scene, agent, plan, queue

YEAR_MS = 365 * DAY_MS

# -- a reload


def _records(scene: Scene) -> dict[str, object]:
    """Every record but the plan, encoded: calls, agents, clients, counters."""
    state = scene.engine.state
    names = ("calls", "agents", "recipients", "last_agents", "paces", "reservations_count", "calls_admitted_count")
    return {name: repr(getattr(state, name)) for name in names}


def test_the_same_hall_under_a_new_digest_changes_no_record() -> None:
    """Given a hall with something in every kind of record, when the same plan comes again, then no record changes (5.28)."""
    scene = busy_hall()
    scene.wait(0)
    before = _records(scene)
    assert scene.replan(plan(*QUEUES, *AGENTS, retired={"old": "wide"})).is_accepted
    assert scene.count(ev.PlanApplied) == 1
    assert [type(event) for event in scene.last] == [ev.PlanApplied]
    assert _records(scene) == before


LONGER: dict[str, int] = {
    "target_ms": 60_000, "priority_credit_ms_max": 80_000_000, "preferred_window_ms": 86_000_000, "misses_max": 50,
    "reservation_timeout_ms": 86_000_000, "decline_delay_ms": 86_000_000, "reject_delay_ms": 86_000_000,
    "busy_delay_ms": 86_000_000, "no_answer_delay_ms": 86_000_000, "disconnect_delay_ms": 86_000_000,
    "wrap_up_ms": 80_000_000, "wrap_up_ms_max": 86_000_000, "connecting_timeout_ms": 86_000_000, "cost_units": 7,
    "callback_answer_ms": 86_000_000, "callback_retry_ms": 86_000_000, "hold_ms_max": 86_000_000,
    "joint_hold_ms": 86_000_000, "transfer_credit_ms": 1,
}  # fmt: skip


def test_a_reload_of_every_duration_changes_no_clock_that_runs() -> None:
    """Given that hall, when every duration and cost of every queue is another, then what runs ends as it was to end (5.28)."""
    scene = busy_hall()
    scene.wait(0)
    before = _records(scene)
    longer = [
        QueuePlan(**{**structs.asdict(one), "relaxation": one.relaxation, "on_full": one.on_full, **LONGER})
        for one in QUEUES
    ]
    assert scene.replan(plan(*longer, *AGENTS, retired={"old": "wide"})).is_accepted
    cheap = {event.call_id for event in scene.last if isinstance(event, ev.CallReserved)}
    unchanged = {call_id for call_id in scene.engine.state.calls if call_id not in cheap}
    assert unchanged
    for call_id in unchanged:
        assert repr(scene.call(call_id)) in str(before["calls"]), call_id


def test_places_and_counters_survive_a_reload_that_moves_calls() -> None:
    """Given calls with credit in two queues, when one retires into the other, then all stand by queued-at and credit (5.14)."""
    scene = Scene(queue("a", target_ms=20_000), queue("b", target_ms=20_000), agent("anna"))
    for number in range(6):
        scene.request(f"c{number}", "ab"[number % 2], wishes=Wishes(credit_ms=(number % 3) * 1_500))
        scene.wait(1_000)
    order = [call.id for call in sorted(scene.engine.state.calls.values(), key=lambda call: call.key)]
    scene.replan(plan(queue("b", target_ms=20_000), agent("anna"), retired={"a": "b"}))
    views = position_views(scene.engine.state, order)
    assert [view.position for view in views] == [1, 2, 3, 4, 5, 6]


def test_a_reload_that_takes_steps_away_leaves_open_what_was_open() -> None:
    """Given a call whose second step is open, when a plan has only one, then the need does not narrow to the first (5.21)."""
    steps = [Relaxation(1_000, {"fx": 5}), Relaxation(2_000, {})]
    scene = Scene(queue(need={"fx": 8}, relaxation=steps), agent("anna"))
    scene.request("c1")
    scene.wait(2_000)
    scene.replan(plan(queue(need={"fx": 8}, relaxation=steps[:1]), agent("low", skills={"fx": 5})))
    assert scene.call("c1").step == 2
    scene.ready("low")
    assert scene.state("c1") == "reserved low"


def test_a_reload_while_everything_rings_may_be_followed_by_any_answer() -> None:
    """Given parallel rings, when a plan allows one reservation a call, then those that ring ring on, and one may accept."""
    agents = [agent(one) for one in ("anna", "ben", "cleo")]
    scene = Scene(queue(reservations_max=3), *agents)
    scene.ready("anna", "ben", "cleo")
    scene.request("c1")
    scene.replan(plan(queue(reservations_max=1), *agents))
    assert scene.state("c1") == "reserved anna ben cleo"
    assert scene.accept("c1", "ben").is_accepted


# -- clocks


@pytest.mark.parametrize("jump_ms", [-3_600_000, 3_600_000])
def test_a_clock_that_is_set_back_stops_and_one_that_is_set_forward_expires_what_is_due_by_it(jump_ms: int) -> None:
    """Given a ring of 20 s, when the caller's clock is set back an hour, then nothing runs backwards or ends early (5.29)."""
    engine = Engine("d")
    engine.step(cm.ApplyPlan(plan(queue(), agent("anna")), "p"), START_MS)
    engine.step(cm.SetActivity("anna", "ready"), START_MS)
    engine.step(cm.RequestCall("c1", "zoe", "loans"), START_MS)
    events, _ = engine.expire(START_MS + jump_ms)
    assert engine.now_ms == max(START_MS, START_MS + jump_ms)
    assert bool(events) == (jump_ms > 0)
    assert all(START_MS <= event.at_ms <= engine.now_ms for event in events)
    if jump_ms < 0:
        assert engine.next_deadline_ms() == START_MS + 20_000
        reserved, _ = engine.step(cm.RequestCall("c2", "yan", "loans"), START_MS + jump_ms)
        assert reserved[0].at_ms == START_MS
    else:
        (closed, *_) = events
        assert closed.at_ms == START_MS + 20_000, "each at its own instant, not at the caller's"


def test_an_outage_that_is_reported_moves_no_place() -> None:
    """Given an hour in which nobody could be heard, when the shell says so, then rings go on, and no key changes (5.29)."""
    scene = Scene(queue(), agent("anna"))
    scene.ready("anna")
    scene.request("c1")
    scene.request("c2")
    keys = [scene.call(one).key for one in ("c1", "c2")]
    scene.now_ms += 3_600_000
    assert scene.do(cm.Resume(3_600_000)).is_accepted
    scene.wait(19_999)
    assert scene.state("c1") == "reserved anna"
    assert [scene.call(one).key for one in ("c1", "c2")] == keys


# -- divisions


def test_one_division_never_sees_anothers_state() -> None:
    """Given two engines with the same ids, when one is full of calls, then the other decides as if alone (5.33)."""
    alone, beside, other = Engine("d"), Engine("d"), Engine("e")
    parts: Plan = plan(queue(), agent("anna"), agent("ben"))
    other.step(cm.ApplyPlan(structs.replace(parts, division_id="e"), "p"), START_MS)
    for engine in (alone, beside):
        engine.step(cm.ApplyPlan(parts, "p"), START_MS)
    for number in range(50):
        at_ms = START_MS + number * 1_000
        for engine in (alone, beside):
            engine.step(cm.SetActivity(("anna", "ben")[number % 2], ("ready", "not_ready")[number % 3 == 2]), at_ms)
            engine.step(cm.RequestCall(f"c{number}", f"z{number}", "loans"), at_ms)
            engine.expire(at_ms + 500)
        other.step(cm.SetActivity("anna", ("ready", "offline")[number % 2]), at_ms)
        other.step(cm.RequestCall(f"c{number}", f"z{number}", "loans", wishes=Wishes(is_absolute=True)), at_ms)
    assert alone.digest() == beside.digest() != other.digest()


def test_a_plan_of_another_division_is_refused() -> None:
    """Given a plan that names another division, when applied, then it is refused, and a snapshot of another is too."""
    engine = Engine("d")
    (_, (reply,)) = engine.step(cm.ApplyPlan(Plan("e"), "p"), START_MS)
    assert reply.reason == "bad_value"  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="division"):
        Engine.restore("e", engine.snapshot())


# -- extremes


def test_no_inversion_among_ten_thousand_agents_after_a_year() -> None:
    """Given 10,000 agents idle for a year and calls of extreme priorities, then order is kept among both (5.31)."""
    names = [f"a{number:05}" for number in range(10_000)]
    engine = Engine("d")
    rich = queue(priority_credit_ms_max=DAY_MS, target_ms=DAY_MS)
    engine.step(cm.ApplyPlan(plan(rich, *(agent(one) for one in names), live_calls_max=60_000), "p"), START_MS)
    for number, one in enumerate(names):
        engine.step(cm.SetActivity(one, "ready"), START_MS + number)
    now_ms = START_MS + YEAR_MS
    asked = []
    for number in range(200):
        events, _ = engine.step(cm.RequestCall(f"c{number}", f"z{number}", "loans"), now_ms + number)
        asked += [event.agent_id for event in events if isinstance(event, ev.CallReserved)]
    assert asked == names[:200]


def test_no_inversion_among_calls_of_extreme_priorities() -> None:
    """Given a year's wait, a day's credit and absolute calls, when agents come one by one, they take them by key (5.31)."""
    scene = Scene(queue(priority_credit_ms_max=DAY_MS, target_ms=DAY_MS), queue("due", target_ms=0), agent("anna"))
    scene.request("old")
    scene.wait(YEAR_MS)
    wishes = [Wishes(credit_ms=DAY_MS), Wishes(is_absolute=True), Wishes(is_absolute=True, credit_ms=DAY_MS), Wishes()]
    for number, wish in enumerate(wishes):
        scene.request(f"c{number}", wishes=wish)
    scene.request("now", "due")
    scene.wait(YEAR_MS)
    served = []
    scene.ready("anna")
    while ringing := [call.id for call in scene.engine.state.calls.values() if call.state == "reserved"]:
        served += ringing
        scene.hang_up(ringing[0])
    assert served == ["c2", "c1", "old", "c0", "now", "c3"]


def test_positions_move_only_for_a_cause_in_the_history() -> None:
    """Given a line of five, when time passes and clients come and go, then positions stand; each move has its event (5.32)."""
    scene = Scene(queue())
    ids = [f"c{number}" for number in range(5)]
    for call_id in ids:
        scene.request(call_id)

    def positions() -> list[int]:
        return [view.position for view in position_views(scene.engine.state, ids)]

    scene.wait(YEAR_MS)
    scene.connect("customer:of-c1")
    assert positions() == [1, 2, 3, 4, 5]
    scene.disconnect("customer:of-c1")
    assert scene.count(ev.Disconnected) == 1
    assert positions() == [1, 2, 3, 4]
    scene.connect("customer:of-c1", "k2")
    assert positions() == [1, 2, 3, 4, 5]
    scene.do(cm.SetPriority("c4", 1))
    assert scene.count(ev.CallPrioritised) == 1
    assert positions() == [2, 3, 4, 5, 1]
