"""Hand-over between divisions, rule by rule: bounds, numbers of events, agents' ids, chains (SAFETY.md 10, 14)."""

from typing import Any

import msgspec
import msgspec.inspect
import pytest

from dispatch import commands as cm
from dispatch import events as ev
from dispatch import handing_in
from dispatch.effects import HandOver
from dispatch.explain import explain
from dispatch.explanations import NextChange
from dispatch.handing_facts import FORWARDING_MS, HANDED_IN_MAX, HOPS_MAX, UNTOLD_MS, VALID_MS_MAX, HandedCall, HandedIn
from dispatch.model import KEPT_EVENTS_MAX
from dispatch.plan import Plan, Relaxation, Way
from dispatch.viewing import call_view
from dispatch.wishes import Wishes
from tests.engine.divisions import Divisions
from tests.engine.scene import agent, queue, room_queue


def plan(division: str, *parts: Any, **fields: Any) -> Plan:
    """A division whose only queue `loans` hands every call over to the next one in a to b to c to a."""
    after = {"a": "b", "b": "c", "c": "a"}[division]
    queues = [part for part in parts if not hasattr(part, "skills")] or [
        queue("loans", waiting_max=0, on_full=[Way("overflow", [f"{after}/loans"])])
    ]
    agents = [part for part in parts if hasattr(part, "skills")]
    return Plan(division_id=division, queues=queues, agents=agents, **fields)


OPEN = queue("loans", target_ms=30_000, priority_credit_ms_max=10_000)


def request(world: Divisions, call_id: str = "c1", division: str = "a", **fields: Any) -> None:
    fields.setdefault("is_consented", True)
    assert world.do(division, cm.RequestCall(call_id, "of-" + call_id, "loans", **fields)).is_accepted


def test_a_call_keeps_its_place_and_what_it_asks_for() -> None:
    """Given an overflow with wishes, when admitted, then id, queued-at and skills are as before; agents' ids are not (14)."""
    world = Divisions(plan("a"), plan("b", OPEN))
    wishes = Wishes(
        need={"law": 2}, credit_ms=60_000, preferred_agent_id="anna", excluded_agent_ids=["ben"], region="sh"
    )
    request(world, wishes=wishes, business_reference="ref")
    world.now_ms += 700
    world.deliver_all()
    call = world.engines["b"].state.calls["c1"]
    assert (call.queued_at_ms, call.due_at_ms) == (world.now_ms - 700, world.now_ms - 700 + 30_000 - 10_000)
    assert call.wishes == Wishes(need={"law": 2}, credit_ms=60_000, region="sh")
    assert (call.business_reference, call.is_consented, call.visited) == ("ref", True, ("a/loans",))
    assert (world.state("a", "c1"), world.state("b", "c1")) == ("handed_over", "waiting")
    view = call_view(world.engines["a"].state, "c1")
    assert view is not None
    assert view.division_id == "b"
    world.check_all()


@pytest.mark.parametrize("favourite", [{"required_agent_id": "anna"}, {"is_callback": True}])
def test_who_waits_for_one_person_or_for_a_callback_stays(favourite: dict[str, Any]) -> None:
    """Given a call that only one agent may have, or a callback, then no limit hands it over."""
    full = queue("loans", waiting_max=0, wait_ms_max=1_000, on_full=[Way("overflow", ["b/loans"])],
                 on_wait=[Way("overflow", ["b/loans"])])  # fmt: skip
    world = Divisions(plan("a", full, agent("anna")), plan("b", OPEN))
    world.do("a", cm.RequestCall("c1", "zoe", "loans", is_consented=True, wishes=Wishes(**favourite)))
    world.wait(2_000)
    assert not world.messages


def test_four_hand_overs_and_no_fifth() -> None:
    """Given a ring of divisions, when a call is transferred on and on, then four times; the fifth is `too_many_hops`."""
    talk = queue("loans", wrap_up="none")
    world = Divisions(*(plan(one, talk, agent("anna")) for one in "abc"))
    for one in "abc":
        world.do(one, cm.SetActivity("anna", "ready"))
    request(world)
    for hop, (here, there) in enumerate([("a", "b"), ("b", "c"), ("c", "a"), ("a", "b"), ("b", "c")], 1):
        world.do(here, cm.AcceptReservation(f"c1.{hop}", "anna"))
        assert world.do(here, cm.ReportConnected("c1")).is_accepted
        reply = world.do(here, cm.TransferCall("c1", f"{there}/loans", principal="agent:anna"))
        if hop <= HOPS_MAX:
            assert reply.is_accepted
            world.deliver_all()
            assert world.state(there, "c1") == "reserved"
        else:
            assert (reply.reason, reply.value) == ("too_many_hops", {"hops_max": HOPS_MAX})
        world.check_all()
    world.do("b", cm.HangUp("c1"))
    world.deliver_all()
    assert {one: world.state(one, "c1") for one in "abc"} == dict.fromkeys("abc", "ended")
    assert not any(engine.state.calls["c1"].origins for engine in world.engines.values())


def test_an_overflow_does_not_go_round() -> None:
    """Given three full divisions in a ring, when a call overflows, then it comes back refused and ends by the limit's name."""
    world = Divisions(plan("a"), plan("b"), plan("c"))
    request(world)
    world.deliver_all()
    assert [book.ended for book in world.books.values()] == [["queue_full"]]
    assert not world.messages
    world.check_all()


def test_a_repeat_after_the_end_is_answered_as_before() -> None:
    """Given a call that was admitted, ended and forgotten, when its hand-over comes again, then the first answer, no call."""
    world = Divisions(plan("a", ended_retention_ms=0), plan("b", OPEN, ended_retention_ms=0))
    request(world)
    late = world.messages[0]
    world.deliver_all()
    world.do("b", cm.HangUp("c1"))
    world.deliver_all()
    world.wait(1)
    assert not world.engines["b"].state.calls
    assert world.do("b", late.command).is_accepted
    assert not world.engines["b"].state.calls
    world.wait(10_001)
    expired = world.do("b", late.command)
    assert (expired.reason, expired.value) in (("", {"seq": 0}), ("hand_over_expired", {"is_final": True}))
    assert not world.engines["b"].state.calls


@pytest.mark.parametrize("outage_ms", [60_000, UNTOLD_MS - 20_000, UNTOLD_MS + 20_000, 4 * UNTOLD_MS])
def test_what_ended_there_does_not_wait_here_again(outage_ms: int) -> None:
    """Given a call that was admitted and ended while the origin was away, however long, then it is over here too, once."""
    short = {"ended_retention_ms": 0, "recording_timeout_ms": 0}
    world = Divisions(plan("a"), plan("b", OPEN, **short))
    request(world)
    world.deliver(is_answer_lost=True)
    world.do("b", cm.HangUp("c1"))
    for _ in range(8):
        world.now_ms += outage_ms // 8
        world.expire("b")
    world.do("b", cm.AdmitHandOver(handed(world, "c2")))
    world.do("a", cm.Resume(outage_ms))
    for _ in range(20):
        world.heal()
        world.wait(10_000)
        world.check_all()
    assert world.state("a", "c1") in ("ended", "")
    assert world.books["c1"].ended[0] == "system_hung_up"
    assert set(world.books["c1"].ended[1:]) <= {"hand_over_unanswered"}


def test_nobody_waits_for_longer_than_anybody_asks() -> None:
    """Given the longest deadlines that a plan may have, then a target still remembers, and is still asked, when they pass."""
    longest_ms = 0
    for name in ("hand_over_timeout_ms", "hand_over_give_up_ms"):
        allowed = msgspec.inspect.type_info(Plan)
        assert isinstance(allowed, msgspec.inspect.StructType)
        (field,) = [one for one in allowed.fields if one.name == name]
        assert isinstance(field.type, msgspec.inspect.IntType)
        assert field.type.le is not None
        longest_ms += field.type.le
    assert longest_ms < UNTOLD_MS


def handed(world: Divisions, call_id: str, **fields: Any) -> HandedCall:
    given: dict[str, Any] = {"version": 4, "hops": 1, "valid_until_ms": world.now_ms + 1_000, "is_consented": True}
    given |= {"queue_id": "loans", "queued_at_ms": world.now_ms, **fields}
    return HandedCall(call_id=call_id, customer_id="of-" + call_id, from_division="a", **given)


def test_what_is_remembered_is_bounded() -> None:
    """Given 100,000 answers that stand, then one more is `hand_overs_full`; once the oldest is over it is taken."""
    world = Divisions(plan("b", OPEN))
    known = world.engines["b"].state.handed_in
    lasting = handed(world, "c1", valid_until_ms=world.now_ms + 600_000)
    for number in range(HANDED_IN_MAX - 1):
        known[f"x{number}"] = HandedIn(4, "queue_full", world.now_ms + 5_000)
    assert world.engines["b"].step(cm.AdmitHandOver(lasting), world.now_ms)[1][-1].reason == ""  # type: ignore[union-attr]
    assert len(known) == HANDED_IN_MAX
    events, effects = world.engines["b"].step(cm.AdmitHandOver(handed(world, "c2")), world.now_ms)
    assert (events, effects[-1].reason, effects[-1].value) == ([], "hand_overs_full", None)  # type: ignore[union-attr]
    revoked = cm.RevokeHandOver("c2", 5, "a", world.now_ms + 1_000)
    assert world.engines["b"].step(revoked, world.now_ms)[1][-1].reason == "hand_overs_full"  # type: ignore[union-attr]
    world.now_ms += 5_001
    events, _ = world.engines["b"].step(cm.AdmitHandOver(handed(world, "c2")), world.now_ms)
    assert isinstance(events[0], ev.HandOverAdmitted)
    assert list(known) == ["c1", "c2"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"valid_until_ms": VALID_MS_MAX}, ""),
        ({"valid_until_ms": VALID_MS_MAX + 1}, "bad_value"),
        ({"valid_until_ms": 0}, ""),
        ({"valid_until_ms": -1}, "hand_over_expired"),
        ({"hops": HOPS_MAX}, ""),
        ({"hops": HOPS_MAX + 1}, "too_many_hops"),
        ({"queued_at_ms": 0}, "bad_value"),
        ({"version": 3}, "bad_value"),
        ({"room_attempt": 1 << 62}, "bad_value"),
        ({"queue_id": "nowhere"}, "unknown_queue"),
        ({"is_consented": False}, "consent_required"),
        ({"visited": ("a/x",) * 33}, "bad_value"),
    ],
    ids=str,
)
def test_what_may_be_admitted(fields: dict[str, Any], reason: str) -> None:
    """Given a hand-over at a bound and one past it, then it is admitted, or refused by name."""
    world = Divisions(plan("b", room_queue("loans", waiting_max=1)))
    if "valid_until_ms" in fields:
        fields = {"valid_until_ms": world.now_ms + fields["valid_until_ms"]}
    assert world.do("b", cm.AdmitHandOver(handed(world, "c1", **fields))).reason == reason


@pytest.mark.parametrize("principal", ["customer:of-c1", "agent:anna", "supervisor:sue", "operator:olga"])
def test_only_the_shell_hands_over(principal: str) -> None:
    """Given anybody else, when they say what only divisions say to each other, then `not_yours`."""
    world = Divisions(plan("a"), plan("b", OPEN))
    request(world)
    by = {"principal": principal}
    for division, command in (
        ("b", cm.AdmitHandOver(handed(world, "c1"), **by)),
        ("b", cm.RevokeHandOver("c1", 5, "a", world.now_ms, **by)),
        ("a", cm.ReportHandOver("c1", 4, **by)),
        ("a", cm.EndHandedCall("c1", 4, "x", **by)),
        ("a", cm.ReportEndTold("c1", 4, **by)),
    ):
        assert world.do(division, command).reason == "not_yours"
        assert not world.last


def test_forwarding_ends_after_a_day() -> None:
    """Given a target that never tells the end, then the origin says where the call is for a day, and then forgets it."""
    world = Divisions(plan("a"), plan("b", OPEN))
    request(world)
    world.deliver_all()
    world.now_ms += FORWARDING_MS - 1
    world.expire("a")
    assert world.do("a", cm.HangUp("c1")).value == {"division_id": "b"}
    world.now_ms += 1
    world.expire("a")
    assert [event.reason for event in world.last if isinstance(event, ev.HandedCallEnded)] == ["forwarding_expired"]


# -- event numbers


def told(world: Divisions, division: str, client: str = "customer:of-c1") -> list[tuple[int, str]]:
    return [(seq, type(event).__name__) for seq, event in world.told.get((division, client), [])]


def test_numbers_go_on_in_the_new_division() -> None:
    """Given a connected customer, when the call goes on, then the target numbers on after the origin's last (SAFETY.md 10)."""
    world = Divisions(plan("a"), plan("b", OPEN))
    world.do("a", cm.Connect("customer:of-c1", "g", "k1"))
    request(world)
    world.deliver_all()
    assert told(world, "a") == [(1, "CallQueued"), (2, "CallHandingOver"), (3, "CallHandedOver")]
    (last,) = [event for _, event in world.told["a", "customer:of-c1"] if isinstance(event, ev.CallHandedOver)]
    assert (last.to_division, last.seq) == ("b", 3)
    assert told(world, "b") == [(4, "HandOverAdmitted")]
    world.do("a", cm.Disconnect("customer:of-c1", "k1"))
    assert world.engines["a"].state.recipients["customer:of-c1"].seq == 3, "kept for whoever missed it"
    world.do("b", cm.Connect("customer:of-c1", "g", "k2"))
    world.do("b", cm.HangUp("c1", principal="customer:of-c1"))
    world.deliver_all()
    assert told(world, "b") == [(4, "HandOverAdmitted"), (5, "CallEnded")]
    world.wait(130_000)
    assert not world.engines["a"].state.recipients


def test_no_number_means_two_things() -> None:
    """Given a customer who had higher numbers in the target, then numbers go on above both, and nothing old is kept."""
    world = Divisions(plan("a"), plan("b", OPEN))
    world.do("b", cm.Connect("customer:of-c1", "g", "k0"))
    for number in range(3):
        world.do("b", cm.RequestCall(f"old{number}", "of-c1", "loans", is_consented=True))
        world.do("b", cm.HangUp(f"old{number}"))
    world.do("a", cm.Connect("customer:of-c1", "g", "k1"))
    request(world)
    world.deliver_all()
    assert told(world, "b")[-1] == (8, "HandOverAdmitted")
    recipient = world.engines["b"].state.recipients["customer:of-c1"]
    assert [seq for seq, _ in recipient.kept] == [8]
    assert recipient.grace_until_ms == 0, "connected there already"
    assert len(recipient.kept) <= KEPT_EVENTS_MAX


def test_a_customer_who_does_not_come_is_lost_there() -> None:
    """Given a connected customer, when it does not come to the target within the grace, then the call ends there, once."""
    world = Divisions(plan("a"), plan("b", OPEN, reconnect_grace_ms=0))
    world.do("a", cm.Connect("customer:of-c1", "g", "k1"))
    request(world)
    world.deliver_all()
    world.wait(9_999)
    assert world.state("b", "c1") == "waiting"
    world.wait(1)
    world.deliver_all()
    assert world.books["c1"].ended == ["customer_lost"]
    assert (world.state("a", "c1"), world.state("b", "c1")) == ("ended", "ended")


# -- what goes along


def test_rooms_and_recordings_stay_owed_by_the_origin() -> None:
    """Given a recorded talk that is transferred, then room and recording are closed at the origin; rooms are numbered on."""
    world = Divisions(
        plan("a", room_queue("loans", wrap_up="none"), agent("anna")), plan("b", room_queue("loans"), agent("ben"))
    )
    world.do("a", cm.SetActivity("anna", "ready"))
    world.do("b", cm.SetActivity("ben", "ready"))
    request(world)
    world.do("a", cm.AcceptReservation("c1.1", "anna"))
    world.do("a", cm.AssignRoom("c1", 1, "w1", 1))
    world.do("a", cm.ReportRoomOpened("c1", 1))
    for party in ("customer", "agent"):
        world.do("a", cm.ReportPartyJoined("c1", 1, party))
        world.do("a", cm.ReportRecordingStarted("c1", 1, party))
    assert world.do("a", cm.TransferCall("c1", "b/loans", principal="agent:anna")).is_accepted
    world.deliver_all()
    assert world.do("b", cm.AcceptReservation("c1.2", "ben")).is_accepted
    (room,) = world.engines["b"].state.calls["c1"].rooms
    assert room.attempt == 2
    assert world.do("a", cm.ReportRoomClosed("c1", 1)).is_accepted
    assert world.do("a", cm.ReportRecordingSealed("c1", 1, "ab")).is_accepted
    world.check_all()


def test_steps_that_came_due_meanwhile_open_when_it_is_back() -> None:
    """Given a relaxation step that comes due while another division is asked, then it opens when the call is back (20)."""
    relaxed = queue("loans", need={"law": 2}, waiting_max=0, on_full=[Way("overflow", ["b/loans"])],
                    relaxation=[Relaxation(after_ms=1_000, need={"law": 1})])  # fmt: skip
    world = Divisions(plan("a", msgspec.structs.replace(relaxed, on_full=[*relaxed.on_full, Way("callback")])))
    request(world)
    world.wait(2_000)
    assert world.engines["a"].state.calls["c1"].step == 0
    world.do("a", cm.ReportHandOver("c1", 4, "queue_full"))
    assert world.engines["a"].state.calls["c1"].step == 1
    world.check_all()


def test_an_outage_moves_the_deadline() -> None:
    """Given an outage of the origin's shell, then the target has that much longer to answer (SAFETY.md 8)."""
    world = Divisions(plan("a"), plan("b", OPEN))
    request(world)
    world.now_ms += 9_000
    world.do("a", cm.Resume(60_000))
    world.now_ms += 60_999
    world.expire("a")
    assert not world.last
    world.now_ms += 1
    world.expire("a")
    assert [type(event) for event in world.last] == [ev.HandOverRevoked]


def test_what_is_owed_is_asked_again_after_a_crash() -> None:
    """Given a call that is being handed over, when the origin comes back from its journal, then it asks the very same again."""
    world = Divisions(plan("a"), plan("b", OPEN))
    request(world)
    (before,) = [one for one in world.engines["a"].pending_effects() if isinstance(one, HandOver)]
    world.crash("a", with_snapshot=False)
    (after,) = [one for one in world.engines["a"].pending_effects() if isinstance(one, HandOver)]
    assert before == after


def test_an_admission_is_known_by_the_call_itself() -> None:
    """Given a target whose clock is ahead and has forgotten its answer, when it is asked again, then it is admitted still."""
    world = Divisions(plan("a"), plan("b", OPEN), skews_ms=(0, 5_000))
    request(world)
    late = world.messages[0].command
    world.deliver(is_answer_lost=True)
    world.now_ms += 6_000
    request(world, "c2")
    world.deliver()
    assert list(world.engines["b"].state.handed_in) == ["c2"]
    assert world.do("b", late).is_accepted
    revoked = cm.RevokeHandOver("c1", 5, "a", world.now_ms, "customer_hung_up")
    assert world.do("b", revoked).is_accepted
    assert world.state("b", "c1") == "ended"
    world.check_all()


def test_explain_says_where_a_call_is_on_its_way_to() -> None:
    """Given a call that is being handed over, and one that was, then explain names division, queue and deadline."""
    world = Divisions(plan("a"), plan("b", OPEN))
    request(world)
    for state, until_ms in (("handing_over", world.now_ms + 10_000), ("handed_over", world.now_ms + FORWARDING_MS)):
        explanation = explain(world.engines["a"].state, "c1")
        assert explanation is not None
        assert (explanation.state, explanation.position, explanation.reasons) == (state, 0, [])
        assert explanation.next_changes == [NextChange(until_ms, "hand_over_deadline", "b/loans")]
        world.deliver_all()


def test_a_tombstone_survives_the_targets_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a refusal, when the target comes back from a snapshot and has room by then, then a repeat is refused."""
    world = Divisions(plan("a"), plan("b", queue("loans", waiting_max=0)))
    request(world)
    late = world.messages[0].command
    world.deliver()
    world.crash("b", with_snapshot=True)
    monkeypatch.setattr(handing_in, "met_limit", lambda *_: "")
    assert world.do("b", late).reason == "queue_full"
