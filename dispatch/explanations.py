"""What `explain` answers: plain values that a wallboard, a log or an auditor can show without knowing the engine."""

from msgspec import Struct, field


class AgentGroup(Struct, array_like=True):
    """Agents who meet the need that is open, by what keeps them."""

    doing: str
    """`free` (eligible now), `offline`, `not_ready`, `reserved`, `in_call`, `wrap_up`; of those ready but not free: `delayed`,
    `refused` (declined or excluded for this call), `no_capacity`, `disconnected`, `held` (for a joint call)."""
    count: int


class NextChange(Struct, array_like=True):
    """Something that will happen by the clock if nothing else comes first."""

    at_ms: int
    what: str
    """`step_opens`, `window_ends`, `wait_limit`, `reservation_expires`, `agent_given_up`, `hold_ends`, `callback_due`,
    `joint_hold_ends`, `joint_hold_allowed`, `refusal_ends`, `media_deadline`, `invitation_expires`, `queue_opens`,
    `queue_stops_taking_calls`, `queue_closes`, `hand_over_deadline` or `forgotten`."""
    detail: str = ""
    """Which step, agent or queue."""


class Asked(Struct, array_like=True):
    """One decision: this agent was asked for this call, and why this one."""

    reservation_id: str
    agent_id: str
    role: str
    rule: str
    """The strategy, the favourite's rule (`required`, `preferred`, ...), `scarce_last` (many at once) or `named`."""
    key: int
    """The agent's key under the rule; smaller is first (docs/routing.md has each strategy's)."""
    runner_up_id: str
    """Who would have been next under the same rule; empty: nobody else was free."""
    step: int
    at_ms: int
    waited_ms: int
    expires_at_ms: int = 0
    outcome: str = "pending"
    """`pending`, `accepted`, `joined`, or how the reservation was closed."""
    closed_at_ms: int = 0
    before_call_id: str = ""
    """While it rings: the call this agent would get next, so the one it was preferred to; empty: none waits."""


class Explanation(Struct, array_like=True):
    """Why a call is where it is, and what comes next."""

    call_id: str
    state: str
    queue_id: str
    reasons: list[str]
    """Why it waits, the strongest first: `queue_closed`, `in_call_cap`, `customer_gone`, `callback_later`, `kept_for_agent`,
    `joint_half`, `nobody_qualified`, `nobody_signed_in`, `all_busy`; empty when it does not wait."""
    need: dict[str, int]
    """Skill -> level that is open now."""
    step: int
    steps_count: int
    due_at_ms: int
    order: int
    is_absolute: bool
    credit_ms: int
    position: int
    """1 = next; 0: not in a line."""
    kept_for_agent_id: str = ""
    kept_by_rule: str = ""
    held_agent_id: str = ""
    """Joint need: who is held for it until the other is free."""
    groups: list[AgentGroup] = field(default_factory=list)
    expert_groups: list[AgentGroup] = field(default_factory=list)
    """Joint need: the same for the second person."""
    asked: list[Asked] = field(default_factory=list)
    """Who is asked right now."""
    next_changes: list[NextChange] = field(default_factory=list)
    """Earliest first."""
