"""The arms of `apply` that concern rooms and recordings.

A call has at most one room that counts and any number that are closing; each attempt that a worker was assigned to owes a
recording until it is sealed or reported missing.
"""

from collections.abc import Callable
from typing import Any

from dispatch import events as ev
from dispatch import lifecycle as lc
from dispatch import timers as tm
from dispatch.folding_calls import ask_room, call_of, drop_room, move
from dispatch.lifecycle import ImpossibleEvent, room_after
from dispatch.model import Call, Room
from dispatch.state import State


def _room(call: Call, event: Any) -> Room:
    for room in call.rooms:
        if room.attempt == event.attempt:
            return room
    raise ImpossibleEvent(f"no such room: {event!r}")


def _room_assigned(state: State, event: ev.RoomAssigned) -> None:
    call = call_of(state, event)
    room = _room(call, event)
    room.state = room_after(room.state, event)
    room.worker_id, room.worker_epoch = event.worker_id, event.worker_epoch
    if call.recording != "off":
        call.unsealed = (*call.unsealed, event.attempt)


def _room_opened(state: State, event: ev.RoomOpened) -> None:
    call = call_of(state, event)
    room = _room(call, event)
    room.state = room_after(room.state, event)
    state.tell_parties(call, event)


def _room_lost(state: State, event: ev.RoomLost) -> None:
    call = call_of(state, event)
    move(state, call, event)
    room = _room(call, event)
    if room.state == lc.CLOSING:
        raise ImpossibleEvent(f"the room no longer counts: {event!r}")
    drop_room(call, room)
    state.tell_parties(call, event)
    ask_room(call, event.attempt + 1)
    if call.state == lc.CONNECTED:
        call.media_until_ms = event.reconnecting_until_ms
        state.arm(event.reconnecting_until_ms, tm.MEDIA, call.id)


def _room_closed(state: State, event: ev.RoomClosed) -> None:
    call = call_of(state, event)
    room = _room(call, event)
    if room.state != lc.CLOSING:
        raise ImpossibleEvent(f"the room still counts: {event!r}")
    drop_room(call, room)


def _party_joined(state: State, event: ev.PartyJoined) -> None:
    call = call_of(state, event)
    if event.party not in call.joined:
        call.joined = (*call.joined, event.party)
    _settle_media(call)
    state.tell_parties(call, event)


def _party_left(state: State, event: ev.PartyLeft) -> None:
    call = call_of(state, event)
    if event.party not in call.joined:
        raise ImpossibleEvent(f"the party is not in the room: {event!r}")
    call.joined = tuple(one for one in call.joined if one != event.party)
    if call.state == lc.CONNECTED:
        call.media_until_ms = event.rejoin_until_ms
        state.arm(event.rejoin_until_ms, tm.MEDIA, call.id)
    state.tell_parties(call, event)


def _recording_started(state: State, event: ev.RecordingStarted) -> None:
    call = call_of(state, event)
    if event.party not in call.recording_parties:
        call.recording_parties = (*call.recording_parties, event.party)
    _settle_media(call)
    state.tell_parties(call, event)


def _recording_failed(state: State, event: ev.RecordingFailed) -> None:
    call = call_of(state, event)
    call.recording_parties = tuple(one for one in call.recording_parties if one != event.party)
    state.tell_parties(call, event)


def is_media_standing(call: Call) -> bool:
    """Say whether both parties send and, where demanded, both logs have confirmed bytes (SAFETY.md 16)."""
    return len(call.joined) == 2 and (call.recording != "required" or len(call.recording_parties) == 2)


def _settle_media(call: Call) -> None:
    if call.state == lc.CONNECTED and is_media_standing(call):
        call.media_until_ms = 0


def _recording_settled(state: State, event: ev.RecordingSealed | ev.RecordingMissing) -> None:
    call = call_of(state, event)
    if event.attempt not in call.unsealed:
        raise ImpossibleEvent(f"no recording is owed: {event!r}")
    call.unsealed = tuple(one for one in call.unsealed if one != event.attempt)
    state.tell_parties(call, event)


ROOM_ARMS: dict[type[Any], Callable[[State, Any], None]] = {
    ev.RoomAssigned: _room_assigned,
    ev.RoomOpened: _room_opened,
    ev.RoomLost: _room_lost,
    ev.RoomClosed: _room_closed,
    ev.PartyJoined: _party_joined,
    ev.PartyLeft: _party_left,
    ev.RecordingStarted: _recording_started,
    ev.RecordingFailed: _recording_failed,
    ev.RecordingSealed: _recording_settled,
    ev.RecordingMissing: _recording_settled,
}
