"""REST about calls: ask for one, see it, move it, end it; and its history.

Rules: the same commands as over WebSocket, under the same principals and ids. Whose call it is decides the engine, or
`Speaker.seen_call`. Bodies are read by type; an unknown field is a mistake and refused, since a person wrote it.

Not here: queues, agents and the hall (`gateway/rest_hall.py`), serving (`gateway/rest.py`).
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from dispatch.plan import Id
from dispatch.wishes import EXCLUDED_MAX, Skills, Wishes
from gateway import agent, answers, customer, documents, histories, parties
from gateway import client_messages as said
from gateway.client_fields import (
    CreditMs,
    InvitationMs,
    OptionalAddress,
    OptionalId,
    PartyRole,
    PlaceName,
    Reference,
    Text,
)
from gateway.client_messages_staff import EndReason
from gateway.operations import EVERYBODY, STAFF, Asked, Operation
from gateway.refusals import Refused


class CreateCall(Struct, forbid_unknown_fields=True):
    """Body of `POST /v1/calls`. Who may wish for what, the engine decides."""

    queue_id: Reference
    is_consented: bool = False
    business_reference: Text = ""
    display_name: Text = ""
    customer_id: Id | None = None
    need: Skills = field(default_factory=dict)
    joint_need: Skills = field(default_factory=dict)
    credit_ms: CreditMs = 0
    is_absolute: bool = False
    required_agent_id: OptionalId = ""
    preferred_agent_id: OptionalId = ""
    manager_id: OptionalId = ""
    excluded_agent_ids: Annotated[list[Id], Meta(max_length=EXCLUDED_MAX)] = field(default_factory=list)
    region: PlaceName = ""
    carrier: PlaceName = ""
    is_callback: bool = False

    def wishes(self) -> Wishes | None:
        """All that the call asks for beyond its queue; None where it is nothing."""
        wishes = Wishes(**{name: getattr(self, name) for name in Wishes.__struct_fields__})
        return wishes if wishes != customer.NO_WISHES else None


class CreateInvitation(Struct, forbid_unknown_fields=True):
    """Body of `POST /v1/invitations`."""

    customer_id: Id
    agent_id: Id
    queue_id: Id
    business_reference: Text = ""
    valid_ms: InvitationMs = 0


class ChangePriority(Struct, forbid_unknown_fields=True):
    """Body of `PATCH /v1/calls/{id}`: both replace what they were."""

    credit_ms: CreditMs
    is_absolute: bool = False


class MoveOwner(Struct, forbid_unknown_fields=True):
    """Body of `PUT /v1/calls/{id}/owner`."""

    agent_id: Id


class ChangeSupervision(Struct, forbid_unknown_fields=True):
    """Body of `PUT /v1/calls/{id}/supervision`. Empty mode: leave. `supervisor_id`: for operators, who speak for others."""

    mode: Literal["monitor", "whisper", "barge", ""]
    supervisor_id: OptionalId = ""


class Transfer(Struct, forbid_unknown_fields=True):
    """Body of `POST /v1/calls/{id}/transfer`."""

    to_queue_id: OptionalAddress = ""
    to_agent_id: OptionalId = ""
    credit_ms: CreditMs | None = None
    reason: Text = ""


class InviteAgent(Struct, forbid_unknown_fields=True):
    """Body of `POST /v1/calls/{id}/parties`."""

    role: PartyRole
    to_agent_id: OptionalId = ""
    to_queue_id: OptionalId = ""


class EndCall(Struct, forbid_unknown_fields=True):
    """Body of `DELETE /v1/calls/{id}`; it may be missing. A reason is for staff alone."""

    reason: EndReason = ""


async def create_call(asked: Asked) -> Any:
    """Staff say for which customer; a customer asks for themselves alone."""
    speaker, body = asked.speaker, asked.body
    customer_id = body.customer_id or ""
    if speaker.identity.role in STAFF and not customer_id:
        raise Refused("bad_value", "customer_id: staff say for whom")
    if speaker.identity.role == "customer" and customer_id not in ("", speaker.identity.subject):
        raise Refused("not_yours", "customer_id: a customer asks for themselves alone")
    data = said.CallRequest(body.queue_id, body.is_consented, body.business_reference, body.display_name)
    return await customer.request_call(speaker, asked.command_id, data, customer_id, body.wishes())


async def invite_customer(asked: Asked) -> Any:
    """In the name of an agent: the link that the customer gets names `call_id`."""
    body = asked.body
    data = said.CustomerInvite(body.customer_id, body.queue_id, body.business_reference, body.valid_ms)
    return await agent.invite_customer(asked.speaker, asked.command_id, data, body.agent_id)


async def show_call(asked: Asked) -> documents.CallDocument:
    """The call while the hall remembers it; later its history answers for it."""
    view = await asked.speaker.seen_call(asked.path["id"])
    return documents.call_document(view, asked.speaker.identity.role)


async def change_priority(asked: Asked) -> Any:
    """Both values replace what they were, while it waits or rings."""
    speaker, body = asked.speaker, asked.body
    call = speaker.hall.call(asked.path["id"], speaker.identity.division_id)
    principal = speaker.identity.principal
    work = call.set_priority(body.credit_ms, body.is_absolute, principal=principal, command_id=asked.command_id)
    return await speaker.value_of(work)


async def end_call(asked: Asked) -> Any:
    """The reason stands in the history."""
    speaker, body = asked.speaker, asked.body or EndCall()
    if body.reason and speaker.identity.role not in STAFF:
        # The reason stands in the history for good; a party's own word there could claim a failure of the hall.
        raise Refused("wrong_role", "reason: for supervisors and operators")
    call = speaker.hall.call(asked.path["id"], speaker.identity.division_id)
    work = call.hang_up(body.reason, principal=speaker.identity.principal, command_id=asked.command_id)
    return await speaker.value_of(work)


async def request_callback(asked: Asked) -> Any:
    """The call keeps its place."""
    return await customer.request_callback(asked.speaker, asked.command_id, said.AskCallback(asked.path["id"]))


async def transfer(asked: Asked) -> Any:
    """To a queue, one of another division as `division/queue`, or to an agent who is free now."""
    body = asked.body
    data = said.CallTransfer(asked.path["id"], body.to_queue_id, body.to_agent_id, body.credit_ms, body.reason)
    return await parties.transfer(asked.speaker, asked.command_id, data)


async def invite_party(asked: Asked) -> Any:
    """`consult`: the customer neither hears nor is told; `expert` and `third` are in the call for everybody."""
    body = asked.body
    data = said.PartyInvite(asked.path["id"], body.role, body.to_agent_id, body.to_queue_id)
    return await parties.invite(asked.speaker, asked.command_id, data)


async def remove_party(asked: Asked) -> Any:
    """Also while it still rings there."""
    data = said.PartyRemove(asked.path["id"], asked.path["agent_id"])
    return await parties.remove(asked.speaker, asked.command_id, data)


async def take_over(asked: Asked) -> Any:
    """That agent, who must not be offline, owns it now."""
    return await parties.take_over(asked.speaker, asked.command_id, asked.path["id"], asked.body.agent_id)


async def supervise(asked: Asked) -> Any:
    """A supervisor for themselves, an operator says who; an empty mode leaves."""
    speaker, body = asked.speaker, asked.body
    if speaker.identity.role == "operator" and not body.supervisor_id:
        raise Refused("bad_value", "supervisor_id: an operator says who")
    return await parties.supervise(speaker, asked.command_id, asked.path["id"], body.mode, body.supervisor_id)


async def show_history(asked: Asked) -> histories.History:
    """In order; for as long as the archive is kept."""
    speaker = asked.speaker
    call = speaker.hall.call(asked.path["id"], speaker.identity.division_id)
    events = await speaker.within_time(call.history())
    if not events:
        raise Refused("not_found", "no such call")
    return histories.history_of(events)


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="POST",
        path="/v1/calls",
        handler=create_call,
        summary="Ask for a call",
        roles=("customer", *STAFF),
        whose="own",
        body=CreateCall,
        answer=answers.RequestedCall,
        status=201,
        location="/v1/calls/{call_id}",
    ),
    Operation(
        method="POST",
        path="/v1/invitations",
        handler=invite_customer,
        summary="Invite a customer to a call with an agent",
        roles=STAFF,
        whose="division",
        body=CreateInvitation,
        answer=answers.InvitedCall,
        status=201,
        location="/v1/calls/{call_id}",
    ),
    Operation(
        method="GET",
        path="/v1/calls/{id}",
        handler=show_call,
        summary="A call as it is now",
        roles=EVERYBODY,
        whose="call",
        answer=documents.CallDocument,
    ),
    Operation(
        method="PATCH",
        path="/v1/calls/{id}",
        handler=change_priority,
        summary="Change the priority of a call that waits or rings",
        roles=STAFF,
        whose="call",
        body=ChangePriority,
        answer=answers.Nothing,
    ),
    Operation(
        method="DELETE",
        path="/v1/calls/{id}",
        handler=end_call,
        summary="End a call",
        roles=EVERYBODY,
        whose="call",
        body=EndCall,
        is_body_optional=True,
        answer=answers.Nothing,
    ),
    Operation(
        method="POST",
        path="/v1/calls/{id}/callback",
        handler=request_callback,
        summary="Let the customer go and call back",
        roles=("customer", *STAFF),
        whose="call",
        answer=answers.Nothing,
    ),
    Operation(
        method="POST",
        path="/v1/calls/{id}/transfer",
        handler=transfer,
        summary="Give a call away without waiting for anybody",
        roles=("agent", *STAFF),
        whose="call",
        body=Transfer,
        answer=answers.Transferred,
    ),
    Operation(
        method="POST",
        path="/v1/calls/{id}/parties",
        handler=invite_party,
        summary="Ask one more agent into a call",
        roles=("agent", *STAFF),
        whose="call",
        body=InviteAgent,
        answer=answers.InvitedParty,
    ),
    Operation(
        method="DELETE",
        path="/v1/calls/{id}/parties/{agent_id}",
        handler=remove_party,
        summary="Let a further agent out of a call",
        roles=("agent", *STAFF),
        whose="call",
        answer=answers.Nothing,
    ),
    Operation(
        method="PUT",
        path="/v1/calls/{id}/owner",
        handler=take_over,
        summary="Put an agent in the owner's place",
        roles=STAFF,
        whose="call",
        body=MoveOwner,
        answer=answers.Nothing,
    ),
    Operation(
        method="PUT",
        path="/v1/calls/{id}/supervision",
        handler=supervise,
        summary="Be in a call as a supervisor, or leave it",
        roles=STAFF,
        whose="call",
        body=ChangeSupervision,
        answer=answers.Nothing,
    ),
    Operation(
        method="GET",
        path="/v1/calls/{id}/history",
        handler=show_history,
        summary="What happened to a call",
        roles=STAFF,
        whose="call",
        is_audited=True,
        answer=histories.History,
    ),
)
