"""What commands are answered with, over WebSocket (`ack.value`) and REST alike.

Rules: the values themselves come from the engine as plain dictionaries; these types say what is in them, and a test holds the
two together. A field that is `UNSET` is not in the answer.

Not here: answers to questions (`gateway/documents.py`), refusals (`gateway/refusals.py`).
"""

from typing import Any

from msgspec import UNSET, Struct, UnsetType


class Nothing(Struct):
    """It is done, and there is nothing to tell."""


class ConfigurationTaken(Struct):
    """The division decides by it, or, after a dry run, would."""

    is_changed: bool
    """It is another one than was in force."""
    is_dry_run: bool


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


class ShownStep(Struct):
    """Which showing it is: of the steps shown in this call, from 1."""

    number: int


class InvitedParty(Struct):
    """Who is asked."""

    agent_id: str


class IssuedTicket(Struct):
    """Good for one upgrade before `expires_at_ms`."""

    ticket: str
    expires_at_ms: int


class AuditPage(Struct):
    """Entries of the audit log, and after which number to go on."""

    entries: list[dict[str, Any]]
    next: int


class AuditHead(Struct):
    """Number and hash of the audit log's last entry; 0 and zeros where there is none."""

    seq: int
    hash: str


class DivisionMoved(Struct):
    """The division serves at this slot now."""

    division_id: str
    slot_id: str


class GatewayDraining(Struct):
    """The gateway sends its clients elsewhere; `connections_count` is how many it has."""

    slot_id: str
    connections_count: int


class TakenCall(Struct):
    """The call that is meant."""

    call_id: str


class SdpAnswer(Struct):
    """The media worker's answer to an SDP offer."""

    sdp_answer: str
    attempt: int


class IceConfiguration(Struct):
    """What a peer connection is made with; credentials end at `ice_until_ms`, 0: never."""

    ice_servers: list[dict[str, Any]]
    ice_transport_policy: str
    ice_until_ms: int


class WrapUpUntil(Struct):
    """When the wrap-up ends now: what was asked for beyond the queue's bound is cut."""

    until_ms: int


class Watched(Struct):
    """What is watched; its snapshot follows."""

    board: str
    division_id: str
