"""REST: the one route table, and how an entry of it is served.

Rules: every request passes the same checks in the same order: origin, token, role, division, rate, path, query, key, body. Each
has its own reason. Answers are never kept by a cache.

Not here: what an entry is (`gateway/operations.py`), entries and handlers (`gateway/rest_calls.py`, `gateway/rest_hall.py`),
problem documents (`gateway/problems.py`), health and metrics (`gateway/health.py`).
"""

import asyncio
import re
import uuid
from typing import Any, TypeVar

import msgspec
from aiohttp import web
from msgspec import Struct

from dispatch.model import KEY_PREFIX
from gateway import (
    rest_audit,
    rest_call_lists,
    rest_calls,
    rest_configuration,
    rest_explain,
    rest_hall,
    rest_identity,
    rest_media,
    rest_people,
    rest_recordings,
    rest_reports,
    rest_webhooks,
)
from gateway.auditing import references
from gateway.bounds import read_body
from gateway.cors import preflight_routes
from gateway.entrance import bearer_token, check_division, check_origin
from gateway.identity import Verifier
from gateway.operations import Asked, Operation
from gateway.problems import Handler, json_response
from gateway.refusals import Refused
from gateway.speaker import Services, Speaker

OPERATIONS: tuple[Operation, ...] = (
    *rest_calls.OPERATIONS,
    *rest_call_lists.OPERATIONS,
    *rest_hall.OPERATIONS,
    *rest_media.OPERATIONS,
    *rest_reports.OPERATIONS,
    *rest_identity.OPERATIONS,
    *rest_audit.OPERATIONS,
    *rest_explain.OPERATIONS,
    *rest_people.OPERATIONS,
    *rest_recordings.OPERATIONS,
    *rest_webhooks.OPERATIONS,
    *rest_configuration.OPERATIONS,
)
"""Everything that REST can do. Routes, OpenAPI and the tests of roles are made from it."""
LATE_BODIES = frozenset((one.method, one.path) for one in OPERATIONS if one.body_bytes_max)
"""(method, path) of those whose body is read only once the caller may do them."""

KEY_PATTERN = re.compile(r"[^\x00-\x1f\x7f]{1,64}")
PARAMETER_PATTERN = re.compile(r"[^\x00-\x1f\x7f]{1,128}")
"""As `client_fields.Reference`."""

S = TypeVar("S", bound=Struct)


class Rest:
    """The operations as one gateway serves them."""

    def __init__(self, services: Services, verifier: Verifier) -> None:
        self._services = services
        self._verifier = verifier

    def routes(self) -> list[web.RouteDef]:
        """One route an entry; GET answers HEAD too, and each path a preflight."""
        routes = []
        for one in OPERATIONS:
            add = {"GET": web.get, "POST": web.post, "PUT": web.put, "PATCH": web.patch, "DELETE": web.delete}[
                one.method
            ]
            routes.append(add(one.path, self._served(one)))
        return [*routes, *preflight_routes(OPERATIONS)]

    def _served(self, operation: Operation) -> Handler:
        async def serve(request: web.Request) -> web.StreamResponse:
            answer = await self._done(operation, await self._asked(request, operation))
            if isinstance(answer, web.StreamResponse):
                return answer
            headers = {"Location": _filled(operation.location, answer)} if operation.location else None
            return json_response(answer, operation.status, headers)

        return serve

    async def _done(self, operation: Operation, asked: Asked) -> Any:
        """Carry it out; what staff do is recorded before and after."""
        identity = asked.speaker.identity
        if not operation.is_recorded_for(identity.role):
            return await operation.handler(asked)
        about = references(asked.query, asked.body, dict(asked.path))
        auditor, ref = self._services.auditor, asked.command_id or uuid.uuid4().hex
        if not operation.is_command:
            await auditor.note(operation.id, identity, about, ref, "asked")
            return await operation.handler(asked)
        work = auditor.carried_out(operation.id, identity, about, ref, lambda: operation.handler(asked))
        return await asyncio.shield(work)

    async def _asked(self, request: web.Request, operation: Operation) -> Asked:
        """Return the request, checked; raises `Refused`."""
        speaker = await self._speaker(request, operation)
        path = {name: request.match_info[name] for name in operation.parameters}
        if not all(PARAMETER_PATTERN.fullmatch(value) for value in path.values()):
            raise Refused("not_found", "no id has such characters, or so many")
        query = _query(request, operation.query) if operation.query is not None else None
        command_id = _command_id(request) if operation.is_command else ""
        body: Any = None
        if operation.body_bytes_max:
            body = await read_body(request, operation.body_bytes_max)
        elif operation.body is not None and (request.body_exists or not operation.is_body_optional):
            body = await _body(request, operation.body)
        elif operation.body_media_type:
            body = await _text(request, operation.body_media_type)
        headers = {name: request.headers[name] for name in operation.headers if name in request.headers}
        return Asked(speaker, command_id, path, query, body, headers)

    async def _speaker(self, request: web.Request, operation: Operation) -> Speaker:
        """Return who asks, if the operation is for them; raises `Refused`."""
        check_origin(request, self._services.settings.allowed_origins)
        try:
            identity = await self._verifier.admit(bearer_token(request))
        except Refused as refused:
            if refused.status == 401:
                self._services.auditor.count_refused(refused.reason)
            raise
        if identity.role not in operation.roles:
            raise Refused("wrong_role", f"this is not for the role {identity.role}")
        check_division(identity, self._services)
        self._services.rates.check_request_of(identity)
        return Speaker(self._services, identity, request.remote or "")


def _filled(template: str, answer: Any) -> str:
    return template.format_map(answer if isinstance(answer, dict) else msgspec.structs.asdict(answer))


def _query(request: web.Request, kind: type[S]) -> S:
    """Return the query as `kind`; raises `Refused` (`bad_value`). A name that comes twice is a mistake."""
    names = list(request.query)
    if len(names) != len(set(names)):
        raise Refused("bad_value", "query: a name comes twice")
    try:
        return msgspec.convert(dict(request.query), kind, strict=False)
    except msgspec.ValidationError as error:
        raise Refused("bad_value", str(error)) from None


async def _body(request: web.Request, kind: type[S]) -> S:
    """Return the body as `kind`; raises `Refused` (`malformed`, `bad_value`). Its size is bounded by the application."""
    content = await request.read()
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError as error:
        raise Refused("bad_value", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused("malformed", str(error)) from None


async def _text(request: web.Request, media_type: str) -> str:
    """Return the body as text; raises `Refused` (`unsupported_media_type`, `malformed`)."""
    if request.content_type != media_type:
        raise Refused("unsupported_media_type", f"send {media_type}")
    try:
        return (await request.read()).decode()
    except UnicodeDecodeError as error:
        raise Refused("malformed", str(error)) from None


def _command_id(request: web.Request) -> str:
    """Return the caller's key as the engine keeps it for a day, or a new id for a command that its caller will not repeat."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return uuid.uuid4().hex
    if not KEY_PATTERN.fullmatch(key):
        raise Refused("bad_value", "Idempotency-Key: 1 to 64 characters")
    return KEY_PREFIX + key
