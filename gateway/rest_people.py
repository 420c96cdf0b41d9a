"""REST about people: an agent's state set by staff, and what is kept of a customer, erased.

Rules: as in `gateway/rest_calls.py`. An erasure ends what is known of a person; the journal and the archive hold opaque
references alone and stay, as the audit log does. Backups that were taken before still hold the record.

Not here: agents as they are (`gateway/rest_hall.py`), records and how long they are kept (`actors/people.py`).
"""

from typing import Any, Literal

from msgspec import Struct

from gateway import answers, supervisor
from gateway.client_fields import Text
from gateway.client_messages_staff import ForceAgentState
from gateway.operations import STAFF, Asked, Operation
from gateway.people import customer_reference


class SetAgentState(Struct, forbid_unknown_fields=True):
    """Body of `PUT /v1/agents/{id}/state`."""

    activity: Literal["ready", "not_ready", "offline"]
    reason: Text = ""


class Erased(Struct):
    """Nothing is known of the customer any more."""

    was_known: bool
    """There was a record until now."""


async def set_agent_state(asked: Asked) -> Any:
    """As `agent.force_state`: a call in progress is finished first."""
    body = asked.body
    wanted = ForceAgentState(asked.path["id"], body.activity, body.reason)
    await supervisor.force_state(asked.speaker, asked.command_id, wanted)
    return {}


async def erase_customer(asked: Asked) -> Erased:
    """The name that the customer gave, in every division. A repeat finds nothing, and is no mistake."""
    speaker = asked.speaker
    was_known = await speaker.within_time(speaker.hall.forget_person(customer_reference(asked.path["id"])))
    return Erased(was_known)


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="PUT",
        path="/v1/agents/{id}/state",
        handler=set_agent_state,
        summary="Make an agent ready, not ready or offline",
        roles=STAFF,
        whose="agent",
        body=SetAgentState,
        answer=answers.Nothing,
    ),
    Operation(
        method="DELETE",
        path="/v1/customers/{id}",
        handler=erase_customer,
        summary="Erase what is known of a customer",
        roles=("operator",),
        whose="hall",
        answer=Erased,
    ),
)
