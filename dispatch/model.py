"""What a division remembers of each call, agent and client. Plain records: only `dispatch/folding.py` changes them.

They are msgspec structs so that a snapshot is their plain encoding. What can be derived (waiting lines, pools of
idle agents, timers) is not here but in `dispatch/state.py`, rebuilt after a restore.
"""

from typing import Any

from msgspec import Struct, field

from dispatch import lifecycle as lc
from dispatch.events import Event

KEPT_EVENTS_MAX = 256
"""Events kept per client for a resume (SAFETY.md 10)."""
KEPT_EVENTS_MS = 900_000
"""And for how long: 27,000 agents with 256 events each would be over 1 GB; who was away for longer gets a snapshot."""
ANSWERS_MAX = 64
"""Answers kept per connected principal (SAFETY.md 6)."""
KEY_RETENTION_MS = 86_400_000
"""REST idempotency keys are answered for 24 h (SAFETY.md 6)."""
KEY_PREFIX = "key:"
"""Command ids that start so are REST idempotency keys."""


class Room(Struct, array_like=True, gc=False):
    """One media space of a call. A call has one that counts (`Call.room_attempt`) and some that are closing."""

    attempt: int
    state: str = lc.REQUESTED
    worker_id: str = ""
    worker_epoch: int = 0


class Call(Struct, array_like=True, gc=False, kw_only=True):
    """One customer's contact, from request until it is forgotten."""

    id: str
    customer_id: str
    queue_id: str
    order: int
    """Admission number within the division: the last word between calls due at the same instant."""
    queued_at_ms: int
    due_at_ms: int
    business_reference: str
    is_consented: bool
    recording: str
    media: str
    state: str = lc.WAITING
    attempt: int = 0
    """Reservations made so far."""
    reservation_id: str = ""
    agent_id: str = ""
    """Who is asked (reserved) or talks (connecting, connected); after the end, who talked last."""
    expires_at_ms: int = 0
    """The pending reservation's end; 0 without one."""
    cost_units: int = 0
    """What the current agent pays for it; fixed when reserved, so that a reload in between gives back the same."""
    agent_gone_until_ms: int = 0
    """When a disconnected agent's reservation is given back; 0 while connected."""
    media_until_ms: int = 0
    """By when the media must stand (connecting, or again after a loss); 0 when it stands."""
    refused_until_ms: dict[str, int] | None = None
    """Agent id -> until when that agent is not asked again for this call."""
    requeued_count: int = 0
    room_attempt: int = 0
    rooms: list[Room] = field(default_factory=list)
    joined: list[str] = field(default_factory=list)
    recording_parties: list[str] = field(default_factory=list)
    unsealed: list[int] = field(default_factory=list)
    """Attempts whose recording is not sealed yet."""
    is_customer_gone: bool = False
    connected_at_ms: int = 0
    ended_at_ms: int = 0
    end_reason: str = ""
    forget_at_ms: int = 0

    @property
    def key(self) -> tuple[int, int]:
        """The one order key of waiting lines (ROUTING.md 3)."""
        return (self.due_at_ms, self.order)

    def room(self) -> Room | None:
        """The room that counts, or None before the first accept and after a loss at the end."""
        for room in self.rooms:
            if room.attempt == self.room_attempt and room.state != lc.CLOSING:
                return room
        return None


class WrapUpWork(Struct, array_like=True, gc=False):
    """What an agent still has to do for a call that ended."""

    call_id: str
    kind: str
    started_at_ms: int
    until_ms: int
    cost_units: int
    queue_id: str = ""
    """Whose `wrap_up_ms_max` bounds an extension, even when the call has left memory."""


class Agent(Struct, array_like=True, kw_only=True):
    """One employee: what the plan says, and what occupies the person now."""

    id: str
    order: int
    """Place in the plan: the last word between agents idle since the same instant."""
    name: str
    skills: dict[str, int]
    capacity_units: int
    activity: str = lc.OFFLINE
    reason: str = ""
    used_units: int = 0
    idle_since_ms: int = 0
    """Since the last wrap-up ended or since becoming ready first, whichever is later (ROUTING.md 2)."""
    not_before_ms: int = 0
    """No reservation before this instant (after a missed one)."""
    misses: int = 0
    is_gone: bool = False
    """The connection dropped and its grace runs: not asked meanwhile."""
    is_retired: bool = False
    """No longer in the plan: finishes what runs, gets nothing new."""
    engagements: dict[str, str] = field(default_factory=dict)
    """Call id -> reserved, in_call or wrap_up."""
    wrap_ups: dict[str, WrapUpWork] = field(default_factory=dict)


class Recipient(Struct, array_like=True, kw_only=True):
    """A client as the engine knows it: its event numbers and its connection."""

    id: str
    seq: int = 0
    """The last event's number. A new client begins after `State.forgotten_seq_max`."""
    kept: list[tuple[int, Event]] = field(default_factory=list)
    gateway_id: str = ""
    connection_id: str = ""
    grace_until_ms: int = 0
    """0 while connected, or when nothing waits for it to come back."""


class Pace(Struct, array_like=True, gc=False):
    """How fast a queue is answered, for `dispatch/estimate.py`."""

    answered_at_ms: int = 0
    gap_ms: int = 0


class Remembered(Struct, array_like=True, gc=False):
    """The answer once given to a command."""

    reason: str
    value: dict[str, Any] | None
    fingerprint: int
    at_ms: int


def customer_recipient(customer_id: str) -> str:
    """The recipient (and principal) that a customer is."""
    return "customer:" + customer_id


def agent_recipient(agent_id: str) -> str:
    """The recipient (and principal) that an agent is."""
    return "agent:" + agent_id
