"""Presence: connections and their grace in every state of a call, lost gateways, outages (ROUTING.md 1, SAFETY.md 8 and 11)."""

import pytest

from dispatch import commands as cm
from dispatch import events as ev
from dispatch.plan import Relaxation
from tests.engine.scene import Scene, agent, plan, queue

STATES = ("waiting", "reserved", "connecting", "connected")


def in_state(state: str, **fields: object) -> Scene:
    """`c1` of customer zoe in `state`, both sides connected."""
    scene = Scene(queue(), agent("anna"), **fields)
    scene.connect("customer:zoe")
    scene.connect("agent:anna")
    if state != "waiting":
        scene.ready("anna")
    scene.request("c1", customer_id="zoe")
    if state == "connecting":
        scene.accept("c1")
    elif state == "connected":
        scene.talk("c1")
    assert scene.call("c1").state == state
    return scene


# -- the customer's connection


@pytest.mark.parametrize("state", STATES)
def test_a_customer_who_comes_back_in_time_keeps_the_call(state: str) -> None:
    """Given a call in each state, when its customer is gone for less than the grace, then the call goes on."""
    scene = in_state(state, reconnect_grace_ms=10_000)
    scene.disconnect("customer:zoe")
    scene.wait(9_999)
    scene.connect("customer:zoe", "k2")
    scene.wait(2)
    assert scene.call("c1").state == state


@pytest.mark.parametrize("state", STATES)
def test_a_customer_who_stays_away_ends_the_call(state: str) -> None:
    """Given a call in each state, when the grace is over, then it ends as customer_lost and its agent is released."""
    scene = in_state(state, reconnect_grace_ms=10_000)
    scene.disconnect("customer:zoe")
    scene.wait(10_000)
    assert scene.only(ev.CallEnded).reason == "customer_lost"
    assert set(scene.agent("anna").engagements.values()) <= {"wrap_up"}


def test_a_customer_who_is_away_is_not_rung_for_and_keeps_the_place() -> None:
    """Given two waiting calls, when the first's customer drops, the second is served; back in time, the first is next."""
    scene = Scene(queue(), agent("anna"), agent("ben"))
    scene.connect("customer:zoe")
    scene.request("c1", customer_id="zoe")
    scene.request("c2")
    scene.request("c3")
    scene.disconnect("customer:zoe")
    scene.ready("anna")
    assert (scene.state("c1"), scene.state("c2")) == ("waiting", "reserved anna")
    scene.connect("customer:zoe", "k2")
    scene.ready("ben")
    assert (scene.state("c1"), scene.state("c3")) == ("reserved ben", "waiting")


def test_a_late_disconnect_of_a_replaced_connection_changes_nothing() -> None:
    """Given a reload (a new connection first, then the old one's end), then no grace starts."""
    scene = in_state("waiting")
    scene.connect("customer:zoe", "k2")
    assert scene.disconnect("customer:zoe", "k1").is_accepted
    assert scene.last == []
    assert scene.disconnect("customer:nobody").is_accepted


def test_a_call_asked_for_over_the_api_outlives_an_older_grace() -> None:
    """Given a customer who dropped and whose call was ended, when a new call is asked for, the old grace ends nothing."""
    scene = in_state("waiting", reconnect_grace_ms=10_000)
    scene.disconnect("customer:zoe")
    scene.do(cm.HangUp("c1", principal="operator:olga"))
    scene.request("c2", customer_id="zoe")
    scene.wait(10_000)
    assert scene.state("c2") == "waiting"


def test_an_agent_who_finishes_does_not_keep_a_lost_customer() -> None:
    """Given a call given back while its customer is away, when the agent is lost, then nobody rings for an empty seat."""
    scene = in_state("connected", reconnect_grace_ms=10_000)
    scene.disconnect("agent:anna")
    scene.wait(1_000)
    scene.disconnect("customer:zoe")
    scene.wait(9_000)
    assert scene.only(ev.CallEnded).reason == "agent_lost"
    assert scene.agent("anna").engagements == {}


# -- the agent's connection


def test_a_disconnected_agent_keeps_a_reservation_for_its_grace_only() -> None:
    """Given a ringing call, when the agent drops, then the call is given back after reservation_grace_ms, without a miss."""
    scene = in_state("reserved", reservation_grace_ms=5_000)
    scene.disconnect("agent:anna")
    scene.wait(4_999)
    assert scene.state("c1") == "reserved anna"
    scene.wait(1)
    assert scene.only(ev.ReservationClosed).outcome == "agent_lost"
    assert (scene.state("c1"), scene.agent("anna").misses) == ("waiting", 0)


def test_an_agent_who_comes_back_in_time_keeps_the_reservation() -> None:
    """Given a ringing call, when the agent is back within the grace, then it rings on until its own timeout."""
    scene = in_state("reserved", reservation_grace_ms=5_000)
    scene.disconnect("agent:anna")
    scene.wait(4_999)
    scene.connect("agent:anna", "k2")
    scene.wait(1)
    assert scene.state("c1") == "reserved anna"


def test_an_agent_who_is_away_is_not_asked_and_asked_at_once_when_back() -> None:
    """Given a ready agent whose connection dropped, when a call comes, then it waits, and rings on reconnect (5.18)."""
    scene = Scene(queue(), agent("anna"))
    scene.connect("agent:anna")
    scene.ready("anna")
    scene.disconnect("agent:anna")
    scene.request("c1")
    assert scene.state("c1") == "waiting"
    scene.connect("agent:anna", "k2")
    assert scene.state("c1") == "reserved anna"


def test_a_lost_agent_is_signed_out() -> None:
    """Given a ready agent, when the grace is over, then it is offline(connection_lost), and may sign in over the API."""
    scene = Scene(queue(), agent("anna"), reconnect_grace_ms=10_000)
    scene.connect("agent:anna")
    scene.ready("anna")
    scene.disconnect("agent:anna")
    scene.wait(10_000)
    assert scene.only(ev.AgentActivityChanged).reason == "connection_lost"
    scene.request("c1")
    scene.ready("anna")
    assert scene.state("c1") == "reserved anna"


def test_an_agent_who_signed_out_before_leaving_has_no_grace() -> None:
    """Given an offline agent, when it disconnects, nothing waits; signing in over the API makes it askable again."""
    scene = Scene(queue(), agent("anna"))
    scene.connect("agent:anna")
    scene.disconnect("agent:anna")
    assert scene.only(ev.Disconnected).grace_until_ms == 0
    scene.request("c1")
    scene.ready("anna")
    assert scene.state("c1") == "reserved anna"


@pytest.mark.parametrize("state", ["connecting", "connected"])
def test_an_agent_lost_in_a_call_gives_it_back_to_its_place(state: str) -> None:
    """Given a call that has an agent, when that agent is lost, then the call returns to its old place (5.14)."""
    scene = in_state(state, reconnect_grace_ms=10_000)
    key = scene.call("c1").key
    scene.disconnect("agent:anna")
    scene.wait(10_000)
    assert scene.only(ev.CallRequeued).reason == "agent_lost"
    assert (scene.state("c1"), scene.call("c1").key) == ("waiting", key)
    assert (scene.agent("anna").activity, scene.agent("anna").used_units) == ("offline", 0)


def test_an_agent_lost_in_wrap_up() -> None:
    """Given a wrap-up, when the agent is lost, then it ends as signed_out."""
    scene = in_state("connected", reconnect_grace_ms=10_000)
    scene.hang_up("c1")
    scene.disconnect("agent:anna")
    scene.wait(10_000)
    assert scene.only(ev.WrapUpEnded).how == "signed_out"


def test_an_agent_lost_in_a_call_that_was_given_back_before() -> None:
    """Given a call requeued once, when its second agent is lost in the talk, then it ends and no work is left behind."""
    scene = Scene(queue(decline_delay_ms=0), agent("anna"), reconnect_grace_ms=10_000)
    scene.ready("anna")
    scene.request("c1")
    scene.accept("c1")
    scene.wait(15_000)
    assert scene.state("c1") == "reserved anna"
    scene.talk("c1")
    scene.connect("agent:anna")
    scene.disconnect("agent:anna")
    scene.wait(10_000)
    assert scene.only(ev.CallEnded).reason == "agent_lost"
    assert (scene.agent("anna").engagements, scene.agent("anna").used_units) == ({}, 0)


def test_an_agent_removed_by_a_reload_while_its_grace_runs() -> None:
    """Given an agent who is away, when a plan removes it and the grace ends, then nothing breaks."""
    scene = Scene(queue(), agent("anna"), reconnect_grace_ms=10_000)
    scene.connect("agent:anna")
    scene.ready("anna")
    scene.disconnect("agent:anna")
    scene.replan(plan(queue(), reconnect_grace_ms=10_000))
    scene.wait(10_000)
    assert scene.count(ev.Disconnected) == 1


# -- all at once


def test_a_lost_gateway_starts_the_grace_of_its_clients_alone() -> None:
    """Given clients on two gateways, when one is lost, then only its clients must come back."""
    scene = Scene(queue(), reconnect_grace_ms=10_000)
    for customer_id, gateway_id in (("zoe", "g1"), ("yan", "g2"), ("xia", "g1")):
        scene.connect("customer:" + customer_id, gateway_id=gateway_id)
        scene.request("of-" + customer_id, customer_id=customer_id)
    scene.do(cm.LoseGateway("g1"))
    assert scene.count(ev.Disconnected) == 2
    scene.connect("customer:xia", "k2", "g2")
    scene.wait(10_000)
    assert [scene.state("of-" + one) for one in ("zoe", "yan", "xia")] == ["ended", "waiting", "waiting"]
    scene.do(cm.LoseGateway("g9"))
    assert scene.last == []


def test_an_outage_moves_what_waits_for_others_and_nothing_else() -> None:
    """Given each kind of deadline, when the shell was away, then graces, reservations and media move, places do not."""
    scene = Scene(queue(), *(agent(one) for one in ("anna", "ben", "cleo")))
    scene.ready("anna", "ben", "cleo")
    scene.connect("customer:zoe")
    for call_id in ("rings", "connects", "works"):
        scene.request(call_id)
    scene.request("waits", customer_id="zoe")
    scene.accept("connects")
    scene.talk("works")
    scene.hang_up("works")
    scene.disconnect("customer:zoe")
    key = scene.call("waits").key
    rings, connects = scene.ring("rings").expires_at_ms, scene.call("connects").media_until_ms
    work = scene.agent("cleo").wrap_ups["works"].until_ms
    grace = scene.engine.state.recipients["customer:zoe"].grace_until_ms
    forget = scene.call("works").forget_at_ms
    assert scene.do(cm.Resume(60_000)).is_accepted
    assert scene.ring("rings").expires_at_ms == rings + 60_000
    assert scene.call("connects").media_until_ms == connects + 60_000
    assert scene.agent("cleo").wrap_ups["works"].until_ms == work + 60_000
    assert scene.engine.state.recipients["customer:zoe"].grace_until_ms == grace + 60_000
    assert (scene.call("waits").key, scene.call("works").forget_at_ms) == (key, forget)
    assert scene.do(cm.Resume(0)).is_accepted
    assert scene.last == []
    assert scene.do(cm.Resume(-1)).reason == "bad_value"


def test_an_outage_moves_what_talks_and_what_is_held_and_invited() -> None:
    """Given a hold, a person held for a joint call, an invitation and a step ahead, then all but the step move."""
    steps = [Relaxation(90_000, {})]
    scene = Scene(
        queue(hold_ms_max=600_000), queue("pairs", joint_need={"none": 1}, need={"pair": 1}, relaxation=steps),
        agent("anna"), agent("pat", skills={"pair": 1}), invitation_ms=600_000,
    )  # fmt: skip
    scene.ready("anna")
    scene.request("talks")
    scene.talk("talks")
    scene.do(cm.SetHold("talks", True))
    scene.ready("pat")
    scene.request("held", "pairs")
    scene.invite("invited", "anna")
    until_ms = [
        scene.call("talks").on_hold_until_ms,
        scene.call("held").held_until_ms,
        scene.call("invited").invited_until_ms,
    ]
    scene.do(cm.Resume(60_000))
    assert [
        scene.call("talks").on_hold_until_ms,
        scene.call("held").held_until_ms,
        scene.call("invited").invited_until_ms,
    ] == [one + 60_000 for one in until_ms]
    scene.wait(90_000)
    assert scene.call("held").step == 1


def test_a_command_that_waited_is_stepped_before_what_came_due() -> None:
    """Given an outage longer than a reservation, when the accept was waiting, then after Resume it still counts (8)."""
    scene = in_state("reserved")
    scene.now_ms += 25_000
    scene.do(cm.Resume(25_000))
    assert scene.accept("c1").is_accepted
    scene.wait(0)
    assert scene.state("c1") == "connecting anna"


# -- refusals


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (cm.Connect("customer:", "g1", "k1"), "unknown_recipient"),
        (cm.Connect("robot:r1", "g1", "k1"), "unknown_recipient"),
        (cm.Connect("agent:nobody", "g1", "k1"), "unknown_agent"),
        (cm.Connect("customer:zoe", "g1", ""), "bad_value"),
        (cm.SetActivity("nobody", "ready"), "unknown_agent"),
        (cm.SetActivity("anna", "sleeping"), "bad_value"),
        (cm.SetActivity("anna", "not_ready", "r" * (cm.MAX_TEXT + 1)), "bad_value"),
        (cm.SetActivity("anna", "ready", principal="agent:ben"), "not_yours"),
        (cm.SetActivity("anna", "ready", principal="customer:zoe"), "not_yours"),
    ],
)
def test_refusals(command: cm.Command, reason: str) -> None:
    """Given a hall with anna, when a wish makes no sense, then it is refused by name and nothing happened."""
    scene = Scene(queue(), agent("anna"))
    assert scene.do(command).reason == reason
    assert scene.last == []


def test_the_same_activity_again_is_no_event() -> None:
    """Given a ready agent, when it says ready again, then nothing happens and its idleness goes on."""
    scene = Scene(queue(), agent("anna"))
    scene.ready("anna")
    scene.ready("anna")
    assert scene.last == []


def test_customers_leave_memory_when_gone_and_without_a_call() -> None:
    """Given customers who connect, look and leave, then nothing of them is kept."""
    scene = Scene(queue())
    for number in range(5):
        scene.connect(f"customer:z{number}")
        scene.do(cm.HangUp("c9", principal=f"customer:z{number}", id="h"))
        scene.disconnect(f"customer:z{number}")
    assert not scene.engine.state.recipients
    assert not scene.engine.state.answers
