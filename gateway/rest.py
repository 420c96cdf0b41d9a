"""REST: calls, queues, agents, recordings for apps and operations.

Rules: the same commands as over WebSocket, under the same principals and ids. Each path names the roles it is for; whose
call it is decides the engine, or `call_of`. Bodies are read by type; an unknown field is a mistake and refused, since a person
wrote it. Answers are never kept by a cache.

Not here: problem documents (`gateway/problems.py`), health and metrics (`gateway/health.py`), what leaves of a view
(`gateway/documents.py`).
"""

import asyncio
import re
import uuid
from collections import OrderedDict
from typing import Annotated, Literal, TypeVar

import msgspec
from aiohttp import web
from msgspec import Meta, Struct, field

from dispatch.plan import Id
from dispatch.wishes import EXCLUDED_MAX, Skills, Wishes
from gateway import agent, customer, documents, parties
from gateway import client_messages as said
from gateway.client_messages import (
    CreditMs,
    InvitationMs,
    OptionalAddress,
    OptionalId,
    PartyRole,
    PlaceName,
    Reference,
    Text,
)
from gateway.entrance import bearer_token, check_division, check_origin
from gateway.identity import Verifier
from gateway.limits import TokenBucket
from gateway.problems import json_response
from gateway.refusals import Refused
from gateway.speaker import Services, Speaker

STAFF = ("supervisor", "operator")
EVERYBODY = ("customer", "agent", *STAFF)
KEY_PATTERN = re.compile(r"[^\x00-\x1f\x7f]{1,64}")
BUCKETS_MAX = 10_000
"""Speakers whose request rate is remembered; the one unheard for longest is forgotten first."""

S = TypeVar("S", bound=Struct)


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

    reason: Annotated[str, Meta(max_length=200)] = ""


class MoveDivision(Struct, forbid_unknown_fields=True):
    """Body of `PUT /v1/divisions/{id}/slot`."""

    slot_id: Id


class Rest:
    """The handlers of one gateway."""

    def __init__(self, services: Services, verifier: Verifier) -> None:
        self._services = services
        self._verifier = verifier
        self._bucket_by_principal: OrderedDict[str, TokenBucket] = OrderedDict()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/calls", self.create_call),
            web.get("/v1/calls/{id}", self.show_call),
            web.patch("/v1/calls/{id}", self.change_priority),
            web.delete("/v1/calls/{id}", self.end_call),
            web.post("/v1/calls/{id}/callback", self.request_callback),
            web.post("/v1/calls/{id}/transfer", self.transfer),
            web.post("/v1/calls/{id}/parties", self.invite_party),
            web.delete("/v1/calls/{id}/parties/{agent_id}", self.remove_party),
            web.put("/v1/calls/{id}/owner", self.take_over),
            web.put("/v1/calls/{id}/supervision", self.supervise),
            web.post("/v1/invitations", self.invite_customer),
            web.get("/v1/calls/{id}/history", self.show_history),
            web.get("/v1/queues", self.list_queues),
            web.get("/v1/queues/{id}", self.show_queue),
            web.get("/v1/agents", self.list_agents),
            web.get("/v1/agents/{id}", self.show_agent),
            web.get("/v1/recordings/{id}", self.show_recording),
            web.get("/v1/status", self.show_status),
            web.put("/v1/divisions/{id}/slot", self.move_division),
        ]

    async def create_call(self, request: web.Request) -> web.Response:
        speaker = self._speaker(request, "customer", *STAFF)
        body = await _body(request, CreateCall)
        customer_id = body.customer_id or ""
        if speaker.identity.role in STAFF and not customer_id:
            raise Refused("bad_value", "customer_id: staff say for whom")
        if speaker.identity.role == "customer" and customer_id not in ("", speaker.identity.subject):
            raise Refused("not_yours", "customer_id: a customer asks for themselves alone")
        data = said.CallRequest(body.queue_id, body.is_consented, body.business_reference, body.display_name)
        value = await customer.request_call(speaker, _command_id(request), data, customer_id, body.wishes())
        return json_response(value, 201, {"Location": f"/v1/calls/{value['call_id']}"})

    async def invite_customer(self, request: web.Request) -> web.Response:
        speaker = self._speaker(request, *STAFF)
        body = await _body(request, CreateInvitation)
        data = said.CustomerInvite(body.customer_id, body.queue_id, body.business_reference, body.valid_ms)
        value = await agent.invite_customer(speaker, _command_id(request), data, body.agent_id)
        return json_response(value, 201, {"Location": f"/v1/calls/{value['call_id']}"})

    async def change_priority(self, request: web.Request) -> web.Response:
        speaker = self._speaker(request, *STAFF)
        body = await _body(request, ChangePriority)
        call = speaker.hall.call(request.match_info["id"], speaker.identity.division_id)
        work = call.set_priority(
            body.credit_ms,
            body.is_absolute,
            principal=speaker.identity.principal,
            command_id=_command_id(request),
        )
        return json_response(await speaker.value_of(work))

    async def request_callback(self, request: web.Request) -> web.Response:
        speaker = self._speaker(request, "customer", *STAFF)
        data = said.CallCallback(request.match_info["id"])
        return json_response(await customer.request_callback(speaker, _command_id(request), data))

    async def transfer(self, request: web.Request) -> web.Response:
        speaker = self._speaker(request, "agent", *STAFF)
        body = await _body(request, Transfer)
        call_id = request.match_info["id"]
        data = said.CallTransfer(call_id, body.to_queue_id, body.to_agent_id, body.credit_ms, body.reason)
        return json_response(await parties.transfer(speaker, _command_id(request), data))

    async def invite_party(self, request: web.Request) -> web.Response:
        speaker = self._speaker(request, "agent", *STAFF)
        body = await _body(request, InviteAgent)
        data = said.PartyInvite(request.match_info["id"], body.role, body.to_agent_id, body.to_queue_id)
        return json_response(await parties.invite(speaker, _command_id(request), data))

    async def remove_party(self, request: web.Request) -> web.Response:
        speaker = self._speaker(request, "agent", *STAFF)
        data = said.PartyRemove(request.match_info["id"], request.match_info["agent_id"])
        return json_response(await parties.remove(speaker, _command_id(request), data))

    async def take_over(self, request: web.Request) -> web.Response:
        speaker = self._speaker(request, *STAFF)
        body = await _body(request, MoveOwner)
        call_id = request.match_info["id"]
        return json_response(await parties.take_over(speaker, _command_id(request), call_id, body.agent_id))

    async def supervise(self, request: web.Request) -> web.Response:
        speaker = self._speaker(request, *STAFF)
        body = await _body(request, ChangeSupervision)
        if speaker.identity.role == "operator" and not body.supervisor_id:
            raise Refused("bad_value", "supervisor_id: an operator says who")
        call_id = request.match_info["id"]
        value = await parties.supervise(speaker, _command_id(request), call_id, body.mode, body.supervisor_id)
        return json_response(value)

    async def show_call(self, request: web.Request) -> web.Response:
        speaker = self._speaker(request, *EVERYBODY)
        view = await speaker.seen_call(request.match_info["id"])
        return json_response(documents.call_document(view, speaker.identity.role))

    async def end_call(self, request: web.Request) -> web.Response:
        speaker = self._speaker(request, *EVERYBODY)
        body = await _body(request, EndCall) if request.body_exists else EndCall()
        if body.reason and speaker.identity.role not in STAFF:
            # The reason stands in the history for good; a party's own word there could claim a failure of the hall.
            raise Refused("wrong_role", "reason: for supervisors and operators")
        call = speaker.hall.call(request.match_info["id"], speaker.identity.division_id)
        value = await speaker.value_of(
            call.hang_up(body.reason, principal=speaker.identity.principal, command_id=_command_id(request))
        )
        return json_response(value)

    async def show_history(self, request: web.Request) -> web.Response:
        speaker = self._speaker(request, *STAFF)
        call = speaker.hall.call(request.match_info["id"], speaker.identity.division_id)
        events = await speaker.within_time(call.history())
        if not events:
            raise Refused("not_found", "no such call")
        return json_response({"events": [documents.event_document(event) for event in events]})

    async def list_queues(self, request: web.Request) -> web.Response:
        speaker = self._speaker(request, *EVERYBODY)
        views = await speaker.within_time(speaker.hall.queues(speaker.identity.division_id))
        return json_response({"queues": [documents.queue_document(view, speaker.identity.role) for view in views]})

    async def show_queue(self, request: web.Request) -> web.Response:
        speaker = self._speaker(request, *EVERYBODY)
        queue = speaker.hall.skill_queue(request.match_info["id"], speaker.identity.division_id)
        view = await speaker.within_time(queue.view())
        if view is None:
            raise Refused("not_found", "no such queue")
        return json_response(documents.queue_document(view, speaker.identity.role))

    async def list_agents(self, request: web.Request) -> web.Response:
        speaker = self._speaker(request, *STAFF)
        views = await speaker.within_time(speaker.hall.agents(speaker.identity.division_id))
        return json_response({"agents": [documents.agent_document(view) for view in views]})

    async def show_agent(self, request: web.Request) -> web.Response:
        speaker = self._speaker(request, "agent", *STAFF)
        agent_id = request.match_info["id"]
        if speaker.identity.role == "agent" and agent_id != speaker.identity.subject:
            raise Refused("not_yours", "an agent sees themselves alone")
        view = await speaker.within_time(speaker.hall.agent(agent_id, speaker.identity.division_id).view())
        if view is None:
            raise Refused("not_found", "no such agent")
        return json_response(documents.agent_document(view))

    async def show_status(self, request: web.Request) -> web.Response:
        speaker = self._speaker(request, "operator")
        return json_response(await speaker.within_time(self._services.overview.read()))

    async def move_division(self, request: web.Request) -> web.Response:
        """Takes as long as the move, which has its own bound; a caller who goes away does not end it."""
        speaker = self._speaker(request, "operator")
        body = await _body(request, MoveDivision)
        division_id = request.match_info["id"]
        await asyncio.shield(speaker.hall.move(division_id, body.slot_id))
        return json_response({"division_id": division_id, "slot_id": body.slot_id})

    async def show_recording(self, request: web.Request) -> web.Response:
        speaker = self._speaker(request, *STAFF)
        folder = self._services.settings.recordings_folder
        if folder is None:
            raise Refused("not_found", "this gateway sees no recordings")
        division_id = speaker.identity.division_id or speaker.hall.division_ids[0]
        call_id = request.match_info["id"]
        manifests = await asyncio.to_thread(documents.read_manifests, folder, call_id, division_id)
        if not manifests:
            raise Refused("not_found", "no such recording")
        return json_response({"call_id": call_id, "manifests": manifests})

    def _speaker(self, request: web.Request, *roles: str) -> Speaker:
        """Return who asks, if the path is for them; raises `Refused`."""
        check_origin(request, self._services.settings.allowed_origins)
        identity = self._verifier.identify(bearer_token(request))
        if identity.role not in roles:
            raise Refused("wrong_role", f"this is not for the role {identity.role}")
        check_division(identity, self._services)
        # Operators and supervisors are the bank's own systems: their rate is the hall's matter, not the gateway's.
        if identity.role not in STAFF:
            self._check_rate(identity.principal)
        return Speaker(self._services, identity)

    def _check_rate(self, principal: str) -> None:
        settings, now_s = self._services.settings, asyncio.get_running_loop().time()
        bucket = self._bucket_by_principal.pop(principal, None)
        if bucket is None:
            bucket = TokenBucket(settings.messages_per_s, settings.messages_burst, now_s)
        self._bucket_by_principal[principal] = bucket
        if len(self._bucket_by_principal) > BUCKETS_MAX:
            self._bucket_by_principal.popitem(last=False)
        if not bucket.take(now_s):
            raise Refused("too_many", "too many requests", retry_after_ms=1_000)


async def _body(request: web.Request, kind: type[S]) -> S:
    """Return the body as `kind`; raises `Refused` (`malformed`, `bad_value`). Its size is bounded by the application."""
    content = await request.read()
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError as error:
        raise Refused("bad_value", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused("malformed", str(error)) from None


def _command_id(request: web.Request) -> str:
    """Return the caller's key, or a new id for a command that its caller will not repeat."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return uuid.uuid4().hex
    if not KEY_PATTERN.fullmatch(key):
        raise Refused("bad_value", "Idempotency-Key: 1 to 64 characters")
    return key
