"""The entrance for WebSockets: origin, subprotocol, token, role and room are checked before anybody is let in.

Rules: the checks stand in the order of `open_session` and each has its own reason. `Origin` is compared exactly: a foreign
page must not use a signed-in browser. A token never stands in the URL, where logs and proxies would keep it.

Theory: a script in a page cannot see the HTTP status of a refused upgrade. So a ticket or token that came as a subprotocol,
which only pages do, is refused after the upgrade, with a close code; one in a header is refused by status. Pages bring a
ticket: a subprotocol may end in a log of some proxy, where a used ticket is worth nothing and a token is worth hours.

Not here: the conversation (`gateway/session.py`).
"""

import asyncio
import random

import msgspec
import structlog
from aiohttp import hdrs, web

from gateway import supervisor
from gateway.client_messages import CLIENT_TYPES
from gateway.codec import CODECS, Codec
from gateway.connection import Connection
from gateway.identity import Identity, Verifier
from gateway.limits import SUBPROTOCOLS_MAX, TokenBucket
from gateway.refusals import EXPECTED, Refused, refused_by
from gateway.roster import Roster
from gateway.session import Session
from gateway.speaker import Services
from gateway.supervisor_session import StaffSession

BEARER_SUBPROTOCOL = "bearer."
TICKET_SUBPROTOCOL = "ticket."
CLOSE_CODE_BY_REASON = {"not_signed_in": 4001, "token_expired": 4002, "wrong_role": 4003, "ticket_unknown": 4005}
"""Others, as when the store does not answer, are no fault of the client's: 1011, come again."""
RETRY_SPREAD_MS = 20_000
RETRY_AFTER_MS = 5_000
"""When this process is full or has accepted too many in this second."""

ENTERING_MAX = 500
"""Let in and not greeted yet: about a second of a core's work, 1.7 ms each. More would be greeted after their patience, give up
and come again: work for nothing, from which a storm does not recover."""

log = structlog.get_logger("gateway.entrance")


class _Entering:
    """One who is let in, until the greeting."""

    def __init__(self, entrance: "Entrance") -> None:
        self._entrance = entrance
        self._is_over = False
        entrance.entering_count += 1

    def end(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._entrance.entering_count -= 1


class Entrance:
    """Lets clients in, one by one, and sees them out."""

    def __init__(self, services: Services, verifier: Verifier, roster: Roster) -> None:
        self._services = services
        self._verifier = verifier
        self._roster = roster
        self._bucket: TokenBucket | None = None
        self.entering_count = 0
        """Let in, and not greeted yet."""
        self.is_closing = False

    async def open_session(self, request: web.Request) -> web.StreamResponse:
        """`GET /v1/ws`: returns when the connection has ended."""
        self._check_room()
        entering = _Entering(self)
        try:
            return await self._open(request, entering)
        finally:
            entering.end()

    async def _open(self, request: web.Request, entering: "_Entering") -> web.StreamResponse:
        check_origin(request, self._services.settings.allowed_origins)
        codec, token = _subprotocols(request)
        after = _resume_after(request)
        try:
            identity = await self._identify(request, token)
            await self._services.auditor.note("login", identity, {"is_resume": after is not None})
        except (Refused, *EXPECTED) as error:
            refused = refused_by(error)
            if refused.status in (401, 403):
                self._services.auditor.count_refused(refused.reason)
            if not token:
                raise
            return await self._turn_away(request, codec, refused)
        kind = StaffSession if identity.role in supervisor.ROLES else Session
        self._services.rates.check_connect_of(identity, self._roster.count_of(identity))
        session = kind(self._services, identity, codec, request.remote or "")
        await session.connection.upgrade(request)
        await self._attend(session, after, entering)
        return session.connection.response

    async def _attend(self, session: Session, after: int | None, entering: "_Entering") -> None:
        role, connection, metrics = session.identity.role, session.connection, self._services.metrics
        replaced = self._roster.add(session)
        if replaced is not None:
            replaced.connection.close(4004)
        metrics.connections.labels(role).inc()
        log.info("connected", role=role, connection_id=session.connection_id, is_resume=after is not None)
        try:
            await session.run(after, entering.end)
        finally:
            self._roster.remove(session)
            metrics.connections.labels(role).dec()
            metrics.count_close(connection.close_code)
            metrics.sent.inc(connection.sent_count)
            log.info("disconnected", connection_id=session.connection_id, close_code=connection.close_code)

    def _check_room(self) -> None:
        settings, now_s = self._services.settings, asyncio.get_running_loop().time()
        if self._bucket is None:
            self._bucket = TokenBucket(settings.upgrades_per_s, settings.upgrades_per_s, now_s)
        is_full = len(self._roster) >= settings.connections_max or self.entering_count >= ENTERING_MAX
        if self.is_closing or is_full or not self._bucket.take(now_s):
            # A storm's clients come back one by one: each is told another time.
            wait_ms = RETRY_AFTER_MS + int(random.random() * RETRY_SPREAD_MS)
            raise Refused("overloaded", "no room for a connection here now", retry_after_ms=wait_ms)

    async def _identify(self, request: web.Request, token: str) -> Identity:
        if token.startswith(TICKET_SUBPROTOCOL):
            identity = await self._take_ticket(token.removeprefix(TICKET_SUBPROTOCOL))
        else:
            identity = await self._verifier.admit(token.removeprefix(BEARER_SUBPROTOCOL) or bearer_token(request))
        if identity.role not in CLIENT_TYPES:
            raise Refused("wrong_role", f"the role {identity.role} has no session")
        check_division(identity, self._services)
        return identity

    async def _take_ticket(self, ticket: str) -> Identity:
        """Raises `Refused`, StoreUnavailable. What was true of the token when it asked must still be."""
        async with asyncio.timeout(self._services.settings.command_timeout_ms / 1000):
            content = await self._services.tickets.take(ticket)
        if content is None:
            raise Refused("ticket_unknown", "the ticket was used, is too old, or is none")
        identity = msgspec.msgpack.decode(content, type=Identity)
        self._verifier.check_still(identity)
        return identity

    async def _turn_away(self, request: web.Request, codec: Codec, refused: Refused) -> web.StreamResponse:
        """Say no where a page can see it: upgrade, close at once, wait for the peer's close no longer than the grace."""
        if refused.status in (401, 403):
            self._services.rates.note_failed_login(request.remote or "")
        connection = Connection(codec, self._services.settings.ping_ms)
        await connection.upgrade(request)
        connection.close(CLOSE_CODE_BY_REASON.get(refused.reason, 1011))
        self._services.metrics.count_refusal(refused.reason)
        self._services.metrics.count_close(connection.close_code)
        await connection.drain_close()
        return connection.response


def check_origin(request: web.Request, allowed: tuple[str, ...]) -> None:
    """Refuse an `Origin` that is neither this server's own nor configured. Programs send none."""
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is not None and origin not in allowed and origin != f"{request.scheme}://{request.host}":
        raise Refused("wrong_origin", "this origin is not allowed")


def check_division(identity: Identity, services: Services) -> None:
    """Refuse a token for a division that this hall does not have."""
    if identity.division_id and identity.division_id not in services.hall.division_ids:
        raise Refused("wrong_role", "the token's division is not of this hall")


def bearer_token(request: web.Request) -> str:
    """Return the token of the `Authorization` header; empty when there is none."""
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _subprotocols(request: web.Request) -> tuple[Codec, str]:
    """Return the first codec that the client offers and we know, and the ticket or token it offers, with what it is."""
    offered = [
        one.strip() for header in request.headers.getall(hdrs.SEC_WEBSOCKET_PROTOCOL, []) for one in header.split(",")
    ]
    if len(offered) > SUBPROTOCOLS_MAX:
        raise Refused("malformed", f"offer at most {SUBPROTOCOLS_MAX} subprotocols")
    codec = next((CODECS[one] for one in offered if one in CODECS), None)
    if codec is None:
        # aiohttp alone would go on without a subprotocol, and the client would fail later and stranger.
        raise Refused("malformed", f"offer a subprotocol: {' or '.join(CODECS)}")
    tokens = [one for one in offered if one.startswith((BEARER_SUBPROTOCOL, TICKET_SUBPROTOCOL))]
    return codec, tokens[0] if tokens else ""


def _resume_after(request: web.Request) -> int | None:
    text = request.query.get("resume")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise Refused("bad_value", "resume is the highest seq received, a whole number")
    return int(text)
