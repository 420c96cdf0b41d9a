"""Every message of the wire protocol, version 1: the one source of its types.

Rules: `docs/protocol.md` says when each is sent; this file says what it holds. A class that a client sends carries its
limits as annotations, so that nothing unchecked passes the codec. A class that the server sends names exactly the
fields of the page. Fields marked `UNSET` are left out when they have no meaning.

Theory: an envelope is read in two steps, first who and what (`Envelope`), then the data by its type, so that each kind
of nonsense gets its own reason. `TYPE` is the name on the wire.

Not here: bytes (`gateway/codec.py`), meaning (`gateway/customer.py`, `gateway/agent.py`), events turned into messages
(`gateway/translation.py`).
"""

from typing import Annotated, Any, ClassVar, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field

from dispatch.commands import MAX_TEXT
from dispatch.plan import DAY_MS

VERSION = 1
SDP_LENGTH_MAX = 32_768
"""Characters. Chromium's offer with one audio and one video section has about 6,000; the frame bound is 64 KiB."""
STATS_COUNT_MAX = 32

MessageId = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]{1,64}$")]
TypeName = Annotated[str, Meta(min_length=1, max_length=64)]
Reference = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]{1,128}$")]
"""An id that somebody else made. Control characters have no business in a log or a key."""
Text = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=MAX_TEXT)]
Sdp = Annotated[str, Meta(min_length=1, max_length=SDP_LENGTH_MAX)]
Attempt = Annotated[int, Meta(ge=0, le=1_000_000)]
StatName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Role = Literal["customer", "agent", "supervisor", "operator"]


class Envelope(Struct):
    """What a client sends around its data. Unknown fields are ignored."""

    v: Literal[1]
    id: MessageId
    type: TypeName
    data: Raw = Raw(b"")


class FromClient(Struct):
    """Base of all data that a client may send."""

    TYPE: ClassVar[str] = ""


class SessionPong(FromClient):
    TYPE: ClassVar[str] = "session.pong"


class SessionAck(FromClient):
    TYPE: ClassVar[str] = "session.ack"

    seq: Annotated[int, Meta(ge=0)] = 0


class CallRequest(FromClient):
    TYPE: ClassVar[str] = "call.request"

    queue_id: Reference
    is_consented: bool = False
    business_reference: Text = ""
    display_name: Text = ""


class CallHangUp(FromClient):
    TYPE: ClassVar[str] = "call.hang_up"

    call_id: Reference


class RtcSdpOffer(FromClient):
    TYPE: ClassVar[str] = "rtc.sdp_offer"

    call_id: Reference
    attempt: Attempt
    sdp: Sdp


class RtcStats(FromClient):
    TYPE: ClassVar[str] = "rtc.stats"

    call_id: Reference
    stats: Annotated[dict[StatName, float], Meta(max_length=STATS_COUNT_MAX)] = field(default_factory=dict)


class SetAgentState(FromClient):
    TYPE: ClassVar[str] = "agent.state"

    activity: Literal["ready", "not_ready", "offline"]
    reason: Text = ""


class ReservationAccept(FromClient):
    TYPE: ClassVar[str] = "reservation.accept"

    reservation_id: Reference


class ReservationDecline(FromClient):
    TYPE: ClassVar[str] = "reservation.decline"

    reservation_id: Reference
    reason: Text = ""


class ReportCallConnected(FromClient):
    TYPE: ClassVar[str] = "call.connected"

    call_id: Reference


class WrapUpDone(FromClient):
    TYPE: ClassVar[str] = "wrapup.done"

    call_id: Reference


class WrapUpExtend(FromClient):
    TYPE: ClassVar[str] = "wrapup.extend"

    call_id: Reference
    extra_ms: Annotated[int, Meta(ge=1, le=DAY_MS)]


_SESSION: list[type[FromClient]] = [SessionPong, SessionAck]
_TALK: list[type[FromClient]] = [CallHangUp, RtcSdpOffer, RtcStats]
_CUSTOMER: list[type[FromClient]] = [*_SESSION, CallRequest, *_TALK]
_AGENT: list[type[FromClient]] = [
    *_SESSION,
    SetAgentState,
    ReservationAccept,
    ReservationDecline,
    *_TALK,
    ReportCallConnected,
    WrapUpDone,
    WrapUpExtend,
]
CLIENT_TYPES: dict[str, dict[str, type[FromClient]]] = {
    "customer": {one.TYPE: one for one in _CUSTOMER},
    "agent": {one.TYPE: one for one in _AGENT},
}
"""Role -> type name -> class: what each role may send. Other roles have no session yet."""

ALL_CLIENT_TYPES = frozenset(name for types in CLIENT_TYPES.values() for name in types)


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


class CustomerSnapshot(Struct):
    call: Call | None


class AgentSnapshot(Struct):
    activity: str
    reason: str
    agent: AgentCard
    reservation: ReservationNew | None
    call: Call | None
    wrap_up: WrapUp | None


Snapshot = CustomerSnapshot | AgentSnapshot


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


class SessionReset(SessionWelcome):
    TYPE: ClassVar[str] = "session.reset"


class SessionResumed(FromServer):
    TYPE: ClassVar[str] = "session.resumed"

    seq: int
    missed_count: int
    server_ms: int
    ping_ms: int
    ice_servers: list[dict[str, Any]]


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
    """An event without words in this version of the protocol: it only keeps the numbers without a gap."""

    TYPE: ClassVar[str] = "session.note"

    event: str


class Ack(FromServer):
    TYPE: ClassVar[str] = "ack"

    value: dict[str, Any]


class Error(FromServer):
    TYPE: ClassVar[str] = "error"

    reason: str
    detail: str


class CallQueued(FromServer):
    TYPE: ClassVar[str] = "call.queued"

    call_id: str
    queue_id: str
    queued_at_ms: int


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
