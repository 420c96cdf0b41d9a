"""Decisions about media: which room a call has, when it counts as connected, what a loss means.

The engine knows no worker; it journals the one the shell chose before the room opens (SAFETY.md 16). Reports carry
(call, attempt); one about an attempt that no longer counts changes nothing.
"""

from typing import Final

from dispatch import commands as cm
from dispatch import events as ev
from dispatch import lifecycle as lc
from dispatch.effects import CloseRoom, Effect, OpenRoom, Reply, RequestRoom
from dispatch.ending import end_call, miss_callback, requeue
from dispatch.folding_rooms import is_media_standing
from dispatch.matching import Decider
from dispatch.model import Call, Room
from dispatch.state import State

PARTIES: Final = ("customer", "agent")

ROOM_EVENTS: Final = frozenset(
    {ev.ReservationAccepted, ev.RoomAssigned, ev.RoomLost, ev.CallRequeued, ev.CallTransferred, ev.CallEnded}
)
"""Events after which a call's rooms may want something of the shell."""


def _find(engine: Decider, call_id: str, attempt: int) -> tuple[Call, Room] | Reply:
    call = engine.state.calls.get(call_id)
    if call is None:
        return Reply("unknown_call")
    for room in call.rooms:
        if room.attempt == attempt:
            return call, room
    return Reply("stale_attempt", {"attempt": call.room_attempt})


def _find_current(engine: Decider, call_id: str, attempt: int) -> tuple[Call, Room] | Reply:
    """The room that counts: reports on closing ones are stale."""
    found = _find(engine, call_id, attempt)
    if not isinstance(found, Reply) and found[1].state == lc.CLOSING:
        return Reply("stale_attempt", {"attempt": found[0].room_attempt})
    return found


def assign(engine: Decider, command: cm.AssignRoom) -> Reply:
    """Journal the worker; the room opens only afterwards."""
    found = _find_current(engine, command.call_id, command.attempt)
    if not isinstance(found, tuple):
        return found
    if found[1].state != lc.REQUESTED:
        return Reply("wrong_state", {"state": found[1].state})
    engine.emit(
        ev.RoomAssigned(engine.now_ms, command.call_id, command.attempt, command.worker_id, command.worker_epoch)
    )
    return Reply()


def report_opened(engine: Decider, command: cm.ReportRoomOpened) -> Reply:
    """The room stands; both parties are told to come."""
    found = _find_current(engine, command.call_id, command.attempt)
    if not isinstance(found, tuple):
        return found
    room = found[1]
    if room.state == lc.OPEN:
        return Reply()
    if room.state != lc.ASSIGNED:
        return Reply("wrong_state", {"state": room.state})
    engine.emit(ev.RoomOpened(engine.now_ms, command.call_id, command.attempt, room.worker_id))
    return Reply()


def report_failed(engine: Decider, command: cm.ReportRoomFailed) -> Reply:
    """The room is gone: a new attempt begins while the call's time for it lasts."""
    found = _find(engine, command.call_id, command.attempt)
    if not isinstance(found, tuple):
        return found
    lose_room(engine, *found, command.reason)
    return Reply()


def report_closed(engine: Decider, command: cm.ReportRoomClosed) -> Reply:
    """A closing room is gone; one that still counts is lost and asked for anew."""
    found = _find(engine, command.call_id, command.attempt)
    if not isinstance(found, tuple):
        return found
    lose_room(engine, *found, "closed_by_worker")
    return Reply()


def lose_room(engine: Decider, call: Call, room: Room, reason: str) -> None:
    """A closing room is simply closed; the one that counts is lost and asked for anew."""
    if room.state == lc.CLOSING:
        engine.emit(ev.RoomClosed(engine.now_ms, call.id, room.attempt))
        forget_if_over(engine, call)
        return
    until_ms = 0
    if call.state == lc.CONNECTED:
        plan = engine.state.queues[call.queue_id].plan
        until_ms = call.media_until_ms or engine.now_ms + plan.connecting_timeout_ms
    engine.emit(ev.RoomLost(engine.now_ms, call.id, room.attempt, reason, until_ms))


def lose_worker(engine: Decider, command: cm.LoseWorker) -> Reply:
    """A media worker died: its rooms are lost, whatever its successor says (SAFETY.md 16)."""
    for call in list(engine.state.calls.values()):
        for room in list(call.rooms):
            if room.worker_id == command.worker_id and room.worker_epoch <= command.worker_epoch:
                lose_room(engine, call, room, "worker_lost")
    return Reply()


def report_party_joined(engine: Decider, command: cm.ReportPartyJoined) -> Reply:
    """The party sends; with the other one and the recording, the call stands."""
    found = _find_current(engine, command.call_id, command.attempt)
    if not isinstance(found, tuple):
        return found
    if command.party not in PARTIES:
        return Reply("bad_value", {"allowed": list(PARTIES)})
    if command.party not in found[0].joined:
        engine.emit(ev.PartyJoined(engine.now_ms, command.call_id, command.attempt, command.party))
        _connect_if_standing(engine, found[0])
    return Reply()


def report_party_left(engine: Decider, command: cm.ReportPartyLeft) -> Reply:
    """The party is gone from the room; from the first loss on the call has `reconnect_grace_ms` to stand again."""
    found = _find_current(engine, command.call_id, command.attempt)
    if not isinstance(found, tuple):
        return found
    if command.party in found[0].joined:
        # The first loss counts: parties who leave in turn do not keep a call alive that nobody can hear.
        until_ms = found[0].media_until_ms or engine.now_ms + engine.state.plan.reconnect_grace_ms
        engine.emit(ev.PartyLeft(engine.now_ms, command.call_id, command.attempt, command.party, until_ms))
    return Reply()


def report_recording_started(engine: Decider, command: cm.ReportRecordingStarted) -> Reply:
    """The party is recorded; that may have been the last thing the call waited for."""
    found = _find_current(engine, command.call_id, command.attempt)
    if not isinstance(found, tuple):
        return found
    if command.party not in PARTIES:
        return Reply("bad_value", {"allowed": list(PARTIES)})
    if command.party not in found[0].recording_parties:
        engine.emit(ev.RecordingStarted(engine.now_ms, command.call_id, command.attempt, command.party))
        _connect_if_standing(engine, found[0])
    return Reply()


def report_recording_failed(engine: Decider, command: cm.ReportRecordingFailed) -> Reply:
    """A log cannot be written: where recording is required the call ends by name, elsewhere it goes on and all are told."""
    found = _find_current(engine, command.call_id, command.attempt)
    if not isinstance(found, tuple):
        return found
    if command.party not in PARTIES:
        return Reply("bad_value", {"allowed": list(PARTIES)})
    call = found[0]
    engine.emit(ev.RecordingFailed(engine.now_ms, command.call_id, command.attempt, command.party, command.reason))
    if call.recording == "required":
        end_call(engine, call, "recording_failed")
    return Reply()


def report_recording_sealed(engine: Decider, command: cm.ReportRecordingSealed) -> Reply:
    """Files and manifest stand on disk."""
    call = engine.state.calls.get(command.call_id)
    if call is None:
        return Reply("unknown_call")
    if command.attempt not in call.unsealed:
        return Reply("stale_attempt", {"attempt": call.room_attempt})
    engine.emit(
        ev.RecordingSealed(
            engine.now_ms, command.call_id, command.attempt, command.manifest_sha256, command.files, command.gaps
        )
    )
    forget_if_over(engine, call)
    return Reply()


def forget_if_over(engine: Decider, call: Call) -> None:
    """The last thing that kept an ended call in memory beyond its time has come."""
    is_over = call.state == lc.ENDED and call.forget_at_ms <= engine.now_ms
    if is_over and not (call.rooms or call.unsealed or call.origins or call.handing):
        engine.emit(ev.CallForgotten(engine.now_ms, call.id, call.customer_id))


def _connect_if_standing(engine: Decider, call: Call) -> None:
    if call.state == lc.CONNECTING and is_media_standing(call):
        engine.emit(ev.CallConnected(engine.now_ms, call.id, call.agent_id, call.customer_id))


def expire_media(engine: Decider, call: Call) -> None:
    """The media did not stand in time: back to the old place once, then an end by name; a callback is tried again."""
    if call.state == lc.CONNECTING and call.is_callback:
        miss_callback(engine, call)
    elif call.state == lc.CONNECTING:
        requeue(engine, call, "media_failed")
    else:
        end_call(engine, call, "media_lost")


def call_room_effects(state: State, call: Call) -> list[Effect]:
    """Derive from each room's state what the shell owes it. Receivers ignore what they have done already."""
    effects: list[Effect] = []
    for room in call.rooms:
        if room.state == lc.REQUESTED:
            effects.append(RequestRoom(call.id, room.attempt))
        elif room.state == lc.ASSIGNED:
            effects.append(_open_room(state, call, room))
        elif room.state == lc.CLOSING:
            effects.append(CloseRoom(call.id, room.attempt, room.worker_id, room.worker_epoch))
    return effects


def _open_room(state: State, call: Call, room: Room) -> OpenRoom:
    return OpenRoom(
        call.id,
        room.attempt,
        room.worker_id,
        room.worker_epoch,
        list(PARTIES),
        call.recording,
        call.business_reference,
        state.division_id,
        call.queue_id,
    )
