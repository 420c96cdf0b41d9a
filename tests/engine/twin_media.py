"""What the dumb twin makes of reports about rooms, parties and recordings."""

from dispatch import commands as cm
from tests.engine.twin import BUSY, Twin, TwinCall, TwinRoom
from tests.engine.twin_calls import end, forget_if_over

PARTIES = {"customer", "agent"}


def report_connected(twin: Twin, command: cm.ReportConnected) -> str:
    call, role = twin.call(command.call_id), command.principal.split(":")[0]
    if call is None:
        return "unknown_call"
    if role == "customer" or (role == "agent" and command.principal != "agent:" + call.agent_id):
        return "not_yours"
    if call.media != "external":
        return "not_external"
    if call.state not in BUSY:
        return "wrong_state"
    if call.state == "connecting":
        _stand(twin, call)
    return ""


def _stand(twin: Twin, call: TwinCall) -> None:
    if call.state == "connecting":
        call.state, call.connected_at_ms = "connected", twin.now_ms
        twin.tell("stands", call.id, call.agent_id)
    call.media_until_ms = 0


def ask_room(call: TwinCall, attempt: int) -> None:
    call.room_attempt, call.joined, call.recorded = attempt, set(), set()
    call.rooms.append(TwinRoom(attempt))


def _lose_room(twin: Twin, call: TwinCall, room: TwinRoom) -> None:
    call.rooms.remove(room)
    if room.state == "closing":
        twin.tell("room_closed", call.id, room.attempt)
        forget_if_over(twin, call)
        return
    if call.state == "connected" and not call.media_until_ms:
        call.media_until_ms = twin.now_ms + twin.queue_of(call).connecting_timeout_ms
    twin.tell("room_lost", call.id, room.attempt, call.media_until_ms if call.state == "connected" else 0)
    ask_room(call, room.attempt + 1)


def lose_worker(twin: Twin, command: cm.LoseWorker) -> str:
    for call in list(twin.calls):
        for room in list(call.rooms):
            if room.worker_id == command.worker_id and room.worker_epoch <= command.worker_epoch:
                _lose_room(twin, call, room)
    return ""


def report(twin: Twin, command: cm.Command) -> str:
    call_id, attempt = command.call_id, command.attempt  # type: ignore[union-attr]
    call = twin.call(call_id)
    if call is None:
        return "unknown_call"
    if isinstance(command, cm.ReportRecordingSealed):
        if attempt not in call.unsealed:
            return "stale_attempt"
        call.unsealed.remove(attempt)
        twin.tell("sealed", call.id, attempt)
        forget_if_over(twin, call)
        return ""
    room = next((one for one in call.rooms if one.attempt == attempt), None)
    if isinstance(command, cm.ReportRoomFailed | cm.ReportRoomClosed) and room is not None:
        _lose_room(twin, call, room)
        return ""
    if room is None or room.state == "closing":
        return "stale_attempt"
    if isinstance(command, cm.AssignRoom | cm.ReportRoomOpened):
        return _room(twin, call, room, command)
    return _party(twin, call, room, command)


def _room(twin: Twin, call: TwinCall, room: TwinRoom, command: cm.AssignRoom | cm.ReportRoomOpened) -> str:
    if isinstance(command, cm.AssignRoom):
        if room.state != "requested":
            return "wrong_state"
        room.state, room.worker_id, room.worker_epoch = "assigned", command.worker_id, command.worker_epoch
        call.unsealed += [room.attempt] if call.recording != "off" else []
        twin.tell("assigned", call.id, room.attempt, room.worker_id)
        return ""
    if room.state == "requested":
        return "wrong_state"
    if room.state == "assigned":
        room.state = "open"
        twin.tell("opened", call.id, room.attempt)
    return ""


def _party(twin: Twin, call: TwinCall, room: TwinRoom, command: cm.Command) -> str:
    party: str = command.party  # type: ignore[union-attr]
    if isinstance(command, cm.ReportPartyLeft):
        if party in call.joined:
            call.joined.remove(party)
            if not call.media_until_ms:
                call.media_until_ms = twin.now_ms + twin.plan.reconnect_grace_ms
            twin.tell("left", call.id, room.attempt, party, call.media_until_ms)
        return ""
    if party not in PARTIES:
        return "bad_value"
    if isinstance(command, cm.ReportRecordingFailed):
        call.recorded.discard(party)
        twin.tell("unrecorded", call.id, room.attempt, party)
        if call.recording == "required":
            end(twin, call, "recording_failed")
        return ""
    done, word = (call.joined, "joined") if isinstance(command, cm.ReportPartyJoined) else (call.recorded, "recorded")
    if party not in done:
        done.add(party)
        twin.tell(word, call.id, room.attempt, party)
        if call.is_standing():
            _stand(twin, call)
    return ""
