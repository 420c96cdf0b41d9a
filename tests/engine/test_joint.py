"""Joint need: two people reserved together or nobody, and one person held at most for a while (ROUTING.md 3, 5.19)."""

import pytest

from dispatch import commands as cm
from dispatch import events as ev
from dispatch.wishes import Wishes
from tests.engine.scene import Scene, agent, plan, queue

HOLD_MS = 10_000
SKILLS = {
    "anna": {"talk": 1},
    "art": {"talk": 1},
    "eve": {"sign": 1},
    "ed": {"sign": 1},
    "both": {"talk": 1, "sign": 1},
}


def hall(*agents: str, **fields: object) -> Scene:
    """`pairs` needs one who talks and one who signs; `plain` one who talks; `signs` one who signs. All agents ready."""
    given = {"joint_hold_ms": HOLD_MS, "wrap_up": "none", **fields}
    scene = Scene(
        queue("pairs", need={"talk": 1}, joint_need={"sign": 1}, **given),
        queue("plain", need={"talk": 1}, wrap_up="none"),
        queue("signs", need={"sign": 1}, wrap_up="none"),
        *(agent(one, skills=SKILLS[one]) for one in SKILLS),
    )
    scene.ready(*agents)
    return scene


def ringing(*more: str, **fields: object) -> Scene:
    """`c1` rings at anna and eve."""
    scene = hall("anna", "eve", *more, **fields)
    scene.request("c1", "pairs")
    assert pair(scene) == {"anna": "agent", "eve": "expert"}
    return scene


def pair(scene: Scene, call_id: str = "c1") -> dict[str, str]:
    """Who is asked, as what."""
    return {one.agent_id: one.role for one in scene.call(call_id).reservations}


# -- both or nobody


def test_both_are_reserved_in_one_step() -> None:
    """Given an agent and an expert, when a call comes, then both ring in that step, each with a role of its own."""
    scene = ringing()
    assert [event.role for event in scene.last if isinstance(event, ev.CallReserved)] == ["agent", "expert"]


@pytest.mark.parametrize("alone", ["anna", "eve"])
def test_one_alone_is_never_asked(alone: str) -> None:
    """Given one of the two, when a call comes, then nobody is asked."""
    scene = hall(alone, joint_hold_ms=0)
    scene.request("c1", "pairs")
    assert (scene.state("c1"), scene.call("c1").held_agent_id) == ("waiting", "")


@pytest.mark.parametrize("order", [("anna", "eve"), ("eve", "anna")])
def test_both_must_accept_in_either_order(order: tuple[str, str]) -> None:
    """Given a pair that rings, when one accepts the call waits for the other, who brings both into it."""
    scene = ringing()
    assert scene.accept("c1", order[0]).is_accepted
    assert scene.only(ev.JointAccepted).agent_id == order[0]
    assert scene.call("c1").state == "reserved"
    assert scene.accept("c1", order[0]).is_accepted
    assert scene.last == []
    assert scene.accept("c1", order[1]).is_accepted
    call = scene.call("c1")
    assert (call.state, call.agent_id, [one.agent_id for one in call.parties]) == ("connecting", "anna", ["eve"])
    assert scene.do(cm.ReportConnected("c1")).is_accepted
    assert [scene.agent(one).answered_count for one in ("anna", "eve")] == [1, 1]


@pytest.mark.parametrize("who", ["anna", "eve"])
@pytest.mark.parametrize("is_first_in", [False, True])
@pytest.mark.parametrize(
    ("way", "outcome"), [("decline", "declined"), ("busy", "busy"), ("left", "agent_left"), ("lost", "agent_lost")]
)  # fmt: skip
def test_each_way_in_which_one_says_no(who: str, is_first_in: bool, way: str, outcome: str) -> None:
    """Given a pair, when one fails, then the other is let go in that step without any count, and the place is the old one."""
    scene = ringing(decline_delay_ms=60_000)
    key = scene.call("c1").key
    other = "eve" if who == "anna" else "anna"
    if is_first_in:
        scene.accept("c1", other)
    if way in ("decline", "busy"):
        assert scene.decline("c1", who, is_busy=way == "busy").is_accepted
    elif way == "left":
        scene.do(cm.SetActivity(who, "not_ready"))
    else:
        scene.connect("agent:" + who)
        scene.disconnect("agent:" + who)
        scene.wait(5_000)
    outcomes = {event.agent_id: event.outcome for event in scene.last if isinstance(event, ev.ReservationClosed)}
    assert outcomes == {who: outcome, other: "rescinded"}
    assert (scene.call("c1").state, scene.call("c1").key) == ("waiting", key)
    spared = scene.agent(other)
    assert (spared.missed_count, spared.declined_count, spared.busy_count, spared.lost_count, spared.misses) == (0,) * 5


def test_nobody_answers() -> None:
    """Given a pair in which both let it ring out, then one miss is counted, the first's; the other is let go."""
    scene = ringing()
    scene.wait(20_000)
    outcomes = sorted(event.outcome for event in scene.last if isinstance(event, ev.ReservationClosed))
    assert outcomes == ["expired", "rescinded"]
    assert scene.agent("anna").missed_count + scene.agent("eve").missed_count == 1


@pytest.mark.parametrize("first", ["anna", "eve"])
def test_the_one_who_accepted_is_not_the_one_who_missed(first: str) -> None:
    """Given one accepted, when the other lets it ring out, then the miss is the other's, and the first is free again."""
    scene = ringing(decline_delay_ms=60_000)
    other = "eve" if first == "anna" else "anna"
    scene.wait(1_000)
    scene.accept("c1", first)
    scene.wait(19_000)
    assert (scene.agent(first).missed_count, scene.agent(other).missed_count) == (0, 1)
    assert scene.agent(first).used_units == 0
    assert scene.call("c1").state == "waiting"


def test_hanging_up_lets_both_go() -> None:
    """Given a pair of whom one has accepted, when the customer hangs up, then both are rescinded in that step (5.24)."""
    scene = ringing()
    scene.accept("c1", "eve")
    scene.hang_up("c1")
    assert [event.outcome for event in scene.last if isinstance(event, ev.ReservationClosed)] == ["rescinded"] * 2
    assert (scene.agent("anna").used_units, scene.agent("eve").used_units) == (0, 0)


def test_who_declined_is_replaced_and_the_other_asked_again() -> None:
    """Given a second expert, when the first declines, then the agent and the second expert ring in that step."""
    scene = ringing("ed")
    scene.decline("c1", "eve")
    assert pair(scene) == {"anna": "agent", "ed": "expert"}


# -- who


def test_one_person_who_could_be_both_leaves_each_role_to_a_person() -> None:
    """Given one who could be both and one who signs, then the first is the agent; and the other way round."""
    scene = hall("both", "eve")
    scene.request("c1", "pairs")
    assert pair(scene) == {"both": "agent", "eve": "expert"}
    scene = hall("both", "anna")
    scene.request("c1", "pairs")
    assert pair(scene) == {"anna": "agent", "both": "expert"}


def test_nobody_is_both() -> None:
    """Given one person with both skills and room for two calls, then they are not both people of one call."""
    scene = Scene(
        queue("pairs", need={"talk": 1}, joint_need={"sign": 1}, joint_hold_ms=0),
        agent("both", skills=SKILLS["both"], capacity_units=200),
    )
    scene.ready("both")
    scene.request("c1", "pairs")
    assert scene.state("c1") == "waiting"


def test_the_calls_own_joint_need_replaces_the_queues() -> None:
    """Given a call that asks for a lawyer beside the agent, then nobody who signs is asked."""
    scene = Scene(
        queue("pairs", need={"talk": 1}, joint_need={"sign": 1}),
        agent("anna", skills=SKILLS["anna"]), agent("eve", skills=SKILLS["eve"]), agent("law", skills={"law": 3}),
    )  # fmt: skip
    scene.ready("anna", "eve", "law")
    scene.request("c1", "pairs", wishes=Wishes(joint_need={"law": 2}))
    assert pair(scene) == {"anna": "agent", "law": "expert"}


def test_a_joint_need_of_one_call_in_a_plain_queue() -> None:
    """Given a queue without a joint need, when a call brings one, then two are asked."""
    scene = hall("anna", "eve")
    scene.request("c1", "plain", wishes=Wishes(joint_need={"sign": 1}))
    assert pair(scene) == {"anna": "agent", "eve": "expert"}


def test_excluded_people_are_neither() -> None:
    """Given an excluded expert, then the other one is asked."""
    scene = hall("anna", "eve", "ed")
    scene.request("c1", "pairs", wishes=Wishes(excluded_agent_ids=["eve"]))
    assert pair(scene) == {"anna": "agent", "ed": "expert"}


def test_a_call_kept_for_an_agent_waits_for_that_one_as_the_agent() -> None:
    """Given a required agent who is busy, then no other agent is asked with the expert."""
    scene = hall("anna", "art", "eve", joint_hold_ms=0)
    scene.request("busy", "plain", wishes=Wishes(required_agent_id="anna"))
    scene.request("c1", "pairs", wishes=Wishes(required_agent_id="anna"))
    assert scene.state("c1") == "waiting"
    scene.hang_up("busy")
    assert pair(scene) == {"anna": "agent", "eve": "expert"}


def test_a_partner_who_declines_does_not_release_the_favourite() -> None:
    """Given a joint call kept for anna, when the expert declines, then it is still anna's with the next expert."""
    scene = hall("art", "anna", "eve")
    scene.request("c1", "pairs", wishes=Wishes(preferred_agent_id="anna"))
    assert pair(scene) == {"anna": "agent", "eve": "expert"}
    scene.decline("c1", "eve")
    assert scene.count(ev.FavouriteReleased) == 0
    scene.ready("ed")
    assert pair(scene) == {"anna": "agent", "ed": "expert"}


# -- the hold


@pytest.mark.parametrize(("held", "role", "later"), [("anna", "agent", "eve"), ("eve", "expert", "anna")])
def test_who_is_there_first_is_held_until_the_other_comes(held: str, role: str, later: str) -> None:
    """Given one of the two, then that person is held, asked for nothing else, and reserved when the other comes."""
    scene = hall(held)
    scene.request("c1", "pairs")
    event = scene.only(ev.JointHeld)
    assert (event.agent_id, event.role, event.until_ms) == (held, role, scene.now_ms + HOLD_MS)
    scene.request("c2", "plain" if held == "anna" else "signs")
    assert scene.state("c2") == "waiting"
    scene.ready(later)
    assert scene.only(ev.JointReleased).reason == "reserved"
    assert pair(scene) == {"anna": "agent", "eve": "expert"}


def test_the_agents_role_is_looked_for_first() -> None:
    """Given two people who sign and nobody who talks but one who could be both, then that one is held as the agent."""
    scene = hall("eve", "both")
    scene.do(cm.SetActivity("eve", "not_ready"))
    scene.request("c1", "pairs")
    assert (scene.call("c1").held_agent_id, scene.only(ev.JointHeld).role) == ("both", "agent")
    scene.ready("anna")
    assert pair(scene) == {"anna": "agent", "both": "expert"}


def test_a_hold_ends_on_time_and_begins_again_after_as_long() -> None:
    """Given a held person, then after joint_hold_ms others may have them, for as long, and then they are held again."""
    scene = hall("anna")
    scene.request("c1", "pairs")
    scene.request("c2", "plain")
    scene.wait(HOLD_MS - 1)
    assert (scene.call("c1").held_agent_id, scene.state("c2")) == ("anna", "waiting")
    scene.wait(1)
    released = scene.only(ev.JointReleased)
    assert (released.reason, released.not_before_ms) == ("time", scene.now_ms + HOLD_MS)
    assert scene.state("c2") == "reserved anna"
    scene.hang_up("c2")
    scene.wait(HOLD_MS - 1)
    assert scene.call("c1").held_agent_id == ""
    scene.wait(1)
    assert scene.call("c1").held_agent_id == "anna"


def test_never_held_at_nothing() -> None:
    """Given joint_hold_ms 0, then one of the two serves others, however due the joint call is."""
    scene = hall("anna", joint_hold_ms=0)
    scene.request("c1", "pairs")
    scene.request("c2", "plain")
    assert (scene.state("c1"), scene.state("c2")) == ("waiting", "reserved anna")


def test_in_the_pause_the_pair_is_reserved_all_the_same() -> None:
    """Given a call whose hold is over, when both are free in the pause, then they ring at once."""
    scene = hall("anna")
    scene.request("c1", "pairs")
    scene.wait(HOLD_MS)
    scene.ready("eve")
    assert pair(scene) == {"anna": "agent", "eve": "expert"}


@pytest.mark.parametrize(
    ("way", "reason"), [("not_ready", "agent_left"), ("offline", "agent_left"), ("gone", "agent_left")]
)
def test_the_hold_ends_when_the_person_leaves(way: str, reason: str) -> None:
    """Given a held person, when they go on a break, sign out or lose the connection, then the call may hold another."""
    scene = hall("anna")
    scene.connect("agent:anna")
    scene.request("c1", "pairs")
    if way == "gone":
        scene.disconnect("agent:anna")
    else:
        scene.do(cm.SetActivity("anna", way))
    released = scene.only(ev.JointReleased)
    assert (released.reason, released.not_before_ms) == (reason, 0)
    scene.ready("art")
    assert scene.call("c1").held_agent_id == "art"


@pytest.mark.parametrize("way", ["hang_up", "customer_gone", "moved", "not_joint"])
def test_the_hold_ends_when_the_call_leaves(way: str) -> None:
    """Given a held person, when the call is gone from its line, then the person serves others in that step."""
    scene = hall("anna")
    scene.connect("customer:zoe")
    scene.request("c1", "pairs", "zoe")
    scene.request("c2", "plain")
    plain, signs = queue("plain", need={"talk": 1}), queue("signs", need={"sign": 1})
    agents = [agent(one, skills=SKILLS[one]) for one in SKILLS]
    if way == "hang_up":
        scene.hang_up("c1")
    elif way == "customer_gone":
        scene.disconnect("customer:zoe")
    elif way == "moved":
        scene.replan(plan(plain, signs, *agents, retired={"pairs": "signs"}))
    else:
        scene.replan(plan(queue("pairs", need={"talk": 2}), plain, signs, *agents))
    assert scene.only(ev.JointReleased).reason == "call_left"
    assert scene.state("c2") == "reserved anna"


# -- in the order of keys


def test_a_more_due_plain_call_goes_before_a_joint_one() -> None:
    """Given a joint call and a more due plain one, when the agent comes, then the plain one rings (5.16)."""
    scene = hall("eve")
    scene.request("c1", "pairs")
    scene.request("c2", "plain", wishes=Wishes(credit_ms=1))
    scene.ready("anna")
    assert (scene.state("c1"), scene.state("c2")) == ("waiting", "reserved anna")
    assert scene.call("c1").held_agent_id == "eve"


def test_a_more_due_joint_call_is_not_starved_by_plain_ones() -> None:
    """Given agents who are free one at a time and plain calls enough, then the joint call holds one and gets both."""
    scene = hall()
    scene.request("c1", "pairs")
    for number in range(5):
        scene.request(f"p{number}", "plain")
        scene.request(f"s{number}", "signs")
    scene.ready("anna")
    assert scene.call("c1").held_agent_id == "anna"
    scene.wait(5_000)
    scene.ready("eve")
    assert pair(scene) == {"anna": "agent", "eve": "expert"}


def test_two_joint_calls_get_two_pairs_in_order() -> None:
    """Given two joint calls and two pairs, when all are there, then each has a pair, the more due first."""
    scene = hall()
    scene.request("c1", "pairs")
    scene.request("c2", "pairs")
    scene.ready("anna", "eve", "art", "ed")
    assert pair(scene, "c1") == {"anna": "agent", "eve": "expert"}
    assert pair(scene, "c2") == {"art": "agent", "ed": "expert"}


def test_two_joint_calls_do_not_hold_one_person_each_of_one_pair_for_ever() -> None:
    """Given one pair for two joint calls, then the more due one gets it: no two calls wait for each other's person."""
    scene = hall("eve")
    scene.request("c1", "pairs")
    scene.request("c2", "pairs")
    scene.ready("anna")
    assert (pair(scene, "c1"), scene.state("c2")) == ({"anna": "agent", "eve": "expert"}, "waiting")


def test_wrap_up_for_both_after_a_joint_call() -> None:
    """Given a joint call that talked, when it ends, then both are in wrap-up."""
    scene = ringing(wrap_up="timed")
    scene.accept("c1", "anna")
    scene.accept("c1", "eve")
    scene.do(cm.ReportConnected("c1"))
    scene.hang_up("c1")
    assert [scene.agent(one).engagements for one in ("anna", "eve")] == [{"c1": "wrap_up"}] * 2


@pytest.mark.parametrize("with_snapshot", [False, True])
def test_a_hold_survives_a_crash(with_snapshot: bool) -> None:
    """Given a held person, when the shard comes back, then they are held still, and reserved with the other."""
    scene = hall("anna")
    scene.request("c1", "pairs")
    scene.crash(with_snapshot=with_snapshot)
    scene.request("c2", "plain")
    assert scene.state("c2") == "waiting"
    scene.ready("eve")
    assert pair(scene) == {"anna": "agent", "eve": "expert"}
