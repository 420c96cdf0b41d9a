"""What each way out of a reservation costs the agent: its own counter, its own delay, for the call and at all (5.8, 5.23)."""

import pytest

from dispatch import commands as cm
from dispatch import events as ev
from dispatch.wishes import Wishes
from tests.engine.scene import Scene, agent, plan, queue

DELAYS = {
    "decline_delay_ms": 40_000,
    "reject_delay_ms": 7_000,
    "busy_delay_ms": 11_000,
    "no_answer_delay_ms": 13_000,
    "disconnect_delay_ms": 17_000,
}
COUNTERS = ("declined_count", "busy_count", "missed_count", "lost_count")


def ringing(**fields: object) -> Scene:
    """`c1` rings at anna, who is connected; another call waits in `other`."""
    scene = Scene(
        queue(**{**DELAYS, "misses_max": 9, "target_ms": 60_000, **fields}), queue("other", target_ms=0), agent("anna")
    )
    scene.connect("agent:anna")
    scene.ready("anna")
    scene.request("c1")
    return scene


def close(scene: Scene, way: str) -> None:
    """Let the reservation of `c1` end in this way."""
    if way in ("declined", "busy"):
        assert scene.decline("c1", is_busy=way == "busy").is_accepted
    elif way == "expired":
        scene.wait(20_000)
    elif way == "lost":
        scene.disconnect("agent:anna")
        scene.wait(5_000)
        scene.connect("agent:anna", "k2")
    assert scene.state("c1") == "waiting"


CASES = [("declined", 7_000, 40_000), ("busy", 11_000, 40_000), ("expired", 13_000, 13_000), ("lost", 17_000, 17_000)]
"""(way, ms until any other call, ms until the same one)"""


@pytest.mark.parametrize(("way", "for_others_ms", "for_this_ms"), CASES)
def test_each_way_has_a_delay_of_its_own_for_other_calls(way: str, for_others_ms: int, for_this_ms: int) -> None:
    """Given a reservation that ended so, then another call rings at that agent after the delay, and not before."""
    scene = ringing()
    close(scene, way)
    scene.request("c2", "other")
    scene.wait(for_others_ms - 1)
    assert scene.state("c2") == "waiting"
    scene.wait(1)
    assert scene.state("c2") == "reserved anna"


@pytest.mark.parametrize(("way", "for_others_ms", "for_this_ms"), CASES)
def test_each_way_has_a_delay_of_its_own_for_the_same_call(way: str, for_others_ms: int, for_this_ms: int) -> None:
    """Given a reservation that ended so, then the same call rings there again after the delay, and not before."""
    scene = ringing()
    close(scene, way)
    scene.wait(for_this_ms - 1)
    assert scene.state("c1") == "waiting"
    scene.wait(1)
    assert scene.state("c1") == "reserved anna"


@pytest.mark.parametrize(("way", "for_others_ms", "for_this_ms"), CASES)
def test_without_a_delay_at_once(way: str, for_others_ms: int, for_this_ms: int) -> None:
    """Given all delays at nothing, then the same call rings at the only agent again in that very step."""
    scene = ringing(**dict.fromkeys(DELAYS, 0))
    attempt = scene.call("c1").attempt
    if way in ("declined", "busy"):
        scene.decline("c1", is_busy=way == "busy")
    elif way == "expired":
        scene.wait(20_000)
    else:
        scene.disconnect("agent:anna")
        scene.wait(5_000)
        scene.connect("agent:anna", "k2")
    assert (scene.state("c1"), scene.call("c1").attempt) == ("reserved anna", attempt + 1)


@pytest.mark.parametrize(
    ("way", "counts"),
    [("declined", [1, 0, 0, 0]), ("busy", [0, 1, 0, 0]), ("expired", [0, 0, 1, 0]), ("lost", [0, 0, 0, 1])],
)
def test_each_way_is_counted_apart_since_sign_in(way: str, counts: list[int]) -> None:
    """Given a reservation that ended so, then its own counter is one; signing in anew begins at none (FreeSWITCH 152)."""
    scene = ringing()
    close(scene, way)
    assert [getattr(scene.agent("anna"), name) for name in COUNTERS] == counts
    assert scene.agent("anna").misses == (way == "expired")
    scene.do(cm.SetActivity("anna", "not_ready"))
    scene.ready("anna")
    assert [getattr(scene.agent("anna"), name) for name in COUNTERS] == counts
    scene.do(cm.SetActivity("anna", "offline"))
    scene.ready("anna")
    assert [getattr(scene.agent("anna"), name) for name in COUNTERS] == [0, 0, 0, 0]


@pytest.mark.parametrize("way", ["declined", "busy", "lost"])
def test_only_what_was_not_answered_is_a_miss(way: str) -> None:
    """Given misses_max 1, when a reservation ends otherwise, then the agent stays ready."""
    scene = ringing(misses_max=1)
    close(scene, way)
    assert scene.agent("anna").activity == "ready"


@pytest.mark.parametrize("way", ["left", "hang_up"])
def test_going_on_a_break_and_a_hang_up_count_for_nothing(way: str) -> None:
    """Given a ring that ends because the agent left or the customer did, then no counter, no delay."""
    scene = ringing()
    if way == "left":
        scene.do(cm.SetActivity("anna", "not_ready"))
        assert scene.only(ev.ReservationClosed).outcome == "agent_left"
        scene.ready("anna")
        assert scene.state("c1") == "reserved anna"
    else:
        scene.hang_up("c1")
        scene.request("c2", "other")
        assert scene.state("c2") == "reserved anna"
    assert [getattr(scene.agent("anna"), name) for name in COUNTERS] == [0, 0, 0, 0]


def test_becoming_ready_ends_a_delay() -> None:
    """Given an agent in a delay, when they say that they are ready anew after a break, then they are asked at once."""
    scene = ringing()
    close(scene, "busy")
    scene.request("c2", "other")
    scene.do(cm.SetActivity("anna", "not_ready"))
    scene.ready("anna")
    assert scene.state("c2") == "reserved anna"


def test_the_longer_of_two_delays_holds() -> None:
    """Given room for two calls, when one is declined and one as busy, then no call rings before the longer delay is over."""
    scene = Scene(queue(cost_units=50, **DELAYS), agent("anna"))
    scene.ready("anna")
    scene.request("c1")
    scene.request("c2")
    scene.decline("c1", is_busy=True)
    scene.decline("c2")
    scene.request("c3")
    scene.wait(10_999)
    assert scene.state("c3") == "waiting"
    scene.wait(1)
    assert scene.state("c3") == "reserved anna"


def test_a_shorter_refusal_does_not_end_a_longer_one() -> None:
    """Given ben excluded, when he is asked into the talk by name and declines, then he stays excluded for ever."""
    scene = Scene(queue(decline_delay_ms=1_000), agent("anna"), agent("ben"))
    scene.connect("agent:anna")
    scene.ready("anna", "ben")
    scene.request("c1", wishes=Wishes(excluded_agent_ids=["ben"]))
    scene.talk("c1")
    scene.do(cm.InviteParty("c1", "third", "ben"))
    scene.decline("c1", "ben")
    scene.disconnect("agent:anna")
    scene.wait(60_000)
    assert (scene.call("c1").state, scene.agent("ben").activity) == ("waiting", "ready")


@pytest.mark.parametrize("misses_max", [1, 2, 3])
def test_misses_max_at_the_bound_and_one_before(misses_max: int) -> None:
    """Given so many misses in a row, then not_ready(no_answer) at the last one, and not at the one before."""
    scene = ringing(misses_max=misses_max, no_answer_delay_ms=0)
    for number in range(1, misses_max + 1):
        assert scene.agent("anna").activity == "ready"
        scene.wait(20_000)
        assert scene.agent("anna").misses == number
    assert (scene.agent("anna").activity, scene.agent("anna").reason) == ("not_ready", "no_answer")


def test_a_decline_between_two_misses_does_not_begin_the_count_anew() -> None:
    """Given misses_max 2, when a decline lies between two misses, then the second one sets not ready: only an answer resets."""
    scene = ringing(misses_max=2, no_answer_delay_ms=0, decline_delay_ms=1, reject_delay_ms=0)
    scene.wait(20_000)
    scene.decline("c1")
    scene.wait(1)
    scene.wait(20_000)
    assert scene.agent("anna").activity == "not_ready"


@pytest.mark.parametrize("timeout_ms", [1_000, 20_000, 86_400_000])
def test_a_reservation_lasts_as_long_as_the_queue_says(timeout_ms: int) -> None:
    """Given the least, the usual and the most, then it ends to the millisecond."""
    scene = ringing(reservation_timeout_ms=timeout_ms)
    scene.wait(timeout_ms - 1)
    assert scene.state("c1") == "reserved anna"
    scene.wait(1)
    assert scene.only(ev.ReservationClosed).outcome == "expired"


def test_an_accept_does_not_depend_on_what_has_become_of_the_queue() -> None:
    """Given a ringing call, when its queue is retired meanwhile, then the accept counts all the same."""
    scene = ringing()
    scene.replan(plan(queue("other"), agent("anna"), retired={"loans": "other"}))
    assert scene.accept("c1").is_accepted
    assert scene.state("c1") == "connecting anna"


def test_accept_and_expiry_at_one_instant_are_decided_once() -> None:
    """Given a reservation that ends now, then whichever the shell steps first holds, and the other is late (5.4)."""
    scene = ringing()
    accept = cm.AcceptReservation(scene.ring("c1").id, "anna")
    scene.now_ms += 20_000
    assert scene.do(accept).is_accepted
    scene.wait(0)
    assert scene.state("c1") == "connecting anna"
    scene = ringing()
    scene.wait(20_000)
    assert scene.do(accept).reason == "not_pending"
    assert scene.state("c1") == "waiting"


@pytest.mark.parametrize("with_snapshot", [False, True])
def test_delays_survive_a_crash(with_snapshot: bool) -> None:
    """Given an agent in a delay, when the shard comes back, then the delay is as long as before."""
    scene = ringing()
    close(scene, "declined")
    scene.request("c2", "other")
    scene.crash(with_snapshot=with_snapshot)
    scene.wait(6_999)
    assert scene.state("c2") == "waiting"
    scene.wait(1)
    assert scene.state("c2") == "reserved anna"
