"""aiohttp's own protocol of a connection, with our answer to what is no HTTP: a problem document, with every answer's headers.

aiohttp answers a malformed request itself, as plain text and outside of every middleware; `handle_error` is where it does.

Not here: what is refused by its size or its slowness (`gateway/door.py`), all other problems (`gateway/problems.py`).
"""

from aiohttp import web

from gateway.problems import REASON_BY_STATUS, problem_response, put_security_headers
from gateway.refusals import Refused

DETAIL = "this is no HTTP request that can be read: see RFC 9112"


class HttpHandler(web.RequestHandler):
    """Of one connection."""

    __slots__ = ()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer, and close the connection after it. Raises ConnectionError where an answer had begun already."""
        if status >= 500:
            self.log_exception("request_failed", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer had begun already")
        reason = REASON_BY_STATUS.get(status, "malformed") if status < 500 else "internal"
        # What aiohttp says in `message` repeats the client's bytes; they need not come back, nor into anybody's log.
        response = problem_response(Refused(reason, DETAIL if status < 500 else ""), status)
        put_security_headers(request, response)
        response.force_close()
        return response
