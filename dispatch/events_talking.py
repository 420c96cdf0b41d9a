"""Events about who is in a call: further parties, ownership, transfer, hold, supervision, invitations."""

from dispatch.fact import Fact
from dispatch.wishes import Favourite


class CallInvited(Fact, tag=47, frozen=True):
    """The agent has invited the customer; until `until_ms` the customer may accept."""

    call_id: str
    customer_id: str
    agent_id: str
    queue_id: str
    until_ms: int
    business_reference: str = ""


class InvitationAccepted(Fact, tag=48, frozen=True):
    """The customer comes: the call waits, for the agent who invited."""

    call_id: str
    queued_at_ms: int
    due_at_ms: int
    is_consented: bool
    recording: str
    media: str
    favourite: Favourite | None = None


class PartyAdded(Fact, tag=49, frozen=True):
    """A further agent is in the call."""

    call_id: str
    reservation_id: str
    agent_id: str
    role: str


class PartyRemoved(Fact, tag=50, frozen=True):
    """A further agent is out of the call; `wrap_up` as in `CallEnded`."""

    call_id: str
    agent_id: str
    role: str
    reason: str
    """`left`, `removed`, `call_ended`, `transferred`, `requeued` or `agent_lost`."""
    wrap_up: str = "none"
    wrap_up_until_ms: int = 0


class OwnershipMoved(Fact, tag=51, frozen=True):
    """Another agent owns the call from this instant on; the former one is in wrap-up."""

    call_id: str
    from_agent_id: str
    to_agent_id: str
    reason: str
    """`consulted` or `taken_over`."""
    cost_units: int
    """What the new owner pays."""
    wrap_up: str = "none"
    wrap_up_until_ms: int = 0
    media_until_ms: int = 0
    """By when the new owner's media must stand in our room; 0: no room of ours."""


class CallTransferred(Fact, tag=52, frozen=True):
    """Blind: the agent is out of it, in wrap-up; the call waits anew."""

    call_id: str
    from_agent_id: str
    from_queue_id: str
    queue_id: str
    queued_at_ms: int
    due_at_ms: int
    credit_ms: int
    recording: str
    talked_ms: int
    favourite: Favourite | None = None
    wrap_up: str = "none"
    wrap_up_until_ms: int = 0
    not_before_ms: int = 0
    """Until when the former agent is not asked for this call."""
    reason: str = ""


class SupervisionChanged(Fact, tag=53, frozen=True):
    """A supervisor is in the call in this way, or (empty) has left. Agents and customers see it where the law asks for it."""

    call_id: str
    supervisor_id: str
    mode: str


class HoldChanged(Fact, tag=54, frozen=True):
    """The customer is on hold, or back; `reason` `asked` or `time`."""

    call_id: str
    is_held: bool
    reason: str = "asked"
    until_ms: int = 0
