"""Answers to pages of other origins: which of them may use the REST interface, and may see what of an answer (Fetch, CORS).

Rules: an origin is compared exactly, with those that are configured; there is no wildcard, and no cookie is ever
looked at. Every answer says so, refusals too, or a page could not read why. A preflight carries no token, so it is answered to
anybody, and tells nothing but the methods of the path.

Not here: the refusal of foreign origins (`gateway/entrance.py`).
"""

from collections.abc import Awaitable, Callable, Iterable

from aiohttp import hdrs, web

from gateway.operations import Operation

ALLOWED_HEADERS = "Authorization, Content-Type, Idempotency-Key, If-Match, traceparent"
EXPOSED_HEADERS = "ETag, Link, Location, Retry-After, traceparent, WWW-Authenticate"
MAX_AGE_S = "7200"
"""What Chromium caps it at."""


def cors_signal(origins: tuple[str, ...]) -> Callable[[web.BaseRequest, web.StreamResponse], Awaitable[None]]:
    """Return the handler of `on_response_prepare` that lets pages of these origins read answers."""

    async def allow(request: web.BaseRequest, response: web.StreamResponse) -> None:
        origin = request.headers.get(hdrs.ORIGIN)
        if origins and response.status != 101:
            response.headers.add(hdrs.VARY, hdrs.ORIGIN)
        if origin is not None and origin in origins:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = EXPOSED_HEADERS

    return allow


def preflight_routes(operations: Iterable[Operation]) -> list[web.RouteDef]:
    """Return an OPTIONS route for each path."""
    by_path: dict[str, list[Operation]] = {}
    for one in operations:
        by_path.setdefault(one.path, []).append(one)
    return [web.options(path, _preflight(ones)) for path, ones in by_path.items()]


def _preflight(operations: list[Operation]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    methods = ", ".join(sorted({one.method for one in operations} | {"OPTIONS"}))
    headers = {
        hdrs.ALLOW: methods,
        hdrs.ACCESS_CONTROL_ALLOW_METHODS: methods,
        hdrs.ACCESS_CONTROL_ALLOW_HEADERS: ALLOWED_HEADERS,
        hdrs.ACCESS_CONTROL_MAX_AGE: MAX_AGE_S,
        hdrs.CACHE_CONTROL: "no-store",
        **{f"Accept-{one.method.title()}": one.body_media_type for one in operations if one.body_media_type},
    }

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(headers=headers)

    return answer
