"""Messages of the server to supervisors and operators: boards, alerts, and how they are in a call.

Rules as in `gateway/messages.py`. Boards have no event numbers: after a reconnect they are asked for anew, and begin with a
snapshot. A row is told whole; its key is its first field.
"""

from typing import ClassVar

from msgspec import UNSET, Struct, UnsetType

from gateway.messages import FromServer


class QueueRow(Struct):
    """A queue on the board `queues`."""

    queue_id: str
    name: dict[str, str]
    """By language."""
    waiting_count: int
    longest_wait_ms: int
    """Of the call at the head; 0 when none waits."""
    agents: dict[str, int]
    """Counts of the queue's qualified agents by what they do."""
    live_calls: dict[str, int]
    """Counts of its calls by state."""
    estimate_ms: int | None
    """Estimated wait of a call that would join now."""


class AgentRow(Struct):
    """An agent on the board `agents`."""

    agent_id: str
    name: str
    activity: str
    reason: str
    occupation: str
    is_connected: bool
    idle_since_ms: int
    """When the last call or wrap-up ended."""
    call_ids: list[str]
    wrap_up_until_ms: int | UnsetType = UNSET


class CallRow(Struct):
    """A customer is named by a stand-in alone: the last two characters of the id."""

    call_id: str
    state: str
    queue_id: str
    customer: str
    queued_at_ms: int
    media: str
    agent_id: str
    agent_name: str
    connected_at_ms: int
    """0: not yet."""
    is_recording: bool
    credit_ms: int
    is_absolute: bool
    supervisors: dict[str, str]
    """Supervisor id -> `listen`, `whisper` or `barge`."""
    is_callback: bool | UnsetType = UNSET
    on_hold_until_ms: int | UnsetType = UNSET
    parties_count: int | UnsetType = UNSET


Row = QueueRow | AgentRow | CallRow


class BoardSnapshot(FromServer):
    """Everything that the board shows at `version`."""

    TYPE: ClassVar[str] = "board.snapshot"

    board: str
    division_id: str
    version: int
    rows: list[Row]
    is_cut: bool
    """There are more; the board shows `gateway.board.ROWS_MAX` of them."""
    is_stale: bool
    """The division does not answer now: this is what it said last."""


class BoardDelta(FromServer):
    """What makes `version - 1` into `version`."""

    TYPE: ClassVar[str] = "board.delta"

    board: str
    division_id: str
    version: int
    rows: list[Row]
    """New ones, and those that differ."""
    gone: list[str]
    """Keys of rows that are not shown any more."""
    is_cut: bool
    is_stale: bool


class Alert(FromServer):
    """Something that an operator must look at, as `tellerhall status` says it; or it is over."""

    TYPE: ClassVar[str] = "alert"

    name: str
    where: str
    text: str
    severity: str
    is_raised: bool


class CallMonitored(FromServer):
    """A supervisor is in the call in this way from now on, or (`leave`) no more."""

    TYPE: ClassVar[str] = "call.monitored"

    call_id: str
    supervisor_id: str
    mode: str
