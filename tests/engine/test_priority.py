"""Priority: bounded credit in milliseconds, and the absolute class; nobody starves (ROUTING.md 3, 5.15, 5.16)."""

import pytest

from dispatch import commands as cm
from dispatch import events as ev
from dispatch.plan import Way
from dispatch.viewing import position_views
from dispatch.wishes import Wishes
from tests.engine.scene import Scene, agent, plan, queue

CREDIT_MS = 90_000


def line(scene: Scene) -> list[str]:
    """Call ids in the order of their positions."""
    waiting = [call.id for call in scene.engine.state.calls.values() if call.state == "waiting"]
    return [
        view.call_id for view in sorted(position_views(scene.engine.state, waiting), key=lambda view: view.position)
    ]


# -- credit


@pytest.mark.parametrize(
    ("ahead_ms", "first"), [(CREDIT_MS - 1, "later"), (CREDIT_MS, "earlier"), (CREDIT_MS + 1, "earlier")]
)
def test_a_later_call_overtakes_by_its_credit_and_no_more(ahead_ms: int, first: str) -> None:
    """Given a call that came `ahead_ms` before one with 90 s of credit, then who is due first; equal: who came first."""
    scene = Scene(queue(), agent("anna"))
    scene.request("earlier")
    scene.wait(ahead_ms)
    scene.request("later", wishes=Wishes(credit_ms=CREDIT_MS))
    assert line(scene)[0] == first
    scene.ready("anna")
    assert scene.state(first) == "reserved anna"


def test_credit_is_taken_from_due() -> None:
    """Given a target of 20 s and 5 s of credit, then the call is due after 15 s."""
    scene = Scene(queue(target_ms=20_000))
    scene.request("c1", wishes=Wishes(credit_ms=5_000))
    assert scene.call("c1").due_at_ms == scene.now_ms + 15_000


@pytest.mark.parametrize(("credit_ms", "reason"), [(0, ""), (7_000, ""), (7_001, "bad_value"), (-1, "bad_value")])
def test_credit_at_its_bounds_and_one_past(credit_ms: int, reason: str) -> None:
    """Given at most 7 s of credit, then 0 and 7 s are taken, less and more refused, when asked for and when changed."""
    scene = Scene(queue(priority_credit_ms_max=7_000))
    assert scene.request("c1", wishes=Wishes(credit_ms=credit_ms)).reason == reason
    scene.request("c2")
    assert scene.do(cm.SetPriority("c2", credit_ms)).reason == reason


@pytest.mark.parametrize("principal", ["customer:of-c1", "agent:anna"])
@pytest.mark.parametrize("wishes", [Wishes(credit_ms=1), Wishes(is_absolute=True)])
def test_customers_and_agents_cannot_set_priority(principal: str, wishes: Wishes) -> None:
    """Given a customer or an agent, when they ask for priority, then it is not theirs to give."""
    scene = Scene()
    assert scene.request("c1", wishes=wishes, principal=principal).reason == "not_yours"
    scene.request("c1")
    command = cm.SetPriority("c1", wishes.credit_ms, wishes.is_absolute, principal=principal)
    assert scene.do(command).reason == "not_yours"
    assert scene.last == []


def test_several_queues_and_credit() -> None:
    """Given an urgent queue and a patient one whose call has credit, then the agent of both gets the more due (5.16)."""
    scene = Scene(queue("slow", target_ms=60_000), queue("fast", target_ms=10_000), agent("anna"))
    scene.request("young", "fast")
    scene.request("old", "slow", wishes=Wishes(credit_ms=50_001))
    scene.ready("anna")
    assert scene.state("old") == "reserved anna"


# -- absolute


def test_absolute_calls_go_before_all_others_and_among_themselves_as_ever() -> None:
    """Given calls with all the credit there is, when absolute ones come later, then they are first, in their order."""
    scene = Scene(queue(), agent("anna"))
    scene.request("old", wishes=Wishes(credit_ms=CREDIT_MS))
    scene.wait(86_400_000)
    scene.request("a1", wishes=Wishes(is_absolute=True))
    scene.wait(1_000)
    scene.request("a2", wishes=Wishes(is_absolute=True))
    scene.request("a3", wishes=Wishes(is_absolute=True, credit_ms=2_000))
    assert line(scene) == ["a3", "a1", "a2", "old"]
    scene.ready("anna")
    assert scene.state("a3") == "reserved anna"


def test_absolute_over_all_queues() -> None:
    """Given an absolute call in a patient queue, when an agent of two queues is free, then it is served first."""
    scene = Scene(queue("slow", target_ms=86_400_000), queue("fast", target_ms=0), agent("anna"))
    scene.request("due", "fast")
    scene.request("emergency", "slow", wishes=Wishes(is_absolute=True))
    scene.ready("anna")
    assert scene.state("emergency") == "reserved anna"


# -- SetPriority


def test_priority_takes_effect_at_once() -> None:
    """Given three waiting calls, when the last gets credit, then the positions are new in that very step."""
    scene = Scene(queue())
    for call_id in ("c1", "c2", "c3"):
        scene.request(call_id)
        scene.wait(1_000)
    assert scene.do(cm.SetPriority("c3", 1_500)).is_accepted
    assert line(scene) == ["c1", "c3", "c2"]
    assert scene.do(cm.SetPriority("c2", 0, True)).is_accepted
    assert line(scene) == ["c2", "c1", "c3"]
    assert scene.do(cm.SetPriority("c2", 0)).is_accepted
    assert line(scene) == ["c1", "c3", "c2"]
    assert scene.do(cm.SetPriority("c3", 0)).is_accepted
    assert line(scene) == ["c1", "c2", "c3"]


def test_priority_of_a_ringing_call_counts_when_it_comes_back() -> None:
    """Given a ringing call, when it gets credit and is declined, then it is before who waits meanwhile."""
    scene = Scene(queue(decline_delay_ms=1), agent("anna"), agent("ben"))
    scene.request("first")
    scene.request("second")
    scene.ready("anna", "ben")
    scene.request("third")
    scene.wait(1_000)
    scene.do(cm.SetActivity("anna", "not_ready"))
    assert line(scene) == ["first", "third"]
    assert scene.do(cm.SetPriority("second", 1_000)).is_accepted
    scene.do(cm.SetActivity("ben", "not_ready"))
    assert line(scene) == ["second", "first", "third"]


def test_the_same_priority_again_is_no_event() -> None:
    """Given a call with credit, when it is given the same again, then accepted, and nothing happened."""
    scene = Scene()
    scene.request("c1", wishes=Wishes(credit_ms=5))
    assert scene.do(cm.SetPriority("c1", 5)).is_accepted
    assert scene.last == []


@pytest.mark.parametrize("state", ["connecting", "connected", "ended"])
def test_priority_is_for_calls_that_wait_or_ring(state: str) -> None:
    """Given a call that has an agent or has ended, when its priority is set, then wrong_state; an unknown one by name."""
    scene = Scene()
    scene.ready("anna")
    scene.request("c1")
    if state == "ended":
        scene.hang_up("c1")
    elif state == "connecting":
        scene.accept("c1")
    else:
        scene.talk("c1")
    assert scene.do(cm.SetPriority("c1", 1)).reason == "wrong_state"
    assert scene.do(cm.SetPriority("c9", 1)).reason == "unknown_call"


def test_credit_counts_up_to_the_maximum_of_the_queue_where_the_call_waits() -> None:
    """Given 90 s of credit, when the call moves to a queue that allows 10 s, then 10 s count, and no more can be undone."""
    scene = Scene(queue("a"), queue("b", priority_credit_ms_max=10_000, target_ms=20_000))
    scene.request("c1", "a", wishes=Wishes(credit_ms=90_000))
    queued_at_ms = scene.now_ms
    scene.replan(plan(queue("b", priority_credit_ms_max=10_000, target_ms=20_000), retired={"a": "b"}))
    assert scene.call("c1").due_at_ms == queued_at_ms + 10_000
    assert scene.do(cm.SetPriority("c1", 0)).is_accepted
    assert scene.call("c1").due_at_ms == queued_at_ms + 20_000


def test_credit_of_a_call_that_overflows_at_the_door() -> None:
    """Given 90 s of credit, when the call is sent on to a queue that allows 10 s, then 10 s count and can be undone."""
    scene = Scene(
        queue("a", waiting_max=0, on_full=[Way("overflow", ["b"])]),
        queue("b", priority_credit_ms_max=10_000, target_ms=20_000),
    )
    scene.request("c1", "a", wishes=Wishes(credit_ms=90_000))
    assert scene.call("c1").due_at_ms == scene.now_ms + 10_000
    assert scene.do(cm.SetPriority("c1", 0)).is_accepted
    assert scene.call("c1").due_at_ms == scene.now_ms + 20_000


def test_an_invited_call_is_due_at_once_by_a_credit_that_can_be_taken_back() -> None:
    """Given an accepted invitation, then its credit is the queue's target; without it the call is due after the target."""
    scene = Scene(queue(target_ms=20_000), agent("anna"))
    scene.invite("c1", "anna")
    scene.come("c1")
    assert (scene.call("c1").due_at_ms, scene.call("c1").credit_ms) == (scene.now_ms, 20_000)
    scene.do(cm.SetPriority("c1", 0))
    assert scene.call("c1").due_at_ms == scene.now_ms + 20_000


def test_every_priority_stands_in_the_history() -> None:
    """Given priority changes, then each is an event with the new place: a position moves only for a logged cause (5.32)."""
    scene = Scene(queue(target_ms=20_000))
    scene.request("c1", wishes=Wishes(is_absolute=True))
    assert scene.only(ev.CallQueued).wishes == Wishes(is_absolute=True)
    scene.do(cm.SetPriority("c1", 4_000, True))
    changed = scene.only(ev.CallPrioritised)
    assert (changed.credit_ms, changed.is_absolute, changed.due_at_ms) == (4_000, True, scene.now_ms + 16_000)
