"""Which agent: every strategy by hand, keys that stand still while an agent does, and one total order (docs/routing.md)."""

import pytest

from dispatch import commands as cm
from dispatch import events as ev
from dispatch.choice import register, registered_strategies
from dispatch.model import Agent
from dispatch.plan import STRATEGIES, QueuePlan, Relaxation
from dispatch.wishes import Wishes
from tests.engine.scene import Scene, agent, plan, queue


def _shortest_name(agent: Agent, queue: QueuePlan, now_ms: int) -> int:
    """A strategy of one's own."""
    return len(agent.name)


register("shortest_name", _shortest_name)


def hall(strategy: str, *agents: str, **fields: object) -> Scene:
    """All agents ready, the first named is idle longest."""
    scene = Scene(queue(strategy=strategy, wrap_up="none", **fields), *(agent(one) for one in sorted(agents)))
    scene.ready(*agents)
    return scene


def busy(scene: Scene, agent_id: str, talk_ms: int, queue_id: str = "loans") -> None:
    """The agent talks for so long, and is free again."""
    call_id = f"busy-{scene.now_ms}-{agent_id}"
    assert scene.request(call_id, queue_id, wishes=Wishes(required_agent_id=agent_id)).is_accepted
    scene.talk(call_id)
    scene.wait(talk_ms)
    scene.hang_up(call_id)


def asked(scene: Scene, count: int = 1) -> list[str]:
    """Who is asked for the next calls, one after the other."""
    for number in range(count):
        scene.request(f"next-{number}")
    return [scene.ring(f"next-{number}").agent_id for number in range(count)]


# -- longest_idle


def test_longest_idle_counts_from_sign_in_or_the_last_wrap_up() -> None:
    """Given ben who signed in first but has just talked, then anna is idle longer."""
    scene = hall("longest_idle", "ben", "anna")
    scene.wait(1_000)
    busy(scene, "ben", 1_000)
    assert asked(scene, 2) == ["anna", "ben"]


@pytest.mark.parametrize("activity", ["not_ready", "ready"])
def test_a_break_does_not_change_idleness(activity: str) -> None:
    """Given anna idle longest, when she is on a break and comes back, or changes her reason, then she is first (5.27)."""
    scene = hall("longest_idle", "anna", "ben")
    scene.wait(5_000)
    scene.do(cm.SetActivity("anna", activity, "coffee"))
    scene.wait(5_000)
    scene.ready("anna")
    assert asked(scene) == ["anna"]


def test_signing_out_and_in_begins_idleness_anew() -> None:
    """Given anna idle longest, when she signs out and in, then ben is."""
    scene = hall("longest_idle", "anna", "ben")
    scene.do(cm.SetActivity("anna", "offline"))
    scene.ready("anna")
    assert asked(scene) == ["ben"]


def test_an_unanswered_reservation_does_not_change_idleness() -> None:
    """Given anna idle longest, when the call that rings at her is hung up, then she is still first."""
    scene = hall("longest_idle", "anna", "ben")
    scene.wait(1_000)
    scene.request("c1")
    scene.wait(1_000)
    scene.hang_up("c1")
    assert asked(scene) == ["anna"]


# -- most_skilled


def test_most_skilled_adds_up_the_levels_of_the_queues_need_alone() -> None:
    """Given agents with other skills too, then only those that the queue asks for count."""
    scene = Scene(
        queue(strategy="most_skilled", need={"fx": 2, "en": 1}),
        agent("many", skills={"fx": 2, "en": 5, "law": 10, "tax": 10}),
        agent("fit", skills={"fx": 5, "en": 3}),
        agent("poor", skills={"fx": 2, "en": 1}),
    )
    scene.ready("poor", "many", "fit")
    assert asked(scene, 3) == ["fit", "many", "poor"]
    assert scene.only(ev.CallReserved).key == -3


def test_most_skilled_goes_by_the_queues_own_need_at_every_step() -> None:
    """Given a step that asks for nothing, when it is open, then who is best at the queue's own need is first."""
    scene = Scene(
        queue(strategy="most_skilled", need={"fx": 9}, relaxation=[Relaxation(1_000, {})]),
        agent("none"),
        agent("some", skills={"fx": 3}),
        agent("law", skills={"law": 10}),
    )
    scene.ready("none", "some", "law")
    scene.request("c1")
    scene.wait(999)
    assert scene.state("c1") == "waiting"
    scene.wait(1)
    assert scene.state("c1") == "reserved some"


def test_most_skilled_of_two_queues_with_the_same_relaxed_need() -> None:
    """Given two queues whose open need is the same but not their own, then each asks whom its own need calls best."""
    relaxed = [Relaxation(1, {})]
    scene = Scene(
        queue("fx", strategy="most_skilled", need={"fx": 9}, relaxation=relaxed),
        queue("law", strategy="most_skilled", need={"law": 9}, relaxation=relaxed),
        agent("a", skills={"fx": 8, "law": 1}),
        agent("b", skills={"fx": 1, "law": 8}),
    )
    scene.ready("a", "b")
    scene.request("c1", "law")
    scene.wait(1)
    assert scene.state("c1") == "reserved b"
    scene.hang_up("c1")
    scene.request("c2", "fx")
    scene.wait(1)
    assert scene.state("c2") == "reserved a"


# -- least_occupied


def test_least_occupied_by_busy_over_busy_and_ready() -> None:
    """Given anna always busy, ben half of the time and cleo never, then cleo is asked first, then ben (ROUTING.md 2)."""
    scene = hall("least_occupied", "anna", "ben", "cleo")
    busy(scene, "anna", 8_000)
    scene.wait(2_000)
    busy(scene, "ben", 12_000)
    assert asked(scene, 3) == ["cleo", "ben", "anna"]
    assert 540_000 < scene.ring("next-1").key < 550_000


def test_least_occupied_leaves_out_breaks() -> None:
    """Given the same work, when anna was on a break meanwhile, then she counts as the more occupied."""
    scene = hall("least_occupied", "anna", "ben")
    scene.wait(5_000)
    scene.do(cm.SetActivity("anna", "not_ready", "lunch"))
    scene.wait(100_000)
    scene.ready("anna")
    busy(scene, "ben", 10_000)
    busy(scene, "anna", 10_000)
    assert asked(scene, 2) == ["ben", "anna"]


def test_wrap_up_counts_as_busy() -> None:
    """Given the same talk, when only one queue has a wrap-up, then who wrapped up is the more occupied."""
    scene = Scene(
        queue(strategy="least_occupied", wrap_up="none"),
        queue("work", strategy="least_occupied", wrap_up_ms=30_000),
        agent("anna"),
        agent("ben"),
    )
    scene.ready("anna", "ben")
    scene.wait(100_000)
    busy(scene, "ben", 10_000)
    busy(scene, "anna", 10_000, "work")
    scene.wait(30_000)
    assert asked(scene, 2) == ["ben", "anna"]


def test_a_key_stands_still_until_the_agents_state_changes() -> None:
    """Given anna's occupancy when she became free above ben's, when both idle until hers is below, then ben is first."""
    scene = hall("least_occupied", "anna", "ben")
    busy(scene, "anna", 1_000)
    scene.wait(9_000)
    busy(scene, "ben", 9_000)
    scene.wait(1_000_000)
    occupancy = {
        one.id: one.busy_ms / (scene.now_ms - one.signed_in_at_ms) for one in scene.engine.state.agents.values()
    }
    assert occupancy["anna"] < occupancy["ben"]
    assert asked(scene) == ["ben"]
    assert scene.only(ev.CallReserved).runner_up_id == "anna"


@pytest.mark.parametrize("with_snapshot", [False, True])
def test_a_recovery_changes_no_key(with_snapshot: bool) -> None:
    """Given the same two, when the shard comes back after a long time, then ben is still first."""
    scene = hall("least_occupied", "anna", "ben")
    busy(scene, "anna", 1_000)
    scene.wait(9_000)
    busy(scene, "ben", 9_000)
    scene.wait(1_000_000)
    scene.crash(with_snapshot=with_snapshot)
    assert asked(scene) == ["ben"]


# -- round_robin


def test_round_robin_goes_round_answered_or_not() -> None:
    """Given three agents, when no call is answered, then each is asked in turn, who was never asked first."""
    scene = hall("round_robin", "anna", "ben", "cleo")
    turns = []
    for number in range(7):
        scene.request(f"c{number}")
        turns.append(scene.ring(f"c{number}").agent_id)
        scene.hang_up(f"c{number}")
    assert turns == ["anna", "ben", "cleo"] * 2 + ["anna"]


def test_round_robin_counts_reservations_of_all_queues_of_the_division() -> None:
    """Given anna and ben asked in turn here and anna once more elsewhere, then it is ben's turn."""
    scene = Scene(queue(strategy="round_robin"), queue("cards"), agent("anna"), agent("ben"))
    scene.ready("anna", "ben")
    for call_id in ("c1", "c2"):
        scene.request(call_id)
        scene.hang_up(call_id)
    scene.request("elsewhere", "cards", wishes=Wishes(required_agent_id="anna"))
    scene.hang_up("elsewhere")
    scene.request("c3")
    assert scene.state("c3") == "reserved ben"
    assert scene.only(ev.CallReserved).key == 2


# -- fewest_calls


def test_fewest_calls_accepted_since_sign_in() -> None:
    """Given two, one and no calls accepted, then in that order from behind; signing in again begins at none."""
    scene = hall("fewest_calls", "anna", "ben", "cleo")
    for agent_id in ("anna", "anna", "ben"):
        busy(scene, agent_id, 1_000)
    assert asked(scene, 3) == ["cleo", "ben", "anna"]
    assert scene.only(ev.CallReserved).key == 2
    for number in range(3):
        scene.hang_up(f"next-{number}")
    scene.do(cm.SetActivity("anna", "offline"))
    scene.ready("anna")
    scene.request("c1")
    scene.request("c2")
    assert {scene.ring(one).agent_id for one in ("c1", "c2")} == {"anna", "cleo"}


def test_a_call_declined_is_not_one_accepted() -> None:
    """Given anna who accepted one and ben who declined two, then ben has the fewest."""
    scene = hall("fewest_calls", "anna", "ben", decline_delay_ms=0)
    busy(scene, "anna", 1_000)
    for number in range(2):
        scene.request(f"c{number}", wishes=Wishes(required_agent_id="ben"))
        scene.decline(f"c{number}")
        scene.hang_up(f"c{number}")
    assert asked(scene) == ["ben"]


# -- relationship


def test_relationship_is_longest_idle_without_a_manager() -> None:
    """Given a queue of managers, when the customer has none, then who is idle longest is asked."""
    scene = hall("relationship", "ben", "anna")
    assert asked(scene, 2) == ["ben", "anna"]


def test_relationship_asks_the_customers_manager_first() -> None:
    """Given a manager who is idle shortest, then the manager is asked, and the reason says so."""
    scene = hall("relationship", "ben", "anna")
    scene.request("c1", wishes=Wishes(manager_id="anna"))
    assert scene.state("c1") == "reserved anna"
    assert scene.only(ev.CallReserved).why == "relationship"


# -- nearest


def _places(*, carrier: str = "ct", region: str = "sh") -> Scene:
    scene = Scene(
        queue(strategy="nearest"),
        agent("nowhere"),
        agent("far", region="bj", carrier="ct"),
        agent("region", region="sh", carrier="cm"),
        agent("region-too", region="sh"),
        agent("same", region="sh", carrier="ct"),
    )
    scene.ready("nowhere", "far", "region", "region-too", "same")
    for number in range(5):
        scene.request(f"c{number}", wishes=Wishes(region=region, carrier=carrier))
    return scene


@pytest.mark.parametrize(
    ("region", "carrier", "order"),
    [
        ("sh", "ct", ["same", "region", "region-too", "nowhere", "far"]),
        ("sh", "cu", ["region", "region-too", "same", "nowhere", "far"]),
        ("sh", "", ["region", "region-too", "same", "nowhere", "far"]),
        ("bj", "ct", ["far", "nowhere", "region", "region-too", "same"]),
        ("gz", "ct", ["nowhere", "far", "region", "region-too", "same"]),
        ("", "ct", ["nowhere", "far", "region", "region-too", "same"]),
    ],
)
def test_nearest_same_carrier_and_region_then_same_region_then_any(region: str, carrier: str, order: list[str]) -> None:
    """Given agents in several places, then the nearest first, within one distance who is idle longest."""
    scene = _places(region=region, carrier=carrier)
    assert [scene.ring(f"c{number}").agent_id for number in range(5)] == order


def test_nearest_without_wishes() -> None:
    """Given a call that says nothing of its place, then who is idle longest is asked."""
    scene = Scene(queue(strategy="nearest"), agent("sh", region="sh"), agent("bj", region="bj"))
    scene.ready("bj", "sh")
    assert asked(scene) == ["bj"]


# -- a registered one


def test_a_registered_strategy_decides() -> None:
    """Given a strategy of one's own, when a queue names it, then its key decides and stands in the reason."""
    scene = Scene(
        queue(strategy="shortest_name"),
        agent("anna", name="Annabelle"),
        agent("ben", name="Ben"),
        agent("cleo", name="Cleo"),
    )
    scene.ready("anna", "ben", "cleo")
    assert asked(scene, 3) == ["ben", "cleo", "anna"]
    scene.hang_up("next-1")
    scene.request("c1")
    reserved = scene.only(ev.CallReserved)
    assert (reserved.why, reserved.key, reserved.agent_id) == ("shortest_name", 4, "cleo")


def test_a_strategy_that_nobody_registered_is_refused_with_the_plan() -> None:
    """Given a name that this program does not know, when a plan uses it, then it is refused and lists what is known."""
    reply = Scene().replan(plan(queue(strategy="longest_name")))
    assert reply.reason == "bad_value"
    assert reply.value is not None
    (problem,) = reply.value["problems"]
    assert all(name in problem for name in (*STRATEGIES, "shortest_name"))


def test_a_name_stands_for_one_function() -> None:
    """Given names that are taken, ours or another's, then registering is refused; the same function again is not."""
    register("shortest_name", _shortest_name)
    assert "shortest_name" in registered_strategies()
    for name in (*STRATEGIES, "shortest_name"):
        with pytest.raises(ValueError, match="taken"):
            register(name, lambda agent, queue, now_ms: 0)


# -- total order


@pytest.mark.parametrize("strategy", [*STRATEGIES, "shortest_name"])
def test_equal_keys_go_by_idleness_then_by_the_configuration(strategy: str) -> None:
    """Given agents alike but for idleness, and two alike in all, then the order is idle since, then the plan's order."""
    scene = Scene(queue(strategy=strategy), *(agent(one) for one in ("zoe", "anna", "ben")))
    scene.ready("ben")
    scene.now_ms += 1
    for agent_id in ("anna", "zoe"):
        scene.do(cm.SetActivity(agent_id, "ready"))
    assert asked(scene, 3) == ["ben", "zoe", "anna"]


@pytest.mark.parametrize("strategy", [*STRATEGIES, "shortest_name"])
def test_the_reason_names_the_rule_and_the_runner_up(strategy: str) -> None:
    """Given two free agents, when one is asked, then the event tells the rule and who would have been next."""
    scene = Scene(queue(strategy=strategy), agent("anna"), agent("ben"))
    scene.ready("anna", "ben")
    scene.request("c1")
    reserved = scene.only(ev.CallReserved)
    assert (reserved.why, reserved.agent_id, reserved.runner_up_id) == (strategy, "anna", "ben")
    scene.request("c2")
    assert scene.only(ev.CallReserved).runner_up_id == ""


def test_two_queues_ask_the_same_agents_each_by_its_strategy() -> None:
    """Given two queues with two strategies, when both have a call, then each gets whom its own rule names."""
    scene = Scene(
        queue("idle"), queue("skilled", strategy="most_skilled", need={"fx": 1}),
        agent("long", skills={"fx": 1}), agent("best", skills={"fx": 9}),
    )  # fmt: skip
    scene.ready("long", "best")
    scene.request("c1", "skilled")
    scene.request("c2", "idle")
    assert (scene.state("c1"), scene.state("c2")) == ("reserved best", "reserved long")
