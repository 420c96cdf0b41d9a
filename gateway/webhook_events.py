"""What happens to calls, as CloudEvents 1.0 in structured JSON mode, for systems outside.

Rules
- What leaves is named here, field by field: ids, states, instants, counts and reasons from a fixed list. No name, no free text,
  no business reference, no personal data: who needs more asks `GET /v1/calls/{id}` with a token of their own.
- `id` is the event's for good: a repeat has the same one. `subject` is the call; `sequence` sorts as text, and within one
  subject says what came first.

Not here: who is told (`actors/webhook_book`), sending and signing (`gateway/webhook_sender`, `gateway/webhook_signing`).
"""

import re
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec import Struct, field

from actors.archive_reading import Placed
from dispatch import events as ev

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
TYPE_PREFIX = "tellerhall."

FIELDS: Final[dict[type[ev.Event], tuple[str, ...]]] = {
    ev.CallQueued: ("customer_id", "queue_id", "queued_at_ms", "media", "recording", "is_callback", "cause"),
    ev.CallRefused: ("customer_id", "queue_id", "reason", "then"),
    ev.CallInvited: ("customer_id", "queue_id", "agent_id"),
    ev.InvitationAccepted: (),
    ev.CallReserved: ("reservation_id", "agent_id", "queue_id", "attempt", "expires_at_ms", "waited_ms", "role"),
    ev.ReservationAccepted: ("reservation_id", "agent_id", "room_attempt"),
    ev.ReservationClosed: ("reservation_id", "agent_id", "outcome"),
    ev.CallConnected: ("customer_id", "agent_id"),
    ev.CallRequeued: ("agent_id", "reason"),
    ev.CallMoved: ("from_queue_id", "queue_id", "reason"),
    ev.CallTransferred: ("queue_id",),
    ev.CallbackArranged: ("cause",),
    ev.CallHandedOver: (),
    ev.OwnershipMoved: ("from_agent_id", "to_agent_id"),
    ev.PartyAdded: ("agent_id", "role"),
    ev.PartyRemoved: ("agent_id",),
    ev.HoldChanged: ("is_held",),
    ev.ScriptStepShown: ("number",),
    ev.ScriptStepAnswered: ("number",),
    ev.RecordingStarted: ("party",),
    ev.RecordingFailed: ("party",),
    ev.RecordingSealed: ("attempt",),
    ev.RecordingMissing: ("attempt",),
    ev.CallEnded: ("customer_id", "queue_id", "agent_id", "reason", "waited_ms", "talked_ms"),
    ev.WrapUpEnded: ("agent_id", "how"),
}
"""Event -> the fields that leave. An event that is not here does not leave."""

END_REASONS: Final = frozenset(
    {
        "customer_hung_up", "agent_hung_up", "supervisor_hung_up", "operator_hung_up", "customer_lost", "agent_lost",
        "media_failed", "media_lost", "recording_failed", "waited_too_long", "queue_closed", "no_agents",
        "callback_unanswered", "invitation_expired", "hand_over_unanswered", "ended_elsewhere",
    }
)  # fmt: skip
OTHER = "other"
"""Instead of what staff wrote."""

_WORD = re.compile(r"(?<!^)(?=[A-Z])")


def type_of(kind: type[ev.Event]) -> str:
    """Return the CloudEvents type: `CallQueued` is `tellerhall.call_queued`."""
    return TYPE_PREFIX + _WORD.sub("_", kind.__name__).lower()


TYPES: Final = tuple(type_of(kind) for kind in FIELDS)
"""Every type that an endpoint may ask for."""


class CloudEvent(Struct, kw_only=True):
    """CloudEvents 1.0 with the extension `sequence`; all attributes are text."""

    specversion: str = "1.0"
    id: str
    source: str
    """`/divisions/<id>`"""
    type: str
    subject: str
    """The call."""
    time: str
    """RFC 3339, when it happened."""
    sequence: str
    """Sorts as text; grows with each event of the division, with gaps."""
    datacontenttype: str = "application/json"
    data: dict[str, Any] = field(default_factory=dict)


def event_id(division_id: str, placed: Placed) -> str:
    return f"{division_id}.{placed.batch}.{placed.place}"


def cloud_event(division_id: str, placed: Placed) -> CloudEvent | None:
    """Return the event as it leaves; None for one that does not."""
    event = placed.event
    names = FIELDS.get(type(event))
    if names is None:
        return None
    call_id = str(getattr(event, "call_id", ""))
    data = {"call_id": call_id, "at_ms": event.at_ms, **{name: getattr(event, name) for name in names}}
    if isinstance(event, ev.CallEnded) and event.reason not in END_REASONS:
        data["reason"] = OTHER
    return CloudEvent(
        id=event_id(division_id, placed),
        source=f"/divisions/{division_id}",
        type=type_of(type(event)),
        subject=call_id,
        time=datetime.fromtimestamp(event.at_ms / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        sequence=f"{placed.batch:020d}.{placed.place:06d}",
        data=data,
    )


def encoded(event: CloudEvent) -> bytes:
    """Return the body as it is sent and signed."""
    return msgspec.json.encode(event)
