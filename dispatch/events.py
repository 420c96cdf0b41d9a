"""Events: facts, past tense. `apply(event)` is the only thing that changes a division's state.

Events are what the journal holds, what a call's history shows and what clients are told. So each stands for itself:
whoever reads one needs no state to understand it. Tags are part of the durable format: never reuse one.
Field order is part of it too (arrays on the wire): append new fields at the end, with a default.
Here: a call's way, agents and the plan. Beside: `events_waiting`, `events_talking`, `events_scripts`, `events_handing`,
`events_rooms`; all are read from here.
"""

from typing import Any

from dispatch.events_handing import (
    CallHandedOver,
    CallHandingOver,
    HandedCallEnded,
    HandOverAdmitted,
    HandOverDeclined,
    HandOverRefused,
    HandOverRevoked,
    OriginTold,
)
from dispatch.events_rooms import (
    PartyJoined,
    PartyLeft,
    RecordingFailed,
    RecordingMissing,
    RecordingSealed,
    RecordingStarted,
    RoomAssigned,
    RoomClosed,
    RoomLost,
    RoomOpened,
)
from dispatch.events_scripts import ScriptStepAnswered, ScriptStepShown
from dispatch.events_talking import (
    CallInvited,
    CallTransferred,
    HoldChanged,
    InvitationAccepted,
    OwnershipMoved,
    PartyAdded,
    PartyRemoved,
    SupervisionChanged,
)
from dispatch.events_waiting import (
    CallbackArranged,
    CallPrioritised,
    FavouriteReleased,
    JointAccepted,
    JointHeld,
    JointReleased,
    NeedRelaxed,
)
from dispatch.fact import Fact
from dispatch.plan import Plan
from dispatch.wishes import Favourite, Wishes


class PlanApplied(Fact, tag=1, frozen=True):
    """The division works by this plan from now on."""

    plan: Plan
    digest: str


class Connected(Fact, tag=2, frozen=True):
    """A client has a live connection; an earlier one no longer counts."""

    recipient: str
    gateway_id: str
    connection_id: str


class Disconnected(Fact, tag=3, frozen=True):
    """A client's connection is gone. `grace_until_ms` 0: nothing waits for it, or its grace is over."""

    recipient: str
    connection_id: str
    grace_until_ms: int


class AgentActivityChanged(Fact, tag=5, frozen=True):
    """The agent is ready, not ready or offline now, and why."""

    agent_id: str
    activity: str
    reason: str = ""


class CallQueued(Fact, tag=6, frozen=True):
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
    wishes: Wishes | None = None
    favourite: Favourite | None = None
    """Whom the call is kept for, or asked first."""
    asked_queue_id: str = ""
    """The queue that was asked for, when its limits sent the call on; else empty."""
    cause: str = ""
    """Which limit did so, or made it a callback: `queue_full`, `queue_closed` or `no_agents`."""
    is_callback: bool = False


class CallRefused(Fact, tag=17, frozen=True):
    """A call that was not admitted because of a limit: nothing waits, but it is counted."""

    call_id: str
    customer_id: str
    queue_id: str
    reason: str
    """`queue_full`, `queue_closed`, `no_agents` or `hall_full`."""
    then: str = "refuse"
    """`refuse` or `message`."""


class CallReserved(Fact, tag=7, frozen=True):
    """The call rings at the agent. `why` names the rule: strategy and key that chose this agent.

    A call that already talks rings at a further agent under another `role`; its own state does not change.
    """

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
    role: str = "agent"
    """`agent` (owner to be), `expert` (also of a joint need), `third` or `consult`."""
    step: int = 0
    """Relaxation step that was open."""
    key: int = 0
    """The agent's key under the rule in `why`; smaller is first."""
    runner_up_id: str = ""
    """Who would have been next under the same rule; empty: nobody else was free."""
    cost_units: int = 0
    """What the agent pays for it; 0 in journals of version 1: the queue's."""


class ReservationAccepted(Fact, tag=8, frozen=True):
    """The agent takes the call; by `connecting_until_ms` the two must see each other. `room_attempt` 0: no room of ours."""

    call_id: str
    reservation_id: str
    agent_id: str
    connecting_until_ms: int
    room_attempt: int


class ReservationClosed(Fact, tag=9, frozen=True):
    """The reservation ended without an answer that bridges: the call is back at its old place."""

    call_id: str
    reservation_id: str
    agent_id: str
    outcome: str
    """`declined`, `busy`, `expired`, `agent_lost`, `agent_left` or `rescinded`."""
    reason: str = ""
    not_before_ms: int = 0
    """Until when this agent is not asked again: for this call (declined) or at all (expired)."""
    agent_not_before_ms: int = 0
    """Until when this agent is not asked at all, after `declined`, `busy` and `agent_lost`; 0: at once."""


class CallConnected(Fact, tag=10, frozen=True):
    """The two see and hear each other, and what must be recorded is."""

    call_id: str
    agent_id: str
    customer_id: str


class CallRequeued(Fact, tag=11, frozen=True):
    """Back to the old place: same queued-at time, same due key."""

    call_id: str
    agent_id: str
    reason: str
    not_before_ms: int = 0
    """Until when that agent is not asked again for this call."""
    call_not_before_ms: int = 0
    """Until when nobody is asked: a customer who did not answer the callback is tried again then."""


class CallEnded(Fact, tag=12, frozen=True):
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
    then: str = ""
    """`message`: the customer is asked to leave one."""


class WrapUpExtended(Fact, tag=13, frozen=True):
    """The agent has until then for the work after the call."""

    call_id: str
    agent_id: str
    until_ms: int


class WrapUpEnded(Fact, tag=14, frozen=True):
    """The agent is done with the call."""

    call_id: str
    agent_id: str
    how: str
    """`done` (by the agent), `time` or `signed_out`."""


class CallForgotten(Fact, tag=15, frozen=True):
    """The ended call left the engine's memory; the archive answers for it from now on."""

    call_id: str
    customer_id: str


class CallMoved(Fact, tag=16, frozen=True):
    """The call waits in another queue at the same queued-at time."""

    call_id: str
    from_queue_id: str
    queue_id: str
    due_at_ms: int
    reason: str = "retired"
    """`retired`, `waited_too_long`, `queue_closed` or `no_agents`."""


class Answered(Fact, tag=30, frozen=True):
    """What (principal, id) was answered, remembered for repeats."""

    principal: str
    id: str
    reason: str = ""
    """Empty: accepted. Otherwise the refusal, see `dispatch.effects.Refusal`."""
    value: dict[str, Any] | None = None
    fingerprint: int = 0
    """CRC-32 of the command: tells a repeat from another command under the same id."""


class Resumed(Fact, tag=31, frozen=True):
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
    | CallRefused
    | NeedRelaxed
    | CallPrioritised
    | FavouriteReleased
    | CallbackArranged
    | JointAccepted
    | JointHeld
    | JointReleased
    | CallInvited
    | InvitationAccepted
    | PartyAdded
    | PartyRemoved
    | OwnershipMoved
    | CallTransferred
    | SupervisionChanged
    | HoldChanged
    | ScriptStepShown
    | ScriptStepAnswered
    | CallHandingOver
    | HandOverRevoked
    | HandOverRefused
    | CallHandedOver
    | HandedCallEnded
    | HandOverAdmitted
    | HandOverDeclined
    | OriginTold
    | Answered
    | Resumed
)

__all__ = [
    "AgentActivityChanged",
    "Answered",
    "CallConnected",
    "CallEnded",
    "CallForgotten",
    "CallHandedOver",
    "CallHandingOver",
    "CallInvited",
    "CallMoved",
    "CallPrioritised",
    "CallQueued",
    "CallRefused",
    "CallRequeued",
    "CallReserved",
    "CallTransferred",
    "CallbackArranged",
    "Connected",
    "Disconnected",
    "Event",
    "FavouriteReleased",
    "HandOverAdmitted",
    "HandOverDeclined",
    "HandOverRefused",
    "HandOverRevoked",
    "HandedCallEnded",
    "HoldChanged",
    "InvitationAccepted",
    "JointAccepted",
    "JointHeld",
    "JointReleased",
    "NeedRelaxed",
    "OriginTold",
    "OwnershipMoved",
    "PartyAdded",
    "PartyJoined",
    "PartyLeft",
    "PartyRemoved",
    "PlanApplied",
    "RecordingFailed",
    "RecordingMissing",
    "RecordingSealed",
    "RecordingStarted",
    "ReservationAccepted",
    "ReservationClosed",
    "Resumed",
    "RoomAssigned",
    "RoomClosed",
    "RoomLost",
    "RoomOpened",
    "ScriptStepAnswered",
    "ScriptStepShown",
    "SupervisionChanged",
    "WrapUpEnded",
    "WrapUpExtended",
]
