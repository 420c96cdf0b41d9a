"""Every message that the server sends, version 1 of the wire protocol: the one source of their types.

Rules: `docs/protocol.md` says when each is sent; a class names exactly the fields of the page. Fields marked `UNSET` are left
out when they have no meaning. `TYPE` is the name on the wire.

Not here: messages about who is in a call (`gateway/messages_talking.py`), boards and alerts
(`gateway/messages_watching.py`), what clients send (`gateway/client_messages.py`),
bytes (`gateway/codec.py`), events turned into messages (`gateway/translation.py`).
"""

from typing import Any, ClassVar, Literal

from msgspec import UNSET, Struct, UnsetType

VERSION = 1
Role = Literal["customer", "agent", "supervisor", "operator"]


class FromServer(Struct):
    """Base of all data that the server sends."""

    TYPE: ClassVar[str] = ""


class Outgoing(Struct, omit_defaults=True):
    """What the server sends around its data; `re`, `seq` and `at_ms` are left out where they mean nothing."""

    v: int
    id: str
    type: str
    data: FromServer
    re: str = ""
    seq: int = 0
    at_ms: int = 0


class Room(Struct):
    attempt: int
    is_open: bool


class Party(Struct):
    """A further agent in a call, in a snapshot. Customers are not told who it is, and of `consult` nothing."""

    role: str
    is_ringing: bool
    agent_id: str | UnsetType = UNSET


class Call(Struct):
    """A call in a snapshot."""

    call_id: str
    state: str
    queue_id: str
    queued_at_ms: int
    business_reference: str
    room: Room | None
    media: str
    recording: str
    is_recording: bool
    position: int | UnsetType = UNSET
    agent_name: str | UnsetType = UNSET
    connected_at_ms: int | UnsetType = UNSET
    customer: str | UnsetType = UNSET
    """Masked; for the agent alone."""
    agent_id: str | UnsetType = UNSET
    """Who owns it; for agents alone."""
    is_callback: bool | UnsetType = UNSET
    invited_until_ms: int | UnsetType = UNSET
    on_hold_until_ms: int | UnsetType = UNSET
    parties: list[Party] | UnsetType = UNSET


class WrapUp(Struct):
    call_id: str
    until_ms: int
    kind: str


class AgentCard(Struct):
    id: str
    name: str
    skills: dict[str, int]


class ReservationNew(FromServer):
    """A ringing reservation; also the form of a reservation in a snapshot."""

    TYPE: ClassVar[str] = "reservation.new"

    reservation_id: str
    call_id: str
    queue_id: str
    expires_at_ms: int
    attempt: int
    waited_ms: int
    customer: str
    business_reference: str
    why: str
    media: str
    key: int = 0
    """The agent's under the rule `why`: for `longest_idle` since when (ms)."""
    party_role: str | UnsetType = UNSET
    """`expert`, `third` or `consult`, where the agent is not to own the call. Not `role`: the first pages took any `role` for
    that of the session."""


class CustomerSnapshot(Struct):
    call: Call | None


class AgentSnapshot(Struct):
    activity: str
    reason: str
    agent: AgentCard
    reservation: ReservationNew | None
    call: Call | None
    wrap_up: WrapUp | None


class StaffSnapshot(Struct):
    """Of a supervisor or an operator, who watch: what they see comes by `watch.subscribe`."""

    boards: list[str]
    """What can be watched."""


Snapshot = CustomerSnapshot | AgentSnapshot | StaffSnapshot


class SessionWelcome(FromServer):
    TYPE: ClassVar[str] = "session.welcome"

    session: Snapshot
    seq: int
    server_ms: int
    ping_ms: int
    ice_servers: list[dict[str, Any]]
    principal: str
    role: str
    gateway_id: str
    ice_transport_policy: Literal["all", "relay"] = "all"
    ice_until_ms: int = 0
    """When the credentials in `ice_servers` end; 0: they do not."""


class SessionReset(SessionWelcome):
    TYPE: ClassVar[str] = "session.reset"


class SessionResumed(FromServer):
    TYPE: ClassVar[str] = "session.resumed"

    seq: int
    missed_count: int
    server_ms: int
    ping_ms: int
    ice_servers: list[dict[str, Any]]
    ice_transport_policy: Literal["all", "relay"] = "all"
    ice_until_ms: int = 0


class SessionPing(FromServer):
    TYPE: ClassVar[str] = "session.ping"

    server_ms: int


class SessionToken(FromServer):
    """The token ends soon: fetch a fresh one and connect with it, or be closed with 4002 at that instant."""

    TYPE: ClassVar[str] = "session.token"

    expires_at_ms: int


class SessionGoaway(FromServer):
    TYPE: ClassVar[str] = "session.goaway"

    action: str
    after_ms: int


class SessionNote(FromServer):
    """An event without words for this client: it only keeps the numbers without a gap. `event` is empty where the client is
    not to know what it was."""

    TYPE: ClassVar[str] = "session.note"

    event: str


class Ack(FromServer):
    TYPE: ClassVar[str] = "ack"

    value: dict[str, Any]


class Error(FromServer):
    TYPE: ClassVar[str] = "error"

    reason: str
    detail: str
    then: str | UnsetType = UNSET
    """`message`: a limit refused the call, and the customer is asked for a message; `detail` is what to tell."""


class CallQueued(FromServer):
    TYPE: ClassVar[str] = "call.queued"

    call_id: str
    queue_id: str
    queued_at_ms: int
    media: str
    is_callback: bool | UnsetType = UNSET


class CallCallback(FromServer):
    TYPE: ClassVar[str] = "call.callback"

    call_id: str
    cause: str


class CallRinging(FromServer):
    TYPE: ClassVar[str] = "call.ringing"

    call_id: str


class CallWaiting(FromServer):
    TYPE: ClassVar[str] = "call.waiting"

    call_id: str
    reason: str


class CallMoved(FromServer):
    TYPE: ClassVar[str] = "call.moved"

    call_id: str
    queue_id: str
    reason: str


class CallMatched(FromServer):
    TYPE: ClassVar[str] = "call.matched"

    call_id: str
    agent_name: str


class RtcRoom(FromServer):
    TYPE: ClassVar[str] = "rtc.room"

    call_id: str
    attempt: int


class RtcRoomLost(FromServer):
    TYPE: ClassVar[str] = "rtc.room_lost"

    call_id: str
    attempt: int
    reason: str


class RtcRestart(FromServer):
    """The worker hears nothing of this party any more: make a new peer connection, and offer for the same attempt."""

    TYPE: ClassVar[str] = "rtc.restart"

    call_id: str
    attempt: int
    reason: Literal["party_left"]


class CallParty(FromServer):
    TYPE: ClassVar[str] = "call.party"

    call_id: str
    party: str
    is_joined: bool


class RecordState(FromServer):
    """`party` is empty for `sealed` and `missing`, which speak of the whole recording."""

    TYPE: ClassVar[str] = "record.state"

    call_id: str
    party: str
    state: Literal["started", "failed", "sealed", "missing"]


class CallConnected(FromServer):
    TYPE: ClassVar[str] = "call.connected"

    call_id: str


class CallEnded(FromServer):
    TYPE: ClassVar[str] = "call.ended"

    call_id: str
    reason: str
    waited_ms: int
    talked_ms: int
    wrap_up: str | UnsetType = UNSET
    wrap_up_until_ms: int | UnsetType = UNSET
    then: str | UnsetType = UNSET
    """`message`: the customer is asked for one."""


class QueueUpdate(FromServer):
    TYPE: ClassVar[str] = "queue.update"

    call_id: str
    position: int
    estimate_ms: int | None


class AgentState(FromServer):
    TYPE: ClassVar[str] = "agent.state"

    activity: str
    reason: str


class ReservationAccepted(FromServer):
    TYPE: ClassVar[str] = "reservation.accepted"

    reservation_id: str
    call_id: str
    connecting_until_ms: int


class ReservationJoint(FromServer):
    """One of the two people of a joint need has accepted; the other is still asked."""

    TYPE: ClassVar[str] = "reservation.joint"

    reservation_id: str
    call_id: str
    agent_id: str


class ReservationClosed(FromServer):
    TYPE: ClassVar[str] = "reservation.closed"

    reservation_id: str
    call_id: str
    outcome: str
    reason: str


class CallRequeued(FromServer):
    TYPE: ClassVar[str] = "call.requeued"

    call_id: str
    reason: str


class WrapUpExtended(FromServer):
    TYPE: ClassVar[str] = "wrapup.extended"

    call_id: str
    until_ms: int


class WrapUpEnded(FromServer):
    TYPE: ClassVar[str] = "wrapup.ended"

    call_id: str
    how: str
