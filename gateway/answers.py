"""What commands are answered with, over WebSocket (`ack.value`) and REST alike.

Rules: the values themselves come from the engine as plain dictionaries; these types say what is in them, and a test holds the
two together. A field that is `UNSET` is not in the answer.

Not here: answers to questions (`gateway/documents.py`), refusals (`gateway/refusals.py`).
"""

from msgspec import UNSET, Struct, UnsetType


class Nothing(Struct):
    """It is done, and there is nothing to tell."""


class RequestedCall(Struct, omit_defaults=True):
    """A call that waits. Where a limit led it elsewhere: where it waits, and why."""

    call_id: str
    queue_id: str | UnsetType = UNSET
    is_callback: bool | UnsetType = UNSET
    cause: str | UnsetType = UNSET
    to: str | UnsetType = UNSET
    """`division/queue`: another division is asked for it."""


class InvitedCall(Struct):
    """The call that begins when the customer comes before `until_ms`."""

    call_id: str
    until_ms: int


class Transferred(Struct):
    """Where the call waits now; or the division and queue that are asked for it."""

    queue_id: str | UnsetType = UNSET
    to: str | UnsetType = UNSET


class InvitedParty(Struct):
    """Who is asked."""

    agent_id: str


class DivisionMoved(Struct):
    """The division serves at this slot now."""

    division_id: str
    slot_id: str


class TakenCall(Struct):
    """The call that is meant."""

    call_id: str


class SdpAnswer(Struct):
    """The media worker's answer to an SDP offer."""

    sdp_answer: str
    attempt: int


class WrapUpUntil(Struct):
    """When the wrap-up ends now: what was asked for beyond the queue's bound is cut."""

    until_ms: int


class Watched(Struct):
    """What is watched; its snapshot follows."""

    board: str
    division_id: str
