"""What every request must keep to before a handler sees it: its address's rate, its body's size, form and time.

Rules: one middleware, inside the one that writes problem documents. A body is read here, whole, so that no handler waits for a
slow one or is given one that is packed: what unpacks to a thousand times its size is refused, not unpacked (415).
A request that is answered before its body has come ends its connection.

Theory: behind a proxy of ours address, scheme and host are those that it names, for all that comes after.

Not here: headers and their time (`gateway/door.py`), the rates themselves (`gateway/rates.py`).
"""

import asyncio
import logging
from typing import Any

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from gateway.addresses import HOST, forwarded_for
from gateway.door import door_of
from gateway.limits import BODY_BYTES_MAX, BODY_MS_MAX
from gateway.problems import Handler
from gateway.rates import Rates
from gateway.refusals import Refused

FORWARDED_FOR = "X-Forwarded-For"
FORWARDED_HOST = "X-Forwarded-Host"
FORWARDED_PROTO = "X-Forwarded-Proto"
SIGNED_IN_PREFIX = "/v1/"


def bounds_middleware(rates: Rates, late_bodies: frozenset[tuple[str, str]] = frozenset()) -> Any:
    """Return the middleware that holds requests to their bounds; it raises `Refused`.

    `late_bodies`: (method, route) of those that read their own, by `read_body`, once they know that they want it.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        request = _as_sent(request, rates)
        address = request.remote or ""
        rates.check_request(address, request.path.startswith(SIGNED_IN_PREFIX))
        resource = request.match_info.route.resource
        if resource is None or (request.method, resource.canonical) not in late_bodies:
            await read_body(request)
        try:
            return await handler(request)
        except Refused as refused:
            if refused.status == 401:
                rates.note_failed_login(address)
            raise

    return middleware


async def note_answer(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Signal handler for `on_response_prepare`: tells the door, and ends connections that nobody should go on with."""
    door = door_of(request)
    if door is None or response.status == 101:
        return
    is_whole = request.content.is_eof()
    if not is_whole or response.status == 429:
        response.force_close()
        response.headers[hdrs.CONNECTION] = "close"
    door.answered(is_whole)


def _as_sent(request: web.Request, rates: Rates) -> web.Request:
    """Return the request as its sender sent it to a proxy of ours; itself where it came without."""
    peer = request.remote or ""
    if peer not in rates.proxies:
        return request
    headers = request.headers
    changes: dict[str, Any] = {"remote": forwarded_for(peer, headers.getall(FORWARDED_FOR, []), rates.proxies)}
    if headers.get(FORWARDED_PROTO) in ("http", "https"):
        changes["scheme"] = headers[FORWARDED_PROTO]
    if HOST.match(headers.get(FORWARDED_HOST, "")):
        changes["host"] = headers[FORWARDED_HOST]
    return request.clone(**changes)


async def read_body(request: web.Request, bytes_max: int = BODY_BYTES_MAX) -> bytes:
    """Return the body, whole; raises `Refused`."""
    if not request.body_exists:
        return b""
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").strip().lower() != "identity":
        raise Refused("bad_encoding", "Content-Encoding: send the body as it is")
    if (request.content_length or 0) > bytes_max:
        raise Refused("too_large", f"a body has at most {bytes_max} bytes")
    try:
        async with asyncio.timeout(BODY_MS_MAX / 1000):
            if bytes_max != BODY_BYTES_MAX:
                request = request.clone(client_max_size=bytes_max)
            return await request.read()
    except TimeoutError:
        raise Refused("too_slow", "the body did not come in time") from None
    except web.RequestPayloadError:
        raise Refused("malformed", "the body is not what its headers say") from None


class _Noise(logging.Filter):
    """Drops what others can make us log: requests that are none, of each a page of trace and the address."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def server_log() -> logging.Logger:
    """Return the log for aiohttp's own use: its bugs and ours, and nothing that is sent to us."""
    log = logging.getLogger("gateway.aiohttp")
    if not any(isinstance(one, _Noise) for one in log.filters):
        log.addFilter(_Noise())
    return log
