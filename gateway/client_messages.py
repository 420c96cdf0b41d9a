"""Every message that a client may send, version 1 of the wire protocol: the one source of their types.

Rules: `docs/protocol.md` says when each is sent; this file says what it holds. The limits are annotations, so nothing
unchecked passes the codec. `TYPE` is the name on the wire. Unknown fields are ignored.

Theory: an envelope is read in two steps, first who and what (`Envelope`), then the data by its type, so that each kind
of nonsense gets its own reason.

Not here: what the server sends (`gateway/messages.py`), bytes (`gateway/codec.py`), meaning (`gateway/customer.py`,
`gateway/agent.py`).
"""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Raw, Struct, field

from dispatch.commands import MAX_TEXT
from dispatch.plan import DAY_MS, Id
from dispatch.wishes import Skills

SDP_LENGTH_MAX = 32_768
"""Characters. Chromium's offer with one audio and one video section has about 6,000; the frame bound is 64 KiB."""
STATS_COUNT_MAX = 32

MessageId = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]{1,64}\Z")]
"""Patterns end with `\\Z`: `$` would let a trailing line break through."""
TypeName = Annotated[str, Meta(min_length=1, max_length=64)]
Reference = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]{1,128}\Z")]
"""An id that somebody else made. Control characters have no business in a log or a key."""
Text = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]*\Z", max_length=MAX_TEXT)]
Sdp = Annotated[str, Meta(min_length=1, max_length=SDP_LENGTH_MAX)]
Attempt = Annotated[int, Meta(ge=0, le=1_000_000)]
OptionalId = Annotated[str, Meta(pattern=r"^([A-Za-z0-9][A-Za-z0-9._:@-]{0,63})?\Z")]
OptionalAddress = Annotated[
    str, Meta(pattern=r"^([A-Za-z0-9][A-Za-z0-9._:@-]{0,63}(/[A-Za-z0-9][A-Za-z0-9._:@-]{0,63})?)?\Z")
]
"""A queue, or one of another division as `division/queue`."""
"""An id of the plan (`dispatch.plan.Id`), or empty for none."""
PlaceName = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]{0,64}\Z")]
"""A region or a carrier, as the plan names them; empty: not known."""
CreditMs = Annotated[int, Meta(ge=0, le=DAY_MS)]
InvitationMs = Annotated[int, Meta(ge=0, le=7 * DAY_MS)]
PartyRole = Literal["consult", "expert", "third"]
StatName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,63}\Z")]


class Envelope(Struct):
    """What a client sends around its data. Unknown fields are ignored."""

    v: Literal[1]
    id: MessageId
    type: TypeName
    data: Raw = Raw(b"")
    traceparent: str = ""
    """W3C Trace Context; one that is malformed counts as none."""


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
    preferred_agent_id: OptionalId = ""
    region: PlaceName = ""
    carrier: PlaceName = ""
    need: Skills = field(default_factory=dict)
    """Skills beside the queue's own need (a language, say)."""
    is_callback: bool = False


class CallCallback(FromClient):
    TYPE: ClassVar[str] = "call.callback"

    call_id: Reference


class InvitationAccept(FromClient):
    TYPE: ClassVar[str] = "invitation.accept"

    call_id: Reference
    is_consented: bool = False
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
    is_busy: bool = False
    """Busy elsewhere: nobody asks for `busy_delay_ms`."""


class CallTransfer(FromClient):
    TYPE: ClassVar[str] = "call.transfer"

    call_id: Reference
    to_queue_id: OptionalAddress = ""
    to_agent_id: OptionalId = ""
    credit_ms: CreditMs | None = None
    """None: the target's `transfer_credit_ms`."""
    reason: Text = ""


class CallHold(FromClient):
    TYPE: ClassVar[str] = "call.hold"

    call_id: Reference
    is_held: bool


class PartyInvite(FromClient):
    TYPE: ClassVar[str] = "party.invite"

    call_id: Reference
    role: PartyRole
    to_agent_id: OptionalId = ""
    to_queue_id: OptionalId = ""


class PartyRemove(FromClient):
    TYPE: ClassVar[str] = "party.remove"

    call_id: Reference
    agent_id: OptionalId = ""
    """Empty: the speaker leaves."""


class TransferComplete(FromClient):
    TYPE: ClassVar[str] = "transfer.complete"

    call_id: Reference
    to_agent_id: Id


class CustomerInvite(FromClient):
    TYPE: ClassVar[str] = "customer.invite"

    customer_id: Id
    queue_id: Id
    business_reference: Text = ""
    valid_ms: InvitationMs = 0
    """0: the plan's `invitation_ms`."""


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
_CUSTOMER: list[type[FromClient]] = [*_SESSION, CallRequest, CallCallback, InvitationAccept, *_TALK]
_AGENT: list[type[FromClient]] = [
    *_SESSION,
    SetAgentState,
    ReservationAccept,
    ReservationDecline,
    *_TALK,
    CallTransfer,
    CallHold,
    PartyInvite,
    PartyRemove,
    TransferComplete,
    CustomerInvite,
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
