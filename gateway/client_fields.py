"""What all messages of clients are made of: the envelope, and the kinds of their fields with their bounds.

Rules: the limits are annotations, so nothing unchecked passes the codec.

Not here: the messages themselves (`gateway/client_messages.py`, `gateway/client_messages_staff.py`).
"""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Raw, Struct

from dispatch.commands import MAX_TEXT
from dispatch.plan import DAY_MS
from dispatch.scripting import ANSWER_TEXT_MAX, STEP_ID_MAX, STEP_TEXT_MAX
from gateway.answers import Nothing

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
CANDIDATE_LENGTH_MAX = 512
"""Characters. A browser's has about 150."""
Candidate = Annotated[str, Meta(pattern=r"^(candidate:[^\x00-\x1f\x7f]*)?\Z", max_length=CANDIDATE_LENGTH_MAX)]
"""As `RTCIceCandidate.candidate`; empty: there are no more."""
Mid = Annotated[str, Meta(pattern=r"^[^\x00-\x20\x7f]{0,16}\Z")]
Attempt = Annotated[int, Meta(ge=0, le=1_000_000)]
OptionalId = Annotated[str, Meta(pattern=r"^([A-Za-z0-9][A-Za-z0-9._:@-]{0,63})?\Z")]
"""An id of the plan (`dispatch.plan.Id`), or empty for none."""
OptionalAddress = Annotated[
    str, Meta(pattern=r"^([A-Za-z0-9][A-Za-z0-9._:@-]{0,63}(/[A-Za-z0-9][A-Za-z0-9._:@-]{0,63})?)?\Z")
]
"""A queue, or one of another division as `division/queue`."""
PlaceName = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]{0,64}\Z")]
"""A region or a carrier, as the plan names them; empty: not known."""
CreditMs = Annotated[int, Meta(ge=0, le=DAY_MS)]
InvitationMs = Annotated[int, Meta(ge=0, le=7 * DAY_MS)]
StepText = Annotated[str, Meta(pattern=r"^[^\x00-\x09\x0b-\x1f\x7f]+\Z", max_length=STEP_TEXT_MAX)]
"""What a customer is shown; it may have several lines."""
StepAnswer = Annotated[str, Meta(pattern=rf"^[^\x00-\x1f\x7f]{{1,{ANSWER_TEXT_MAX}}}\Z")]
StepId = Annotated[str, Meta(pattern=rf"^[^\x00-\x1f\x7f]{{1,{STEP_ID_MAX}}}\Z")]
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
    ANSWER: ClassVar[type[Struct] | None] = Nothing
    """What is in `ack.value`; None: the message is not answered at all."""
