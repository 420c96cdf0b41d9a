"""REST about the hall: queues, agents, status, and where a division runs.

Rules: as in `gateway/rest_calls.py`. A token is good for one division, the hall's first where it names none.

Not here: calls (`gateway/rest_calls.py`), recordings (`gateway/rest_recordings.py`),
serving (`gateway/rest.py`), what leaves of a view (`gateway/documents.py`).
"""

import asyncio
from typing import Annotated, Any

from msgspec import Meta, Struct

from dispatch.plan import Id
from gateway import answers, documents
from gateway.operations import EVERYBODY, STAFF, Asked, Operation
from gateway.refusals import Refused

AGENTS_MAX = 1_000
"""In one answer: some 300 KB."""


class MoveDivision(Struct, forbid_unknown_fields=True):
    """Body of `PUT /v1/divisions/{id}/slot`."""

    slot_id: Id


async def list_queues(asked: Asked) -> documents.QueueList:
    """Of the token's division; who is no customer sees counts and waits too."""
    speaker = asked.speaker
    views = await speaker.within_time(speaker.hall.queues(speaker.identity.division_id))
    return documents.QueueList([documents.queue_document(view, speaker.identity.role) for view in views])


async def show_queue(asked: Asked) -> documents.QueueDocument:
    """As in the list."""
    speaker = asked.speaker
    queue = speaker.hall.skill_queue(asked.path["id"], speaker.identity.division_id)
    view = await speaker.within_time(queue.view())
    if view is None:
        raise Refused("not_found", "no such queue")
    return documents.queue_document(view, speaker.identity.role)


class AgentsQuery(Struct, forbid_unknown_fields=True):
    """Which page of the agents."""

    after: Annotated[str, Meta(max_length=64)] = ""
    """The `next` of the page before."""
    limit: Annotated[int, Meta(ge=1, le=AGENTS_MAX)] = AGENTS_MAX


async def list_agents(asked: Asked) -> documents.AgentList:
    """Of the token's division, page by page; who signs in or leaves the plan meanwhile makes no page twice."""
    speaker, query = asked.speaker, asked.query
    views = await speaker.within_time(speaker.hall.agents(speaker.identity.division_id))
    later = sorted((view for view in views if view.agent_id > query.after), key=lambda view: view.agent_id)
    page = later[: query.limit]
    following = page[-1].agent_id if len(later) > len(page) else None
    return documents.AgentList([documents.agent_document(view) for view in page], following)


async def show_agent(asked: Asked) -> documents.AgentDocument:
    """An agent sees themselves alone."""
    speaker, agent_id = asked.speaker, asked.path["id"]
    if speaker.identity.role == "agent" and agent_id != speaker.identity.subject:
        raise Refused("not_yours", "an agent sees themselves alone")
    view = await speaker.within_time(speaker.hall.agent(agent_id, speaker.identity.division_id).view())
    if view is None:
        raise Refused("not_found", "no such agent")
    return documents.agent_document(view)


async def show_status(asked: Asked) -> Any:
    """What `tellerhall status` prints."""
    return await asked.speaker.within_time(asked.speaker.services.overview.read())


async def move_division(asked: Asked) -> answers.DivisionMoved:
    """Takes as long as the move, which has its own bound; a caller who goes away does not end it."""
    division_id, slot_id = asked.path["id"], asked.body.slot_id
    await asyncio.shield(asked.speaker.hall.move(division_id, slot_id))
    return answers.DivisionMoved(division_id, slot_id)


async def drain_gateway(asked: Asked) -> answers.GatewayDraining:
    """Its clients are told to resume elsewhere within a minute; then it ends, and a successor takes its slot."""
    slot_id = asked.path["id"]
    return answers.GatewayDraining(slot_id, await asked.speaker.within_time(asked.speaker.hall.drain(slot_id)))


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET",
        path="/v1/queues",
        handler=list_queues,
        summary="All queues as they are now",
        roles=EVERYBODY,
        whose="division",
        answer=documents.QueueList,
    ),
    Operation(
        method="GET",
        path="/v1/queues/{id}",
        handler=show_queue,
        summary="A queue as it is now",
        roles=EVERYBODY,
        whose="division",
        answer=documents.QueueDocument,
    ),
    Operation(
        method="GET",
        path="/v1/agents",
        handler=list_agents,
        summary="All agents as they are now",
        query=AgentsQuery,
        roles=STAFF,
        whose="division",
        answer=documents.AgentList,
    ),
    Operation(
        method="GET",
        path="/v1/agents/{id}",
        handler=show_agent,
        summary="An agent as it is now",
        roles=("agent", *STAFF),
        whose="agent",
        answer=documents.AgentDocument,
    ),
    Operation(
        method="GET",
        path="/v1/status",
        handler=show_status,
        summary="The whole hall: what runs where, and what is wrong",
        roles=("operator",),
        whose="hall",
        answer=documents.StatusDocument,
    ),
    Operation(
        method="PUT",
        path="/v1/divisions/{id}/slot",
        handler=move_division,
        summary="Let another shard host a division",
        roles=("operator",),
        whose="hall",
        body=MoveDivision,
        answer=answers.DivisionMoved,
    ),
    Operation(
        method="POST",
        path="/v1/gateways/{id}/drain",
        handler=drain_gateway,
        summary="Send a gateway's clients to the others and start it anew",
        roles=("operator",),
        whose="hall",
        answer=answers.GatewayDraining,
        status=202,
    ),
)
