"""Callbacks: the call keeps its place, the customer may leave, and is tried so often and no more (ROUTING.md 3, 5.14)."""

import pytest

from dispatch import commands as cm
from dispatch import events as ev
from dispatch.viewing import position_views
from dispatch.wishes import Wishes
from tests.engine.scene import Scene, agent, plan, queue

ANSWER_MS, RETRY_MS = 60_000, 300_000
ZOE = "customer:zoe"


def hall(*agents: str, **fields: object) -> Scene:
    given = {"callback_answer_ms": ANSWER_MS, "callback_retry_ms": RETRY_MS, "wrap_up": "none", **fields}
    scene = Scene(queue(**given), *(agent(one) for one in ("anna", "ben")))
    scene.ready(*agents)
    return scene


def arranged(*agents: str, **fields: object) -> Scene:
    """zoe's call waits as a callback, between two others; zoe has left. Then the agents come."""
    scene = hall(**fields)
    scene.connect(ZOE)
    scene.request("before")
    scene.request("c1", customer_id="zoe")
    scene.request("after")
    assert scene.do(cm.RequestCallback("c1", principal=ZOE)).is_accepted
    scene.disconnect(ZOE)
    scene.ready(*agents)
    return scene


def back(agent_id: str = "anna", **fields: object) -> Scene:
    """`c1` is a callback from the start, and rings at the agent."""
    scene = hall(agent_id, **fields)
    scene.request("c1", customer_id="zoe", wishes=Wishes(is_callback=True))
    assert scene.state("c1") == f"reserved {agent_id}"
    return scene


def position(scene: Scene, call_id: str) -> int:
    return position_views(scene.engine.state, [call_id])[0].position


# -- the place


def test_the_call_keeps_its_place_and_the_customer_may_leave() -> None:
    """Given a callback between two calls, when its customer is gone for a day, then it is still between them."""
    scene = arranged()
    key = scene.call("c1").key
    scene.wait(86_400_000)
    assert (scene.state("c1"), scene.call("c1").key) == ("waiting", key)
    assert [position(scene, one) for one in ("before", "c1", "after")] == [1, 2, 3]


def test_it_is_asked_for_when_its_turn_comes_without_the_customer() -> None:
    """Given a callback whose customer is away, when two agents come, then the second is asked for it."""
    scene = arranged("anna", "ben")
    assert [scene.state(one) for one in ("before", "c1", "after")] == ["reserved anna", "reserved ben", "waiting"]


def test_a_customer_who_left_before_may_still_be_called_back() -> None:
    """Given a customer whose grace runs, when the call becomes a callback, then the grace ends nothing."""
    scene = hall()
    scene.connect(ZOE)
    scene.request("c1", customer_id="zoe")
    scene.disconnect(ZOE)
    assert scene.do(cm.RequestCallback("c1")).is_accepted
    scene.wait(30_000)
    assert (scene.state("c1"), position(scene, "c1")) == ("waiting", 1)


# -- the customer comes, or not


def test_the_customer_has_so_long_to_come() -> None:
    """Given an agent who accepted, when the customer comes at the last moment, then the two talk."""
    scene = back()
    assert scene.accept("c1").is_accepted
    assert scene.only(ev.ReservationAccepted).connecting_until_ms == scene.now_ms + ANSWER_MS
    scene.wait(ANSWER_MS - 1)
    assert scene.do(cm.ReportConnected("c1")).is_accepted
    scene.wait(RETRY_MS)
    assert scene.state("c1") == "connected anna"


def test_who_does_not_come_is_tried_again_at_the_old_place() -> None:
    """Given nobody came, then the agent is free at once, and the call rings again after callback_retry_ms at its place."""
    scene = back()
    key = scene.call("c1").key
    scene.accept("c1")
    scene.wait(ANSWER_MS - 1)
    assert scene.state("c1") == "connecting anna"
    scene.wait(1)
    requeued = scene.only(ev.CallRequeued)
    assert (requeued.reason, requeued.call_not_before_ms) == ("callback_unanswered", scene.now_ms + RETRY_MS)
    assert (scene.agent("anna").used_units, scene.call("c1").key, position(scene, "c1")) == (0, key, 1)
    scene.request("c2")
    assert scene.state("c2") == "reserved anna"
    scene.hang_up("c2")
    scene.wait(RETRY_MS - 1)
    assert scene.state("c1") == "waiting"
    scene.wait(1)
    assert scene.state("c1") == "reserved anna"


@pytest.mark.parametrize("attempts_max", [1, 2, 3])
def test_so_many_attempts_and_then_the_end(attempts_max: int) -> None:
    """Given a customer who never comes, then the call ends as callback_unanswered at the last attempt, not before."""
    scene = back(callback_attempts_max=attempts_max)
    for attempt in range(1, attempts_max + 1):
        scene.accept("c1")
        scene.wait(ANSWER_MS)
        assert scene.count(ev.CallEnded) == (attempt == attempts_max)
        scene.wait(RETRY_MS)
    (ended,) = [call.end_reason for call in scene.engine.state.calls.values() if call.id == "c1"] or [
        "callback_unanswered"
    ]
    assert ended == "callback_unanswered"
    assert scene.agent("anna").engagements == {}


def test_a_retry_at_once_is_one() -> None:
    """Given callback_retry_ms 0, when nobody came, then the next attempt is a millisecond later and is counted."""
    scene = back(callback_retry_ms=0)
    scene.accept("c1")
    scene.wait(ANSWER_MS)
    scene.wait(1)
    assert (scene.state("c1"), scene.call("c1").callback_count) == ("reserved anna", 1)


def test_declines_and_misses_are_no_attempts() -> None:
    """Given an agent who declines and lets it ring out, then the customer was not called, and no attempt is counted."""
    scene = back(decline_delay_ms=1, no_answer_delay_ms=1)
    scene.decline("c1")
    scene.wait(1)
    scene.wait(20_000)
    assert scene.call("c1").callback_count == 0
    scene.wait(1)
    assert scene.state("c1") == "reserved anna"


def test_an_agent_who_is_lost_before_the_customer_came_gives_it_back() -> None:
    """Given an accepted callback, when its agent is lost, then it goes to another at the old place, and is no attempt."""
    scene = back(reservations_max=1)
    scene.connect("agent:anna")
    scene.ready("ben")
    key = scene.call("c1").key
    scene.accept("c1")
    scene.disconnect("agent:anna")
    scene.wait(30_000)
    assert (scene.state("c1"), scene.call("c1").key, scene.call("c1").callback_count) == ("reserved ben", key, 0)


def test_an_agent_who_is_lost_while_the_customer_is_away_gives_it_back_too() -> None:
    """Given a customer who dropped before the callback was arranged, when the agent is lost, then the call is not."""
    scene = hall()
    scene.connect(ZOE)
    scene.connect("agent:anna")
    scene.request("c1", customer_id="zoe")
    scene.disconnect(ZOE)
    scene.do(cm.RequestCallback("c1"))
    scene.ready("anna")
    scene.accept("c1")
    scene.disconnect("agent:anna")
    scene.wait(30_000)
    assert scene.state("c1") == "waiting"


def test_once_connected_it_is_a_call_like_any_other() -> None:
    """Given a callback that talks, when its customer drops and does not come back, then it ends as customer_lost."""
    scene = back()
    scene.accept("c1")
    scene.connect(ZOE)
    scene.do(cm.ReportConnected("c1"))
    scene.disconnect(ZOE)
    scene.wait(29_999)
    assert scene.state("c1") == "connected anna"
    scene.wait(1)
    assert scene.only(ev.CallEnded).reason == "customer_lost"


# -- who may ask, and how many


@pytest.mark.parametrize("bound", [0, 1, 2])
def test_callbacks_max_at_the_bound_and_one_past(bound: int) -> None:
    """Given so many callbacks that wait, when one more is asked for, then callbacks_full, by request and by wish."""
    scene = hall(callbacks_max=bound)
    for number in range(bound):
        assert scene.request(f"c{number}", wishes=Wishes(is_callback=True)).is_accepted
    more = scene.request("more", wishes=Wishes(is_callback=True))
    assert (more.reason, more.value) == ("callbacks_full", {"callbacks_max": bound})
    scene.request("stays")
    assert scene.do(cm.RequestCallback("stays")).reason == "callbacks_full"
    if bound:
        scene.hang_up("c0")
        assert scene.do(cm.RequestCallback("stays")).is_accepted


def test_a_callback_that_talks_makes_room_and_takes_it_back_when_it_returns() -> None:
    """Given callbacks_max 1, when the one is accepted, then another may be arranged; the first comes back all the same."""
    scene = back(callbacks_max=1)
    assert scene.request("c2", wishes=Wishes(is_callback=True)).reason == "callbacks_full"
    scene.accept("c1")
    assert scene.request("c2", wishes=Wishes(is_callback=True)).is_accepted
    scene.wait(ANSWER_MS)
    assert scene.engine.state.queues["loans"].callbacks_count == 2
    assert scene.request("c3", wishes=Wishes(is_callback=True)).reason == "callbacks_full"


@pytest.mark.parametrize(
    ("principal", "reason"),
    [
        ("customer:yan", "not_yours"),
        ("agent:anna", "not_yours"),
        (ZOE, ""),
        ("supervisor:sue", ""),
        ("operator:olga", ""),
    ],
)
def test_who_may_ask(principal: str, reason: str) -> None:
    """Given a waiting call, then its customer and the bank may make it a callback, nobody else."""
    scene = hall()
    scene.request("c1", customer_id="zoe")
    assert scene.do(cm.RequestCallback("c1", principal=principal)).reason == reason


def test_only_a_waiting_call_becomes_a_callback() -> None:
    """Given a call that rings, talks, has ended or is unknown, then it is refused by name; asked twice, it is one."""
    scene = hall("anna")
    assert scene.do(cm.RequestCallback("c9")).reason == "unknown_call"
    scene.request("c1")
    assert scene.do(cm.RequestCallback("c1")).reason == "wrong_state"
    scene.talk("c1")
    assert scene.do(cm.RequestCallback("c1")).reason == "wrong_state"
    scene.request("c2")
    assert scene.do(cm.RequestCallback("c2")).is_accepted
    assert scene.do(cm.RequestCallback("c2")).is_accepted
    assert scene.last == []
    scene.hang_up("c1")
    scene.hang_up("c2")
    assert scene.do(cm.RequestCallback("c2")).reason == "wrong_state"


def test_wait_ms_max_does_not_concern_callbacks() -> None:
    """Given a queue that lets nobody wait for longer than 10 s, then a callback waits on."""
    scene = hall(wait_ms_max=10_000)
    scene.request("c1", wishes=Wishes(is_callback=True))
    scene.request("c2")
    scene.do(cm.RequestCallback("c2"))
    scene.wait(86_400_000)
    assert [scene.state(one) for one in ("c1", "c2")] == ["waiting", "waiting"]


def test_a_callback_may_begin_with_the_request_whatever_the_line() -> None:
    """Given a full line, when a request begins as a callback, then it meets callbacks_max alone."""
    scene = hall(waiting_max=0)
    assert scene.request("c1").reason == "queue_full"
    assert scene.request("c1", wishes=Wishes(is_callback=True)).is_accepted


def test_a_callback_still_counts_as_the_customers_live_call() -> None:
    """Given a callback that waits, when its customer asks for another call, then it is refused with the first's id."""
    scene = arranged()
    scene.connect(ZOE, "k2")
    reply = scene.request("c2", customer_id="zoe")
    assert (reply.reason, reply.value) == ("already_in_call", {"call_id": "c1"})
    assert scene.hang_up("c1").is_accepted
    assert scene.request("c2", customer_id="zoe").is_accepted


def test_a_move_to_another_queue_takes_the_callback_along() -> None:
    """Given a callback, when its queue retires, then it waits in the other one at its place, as a callback."""
    scene = Scene(queue("a"), queue("b", callbacks_max=1), agent("anna"))
    scene.request("c1", "a", "zoe", wishes=Wishes(is_callback=True))
    queued_at_ms = scene.now_ms
    scene.wait(1_000)
    scene.replan(plan(queue("b", callbacks_max=1), agent("anna"), retired={"a": "b"}))
    call = scene.call("c1")
    assert (call.queue_id, call.queued_at_ms, call.is_callback) == ("b", queued_at_ms, True)
    assert scene.request("c2", "b", wishes=Wishes(is_callback=True)).reason == "callbacks_full"


@pytest.mark.parametrize("with_snapshot", [False, True])
def test_the_next_attempt_comes_after_a_crash_too(with_snapshot: bool) -> None:
    """Given a callback that waits for its next attempt, when the shard comes back, then it rings on time."""
    scene = back()
    scene.accept("c1")
    scene.wait(ANSWER_MS)
    scene.crash(with_snapshot=with_snapshot)
    scene.wait(RETRY_MS - 1)
    assert scene.state("c1") == "waiting"
    scene.wait(1)
    assert scene.state("c1") == "reserved anna"
