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
from dispatch.scripting import ANSWERS_MAX, STEPS_MAX
from dispatch.wishes import Skills
from gateway import answers
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
from gateway.client_fields import StepAnswer as StepAnswer
from gateway.client_fields import StepId as StepId
from gateway.client_fields import StepText as StepText
from gateway.client_fields import Text as Text
from gateway.client_messages_staff import STAFF_TYPES


class SessionPong(FromClient):
    """The answer to `session.ping`; it is not answered itself."""

    TYPE: ClassVar[str] = "session.pong"
    ANSWER = None


class SessionAck(FromClient):
    """The client is there and has read up to `seq`; it is not answered."""

    TYPE: ClassVar[str] = "session.ack"
    ANSWER = None

    seq: Annotated[int, Meta(ge=0)] = 0


class CallRequest(FromClient):
    """Ask for a call. The message's id makes the call's id, so a repeat is the same call."""

    TYPE: ClassVar[str] = "call.request"
    ANSWER = answers.RequestedCall

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


class AskCallback(FromClient):
    """The customer need not stay; the call keeps its place."""

    TYPE: ClassVar[str] = "call.callback"

    call_id: Reference


class InvitationAccept(FromClient):
    """Come to the call that an agent invited to; the id is in the link."""

    TYPE: ClassVar[str] = "invitation.accept"
    ANSWER = answers.TakenCall

    call_id: Reference
    is_consented: bool = False
    display_name: Text = ""


class CallHangUp(FromClient):
    """End the call, or withdraw the request."""

    TYPE: ClassVar[str] = "call.hang_up"

    call_id: Reference


class RtcSdpOffer(FromClient):
    """Offer SDP for the room's present attempt; a repeat makes a new peer connection, and the newest one counts."""

    TYPE: ClassVar[str] = "rtc.sdp_offer"
    ANSWER = answers.SdpAnswer

    call_id: Reference
    attempt: Attempt
    sdp: Sdp


class RtcCandidate(FromClient):
    """A trickled ICE candidate (RFC 8838) of the newest offer, after its ack."""

    TYPE: ClassVar[str] = "rtc.candidate"

    call_id: Reference
    attempt: Attempt
    candidate: Candidate
    """Empty: there are no more."""
    sdp_mid: Mid = ""
    """The media are bundled, so it changes nothing; browsers say it."""


class RtcBye(FromClient):
    """Leave the room at once; the call goes on, and a new offer comes back."""

    TYPE: ClassVar[str] = "rtc.bye"

    call_id: Reference
    attempt: Attempt


class RtcConfig(FromClient):
    """Ask for the ICE servers with fresh credentials."""

    TYPE: ClassVar[str] = "rtc.config"
    ANSWER = answers.IceConfiguration


class RtcStats(FromClient):
    """How the media does, measured by the client: `round_trip_ms`, `jitter_ms`, `loss_ratio`, `frames_per_s`, `setup_ms`."""

    TYPE: ClassVar[str] = "rtc.stats"

    call_id: Reference
    stats: Annotated[dict[StatName, float], Meta(max_length=STATS_COUNT_MAX)] = field(default_factory=dict)


class SetAgentState(FromClient):
    """Become ready, not ready with a reason, or sign out."""

    TYPE: ClassVar[str] = "agent.state"

    activity: Literal["ready", "not_ready", "offline"]
    reason: Text = ""


class ReservationAccept(FromClient):
    """Take the call that rings."""

    TYPE: ClassVar[str] = "reservation.accept"
    ANSWER = answers.TakenCall

    reservation_id: Reference


class ReservationDecline(FromClient):
    """Give the call back to its old place."""

    TYPE: ClassVar[str] = "reservation.decline"

    reservation_id: Reference
    reason: Text = ""
    is_busy: bool = False
    """Busy elsewhere: nobody asks for `busy_delay_ms`."""


class CallTransfer(FromClient):
    """Give the call away without waiting for anybody: to a queue (`division/queue` for another division's), or to an agent who
    is free now."""

    TYPE: ClassVar[str] = "call.transfer"
    ANSWER = answers.Transferred

    call_id: Reference
    to_queue_id: OptionalAddress = ""
    to_agent_id: OptionalId = ""
    credit_ms: CreditMs | None = None
    """None: the target's `transfer_credit_ms`."""
    reason: Text = ""


class SetCallHold(FromClient):
    """Put the customer on hold, or take the customer back."""

    TYPE: ClassVar[str] = "call.hold"

    call_id: Reference
    is_held: bool


class ShowScriptStep(FromClient):
    """Show the customer a step of a script; it takes the place of the one before."""

    TYPE: ClassVar[str] = "script.step"
    ANSWER = answers.ShownStep

    call_id: Reference
    step_id: StepId
    """The bank's name of the step."""
    text: StepText
    answers: Annotated[list[StepAnswer], Meta(max_length=ANSWERS_MAX)] = field(default_factory=list)
    """What the customer may answer; none: the step is only shown."""


class AnswerScriptStep(FromClient):
    """Answer the step that is shown, once."""

    TYPE: ClassVar[str] = "script.answer"

    call_id: Reference
    number: Annotated[int, Meta(ge=1, le=STEPS_MAX)]
    answer: StepAnswer


class PartyInvite(FromClient):
    """Ask one more agent into the call. `consult`: the customer neither hears nor is told."""

    TYPE: ClassVar[str] = "party.invite"
    ANSWER = answers.InvitedParty

    call_id: Reference
    role: PartyRole
    to_agent_id: OptionalId = ""
    to_queue_id: OptionalId = ""


class PartyRemove(FromClient):
    """Let a further agent out of the call, also while it still rings there."""

    TYPE: ClassVar[str] = "party.remove"

    call_id: Reference
    agent_id: OptionalId = ""
    """Empty: the speaker leaves."""


class TransferComplete(FromClient):
    """Give the call to one of its parties."""

    TYPE: ClassVar[str] = "transfer.complete"

    call_id: Reference
    to_agent_id: Id


class CustomerInvite(FromClient):
    """Invite a customer to a call with this agent; the link that the customer gets names `call_id`."""

    TYPE: ClassVar[str] = "customer.invite"
    ANSWER = answers.InvitedCall

    customer_id: Id
    queue_id: Id
    business_reference: Text = ""
    valid_ms: InvitationMs = 0
    """0: the plan's `invitation_ms`."""


class ReportCallConnected(FromClient):
    """The parties hear each other: only where another system carries the media."""

    TYPE: ClassVar[str] = "call.connected"

    call_id: Reference


class WrapUpDone(FromClient):
    """The work after the call is done."""

    TYPE: ClassVar[str] = "wrapup.done"

    call_id: Reference


class WrapUpExtend(FromClient):
    """Ask for more time, up to the queue's bound."""

    TYPE: ClassVar[str] = "wrapup.extend"
    ANSWER = answers.WrapUpUntil

    call_id: Reference
    extra_ms: Annotated[int, Meta(ge=1, le=DAY_MS)]


_SESSION: list[type[FromClient]] = [SessionPong, SessionAck]
_TALK: list[type[FromClient]] = [CallHangUp, RtcConfig, RtcSdpOffer, RtcCandidate, RtcBye, RtcStats]
_CUSTOMER: list[type[FromClient]] = [*_SESSION, CallRequest, AskCallback, InvitationAccept, AnswerScriptStep, *_TALK]
_AGENT: list[type[FromClient]] = [
    *_SESSION,
    SetAgentState,
    ReservationAccept,
    ReservationDecline,
    *_TALK,
    CallTransfer,
    SetCallHold,
    ShowScriptStep,
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
