"""OpenAPI 3.1 of REST, made from the route table and the types of bodies and answers.

Rules: nothing is written here that an entry or a type says. The document is the same for everybody and needs no token.

Not here: the table (`gateway/rest.py`), schemas (`gateway/schemas.py`), the page (`gateway/pages/docs.js`).
"""

import inspect
import sys
from functools import cache
from typing import Any, get_args

import msgspec

from gateway.operations import Operation
from gateway.problems import Problem
from gateway.refusals import KNOWN_REASONS, STATUS_BY_REASON
from gateway.rest import KEY_PATTERN, OPERATIONS, PARAMETER_PATTERN
from gateway.schemas import REF, components, reference

API_VERSION = "1"
PARAMETER_WORDS = {"id": "The id of what the path names.", "agent_id": "The agent's id."}
WHOSE_WORDS = {
    "own": "a customer acts for themselves, staff for a customer of their division",
    "call": "the call's customer, its agents, staff of its division",
    "agent": "the agent themselves, staff of the division",
    "division": "within the token's division",
    "hall": "the whole hall",
}
STATUS_WORDS = {
    400: "Not understood, or beyond a bound",
    401: "Not signed in, or no more",
    403: "Not for you",
    404: "There is no such thing",
    405: "The path does not take this method",
    409: "It does not fit the state of now",
    412: "`If-Match` names another state than the present one",
    413: "The body is larger than 64 KiB",
    415: "The body is of another type than is taken here",
    422: "The request itself cannot be met",
    428: "`If-Match` is needed",
    429: "Too many requests: wait as `Retry-After` says",
    503: "A limit of the hall, or it is in trouble: wait as `Retry-After` says, then again with the same key",
}
_DESCRIPTION = """Back ends and apps use these operations; a call itself is carried by the WebSocket (see the messages).

Sign in with `Authorization: Bearer <token>`. Commands take an `Idempotency-Key`: the same key again gets the same answer and
does nothing twice. Errors are problem documents (RFC 9457) whose `reason` is for programs. New fields may come with any
version: ignore what you do not know; unknown fields in a body are refused."""


@cache
def openapi() -> bytes:
    """The document as JSON."""
    return msgspec.json.encode(document())


def document() -> dict[str, Any]:
    """The document."""
    kinds = [kind for one in OPERATIONS for kind in (one.body, one.query, *_structs(one.answer)) if kind is not None]
    paths: dict[str, dict[str, Any]] = {}
    for one in OPERATIONS:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tellerhall",
            "summary": "Calls, queues, agents, recordings and the hall",
            "version": API_VERSION,
            "description": _DESCRIPTION,
        },
        "servers": [{"url": "/"}],
        "tags": _tags(),
        "paths": paths,
        "components": {
            "schemas": components([*dict.fromkeys(kinds), Problem]),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            "responses": {f"Problem{status}": _problem(status) for status in STATUS_WORDS},
        },
        "security": [{"token": []}],
    }


def _operation(one: Operation) -> dict[str, Any]:
    text = inspect.getdoc(one.handler) or ""
    found: dict[str, Any] = {
        "operationId": one.id,
        "summary": one.summary,
        "description": f"{text}\n\nWhose: {WHOSE_WORDS[one.whose]}.",
        "tags": [_subject(one)],
        "x-roles": list(one.roles),
        "x-whose": one.whose,
        "parameters": [*_path_parameters(one), *_query_parameters(one), *_headers(one), *_key_parameter(one)],
        "responses": {str(one.status): _answer(one), **_parts(one), **_refusals(one)},
    }
    if one.body is not None:
        found["requestBody"] = {
            "required": not one.is_body_optional,
            "content": {"application/json": {"schema": reference(one.body)}},
        }
    elif one.body_media_type:
        found["requestBody"] = {"required": True, "content": {one.body_media_type: {"schema": {"type": "string"}}}}
    return found


def _path_parameters(one: Operation) -> list[dict[str, Any]]:
    schema = {"type": "string", "pattern": f"^{PARAMETER_PATTERN.pattern}$"}
    return [
        {"name": name, "in": "path", "required": True, "schema": schema, "description": PARAMETER_WORDS.get(name, "")}
        for name in one.parameters
    ]


def _query_parameters(one: Operation) -> list[dict[str, Any]]:
    if one.query is None:
        return []
    schema = components([one.query])[one.query.__name__]
    return [
        {
            "name": name,
            "in": "query",
            "required": name in schema["required"],
            "schema": {key: value for key, value in field.items() if key != "description"},
            "description": field.get("description", ""),
        }
        for name, field in schema["properties"].items()
    ]


def _headers(one: Operation) -> list[dict[str, Any]]:
    # `Accept` is what OpenAPI says by the types of answers, and may not be a parameter.
    names = [str(name) for name in one.headers if name != "Accept"]
    return [{"name": name, "in": "header", "required": False, "schema": {"type": "string"}} for name in names]


def _key_parameter(one: Operation) -> list[dict[str, Any]]:
    if not one.is_command:
        return []
    # Printable ASCII is what a header can hold without doubt.
    schema = {"type": "string", "pattern": r"^[!-~]{1,64}$"}
    assert KEY_PATTERN.fullmatch("!" * 64)
    text = "The same key again: the same answer, and nothing is done twice. Without one, a repeat is a new command."
    return [{"name": "Idempotency-Key", "in": "header", "required": False, "schema": schema, "description": text}]


def _answer(one: Operation) -> dict[str, Any]:
    structs = _structs(one.answer)
    found: dict[str, Any] = {"description": inspect.getdoc(structs[0]) if structs else f"`{one.media_type}`"}
    if one.status != 204:
        references = [reference(kind) for kind in structs] or [{"type": "string"}]
        schema = references[0] if len(references) == 1 else {"anyOf": references}
        found["content"] = {one.media_type: {"schema": schema}}
        found["content"] |= {name: {"schema": {"type": "string"}} for name in one.other_media_types}
    if one.is_tagged:
        found["headers"] = {"ETag": {"schema": {"type": "string"}, "description": "For `If-Match` of a change"}}
    if one.location:
        found["headers"] = {"Location": {"schema": {"type": "string"}, "description": f"`{one.location}`"}}
    return found


def _parts(one: Operation) -> dict[str, Any]:
    """What `Range` makes of the answer."""
    if not one.takes_ranges:
        return {}
    whole = _answer(one)
    place = {"Content-Range": {"schema": {"type": "string"}, "description": "Which bytes of how many"}}
    part = {**whole, "description": "The part that `Range` asks for", "headers": {**whole.get("headers", {}), **place}}
    return {"206": part, "416": {"description": "There is no such part", "headers": place}}


def _structs(answer: Any) -> list[Any]:
    return list(get_args(answer)) or ([answer] if hasattr(answer, "__struct_fields__") else [])


def _refusals(one: Operation) -> dict[str, Any]:
    return {str(status): {"$ref": f"#/components/responses/Problem{status}"} for status in one.refusal_statuses}


def _problem(status: int) -> dict[str, Any]:
    reasons = sorted(one for one in KNOWN_REASONS if STATUS_BY_REASON.get(one, 409) == status)
    found: dict[str, Any] = {
        "description": STATUS_WORDS[status] + (f": {', '.join(f'`{one}`' for one in reasons)}" if reasons else ""),
        "content": {"application/problem+json": {"schema": {"$ref": REF.format(name="Problem")}}},
        "x-reasons": reasons,
    }
    if status in (429, 503):
        text = "Seconds to wait"
        found["headers"] = {"Retry-After": {"schema": {"type": "integer", "minimum": 1}, "description": text}}
    return found


def _subject(one: Operation) -> str:
    return str(one.handler.__module__).rpartition(".")[2].removeprefix("rest_")


def _tags() -> list[dict[str, str]]:
    """A subject is a file; its head says what it is about."""
    heads = {_subject(one): (sys.modules[one.handler.__module__].__doc__ or "").split("\n")[0] for one in OPERATIONS}
    words = {name: text.removeprefix("REST about ") for name, text in heads.items()}
    return [{"name": name, "description": text[:1].upper() + text[1:]} for name, text in words.items()]
