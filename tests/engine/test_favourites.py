"""Favourites: whom a call is kept for, by which rule, until when, and each way in which it becomes anybody's."""

import pytest

from dispatch import commands as cm
from dispatch import events as ev
from dispatch.viewing import position_views
from dispatch.wishes import Wishes
from tests.engine.scene import START_MS, Scene, agent, plan, queue

WINDOW_MS = 30_000


def kept(**fields: object) -> Scene:
    """`c1` is kept for anna, who talks; ben is free."""
    scene = Scene(queue(preferred_window_ms=WINDOW_MS, wrap_up="none", **fields), agent("anna"), agent("ben"))
    scene.ready("anna")
    scene.request("before")
    scene.talk("before")
    scene.ready("ben")
    scene.request("c1", wishes=Wishes(preferred_agent_id="anna"))
    assert scene.state("c1") == "waiting"
    return scene


def rule(scene: Scene, call_id: str = "c1") -> str:
    favourite = scene.call(call_id).favourite
    return f"{favourite.rule} {favourite.agent_id}" if favourite is not None else ""


# -- the window


def test_kept_for_the_window_and_then_anybodys() -> None:
    """Given a call kept for a busy agent, when the window ends, then somebody else is asked, and not a moment before."""
    scene = kept()
    scene.wait(WINDOW_MS - 1)
    assert scene.state("c1") == "waiting"
    scene.wait(1)
    assert scene.only(ev.FavouriteReleased).reason == "window"
    assert scene.state("c1") == "reserved ben"


def test_a_favourite_who_becomes_free_inside_the_window_is_asked() -> None:
    """Given a call kept for anna, when her talk ends just in time, then she is asked, and the reason says why."""
    scene = kept()
    scene.wait(WINDOW_MS - 1)
    scene.hang_up("before")
    assert scene.state("c1") == "reserved anna"
    assert scene.only(ev.CallReserved).why == "preferred"


def test_a_window_of_nothing_keeps_nothing() -> None:
    """Given preferred_window_ms 0, when the favourite is busy, then anybody is asked at once."""
    scene = Scene(queue(preferred_window_ms=0), agent("anna"), agent("ben"))
    scene.ready("anna")
    scene.request("before")
    scene.ready("ben")
    scene.request("c1", wishes=Wishes(preferred_agent_id="anna"))
    assert scene.state("c1") == "reserved ben"


def test_a_free_favourite_is_asked_at_once() -> None:
    """Given ben idle longest, when the call prefers anna, then anna is asked."""
    scene = Scene(queue(), agent("anna"), agent("ben"))
    scene.ready("ben", "anna")
    scene.request("c1", wishes=Wishes(preferred_agent_id="anna"))
    assert scene.state("c1") == "reserved anna"


def test_a_kept_call_has_its_position_and_lets_others_pass() -> None:
    """Given a kept call and a later one, then they are 1 and 2 in the line, and the later one is served (5.22, 5.32)."""
    scene = kept()
    scene.do(cm.SetActivity("ben", "not_ready"))
    scene.request("c2")
    assert _positions(scene, "c1", "c2") == [1, 2]
    scene.ready("ben")
    assert (scene.state("c1"), scene.state("c2")) == ("waiting", "reserved ben")


def _positions(scene: Scene, *call_ids: str) -> list[int]:
    return [view.position for view in position_views(scene.engine.state, list(call_ids))]


def test_two_calls_kept_for_one_agent_go_in_the_order_of_their_keys() -> None:
    """Given a later but more due call kept for anna too, when she is free, then the more due one rings (5.16)."""
    scene = kept()
    scene.request("c2", wishes=Wishes(preferred_agent_id="anna", credit_ms=1_000))
    scene.hang_up("before")
    assert (scene.state("c1"), scene.state("c2")) == ("waiting", "reserved anna")


def test_the_most_due_call_goes_first_kept_or_not() -> None:
    """Given a call kept for anna and an older one that anybody may take, when anna is free, then the older one rings."""
    scene = Scene(queue(wrap_up="none"), agent("anna"))
    scene.ready("anna")
    scene.request("before")
    scene.talk("before")
    scene.request("older")
    scene.request("c1", wishes=Wishes(preferred_agent_id="anna"))
    scene.hang_up("before")
    assert (scene.state("older"), scene.state("c1")) == ("reserved anna", "waiting")


# -- every way of release


def test_released_calls_keep_their_place_and_favour_the_favourite_still() -> None:
    """Given a released call whose favourite is free together with another, then the favourite is asked."""
    scene = kept(reservation_timeout_ms=60_000)
    scene.request("other")
    assert scene.state("other") == "reserved ben"
    key = scene.call("c1").key
    scene.wait(WINDOW_MS)
    assert (scene.state("c1"), scene.call("c1").key) == ("waiting", key)
    scene.do(cm.SetActivity("ben", "not_ready"))
    scene.hang_up("other")
    scene.do(cm.SetActivity("anna", "not_ready"))
    scene.hang_up("before")
    scene.replan(plan(queue(wrap_up="none", in_call_max=1), agent("anna"), agent("ben")))
    scene.request("blocks", wishes=Wishes(credit_ms=90_000, excluded_agent_ids=["anna"]))
    scene.ready("ben")
    assert scene.state("blocks") == "reserved ben"
    scene.ready("anna")
    scene.do(cm.HangUp("blocks"))
    assert scene.state("c1") == "reserved anna"


@pytest.mark.parametrize(("is_busy", "reason"), [(False, "declined"), (True, "busy")])
def test_released_when_the_favourite_says_no(is_busy: bool, reason: str) -> None:
    """Given a call that rings at its favourite, when they decline or are busy, then the others are asked at once."""
    scene = kept()
    scene.hang_up("before")
    scene.decline("c1", is_busy=is_busy)
    released = scene.only(ev.FavouriteReleased)
    assert (released.agent_id, released.reason) == ("anna", reason)
    assert scene.state("c1") == "reserved ben"


def test_released_when_the_favourite_does_not_answer() -> None:
    """Given a call that rings at its favourite, when nobody answers, then the others are asked at once."""
    scene = kept(reservation_timeout_ms=20_000)
    scene.hang_up("before")
    scene.wait(20_000)
    assert scene.only(ev.FavouriteReleased).reason == "expired"
    assert scene.state("c1") == "reserved ben"


def test_released_when_the_favourites_connection_is_lost_while_it_rings() -> None:
    """Given a call that rings at its favourite, when the connection is gone for reservation_grace_ms, then the others."""
    scene = kept()
    scene.connect("agent:anna")
    scene.hang_up("before")
    scene.disconnect("agent:anna")
    scene.wait(4_999)
    assert scene.state("c1") == "reserved anna"
    scene.wait(1)
    assert scene.only(ev.FavouriteReleased).reason == "agent_lost"
    assert scene.state("c1") == "reserved ben"


def test_released_when_the_favourite_goes_on_a_break_while_it_rings() -> None:
    """Given a call that rings at its favourite, when they become not ready, then the others are asked at once."""
    scene = kept()
    scene.hang_up("before")
    scene.do(cm.SetActivity("anna", "not_ready"))
    assert scene.only(ev.FavouriteReleased).reason == "agent_left"
    assert scene.state("c1") == "reserved ben"


def test_released_when_the_favourite_signs_out() -> None:
    """Given a kept call, when the favourite signs out, then the others are asked at once."""
    scene = kept()
    scene.do(cm.SetActivity("anna", "offline"))
    assert scene.only(ev.FavouriteReleased).reason == "signed_out"
    assert scene.state("c1") == "reserved ben"


def test_released_when_the_favourites_grace_is_over() -> None:
    """Given a kept call, when the favourite's connection does not come back, then the others are asked."""
    scene = Scene(queue(preferred_window_ms=86_400_000), agent("anna"), agent("ben"), reconnect_grace_ms=10_000)
    scene.connect("agent:anna")
    scene.ready("anna")
    scene.ready("ben")
    scene.disconnect("agent:anna")
    scene.request("c1", wishes=Wishes(preferred_agent_id="anna"))
    scene.wait(9_999)
    assert scene.state("c1") == "waiting"
    scene.wait(1)
    assert scene.count(ev.FavouriteReleased) == 1
    assert scene.state("c1") == "reserved ben"


def test_released_when_the_favourite_leaves_the_plan() -> None:
    """Given a kept call, when a plan removes the favourite, then the others are asked."""
    scene = kept()
    scene.replan(plan(queue(wrap_up="none"), agent("ben")))
    assert scene.only(ev.FavouriteReleased).reason == "signed_out"
    assert scene.state("c1") == "reserved ben"


def test_not_released_by_a_break() -> None:
    """Given a kept call that does not ring, when the favourite goes on a break, then it is kept until the window ends."""
    scene = kept()
    scene.do(cm.SetActivity("anna", "not_ready"))
    assert scene.state("c1") == "waiting"
    scene.wait(WINDOW_MS)
    assert scene.state("c1") == "reserved ben"


# -- which rule


def test_the_first_rule_that_applies_decides() -> None:
    """Given all four, then required, preferred, the manager, who talked last; each steps in when those before do not."""
    agents = [agent(one) for one in ("req", "pref", "boss", "last")]
    scene = Scene(queue(strategy="relationship", last_agent_window_ms=86_400_000, wrap_up="none"), *agents)
    scene.ready("last")
    scene.request("before", customer_id="zoe")
    scene.talk("before")
    scene.wait(1)
    scene.hang_up("before")
    scene.ready("req", "pref", "boss")
    wishes = {"required_agent_id": "req", "preferred_agent_id": "pref", "manager_id": "boss"}
    rules = []
    for key in ("required_agent_id", "preferred_agent_id", "manager_id", ""):
        scene.request(f"c-{key}", customer_id="zoe", wishes=Wishes(**wishes))
        rules.append(rule(scene, f"c-{key}"))
        scene.hang_up(f"c-{key}")
        wishes.pop(key, None)
    assert rules == ["required req", "preferred pref", "relationship boss", "last_agent last"]


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        (Wishes(preferred_agent_id="pref", manager_id="boss"), "preferred pref"),
        (Wishes(preferred_agent_id="nobody", manager_id="boss"), "relationship boss"),
        (Wishes(preferred_agent_id="away", manager_id="boss"), "relationship boss"),
        (Wishes(preferred_agent_id="low", manager_id="boss"), "relationship boss"),
        (Wishes(preferred_agent_id="pref", manager_id="boss", need={"law": 1}), "relationship boss"),
        (Wishes(preferred_agent_id="pref", manager_id="boss", excluded_agent_ids=["pref"]), "relationship boss"),
        (Wishes(preferred_agent_id="nobody", manager_id="low"), ""),
        (Wishes(), ""),
    ],
)
def test_who_cannot_be_a_favourite_is_passed_over(wishes: Wishes, expected: str) -> None:
    """Given a favourite who is unknown, signed out, not qualified or excluded, then the next rule is asked."""
    scene = Scene(
        queue(strategy="relationship", need={"fx": 5}),
        agent("pref", skills={"fx": 5}),
        agent("boss", skills={"fx": 5, "law": 1}),
        agent("low", skills={"fx": 4}),
        agent("away", skills={"fx": 5}),
    )
    scene.ready("pref", "boss", "low")
    scene.request("c1", wishes=wishes)
    assert rule(scene) == expected


def test_who_is_on_a_break_may_be_a_favourite() -> None:
    """Given a preferred agent who is not ready, then the call is kept: a break may end within the window."""
    scene = Scene(queue(), agent("anna"), agent("ben"))
    scene.ready("anna", "ben")
    scene.do(cm.SetActivity("anna", "not_ready"))
    scene.request("c1", wishes=Wishes(preferred_agent_id="anna"))
    assert scene.state("c1") == "waiting"
    scene.ready("anna")
    assert scene.state("c1") == "reserved anna"


def test_a_manager_counts_in_queues_of_that_strategy_alone() -> None:
    """Given a queue of another strategy, when the customer has a manager, then nobody is a favourite."""
    scene = Scene(queue(), agent("anna"), agent("ben"))
    scene.ready("ben", "anna")
    scene.request("c1", wishes=Wishes(manager_id="anna"))
    assert (rule(scene), scene.state("c1")) == ("", "reserved ben")


def talked(window_ms: int, talk_ms: int = 1_000) -> Scene:
    """zoe has just talked with anna; ben is idle longest."""
    scene = Scene(queue(last_agent_window_ms=window_ms, wrap_up="none"), agent("anna"), agent("ben"))
    scene.ready("anna")
    scene.request("before", customer_id="zoe")
    scene.talk("before")
    scene.ready("ben")
    scene.wait(talk_ms)
    scene.hang_up("before")
    return scene


@pytest.mark.parametrize(
    ("since_ms", "expected"), [(0, "last_agent anna"), (599_999, "last_agent anna"), (600_000, "")]
)
def test_the_last_agent_within_the_window(since_ms: int, expected: str) -> None:
    """Given a talk that ended less than last_agent_window_ms ago, then its agent is the favourite; one past: nobody."""
    scene = talked(600_000)
    scene.wait(since_ms)
    scene.request("c1", customer_id="zoe")
    assert rule(scene) == expected
    assert scene.state("c1") == ("reserved anna" if expected else "reserved ben")


def test_no_memory_of_agents_without_a_window() -> None:
    """Given last_agent_window_ms 0, then nobody is remembered."""
    scene = talked(0)
    scene.request("c1", customer_id="zoe")
    assert (rule(scene), scene.engine.state.last_agents) == ("", {})


def test_who_never_talked_is_not_remembered() -> None:
    """Given a call that was hung up while it rang, then its agent is not the customer's last one."""
    scene = Scene(queue(last_agent_window_ms=600_000), agent("anna"))
    scene.ready("anna")
    scene.request("c1", customer_id="zoe")
    scene.accept("c1")
    scene.hang_up("c1")
    assert scene.engine.state.last_agents == {}


@pytest.mark.parametrize("bound", [1, 3])
def test_so_many_customers_are_remembered_and_the_oldest_goes(bound: int) -> None:
    """Given last_agents_max customers who talked, when one more has, then the oldest memory is gone."""
    scene = Scene(queue(last_agent_window_ms=600_000, wrap_up="none"), agent("anna"), last_agents_max=bound)
    scene.ready("anna")
    for number in range(bound + 1):
        scene.request(f"c{number}")
        scene.talk(f"c{number}")
        scene.wait(1)
        scene.hang_up(f"c{number}")
        assert len(scene.engine.state.last_agents) == min(number + 1, bound)
    assert "of-c0" not in scene.engine.state.last_agents
    assert f"of-c{bound}" in scene.engine.state.last_agents


def test_a_dropped_customer_returns_to_the_same_agent() -> None:
    """Given a talk whose customer drops, when the customer is back in time, then the same agent is there (ROUTING.md 3)."""
    scene = Scene(queue(), agent("anna"), agent("ben"))
    scene.ready("anna", "ben")
    scene.connect("customer:zoe")
    scene.request("c1", customer_id="zoe")
    scene.talk("c1")
    scene.disconnect("customer:zoe")
    scene.wait(29_999)
    scene.connect("customer:zoe", "k2")
    scene.wait(60_000)
    assert scene.state("c1") == "connected anna"
    assert scene.now_ms > START_MS + 80_000
