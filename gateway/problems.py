"""Errors of HTTP as problem documents (RFC 9457), and the headers that every answer carries.

Rules: one middleware maps every exception, once; a bug becomes `internal` with a line in the log and no stack trace outside.
Security headers are added to all answers, the pages included: scripts only from here, no frames, camera and microphone for
this origin alone.

Not here: which reason has which status (`gateway/refusals.py`).
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog
from aiohttp import web
from msgspec import Struct

from actors.logs import write_lines
from actors.spans import begin_request, end_request
from actors.tracing import current_traceparent
from gateway.metrics import METHODS, Metrics
from gateway.refusals import EXPECTED, Mistake, Refused, refused_by

PROBLEM = "application/problem+json"
TRACEPARENT = "traceparent"
CALL_ID = re.compile(r"[A-Za-z0-9._:@-]{1,128}")
"""What may stand in a log; a path may hold anything."""
UNLOGGED = frozenset({401, 429})
"""Anybody can cause these, and nothing was changed: they are counted, and as lines would push the others out of the log."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "font-src 'self'",
        "media-src 'self' blob: mediastream:",
        "connect-src 'self'",
        "manifest-src 'self'",
        "worker-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Permissions-Policy": "camera=(self), microphone=(self), display-capture=(), geolocation=(), payment=(), usb=()",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
STRICT_TRANSPORT = "max-age=31536000"
"""A year, for this host alone. Browsers take it only where they trust the certificate, so a self-signed one binds nobody."""
SERVER = "tellerhall"
"""Instead of names and versions of what it is made from."""
REASON_BY_STATUS = {400: "malformed", 404: "not_found", 405: "not_found", 413: "too_large", 426: "malformed"}

log = structlog.get_logger("gateway.http")


class Problem(Struct, omit_defaults=True):
    """A problem document (RFC 9457)."""

    type: str
    """`urn:tellerhall:problem:` and the reason."""
    title: str
    status: int
    detail: str
    """For people; in the page of the protocol, where it is more."""
    reason: str
    """For programs. New ones may come: judge one that is not known by the status."""
    then: str = ""
    """`message`: a limit refused the call, and the customer is to be asked for a message; `detail` is what to tell."""
    problems: list[Mistake] = []
    """Everything that is wrong with a configuration, at most a hundred."""


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Return `value` as JSON that nobody may keep."""
    return web.Response(
        body=msgspec.json.encode(value),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def problem_response(refused: Refused, status: int = 0) -> web.Response:
    """Return the problem document of `refused`."""
    status = status or refused.status
    headers = {"Cache-Control": "no-store"}
    if refused.retry_after_ms:
        headers["Retry-After"] = str(max(1, round(refused.retry_after_ms / 1000)))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    kind, title = f"urn:tellerhall:problem:{refused.reason}", refused.reason.replace("_", " ")
    document = Problem(kind, title, status, refused.detail, refused.reason, refused.then, refused.problems)
    return web.Response(body=msgspec.json.encode(document), status=status, content_type=PROBLEM, headers=headers)


def problem_middleware(metrics: Metrics) -> Any:
    """Return the middleware that answers every failure with a problem document and counts every request."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        # The route's pattern, never the path itself: a label has few values.
        route = resource.canonical if resource is not None else "none"
        is_spanned = route.startswith("/v1/") and route != "/v1/ws" and request.method in METHODS
        name = f"{request.method} {route}" if is_spanned else ""
        span = begin_request(name, request.headers.get(TRACEPARENT, ""))
        try:
            response = await _answer(request, handler, metrics)
        except BaseException:
            end_request(span, "left")
            raise
        end_request(span, status=response.status)
        metrics.count_request(route, request.method, response.status)
        if request.method != "GET" and not response.prepared:
            response.headers[TRACEPARENT] = current_traceparent()
            if response.status not in UNLOGGED:
                _note(request, route, response)
        return response

    return middleware


def _note(request: web.Request, route: str, response: web.StreamResponse) -> None:
    """Log a request that may have changed something."""
    call_id = request.match_info["id"] if route.startswith("/v1/calls/{id}") else ""
    call_id = call_id or response.headers.get("Location", "").rpartition("/")[2]
    line = {"event": "client.request", "route": route, "method": request.method, "status": response.status}
    write_lines([{**line, **({"call_id": call_id} if CALL_ID.fullmatch(call_id) else {})}])


async def _answer(request: web.Request, handler: Handler, metrics: Metrics) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        reason = REASON_BY_STATUS.get(error.status, "malformed")
        response = problem_response(Refused(reason, error.reason), error.status)
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except (Refused, *EXPECTED) as error:
        refused = refused_by(error)
    except ConnectionError:
        # The peer left during the upgrade or while its body was read: nobody is there to be answered.
        raise
    except Exception as error:
        log.exception("request_failed", method=request.method)
        refused = refused_by(error)
    metrics.count_refusal(refused.reason)
    return problem_response(refused)


async def add_security_headers(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Signal handler for `on_response_prepare`. An upgrade shows nothing that a browser could misuse, so it carries none."""
    if response.status != 101:
        put_security_headers(request, response)


def put_security_headers(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """What every answer carries."""
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = SERVER
    if request.secure:
        response.headers["Strict-Transport-Security"] = STRICT_TRANSPORT
