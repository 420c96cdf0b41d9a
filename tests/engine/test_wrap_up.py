"""Wrap-up: none, timed, extended, until done; it holds across all queues (ROUTING.md 2)."""

import pytest

from dispatch import commands as cm
from dispatch import events as ev
from tests.engine.scene import Scene, agent, plan, queue


def after_a_talk(**fields: object) -> Scene:
    """anna talked with `c1`, which has just ended; `c2` waits in another queue."""
    scene = Scene(queue("loans", **fields), queue("cards"), agent("anna"))
    scene.ready("anna")
    scene.request("c1")
    scene.talk("c1")
    scene.request("c2", "cards")
    scene.hang_up("c1")
    return scene


def test_none_frees_the_agent_at_once() -> None:
    """Given no wrap-up, when the call ends, then the agent gets the next one in the same step."""
    scene = after_a_talk(wrap_up="none")
    assert (scene.only(ev.CallEnded).wrap_up, scene.only(ev.CallEnded).wrap_up_until_ms) == ("none", 0)
    assert scene.state("c2") == "reserved anna"


def test_timed_holds_across_queues_until_its_end() -> None:
    """Given 30 s of wrap-up, when a call waits in another queue, then it rings after 30 s and not before (5.27)."""
    scene = after_a_talk(wrap_up="timed", wrap_up_ms=30_000)
    scene.wait(29_999)
    assert scene.state("c2") == "waiting"
    scene.wait(1)
    assert scene.only(ev.WrapUpEnded).how == "time"
    assert scene.state("c2") == "reserved anna"


def test_done_earlier() -> None:
    """Given a wrap-up, when the agent is done, then the next call rings at once."""
    scene = after_a_talk(wrap_up="until_done", wrap_up_ms_max=600_000)
    scene.wait(100_000)
    assert scene.do(cm.FinishWrapUp("anna", "c1", principal="agent:anna")).is_accepted
    assert scene.state("c2") == "reserved anna"


def test_until_done_has_a_bound() -> None:
    """Given an agent who never says done, when wrap_up_ms_max is over, then it ends by itself."""
    scene = after_a_talk(wrap_up="until_done", wrap_up_ms_max=600_000)
    scene.wait(599_999)
    assert scene.state("c2") == "waiting"
    scene.wait(1)
    assert scene.state("c2") == "reserved anna"


def test_extended_up_to_the_bound() -> None:
    """Given 30 s and at most 60 s, when extended by 20 s and by an hour, then it ends at 50 s, then at 60 s."""
    scene = after_a_talk(wrap_up="timed", wrap_up_ms=30_000, wrap_up_ms_max=60_000)
    start_ms = scene.now_ms
    assert scene.do(cm.ExtendWrapUp("anna", "c1", 20_000)).value == {"until_ms": start_ms + 50_000}
    assert scene.do(cm.ExtendWrapUp("anna", "c1", 3_600_000)).value == {"until_ms": start_ms + 60_000}
    assert scene.do(cm.ExtendWrapUp("anna", "c1", 1)).reason == "bad_value"
    assert scene.do(cm.ExtendWrapUp("anna", "c1", 0)).reason == "bad_value"
    scene.wait(59_999)
    assert scene.state("c2") == "waiting"
    scene.wait(1)
    assert scene.state("c2") == "reserved anna"


def test_extended_after_the_call_left_memory() -> None:
    """Given a wrap-up longer than the call's retention, when extended afterwards, then the queue's bound still counts."""
    scene = Scene(queue(wrap_up_ms=10_000, wrap_up_ms_max=60_000), agent("anna"), ended_retention_ms=5_000)
    scene.ready("anna")
    scene.request("c1")
    scene.talk("c1")
    scene.hang_up("c1")
    end_ms = scene.now_ms + 60_000
    scene.wait(6_000)
    assert "c1" not in scene.engine.state.calls
    assert scene.do(cm.ExtendWrapUp("anna", "c1", 3_600_000)).value == {"until_ms": end_ms}


def test_refusals() -> None:
    """Given a wrap-up, when a stranger or a wrong call is named, then it is refused by name."""
    scene = after_a_talk()
    for kind, extra in ((cm.FinishWrapUp, ()), (cm.ExtendWrapUp, (1_000,))):
        assert scene.do(kind("nobody", "c1", *extra)).reason == "unknown_agent"
        assert scene.do(kind("anna", "c2", *extra)).reason == "not_in_wrap_up"
        assert scene.do(kind("anna", "c1", *extra, principal="agent:ben")).reason == "not_yours"
        assert scene.do(kind("anna", "c1", *extra, principal="customer:of-c1")).reason == "not_yours"


def test_paused_in_a_call_still_finishes_it() -> None:
    """Given an agent in a call, when paused, then call and wrap-up run to their end and nothing new comes."""
    scene = Scene(queue(), agent("anna"))
    scene.ready("anna")
    scene.request("c1")
    scene.talk("c1")
    scene.do(cm.SetActivity("anna", "not_ready", "lunch"))
    assert scene.state("c1") == "connected anna"
    scene.hang_up("c1")
    assert scene.agent("anna").engagements == {"c1": "wrap_up"}
    scene.request("c2")
    scene.wait(30_000)
    assert scene.state("c2") == "waiting"


def test_signing_out_ends_the_wrap_up() -> None:
    """Given a wrap-up, when the agent signs out, then it ends and its units come back (5.30)."""
    scene = after_a_talk()
    scene.do(cm.SetActivity("anna", "offline"))
    assert scene.only(ev.WrapUpEnded).how == "signed_out"
    assert scene.agent("anna").used_units == 0


def test_idleness_counts_from_the_end_of_wrap_up() -> None:
    """Given ben signed in later but before anna's wrap-up ended, when a call comes, then ben is idle longer."""
    scene = Scene(queue(), agent("anna"), agent("ben"))
    scene.ready("anna")
    scene.request("c1")
    scene.talk("c1")
    scene.hang_up("c1")
    scene.ready("ben")
    scene.wait(30_000)
    scene.request("c2")
    assert scene.state("c2") == "reserved ben"


@pytest.mark.parametrize("capacity", [100, 200])
def test_wrap_up_of_one_call_keeps_new_ones_away(capacity: int) -> None:
    """Given capacity for two calls, when one is in wrap-up, then no further call rings until it is done (5.8)."""
    scene = Scene(queue(), agent("anna", capacity_units=capacity))
    scene.ready("anna")
    scene.request("c1")
    scene.talk("c1")
    scene.hang_up("c1")
    scene.request("c2")
    assert scene.state("c2") == "waiting"
    scene.do(cm.FinishWrapUp("anna", "c1"))
    assert scene.state("c2") == "reserved anna"


def test_a_shorter_wrap_up_by_reload_moves_no_clock() -> None:
    """Given a running wrap-up, when a new plan makes it shorter, then it ends when it was to end (5.28)."""
    scene = after_a_talk(wrap_up_ms=30_000)
    scene.replan(plan(queue(wrap_up_ms=1_000), queue("cards"), agent("anna")))
    scene.wait(29_999)
    assert scene.state("c2") == "waiting"
    scene.wait(1)
    assert scene.state("c2") == "reserved anna"


def test_none_after_a_call_that_was_never_connected() -> None:
    """Given a call that only connects, when it ends, then there is no wrap-up, whatever the queue says."""
    scene = Scene(queue(wrap_up="until_done"), agent("anna"))
    scene.ready("anna")
    scene.request("c1")
    scene.accept("c1")
    scene.hang_up("c1")
    assert scene.agent("anna").engagements == {}


@pytest.mark.parametrize("way", ["transfer", "complete", "take_over", "remove"])
def test_whoever_leaves_a_talk_wraps_up(way: str) -> None:
    """Given a talk of two agents, when one leaves it in any way, then that one is in wrap-up for the queue's time."""
    scene = Scene(queue(wrap_up_ms=30_000), queue("cards"), agent("anna"), agent("ben"))
    scene.ready("anna", "ben")
    scene.request("c1")
    scene.talk("c1")
    if way == "transfer":
        scene.transfer("c1", "cards")
    elif way == "take_over":
        scene.do(cm.TakeOver("c1", "ben"))
    else:
        scene.join("c1", "ben")
        gone = cm.CompleteTransfer("c1", "ben") if way == "complete" else cm.RemoveParty("c1", "ben")
        scene.do(gone)
    leaver = "ben" if way == "remove" else "anna"
    assert scene.agent(leaver).wrap_ups["c1"].until_ms == scene.now_ms + 30_000
    scene.wait(30_000)
    assert "c1" not in scene.agent(leaver).engagements
