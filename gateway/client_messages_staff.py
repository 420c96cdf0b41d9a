"""Messages that supervisors and operators alone may send: watching a division, and commands over its agents and calls.

Rules as in `gateway/client_messages.py`. A token of staff is good for one division; whom a command concerns there, the engine
checks in the step that acts.

Not here: meaning (`gateway/supervisor.py`, `gateway/supervisor_session.py`).
"""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from dispatch.plan import Id
from gateway import answers
from gateway.client_fields import CreditMs, FromClient, OptionalId, Reference, Text

BoardName = Literal["queues", "agents", "calls"]
EndReason = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]*\Z", max_length=200)]
"""It stands in the history for good, as over REST."""


class WatchSubscribe(FromClient):
    """See a board of the division. Again for the same board: its snapshot anew."""

    TYPE: ClassVar[str] = "watch.subscribe"
    ANSWER = answers.Watched

    board: BoardName
    division_id: OptionalId = ""
    """Empty: the token's own; another is refused."""


class WatchUnsubscribe(FromClient):
    """See it no more."""

    TYPE: ClassVar[str] = "watch.unsubscribe"

    board: BoardName
    division_id: OptionalId = ""


class CallMonitor(FromClient):
    """Be in a call as a supervisor, leave it, or give it to another agent."""

    TYPE: ClassVar[str] = "call.monitor"

    call_id: Reference
    mode: Literal["listen", "whisper", "barge", "leave", "take_over"]
    supervisor_id: OptionalId = ""
    """Who is in the call; operators say it, supervisors speak for themselves."""
    agent_id: OptionalId = ""
    """`take_over`: who owns it then; empty: the agent of the supervisor's own id."""


class ForceAgentState(FromClient):
    """Make an agent ready, not ready or offline; a call in progress is finished first."""

    TYPE: ClassVar[str] = "agent.force_state"

    agent_id: Id
    activity: Literal["ready", "not_ready", "offline"]
    reason: Text = ""


class EndCall(FromClient):
    """End a call, whatever its state, and say why."""

    TYPE: ClassVar[str] = "call.hang_up"

    call_id: Reference
    reason: EndReason = ""


class SetCallPriority(FromClient):
    """Both replace what they were, while it waits or rings."""

    TYPE: ClassVar[str] = "call.priority"

    call_id: Reference
    credit_ms: CreditMs = 0
    is_absolute: bool = False


STAFF_TYPES: list[type[FromClient]] = [
    WatchSubscribe,
    WatchUnsubscribe,
    CallMonitor,
    ForceAgentState,
    EndCall,
    SetCallPriority,
]
"""For supervisors and operators alike; `gateway/client_messages.py` says what else they may send."""
