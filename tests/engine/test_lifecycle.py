"""The state tables are complete: each event has one role, each state a way in and a way out, the rest is impossible."""

from typing import get_args

import pytest

from dispatch import commands as cm
from dispatch import events as ev
from dispatch import lifecycle as lc
from dispatch.effects import Refusal
from dispatch.engine import DECISIONS
from dispatch.folding import ARMS, apply
from dispatch.handing_facts import HandedCall
from dispatch.lifecycle import ImpossibleEvent
from dispatch.plan import Way
from tests.engine.scene import Scene, agent, queue, room_queue

ROLES: dict[str, set[type[ev.Event]]] = {
    "begins": {ev.CallQueued, ev.CallInvited, ev.CallRefused},
    "call": {
        ev.InvitationAccepted, ev.CallReserved, ev.CallMoved, ev.ReservationAccepted, ev.ReservationClosed,
        ev.CallConnected, ev.CallRequeued, ev.CallEnded, ev.CallForgotten, ev.RoomLost, ev.NeedRelaxed,
        ev.CallPrioritised, ev.FavouriteReleased, ev.CallbackArranged, ev.JointAccepted, ev.JointHeld,
        ev.JointReleased, ev.PartyAdded, ev.PartyRemoved, ev.OwnershipMoved, ev.CallTransferred,
        ev.SupervisionChanged, ev.HoldChanged, ev.ScriptStepShown, ev.ScriptStepAnswered, ev.CallHandingOver,
        ev.HandOverRevoked, ev.HandOverRefused,
        ev.CallHandedOver, ev.HandOverAdmitted, ev.HandedCallEnded, ev.OriginTold,
    },
    "wrap-up": {ev.WrapUpExtended, ev.WrapUpEnded},
    "room": {ev.RoomAssigned, ev.RoomOpened, ev.RoomClosed},
    "in the room": {
        ev.PartyJoined, ev.PartyLeft, ev.RecordingStarted, ev.RecordingFailed, ev.RecordingSealed, ev.RecordingMissing,
    },
    "presence": {ev.Connected, ev.Disconnected, ev.AgentActivityChanged},
    "division": {ev.PlanApplied, ev.HandOverDeclined, ev.Answered, ev.Resumed},
}  # fmt: skip
"""What an event is about first. Those that begin a call, or refuse it, stand in no state's row."""

AT = 1_700_000_100_000


def test_every_event_has_exactly_one_role_and_one_arm() -> None:
    """Given all event types, then each stands in one role and `apply` has an arm for it."""
    listed = [kind for kinds in ROLES.values() for kind in kinds]
    assert len(listed) == len(set(listed))
    assert set(listed) == set(get_args(ev.Event)) == set(ARMS)


def test_the_tables_name_the_events_of_their_role() -> None:
    """Given the tables, then call, wrap-up and room rows hold their role's events and no others."""
    in_calls = {kind for row in lc.CALL.values() for kind in row}
    assert in_calls == ROLES["call"]
    in_engagements = {kind for row in lc.ENGAGEMENT.values() for kind in row}
    assert in_engagements - in_calls == ROLES["wrap-up"]
    in_rooms = {kind for row in lc.ROOM.values() for kind in row}
    assert in_rooms == ROLES["room"] - {ev.RoomClosed}


def test_every_command_has_a_decision_and_every_tag_is_its_own() -> None:
    """Given all commands and events, then none is without a decision and no tag is used twice."""
    assert set(get_args(cm.Command)) == set(DECISIONS)
    for kinds in (get_args(cm.Command), get_args(ev.Event)):
        tags = [kind.__struct_config__.tag for kind in kinds]
        assert len(tags) == len(set(tags))


@pytest.mark.parametrize(
    ("table", "first"),
    [(lc.CALL, lc.INVITED), (lc.ENGAGEMENT, lc.IDLE), (lc.ROOM, lc.REQUESTED)],
    ids=["call", "engagement", "room"],
)
def test_every_state_is_reachable(table: dict[str, dict[type[ev.Event], str]], first: str) -> None:
    """Given a table, when its events happen in any order, then every state is reached, and no other."""
    reached, left = {first}, [first]
    while left:
        for after in table[left.pop()].values():
            if after not in reached:
                reached.add(after)
                left.append(after)
    by_leaving = {lc.CLOSING} if table is lc.ROOM else set()
    assert reached | by_leaving == set(table)


def test_every_state_that_waits_has_a_way_out() -> None:
    """Given the call table, then from every live state the end can be reached."""
    for state in lc.LIVE_STATES:
        reached, left = set(), [state]
        while left:
            one = left.pop()
            if one not in reached:
                reached.add(one)
                left.extend(lc.CALL[one].values())
        assert lc.ENDED in reached


def test_reservations_end_once() -> None:
    """Given the reservation table, then pending leads to each outcome and no outcome leads on."""
    ends = {end for ends in lc.RESERVATION[lc.PENDING].values() for end in ends}
    assert ends == set(lc.RESERVATION) - {lc.PENDING}
    assert not any(lc.RESERVATION[end] for end in ends)


def _scene_with_calls_in_every_state() -> Scene:
    """Each call is named after its state; `connected` has a3 as a party and rings at a0, `waiting` holds a4."""
    scene = Scene(
        queue(),
        room_queue("rooms"),
        queue("pairs", joint_need={"none": 1}),
        queue("over", waiting_max=0, need={"none": 1}, on_full=[Way("overflow", ["south/loans"])]),
        *(agent(f"a{number}") for number in range(6)),
    )
    scene.ready("a0", "a1", "a2", "a3")
    scene.invite("invited", "a5")
    for call_id in ("ended", "connected", "connecting"):
        scene.request(call_id)
    scene.talk("ended")
    scene.hang_up("ended")
    scene.talk("connected")
    scene.accept("connecting")
    scene.do(cm.FinishWrapUp("a0", "ended"))
    scene.do(cm.InviteParty("connected", "third", "a3"))
    scene.accept("connected", "a3")
    scene.do(cm.InviteParty("connected", "third", "a0"))
    scene.ready("a4")
    scene.request("waiting", "pairs")
    scene.ready("a5")
    scene.request("reserved")
    scene.request("handing_over", "over")
    scene.request("handed_over", "over")
    scene.do(cm.ReportHandOver("handed_over", 4))
    assert {one: scene.call(one).state for one in lc.CALL_STATES} == {one: one for one in lc.CALL_STATES}
    assert scene.call("waiting").held_agent_id == "a4"
    return scene


def _events_of(call_id: str, agent_id: str) -> list[ev.Event]:
    """One event of each kind of the call table, about this call."""
    return [
        ev.InvitationAccepted(AT, call_id, AT, AT, True, "off", "external"),
        ev.CallReserved(AT, call_id, f"{call_id}.9", agent_id, "x", "loans", 9, AT, 0, "x"),
        ev.CallMoved(AT, call_id, "loans", "rooms", AT),
        ev.ReservationAccepted(AT, call_id, f"{call_id}.1", agent_id, AT, 0),
        ev.ReservationClosed(AT, call_id, f"{call_id}.1", agent_id, "declined"),
        ev.CallConnected(AT, call_id, agent_id, "x"),
        ev.CallRequeued(AT, call_id, agent_id, "x"),
        ev.CallEnded(AT, call_id, "x", "loans", "x"),
        ev.CallForgotten(AT, call_id, "x"),
        ev.RoomLost(AT, call_id, 1, "x"),
        ev.NeedRelaxed(AT, call_id, 1),
        ev.CallPrioritised(AT, call_id, 1, False, AT),
        ev.FavouriteReleased(AT, call_id, agent_id, "window"),
        ev.CallbackArranged(AT, call_id, "asked"),
        ev.JointAccepted(AT, call_id, f"{call_id}.1", agent_id),
        ev.JointHeld(AT, call_id, agent_id, "agent", AT),
        ev.JointReleased(AT, call_id, agent_id, "time"),
        ev.PartyAdded(AT, call_id, f"{call_id}.1", agent_id, "third"),
        ev.PartyRemoved(AT, call_id, agent_id, "third", "left"),
        ev.OwnershipMoved(AT, call_id, agent_id, "a1", "taken_over", 100),
        ev.CallTransferred(AT, call_id, agent_id, "loans", "loans", AT, AT, 0, "off", 0),
        ev.SupervisionChanged(AT, call_id, "sue", "monitor"),
        ev.HoldChanged(AT, call_id, True, "asked", AT),
        ev.ScriptStepShown(AT, call_id, agent_id, 2, "risk", "x"),
        ev.ScriptStepAnswered(AT, call_id, 1, "risk", "yes"),
        ev.CallHandingOver(AT, call_id, "over", "south", "loans", 8, AT, "queue_full"),
        ev.HandOverRevoked(AT, call_id, 5, AT),
        ev.HandOverRefused(AT, call_id, 4, "south", "loans", "queue_full"),
        ev.CallHandedOver(AT, call_id, "x", "over", "south", "loans", 4, AT),
        ev.HandOverAdmitted(AT, call_id, "x", "loans", AT, AT, 0, "off", "external", handed(call_id)),
        ev.HandedCallEnded(AT, call_id, "x", "customer_hung_up", AT),
        ev.OriginTold(AT, call_id, 4),
    ]


def handed(call_id: str) -> HandedCall:
    return HandedCall(call_id=call_id, customer_id="x", queue_id="loans", from_division="south", version=8,
                      valid_until_ms=AT, hops=1, queued_at_ms=AT)  # fmt: skip


def test_there_is_an_event_of_each_kind_to_try() -> None:
    """Given the events that are tried below, then none of the call's is missing."""
    assert {type(event) for event in _events_of("c1", "a0")} == ROLES["call"]


@pytest.mark.parametrize("state", lc.CALL_STATES)
def test_what_is_not_in_the_table_is_impossible(state: str) -> None:
    """Given a call in each state, when an event that its row does not name is applied, then ImpossibleEvent."""
    for event in _events_of(state, "a0"):
        if type(event) not in lc.CALL[state]:
            scene = _scene_with_calls_in_every_state()
            before = scene.engine.digest()
            with pytest.raises(ImpossibleEvent):
                apply(scene.engine.state, event)
            scene.engine.state.now_ms = scene.now_ms
            assert scene.engine.digest() == before, f"{event!r} changed something first"


@pytest.mark.parametrize(
    "event",
    [
        ev.CallQueued(AT, "waiting", "x", "loans", AT, AT),
        ev.CallEnded(AT, "nobody", "x", "loans", "x"),
        ev.Disconnected(AT, "customer:nobody", "k1", 0),
        ev.AgentActivityChanged(AT, "nobody", "ready"),
        ev.WrapUpExtended(AT, "connected", "a1", AT),
        ev.WrapUpEnded(AT, "connected", "a1", "done"),
        ev.RoomAssigned(AT, "connected", 1, "w1", 1),
        ev.RoomOpened(AT, "connected", 1, "w1"),
        ev.RoomClosed(AT, "connected", 1),
        ev.RoomLost(AT, "connected", 1, "x"),
        ev.PartyLeft(AT, "connected", 1, "agent"),
        ev.RecordingSealed(AT, "connected", 1, "x"),
        ev.RecordingMissing(AT, "connected", 1),
        ev.CallInvited(AT, "waiting", "x", "a0", "loans", AT),
        ev.CallReserved(AT, "nobody", "nobody.1", "a1", "x", "loans", 1, AT, 0, "x"),
        ev.ReservationAccepted(AT, "reserved", "reserved.9", "a5", AT, 0),
        ev.ReservationAccepted(AT, "reserved", "reserved.1", "a1", AT, 0),
        ev.ReservationClosed(AT, "reserved", "reserved.1", "a5", "bored"),
        ev.JointAccepted(AT, "reserved", "reserved.9", "a5"),
        ev.PartyAdded(AT, "connected", "connected.9", "a0", "third"),
        ev.PartyRemoved(AT, "connected", "a4", "third", "left"),
        ev.OwnershipMoved(AT, "connected", "a3", "a4", "taken_over", 100),
        ev.CallTransferred(AT, "connected", "a1", "loans", "loans", AT, AT, 0, "off", 0),
        ev.CallEnded(AT, "connected", "of-connected", "loans", "x", "a1"),
        ev.HoldChanged(AT, "nobody", True, "asked", AT),
        ev.ScriptStepShown(AT, "nobody", "a0", 1, "risk", "x"),
        ev.ScriptStepAnswered(AT, "connected", 1, "risk", "yes"),
        ev.SupervisionChanged(AT, "nobody", "sue", "monitor"),
        ev.FavouriteReleased(AT, "nobody", "a0", "window"),
        ev.CallHandingOver(AT, "nobody", "over", "south", "loans", 4, AT, "queue_full"),
        ev.HandOverRevoked(AT, "handing_over", 4, AT),
        ev.HandOverRefused(AT, "handing_over", 5, "south", "loans", "queue_full"),
        ev.CallHandedOver(AT, "handing_over", "x", "over", "south", "loans", 8, AT),
        ev.HandedCallEnded(AT, "nobody", "x", "customer_hung_up", AT),
        ev.OriginTold(AT, "nobody", 4),
    ],
    ids=lambda event: type(event).__name__,
)
def test_events_about_what_is_not_there(event: ev.Event) -> None:
    """Given a hall, when an event names a call, room, party or client that is not there, then ImpossibleEvent."""
    scene = _scene_with_calls_in_every_state()
    with pytest.raises(ImpossibleEvent):
        apply(scene.engine.state, event)


@pytest.mark.parametrize("count", range(1, 4))
def test_room_events_out_of_order(count: int) -> None:
    """Given a room that is requested, assigned or open, when an event of another state comes, then ImpossibleEvent."""
    scene = Scene(room_queue(), agent("anna"))
    scene.ready("anna")
    scene.request("c1")
    scene.accept("c1")
    happened: list[ev.Event] = [ev.RoomAssigned(AT, "c1", 1, "w1", 1), ev.RoomOpened(AT, "c1", 1, "w1")]
    for event in happened[: count - 1]:
        apply(scene.engine.state, event)
    for event in (*happened[: count - 1], *happened[count:], ev.RoomClosed(AT, "c1", 1)):
        with pytest.raises(ImpossibleEvent):
            apply(scene.engine.state, event)


def test_refusals_are_named_once() -> None:
    """Given the list of refusals, then each stands there once."""
    assert len(get_args(Refusal)) == len(set(get_args(Refusal)))
