"""Why the gateway says no: one exception, one table of HTTP statuses.

Rules: the engine's refusals (`dispatch.effects.Refusal`) pass through by name; the gateway adds its own for what never
reaches an engine. Exceptions of the layers below are mapped here, once (`STYLE.md`: expected refusals are
values; at the edge they end the handling of one message, which is what an exception is good at).

Not here: the writing of problem documents (`gateway/problems.py`) and of `error` messages (`gateway/session.py`).
"""

from typing import Literal, get_args

from msgspec import Struct

from actors.hall import HallUnavailable, MediaRefused, MoveRefused
from actors.store_client import StoreUnavailable
from dispatch.effects import Refusal

OwnReason = Literal[
    "malformed",
    "unknown_type",
    "bad_value",
    "too_large",
    "too_many",
    "too_many_rows",
    "too_slow",
    "bad_encoding",
    "too_many_webhooks",
    "not_signed_in",
    "token_expired",
    "ticket_unknown",
    "wrong_role",
    "wrong_origin",
    "not_found",
    "not_ready",
    "store_unavailable",
    "overloaded",
    "no_media_worker",
    "bad_sdp",
    "unknown_room",
    "unknown_party",
    "unknown_link",
    "ice_restart",
    "precondition_required",
    "precondition_failed",
    "unsupported_media_type",
    "division_stopped",
    "clock_behind",
    "disk_low",
    "journal_full",
    "audit_full",
    "not_owner",
    "unknown_division",
    "unknown_slot",
    "placement_changed",
    "cannot_replay",
    "cannot_catch_up",
    "owner_changed",
    "not_placed_here",
    "internal",
]

STATUS_BY_REASON: dict[str, int] = {
    "malformed": 400,
    "unknown_type": 400,
    "bad_value": 400,
    "not_signed_in": 401,
    "token_expired": 401,
    "ticket_unknown": 401,
    "wrong_role": 403,
    "wrong_origin": 403,
    "not_yours": 403,
    "not_found": 404,
    "unknown_call": 404,
    "unknown_queue": 404,
    "unknown_agent": 404,
    "unknown_reservation": 404,
    "unknown_recipient": 404,
    "consent_required": 422,
    "not_qualified": 422,
    "key_reused": 422,
    "too_many_rows": 422,
    "bad_sdp": 422,
    "ice_restart": 422,
    "precondition_failed": 412,
    "plan_changed": 412,
    "precondition_required": 428,
    "unsupported_media_type": 415,
    "unknown_link": 404,
    "too_large": 413,
    "too_many": 429,
    "too_slow": 408,
    "bad_encoding": 415,
    "division_stopped": 503,
    "clock_behind": 503,
    "disk_low": 503,
    "journal_full": 503,
    "audit_full": 503,
    "not_owner": 503,
    "unknown_division": 404,
    "unknown_slot": 404,
    "queue_full": 503,
    "queue_closed": 503,
    "no_agents": 503,
    "callbacks_full": 503,
    "too_many_needs": 503,
    "hall_full": 503,
    "not_ready": 503,
    "store_unavailable": 503,
    "overloaded": 503,
    "no_media_worker": 503,
    "idempotency_store_full": 503,
    "internal": 500,
}
"""Reason -> HTTP status; every other reason is a conflict with the present state: 409."""

KNOWN_REASONS = frozenset(get_args(Refusal)) | frozenset(get_args(OwnReason))
"""Bounds the labels of the metrics."""

RETRY_AFTER_MS = 1_000
"""What a client is told to wait where the layer below named no time."""


class Mistake(Struct):
    """One of several things that are wrong with what was sent."""

    path: str
    """As in `queues[2].need.loans`; empty for the whole."""
    what: str
    """What is wrong, or what is allowed."""
    seen: str = ""
    """The value, shortened."""


class Refused(Exception):
    """One message or request is refused. `re` is the message's id where it is known.

    `then` is `message` where the customer is to be asked for one, as the queue's limit says.
    """

    def __init__(
        self,
        reason: str,
        detail: str = "",
        re: str = "",
        retry_after_ms: int = 0,
        *,
        then: str = "",
        problems: list[Mistake] | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail
        self.re = re
        self.retry_after_ms = retry_after_ms
        self.then = then
        self.problems = problems or []

    @property
    def status(self) -> int:
        return STATUS_BY_REASON.get(self.reason, 409)


EXPECTED = (HallUnavailable, MediaRefused, MoveRefused, StoreUnavailable, TimeoutError)
"""What the layers below raise when they cannot or will not; everything else is a bug."""


def refused_by(error: BaseException) -> Refused:
    """Map an exception of the layers below to the refusal a client sees. Bugs become `internal`, without a word of why."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, HallUnavailable):
        return Refused(error.reason, "try again with the same id", retry_after_ms=error.retry_after_ms)
    if isinstance(error, MediaRefused | MoveRefused):
        return Refused(error.reason)
    if isinstance(error, StoreUnavailable):
        return Refused("store_unavailable", "try again with the same id", retry_after_ms=RETRY_AFTER_MS)
    if isinstance(error, TimeoutError):
        return Refused("overloaded", "no answer in time; try again with the same id", retry_after_ms=RETRY_AFTER_MS)
    return Refused("internal", "the server failed; its log says why")
