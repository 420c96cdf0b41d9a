"""Messages of the server about who is in a call: invitations, transfer, ownership, hold, scripts, further parties,
other divisions.

Rules as in `gateway/messages.py`. A message that several may get names in its docstring which field is for whom.
"""

from typing import ClassVar

from msgspec import UNSET, UnsetType

from gateway.messages import Call, FromServer, Script


class CallInvited(FromServer):
    """`agent_name` is for the customer, `customer` (masked) for the agent."""

    TYPE: ClassVar[str] = "call.invited"

    call_id: str
    queue_id: str
    until_ms: int
    business_reference: str
    agent_name: str | UnsetType = UNSET
    customer: str | UnsetType = UNSET


class InvitationAccepted(FromServer):
    """The customer has come: the call waits, for the agent who invited."""

    TYPE: ClassVar[str] = "invitation.accepted"

    call_id: str
    queued_at_ms: int
    media: str


class CallTransferred(FromServer):
    """`wrap_up` and `wrap_up_until_ms` are for the agent who is out of the call now."""

    TYPE: ClassVar[str] = "call.transferred"

    call_id: str
    queue_id: str
    queued_at_ms: int
    wrap_up: str | UnsetType = UNSET
    wrap_up_until_ms: int | UnsetType = UNSET


class CallOwner(FromServer):
    """Another agent has the call. The customer is told the name; agents who it was and who it is.

    `call` is for the new owner alone, as in a snapshot; `wrap_up` and `wrap_up_until_ms` are the former one's.
    """

    TYPE: ClassVar[str] = "call.owner"

    call_id: str
    agent_name: str | UnsetType = UNSET
    from_agent_id: str | UnsetType = UNSET
    to_agent_id: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    wrap_up: str | UnsetType = UNSET
    wrap_up_until_ms: int | UnsetType = UNSET
    call: Call | UnsetType = UNSET


class CallHold(FromServer):
    """The customer is on hold, or back."""

    TYPE: ClassVar[str] = "call.hold"

    call_id: str
    is_held: bool
    reason: str
    until_ms: int


class ScriptStep(FromServer):
    """The customer is shown this step, word for word; it takes the place of the one before. `answers` empty: only shown."""

    TYPE: ClassVar[str] = "script.step"

    call_id: str
    number: int
    step_id: str
    text: str
    answers: list[str]


class ScriptAnswer(FromServer):
    """The customer has answered the step."""

    TYPE: ClassVar[str] = "script.answer"

    call_id: str
    number: int
    step_id: str
    answer: str


class PartyRinging(FromServer):
    """A further agent is asked for the call of this one."""

    TYPE: ClassVar[str] = "party.ringing"

    call_id: str
    agent_id: str
    party_role: str
    expires_at_ms: int


class PartyAdded(FromServer):
    """A further agent is in the call; to that agent what `reservation.accepted` is to an owner. `script`: for that one."""

    TYPE: ClassVar[str] = "party.added"

    call_id: str
    party_role: str
    agent_name: str | UnsetType = UNSET
    agent_id: str | UnsetType = UNSET
    script: Script | UnsetType = UNSET


class PartyRemoved(FromServer):
    """A further agent is out of the call, or will not come; `wrap_up` and `wrap_up_until_ms` are that agent's."""

    TYPE: ClassVar[str] = "party.removed"

    call_id: str
    reason: str
    party_role: str | UnsetType = UNSET
    agent_id: str | UnsetType = UNSET
    wrap_up: str | UnsetType = UNSET
    wrap_up_until_ms: int | UnsetType = UNSET


class CallHandingOver(FromServer):
    """Another division is asked whether it takes the call; `call.handed_over` or `call.waiting` follows."""

    TYPE: ClassVar[str] = "call.handing_over"

    call_id: str
    cause: str


class CallHandedOver(FromServer):
    """The call goes on in another division: connect there, with `seq` as the last event number."""

    TYPE: ClassVar[str] = "call.handed_over"

    call_id: str
    division_id: str
    seq: int
