"""Bounds and places of calls that go to another division and come back, and what that does to both divisions' counters."""

from dispatch import commands as cm
from dispatch import lifecycle as lc
from dispatch.plan import Plan, Way
from tests.engine.divisions import Divisions
from tests.engine.scene import agent, queue

TALK = queue("loans", wrap_up="none")


def talk_and_transfer(world: Divisions, here: str, there: str, attempt: int) -> None:
    assert world.do(here, cm.AcceptReservation(f"c1.{attempt}", "anna")).is_accepted
    assert world.do(here, cm.ReportConnected("c1")).is_accepted
    assert world.do(here, cm.TransferCall("c1", f"{there}/loans", principal="agent:anna")).is_accepted
    world.deliver_all()


def test_a_call_that_comes_back_needs_no_further_place() -> None:
    """Given a division that remembers as many calls as it may, when one of them comes back, then it is let in."""
    plans = [Plan(one, [TALK], [agent("anna")], live_calls_max=1) for one in "ab"]
    world = Divisions(*plans)
    for one in "ab":
        world.do(one, cm.SetActivity("anna", "ready"))
    assert world.do("a", cm.RequestCall("c1", "zoe", "loans", is_consented=True)).is_accepted
    talk_and_transfer(world, "a", "b", 1)
    assert world.do("a", cm.RequestCall("c2", "yan", "loans", is_consented=True)).reason == "hall_full"
    talk_and_transfer(world, "b", "a", 2)
    assert (world.state("a", "c1"), world.state("b", "c1")) == (lc.RESERVED, lc.HANDED_OVER)
    world.check_all()


def test_queues_that_are_retired_meanwhile() -> None:
    """Given a call that another division is asked to take, when both queues are retired before the answer, then it comes back
    refused to its own and goes the next way; the plan after that says where it moves. All counters add up."""
    full = queue("loans", waiting_max=0, on_full=[Way("overflow", ["b/loans"]), Way("callback")])
    cards = queue("cards")
    world = Divisions(Plan("a", [full, cards], []), Plan("b", [TALK, cards], []))
    assert world.do("a", cm.RequestCall("c1", "zoe", "loans", is_consented=True)).is_accepted
    for one in "ab":
        assert world.do(one, cm.ApplyPlan(Plan(one, [cards], []), "second")).is_accepted
        world.check_all()
    world.deliver_all()
    call = world.engines["a"].state.calls["c1"]
    assert (call.state, call.queue_id, call.is_callback) == (lc.WAITING, "loans", True)
    assert world.do("a", cm.ApplyPlan(Plan("a", [cards], []), "third")).reason == "calls_would_be_stranded"
    assert world.do("a", cm.ApplyPlan(Plan("a", [cards], [], retired={"loans": "cards"}), "third")).is_accepted
    assert (call.state, call.queue_id) == (lc.WAITING, "cards")
    world.check_all()


def test_a_queue_that_is_retired_while_its_call_is_elsewhere() -> None:
    """Given a call elsewhere, when the queue that it left is retired, and the call comes back to another, then all adds up."""
    cards = queue("cards")
    world = Divisions(Plan("a", [TALK, cards], [agent("anna")]), Plan("b", [TALK], [agent("anna")]))
    for one in "ab":
        world.do(one, cm.SetActivity("anna", "ready"))
    assert world.do("a", cm.RequestCall("c1", "zoe", "loans", is_consented=True)).is_accepted
    talk_and_transfer(world, "a", "b", 1)
    assert world.do("a", cm.ApplyPlan(Plan("a", [cards], [agent("anna")]), "second")).is_accepted
    world.crash("a", with_snapshot=True)
    talk_and_transfer(world, "b", "a", 2)
    assert world.state("b", "c1") == lc.WAITING, "refused there, and back in the line of the queue that it left"
    world.do("b", cm.HangUp("c1"))
    world.deliver_all()
    assert (world.state("a", "c1"), world.state("b", "c1")) == (lc.ENDED, lc.ENDED)
    world.check_all()
