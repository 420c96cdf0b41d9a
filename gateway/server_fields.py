"""What all messages of the server are made of: the envelope, and the parts of snapshots.

Not here: the messages themselves (`gateway/messages.py` and its neighbours).
"""

from typing import ClassVar, Literal

from msgspec import UNSET, Struct, UnsetType

VERSION = 1
Role = Literal["customer", "agent", "supervisor", "operator"]


class FromServer(Struct):
    """Base of all data that the server sends."""

    TYPE: ClassVar[str] = ""


class Outgoing(Struct, omit_defaults=True):
    """What the server sends around its data; `re`, `seq` and `at_ms` are left out where they mean nothing."""

    v: int
    id: str
    type: str
    data: FromServer
    re: str = ""
    seq: int = 0
    at_ms: int = 0


class Room(Struct):
    """A room as a snapshot shows it."""

    attempt: int
    is_open: bool


class Party(Struct):
    """A further agent in a call, in a snapshot. Customers are not told who it is, and of `consult` nothing."""

    role: str
    is_ringing: bool
    agent_id: str | UnsetType = UNSET


class Script(Struct):
    """The step of a script that the customer is shown, in a snapshot."""

    number: int
    step_id: str
    text: str
    answers: list[str]
    answer: str | UnsetType = UNSET
    """What the customer has answered."""


class Call(Struct):
    """A call in a snapshot."""

    call_id: str
    state: str
    queue_id: str
    queued_at_ms: int
    business_reference: str
    room: Room | None
    media: str
    recording: str
    is_recording: bool
    position: int | UnsetType = UNSET
    agent_name: str | UnsetType = UNSET
    connected_at_ms: int | UnsetType = UNSET
    customer: str | UnsetType = UNSET
    """Masked; for the agent alone."""
    agent_id: str | UnsetType = UNSET
    """Who owns it; for agents alone."""
    is_callback: bool | UnsetType = UNSET
    invited_until_ms: int | UnsetType = UNSET
    on_hold_until_ms: int | UnsetType = UNSET
    parties: list[Party] | UnsetType = UNSET
    script: Script | UnsetType = UNSET


class WrapUp(Struct):
    """Work after a call that is not done yet."""

    call_id: str
    until_ms: int
    kind: str


class AgentCard(Struct):
    """Who the agent is."""

    id: str
    name: str
    skills: dict[str, int]
