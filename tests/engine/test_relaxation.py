"""Relaxation: steps that widen a need on time, whatever happens to the call meanwhile (ROUTING.md 3, 5.20, 5.21)."""

import msgspec
import pytest

from dispatch import commands as cm
from dispatch import events as ev
from dispatch.plan import STEPS_MAX, QueuePlan, Relaxation, Way
from dispatch.wishes import Wishes
from tests.engine.scene import Scene, agent, plan, queue

STEPS = [Relaxation(10_000, {"fx": 5}), Relaxation(30_000, {"fx": 2}), Relaxation(60_000, {})]
"""From {"fx": 8}."""


def hall(*agents: str, **fields: object) -> Scene:
    """Agents by their level of fx, all ready: `fx5` has 5."""
    scene = Scene(
        queue(need={"fx": 8}, **{"relaxation": STEPS, **fields}),
        *(agent(one, skills={"fx": int(one[2:])} if one[2:] != "0" else {}) for one in agents),
    )
    scene.ready(*agents)
    return scene


@pytest.mark.parametrize(("agent_id", "after_ms"), [("fx5", 10_000), ("fx2", 30_000), ("fx0", 60_000)])
def test_a_step_opens_to_the_millisecond(agent_id: str, after_ms: int) -> None:
    """Given an agent who meets one step, when it opens, then the call rings there, and not a moment before."""
    scene = hall(agent_id)
    scene.request("c1")
    scene.wait(after_ms - 1)
    assert scene.state("c1") == "waiting"
    scene.wait(1)
    assert scene.state("c1") == f"reserved {agent_id}"
    assert scene.only(ev.CallReserved).step == scene.call("c1").step


def test_each_step_takes_in_whom_the_one_before_left_out() -> None:
    """Given agents for each step, when it opens, then they are asked; the better is asked earlier."""
    scene = hall("fx8", "fx5", "fx2")
    for number in range(3):
        scene.request(f"c{number}")
    assert [scene.state(f"c{number}") for number in range(3)] == ["reserved fx8", "waiting", "waiting"]
    scene.wait(10_000)
    assert scene.state("c1") == "reserved fx5"


def test_a_step_opens_while_the_call_rings() -> None:
    """Given a call that rings when its step comes, when declined later, then it rings at whom that step lets in at once."""
    scene = hall("fx8", "fx5")
    scene.request("c1")
    scene.wait(10_000)
    assert scene.only(ev.NeedRelaxed).step == 1
    assert scene.state("c1") == "reserved fx8"
    scene.wait(1)
    scene.decline("c1")
    assert scene.state("c1") == "reserved fx5"


def test_a_step_opens_while_the_call_talks_and_counts_when_it_comes_back() -> None:
    """Given a talk that outlives two steps, when its agent is lost, then the call rings at whom they let in."""
    scene = hall("fx8", "fx2")
    scene.connect("agent:fx8")
    scene.request("c1")
    scene.talk("c1")
    scene.wait(30_000)
    assert scene.call("c1").step == 2
    scene.disconnect("agent:fx8")
    scene.wait(30_000)
    assert scene.state("c1") == "reserved fx2"


def test_a_step_opens_while_the_customer_is_away() -> None:
    """Given a customer who drops before the step and is back after it, then the call rings at whom it lets in."""
    scene = hall("fx5")
    scene.connect("customer:zoe")
    scene.request("c1", customer_id="zoe")
    scene.wait(5_000)
    scene.disconnect("customer:zoe")
    scene.wait(10_000)
    assert scene.state("c1") == "waiting"
    scene.connect("customer:zoe", "k2")
    assert scene.state("c1") == "reserved fx5"


def test_steps_count_from_when_the_call_was_queued_not_from_when_it_came_back() -> None:
    """Given a call that comes back after 9 s, then its first step opens after 1 s more (5.14)."""
    scene = hall("fx8", "fx5")
    scene.request("c1")
    scene.wait(9_000)
    scene.decline("c1")
    scene.wait(999)
    assert scene.state("c1") == "waiting"
    scene.wait(1)
    assert scene.state("c1") == "reserved fx5"


def test_after_an_overflow_all_steps_that_are_due_open_at_once() -> None:
    """Given a call that overflows after 30 s, then the steps of 10 s and 30 s of the new queue are open at once."""
    scene = Scene(
        queue("a", need={"none": 1}, wait_ms_max=30_000, on_wait=[Way("overflow", ["b"])]),
        queue("b", need={"fx": 8}, relaxation=STEPS),
        agent("fx2", skills={"fx": 2}),
    )
    scene.ready("fx2")
    scene.request("c1", "a")
    scene.wait(29_999)
    assert scene.state("c1") == "waiting"
    scene.wait(1)
    assert scene.only(ev.NeedRelaxed).step == 2
    assert scene.state("c1") == "reserved fx2"


def test_a_transfer_begins_at_the_first_step() -> None:
    """Given a call whose steps are all open, when transferred to a queue, then that queue's own need holds again."""
    scene = hall("fx8", "fx0")
    scene.request("c1")
    scene.talk("c1")
    scene.wait(60_000)
    assert scene.transfer("c1", "loans").is_accepted
    assert (scene.state("c1"), scene.call("c1").step) == ("waiting", 0)
    scene.do(cm.SetActivity("fx8", "offline"))
    scene.wait(59_999)
    assert (scene.state("c1"), scene.call("c1").step) == ("waiting", 2)
    scene.wait(1)
    assert scene.state("c1") == "reserved fx0"


def test_what_the_call_asks_for_itself_is_never_relaxed() -> None:
    """Given a call that asks for fx 6 itself, when all steps are open, then only who has it is asked."""
    scene = hall("fx5", "fx6")
    scene.request("c1", wishes=Wishes(need={"fx": 6}))
    scene.wait(9_999)
    assert scene.state("c1") == "waiting"
    scene.wait(1)
    assert scene.state("c1") == "reserved fx6"
    scene.decline("c1")
    scene.wait(29_999)
    assert scene.state("c1") == "waiting"


def test_the_calls_own_skill_and_the_queues_the_higher_counts() -> None:
    """Given a queue that asks for fx 8 and a call for fx 3 and law, then fx 8 and law; after the steps fx 3 and law."""
    scene = Scene(
        queue(need={"fx": 8}, relaxation=[Relaxation(1_000, {})]),
        agent("fx", skills={"fx": 8}),
        agent("law", skills={"fx": 7, "law": 1}),
        agent("less", skills={"fx": 2, "law": 1}),
    )
    scene.ready("less", "fx", "law")
    scene.request("c1", wishes=Wishes(need={"fx": 3, "law": 1}))
    assert scene.state("c1") == "waiting"
    scene.wait(1_000)
    assert scene.state("c1") == "reserved law"


def test_a_step_of_one_call_does_not_open_for_a_later_one() -> None:
    """Given two calls a second apart, when the first's step opens, then the second waits for its own."""
    scene = hall("fx5")
    scene.request("c1", wishes=Wishes(excluded_agent_ids=["fx5"]))
    scene.wait(1_000)
    scene.request("c2")
    scene.wait(9_999)
    assert scene.state("c2") == "waiting"
    scene.wait(1)
    assert scene.state("c2") == "reserved fx5"


def test_steps_open_in_a_queue_that_is_at_its_cap_without_ringing() -> None:
    """Given a queue that may ring once, when a step opens, then the call waits, and rings when there is room."""
    scene = hall("fx8", "fx5", in_call_max=1)
    scene.request("c1")
    scene.request("c2")
    scene.wait(10_000)
    assert scene.state("c2") == "waiting"
    scene.hang_up("c1")
    assert scene.state("c2") in ("reserved fx8", "reserved fx5")


def test_a_reload_opens_the_steps_that_are_due_by_the_new_plan() -> None:
    """Given a call that has waited for 5 s, when a plan brings a step after 4 s, then it is open in that step."""
    scene = Scene(queue(need={"fx": 8}), agent("anna"))
    scene.ready("anna")
    scene.request("c1")
    scene.wait(5_000)
    scene.replan(plan(queue(need={"fx": 8}, relaxation=[Relaxation(4_000, {})]), agent("anna")))
    assert scene.state("c1") == "reserved anna"


def test_a_reload_that_brings_a_step_later_arms_it() -> None:
    """Given a call that has waited for 5 s, when a plan brings a step after 8 s, then it opens after 3 s more."""
    scene = Scene(queue(need={"fx": 8}), agent("anna"))
    scene.ready("anna")
    scene.request("c1")
    scene.wait(5_000)
    scene.replan(plan(queue(need={"fx": 8}, relaxation=[Relaxation(8_000, {})]), agent("anna")))
    scene.wait(2_999)
    assert scene.state("c1") == "waiting"
    scene.wait(1)
    assert scene.state("c1") == "reserved anna"


@pytest.mark.parametrize("with_snapshot", [False, True])
def test_a_step_opens_after_a_crash(with_snapshot: bool) -> None:
    """Given a shard that comes back before the step, then it opens on time all the same."""
    scene = hall("fx5")
    scene.request("c1")
    scene.wait(4_000)
    scene.crash(with_snapshot=with_snapshot)
    scene.wait(5_999)
    assert scene.state("c1") == "waiting"
    scene.wait(1)
    assert scene.state("c1") == "reserved fx5"


# -- what a plan may say


@pytest.mark.parametrize(
    ("steps", "key"),
    [
        ([Relaxation(1_000, {"fx": 9})], "relaxation[0].need"),
        ([Relaxation(1_000, {"law": 1})], "relaxation[0].need"),
        ([Relaxation(1_000, {"fx": 5}), Relaxation(2_000, {"fx": 6})], "relaxation[1].need"),
        ([Relaxation(2_000, {"fx": 5}), Relaxation(2_000, {})], "relaxation[1].after_ms"),
        ([Relaxation(2_000, {"fx": 5}), Relaxation(1_999, {})], "relaxation[1].after_ms"),
    ],
)
def test_a_step_comes_later_and_asks_for_less(steps: list[Relaxation], key: str) -> None:
    """Given steps that ask for more or do not come later, when the plan is applied, then it is refused by the key."""
    reply = Scene().replan(plan(queue(need={"fx": 8}, relaxation=steps)))
    assert reply.reason == "bad_value"
    assert reply.value is not None
    assert [problem.startswith(f"queues[0].{key}:") for problem in reply.value["problems"]] == [True]


@pytest.mark.parametrize(("count", "is_taken"), [(STEPS_MAX, True), (STEPS_MAX + 1, False)])
def test_so_many_steps_and_no_more(count: int, is_taken: bool) -> None:
    """Given eight steps, then the plan is read; with nine it is not."""
    steps = [{"after_ms": number + 1} for number in range(count)]
    text = msgspec.json.encode({"id": "q", "relaxation": steps})
    if is_taken:
        scene = Scene(
            queue(need={"fx": 1}, relaxation=msgspec.json.decode(text, type=QueuePlan).relaxation), agent("anna")
        )
        scene.request("c1")
        scene.wait(count)
        assert scene.call("c1").step == count
    else:
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(text, type=QueuePlan)


@pytest.mark.parametrize("after_ms", [0, 86_400_001])
def test_a_step_after_nothing_or_more_than_a_day(after_ms: int) -> None:
    """Given a step one past its range, when read, then it is refused."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode({"after_ms": after_ms}), type=Relaxation)


def test_a_call_that_nobody_can_serve_until_its_step_blocks_nobody() -> None:
    """Given a most due call before its step, when others come that the agent may serve, then they are served (5.22)."""
    scene = Scene(queue("rare", need={"fx": 8}, relaxation=STEPS, target_ms=0), queue("loans"), agent("anna"))
    scene.ready("anna")
    scene.request("c1", "rare")
    scene.request("c2")
    assert (scene.state("c1"), scene.state("c2")) == ("waiting", "reserved anna")
    scene.do(cm.HangUp("c2"))
    scene.wait(60_000)
    assert scene.state("c1") == "reserved anna"
