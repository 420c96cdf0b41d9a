"""What an operation of REST is: one entry of the route table, from which routes, OpenAPI and the tests of roles are made.

Rules: an entry says everything that can be said without its handler: who may ask, whose thing it is, what goes in, what comes
out, which statuses. The handler finds all of it checked already: role, division, rate, path, query and body. It answers with
the struct of `answer` (or a plain dictionary of the same fields), or raises `Refused`.

Theory: entries stand beside their handlers, one list a subject (`gateway/rest_calls.py`, `gateway/rest_hall.py`);
`gateway/rest.py` joins the lists. How to add one: docs/ARCHITECTURE.md.

Not here: serving (`gateway/rest.py`), the answers' types (`gateway/documents.py`, `gateway/answers.py`).
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal

from msgspec import Struct

from gateway.messages import Role
from gateway.speaker import Speaker

STAFF: tuple[Role, ...] = ("supervisor", "operator")
EVERYBODY: tuple[Role, ...] = ("customer", "agent", *STAFF)

Whose = Literal["own", "call", "agent", "division", "hall"]
"""Whose thing an operation touches; another's is refused (`not_yours`, or unknown where it is another division's).

- `own`: a customer's, who acts for themselves alone; staff say for whom, within their division.
- `call`: the call of the path: its customer, the agents in it, staff of its division.
- `agent`: the agent of the path: that agent alone, and staff of the same division.
- `division`: a thing of the token's division; nobody in it owns it.
- `hall`: the whole hall's.
"""

_PARAMETER = re.compile(r"\{(\w+)\}")


class Asked:
    """One request that has passed all checks of its entry."""

    __slots__ = ("body", "command_id", "headers", "path", "query", "speaker")

    def __init__(
        self,
        speaker: Speaker,
        command_id: str,
        path: Mapping[str, str],
        query: Any,
        body: Any,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.speaker = speaker
        self.command_id = command_id
        """The caller's `Idempotency-Key`, or a new id."""
        self.path = path
        """Parameters of the path, each 1 to 128 characters without control characters."""
        self.query = query
        """An instance of the entry's `query`; None without one."""
        self.body = body
        """An instance of `body`; a text where there is a `body_media_type`, bytes where a `body_bytes_max`; else None."""
        self.headers = headers
        """The request's headers that the entry names, where they are there."""


Handler = Callable[[Asked], Awaitable[Any]]


class Operation(Struct, frozen=True, kw_only=True):
    """One entry. Its id is its handler's name."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    """As aiohttp and OpenAPI both write it: `/v1/calls/{id}`."""
    handler: Handler
    summary: str
    """One line for people; what else is to be said stands in the handler's docstring."""
    roles: tuple[Role, ...]
    whose: Whose
    answer: Any
    """The type of the answer's body: a struct, or a union of structs."""
    body: type[Struct] | None = None
    is_body_optional: bool = False
    body_bytes_max: int = 0
    """Where it may be larger than others: it is read once the caller may do this, and the handler gets its bytes."""
    body_media_type: str = ""
    """Where the body is no JSON but a text of this type; then `body` is none."""
    query: type[Struct] | None = None
    status: int = 200
    """Of the answer, where it is not refused."""
    is_tagged: bool = False
    """The answer has an `ETag`."""
    location: str = ""
    """The answer's `Location`, with the answer's fields: `/v1/calls/{call_id}`."""
    media_type: str = "application/json"
    """Of the answer. Other than JSON: the handler returns a response of aiohttp."""
    takes_ranges: bool = False
    """`Range` is heeded (RFC 9110 section 14): 206 with a part, 416 where there is no such part."""
    other_media_types: tuple[str, ...] = ()
    """What `Accept` may ask for instead."""
    headers: tuple[str, ...] = ()
    """Headers of the request that matter to the handler, beside those that matter to all."""
    is_audited: bool | None = None
    """Whether it is recorded when staff do it (`gateway/auditing.py`); None: if it is a command."""
    more_statuses: tuple[int, ...] = ()
    """Of refusals beside those that follow from the entry."""

    @property
    def id(self) -> str:
        """The operation's name in OpenAPI."""
        return str(getattr(self.handler, "__name__", ""))

    @property
    def is_command(self) -> bool:
        """Whether it may change something; then it takes an `Idempotency-Key`."""
        return self.method != "GET"

    def is_recorded_for(self, role: str) -> bool:
        """Whether the audit log says that somebody of `role` did it."""
        return role in STAFF and (self.is_command if self.is_audited is None else self.is_audited)

    @property
    def parameters(self) -> list[str]:
        """Names of the path's parameters, in order."""
        return _PARAMETER.findall(self.path)

    @property
    def refusal_statuses(self) -> list[int]:
        """Every status of a refusal that a caller may see, sorted; 500 is none: it is a bug."""
        found = {401, 403, 429, 503, *self.more_statuses}
        if self.body is not None or self.query is not None or self.is_command:
            found.add(400)
        if self.body is not None or self.body_media_type:
            found.add(413)
        if self.body_media_type:
            found.add(415)
        if self.parameters:
            found.add(404)
        if self.is_command:
            found |= {404, 409, 422}
        return sorted(found)
