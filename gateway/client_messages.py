"""Every message that a client may send, version 1 of the wire protocol: the one source of their types.

Rules: `docs/protocol.md` says when each is sent; this file says what it holds. `TYPE` is the name on the wire. Unknown
fields are ignored.

Theory: an envelope is read in two steps, first who and what (`Envelope`), then the data by its type, so that each kind
of nonsense gets its own reason.

Not here: the kinds of fields (`gateway/client_fields.py`), what supervisors and operators alone send
(`gateway/client_messages_staff.py`), what the server sends (`gateway/messages.py`), bytes (`gateway/codec.py`), meaning
(`gateway/customer.py`, `gateway/agent.py`).
"""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, field

from dispatch.plan import DAY_MS, Id
from dispatch.wishes import Skills
from gateway.client_fields import (
    STATS_COUNT_MAX,
    Attempt,
    Candidate,
    Mid,
    Sdp,
    StatName,
)
from gateway.client_fields import CreditMs as CreditMs
from gateway.client_fields import FromClient as FromClient
from gateway.client_fields import InvitationMs as InvitationMs
from gateway.client_fields import OptionalAddress as OptionalAddress
from gateway.client_fields import OptionalId as OptionalId
from gateway.client_fields import PartyRole as PartyRole
from gateway.client_fields import PlaceName as PlaceName
from gateway.client_fields import Reference as Reference
from gateway.client_fields import Text as Text
from gateway.client_messages_staff import STAFF_TYPES


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


class RtcCandidate(FromClient):
    TYPE: ClassVar[str] = "rtc.candidate"

    call_id: Reference
    attempt: Attempt
    candidate: Candidate
    """Empty: there are no more."""
    sdp_mid: Mid = ""
    """The media are bundled, so it changes nothing; browsers say it."""


class RtcBye(FromClient):
    TYPE: ClassVar[str] = "rtc.bye"

    call_id: Reference
    attempt: Attempt


class RtcConfig(FromClient):
    TYPE: ClassVar[str] = "rtc.config"


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
_TALK: list[type[FromClient]] = [CallHangUp, RtcConfig, RtcSdpOffer, RtcCandidate, RtcBye, RtcStats]
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
_STAFF: list[type[FromClient]] = [*_SESSION, CallTransfer, *STAFF_TYPES]
CLIENT_TYPES: dict[str, dict[str, type[FromClient]]] = {
    "customer": {one.TYPE: one for one in _CUSTOMER},
    "agent": {one.TYPE: one for one in _AGENT},
    "supervisor": {one.TYPE: one for one in _STAFF},
    "operator": {one.TYPE: one for one in _STAFF},
}
"""Role -> type name -> class: what each role may send."""

ALL_CLIENT_TYPES = frozenset(name for types in CLIENT_TYPES.values() for name in types)
