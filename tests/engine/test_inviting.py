"""Invitations: an agent asks a customer to come, and the call belongs to that agent (ROUTING.md 3)."""

import pytest

from dispatch import commands as cm
from dispatch import events as ev
from dispatch.hours import Hours
from dispatch.plan import DAY_MS, Way
from dispatch.viewing import position_views
from dispatch.wishes import NEVER_MS
from tests.engine.scene import Scene, agent, plan, queue, room_queue

ANNA = "agent:anna"


def invited(**fields: object) -> Scene:
    """anna, who is ready beside ben, has invited the customer of `c1`."""
    scene = Scene(queue(**fields), agent("anna"), agent("ben"), invitation_ms=600_000)
    scene.ready("ben", "anna")
    assert scene.invite("c1", "anna").is_accepted
    return scene


# -- accepting


def test_accepting_makes_a_call_that_belongs_to_the_agent() -> None:
    """Given an invitation, when the customer comes, then it rings at the agent who invited, though ben is idle longer."""
    scene = invited()
    assert scene.state("c1") == "invited anna"
    assert scene.come("c1").is_accepted
    assert scene.state("c1") == "reserved anna"
    assert scene.only(ev.CallReserved).why == "invitation"
    favourite = scene.call("c1").favourite
    assert favourite is not None
    assert (favourite.agent_id, favourite.until_ms) == ("anna", NEVER_MS)


def test_due_at_once() -> None:
    """Given an accepted invitation beside an older call, then it is due now: before who is due later (ROUTING.md 3)."""
    scene = invited(target_ms=20_000)
    scene.do(cm.SetActivity("anna", "not_ready"))
    scene.do(cm.SetActivity("ben", "not_ready"))
    scene.request("older")
    scene.wait(1_000)
    scene.come("c1")
    call = scene.call("c1")
    assert (call.queued_at_ms, call.due_at_ms) == (scene.now_ms, scene.now_ms)
    assert [one.position for one in position_views(scene.engine.state, ["c1", "older"])] == [1, 2]


def test_it_waits_for_the_agent_alone() -> None:
    """Given an agent who is busy, when the customer comes, then nobody else is asked, and the agent as soon as free."""
    scene = invited(wrap_up="none")
    scene.request("talks")
    scene.talk("talks")
    scene.request("talks-too")
    scene.talk("talks-too")
    assert scene.come("c1").is_accepted
    scene.hang_up("talks")
    assert (scene.state("talks"), scene.state("c1")) == ("ended", "waiting")
    scene.hang_up("talks-too")
    assert scene.state("c1") == "reserved anna"


def test_a_decline_does_not_release_it() -> None:
    """Given an invited call that rings, when the agent declines, then it is kept, and rings again after the delay."""
    scene = invited(decline_delay_ms=30_000)
    scene.come("c1")
    scene.decline("c1")
    scene.wait(29_999)
    assert scene.state("c1") == "waiting"
    scene.wait(1)
    assert scene.state("c1") == "reserved anna"


# -- not accepting


def test_not_accepted_in_time_it_ends_by_name() -> None:
    """Given ten minutes, when the customer has not come by then, then invitation_expired, and it is too late."""
    scene = invited()
    scene.wait(599_999)
    assert scene.state("c1") == "invited anna"
    scene.wait(1)
    ended = scene.only(ev.CallEnded)
    assert (ended.reason, ended.agent_id, ended.waited_ms, ended.wrap_up) == ("invitation_expired", "", 0, "none")
    assert scene.come("c1").reason == "wrong_state"


def test_accepted_at_the_last_moment() -> None:
    """Given ten minutes, when the customer comes a millisecond before, then it is a call, and does not expire."""
    scene = invited()
    scene.wait(599_999)
    assert scene.come("c1").is_accepted
    scene.wait(1)
    assert scene.state("c1") == "reserved anna"


@pytest.mark.parametrize(
    ("valid_ms", "reason"), [(0, ""), (1, ""), (600_000, ""), (600_001, "bad_value"), (-1, "bad_value")]
)
def test_the_invitation_may_say_less_and_no_more(valid_ms: int, reason: str) -> None:
    """Given a plan of ten minutes, then an invitation may last as long or less; 0 means as long."""
    scene = Scene(queue(), agent("anna"), invitation_ms=600_000)
    reply = scene.invite("c1", "anna", valid_ms=valid_ms)
    assert reply.reason == reason
    if not reason:
        assert reply.value == {"call_id": "c1", "until_ms": scene.now_ms + (valid_ms or 600_000)}
        scene.wait((valid_ms or 600_000) - 1)
        assert scene.state("c1") == "invited anna"
        scene.wait(1)
        assert scene.state("c1") == "ended"


def test_an_invitation_of_seven_days() -> None:
    """Given a plan of seven days, then it holds for seven days to the millisecond, over everything that happens."""
    scene = Scene(queue(), agent("anna"), invitation_ms=7 * DAY_MS)
    scene.invite("c1", "anna")
    scene.crash()
    scene.wait(7 * DAY_MS - 1)
    assert scene.state("c1") == "invited anna"
    scene.wait(1)
    assert scene.state("c1") == "ended"


@pytest.mark.parametrize("principal", [ANNA, "supervisor:sue", "operator:olga", "system:bank"])
def test_an_invitation_may_be_taken_back(principal: str) -> None:
    """Given an invitation, when the agent who invited or the bank hangs up, then the customer comes too late."""
    scene = invited()
    assert scene.do(cm.HangUp("c1", principal=principal)).is_accepted
    assert scene.come("c1").reason == "wrong_state"
    assert scene.agent("anna").engagements == {}


def test_another_agent_cannot_take_it_back() -> None:
    """Given anna's invitation, when ben hangs up, then it is not his."""
    scene = invited()
    assert scene.do(cm.HangUp("c1", principal="agent:ben")).reason == "not_yours"


# -- limits and consent


def test_limits_do_not_apply() -> None:
    """Given a queue that is full, and one that has nobody signed in, when the invited customer comes, then it is taken."""
    for fields in ({"waiting_max": 0}, {"need": {"none": 1}, "on_no_agents": [Way("refuse")]}):
        scene = Scene(queue(**fields), agent("anna"))
        scene.invite("c1", "anna")
        assert scene.come("c1").is_accepted
        assert scene.state("c1") == "waiting"


def test_a_closed_queue_takes_an_invitation_and_serves_it_when_it_opens() -> None:
    """Given a queue that is not open, when an invited customer comes, then the call waits until it opens."""
    hours = Hours([[(0, 60)]] * 7)
    scene = Scene(queue(hours=hours), agent("anna"), agent("ben"))
    scene.ready("anna", "ben")
    assert scene.invite("c1", "anna").is_accepted
    assert scene.come("c1").is_accepted
    opens_at_ms = (scene.now_ms // DAY_MS + 1) * DAY_MS
    scene.wait(opens_at_ms - scene.now_ms - 1)
    assert scene.state("c1") == "waiting"
    scene.wait(1)
    assert scene.state("c1") == "reserved anna"


def test_consent_applies() -> None:
    """Given a queue that must record, when the invited customer does not agree, then refused; agreeing, it is recorded."""
    scene = Scene(room_queue(), agent("anna"))
    scene.invite("c1", "anna")
    assert scene.come("c1", is_consented=False).reason == "consent_required"
    assert scene.state("c1") == "invited anna"
    assert scene.come("c1").is_accepted
    assert scene.call("c1").recording == "required"


@pytest.mark.parametrize("bound", [1, 2])
def test_an_invitation_counts_as_a_live_call_of_the_division(bound: int) -> None:
    """Given live_calls_max invitations, when one more is sent, then hall_full; one that expired makes room."""
    scene = Scene(queue(), agent("anna"), live_calls_max=bound, invitation_ms=1_000)
    for number in range(bound):
        assert scene.invite(f"c{number}", "anna").is_accepted
    assert scene.invite("more", "anna").reason == "hall_full"
    assert scene.request("call").reason == "hall_full"
    scene.wait(1_000)
    assert scene.invite("more", "anna").is_accepted


def test_an_invitation_is_not_yet_the_customers_call() -> None:
    """Given an invitation, then the customer may call elsewhere; while that call lives, the invitation waits."""
    scene = invited()
    assert scene.request("own", customer_id="of-c1").is_accepted
    reply = scene.come("c1")
    assert (reply.reason, reply.value) == ("already_in_call", {"call_id": "own"})
    scene.hang_up("own")
    assert scene.come("c1").is_accepted
    assert scene.request("own2", customer_id="of-c1").value == {"call_id": "c1"}


def test_two_invitations_of_one_customer() -> None:
    """Given two agents who invite the same customer, then the customer may accept either, and the other later."""
    scene = invited()
    command = cm.InviteCustomer("c2", "of-c1", "ben", "loans", principal="agent:ben")
    assert scene.do(command).is_accepted
    assert scene.come("c2").is_accepted
    assert scene.state("c2") == "reserved ben"
    assert scene.come("c1").reason == "already_in_call"
    scene.hang_up("c2")
    assert scene.come("c1").is_accepted
    assert scene.state("c1") == "reserved anna"


# -- who may what


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (cm.InviteCustomer("c2", "zoe", "nobody", "loans"), "unknown_agent"),
        (cm.InviteCustomer("c2", "zoe", "anna", "nowhere"), "unknown_queue"),
        (cm.InviteCustomer("c2", "zoe", "anna", "loans", principal="customer:zoe"), "not_yours"),
        (cm.InviteCustomer("c2", "zoe", "anna", "loans", principal="agent:ben"), "not_yours"),
        (cm.InviteCustomer("c1", "zoe", "anna", "loans"), "call_exists"),
        (cm.InviteCustomer("", "zoe", "anna", "loans"), "bad_value"),
        (cm.InviteCustomer("c2", "", "anna", "loans"), "bad_value"),
        (cm.InviteCustomer("c2", "zoe", "anna", "loans", "r" * (cm.MAX_TEXT + 1)), "bad_value"),
        (cm.InviteCustomer("c2", "zoe", "anna", "loans", "r" * cm.MAX_TEXT), ""),
        (cm.AcceptInvitation("c9", "zoe"), "unknown_call"),
        (cm.AcceptInvitation("c1", "zoe"), "not_yours"),
        (cm.AcceptInvitation("c1", "of-c1", principal="customer:zoe"), "not_yours"),
        (cm.AcceptInvitation("c1", "of-c1", principal=ANNA), "not_yours"),
        (cm.AcceptInvitation("c1", "of-c1"), ""),
    ],
)
def test_refusals_by_name(command: cm.Command, reason: str) -> None:
    """Given an invitation, when a wish is not theirs or makes no sense, then it is refused by name."""
    scene = invited()
    assert scene.do(command).reason == reason
    assert bool(scene.last) == (not reason)


@pytest.mark.parametrize("way", ["decline", "hang_up"])
def test_an_invited_call_that_ends_is_an_ordinary_end(way: str) -> None:
    """Given an invited call, when the customer hangs up while it waits or rings, then the agent is free."""
    scene = invited()
    scene.come("c1")
    if way == "decline":
        scene.decline("c1")
    scene.hang_up("c1")
    assert scene.only(ev.CallEnded).reason == "customer_hung_up"
    assert scene.agent("anna").used_units == 0


def test_relaxation_and_wait_count_from_when_the_customer_came() -> None:
    """Given wait_ms_max of 10 s, when the customer comes after five minutes, then the call may wait for 10 s."""
    scene = Scene(queue(wait_ms_max=10_000), agent("anna"))
    scene.invite("c1", "anna")
    scene.wait(300_000)
    scene.come("c1")
    scene.wait(9_999)
    assert scene.state("c1") == "waiting"
    scene.wait(1)
    assert scene.only(ev.CallEnded).reason == "waited_too_long"


def test_the_agent_who_invited_leaves_the_plan() -> None:
    """Given an accepted invitation, when a plan removes the agent, then the call waits on, kept for ever, until it ends."""
    scene = invited()
    scene.do(cm.SetActivity("anna", "not_ready"))
    scene.come("c1")
    scene.replan(plan(queue(), agent("ben")))
    assert scene.state("c1") == "waiting"
    scene.hang_up("c1")
    assert scene.state("c1") == "ended"
