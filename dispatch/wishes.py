"""What one call may ask for beyond its queue, and the person it is kept for meanwhile.

`Wishes` travels unchanged from the request into the journal and the record: most calls have none, and pay nothing for it.
Who may wish for what is decided in `dispatch/admission.py`.
"""

from typing import Annotated, Final

from msgspec import Meta, Struct, field

from dispatch.plan import Id, Level

SKILLS_MAX = 16
"""Skills that one call may add to its queue's need; more is a mistake, and each distinct need costs an index."""
EXCLUDED_MAX = 16
"""Agents that one call may exclude."""

Skills = Annotated[dict[Id, Level], Meta(max_length=SKILLS_MAX)]


class Wishes(Struct, array_like=True, frozen=True, gc=False, kw_only=True):
    """Everything a request may add to what its queue says."""

    need: Skills = field(default_factory=dict)
    """Skills beside the queue's need; of a skill in both the higher level counts."""
    joint_need: Skills = field(default_factory=dict)
    """A second person (interpreter, adviser) with these skills, reserved together with the agent or not at all."""
    credit_ms: int = 0
    """Priority: due that much earlier, 0 to the queue's `priority_credit_ms_max`. Not for customers themselves."""
    is_absolute: bool = False
    """Emergency: before every call that is not. Not for customers themselves; counted."""
    required_agent_id: str = ""
    """Nobody else, ever. Not for customers themselves."""
    preferred_agent_id: str = ""
    """First for `preferred_window_ms`, then first among equals."""
    manager_id: str = ""
    """The customer's own manager: who is first in a queue with strategy `relationship`."""
    excluded_agent_ids: Annotated[list[str], Meta(max_length=EXCLUDED_MAX)] = field(default_factory=list)
    """Never asked for this call (who sold the product may not witness it)."""
    region: str = ""
    carrier: str = ""
    """Where the customer is, for strategy `nearest`."""
    is_callback: bool = False
    """Wait without staying connected: the customer is called back when the turn comes."""


class Favourite(Struct, array_like=True, frozen=True, gc=False):
    """The agent whom a call is kept for."""

    agent_id: str
    rule: str
    """`required`, `preferred`, `relationship`, `last_agent`, `invitation` or `transfer`: which rule chose the person."""
    until_ms: int = 0
    """Until then nobody else is asked; `NEVER_MS`: never anybody else. Past: first, if free."""


NEVER_MS: Final = 1 << 52
"""An instant that does not come (142,000 years): for 'never asked' and 'never anybody else'. Fits a JSON number."""
