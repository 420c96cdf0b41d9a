"""One sample of each message: the examples of AsyncAPI, and what the golden files hold for ever.

Rules: a sample that stands in a golden file never changes; a message that gains a field gains a sample.

Not here: what is never shown to anybody, such as real names: all values are made up.
"""

from msgspec.structs import replace

from gateway import client_messages as said
from gateway import client_messages_staff as staff
from gateway import messages as wire
from gateway import messages_talking as talking
from gateway import messages_watching as watching
from gateway.catalogue import UNNUMBERED
from gateway.client_fields import FromClient

AT_MS = 1_795_468_663_805
CALL_ID = "0f8a1c52-6f0e-5f0b-9b1e-3d2f6c7a8b90"
_SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
_ICE = [{"urls": ["turn:turn.example:3478"], "username": "1795472263:c-7", "credential": "c2VjcmV0"}]
_CALL = wire.Call(
    call_id=CALL_ID,
    state="connected",
    queue_id="loans",
    queued_at_ms=AT_MS - 60_000,
    business_reference="LN-2026-17",
    room=wire.Room(1, True),
    media="room",
    recording="required",
    is_recording=True,
    connected_at_ms=AT_MS - 5_000,
)
_STEP_TEXT = "此产品可能亏损。您同意吗？"
_AGENTS_CALL = wire.Call(
    call_id=CALL_ID,
    state="connected",
    queue_id="loans",
    queued_at_ms=AT_MS - 60_000,
    business_reference="LN-2026-17",
    room=wire.Room(1, True),
    media="room",
    recording="required",
    is_recording=True,
    connected_at_ms=AT_MS - 5_000,
    customer="王**",
    agent_id="a-17",
    on_hold_until_ms=AT_MS + 60_000,
    parties=[wire.Party("expert", False, "a-40")],
)
_RESERVATION = wire.ReservationNew(
    reservation_id=f"{CALL_ID}.1",
    call_id=CALL_ID,
    queue_id="loans",
    expires_at_ms=AT_MS + 15_000,
    attempt=1,
    waited_ms=42_000,
    customer="王**",
    business_reference="LN-2026-17",
    why="longest_idle",
    media="room",
    key=AT_MS - 90_000,
)
_PARTY_RESERVATION = wire.ReservationNew(
    reservation_id=f"{CALL_ID}.2",
    call_id=CALL_ID,
    queue_id="loans",
    expires_at_ms=AT_MS + 15_000,
    attempt=2,
    waited_ms=42_000,
    customer="***17",
    business_reference="",
    why="asked",
    media="room",
    party_role="expert",
)
_SESSION_BY_ROLE: dict[wire.Role, wire.Snapshot] = {
    "customer": wire.CustomerSnapshot(call=_CALL),
    "agent": wire.AgentSnapshot(
        activity="ready",
        reason="",
        agent=wire.AgentCard("a-17", "Anna Li", {"loans": 8, "english": 5}),
        reservation=_RESERVATION,
        call=_AGENTS_CALL,
        wrap_up=wire.WrapUp("k-3", AT_MS + 30_000, "timed"),
    ),
    "supervisor": wire.StaffSnapshot(["queues", "agents", "calls"]),
    "operator": wire.StaffSnapshot(["queues", "agents", "calls"]),
}
_QUEUE_ROW = watching.QueueRow(
    "loans",
    {"en": "Loans", "zh": "贷款"},
    3,
    42_000,
    {"ready": 0, "in_call": 5, "offline": 2},
    {"waiting": 3, "connected": 5},
    65_000,
)
_AGENT_ROW = watching.AgentRow(
    "a-17", "Anna Li", "ready", "", "in_call", True, AT_MS - 90_000, [CALL_ID], AT_MS + 30_000
)
_CALL_ROW = watching.CallRow(
    CALL_ID,
    "connected",
    "loans",
    "***17",
    AT_MS - 60_000,
    "room",
    "a-17",
    "Anna Li",
    AT_MS - 5_000,
    True,
    0,
    False,
    {"s-2": "listen"},
    True,
    AT_MS + 60_000,
    1,
)


def _greeting(kind: type[wire.SessionWelcome], role: wire.Role) -> wire.SessionWelcome:
    return kind(
        session=_SESSION_BY_ROLE[role],
        seq=41,
        server_ms=AT_MS,
        ping_ms=25_000,
        ice_servers=_ICE,
        ice_transport_policy="all",
        ice_until_ms=AT_MS + 3_600_000,
        principal=f"{role}:x-7",
        role=role,
        gateway_id="gateway-1",
    )


SERVER_SAMPLES: dict[str, wire.FromServer] = {
    "session.welcome": _greeting(wire.SessionWelcome, "customer"),
    "session.welcome agent": _greeting(wire.SessionWelcome, "agent"),
    "session.welcome supervisor": _greeting(wire.SessionWelcome, "supervisor"),
    "session.reset": _greeting(wire.SessionReset, "customer"),
    "session.resumed": wire.SessionResumed(44, 3, AT_MS, 25_000, _ICE, "all", AT_MS + 3_600_000),
    "session.ping": wire.SessionPing(AT_MS),
    "session.token": wire.SessionToken(AT_MS + 60_000),
    "session.note": wire.SessionNote("CallPrioritised"),
    "session.goaway": wire.SessionGoaway("resume", 1_000),
    "ack": wire.Ack({"call_id": CALL_ID}),
    "error": wire.Error("already_in_call", CALL_ID),
    "error then": wire.Error("queue_closed", "Back at nine", "message"),
    "error wait": wire.Error("overloaded", "try again with the same id", retry_after_ms=1_200),
    "call.queued": wire.CallQueued(CALL_ID, "loans", AT_MS, "room"),
    "call.queued callback": wire.CallQueued(CALL_ID, "loans", AT_MS, "room", True),
    "call.callback": wire.CallCallback(CALL_ID, "asked"),
    "call.ringing": wire.CallRinging(CALL_ID),
    "call.waiting": wire.CallWaiting(CALL_ID, "declined"),
    "call.moved": wire.CallMoved(CALL_ID, "cards", "queue_closed"),
    "call.matched": wire.CallMatched(CALL_ID, "Anna Li"),
    "rtc.room": wire.RtcRoom(CALL_ID, 1),
    "rtc.room_lost": wire.RtcRoomLost(CALL_ID, 1, "worker_lost"),
    "rtc.restart": wire.RtcRestart(CALL_ID, 1, "party_left"),
    "call.party": wire.CallParty(CALL_ID, "agent", True),
    "record.state": wire.RecordState(CALL_ID, "customer", "started"),
    "call.connected": wire.CallConnected(CALL_ID),
    "call.ended": wire.CallEnded(CALL_ID, "no_agents", 42_000, 0, then="message"),
    "call.ended agent": wire.CallEnded(CALL_ID, "customer_hung_up", 42_000, 180_000, "timed", AT_MS + 30_000),
    "queue.update": wire.QueueUpdate(CALL_ID, 2, 65_000),
    "queue.update unknown": wire.QueueUpdate(CALL_ID, 1, None),
    "agent.state": wire.AgentState("not_ready", "lunch"),
    "reservation.new": _RESERVATION,
    "reservation.new party": _PARTY_RESERVATION,
    "reservation.accepted": wire.ReservationAccepted(f"{CALL_ID}.1", CALL_ID, AT_MS + 20_000),
    "reservation.joint": wire.ReservationJoint(f"{CALL_ID}.1", CALL_ID, "a-17"),
    "reservation.closed": wire.ReservationClosed(f"{CALL_ID}.1", CALL_ID, "declined", "lunch"),
    "call.requeued": wire.CallRequeued(CALL_ID, "agent_lost"),
    "wrapup.extended": wire.WrapUpExtended(CALL_ID, AT_MS + 60_000),
    "wrapup.ended": wire.WrapUpEnded(CALL_ID, "done"),
    "call.invited": talking.CallInvited(CALL_ID, "loans", AT_MS + 600_000, "LN-2026-17", agent_name="Anna Li"),
    "call.invited agent": talking.CallInvited(CALL_ID, "loans", AT_MS + 600_000, "LN-2026-17", customer="王**"),
    "invitation.accepted": talking.InvitationAccepted(CALL_ID, AT_MS, "room"),
    "call.transferred": talking.CallTransferred(CALL_ID, "cards", AT_MS),
    "call.transferred agent": talking.CallTransferred(CALL_ID, "cards", AT_MS, "timed", AT_MS + 30_000),
    "call.owner": talking.CallOwner(CALL_ID, agent_name="Bo Ek"),
    "call.owner agent": talking.CallOwner(
        CALL_ID,
        from_agent_id="a-40",
        to_agent_id="a-17",
        reason="consulted",
        wrap_up="none",
        wrap_up_until_ms=0,
        call=_AGENTS_CALL,
    ),
    "call.owner script": talking.CallOwner(
        CALL_ID,
        from_agent_id="a-40",
        to_agent_id="a-17",
        reason="consulted",
        wrap_up="none",
        wrap_up_until_ms=0,
        call=replace(_AGENTS_CALL, script=wire.Script(2, "risk/3", _STEP_TEXT, ["同意", "不同意"], "同意")),
    ),
    "call.hold": talking.CallHold(CALL_ID, True, "asked", AT_MS + 60_000),
    "script.step": talking.ScriptStep(CALL_ID, 2, "risk/3", _STEP_TEXT, ["同意", "不同意"]),
    "script.answer": talking.ScriptAnswer(CALL_ID, 2, "risk/3", "同意"),
    "party.ringing": talking.PartyRinging(CALL_ID, "a-40", "expert", AT_MS + 15_000),
    "party.added": talking.PartyAdded(CALL_ID, "expert", agent_name="Bo Ek"),
    "party.added agent": talking.PartyAdded(CALL_ID, "expert", agent_id="a-40"),
    "party.added script": talking.PartyAdded(
        CALL_ID, "expert", agent_id="a-40", script=wire.Script(2, "risk/3", _STEP_TEXT, ["同意", "不同意"])
    ),
    "party.removed": talking.PartyRemoved(CALL_ID, "left", "expert"),
    "party.removed agent": talking.PartyRemoved(CALL_ID, "left", "expert", "a-40", "timed", AT_MS + 30_000),
    "call.handing_over": talking.CallHandingOver(CALL_ID, "queue_full"),
    "call.handed_over": talking.CallHandedOver(CALL_ID, "north", 9),
    "board.snapshot": watching.BoardSnapshot("queues", "main", 1, [_QUEUE_ROW], False, False),
    "board.snapshot agents": watching.BoardSnapshot("agents", "main", 1, [_AGENT_ROW], False, False),
    "board.delta": watching.BoardDelta("calls", "main", 8, [_CALL_ROW], ["k-3"], True, False),
    "alert": watching.Alert("disk_low", "media-1: recordings", "900 bytes are free", "error", True),
    "call.monitored": watching.CallMonitored(CALL_ID, "s-2", "listen"),
}
"""Name -> message. A name is the type, and after a space what is special about it."""

CLIENT_SAMPLES: dict[str, FromClient] = {
    "session.pong": said.SessionPong(),
    "session.ack": said.SessionAck(44),
    "call.request": said.CallRequest(
        "loans", True, "LN-2026-17", "王五", "a-17", "gd", "mobile", {"english": 5}, is_callback=True
    ),
    "call.callback": said.AskCallback(CALL_ID),
    "invitation.accept": said.InvitationAccept(CALL_ID, True, "王五"),
    "call.hang_up": said.CallHangUp(CALL_ID),
    "rtc.sdp_offer": said.RtcSdpOffer(CALL_ID, 1, _SDP),
    "rtc.candidate": said.RtcCandidate(CALL_ID, 1, "candidate:1 1 udp 2130706431 192.0.2.7 54321 typ host", "0"),
    "rtc.bye": said.RtcBye(CALL_ID, 1),
    "rtc.config": said.RtcConfig(),
    "rtc.stats": said.RtcStats(CALL_ID, {"round_trip_ms": 41.5, "loss_ratio": 0.01}),
    "agent.state": said.SetAgentState("not_ready", "lunch"),
    "reservation.accept": said.ReservationAccept(f"{CALL_ID}.1"),
    "reservation.decline": said.ReservationDecline(f"{CALL_ID}.1", "other line", is_busy=True),
    "call.transfer": said.CallTransfer(CALL_ID, "north/cards", "", 30_000, "card stolen"),
    "call.transfer agent": said.CallTransfer(CALL_ID, "", "a-40"),
    "call.hold": said.SetCallHold(CALL_ID, True),
    "script.step": said.ShowScriptStep(CALL_ID, "risk/3", _STEP_TEXT, ["同意", "不同意"]),
    "script.answer": said.AnswerScriptStep(CALL_ID, 2, "同意"),
    "party.invite": said.PartyInvite(CALL_ID, "expert", "", "wealth"),
    "party.remove": said.PartyRemove(CALL_ID, "a-40"),
    "transfer.complete": said.TransferComplete(CALL_ID, "a-40"),
    "customer.invite": said.CustomerInvite("c-7", "loans", "LN-2026-17", 600_000),
    "call.connected": said.ReportCallConnected(CALL_ID),
    "wrapup.done": said.WrapUpDone(CALL_ID),
    "wrapup.extend": said.WrapUpExtend(CALL_ID, 30_000),
    "watch.subscribe": staff.WatchSubscribe("queues", "main"),
    "watch.unsubscribe": staff.WatchUnsubscribe("queues", "main"),
    "call.monitor": staff.CallMonitor(CALL_ID, "listen", "s-2"),
    "call.monitor take_over": staff.CallMonitor(CALL_ID, "take_over", "", "a-40"),
    "agent.force_state": staff.ForceAgentState("a-17", "not_ready", "meeting"),
    "call.hang_up staff": staff.EndCall(CALL_ID, "line out of order"),
    "call.priority": staff.SetCallPriority(CALL_ID, 30_000, True),
}
"""As `SERVER_SAMPLES`, of what clients send."""


def sent(name: str) -> wire.Outgoing:
    """A sample of the server in its envelope."""
    data = SERVER_SAMPLES[name]
    re = "9f2c" if isinstance(data, wire.Ack | wire.Error) else ""
    if type(data) in UNNUMBERED:
        return wire.Outgoing(wire.VERSION, "s7", data.TYPE, data, re)
    return wire.Outgoing(wire.VERSION, "s7", data.TYPE, data, re, 42, AT_MS)
