"""What a reader may see of a division: plain values made from its state, never the state itself."""

from msgspec import Struct, field

from dispatch.events import CallReserved


class RoomView(Struct, array_like=True):
    """The room that counts for a call."""

    attempt: int
    is_open: bool
    worker_id: str
    worker_epoch: int


class PartyView(Struct, array_like=True):
    """A further agent in a call, or asked for it while it talks."""

    agent_id: str
    role: str
    """`consult`, `expert` or `third`."""
    is_ringing: bool


class ScriptStepView(Struct, array_like=True):
    """What the customer is shown."""

    number: int
    step_id: str
    text: str
    answers: list[str]
    answer: str
    """Empty: not answered yet."""


class CallView(Struct, array_like=True):
    """One call as it is now."""

    call_id: str
    state: str
    """`invited`, `waiting`, `reserved`, `connecting`, `connected`, `handing_over`, `handed_over` or `ended`."""
    customer_id: str
    queue_id: str
    queued_at_ms: int
    due_at_ms: int
    business_reference: str
    recording: str
    media: str
    agent_id: str = ""
    agent_name: str = ""
    attempt: int = 0
    """Reservations made so far."""
    position: int = 0
    """1 = next; 0 when the call is not in a waiting line."""
    room: RoomView | None = None
    recording_parties: list[str] = field(default_factory=list)
    """Parties whose capture log has confirmed bytes."""
    connected_at_ms: int = 0
    ended_at_ms: int = 0
    end_reason: str = ""
    reservation_id: str = ""
    is_callback: bool = False
    """The customer need not be connected while it waits."""
    invited_until_ms: int = 0
    on_hold_until_ms: int = 0
    """0: not on hold."""
    parties: list[PartyView] = field(default_factory=list)
    """Oldest first: who is in it beside its owner, then who is asked."""
    supervisors: dict[str, str] = field(default_factory=dict)
    """Supervisor id -> `monitor`, `whisper` or `barge`."""
    credit_ms: int = 0
    is_absolute: bool = False
    division_id: str = ""
    """Which division is asked for it (`handing_over`) or has it (`handed_over`)."""
    script_step: ScriptStepView | None = None
    """None: none is shown."""


class WrapUpView(Struct, array_like=True):
    """Work after a call that is not done yet."""

    call_id: str
    until_ms: int
    kind: str
    """`timed` or `until_done`."""


class AgentView(Struct, array_like=True):
    """One agent as it is now."""

    agent_id: str
    name: str
    skills: dict[str, int]
    activity: str
    """`offline`, `ready` or `not_ready`."""
    reason: str
    occupation: str
    """`idle`, `reserved`, `in_call` or `wrap_up`: the first that applies of in_call, reserved, wrap_up."""
    is_connected: bool
    misses: int
    used_units: int
    capacity_units: int
    call_ids: list[str]
    reservation_ids: list[str]
    wrap_ups: list[WrapUpView]
    idle_since_ms: int


class QueueView(Struct, array_like=True):
    """One queue as it is now, with counts that add up."""

    queue_id: str
    name: dict[str, str]
    waiting_count: int
    longest_wait_ms: int
    agents: dict[str, int]
    """Counts of the queue's qualified agents by `offline, not_ready, ready, reserved, in_call, wrap_up`."""
    live_calls: dict[str, int]
    """Counts of its calls by state."""
    estimate_ms: int | None = None
    """Estimated wait of a call that would join now; None where nothing is known yet."""


class PositionView(Struct, array_like=True):
    """Where a waiting call stands, and how long that may take."""

    call_id: str
    position: int
    estimate_ms: int | None


class SessionView(Struct, array_like=True):
    """All that a client needs to draw its page anew."""

    recipient: str
    seq: int
    agent: AgentView | None = None
    reservation: CallReserved | None = None
    call: CallView | None = None
    wrap_up: WrapUpView | None = None
