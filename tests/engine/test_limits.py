"""Limits of a queue and of the division, and each way that a call takes when it meets one (ROUTING.md 3, 5.26)."""

from itertools import pairwise

import pytest

from dispatch import commands as cm
from dispatch import events as ev
from dispatch.hours import Hours
from dispatch.plan import QueuePlan, Relaxation, Way
from dispatch.wishes import Wishes
from tests.engine.scene import Scene, agent, plan, queue, room_queue

CLOSED = Hours([[] for _ in range(7)])
"""Never open."""
CAUSES = {"queue_closed": "on_closed", "no_agents": "on_no_agents", "queue_full": "on_full"}


def meeting(cause: str, *ways: Way, **fields: object) -> QueuePlan:
    """A queue at whose door every call meets this limit."""
    met: dict[str, object] = {
        "queue_closed": {"hours": CLOSED},
        "no_agents": {"need": {"none": 1}},
        "queue_full": {"waiting_max": 0, "need": {"none": 1}},
    }[cause]
    return queue("asked", **{**met, CAUSES[cause]: list(ways), **fields})  # type: ignore[dict-item]


# -- at the door: each limit with each way


@pytest.mark.parametrize("cause", ["queue_closed", "queue_full"])
def test_without_ways_a_call_is_refused_by_the_limits_name(cause: str) -> None:
    """Given a limit without ways, when a call meets it, then it is refused by name, counted, and nothing waits."""
    scene = Scene(meeting(cause))
    reply = scene.request("c1", "asked")
    assert (reply.reason, reply.value) == (cause, {"then": "refuse", "text": ""})
    refused = scene.only(ev.CallRefused)
    assert (refused.reason, refused.then, refused.queue_id) == (cause, "refuse", "asked")
    assert scene.engine.state.calls == {}


def test_without_ways_a_call_waits_for_agents_to_sign_in() -> None:
    """Given nobody signed in and no ways, then the call waits."""
    scene = Scene(queue(need={"none": 1}))
    assert scene.request("c1").is_accepted
    assert scene.state("c1") == "waiting"


@pytest.mark.parametrize("cause", CAUSES)
@pytest.mark.parametrize("do", ["refuse", "message"])
def test_refuse_and_message_end_by_the_limits_name_with_a_text(cause: str, do: str) -> None:
    """Given a way that refuses or asks for a message, then the reply and the event say which, and the reply the text."""
    scene = Scene(meeting(cause, Way(do, text="Call us tomorrow.")))  # type: ignore[arg-type]
    reply = scene.request("c1", "asked")
    assert (reply.reason, reply.value) == (cause, {"then": do, "text": "Call us tomorrow."})
    assert scene.only(ev.CallRefused).then == do


@pytest.mark.parametrize("cause", CAUSES)
def test_callback_takes_the_call_as_one(cause: str) -> None:
    """Given a way that calls back, when a call meets the limit, then it is admitted as a callback, and the reply says so."""
    scene = Scene(meeting(cause, Way("callback")))
    reply = scene.request("c1", "asked")
    assert reply.value == {"call_id": "c1", "queue_id": "asked", "is_callback": True, "cause": cause}
    assert scene.call("c1").is_callback
    assert scene.only(ev.CallQueued).cause == cause


@pytest.mark.parametrize("cause", CAUSES)
def test_overflow_takes_the_call_to_another_queue(cause: str) -> None:
    """Given a way that overflows, when a call meets the limit, then it waits in the other queue, due by that one's target."""
    scene = Scene(meeting(cause, Way("overflow", ["other"])), queue("other", target_ms=7_000), agent("anna"))
    scene.ready("anna")
    reply = scene.request("c1", "asked")
    assert reply.value == {"call_id": "c1", "queue_id": "other", "is_callback": False, "cause": cause}
    assert scene.state("c1") == "reserved anna"
    queued = next(event for event in scene.last if isinstance(event, ev.CallQueued))
    assert (queued.queue_id, queued.asked_queue_id, queued.due_at_ms) == ("other", "asked", scene.now_ms + 7_000)


@pytest.mark.parametrize("cause", CAUSES)
def test_the_first_possible_way_is_taken_and_none_left_is_refused_by_name(cause: str) -> None:
    """Given an overflow that is full and callbacks for one, then each in turn, and at last the name."""
    ways = [Way("overflow", ["other"]), Way("callback")]
    scene = Scene(meeting(cause, *ways, callbacks_max=1), queue("other", waiting_max=1))
    replies = [scene.request(f"c{number}", "asked") for number in range(3)]
    assert [scene.call("c0").queue_id, scene.call("c1").queue_id] == ["other", "asked"]
    assert [reply.reason for reply in replies] == ["", "", cause]
    scene.hang_up("c0")
    assert scene.request("c3", "asked").value == {
        "call_id": "c3", "queue_id": "other", "is_callback": False, "cause": cause,
    }  # fmt: skip


def test_closed_comes_before_no_agents_before_full() -> None:
    """Given a queue that is closed, without agents and full, then the limits are met in that order."""
    ways: dict[str, object] = {name: [Way("refuse", text=cause)] for cause, name in CAUSES.items()}
    agents = [agent("anna")]
    scene = Scene(queue(hours=CLOSED, waiting_max=0, **ways), *agents)
    assert scene.request("c1").reason == "queue_closed"
    scene.replan(plan(queue(waiting_max=0, **ways), *agents))
    assert scene.request("c1").reason == "no_agents"
    scene.ready("anna")
    scene.do(cm.SetActivity("anna", "not_ready"))
    assert scene.request("c1").reason == "queue_full"
    scene.ready("anna")
    assert scene.request("c1").is_accepted


# -- overflow: which queue takes a call


@pytest.mark.parametrize(
    ("other", "is_taken"),
    [
        (queue("other"), True),
        (queue("other", hours=CLOSED), False),
        (queue("other", waiting_max=0), False),
        (queue("other", need={"none": 1}), True),
        (queue("other", need={"none": 1}, on_no_agents=[Way("refuse")]), False),
        (room_queue("other"), False),
        (room_queue("other", recording="optional"), True),
    ],
)
def test_who_takes_an_overflow(other: QueuePlan, is_taken: bool) -> None:
    """Given an unrecorded call, then the queue must be open, not full, with agents where it minds, and without consent."""
    scene = Scene(meeting("queue_full", Way("overflow", ["other", "last"])), other, queue("last"))
    scene.request("c1", "asked", is_consented=False)
    assert scene.call("c1").queue_id == ("other" if is_taken else "last")


def test_a_full_queue_with_a_free_agent_takes_an_overflow() -> None:
    """Given a queue in which nobody may wait, when an agent is free there, then it takes the call."""
    scene = Scene(
        meeting("queue_full", Way("overflow", ["other"]), need={"no": 1}), queue("other", waiting_max=0), agent("anna")
    )
    assert scene.request("c1", "asked").reason == "queue_full"
    scene.ready("anna")
    assert scene.request("c1", "asked").is_accepted
    assert scene.state("c1") == "reserved anna"


def test_an_overflow_never_leads_back() -> None:
    """Given two queues that overflow into each other, when the call has waited in both, then it ends by name."""
    scene = Scene(
        queue("a", wait_ms_max=10_000, on_wait=[Way("overflow", ["b"])]),
        queue("b", wait_ms_max=20_000, on_wait=[Way("overflow", ["a"])]),
    )
    scene.request("c1", "a")
    scene.wait(10_000)
    assert scene.only(ev.CallMoved).queue_id == "b"
    scene.wait(19_999)
    assert scene.state("c1") == "waiting"
    scene.wait(1)
    assert scene.only(ev.CallEnded).reason == "waited_too_long"


def test_four_moves_and_no_fifth() -> None:
    """Given six queues in a row, when a call overflows from each, then it ends in the fifth."""
    names = ["q0", "q1", "q2", "q3", "q4", "q5"]
    row = [queue(one, wait_ms_max=1_000, on_wait=[Way("overflow", [after])]) for one, after in pairwise(names)]
    scene = Scene(*row, queue("q5"))
    scene.request("c1", "q0")
    scene.wait(4_000)
    assert (scene.state("c1"), scene.call("c1").queue_id, scene.count(ev.CallMoved)) == ("waiting", "q4", 4)
    scene.wait(1_000)
    assert scene.only(ev.CallEnded).reason == "waited_too_long"


def test_an_overflow_keeps_the_queued_at_time() -> None:
    """Given a call that overflows after 10 s beside one that came later there, then it is due by its old time (5.14)."""
    scene = Scene(
        queue("a", wait_ms_max=10_000, on_wait=[Way("overflow", ["b"])], target_ms=0),
        queue("b", target_ms=15_000),
        agent("anna"),
    )
    scene.request("c1", "a", wishes=Wishes(credit_ms=3_000))
    queued_at_ms = scene.now_ms
    scene.wait(9_000)
    scene.request("c2", "b")
    scene.wait(1_000)
    moved = scene.only(ev.CallMoved)
    assert (moved.reason, moved.due_at_ms) == ("waited_too_long", queued_at_ms + 12_000)
    assert scene.call("c1").queued_at_ms == queued_at_ms
    scene.ready("anna")
    assert (scene.state("c1"), scene.state("c2")) == ("reserved anna", "waiting")


# -- length


def test_the_line_may_be_full_while_an_agent_is_free_for_another_need() -> None:
    """Given a full line of calls nobody can serve, when a call comes that a free agent can, then it is served."""
    scene = Scene(queue(waiting_max=1), agent("anna", skills={"law": 1}))
    scene.ready("anna")
    scene.request("c1", wishes=Wishes(need={"fx": 1}))
    assert scene.request("c2", wishes=Wishes(need={"fx": 1})).reason == "queue_full"
    assert scene.request("c3", wishes=Wishes(need={"law": 2})).reason == "queue_full"
    assert scene.request("c4", wishes=Wishes(excluded_agent_ids=["anna"])).reason == "queue_full"
    assert scene.request("c5", wishes=Wishes(need={"law": 1})).is_accepted
    assert scene.state("c5") == "reserved anna"


def test_beyond_capacity_the_excess_is_refused_by_name_and_the_line_still_moves() -> None:
    """Given ten times the calls that a hall can take, then each is served or refused by name, none is lost (5.26)."""
    scene = Scene(queue(waiting_max=5, wrap_up="none"), agent("anna"))
    scene.ready("anna")
    replies = [scene.request(f"c{number}").reason for number in range(60)]
    assert (replies.count(""), replies.count("queue_full")) == (6, 54)
    served = 0
    while live := [call for call in scene.engine.state.calls.values() if call.state == "reserved"]:
        scene.talk(live[0].id)
        scene.wait(1_000)
        scene.hang_up(live[0].id)
        served += 1
    assert served == 6


@pytest.mark.parametrize("bound", [1, 2])
def test_hall_full_at_the_bound_and_one_past(bound: int) -> None:
    """Given so many live calls, when one more comes, then it is refused by name and counted."""
    scene = Scene(queue(), agent("anna"), live_calls_max=bound)
    for number in range(bound):
        assert scene.request(f"c{number}").is_accepted
    assert scene.request("more").reason == "hall_full"
    assert scene.only(ev.CallRefused).reason == "hall_full"
    assert scene.invite("visit", "anna").reason == "hall_full"


# -- wait


def waiting(*ways: Way, **fields: object) -> Scene:
    """`c1` waits in a queue that lets it wait for 60 s."""
    scene = Scene(queue(wait_ms_max=60_000, on_wait=list(ways), **fields), queue("other"), agent("anna"))
    scene.request("c1")
    scene.wait(59_999)
    assert scene.state("c1") == "waiting"
    return scene


@pytest.mark.parametrize(("ways", "then"), [((), ""), ((Way("refuse"),), ""), ((Way("message"),), "message")])
def test_who_has_waited_too_long_is_ended_by_name(ways: tuple[Way, ...], then: str) -> None:
    """Given 60 s at most, when a call has waited so long, then it ends, and a message is asked for where the plan says so."""
    scene = waiting(*ways)
    scene.wait(1)
    ended = scene.only(ev.CallEnded)
    assert (ended.reason, ended.then, ended.waited_ms) == ("waited_too_long", then, 60_000)


def test_who_has_waited_too_long_becomes_a_callback_at_the_same_place() -> None:
    """Given a way that calls back, when the time is over, then the call keeps its key and is a callback, without a limit."""
    scene = waiting(Way("callback"))
    key = scene.call("c1").key
    scene.wait(1)
    assert scene.only(ev.CallbackArranged).cause == "waited_too_long"
    scene.wait(86_400_000)
    assert (scene.state("c1"), scene.call("c1").key) == ("waiting", key)


def test_a_call_that_rings_at_that_moment_meets_it_when_it_comes_back() -> None:
    """Given a call that rings when its time is over, when accepted it is served; when declined it meets the limit."""
    for is_accepted in (True, False):
        scene = waiting(Way("overflow", ["other"]))
        scene.now_ms -= 1
        scene.ready("anna")
        scene.wait(10_000)
        assert scene.state("c1") == "reserved anna"
        if is_accepted:
            scene.talk("c1")
            assert scene.state("c1") == "connected anna"
        else:
            scene.decline("c1")
            scene.wait(0)
            assert scene.call("c1").queue_id == "other"


def test_the_wait_is_counted_in_each_queue_anew_and_not_by_a_return() -> None:
    """Given a call that rang for 20 s of its 60, then the limit is met 60 s after it came, not 60 s after it returned."""
    scene = Scene(queue(wait_ms_max=60_000), agent("anna"))
    scene.request("c1")
    scene.wait(30_000)
    scene.ready("anna")
    scene.wait(20_000)
    assert scene.state("c1") == "waiting"
    scene.do(cm.SetActivity("anna", "not_ready"))
    scene.wait(9_998)
    assert scene.state("c1") == "waiting"
    scene.wait(1)
    assert scene.only(ev.CallEnded).reason == "waited_too_long"


def test_a_customer_who_is_away_meets_it_too() -> None:
    """Given a waiting customer who dropped, when wait_ms_max is over, then the call ends by name."""
    scene = Scene(queue(wait_ms_max=10_000))
    scene.connect("customer:zoe")
    scene.request("c1", customer_id="zoe")
    scene.disconnect("customer:zoe")
    scene.wait(10_000)
    assert scene.only(ev.CallEnded).reason == "waited_too_long"


# -- no agents, for calls that wait


def alone(*ways: Way) -> Scene:
    """`c1` waits for fx beside law, who is busy with another call; both are signed in."""
    scene = Scene(
        queue(need={"fx": 1}, on_no_agents=list(ways), wrap_up="none"),
        queue("other"),
        agent("fx", skills={"fx": 1}),
        agent("law", skills={"law": 1}),
        reconnect_grace_ms=10_000,
    )
    scene.ready("fx")
    scene.request("talks")
    scene.talk("talks")
    scene.request("c1")
    return scene


def test_when_the_last_eligible_agent_signs_out_who_waits_is_led_on() -> None:
    """Given the only agent with the skill, when signing out, then the way is taken in that step; a break does nothing."""
    scene = alone(Way("overflow", ["other"]))
    scene.do(cm.SetActivity("fx", "not_ready"))
    assert scene.call("c1").queue_id == "loans"
    scene.do(cm.SetActivity("fx", "offline"))
    moved = scene.only(ev.CallMoved)
    assert (moved.queue_id, moved.reason) == ("other", "no_agents")


def test_when_none_of_the_ways_is_possible_it_ends_as_no_agents() -> None:
    """Given an overflow to a queue that cannot take it, when the last agent signs out, then it ends by name."""
    scene = alone(Way("overflow", ["other"]))
    scene.replan(
        plan(
            queue(need={"fx": 1}, on_no_agents=[Way("overflow", ["other"])], wrap_up="none"),
            queue("other", hours=CLOSED),
            agent("fx", skills={"fx": 1}),
        )
    )
    scene.do(cm.SetActivity("fx", "offline"))
    assert scene.only(ev.CallEnded).reason == "no_agents"


def test_a_lost_connection_counts_as_signed_out_only_after_its_grace() -> None:
    """Given the only agent lost, when the grace is over, then who waits is led on, and not before."""
    scene = alone(Way("callback"))
    scene.connect("agent:fx")
    scene.disconnect("agent:fx")
    scene.wait(9_999)
    assert not scene.call("c1").is_callback
    scene.wait(1)
    arranged = [(event.call_id, event.cause) for event in scene.last if isinstance(event, ev.CallbackArranged)]
    assert sorted(arranged) == [("c1", "no_agents"), ("talks", "no_agents")]


def test_an_agent_who_leaves_the_plan_counts_as_signed_out() -> None:
    """Given the only agent, when a plan removes them, then who waits is led on."""
    scene = alone(Way("message"))
    scene.replan(plan(queue(need={"fx": 1}, on_no_agents=[Way("message")], wrap_up="none"), queue("other")))
    ended = scene.only(ev.CallEnded)
    assert (ended.reason, ended.then) == ("no_agents", "message")


def test_agents_of_the_last_step_count() -> None:
    """Given an agent who meets the last step alone, then the queue has agents."""
    agents = [agent("low", skills={"fx": 1})]
    scene = Scene(queue(need={"fx": 5}, on_no_agents=[Way("refuse")]), *agents)
    scene.ready("low")
    assert scene.request("c1").reason == "no_agents"
    steps = [Relaxation(60_000, {"fx": 1})]
    scene.replan(plan(queue(need={"fx": 5}, relaxation=steps, on_no_agents=[Way("refuse")]), *agents))
    assert scene.request("c1").is_accepted
