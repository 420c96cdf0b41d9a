"""Events about a call that waits: its need, its priority, whom it is kept for, callbacks, joint needs."""

from dispatch.fact import Fact


class NeedRelaxed(Fact, tag=40, frozen=True):
    """The call's need is wider from now on: `step` of its queue's relaxation is open."""

    call_id: str
    step: int


class CallPrioritised(Fact, tag=41, frozen=True):
    """The call's priority changed, and with it its place."""

    call_id: str
    credit_ms: int
    is_absolute: bool
    due_at_ms: int


class FavouriteReleased(Fact, tag=42, frozen=True):
    """The call is no longer kept for one agent; that agent stays first among equals."""

    call_id: str
    agent_id: str
    reason: str
    """`window`, `declined`, `expired`, `agent_lost`, `agent_left` or `signed_out`."""


class CallbackArranged(Fact, tag=43, frozen=True):
    """The customer need not stay; the call keeps its place."""

    call_id: str
    cause: str
    """`asked`, `waited_too_long`, `queue_closed`, `no_agents`, or `queue_full` after another division has refused."""


class JointAccepted(Fact, tag=44, frozen=True):
    """One of the two people of a joint need has accepted; the call waits for the other."""

    call_id: str
    reservation_id: str
    agent_id: str


class JointHeld(Fact, tag=45, frozen=True):
    """The agent is held for a joint call until the second person is free, at most until `until_ms`."""

    call_id: str
    agent_id: str
    role: str
    until_ms: int


class JointReleased(Fact, tag=46, frozen=True):
    """The agent is no longer held; the call holds nobody before `not_before_ms`."""

    call_id: str
    agent_id: str
    reason: str
    """`time`, `reserved`, `agent_left` or `call_left`."""
    not_before_ms: int = 0
