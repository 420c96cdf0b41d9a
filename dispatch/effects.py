"""Effects: what the engine asks of the shell, released only after the events they came with are durable.

An effect is derived from state, so after a crash `Engine.pending_effects()` names the same ones again under the
same (call, attempt); receivers ignore repeats.
"""

from typing import Any, Literal

from msgspec import Struct

from dispatch.events import Event
from dispatch.handing_facts import HandedCall

Refusal = Literal[
    "unknown_queue",
    "unknown_agent",
    "unknown_call",
    "unknown_reservation",
    "unknown_recipient",
    "already_in_call",
    "call_exists",
    "consent_required",
    "queue_full",
    "queue_closed",
    "no_agents",
    "hall_full",
    "callbacks_full",
    "too_many_needs",
    "not_qualified",
    "agent_unavailable",
    "no_agent_free",
    "too_many_parties",
    "too_many_steps",
    "step_replaced",
    "already_answered",
    "not_yours",
    "not_pending",
    "not_in_wrap_up",
    "not_external",
    "wrong_state",
    "bad_value",
    "stale_attempt",
    "calls_would_be_stranded",
    "plan_changed",
    "idempotency_store_full",
    "key_reused",
    "quarantined",
    "moved",
    "too_many_hops",
    "hand_over_expired",
    "hand_overs_full",
    "revoked",
]
"""Why a command was refused. The gateway adds its own reasons for what never reaches an engine."""


class Reply(Struct, array_like=True, gc=False, tag="reply"):
    """The answer to the command of this step; always the last effect of a step."""

    reason: str = ""
    """Empty: accepted."""
    value: dict[str, Any] | None = None

    @property
    def is_accepted(self) -> bool:
        """Was the command carried out?"""
        return not self.reason


class Notify(Struct, array_like=True, gc=False, tag="notify"):
    """Tell `recipient` of `event` as its number `seq`."""

    recipient: str
    seq: int
    event: Event


class RequestRoom(Struct, array_like=True, gc=False, tag="request_room"):
    """Choose a media worker for (call, attempt) and answer with `AssignRoom`."""

    call_id: str
    attempt: int


class OpenRoom(Struct, array_like=True, gc=False, tag="open_room"):
    """Open the room on the assigned worker; it answers with `ReportRoomOpened` or `ReportRoomFailed`."""

    call_id: str
    attempt: int
    worker_id: str
    worker_epoch: int
    parties: list[str]
    recording: str
    business_reference: str
    division_id: str
    queue_id: str


class CloseRoom(Struct, array_like=True, gc=False, tag="close_room"):
    """The call ended or moved on: close, seal and report the recording."""

    call_id: str
    attempt: int
    worker_id: str
    worker_epoch: int


class HandOver(Struct, array_like=True, gc=False, tag="hand_over"):
    """Carry the call to another division with `AdmitHandOver`; its answer comes back as `ReportHandOver`."""

    to_division: str
    call: HandedCall


class TakeBack(Struct, array_like=True, gc=False, tag="take_back"):
    """Follow a hand-over with `RevokeHandOver`; its answer comes back as `ReportHandOver`."""

    to_division: str
    call_id: str
    version: int
    reason: str
    valid_until_ms: int
    from_division: str


class TellEnd(Struct, array_like=True, gc=False, tag="tell_end"):
    """Tell the division that a call came from that it has ended, with `EndHandedCall`; told: `ReportEndTold`."""

    to_division: str
    call_id: str
    version: int
    reason: str


Carried = HandOver | TakeBack | TellEnd
"""What goes to another division."""
Effect = Reply | Notify | RequestRoom | OpenRoom | CloseRoom | HandOver | TakeBack | TellEnd
