"""AsyncAPI 3.0 of the WebSocket, made from the types of messages and from who sends and gets which.

Rules: as in `gateway/openapi.py`. Operations are named from the server's side, as AsyncAPI wants it: it receives what clients
send.

Not here: the types (`gateway/client_messages.py`, `gateway/messages.py`), samples (`gateway/samples.py`).
"""

import inspect
from functools import cache
from typing import Any, get_args

import msgspec
from msgspec import Struct

from gateway import messages as wire
from gateway.catalogue import SERVER_TYPES, UNNUMBERED
from gateway.client_fields import FromClient, MessageId
from gateway.client_messages import CLIENT_TYPES
from gateway.codec import CODECS
from gateway.openapi import API_VERSION
from gateway.samples import CLIENT_SAMPLES, SERVER_SAMPLES, sent
from gateway.schemas import components, reference, rewritten

ROLES: tuple[wire.Role, ...] = get_args(wire.Role)
_ID = rewritten(msgspec.json.schema(MessageId))
CHANNEL = {"$ref": "#/channels/session"}
_DESCRIPTION = f"""One WebSocket a client. Offer the subprotocol {" or ".join(f"`{name}`" for name in CODECS)}, and the token
as a second one (`bearer.<token>`) or in the header `Authorization`. Each message of a client is answered by one `ack` or
`error` with its id as `re`; messages with `seq` are events, and are resumed. Ignore fields and types that you do not know."""

_SERVER_TYPES = tuple(dict.fromkeys(kind for kinds in SERVER_TYPES.values() for kind in kinds))
_CLIENT_TYPES = tuple(dict.fromkeys(kind for kinds in CLIENT_TYPES.values() for kind in kinds.values()))


@cache
def asyncapi() -> bytes:
    """The document as JSON, but for the server's own address."""
    return msgspec.json.encode(document())


def document() -> dict[str, Any]:
    """The document. `servers` names an example: whoever reads it knows where it came from."""
    answers = [one.ANSWER for one in _CLIENT_TYPES if one.ANSWER is not None]
    types: list[type[Struct]] = [*_CLIENT_TYPES, *_SERVER_TYPES, *answers]
    messages = {
        **{_client_name(one): _client_message(one) for one in _CLIENT_TYPES},
        **{_server_name(one): _server_message(one) for one in _SERVER_TYPES},
    }
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Tellerhall", "version": API_VERSION, "description": _DESCRIPTION},
        "defaultContentType": "application/json",
        "servers": {
            "gateway": {
                "host": "tellerhall.example",
                "protocol": "wss",
                "description": "The gateway that served this document, by its own address.",
                "security": [{"$ref": "#/components/securitySchemes/token"}],
            }
        },
        "channels": {"session": _channel(messages)},
        "operations": _operations(),
        "components": {
            "messages": messages,
            "schemas": components(list(dict.fromkeys(types))),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _channel(messages: dict[str, Any]) -> dict[str, Any]:
    resume = {"type": "integer", "minimum": 0, "description": "The highest `seq` that was received."}
    return {
        "address": "/v1/ws",
        "title": "Session",
        "description": f"Subprotocols: {', '.join(CODECS)}. A newer connection of the same principal replaces the older.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {
            "ws": {
                "method": "GET",
                "query": {"type": "object", "properties": {"resume": resume}},
                "bindingVersion": "0.1.0",
            }
        },
    }


def _operations() -> dict[str, Any]:
    found: dict[str, Any] = {}
    answers = [_in_channel(_server_name(one)) for one in (wire.Ack, wire.Error)]
    for role in ROLES:
        found[f"{role}Sends"] = {
            "action": "receive",
            "channel": CHANNEL,
            "title": f"What a client with the role {role} sends",
            "messages": [_in_channel(_client_name(one)) for one in CLIENT_TYPES[role].values()],
            "reply": {"channel": CHANNEL, "messages": answers},
        }
        found[f"{role}Gets"] = {
            "action": "send",
            "channel": CHANNEL,
            "title": f"What a client with the role {role} gets",
            "messages": [_in_channel(_server_name(one)) for one in SERVER_TYPES[role]],
        }
    return found


def _in_channel(name: str) -> dict[str, str]:
    return {"$ref": f"#/channels/session/messages/{name}"}


def _client_name(kind: type[FromClient]) -> str:
    """Names in the document: a type that both sides use, and one that roles fill differently, are two messages."""
    return f"client.{kind.TYPE}" + (".staff" if kind.__name__ == "EndCall" else "")


def _server_name(kind: type[wire.FromServer]) -> str:
    return f"server.{kind.TYPE}"


def _client_message(kind: type[FromClient]) -> dict[str, Any]:
    properties = {
        "v": {"const": wire.VERSION},
        "id": {**_ID, "description": "Chosen by the sender; the same id again is the same command."},
        "type": {"const": kind.TYPE},
        "data": reference(kind),
        "traceparent": {"type": "string", "description": "The W3C trace context of the request, if there is one."},
    }
    message = _message(kind, kind.TYPE, properties, ["v", "id", "type"])
    message["examples"] = [
        {"name": name, "payload": {"v": wire.VERSION, "id": "9f2c", "type": kind.TYPE, "data": _plain(data)}}
        for name, data in CLIENT_SAMPLES.items()
        if type(data) is kind
    ]
    message["x-roles"] = [role for role in ROLES if kind in CLIENT_TYPES[role].values()]
    message["x-answer"] = reference(kind.ANSWER) if kind.ANSWER is not None else None
    return message


def _server_message(kind: type[wire.FromServer]) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "v": {"const": wire.VERSION},
        "id": {"type": "string"},
        "type": {"const": kind.TYPE},
        "data": reference(kind),
    }
    required = ["v", "id", "type", "data"]
    if kind in (wire.Ack, wire.Error):
        properties["re"] = {"type": "string", "description": "The id of the message that this answers."}
    elif kind not in UNNUMBERED:
        properties["seq"] = {"type": "integer", "minimum": 1, "description": "One more than the event before."}
        required.append("seq")
    properties["at_ms"] = {"type": "integer", "description": "When it happened, ms since the Unix epoch."}
    message = _message(kind, kind.TYPE, properties, required)
    message["examples"] = [
        {"name": name, "payload": _plain(sent(name))} for name, data in SERVER_SAMPLES.items() if type(data) is kind
    ]
    message["x-roles"] = [role for role in ROLES if kind in SERVER_TYPES[role]]
    return message


def _message(kind: type[Any], name: str, properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    text = inspect.getdoc(kind) or ""
    return {
        "name": name,
        "title": name,
        "description": " ".join(text.split()),
        "payload": {"type": "object", "properties": properties, "required": required},
    }


def _plain(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))
