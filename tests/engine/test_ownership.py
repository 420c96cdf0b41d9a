"""One owner at every instant: consulted transfer, take over; what changes nothing of it: supervision, hold (ROUTING.md 4)."""

import pytest

from dispatch import commands as cm
from dispatch import events as ev
from dispatch.model import ScriptStep
from dispatch.talking import PARTIES_MAX
from tests.engine.scene import Scene, agent, queue, room_queue

ANNA = "agent:anna"
SUE = "supervisor:sue"
OLGA = "operator:olga"


def talking(*more: str, **fields: object) -> Scene:
    """anna talks with the customer of `c1`; the others named are ready."""
    scene = Scene(queue(**fields), *(agent(one) for one in ("anna", "ben", "cleo")))
    scene.ready("anna", *more)
    scene.request("c1")
    scene.talk("c1")
    return scene


# -- consulted transfer


@pytest.mark.parametrize("principal", [ANNA, SUE, OLGA])
def test_a_party_becomes_the_owner_in_one_event(principal: str) -> None:
    """Given ben consulted, when the transfer is completed, then he owns the call and anna wraps up, in one event."""
    scene = talking("ben")
    scene.join("c1", "ben", "consult")
    assert scene.do(cm.CompleteTransfer("c1", "ben", principal=principal)).is_accepted
    assert [type(event) for event in scene.last] == [ev.OwnershipMoved]
    moved = scene.only(ev.OwnershipMoved)
    assert (moved.from_agent_id, moved.to_agent_id, moved.reason) == ("anna", "ben", "consulted")
    assert (scene.state("c1"), scene.call("c1").parties) == ("connected ben", ())
    assert (scene.agent("anna").engagements, scene.agent("ben").engagements) == ({"c1": "wrap_up"}, {"c1": "in_call"})
    assert scene.agent("ben").answered_count == 1


def test_consulted_transfers_that_are_refused() -> None:
    """Given ben who rings and cleo who is nothing to the call, then neither can own it; nor may a party take it."""
    scene = talking("ben", "cleo")
    for agent_id in ("ben", "cleo", "anna", "nobody"):
        assert scene.do(cm.CompleteTransfer("c1", agent_id, principal=ANNA)).reason == "agent_unavailable"
    scene.do(cm.InviteParty("c1", "consult", "ben", principal=ANNA))
    assert scene.do(cm.CompleteTransfer("c1", "ben", principal=ANNA)).reason == "agent_unavailable"
    scene.accept("c1", "ben")
    for principal in ("agent:ben", "customer:of-c1"):
        assert scene.do(cm.CompleteTransfer("c1", "ben", principal=principal)).reason == "not_yours"
    assert scene.do(cm.CompleteTransfer("c9", "ben")).reason == "unknown_call"


def test_the_new_owner_may_do_what_the_old_one_could_and_the_old_one_no_more() -> None:
    """Given a completed transfer, then ben may hang up and anna not."""
    scene = talking("ben")
    scene.join("c1", "ben")
    scene.do(cm.CompleteTransfer("c1", "ben", principal=ANNA))
    assert scene.do(cm.HangUp("c1", principal=ANNA)).reason == "not_yours"
    assert scene.do(cm.HangUp("c1", principal="agent:ben")).is_accepted
    assert scene.only(ev.CallEnded).agent_id == "ben"


def test_units_go_with_ownership() -> None:
    """Given agents with room for two, when ownership moves twice, then in the end every unit is back (5.30)."""
    scene = Scene(queue(cost_units=50, wrap_up="none"), agent("anna"), agent("ben"))
    scene.ready("anna")
    scene.request("c1")
    scene.talk("c1")
    scene.ready("ben")
    scene.join("c1", "ben")
    scene.do(cm.CompleteTransfer("c1", "ben", principal=ANNA))
    assert (scene.agent("anna").used_units, scene.agent("ben").used_units) == (0, 50)
    scene.do(cm.TakeOver("c1", "anna", principal=SUE))
    assert (scene.agent("anna").used_units, scene.agent("ben").used_units) == (50, 0)
    scene.hang_up("c1")
    assert (scene.agent("anna").used_units, scene.agent("ben").used_units) == (0, 0)


def test_in_our_room_the_new_owner_has_to_be_seen_in_time() -> None:
    """Given a recorded talk in our room, when ownership moves, then the new owner's media must stand, or it is lost."""
    for is_seen in (True, False):
        scene = Scene(room_queue(connecting_timeout_ms=15_000), agent("anna"), agent("ben"))
        scene.ready("anna", "ben")
        scene.request("c1")
        scene.accept("c1")
        scene.do(cm.AssignRoom("c1", 1, "w1", 1))
        scene.do(cm.ReportRoomOpened("c1", 1))
        for party in ("customer", "agent"):
            scene.do(cm.ReportPartyJoined("c1", 1, party))
            scene.do(cm.ReportRecordingStarted("c1", 1, party))
        scene.do(cm.TakeOver("c1", "ben", principal=SUE))
        assert scene.call("c1").media_until_ms == scene.now_ms + 15_000
        scene.wait(14_999)
        if is_seen:
            scene.do(cm.ReportPartyJoined("c1", 1, "agent"))
            scene.do(cm.ReportRecordingStarted("c1", 1, "agent"))
            scene.wait(60_000)
            assert scene.state("c1") == "connected ben"
        else:
            scene.wait(1)
            assert scene.only(ev.CallEnded).reason == "media_lost"


# -- take over


@pytest.mark.parametrize(
    ("principal", "reason"), [(SUE, ""), (OLGA, ""), (ANNA, "not_yours"), ("customer:of-c1", "not_yours")]
)
def test_who_may_take_over(principal: str, reason: str) -> None:
    """Given a talk, then supervisors and operators may put another agent in place of its owner, the owner may not."""
    scene = talking("ben")
    assert scene.do(cm.TakeOver("c1", "ben", principal=principal)).reason == reason
    assert scene.state("c1") == ("connected anna" if reason else "connected ben")
    if not reason:
        assert scene.only(ev.OwnershipMoved).reason == "taken_over"
        assert scene.agent("anna").engagements == {"c1": "wrap_up"}


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("ready", ""),
        ("not_ready", ""),
        ("party", ""),
        ("offline", "agent_unavailable"),
        ("busy", "agent_unavailable"),
        ("rings", "agent_unavailable"),
        ("gone", "agent_unavailable"),
    ],
)
def test_whom_a_supervisor_may_put_in(state: str, reason: str) -> None:
    """Given ben not offline, with the units and not in the call but as a party, then he may own it; else by name."""
    scene = talking()
    scene.connect("agent:ben")
    if state != "offline":
        scene.ready("ben")
    if state == "not_ready":
        scene.do(cm.SetActivity("ben", "not_ready"))
    elif state == "party":
        scene.join("c1", "ben")
    elif state == "rings":
        scene.do(cm.InviteParty("c1", "third", "ben", principal=ANNA))
    elif state == "busy":
        scene.request("c2")
        scene.talk("c2")
    elif state == "gone":
        scene.disconnect("agent:ben")
    assert scene.do(cm.TakeOver("c1", "ben", principal=SUE)).reason == reason
    assert scene.state("c1") == ("connected anna" if reason else "connected ben")


def test_whoever_takes_over_has_room_for_more_and_is_not_in_it_already() -> None:
    """Given agents with room for three, then the owner and who rings are refused all the same; another counts one call."""
    scene = Scene(queue(), *(agent(one, capacity_units=300) for one in ("anna", "ben", "cleo")))
    scene.ready("anna")
    scene.request("c1")
    scene.talk("c1")
    scene.ready("ben", "cleo")
    scene.do(cm.InviteParty("c1", "third", "ben", principal=ANNA))
    for agent_id in ("anna", "ben"):
        assert scene.do(cm.TakeOver("c1", agent_id, principal=SUE)).reason == "agent_unavailable"
    assert scene.do(cm.TakeOver("c1", "cleo", principal=SUE)).is_accepted
    assert (scene.agent("cleo").answered_count, scene.agent("cleo").used_units) == (1, 100)
    assert scene.do(cm.TakeOver("c1", "anna", principal=SUE)).reason == "agent_unavailable", "still in wrap-up with it"


def test_nobody_takes_over_what_is_theirs_or_is_not_there() -> None:
    """Given a talk, then its own owner, an unknown agent and an unknown call are refused by name."""
    scene = talking()
    assert scene.do(cm.TakeOver("c1", "anna", principal=SUE)).reason == "agent_unavailable"
    assert scene.do(cm.TakeOver("c1", "nobody", principal=SUE)).reason == "unknown_agent"
    assert scene.do(cm.TakeOver("c9", "ben", principal=SUE)).reason == "unknown_call"


# -- supervision


def test_supervision_is_switched_live_without_effect_on_anybody() -> None:
    """Given a talk, when sue listens, whispers, barges and leaves, then owner, units and idleness are as they were."""
    scene = talking("ben")
    before = [(one.used_units, one.idle_since_ms, one.engagements) for one in scene.engine.state.agents.values()]
    for mode in ("monitor", "whisper", "barge", "monitor", ""):
        scene.wait(1_000)
        assert scene.do(cm.Supervise("c1", "sue", mode, principal=SUE)).is_accepted
        assert scene.only(ev.SupervisionChanged).mode == mode
        assert (scene.call("c1").supervisors or {}).get("sue", "") == mode
    assert [
        (one.used_units, one.idle_since_ms, one.engagements) for one in scene.engine.state.agents.values()
    ] == before
    assert scene.state("c1") == "connected anna"


def test_the_same_mode_again_is_no_event() -> None:
    """Given sue who listens, when she listens again, or a stranger leaves, then accepted, and nothing happened."""
    scene = talking()
    scene.do(cm.Supervise("c1", "sue", "monitor", principal=SUE))
    for command in (cm.Supervise("c1", "sue", "monitor"), cm.Supervise("c1", "sid", "")):
        assert scene.do(command).is_accepted
        assert scene.last == []


def test_eight_supervisors_and_no_ninth() -> None:
    """Given eight who listen, when a ninth comes, then too_many_parties; one of the eight may still change the mode."""
    scene = talking()
    for number in range(PARTIES_MAX):
        assert scene.do(cm.Supervise("c1", f"s{number}", "monitor")).is_accepted
    assert scene.do(cm.Supervise("c1", "more", "monitor")).reason == "too_many_parties"
    assert scene.do(cm.Supervise("c1", "s0", "barge")).is_accepted
    scene.do(cm.Supervise("c1", "s0", ""))
    assert scene.do(cm.Supervise("c1", "more", "monitor")).is_accepted


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (cm.Supervise("c9", "sue", "monitor"), "unknown_call"),
        (cm.Supervise("c1", "sue", "spy"), "bad_value"),
        (cm.Supervise("c1", "", "monitor"), "bad_value"),
        (cm.Supervise("c1", "sue", "monitor", principal="supervisor:sid"), "not_yours"),
        (cm.Supervise("c1", "sue", "monitor", principal=ANNA), "not_yours"),
        (cm.Supervise("c1", "sue", "monitor", principal="customer:of-c1"), "not_yours"),
        (cm.Supervise("waits", "sue", "monitor"), "wrong_state"),
        (cm.Supervise("c1", "sue", "monitor", principal=OLGA), ""),
    ],
)
def test_who_may_supervise_what(command: cm.Supervise, reason: str) -> None:
    """Given a talk and a waiting call, then supervisors for themselves and operators for all, of a call that has an owner."""
    scene = talking()
    scene.request("waits")
    assert scene.do(command).reason == reason


def test_supervision_of_a_call_that_connects() -> None:
    """Given an accepted call, when sue listens already, then she is in it when it is connected, and out when it ends."""
    scene = Scene(queue(), agent("anna"))
    scene.ready("anna")
    scene.request("c1")
    scene.accept("c1")
    assert scene.do(cm.Supervise("c1", "sue", "monitor", principal=SUE)).is_accepted
    scene.do(cm.ReportConnected("c1"))
    assert scene.call("c1").supervisors == {"sue": "monitor"}
    scene.hang_up("c1")
    assert scene.call("c1").supervisors is None


def test_supervision_goes_on_when_ownership_moves() -> None:
    """Given sue who whispers, when ben takes over, then she whispers on."""
    scene = talking("ben")
    scene.do(cm.Supervise("c1", "sue", "whisper", principal=SUE))
    scene.do(cm.TakeOver("c1", "ben", principal=SUE))
    assert scene.call("c1").supervisors == {"sue": "whisper"}


# -- hold


def test_hold_ends_when_asked() -> None:
    """Given a customer on hold, when the owner takes them back, then the hold is over; asked twice is no event."""
    scene = talking()
    assert scene.do(cm.SetHold("c1", True, principal=ANNA)).is_accepted
    assert scene.do(cm.SetHold("c1", True, principal=ANNA)).is_accepted
    assert scene.last == []
    assert scene.do(cm.SetHold("c1", False, principal=ANNA)).is_accepted
    changed = scene.only(ev.HoldChanged)
    assert (changed.is_held, changed.reason, scene.call("c1").on_hold_until_ms) == (False, "asked", 0)


@pytest.mark.parametrize("hold_ms_max", [1_000, 600_000, 86_400_000])
def test_hold_ends_by_itself(hold_ms_max: int) -> None:
    """Given hold_ms_max, then the customer is on hold until then and not a moment longer."""
    scene = talking(hold_ms_max=hold_ms_max)
    scene.do(cm.SetHold("c1", True, principal=ANNA))
    scene.wait(hold_ms_max - 1)
    assert scene.call("c1").on_hold_until_ms
    scene.wait(1)
    assert scene.only(ev.HoldChanged).reason == "time"
    assert (scene.state("c1"), scene.call("c1").on_hold_until_ms) == ("connected anna", 0)


def test_hold_ends_with_the_owners_change() -> None:
    """Given a customer on hold, when the consulted party becomes the owner, then the hold ends in that step."""
    scene = talking("ben")
    scene.join("c1", "ben", "consult")
    scene.do(cm.SetHold("c1", True, principal=ANNA))
    scene.do(cm.CompleteTransfer("c1", "ben", principal=ANNA))
    assert not scene.only(ev.HoldChanged).is_held
    assert scene.call("c1").on_hold_until_ms == 0
    scene.wait(600_000)
    assert scene.count(ev.HoldChanged) == 0


def test_hold_ends_with_the_call_and_when_it_goes_back() -> None:
    """Given customers on hold, when one call ends and one loses its agent, then neither is on hold any more."""
    scene = talking(hold_ms_max=600_000)
    scene.connect(ANNA)
    scene.do(cm.SetHold("c1", True, principal=ANNA))
    scene.disconnect(ANNA)
    scene.wait(30_000)
    assert (scene.state("c1"), scene.call("c1").on_hold_until_ms) == ("waiting", 0)
    scene.ready("ben")
    scene.talk("c1")
    scene.do(cm.SetHold("c1", True, principal="agent:ben"))
    scene.hang_up("c1")
    assert scene.call("c1").on_hold_until_ms == 0


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (cm.SetHold("c9", True), "unknown_call"),
        (cm.SetHold("waits", True), "wrong_state"),
        (cm.SetHold("c1", True, principal="agent:ben"), "not_yours"),
        (cm.SetHold("c1", True, principal="customer:of-c1"), "not_yours"),
    ],
)
def test_holds_that_are_refused(command: cm.SetHold, reason: str) -> None:
    """Given a talk and a waiting call, then hold is for the owner of a talk, and refused by name otherwise."""
    scene = talking()
    scene.request("waits")
    assert scene.do(command).reason == reason
    assert scene.last == []


@pytest.mark.parametrize("with_snapshot", [False, True])
def test_all_of_it_survives_a_crash(with_snapshot: bool) -> None:
    """Given a party, one who rings, a supervisor and a hold, when the shard comes back, then all is there and goes on."""
    scene = talking("ben", "cleo")
    scene.join("c1", "ben")
    scene.do(cm.InviteParty("c1", "expert", "cleo", principal=ANNA))
    scene.do(cm.Supervise("c1", "sue", "monitor", principal=SUE))
    scene.do(cm.SetHold("c1", True, principal=ANNA))
    scene.crash(with_snapshot=with_snapshot)
    assert scene.accept("c1", "cleo").is_accepted
    assert [one.agent_id for one in scene.call("c1").parties] == ["ben", "cleo"]
    scene.wait(600_000)
    assert scene.only(ev.HoldChanged).reason == "time"
    assert scene.call("c1").supervisors == {"sue": "monitor"}


def test_words_of_a_script_are_in_no_log() -> None:
    """SAFETY.md 7, GATEWAY.md: given a step and its answer; then what would be logged of them has numbers alone."""
    shown = ev.ScriptStepShown(1, "c1", "anna", 1, "risk", "Mr Wang may lose money", ("Wang agrees", "no"))
    answered = ev.ScriptStepAnswered(1, "c1", 1, "risk", "Wang agrees")
    step = ScriptStep(1, "risk", "Mr Wang may lose money", ("Wang agrees",), "Wang agrees")
    assert "Wang" not in f"{shown} {shown!r} {answered!r} {step!r}"
    assert all("number=1" in repr(one) for one in (shown, answered, step))
