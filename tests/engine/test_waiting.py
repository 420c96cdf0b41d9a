"""Waiting lines, admission, and who gets whom (ROUTING.md 3 and 5.13 to 5.18)."""

import pytest

from dispatch import commands as cm
from dispatch import events as ev
from dispatch.viewing import position_views, queue_view
from dispatch.waiting import BUCKET, WaitingLine
from tests.engine.scene import Scene, agent, queue, room_queue


def test_the_due_key_is_fixed_when_queued() -> None:
    """Given a queue with a target of 20 s, when a call is queued, then it is due 20 s after its queued-at time."""
    scene = Scene(queue(target_ms=20_000), agent("anna"))
    scene.request("c1")
    assert scene.call("c1").due_at_ms == scene.now_ms + 20_000


def test_first_come_first_served_within_a_queue() -> None:
    """Given three waiting calls, when agents become ready one by one, then the calls go in the order they came."""
    scene = Scene(queue(), agent("anna"), agent("ben"), agent("cleo"))
    for call_id in ("c3", "c1", "c2"):
        scene.request(call_id)
    scene.ready("anna", "ben", "cleo")
    assert [scene.state(call_id) for call_id in ("c3", "c1", "c2")] == [
        "reserved anna",
        "reserved ben",
        "reserved cleo",
    ]


def test_an_agent_takes_the_most_due_call_of_all_queues() -> None:
    """Given an older patient call and a younger urgent one, when an agent is free for both, then the more due one rings."""
    scene = Scene(queue("slow", target_ms=60_000), queue("fast", target_ms=10_000), agent("anna"))
    scene.request("old", "slow")
    scene.now_ms += 1_000
    scene.request("young", "fast")
    scene.ready("anna")
    assert scene.state("young") == "reserved anna"


def test_a_call_given_back_does_not_pass_a_more_due_one() -> None:
    """Given an agent who declines without a delay, when a more due call waits, then the agent gets that one (5.16)."""
    scene = Scene(queue("slow", target_ms=60_000, decline_delay_ms=0), queue("fast", target_ms=1_000), agent("anna"))
    scene.ready("anna")
    scene.request("patient", "slow")
    scene.request("urgent", "fast")
    scene.decline("patient")
    assert (scene.state("urgent"), scene.state("patient")) == ("reserved anna", "waiting")


def test_the_agent_idle_longest_is_asked() -> None:
    """Given two ready agents, when a call comes, then the one who is idle longer is asked; idleness starts at sign-in."""
    scene = Scene(queue(), agent("anna"), agent("ben"))
    scene.ready("ben", "anna")
    scene.request("c1")
    assert scene.state("c1") == "reserved ben"


def test_only_who_meets_the_need_is_asked() -> None:
    """Given levels below and at the need, when a call comes, then only the agent at the level is asked (5.7)."""
    scene = Scene(queue(need={"fx": 5}), agent("low", skills={"fx": 4}), agent("fit", skills={"fx": 5}))
    scene.ready("low", "fit")
    scene.request("c1")
    scene.request("c2")
    assert (scene.state("c1"), scene.state("c2")) == ("reserved fit", "waiting")


def test_a_call_nobody_may_take_blocks_nobody() -> None:
    """Given a most due call without an eligible agent, when another comes, then it is served (5.22)."""
    scene = Scene(queue("rare", need={"fx": 9}, target_ms=0), queue("loans"), agent("anna"))
    scene.ready("anna")
    scene.request("c1", "rare")
    scene.request("c2")
    assert (scene.state("c1"), scene.state("c2")) == ("waiting", "reserved anna")


def test_capacity_in_units() -> None:
    """Given 100 units and calls that cost 50, when three calls come, then two ring and the third waits (5.1)."""
    scene = Scene(queue(cost_units=50), agent("anna"))
    scene.ready("anna")
    for call_id in ("c1", "c2", "c3"):
        scene.request(call_id)
    assert [scene.state(one) for one in ("c1", "c2", "c3")] == ["reserved anna", "reserved anna", "waiting"]


def test_agents_free_at_one_instant_are_matched_together() -> None:
    """Given two agents whose wrap-up ends at once, when calls wait, the most due gets the agent idle longest (5.19)."""
    scene = Scene(queue(), queue("rare", need={"fx": 5}, target_ms=0), agent("abe"), agent("eve", skills={"fx": 5}))
    scene.ready("abe", "eve")
    for call_id in ("c1", "c2"):
        scene.request(call_id)
        scene.talk(call_id)
    scene.hang_up("c1")
    scene.hang_up("c2")
    scene.request("late")
    scene.request("due", "rare")
    scene.wait(30_000)
    assert [event.call_id for event in scene.last if isinstance(event, ev.CallReserved)] == ["due", "late"]
    assert (scene.state("due"), scene.state("late")) == ("reserved eve", "reserved abe")


@pytest.mark.parametrize("waiting_max", [1, 3])
def test_waiting_max_at_the_bound_and_one_past(waiting_max: int) -> None:
    """Given nobody at work, when as many calls as allowed wait, then one more is refused by name."""
    scene = Scene(queue(waiting_max=waiting_max))
    for number in range(waiting_max):
        assert scene.request(f"c{number}").is_accepted
    assert scene.request("one-more").reason == "queue_full"
    assert scene.hang_up("c0").is_accepted
    assert scene.request("one-more").is_accepted


def test_waiting_max_zero_still_serves_at_once() -> None:
    """Given a queue in which nobody may wait, when an agent is idle the call is served, and when none is it is refused."""
    scene = Scene(queue(waiting_max=0), agent("anna"))
    scene.ready("anna")
    assert scene.request("c1").is_accepted
    assert scene.state("c1") == "reserved anna"
    assert scene.request("c2").reason == "queue_full"


def test_hall_full_counts_live_calls() -> None:
    """Given a hall of two live calls, when a third comes it is refused, and an ended one in memory takes no place."""
    scene = Scene(queue(), live_calls_max=2)
    assert scene.request("c1").is_accepted
    assert scene.request("c2").is_accepted
    assert scene.request("c3").reason == "hall_full"
    scene.hang_up("c1")
    assert scene.request("c3").is_accepted
    assert scene.request("c4").reason == "hall_full"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (cm.RequestCall("c1", "x", "nowhere"), "unknown_queue"),
        (cm.RequestCall("c1", "x", "loans", principal="customer:y"), "not_yours"),
        (cm.RequestCall("", "x", "loans"), "bad_value"),
        (cm.RequestCall("c1", "", "loans"), "bad_value"),
        (cm.RequestCall("c1", "x", "loans", "r" * (cm.MAX_TEXT + 1)), "bad_value"),
        (cm.RequestCall("there", "x", "loans"), "call_exists"),
        (cm.RequestCall("c1", "of-there", "loans"), "already_in_call"),
        (cm.RequestCall("c1", "x", "recorded"), "consent_required"),
    ],
)
def test_refusals_of_a_request(command: cm.RequestCall, reason: str) -> None:
    """Given a hall, when a request cannot be admitted, then it is refused by name and nothing happened."""
    scene = Scene(queue(), room_queue("recorded"))
    scene.request("there")
    assert scene.do(command).reason == reason
    assert scene.last == []


def test_a_text_at_the_bound_is_taken() -> None:
    """Given a business reference of exactly the allowed length, when requested, then it is admitted."""
    assert Scene().request("c1", business_reference="r" * cm.MAX_TEXT).is_accepted


def test_a_second_call_of_a_customer_names_the_first() -> None:
    """Given a live call, when its customer asks for another, then the refusal says which call is there."""
    scene = Scene()
    scene.request("c1", customer_id="zoe")
    assert scene.request("c2", customer_id="zoe").value == {"call_id": "c1"}


def test_without_consent_nothing_is_recorded() -> None:
    """Given an optional recording, when the customer does not agree, then the call is admitted unrecorded."""
    scene = Scene(room_queue(recording="optional"))
    scene.request("c1", is_consented=False)
    scene.request("c2", is_consented=True)
    assert [scene.call(one).recording for one in ("c1", "c2")] == ["off", "optional"]


def test_positions_are_one_to_n_and_move_when_one_leaves() -> None:
    """Given four waiting calls, when the second hangs up, then the others are 1, 2, 3 (5.32)."""
    scene = Scene(queue())
    for number in range(4):
        scene.request(f"c{number}")
    scene.hang_up("c1")
    views = position_views(scene.engine.state, ["c0", "c1", "c2", "c3", "unknown"])
    assert [(view.call_id, view.position) for view in views] == [("c0", 1), ("c2", 2), ("c3", 3)]


def test_the_estimate_needs_two_answers() -> None:
    """Given a queue that never answered, then nothing is estimated; after two answers 10 s apart, 10 s a position."""
    scene = Scene(queue(), agent("anna"), agent("ben"))
    scene.ready("anna", "ben")
    scene.request("c1")
    scene.request("c2")
    scene.accept("c1")
    scene.request("c3")
    assert position_views(scene.engine.state, ["c3"])[0].estimate_ms is None
    scene.wait(10_000)
    scene.accept("c2")
    assert position_views(scene.engine.state, ["c3"])[0].estimate_ms == 10_000


def test_longest_wait_of_a_queue() -> None:
    """Given a call that waits for 7 s, when the queue is read, then its longest wait is 7 s."""
    scene = Scene(queue())
    scene.request("c1")
    scene.wait(7_000)
    view = queue_view(scene.engine.state, "loans", scene.engine.now_ms)
    assert view is not None
    assert view.longest_wait_ms == 7_000


def test_an_ended_call_is_forgotten_after_its_retention() -> None:
    """Given an ended call, when its retention is over, then it and all that stood for its customer leave memory."""
    scene = Scene(queue(), ended_retention_ms=5_000)
    scene.request("c1")
    scene.hang_up("c1")
    scene.wait(4_999)
    assert "c1" in scene.engine.state.calls
    scene.wait(1)
    assert scene.only(ev.CallForgotten).call_id == "c1"
    assert not scene.engine.state.calls
    assert not scene.engine.state.recipients


@pytest.mark.parametrize("count", [1, BUCKET, 2 * BUCKET, 2 * BUCKET + 1, 5 * BUCKET])
def test_a_waiting_line_at_the_bounds_of_its_buckets(count: int) -> None:
    """Given keys put in from both ends, when some leave, then order and positions are those of a sorted list."""
    line, keys = WaitingLine(), [(number * 7 % count, number, str(number)) for number in range(count)]
    for key in keys:
        line.add(key)
    for key in keys[::3]:
        line.remove(key)
    left = sorted(set(keys) - set(keys[::3]))
    assert list(line) == left
    assert [line.count_before(key) for key in left[:: BUCKET // 3]] == list(range(len(left)))[:: BUCKET // 3]
    assert line.count_before((count, count, "")) == len(left)
    assert line.head() == (left[0] if left else None)
    with pytest.raises(KeyError):
        line.remove((-1, 0, ""))


def test_the_longest_wait_grows_while_nothing_happens() -> None:
    """Given a waiting call and a hall in which nothing is stepped, then the longest wait follows the caller's clock."""
    scene = Scene(queue())
    scene.request("waits")
    view = queue_view(scene.engine.state, "loans", scene.engine.now_ms + 300_000)
    assert view is not None
    assert view.longest_wait_ms == 300_000
