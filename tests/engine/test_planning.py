"""A new plan: never at the cost of a waiting call, a clock, a counter or a place (ROUTING.md 5.28, SAFETY.md 20)."""

import msgspec
import pytest
from msgspec import structs

from dispatch import commands as cm
from dispatch import events as ev
from dispatch.plan import Plan, QueuePlan
from dispatch.viewing import position_views
from tests.engine.scene import Scene, agent, plan, queue


def test_removing_a_queue_with_waiting_calls_needs_a_word_where_they_go() -> None:
    """Given a waiting call, when its queue is left out, then refused by name with the queue; nothing changed."""
    scene = Scene(queue(), queue("cards"))
    scene.request("c1", "cards")
    reply = scene.replan(plan(queue()))
    assert reply.reason == "calls_would_be_stranded"
    assert reply.value == {"queues": ["cards"], "say_where": "retired.<queue> = <other queue>"}
    assert scene.last == []


def test_waiting_calls_of_a_retired_queue_move_at_their_old_queued_at_time() -> None:
    """Given waiting calls in two queues, when one retires into the other, then they stand in one line by due key."""
    scene = Scene(queue(target_ms=20_000), queue("cards", target_ms=5_000))
    scene.request("c1", "cards")
    queued_at_ms = scene.now_ms
    scene.now_ms += 1_000
    scene.request("c2")
    scene.now_ms += 1_000
    assert scene.replan(plan(queue(target_ms=20_000), retired={"cards": "loans"})).is_accepted
    moved = scene.only(ev.CallMoved)
    assert (moved.from_queue_id, moved.queue_id, moved.due_at_ms) == ("cards", "loans", queued_at_ms + 20_000)
    views = position_views(scene.engine.state, ["c2", "c1"])
    assert [(view.call_id, view.position) for view in views] == [("c2", 2), ("c1", 1)]
    assert scene.request("c3", "cards").reason == "unknown_queue"


def test_a_moved_call_whose_customer_is_away_waits_for_its_return() -> None:
    """Given a waiting call whose customer dropped, when its queue retires, then it rings only after the return."""
    scene = Scene(queue(), queue("cards"), agent("anna"))
    scene.connect("customer:zoe")
    scene.request("c1", "cards", "zoe")
    scene.disconnect("customer:zoe")
    scene.replan(plan(queue(), agent("anna"), retired={"cards": "loans"}))
    scene.ready("anna")
    assert scene.state("c1") == "waiting"
    scene.connect("customer:zoe", "k2")
    assert scene.state("c1") == "reserved anna"


def test_a_retired_queue_serves_the_calls_it_still_has() -> None:
    """Given a ringing call, when its queue retires and the agent declines, then it rings there again after the delay."""
    scene = Scene(queue(), queue("cards", decline_delay_ms=1_000), agent("anna"))
    scene.ready("anna")
    scene.request("c1", "cards")
    scene.replan(plan(queue(), agent("anna"), retired={"cards": "loans"}))
    scene.decline("c1")
    scene.wait(1_000)
    assert scene.state("c1") == "reserved anna"
    scene.talk("c1")
    scene.hang_up("c1")
    assert scene.only(ev.CallEnded).queue_id == "cards"


def test_a_retired_queue_is_gone_with_its_last_call() -> None:
    """Given a retired queue without calls in memory, when the next plan comes, then nothing of it is kept."""
    scene = Scene(queue(), queue("cards"), ended_retention_ms=0)
    scene.request("c1", "cards")
    scene.replan(plan(queue(), retired={"cards": "loans"}, ended_retention_ms=0))
    scene.hang_up("c1")
    scene.wait(1)
    scene.replan(plan(queue(), agent("anna")))
    assert list(scene.engine.state.queues) == ["loans"]
    assert scene.engine.state.retired_plans == {}


def test_a_queue_comes_back() -> None:
    """Given a retired queue with a call, when a plan names it again, then it takes new calls."""
    scene = Scene(queue(), queue("cards"), agent("anna"))
    scene.ready("anna")
    scene.request("c1", "cards")
    scene.replan(plan(queue(), agent("anna"), retired={"cards": "loans"}))
    scene.replan(plan(queue(), queue("cards"), agent("anna")))
    assert scene.request("c2", "cards").is_accepted
    assert scene.engine.state.retired_plans == {}


def test_an_agent_removed_in_a_call_finishes_it_and_gets_nothing_new() -> None:
    """Given an agent in a call, when a plan leaves it out, then the call runs to its end and the next one waits."""
    scene = Scene(queue(wrap_up="none"), agent("anna"))
    scene.ready("anna")
    scene.request("c1")
    scene.talk("c1")
    scene.replan(plan(queue(wrap_up="none")))
    scene.request("c2")
    scene.hang_up("c1")
    assert scene.state("c2") == "waiting"
    assert scene.do(cm.SetActivity("anna", "ready", "again")).reason == "unknown_agent"
    scene.replan(plan(queue(wrap_up="none"), agent("ben")))
    assert list(scene.engine.state.agents) == ["ben"]


def test_an_agent_removed_while_it_rings_may_still_answer() -> None:
    """Given a ringing call, when a plan leaves its agent out, then the reservation runs on; declined, the call waits."""
    scene = Scene(queue(decline_delay_ms=0), agent("anna"))
    scene.ready("anna")
    scene.request("c1")
    scene.replan(plan(queue(decline_delay_ms=0)))
    assert scene.decline("c1").is_accepted
    assert scene.state("c1") == "waiting"


def test_new_agents_and_skills_count_in_the_same_step() -> None:
    """Given a waiting call nobody may take, when a plan gives a ready agent the skill, then it rings in that step."""
    scene = Scene(queue(need={"fx": 5}), agent("anna"))
    scene.ready("anna")
    scene.request("c1")
    scene.replan(plan(queue(need={"fx": 5}), agent("anna", skills={"fx": 5})))
    assert scene.state("c1") == "reserved anna"


def test_a_dearer_queue_gives_back_what_was_paid() -> None:
    """Given a reserved call that cost 50, when a plan makes the queue cost 100, then 50 come back (5.30)."""
    scene = Scene(queue(cost_units=50), agent("anna"))
    scene.ready("anna")
    scene.request("c1")
    scene.replan(plan(queue(cost_units=100), agent("anna")))
    assert scene.agent("anna").used_units == 50
    scene.hang_up("c1")
    assert scene.agent("anna").used_units == 0


def test_less_capacity_than_in_use() -> None:
    """Given 200 units in use, when a plan leaves 100, then nothing is cut off and nothing new comes before it fits."""
    scene = Scene(queue(wrap_up="none"), agent("anna", capacity_units=200))
    scene.ready("anna")
    for call_id in ("c1", "c2", "c3"):
        scene.request(call_id)
    scene.talk("c1")
    scene.talk("c2")
    scene.replan(plan(queue(wrap_up="none"), agent("anna", capacity_units=100)))
    scene.hang_up("c1")
    assert scene.state("c3") == "waiting"
    scene.hang_up("c2")
    assert scene.state("c3") == "reserved anna"


def test_a_reload_changes_no_clock() -> None:
    """Given deadlines that run, when the same parts come with other durations, then what runs ends as it was to end."""
    scene = Scene(queue(reservation_timeout_ms=20_000), agent("anna"))
    scene.ready("anna")
    scene.request("c1")
    expires_at_ms, key = scene.ring("c1").expires_at_ms, scene.call("c1").key
    scene.wait(5_000)
    scene.replan(plan(queue(reservation_timeout_ms=1_000, target_ms=0), agent("anna")))
    assert (scene.ring("c1").expires_at_ms, scene.call("c1").key) == (expires_at_ms, key)


@pytest.mark.parametrize("with_snapshot", [False, True])
def test_a_reload_as_the_first_wish_after_a_crash(with_snapshot: bool) -> None:
    """Given a ready agent of a queue that retires, when the reload is the first step after a crash, then it is taken."""
    scene = Scene(queue(), queue("cards"), agent("anna"))
    scene.ready("anna")
    scene.crash(with_snapshot=with_snapshot)
    assert scene.replan(plan(queue(), agent("anna"), retired={"cards": "loans"})).is_accepted


def test_the_same_digest_is_no_event() -> None:
    """Given the plan in force, when applied again, then accepted as unchanged without an event."""
    scene = Scene(queue())
    reply = scene.do(cm.ApplyPlan(plan(queue("other")), scene.engine.state.plan_digest))
    assert (reply.reason, reply.value, scene.last) == ("", {"is_changed": False}, [])


def test_a_plan_that_is_to_follow_another() -> None:
    """Given a plan in force, when one comes that is to follow an earlier one, then refused, and the one in force is named."""
    scene = Scene(queue())
    digest = scene.engine.state.plan_digest
    stale = cm.ApplyPlan(plan(queue("cards")), "new", terms=cm.PlanTerms("older"), principal="operator:olga")
    reply = scene.do(stale)
    assert (reply.reason, reply.value, scene.last) == ("plan_changed", {"digest": digest}, [])
    assert scene.do(structs.replace(stale, terms=cm.PlanTerms(digest))).value == {"is_changed": True}
    assert scene.engine.state.plan_digest == "new"
    assert scene.do(stale).value == {"is_changed": False}


def test_a_dry_run_changes_nothing() -> None:
    """Given waiting calls, when plans are tried, then each is answered as if it were applied, and no event comes of it."""
    scene = Scene(queue(), queue("cards"))
    scene.request("c1")
    before, terms = scene.engine.digest(), cm.PlanTerms(is_dry_run=True)
    for new, digest, reason, is_changed in (
        (plan(queue("cards")), "new", "calls_would_be_stranded", None),
        (plan(queue(), queue()), "new", "bad_value", None),
        (plan(queue("cards"), retired={"loans": "cards"}), "new", "", True),
        (plan(queue()), scene.engine.state.plan_digest, "", False),
    ):
        reply = scene.do(cm.ApplyPlan(new, digest, terms=terms, principal="operator:olga"))
        assert (reply.reason, (reply.value or {}).get("is_changed"), scene.last) == (reason, is_changed, [])
    assert scene.engine.digest() == before


@pytest.mark.parametrize(
    ("new", "says"),
    [
        (plan(queue(), queue()), "queues[1].id: 'loans' is already used by queues[0]"),
        (plan(agent("anna"), agent("anna")), "agents[1].id: 'anna' is already used by agents[0]"),
        (plan(queue(), retired={"loans": "loans"}), "retired.loans: is still among the queues"),
        (plan(queue(), retired={"cards": "nowhere"}), "retired.cards: 'nowhere' is not a queue of this division"),
        (plan(queue(wrap_up_ms=2, wrap_up_ms_max=1)), "queues[0].wrap_up_ms: 2 is more than wrap_up_ms_max 1"),
        (
            plan(queue(strategy="loudest")),
            "queues[0].strategy: 'loudest' is unknown; known are ",
        ),
        (Plan(division_id="other"), "division_id: 'other' is not this division, 'd'"),
    ],
)
def test_a_plan_that_contradicts_itself(new: Plan, says: str) -> None:
    """Given a plan with a contradiction, when applied, then bad_value names the key and what is wrong."""
    reply = Scene().replan(new)
    assert reply.reason == "bad_value"
    assert reply.value is not None
    assert any(problem.startswith(says) for problem in reply.value["problems"])


@pytest.mark.parametrize("principal", ["customer:zoe", "agent:anna", "supervisor:sam"])
def test_who_may_not_apply_a_plan(principal: str) -> None:
    """Given somebody who does not operate the hall, when they apply a plan, then it is not theirs."""
    assert Scene().do(cm.ApplyPlan(plan(), "x", principal=principal)).reason == "not_yours"


@pytest.mark.parametrize(
    "text",
    [
        b'{"id": "no spaces"}',
        b'{"id": ""}',
        b'{"id": "q", "need": {"fx": 11}}',
        b'{"id": "q", "reservation_timeout_ms": 999}',
        b'{"id": "q", "cost_units": 0}',
        b'{"id": "q", "unknown": 1}',
    ],
)
def test_values_out_of_range_never_reach_an_engine(text: bytes) -> None:
    """Given a queue with a value one past its range, when decoded, then it is refused."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=QueuePlan)


def test_no_recording_is_promised_where_another_system_carries_the_media() -> None:
    """Given a queue with external media that demands a recording, then the plan says that nobody here would keep it."""
    problems = dict(plan(queue(recording="required")).problems())
    assert "external" in problems["queues[0].recording"]
