"""Reservations: accept, decline, expire, rescind, once and in one order (ROUTING.md 1)."""

import pytest

from dispatch import commands as cm
from dispatch import events as ev
from dispatch.plan import Plan
from tests.engine.scene import Scene, agent, plan, queue


def ringing(*more: str, **fields: object) -> Scene:
    """`c1` rings at anna, who was ready first."""
    scene = Scene(queue("loans", **fields), *(agent(one) for one in ("anna", *more)))
    scene.ready("anna", *more)
    scene.request("c1")
    assert scene.state("c1") == "reserved anna"
    return scene


def test_accepted_and_connected() -> None:
    """Given a ringing call, when accepted and reported connected, then the two talk."""
    scene = ringing()
    scene.talk("c1")
    assert scene.state("c1") == "connected anna"


def test_a_declined_call_goes_to_the_others_first() -> None:
    """Given two agents, when the first declines, then the second is asked and the first is free for other calls."""
    scene = ringing("ben")
    scene.decline("c1")
    assert scene.state("c1") == "reserved ben"
    scene.request("c2")
    assert scene.state("c2") == "reserved anna"


def test_the_only_agent_is_asked_again_after_the_decline_delay() -> None:
    """Given one agent who declined, when the delay ends, then the call rings there again, and not a moment before."""
    scene = ringing(decline_delay_ms=30_000)
    scene.decline("c1")
    scene.wait(29_999)
    assert scene.state("c1") == "waiting"
    scene.wait(1)
    assert scene.state("c1") == "reserved anna"
    assert scene.call("c1").attempt == 2


def test_the_place_survives_a_decline() -> None:
    """Given a declined call and a later one, when an agent comes, then the earlier call is first (5.14)."""
    scene = ringing()
    due_at_ms = scene.call("c1").due_at_ms
    scene.decline("c1")
    scene.now_ms += 5_000
    scene.replan(_with_ben(scene))
    scene.request("c2", customer_id="zoe")
    assert scene.call("c1").due_at_ms == due_at_ms
    assert scene.state("c2") == "reserved anna"
    scene.ready("ben")
    assert scene.state("c1") == "reserved ben"


def _with_ben(scene: Scene) -> Plan:
    return plan(scene.engine.state.plan.queues[0], agent("anna"), agent("ben"))


def test_a_miss_delays_the_agent_and_the_second_one_sets_not_ready() -> None:
    """Given misses_max 2, when two reservations in a row expire, then the agent becomes not_ready(no_answer)."""
    scene = ringing(reservation_timeout_ms=20_000, no_answer_delay_ms=5_000, misses_max=2)
    scene.wait(20_000)
    assert scene.only(ev.ReservationClosed).outcome == "expired"
    assert (scene.state("c1"), scene.agent("anna").misses) == ("waiting", 1)
    scene.wait(4_999)
    assert scene.state("c1") == "waiting"
    scene.wait(1)
    assert scene.state("c1") == "reserved anna"
    scene.wait(20_000)
    assert scene.only(ev.AgentActivityChanged).reason == "no_answer"
    assert scene.agent("anna").activity == "not_ready"
    scene.ready("anna")
    assert (scene.state("c1"), scene.agent("anna").misses) == ("reserved anna", 0)


def test_an_answer_resets_the_misses() -> None:
    """Given one miss, when the next reservation is accepted, then the count starts anew (5.23)."""
    scene = ringing(no_answer_delay_ms=0)
    scene.wait(20_000)
    assert scene.agent("anna").misses == 1
    scene.accept("c1")
    assert scene.agent("anna").misses == 0


def test_one_silent_agent_costs_a_call_one_timeout() -> None:
    """Given a second idle agent, when the first lets it expire, then the second is asked in the same step."""
    scene = ringing("ben")
    scene.wait(20_000)
    assert scene.state("c1") == "reserved ben"


def test_who_becomes_not_ready_for_no_answer_gives_back_what_rings() -> None:
    """Given two calls that ring at one agent, when the first miss is one too many, then neither is left with the agent."""
    scene = Scene(queue(cost_units=50, misses_max=1), agent("anna"))
    scene.ready("anna")
    scene.request("c1")
    scene.wait(10_000)
    scene.request("c2")
    scene.wait(10_000)
    assert scene.agent("anna").activity == "not_ready"
    assert (scene.state("c1"), scene.state("c2")) == ("waiting", "waiting")


def test_late_accept_after_each_way_out() -> None:
    """Given a reservation that ended, when it is accepted late, then it is refused and nothing is bridged (5.4)."""
    scene = ringing("ben")
    late = cm.AcceptReservation(scene.ring("c1").id, "anna")
    scene.decline("c1")
    assert scene.do(late).reason == "not_pending"
    scene.wait(20_000)
    assert scene.do(late).reason == "not_pending"
    scene.hang_up("c1")
    assert scene.do(late).reason == "not_pending"
    scene.wait(200_000)
    assert scene.do(late).reason == "unknown_reservation"
    assert scene.last == []


def test_a_second_accept_changes_nothing() -> None:
    """Given an accepted reservation, when accepted again, then it is refused by name (5.2)."""
    scene = ringing()
    accept = cm.AcceptReservation(scene.ring("c1").id, "anna")
    assert scene.do(accept).is_accepted
    assert scene.do(accept).reason == "not_pending"


@pytest.mark.parametrize("kind", [cm.AcceptReservation, cm.DeclineReservation])
def test_another_agents_reservation(kind: type[cm.AcceptReservation] | type[cm.DeclineReservation]) -> None:
    """Given a call that rings at anna, when others answer for it, then they are refused."""
    scene = ringing("ben")
    reservation_id = scene.ring("c1").id
    assert scene.do(kind(reservation_id, "ben", principal="agent:ben")).reason == "not_yours"
    assert scene.do(kind(reservation_id, "anna", principal="agent:ben")).reason == "not_yours"
    assert scene.do(kind(reservation_id, "anna", principal="customer:of-c1")).reason == "not_yours"
    assert scene.do(kind("c9.1", "ben", principal="agent:ben")).reason == "unknown_reservation"
    assert scene.do(kind("", "ben", principal="agent:ben")).reason == "unknown_reservation"
    assert scene.state("c1") == "reserved anna"


def test_a_decline_with_too_long_a_reason() -> None:
    """Given a ringing call, when the reason is one character too long, then the decline is refused."""
    scene = ringing()
    reservation_id = scene.ring("c1").id
    assert scene.do(cm.DeclineReservation(reservation_id, "anna", "r" * (cm.MAX_TEXT + 1))).reason == "bad_value"
    assert scene.do(cm.DeclineReservation(reservation_id, "anna", "r" * cm.MAX_TEXT)).is_accepted


@pytest.mark.parametrize("activity", ["not_ready", "offline"])
def test_leaving_gives_back_what_rings(activity: str) -> None:
    """Given a ringing call, when its agent stops being ready, then it rings at the next one in the same step."""
    scene = ringing("ben")
    scene.do(cm.SetActivity("anna", activity))
    assert scene.state("c1") == "reserved ben"


# -- hang-up in every state


def test_hang_up_while_waiting() -> None:
    """Given a waiting call, when its customer hangs up, then it ends and its agent is none."""
    scene = Scene(queue())
    scene.request("c1")
    scene.wait(3_000)
    scene.hang_up("c1")
    ended = scene.only(ev.CallEnded)
    assert (ended.reason, ended.agent_id, ended.waited_ms, ended.talked_ms) == ("customer_hung_up", "", 3_000, 0)


def test_hang_up_while_ringing_rescinds_in_the_same_step() -> None:
    """Given a ringing call and one more waiting, when the customer hangs up, then the agent gets the other (5.24)."""
    scene = ringing()
    scene.request("c2")
    scene.hang_up("c1")
    assert scene.only(ev.ReservationClosed).outcome == "rescinded"
    assert (scene.state("c1"), scene.state("c2")) == ("ended", "reserved anna")


def test_hang_up_while_connecting_needs_no_wrap_up() -> None:
    """Given an accepted call that does not stand yet, when it ends, then its agent is free at once."""
    scene = ringing()
    scene.accept("c1")
    scene.hang_up("c1")
    assert scene.only(ev.CallEnded).wrap_up == "none"
    assert scene.agent("anna").engagements == {}


def test_hang_up_while_connected_starts_the_wrap_up() -> None:
    """Given a talk of 60 s, when the agent hangs up, then the event tells waiting, talking and wrap-up."""
    scene = ringing(wrap_up="timed", wrap_up_ms=30_000)
    scene.wait(2_000)
    scene.talk("c1")
    scene.wait(60_000)
    scene.do(cm.HangUp("c1", principal="agent:anna"))
    ended = scene.only(ev.CallEnded)
    assert (ended.reason, ended.agent_id) == ("agent_hung_up", "anna")
    assert (ended.waited_ms, ended.talked_ms) == (2_000, 60_000)
    assert ended.wrap_up_until_ms == scene.now_ms + 30_000


def test_hang_up_when_it_has_ended() -> None:
    """Given an ended call, when hung up again, then the refusal tells how it ended."""
    scene = ringing()
    scene.hang_up("c1")
    reply = scene.hang_up("c1")
    assert (reply.reason, reply.value) == ("wrong_state", {"state": "ended", "reason": "customer_hung_up"})


def test_who_may_not_hang_up() -> None:
    """Given a ringing call, when a stranger, another agent or the agent who is only asked ends it, then: not theirs."""
    scene = ringing("ben")
    for principal in ("customer:zoe", "agent:ben", "agent:anna", "agent:", "customer:"):
        assert scene.do(cm.HangUp("c1", principal=principal)).reason == "not_yours"
    assert scene.do(cm.HangUp("c9")).reason == "unknown_call"
    assert scene.do(cm.HangUp("c1", "r" * (cm.MAX_TEXT + 1))).reason == "bad_value"
    scene.decline("c1")
    scene.decline("c1")
    assert scene.do(cm.HangUp("c1", principal="agent:")).reason == "not_yours"
    assert scene.do(cm.HangUp("c1", principal="supervisor:sam")).is_accepted


# -- media that another system carries


def test_connecting_that_never_stands_requeues_once_then_ends() -> None:
    """Given nobody reports connected, when the time is up twice, then old place once, then ended by name."""
    scene = ringing("ben", connecting_timeout_ms=15_000)
    key = scene.call("c1").key
    scene.accept("c1")
    scene.wait(15_000)
    assert scene.only(ev.CallRequeued).reason == "media_failed"
    assert (scene.state("c1"), scene.call("c1").key) == ("reserved ben", key)
    scene.accept("c1")
    scene.wait(15_000)
    assert scene.only(ev.CallEnded).reason == "media_failed"
    assert scene.agent("ben").engagements == {}


def test_report_connected_is_refused_by_name() -> None:
    """Given each wrong moment and person, when connected is reported, then the refusal says which."""
    scene = Scene(queue(), queue("ours", media="room"), agent("anna"))
    assert scene.do(cm.ReportConnected("c1")).reason == "unknown_call"
    scene.request("c1")
    assert scene.do(cm.ReportConnected("c1")).reason == "wrong_state"
    scene.ready("anna")
    scene.accept("c1")
    assert scene.do(cm.ReportConnected("c1", principal="agent:ben")).reason == "not_yours"
    assert scene.do(cm.ReportConnected("c1", principal="customer:of-c1")).reason == "not_yours"
    assert scene.do(cm.ReportConnected("c1", principal="agent:anna")).is_accepted
    assert scene.do(cm.ReportConnected("c1", principal="agent:anna")).is_accepted
    assert scene.last == []
    scene.request("c2", "ours")
    assert scene.do(cm.ReportConnected("c2")).reason == "not_external"
