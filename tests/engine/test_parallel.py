"""Parallel reservations: several agents asked for one call at once, the first accept wins (ROUTING.md 1, 5.2, 5.3, 5.4)."""

import msgspec
import pytest

from dispatch import commands as cm
from dispatch import events as ev
from dispatch.plan import QueuePlan
from dispatch.wishes import Wishes
from tests.engine.scene import Scene, agent, plan, queue

NAMES = ("anna", "ben", "cleo", "dora")


def ringing(count: int, reservations_max: int, **fields: object) -> Scene:
    """`c1` comes while so many agents are free."""
    scene = Scene(queue(reservations_max=reservations_max, **fields), queue("other"), *(agent(one) for one in NAMES))
    scene.ready(*NAMES[:count])
    scene.request("c1")
    return scene


def asked(scene: Scene, call_id: str = "c1") -> list[str]:
    return [one.agent_id for one in scene.call(call_id).reservations]


@pytest.mark.parametrize("reservations_max", [1, 2, 3, 4, 50])
def test_so_many_are_asked_and_no_more(reservations_max: int) -> None:
    """Given four free agents, then as many are asked as the queue allows, in the strategy's order."""
    assert asked(ringing(4, reservations_max)) == list(NAMES[:reservations_max])


@pytest.mark.parametrize(("reservations_max", "is_taken"), [(0, False), (1, True), (50, True), (51, False)])
def test_the_bounds_of_reservations_max(reservations_max: int, is_taken: bool) -> None:
    """Given a plan at the bounds and one past, then it is read or refused."""
    text = msgspec.json.encode({"id": "q", "reservations_max": reservations_max})
    if is_taken:
        assert msgspec.json.decode(text, type=QueuePlan).reservations_max == reservations_max
    else:
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(text, type=QueuePlan)


def test_fifty_are_asked_and_the_first_accept_wins() -> None:
    """Given sixty free agents, then fifty are asked; one accept lets 49 go in that step."""
    names = [f"a{number}" for number in range(60)]
    scene = Scene(queue(reservations_max=50), *(agent(one) for one in names))
    scene.ready(*names)
    scene.request("c1")
    assert len(asked(scene)) == 50
    scene.accept("c1", "a49")
    assert scene.count(ev.ReservationClosed) == 49
    assert scene.state("c1") == "connecting a49"


@pytest.mark.parametrize("winner", NAMES[:3])
def test_the_first_accept_wins_and_the_late_one_is_refused(winner: str) -> None:
    """Given three who are asked, when one accepts, then the others are rescinded in that step, and late by name."""
    scene = ringing(3, 3)
    late = [
        cm.AcceptReservation(one.id, one.agent_id) for one in scene.call("c1").reservations if one.agent_id != winner
    ]
    assert scene.accept("c1", winner).is_accepted
    closed = [event for event in scene.last if isinstance(event, ev.ReservationClosed)]
    assert {(event.outcome, event.reason) for event in closed} == {("rescinded", "accepted_by_other")}
    assert len(closed) == 2
    for command in late:
        reply = scene.do(command)
        assert (reply.reason, reply.value) == ("not_pending", {"call_state": "connecting"})
        assert scene.last == []
    assert scene.state("c1") == f"connecting {winner}"
    assert [one for one in NAMES if scene.agent(one).used_units] == [winner]


def test_who_is_rescinded_gets_the_next_call_in_that_step_without_a_count() -> None:
    """Given a second call that waits, when the first is accepted, then whoever is let go is asked for it."""
    scene = ringing(2, 2)
    scene.request("c2")
    scene.accept("c1", "anna")
    assert asked(scene, "c2") == ["ben"]
    ben = scene.agent("ben")
    assert (ben.misses, ben.missed_count, ben.declined_count) == (0, 0, 0)


def test_hanging_up_rescinds_all() -> None:
    """Given three who are asked, when the customer hangs up, then all are let go in that step (5.24)."""
    scene = ringing(3, 3)
    scene.hang_up("c1")
    assert [event.outcome for event in scene.last if isinstance(event, ev.ReservationClosed)] == ["rescinded"] * 3
    assert not any(scene.agent(one).used_units for one in NAMES)


def test_the_call_rings_on_until_the_last_one_has_closed() -> None:
    """Given two who are asked, when one declines the other rings on; when both have, the call is at its old place."""
    scene = ringing(2, 2)
    key = scene.call("c1").key
    scene.decline("c1", "anna")
    assert asked(scene) == ["ben"]
    scene.wait(1_000)
    scene.decline("c1", "ben")
    assert (scene.state("c1"), scene.call("c1").key) == ("waiting", key)
    scene.wait(28_999)
    assert scene.state("c1") == "waiting"
    scene.wait(1)
    assert asked(scene) == ["anna"]


def test_all_let_it_ring_out() -> None:
    """Given two who do not answer, then each has a miss of its own, and the call waits."""
    scene = ringing(2, 2)
    scene.wait(20_000)
    assert scene.state("c1") == "waiting"
    assert [scene.agent(one).misses for one in ("anna", "ben")] == [1, 1]


@pytest.mark.parametrize(("agents", "rings"), [(1, [1, 0]), (2, [1, 1]), (3, [2, 1]), (4, [3, 1])])
def test_further_agents_are_asked_after_all_matching_of_the_step(agents: int, rings: list[int]) -> None:
    """Given two calls and agents who may serve them from one instant on, then each call has one before the first has two."""
    scene = Scene(queue(reservations_max=3, need={"fx": 1}), *(agent(one) for one in NAMES))
    scene.ready(*NAMES[:agents])
    scene.request("c1")
    scene.request("c2")
    skilled = [agent(one, skills={"fx": 1}) for one in NAMES]
    scene.replan(plan(queue(reservations_max=3, need={"fx": 1}), *skilled))
    assert [len(asked(scene, one)) for one in ("c1", "c2")] == rings


def test_another_queues_call_comes_before_a_second_ring() -> None:
    """Given a less due call of another queue, when two agents are free at once, then each call has one of them."""
    scene = Scene(queue(reservations_max=2, need={"fx": 1}, target_ms=0), queue("other"), agent("anna"), agent("ben"))
    scene.ready("anna", "ben")
    for call_id in ("b1", "b2"):
        scene.request(call_id, "other")
        scene.accept(call_id)
    scene.request("c1")
    scene.request("c2", "other")
    skilled = [agent(one, skills={"fx": 1}) for one in ("anna", "ben")]
    scene.replan(plan(queue(reservations_max=2, need={"fx": 1}, target_ms=0), queue("other"), *skilled))
    scene.wait(15_000)
    assert scene.count(ev.CallRequeued) == 2
    assert len(asked(scene, "c1")) == 1


def test_who_becomes_free_while_it_rings_is_not_added() -> None:
    """Given a call that rings at one, when another agent becomes free, then they stand ready for the next call."""
    scene = ringing(1, 3)
    scene.ready("ben")
    assert asked(scene) == ["anna"]
    scene.request("c2")
    assert asked(scene, "c2") == ["ben"]


def test_a_kept_call_rings_at_its_favourite_alone() -> None:
    """Given a preferred agent inside the window, then nobody else is asked; once released, several are."""
    scene = Scene(queue(reservations_max=3), *(agent(one) for one in NAMES))
    scene.ready(*NAMES)
    scene.request("c1", wishes=Wishes(preferred_agent_id="cleo"))
    assert asked(scene) == ["cleo"]
    scene.decline("c1", "cleo")
    assert asked(scene) == ["anna", "ben", "dora"]


def test_a_joint_call_rings_at_two_alone() -> None:
    """Given a joint call of a queue with parallel reservations, then one agent and one expert are asked."""
    scene = Scene(queue(reservations_max=4, joint_need={}), *(agent(one) for one in NAMES))
    scene.ready(*NAMES)
    scene.request("c1", wishes=Wishes(joint_need={"none": 1}))
    assert scene.state("c1") == "waiting"
    scene = Scene(queue(reservations_max=4), *(agent(one, skills={"fx": 1}) for one in NAMES))
    scene.ready(*NAMES)
    scene.request("c1", wishes=Wishes(joint_need={"fx": 1}))
    assert [one.role for one in scene.call("c1").reservations] == ["agent", "expert"]


def test_an_agent_with_room_for_two_is_asked_once_for_one_call() -> None:
    """Given one agent with room for two calls, then one call rings there once, and a second one too."""
    scene = Scene(queue(reservations_max=2, cost_units=50), agent("anna"))
    scene.ready("anna")
    scene.request("c1")
    scene.request("c2")
    assert (asked(scene, "c1"), asked(scene, "c2")) == (["anna"], ["anna"])


def test_a_call_that_rings_at_many_counts_once_for_the_cap() -> None:
    """Given a cap of two calls, when one rings at three agents, then a second call may ring."""
    scene = ringing(3, 2, in_call_max=2)
    assert asked(scene) == ["anna", "ben"]
    scene.request("c2")
    assert asked(scene, "c2") == ["cleo"]


def test_one_of_many_who_leaves_or_is_lost_leaves_the_others_ringing() -> None:
    """Given three who are asked, when one goes on a break and one is lost, then the third may still accept."""
    scene = ringing(3, 3)
    scene.connect("agent:ben")
    scene.do(cm.SetActivity("anna", "not_ready"))
    scene.disconnect("agent:ben")
    scene.wait(5_000)
    assert asked(scene) == ["cleo"]
    assert scene.accept("c1", "cleo").is_accepted


@pytest.mark.parametrize("with_snapshot", [False, True])
def test_all_ring_on_after_a_crash(with_snapshot: bool) -> None:
    """Given three who are asked, when the shard comes back, then each may accept, once."""
    scene = ringing(3, 3)
    scene.crash(with_snapshot=with_snapshot)
    assert scene.accept("c1", "cleo").is_accepted
    assert scene.count(ev.ReservationClosed) == 2
