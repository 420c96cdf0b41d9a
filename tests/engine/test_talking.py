"""Talking: transfer in both ways, further parties, take over, supervision, hold; one owner at every instant (ROUTING.md 4)."""

import pytest

from dispatch import commands as cm
from dispatch import events as ev
from dispatch.hours import Hours
from dispatch.talking import PARTIES_MAX
from dispatch.wishes import Wishes
from tests.engine.scene import Scene, agent, plan, queue, room_queue

ANNA = "agent:anna"
SUE = "supervisor:sue"
OLGA = "operator:olga"


def talking(*more: str, **fields: object) -> Scene:
    """anna talks with the customer of `c1`; the others named are ready, all with room for one call."""
    scene = Scene(queue(**fields), queue("cards"), *(agent(one) for one in ("anna", "ben", "cleo", "dora")))
    scene.ready("anna", *more)
    scene.request("c1")
    scene.talk("c1")
    return scene


def parties(scene: Scene) -> dict[str, str]:
    return {one.agent_id: one.role for one in scene.call("c1").parties}


# -- blind transfer to a queue


def test_a_transfer_waits_anew_and_the_owner_wraps_up() -> None:
    """Given a talk of a minute, when transferred, then the call is queued now, with the target's credit, and anna wraps up."""
    scene = talking()
    scene.replan(
        plan(queue(), queue("cards", target_ms=50_000, transfer_credit_ms=40_000), agent("anna"), agent("ben"))
    )
    scene.wait(60_000)
    assert scene.transfer("c1", "cards").value == {"queue_id": "cards"}
    event = scene.only(ev.CallTransferred)
    assert (event.from_agent_id, event.talked_ms, event.credit_ms) == ("anna", 60_000, 40_000)
    call = scene.call("c1")
    assert (call.queue_id, call.queued_at_ms, call.due_at_ms) == ("cards", scene.now_ms, scene.now_ms + 10_000)
    assert (scene.state("c1"), scene.agent("anna").engagements) == ("waiting", {"c1": "wrap_up"})


@pytest.mark.parametrize(("asked_ms", "expected"), [(-1, 20_000), (0, 0), (20_000, 20_000), (20_001, None), (-2, None)])
def test_the_credit_of_a_transfer_and_its_bounds(asked_ms: int, expected: int | None) -> None:
    """Given a target that allows 20 s and gives 90 s, then 20 s by default; the transfer may say from 0 to 20 s."""
    scene = Scene(queue(), queue("cards", priority_credit_ms_max=20_000, transfer_credit_ms=90_000), agent("anna"))
    scene.ready("anna")
    scene.request("c1")
    scene.talk("c1")
    reply = scene.transfer("c1", "cards", credit_ms=asked_ms)
    if expected is None:
        assert reply.reason == "bad_value"
        assert scene.state("c1") == "connected anna"
    else:
        assert scene.call("c1").credit_ms == expected
        assert scene.call("c1").due_at_ms == scene.now_ms + 20_000 - expected


def test_a_transferred_call_goes_before_who_came_meanwhile_by_its_credit() -> None:
    """Given a line of a minute, when a call is transferred into it, then its 90 s of credit put it first."""
    scene = talking()
    scene.request("waits", "cards")
    scene.wait(60_000)
    scene.transfer("c1", "cards")
    scene.ready("ben")
    assert (scene.state("c1"), scene.state("waits")) == ("reserved ben", "waiting")


def test_the_former_owner_is_not_asked_for_the_targets_decline_delay() -> None:
    """Given a transfer back into the same queue, when anna is free, then she is asked after the delay, not before."""
    scene = talking(wrap_up="none", decline_delay_ms=30_000)
    assert scene.transfer("c1", "loans").is_accepted
    scene.wait(29_999)
    assert scene.state("c1") == "waiting"
    scene.wait(1)
    assert scene.state("c1") == "reserved anna"


def test_a_transfer_asks_others_at_once() -> None:
    """Given ben free, when the call is transferred, then it rings at ben in that step."""
    scene = talking("ben")
    scene.transfer("c1", "cards", reason="card lost")
    assert scene.only(ev.CallTransferred).reason == "card lost"
    assert scene.state("c1") == "reserved ben"


@pytest.mark.parametrize("principal", [ANNA, SUE, OLGA])
def test_who_may_transfer(principal: str) -> None:
    """Given a talk, then its owner, a supervisor and an operator may transfer it."""
    assert talking().transfer("c1", "cards", principal=principal).is_accepted


def test_transfers_that_are_refused() -> None:
    """Given a talk, when a transfer makes no sense, is not theirs or leads nowhere, then by name, and the talk goes on."""
    scene = Scene(
        queue(), queue("shut", hours=Hours([[]] * 7)), room_queue("recorded"), agent("anna"), agent("ben")
    )  # fmt: skip
    scene.ready("anna")
    scene.request("c1", is_consented=False)
    assert scene.transfer("c1", "loans", principal=SUE).reason == "wrong_state"
    scene.talk("c1")
    cases: list[tuple[dict[str, object], str]] = [
        ({"to_queue_id": "nowhere"}, "unknown_queue"),
        ({"to_queue_id": "shut"}, "queue_closed"),
        ({"to_queue_id": "recorded"}, "consent_required"),
        ({"to_agent_id": "nobody"}, "unknown_agent"),
        ({"to_agent_id": "anna"}, "agent_unavailable"),
        ({"to_agent_id": "ben"}, "agent_unavailable"),
        ({}, "bad_value"),
        ({"to_queue_id": "loans", "to_agent_id": "ben"}, "bad_value"),
        ({"to_queue_id": "loans", "reason": "r" * (cm.MAX_TEXT + 1)}, "bad_value"),
        ({"to_queue_id": "loans", "principal": "agent:ben"}, "not_yours"),
        ({"to_queue_id": "loans", "principal": "customer:of-c1"}, "not_yours"),
    ]
    for fields, reason in cases:
        assert scene.transfer("c1", **fields).reason == reason, fields
        assert scene.last == []
    assert scene.do(cm.TransferCall("c9", "loans")).reason == "unknown_call"
    assert scene.state("c1") == "connected anna"


def test_further_parties_and_who_rings_leave_with_a_transfer() -> None:
    """Given a party and one who rings, when transferred, then the party wraps up and the ring is rescinded (5.24)."""
    scene = talking("ben", "cleo")
    scene.join("c1", "ben")
    scene.do(cm.InviteParty("c1", "expert", "cleo", principal=ANNA))
    scene.do(cm.SetHold("c1", True, principal=ANNA))
    scene.transfer("c1", "cards")
    assert scene.only(ev.PartyRemoved).reason == "transferred"
    assert (scene.agent("ben").engagements, scene.call("c1").on_hold_until_ms) == ({"c1": "wrap_up"}, 0)
    assert scene.state("c1") == "reserved cleo"


# -- blind transfer to an agent


def test_a_transfer_to_an_agent_is_kept_for_the_agent_and_then_anybodys() -> None:
    """Given ben free, when transferred to ben who does not answer, then the others are asked at the same place."""
    scene = talking("ben", reservation_timeout_ms=20_000)
    assert scene.transfer("c1", to_agent_id="ben").is_accepted
    assert scene.only(ev.CallReserved).why == "transfer"
    assert scene.state("c1") == "reserved ben"
    key = scene.call("c1").key
    scene.ready("cleo")
    scene.wait(19_999)
    assert (scene.state("c1"), scene.call("c1").key) == ("reserved cleo", key)


def test_a_transfer_to_an_agent_who_is_gone_again_waits_for_the_window() -> None:
    """Given ben asked by transfer who goes on a break, then the others are asked at once: he left."""
    scene = talking("ben", "cleo")
    scene.transfer("c1", to_agent_id="ben")
    scene.do(cm.SetActivity("ben", "not_ready"))
    assert scene.only(ev.FavouriteReleased).reason == "agent_left"
    assert scene.state("c1") == "reserved cleo"


@pytest.mark.parametrize("state", ["not_ready", "offline", "busy", "wrap_up", "gone", "held", "unskilled", "delayed"])
def test_who_cannot_be_transferred_to(state: str) -> None:
    """Given an agent who may not be asked right now, then agent_unavailable, and the talk goes on."""
    scene = Scene(
        queue(need={"fx": 1}), queue("pairs", need={"pair": 1}, joint_need={"none": 1}), queue("any", wrap_up_ms=1_000),
        agent("anna", skills={"fx": 1}),
        agent("ben", skills={} if state == "unskilled" else {"fx": 1, "pair": 1}),
    )  # fmt: skip
    scene.ready("anna")
    scene.request("c1")
    scene.talk("c1")
    scene.connect("agent:ben")
    if state != "offline":
        scene.ready("ben")
    if state == "not_ready":
        scene.do(cm.SetActivity("ben", "not_ready"))
    elif state in ("busy", "wrap_up", "delayed"):
        scene.request("c2", "any")
        if state == "delayed":
            scene.decline("c2", is_busy=True)
        else:
            scene.talk("c2")
        if state == "wrap_up":
            scene.hang_up("c2")
    elif state == "gone":
        scene.disconnect("agent:ben")
    elif state == "held":
        scene.request("c2", "pairs")
    assert scene.transfer("c1", to_agent_id="ben").reason == "agent_unavailable"
    assert scene.state("c1") == "connected anna"


# -- further parties


@pytest.mark.parametrize("role", ["consult", "expert", "third"])
def test_a_party_rings_and_joins_while_the_call_goes_on(role: str) -> None:
    """Given ben asked into a talk, then the talk goes on while it rings, and ben is a party when he accepts."""
    scene = talking("ben")
    assert scene.do(cm.InviteParty("c1", role, "ben", principal=ANNA)).value == {"agent_id": "ben"}
    assert (scene.state("c1"), scene.ring("c1").role) == ("connected anna", role)
    assert scene.accept("c1", "ben").is_accepted
    assert scene.only(ev.PartyAdded).role == role
    assert (parties(scene), scene.state("c1")) == ({"ben": role}, "connected anna")
    assert scene.agent("ben").answered_count == 1


def test_from_a_queue_the_strategy_chooses_among_the_free_for_its_need() -> None:
    """Given a queue of experts, when one is asked from it, then the strategy's first; with none free, no_agent_free."""
    scene = Scene(
        queue(), queue("law", need={"law": 3}, strategy="most_skilled"),
        agent("anna"), agent("low", skills={"law": 2}), agent("good", skills={"law": 3}), agent("best", skills={"law": 9}),
    )  # fmt: skip
    scene.ready("anna", "low", "good", "best")
    scene.request("c1")
    scene.talk("c1")
    for expected in ("best", "good"):
        reply = scene.do(cm.InviteParty("c1", "expert", to_queue_id="law", principal=ANNA))
        assert reply.value == {"agent_id": expected}
    assert scene.do(cm.InviteParty("c1", "expert", to_queue_id="law", principal=ANNA)).reason == "no_agent_free"
    assert scene.do(cm.InviteParty("c1", "expert", to_queue_id="nowhere", principal=ANNA)).reason == "unknown_queue"


@pytest.mark.parametrize(
    ("way", "outcome"), [("decline", "declined"), ("busy", "busy"), ("expire", "expired"), ("left", "agent_left")]
)  # fmt: skip
def test_a_party_who_does_not_come_leaves_the_talk_alone(way: str, outcome: str) -> None:
    """Given ben asked into a talk, when he says no in any way, then it is counted like any reservation, and nothing else."""
    scene = talking("ben")
    scene.do(cm.InviteParty("c1", "third", "ben", principal=ANNA))
    if way in ("decline", "busy"):
        scene.decline("c1", "ben", is_busy=way == "busy")
    elif way == "expire":
        scene.wait(20_000)
    else:
        scene.do(cm.SetActivity("ben", "not_ready"))
    assert scene.only(ev.ReservationClosed).outcome == outcome
    assert (scene.state("c1"), parties(scene)) == ("connected anna", {})
    ben = scene.agent("ben")
    assert (ben.declined_count, ben.busy_count, ben.missed_count) == (way == "decline", way == "busy", way == "expire")
    assert ben.not_before_ms == {"busy": scene.now_ms + 30_000, "expire": scene.now_ms + 5_000}.get(way, 0)


def test_eight_parties_and_no_ninth() -> None:
    """Given eight who are in the call or ring, when one more is asked, then too_many_parties; one who leaves makes room."""
    names = [f"p{number}" for number in range(PARTIES_MAX + 1)]
    scene = Scene(queue(), agent("anna"), *(agent(one) for one in names))
    scene.ready("anna")
    scene.request("c1")
    scene.talk("c1")
    scene.ready(*names)
    for name in names[:-1]:
        assert scene.do(cm.InviteParty("c1", "third", name, principal=ANNA)).is_accepted
    for name in names[:4]:
        scene.accept("c1", name)
    ninth = cm.InviteParty("c1", "third", names[-1], principal=ANNA)
    assert scene.do(ninth).reason == "too_many_parties"
    scene.do(cm.RemoveParty("c1", "p7", principal=ANNA))
    assert scene.do(ninth).is_accepted


def test_parties_that_are_refused() -> None:
    """Given a talk with ben in it, when a party is asked for that cannot be, then by name, and nothing happened."""
    scene = talking("ben", "cleo")
    scene.join("c1", "ben")
    cases: list[tuple[cm.InviteParty, str]] = [
        (cm.InviteParty("c9", "third", "cleo"), "unknown_call"),
        (cm.InviteParty("c1", "third", "nobody"), "unknown_agent"),
        (cm.InviteParty("c1", "third", "anna"), "agent_unavailable"),
        (cm.InviteParty("c1", "third", "ben"), "agent_unavailable"),
        (cm.InviteParty("c1", "third", "dora"), "agent_unavailable"),
        (cm.InviteParty("c1", "friend", "cleo"), "bad_value"),
        (cm.InviteParty("c1", "third"), "bad_value"),
        (cm.InviteParty("c1", "third", "cleo", "cards"), "bad_value"),
        (cm.InviteParty("c1", "third", "cleo", principal="agent:ben"), "not_yours"),
        (cm.InviteParty("c1", "third", "cleo", principal="customer:of-c1"), "not_yours"),
    ]
    for command, reason in cases:
        assert scene.do(command).reason == reason, command
        assert scene.last == []
    scene.do(cm.InviteParty("c1", "third", "cleo"))
    assert scene.do(cm.InviteParty("c1", "third", "cleo")).reason == "agent_unavailable"


@pytest.mark.parametrize(
    ("principal", "reason"), [("agent:ben", "left"), (ANNA, "removed"), (SUE, "removed"), (OLGA, "removed")]
)
def test_a_party_leaves_or_is_asked_to(principal: str, reason: str) -> None:
    """Given ben in the talk, when he leaves or somebody who may removes him, then he wraps up and the talk goes on."""
    scene = talking("ben")
    scene.join("c1", "ben")
    assert scene.do(cm.RemoveParty("c1", "ben", principal=principal)).is_accepted
    assert scene.only(ev.PartyRemoved).reason == reason
    assert scene.agent("ben").engagements == {"c1": "wrap_up"}
    assert scene.state("c1") == "connected anna"


def test_who_rings_is_rescinded_without_a_count() -> None:
    """Given ben asked and not answering yet, when he is removed, then the ring is over, and no count and no wrap-up."""
    scene = talking("ben")
    scene.do(cm.InviteParty("c1", "third", "ben", principal=ANNA))
    scene.do(cm.RemoveParty("c1", "ben", principal=ANNA))
    assert scene.only(ev.ReservationClosed).outcome == "rescinded"
    assert (scene.agent("ben").used_units, scene.agent("ben").declined_count) == (0, 0)


def test_who_may_not_remove() -> None:
    """Given ben and cleo in the talk, when cleo, the customer or a stranger removes ben, then it is not theirs."""
    scene = talking("ben", "cleo")
    scene.join("c1", "ben")
    scene.join("c1", "cleo")
    for principal in ("agent:cleo", "agent:dora", "agent:", "customer:of-c1"):
        assert scene.do(cm.RemoveParty("c1", "ben", principal=principal)).reason == "not_yours"
    assert scene.do(cm.RemoveParty("c9", "ben")).reason == "unknown_call"
    assert scene.do(cm.RemoveParty("c1", "dora")).reason == "wrong_state"
    assert scene.do(cm.RemoveParty("c1", "anna")).reason == "wrong_state"


@pytest.mark.parametrize("wrap_up", ["none", "timed", "until_done"])
def test_all_who_were_in_it_wrap_up_and_who_rings_is_let_go(wrap_up: str) -> None:
    """Given an owner, two parties and one who rings, when the call ends, then three wrap up and one is rescinded (5.24)."""
    scene = talking("ben", "cleo", "dora", wrap_up=wrap_up)
    scene.join("c1", "ben")
    scene.join("c1", "cleo", "consult")
    scene.do(cm.InviteParty("c1", "expert", "dora", principal=ANNA))
    scene.hang_up("c1")
    doing = {} if wrap_up == "none" else {"c1": "wrap_up"}
    assert [scene.agent(one).engagements for one in ("anna", "ben", "cleo", "dora")] == [doing, doing, doing, {}]
    scene.wait(600_000)
    assert not any(scene.agent(one).used_units for one in ("anna", "ben", "cleo", "dora"))


def test_a_conference_does_not_reset_the_idleness_of_others() -> None:
    """Given cleo idle, while others confer, transfer and are monitored, then she is idle since she signed in (5.27)."""
    scene = talking("ben", "cleo")
    idle_since_ms = scene.agent("cleo").idle_since_ms
    scene.join("c1", "ben")
    scene.do(cm.Supervise("c1", "sue", "barge"))
    scene.do(cm.CompleteTransfer("c1", "ben", principal=ANNA))
    scene.wait(60_000)
    scene.do(cm.RemoveParty("c1", "ben", principal=ANNA))
    assert scene.agent("cleo").idle_since_ms == idle_since_ms


def test_a_party_who_is_lost_leaves_the_talk_alone() -> None:
    """Given ben in the talk, when his connection does not come back, then he is out of it, and the talk goes on."""
    scene = talking("ben")
    scene.connect("agent:ben")
    scene.join("c1", "ben")
    scene.disconnect("agent:ben")
    scene.wait(30_000)
    assert scene.only(ev.PartyRemoved).reason == "agent_lost"
    assert (scene.state("c1"), scene.agent("ben").used_units) == ("connected anna", 0)


def test_the_calls_own_wishes_do_not_concern_further_parties() -> None:
    """Given a call that excludes ben and asks for law, then ben may be asked into it by name: a person decides."""
    scene = Scene(queue(), agent("anna", skills={"law": 1}), agent("ben"))
    scene.ready("anna", "ben")
    scene.request("c1", wishes=Wishes(need={"law": 1}, excluded_agent_ids=["ben"]))
    scene.talk("c1")
    assert scene.do(cm.InviteParty("c1", "third", "ben", principal=ANNA)).is_accepted
