"""Events about a call that goes from one division to another: in the origin, in the target, and back at the origin."""

from dispatch.fact import Fact
from dispatch.handing_facts import HandedCall


class CallHandingOver(Fact, tag=60, frozen=True):
    """Origin: the call is offered to another division's queue and waits for the answer, out of its line."""

    call_id: str
    from_queue_id: str
    to_division: str
    queue_id: str
    version: int
    until_ms: int
    """Without an answer by then it is asked back."""
    cause: str
    """The limit that sent it on, or `transferred`."""
    credit_ms: int = 0


class HandOverRevoked(Fact, tag=61, frozen=True):
    """Origin: the target has been told not to admit the call any more or, with a `reason`, to end it if it has."""

    call_id: str
    version: int
    until_ms: int
    """Without an answer by then the call ends here by name."""
    reason: str = ""


class HandOverRefused(Fact, tag=62, frozen=True):
    """Origin: the target did not admit the call, and never will: it waits at its old place again."""

    call_id: str
    version: int
    to_division: str
    queue_id: str
    reason: str


class CallHandedOver(Fact, tag=63, frozen=True):
    """Origin: the target has the call. Its customer goes on there, after number `seq`."""

    call_id: str
    customer_id: str
    from_queue_id: str
    to_division: str
    queue_id: str
    version: int
    until_ms: int
    """Until when commands about the call are still told where it is."""
    seq: int = 0
    """0: the customer is not awaited, and gets a snapshot where it comes."""


class HandedCallEnded(Fact, tag=64, frozen=True):
    """Origin: the call has ended in the division that it went to; nothing is told about it any more."""

    call_id: str
    customer_id: str
    reason: str
    """As the target gave it, or `forwarding_expired`."""
    forget_at_ms: int = 0


class HandOverAdmitted(Fact, tag=65, frozen=True):
    """Target: the call waits here from now on, under its id and its queued-at time."""

    call_id: str
    customer_id: str
    queue_id: str
    queued_at_ms: int
    due_at_ms: int
    credit_ms: int
    recording: str
    media: str
    call: HandedCall
    """All that came with it."""
    seq: int = 0
    """The customer's numbers go on after it; 0: nobody is numbered."""
    grace_until_ms: int = 0
    """By when the customer has to come; 0: is here already, or need not."""


class HandOverDeclined(Fact, tag=66, frozen=True):
    """Target: the call was not admitted. Remembered until it could not be admitted anyway, so that a repeat is told so too."""

    call_id: str
    version: int
    from_division: str
    reason: str
    until_ms: int


class OriginTold(Fact, tag=67, frozen=True):
    """The origin knows that the call has ended; or, where that gave up, the target does."""

    call_id: str
    version: int
