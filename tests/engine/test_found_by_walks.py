"""What the walks of engine and twin found wrong in the engine, one plain case each, so that it stays found."""

import pytest

from dispatch import commands as cm
from dispatch import events as ev
from dispatch.hours import Hours
from dispatch.plan import QueuePlan, Way
from dispatch.wishes import Wishes
from tests.engine.scene import START_MS, Scene, agent, plan, queue

BOTH = {"talk": 1, "sign": 1}


def asked(scene: Scene, call_id: str) -> list[str]:
    return [one.agent_id for one in scene.call(call_id).reservations]


def pairs(**fields: object) -> Scene:
    """`pairs` needs two; `anna` has units for two calls, `eve` signs."""
    return Scene(
        queue("pairs", need={"talk": 1}, joint_need={"sign": 1}, wrap_up="none", **fields),
        queue("small", need={"talk": 1}, cost_units=50, wrap_up="none"),
        agent("anna", skills={"talk": 1}, capacity_units=150),
        agent("ben", skills={"talk": 1}),
        agent("eve", skills={"sign": 1}),
    )


def test_a_joint_call_that_is_kept_for_one_agent_rings_at_two_or_nobody() -> None:
    """Given a joint call with a favourite, when only the favourite is free, then nobody rings; with the expert, both do."""
    scene = pairs()
    scene.ready("anna")
    scene.request("c1", "pairs", wishes=Wishes(preferred_agent_id="anna"))
    assert scene.state("c1") == "waiting"
    scene.ready("eve")
    assert asked(scene, "c1") == ["anna", "eve"]


def test_a_joint_need_that_is_the_need_itself_leaves_no_pool_twice() -> None:
    """Given a call that needs two of one kind, when it ends, then its needs go with it, once."""
    scene = Scene(queue(need={"sign": 1}), agent("eve", skills=BOTH))
    scene.request("c1", wishes=Wishes(joint_need={"sign": 1}))
    assert scene.hang_up("c1").is_accepted
    assert scene.request("c2", wishes=Wishes(joint_need={"sign": 1})).is_accepted


def test_who_has_units_left_is_free_for_the_next_call_of_the_same_step() -> None:
    """Given a small call and a joint one that are served in one step, then the idlest with units left takes both."""
    scene = Scene(
        queue("pairs", need={"talk": 1}, joint_need={"sign": 1}, joint_hold_ms=0),
        queue("small", need={"talk": 1}, cost_units=50, connecting_timeout_ms=1_000),
        agent("anna", skills={"talk": 1}, capacity_units=150),
        agent("ben", skills={"talk": 1}),
        agent("eve", skills=BOTH),
    )
    scene.ready("eve")
    scene.request("c1", "small")
    scene.accept("c1")
    scene.ready("anna", "ben")
    scene.request("c2", "pairs")
    scene.wait(1_000)
    assert asked(scene, "c1") == ["anna"]
    assert asked(scene, "c2") == ["anna", "eve"]


def test_who_has_units_left_is_asked_for_the_next_of_many_too() -> None:
    """Given two calls for which two are asked each, and one free agent with units for two, then that one is asked for both."""
    small = {"cost_units": 50, "reservations_max": 2}
    agents = agent("ben", capacity_units=50), agent("cleo", capacity_units=50), agent("anna", capacity_units=100)
    scene = Scene(queue(need={"talk": 1}, **small), *agents)
    scene.ready("ben", "cleo", "anna")
    scene.request("c1")
    scene.request("c2")
    scene.replan(plan(queue(**small), *agents))
    assert (asked(scene, "c1"), asked(scene, "c2")) == (["ben", "anna"], ["cleo", "anna"])


def test_the_first_of_a_pair_who_accepts_has_answered() -> None:
    """Given an agent with a miss, when they accept as the first of a pair, then the misses are forgotten."""
    scene = pairs(misses_max=2, joint_hold_ms=0, no_answer_delay_ms=0)
    scene.ready("anna", "eve")
    scene.request("c1", "pairs")
    scene.wait(20_000)
    missed = [one for one in ("anna", "eve") if scene.agent(one).misses]
    assert missed == ["anna"]
    assert scene.accept("c1", "anna").is_accepted
    assert scene.agent("anna").misses == 0
    scene.decline("c1", "eve")
    assert scene.agent("anna").misses == 0


def test_a_callback_that_rings_through_an_outage_still_counts_as_one() -> None:
    """Given callbacks_max 1 and a callback that rings, when the shell was away, then a second is refused, and after it not."""
    scene = Scene(queue(callbacks_max=1), agent("anna"))
    scene.ready("anna")
    scene.request("c1", wishes=Wishes(is_callback=True))
    scene.do(cm.Resume(1_000))
    assert scene.request("c2", wishes=Wishes(is_callback=True)).reason == "callbacks_full"
    scene.accept("c1")
    assert scene.request("c3", wishes=Wishes(is_callback=True)).is_accepted


def test_a_call_that_goes_back_leaves_its_supervisors_behind() -> None:
    """Given a supervisor in a call that connects, when the media fail and it waits again, then the supervisor is out of it."""
    scene = Scene(queue(connecting_timeout_ms=1_000), agent("anna"))
    scene.ready("anna")
    scene.request("c1")
    scene.accept("c1")
    assert scene.do(cm.Supervise("c1", "sam", "barge", principal="supervisor:sam")).is_accepted
    scene.wait(1_000)
    assert scene.state("c1") == "waiting"
    assert not scene.call("c1").supervisors


def test_an_accepted_invitation_has_the_credit_that_makes_it_due_at_once() -> None:
    """Given an invited customer who comes, when staff take all priority back, then the call is due after the target."""
    scene = Scene(queue(target_ms=20_000), agent("anna"))
    scene.invite("c1", "anna")
    scene.come("c1")
    assert scene.call("c1").due_at_ms == START_MS
    scene.do(cm.SetPriority("c1", 0))
    assert scene.call("c1").due_at_ms == START_MS + 20_000


def test_transfers_are_remembered_within_the_bound() -> None:
    """Given last_agents_max 1, when calls of two customers are transferred, then one customer's last agent is remembered."""
    scene = Scene(queue(last_agent_window_ms=60_000, wrap_up="none"), agent("anna"), agent("ben"), last_agents_max=1)
    scene.ready("anna", "ben")
    for call_id in ("c1", "c2"):
        scene.request(call_id)
        scene.talk(call_id)
    for call_id in ("c1", "c2"):
        assert scene.transfer(call_id, "loans").is_accepted
    assert list(scene.engine.state.last_agents) == ["of-c2"]


def test_a_window_that_ends_while_it_rings_is_told_after_an_outage_too() -> None:
    """Given a call that rings at its favourite, when the shell was away, then the window still ends by the clock."""
    scene = Scene(queue(preferred_window_ms=5_000), agent("anna"))
    scene.ready("anna")
    scene.request("c1", wishes=Wishes(preferred_agent_id="anna"))
    until_ms = scene.now_ms + 5_000
    scene.do(cm.Resume(1_000))
    scene.wait(5_000)
    assert scene.only(ev.FavouriteReleased) == ev.FavouriteReleased(until_ms, "c1", "anna", "window")


def test_nobody_waits_for_a_favourite_who_signed_out_while_the_call_was_elsewhere() -> None:
    """Given a call kept for an agent whose grace ends while they connect, when it comes back, then anybody is asked at once."""
    scene = Scene(
        queue(preferred_window_ms=60_000, connecting_timeout_ms=60_000),
        agent("anna"),
        agent("ben"),
        reconnect_grace_ms=1_000,
    )
    scene.connect("agent:anna")
    scene.ready("anna", "ben")
    scene.request("c1", wishes=Wishes(preferred_agent_id="anna"))
    scene.accept("c1")
    scene.disconnect("agent:anna")
    scene.wait(1_000)
    assert scene.only(ev.FavouriteReleased).reason == "signed_out"
    assert asked(scene, "c1") == ["ben"]


def test_nobody_waits_for_a_favourite_who_signed_out_while_the_customer_was_away() -> None:
    """Given a kept call whose customer is cut off, when the favourite signs out, then whoever is free is asked on return."""
    scene = Scene(queue(preferred_window_ms=600_000), agent("anna"), agent("ben"))
    scene.ready("anna")
    scene.do(cm.SetActivity("anna", "not_ready"))
    scene.connect("customer:zoe")
    scene.request("c1", customer_id="zoe", wishes=Wishes(preferred_agent_id="anna"))
    scene.ready("ben")
    scene.disconnect("customer:zoe")
    scene.do(cm.SetActivity("anna", "offline"))
    assert scene.state("c1") == "waiting"
    scene.connect("customer:zoe", "k2")
    assert asked(scene, "c1") == ["ben"]


def test_after_the_last_joint_call_the_others_are_matched_together() -> None:
    """Given a joint call before two that want the same agent, when all are placed at once, then all three are served."""
    agents = (
        agent("eve", skills={"sign": 1}),
        agent("ed", skills={"sign": 1}),
        agent("anna", skills={"talk": 1}),
        agent("both", skills={"talk": 1, "fx": 1}),
    )

    def hall(level: int) -> list[QueuePlan]:
        return [
            queue("pairs", need={"sign": level}, joint_need={"sign": 1}, joint_hold_ms=0),
            queue("easy", need={"talk": level}, strategy="most_skilled"),
            queue("hard", need={"fx": level}),
        ]

    scene = Scene(*hall(9), *agents)
    scene.ready("both", "anna", "eve", "ed")
    for call_id, queue_id in (("c1", "pairs"), ("c2", "easy"), ("c3", "hard")):
        scene.request(call_id, queue_id)
    scene.replan(plan(*hall(1), *agents))
    assert (asked(scene, "c1"), asked(scene, "c2"), asked(scene, "c3")) == (["eve", "ed"], ["anna"], ["both"])


def test_the_most_due_call_has_the_first_way_when_a_queue_closes() -> None:
    """Given room for one callback, when a call comes back at closing time beside a less due one, then it has the room."""
    hours = Hours(weekly=[[(0, 1_440)], [(0, 1_334)], *[[(0, 1_440)]] * 5])
    closing = {"hours": hours, "on_closed": [Way("callback")], "callbacks_max": 1, "closing_grace_ms": 0}
    scene = Scene(queue(**closing), agent("anna"), reservation_grace_ms=1_000, reconnect_grace_ms=86_400_000)
    closes_at_ms = START_MS + 40_000
    scene.connect("agent:anna")
    scene.ready("anna")
    scene.request("c1")
    scene.request("c2")
    scene.wait(closes_at_ms - 1_000 - scene.now_ms)
    assert (scene.state("c1"), scene.state("c2")) == ("reserved anna", "waiting")
    scene.disconnect("agent:anna")
    scene.wait(1_000)
    assert (scene.call("c1").is_callback, scene.state("c2")) == (True, "ended")


@pytest.mark.parametrize(("first", "other"), [("eve", "anna"), ("anna", "eve")])
def test_a_partners_answer_forgives_no_miss(first: str, other: str) -> None:
    """23: given one of a pair who accepted first and let another call ring out since, when the partner accepts, then that miss
    still counts: only one's own answer resets it."""
    scene = Scene(
        queue("pairs", need={"talk": 1}, joint_need={"sign": 1}, cost_units=50, reservation_timeout_ms=60_000),
        queue("short", need={"talk" if first == "anna" else "sign": 1}, cost_units=50, reservation_timeout_ms=1_000),
        agent("anna", skills={"talk": 1}),
        agent("eve", skills={"sign": 1}),
    )
    scene.ready("anna", "eve")
    scene.request("c1", "pairs")
    scene.request("c2", "short")
    assert asked(scene, "c2") == [first]
    assert scene.accept("c1", first).is_accepted
    scene.wait(1_000)
    assert scene.agent(first).misses == 1
    assert scene.accept("c1", other).is_accepted
    assert (scene.agent(first).misses, scene.agent(other).misses) == (1, 0)
