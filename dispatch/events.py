"""Events: facts, past tense. `apply(event)` is the only thing that changes a division's state.

Events are what the journal holds, what a call's history shows and what clients are told. So each stands for itself:
whoever reads one needs no state to understand it. Tags are part of the durable format: never reuse one.
Field order is part of it too (arrays on the wire): append new fields at the end, with a default.
"""

from typing import Any

from msgspec import Struct, field

from dispatch.plan import Plan


class _Event(Struct, array_like=True, gc=False, frozen=True):
    at_ms: int
    """The engine's instant of the fact, ms since the Unix epoch."""


class PlanApplied(_Event, tag=1, frozen=True):
    """The division works by this plan from now on."""

    plan: Plan
    digest: str


class Connected(_Event, tag=2, frozen=True):
    """A client has a live connection; an earlier one no longer counts."""

    recipient: str
    gateway_id: str
    connection_id: str


class Disconnected(_Event, tag=3, frozen=True):
    """A client's connection is gone. `grace_until_ms` 0: nothing waits for it, or its grace is over."""

    recipient: str
    connection_id: str
    grace_until_ms: int


class AgentActivityChanged(_Event, tag=5, frozen=True):
    """The agent is ready, not ready or offline now, and why."""

    agent_id: str
    activity: str
    reason: str = ""


class CallQueued(_Event, tag=6, frozen=True):
    """The call was admitted and waits; its order key is fixed."""

    call_id: str
    customer_id: str
    queue_id: str
    queued_at_ms: int
    due_at_ms: int
    business_reference: str = ""
    is_consented: bool = False
    recording: str = "required"
    media: str = "room"


class CallReserved(_Event, tag=7, frozen=True):
    """The call rings at the agent. `why` names the rule: strategy and key that chose this agent."""

    call_id: str
    reservation_id: str
    agent_id: str
    customer_id: str
    queue_id: str
    attempt: int
    expires_at_ms: int
    waited_ms: int
    why: str
    business_reference: str = ""
    media: str = "room"


class ReservationAccepted(_Event, tag=8, frozen=True):
    """The agent takes the call; by `connecting_until_ms` the two must see each other. `room_attempt` 0: no room of ours."""

    call_id: str
    reservation_id: str
    agent_id: str
    connecting_until_ms: int
    room_attempt: int


class ReservationClosed(_Event, tag=9, frozen=True):
    """The reservation ended without an answer that bridges: the call is back at its old place."""

    call_id: str
    reservation_id: str
    agent_id: str
    outcome: str
    """`declined`, `expired`, `agent_lost`, `agent_left` or `rescinded`."""
    reason: str = ""
    not_before_ms: int = 0
    """Until when this agent is not asked again: for this call (declined) or at all (expired)."""


class RoomAssigned(_Event, tag=20, frozen=True):
    """The shell chose this worker; the room may open now."""

    call_id: str
    attempt: int
    worker_id: str
    worker_epoch: int


class RoomOpened(_Event, tag=21, frozen=True):
    """Parties may send their SDP offer for (call, attempt) now."""

    call_id: str
    attempt: int
    worker_id: str


class RoomLost(_Event, tag=22, frozen=True):
    """The room is gone; a new one is asked for under `attempt` + 1 unless the call ended."""

    call_id: str
    attempt: int
    reason: str
    reconnecting_until_ms: int = 0


class PartyJoined(_Event, tag=23, frozen=True):
    """The party's media arrive in the room."""

    call_id: str
    attempt: int
    party: str


class PartyLeft(_Event, tag=24, frozen=True):
    """The party's media are gone while the room stays; `rejoin_until_ms` is when the call is given up."""

    call_id: str
    attempt: int
    party: str
    rejoin_until_ms: int = 0


class RecordingStarted(_Event, tag=25, frozen=True):
    """The party's log has confirmed bytes."""

    call_id: str
    attempt: int
    party: str


class RecordingFailed(_Event, tag=26, frozen=True):
    """The party is not recorded any more."""

    call_id: str
    attempt: int
    party: str
    reason: str


class RecordingSealed(_Event, tag=27, frozen=True):
    """Files and manifest of the attempt are complete on disk."""

    call_id: str
    attempt: int
    manifest_sha256: str
    files: list[dict[str, str | int]] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)


class RoomClosed(_Event, tag=29, frozen=True):
    """The worker let go of the room; its recording is sealed apart."""

    call_id: str
    attempt: int


class RecordingMissing(_Event, tag=28, frozen=True):
    """A required recording was not sealed in time: an alert, never silence."""

    call_id: str
    attempt: int


class CallConnected(_Event, tag=10, frozen=True):
    """The two see and hear each other, and what must be recorded is."""

    call_id: str
    agent_id: str
    customer_id: str


class CallRequeued(_Event, tag=11, frozen=True):
    """Back to the old place: same queued-at time, same due key."""

    call_id: str
    agent_id: str
    reason: str
    not_before_ms: int = 0
    """Until when that agent is not asked again for this call."""


class CallEnded(_Event, tag=12, frozen=True):
    """The call is over for good. `agent_id` is empty when no agent had it."""

    call_id: str
    customer_id: str
    queue_id: str
    reason: str
    agent_id: str = ""
    waited_ms: int = 0
    talked_ms: int = 0
    wrap_up: str = "none"
    wrap_up_until_ms: int = 0
    forget_at_ms: int = 0


class WrapUpExtended(_Event, tag=13, frozen=True):
    """The agent has until then for the work after the call."""

    call_id: str
    agent_id: str
    until_ms: int


class WrapUpEnded(_Event, tag=14, frozen=True):
    """The agent is done with the call."""

    call_id: str
    agent_id: str
    how: str
    """`done` (by the agent), `time` or `signed_out`."""


class CallForgotten(_Event, tag=15, frozen=True):
    """The ended call left the engine's memory; the archive answers for it from now on."""

    call_id: str
    customer_id: str


class CallMoved(_Event, tag=16, frozen=True):
    """The queue was retired; the call waits in another one at the same queued-at time."""

    call_id: str
    from_queue_id: str
    queue_id: str
    due_at_ms: int


class Answered(_Event, tag=30, frozen=True):
    """What (principal, id) was answered, remembered for repeats."""

    principal: str
    id: str
    reason: str = ""
    """Empty: accepted. Otherwise the refusal, see `dispatch.effects.Refusal`."""
    value: dict[str, Any] | None = None
    fingerprint: int = 0
    """CRC-32 of the command: tells a repeat from another command under the same id."""


class Resumed(_Event, tag=31, frozen=True):
    """Leases, graces and reservations moved by `outage_ms`; patience and queued-at did not."""

    outage_ms: int


Event = (
    PlanApplied
    | Connected
    | Disconnected
    | AgentActivityChanged
    | CallQueued
    | CallReserved
    | ReservationAccepted
    | ReservationClosed
    | RoomAssigned
    | RoomOpened
    | RoomLost
    | PartyJoined
    | PartyLeft
    | RecordingStarted
    | RecordingFailed
    | RecordingSealed
    | RecordingMissing
    | RoomClosed
    | CallConnected
    | CallRequeued
    | CallEnded
    | WrapUpExtended
    | WrapUpEnded
    | CallForgotten
    | CallMoved
    | Answered
    | Resumed
)
