"""One gateway process: the listening socket, the routes, start and stop.

Rules: a gateway holds connections and no truth; it may be killed at any moment, and its clients resume elsewhere. Several
processes may share one port. Stopping is bounded: no new connections, `session.goaway` to all, then 1001, then reset.

Theory: the options of the listening socket are inherited by every connection, so slow clients are bounded in the kernel from
their first byte (`gateway/limits.py` has the measured reasons). Run the loop on uvloop: it is what the figures
were measured on.

Not here: settings from files and the environment (`gateway/cli.py`), starting several processes (`actors/supervisor.py`).
"""

import asyncio
import gc
import resource
import socket
from pathlib import Path

import structlog
from aiohttp import web, web_fileresponse

from actors.audit import Audit, MemoryAudit
from actors.hall import Hall
from actors.tickets import MemoryTickets, Tickets
from gateway import messages as wire
from gateway.asyncapi import asyncapi
from gateway.bounds import bounds_middleware, note_answer, server_log
from gateway.cors import cors_signal
from gateway.door import no
from gateway.entrance import Entrance
from gateway.health import Health
from gateway.http_handler import HttpHandler
from gateway.identity import is_loopback, open_verifier
from gateway.limits import (
    BACKLOG,
    BODY_BYTES_MAX,
    CLOSE_GRACE_MS,
    HEAD_LINE_BYTES_MAX,
    HEADERS_MAX,
    IDLE_S_MAX,
    REST_MS_MAX,
    SOCKET_SEND_BYTES,
    TCP_USER_TIMEOUT_MS,
)
from gateway.openapi import openapi
from gateway.porter import GuardedSite, Porter, sockets_max
from gateway.problems import add_security_headers, problem_middleware
from gateway.rest import LATE_BODIES, Rest
from gateway.roster import Roster
from gateway.rounds import Rounds
from gateway.settings import Settings
from gateway.speaker import Services
from gateway.tls import server_context

PAGES_FOLDER = Path(__file__).parent / "pages"
PAGE_BY_PATH = {
    "/": "index.html",
    "/customer": "customer.html",
    "/agent": "agent.html",
    **dict.fromkeys(("/docs", "/docs/rest", "/docs/messages"), "docs.html"),
}
DOCUMENT_BY_PATH = {"/v1/openapi.json": openapi, "/v1/asyncapi.json": asyncapi}
STOP_POLL_MS = 50
CROWDED = no("429 Too Many Requests", retry_after_s=5)
"""To a connection of an address that has its share."""

log = structlog.get_logger("gateway")

web_fileresponse.NOSENDFILE = True  # type: ignore[misc]
# asyncio's own loop never ends a connection that is reset during `sendfile` (InvalidStateError in `_call_connection_lost`), nor
# the task that answers there. uvloop has no `sendfile`, and our pages are small.


class Gateway:
    """A gateway in this process and event loop. Raises ValueError when `settings` would be unsafe."""

    def __init__(
        self, hall: Hall, settings: Settings, tickets: Tickets | None = None, audit: Audit | None = None
    ) -> None:
        """`tickets`, `audit`: those of the hall's store; None: this gateway keeps its own, as without a store."""
        self.port = 0
        """Of the listening socket, once started."""
        self.metrics_port = 0
        """Of the metrics' own socket; 0 when `/metrics` stands on the main one or nowhere."""
        self._settings = settings
        self._services = Services(hall, settings, tickets or MemoryTickets(), audit or MemoryAudit())
        self._roster = Roster()
        verifier = open_verifier(settings)
        self._keys = verifier.keys
        self._keys.on_removed = self._end_sessions_of
        self._entrance = Entrance(self._services, verifier, self._roster)
        self._rest = Rest(self._services, verifier)
        self._health = Health(self._services)
        self._rounds = Rounds(self._roster, self._services)
        self._describing = asyncio.Lock()
        self._runners: list[web.AppRunner] = []
        self._porters: list[Porter] = []

    async def start(self) -> None:
        """Listen; raises OSError when the address cannot be had."""
        settings = self._settings
        await self._keys.start()
        self.port = await self._listen(self._application(), settings.host, settings.port, is_public=True)
        if settings.metrics_port is not None:
            self.metrics_port = await self._listen(
                self._metrics_application(), settings.metrics_host, settings.metrics_port, is_public=False
            )
        self._rounds.start()
        log.info("listening", gateway_id=settings.gateway_id, host=settings.host, port=self.port)

    @property
    def connections(self) -> dict[str, int]:
        """Role -> how many of it are connected here."""
        return self._roster.connections()

    async def drain(self) -> None:
        """End while others take over: clients go to them spread over `spread_ms`, so that they are no storm there."""
        await self._end(self._settings.spread_ms)

    async def stop(self) -> None:
        """End with the whole hall; takes at most `stop_ms` and the close grace. Harmless when repeated."""
        await self._end(self._settings.stop_ms)

    async def _end(self, leave_ms: int) -> None:
        """Accept nobody, ask clients to leave within `leave_ms`, close those that have not."""
        self._entrance.is_closing = self._health.is_closing = True
        for runner in self._runners:
            for site in list(runner.sites):
                await site.stop()
        for session in self._roster:
            session.connection.say(wire.SessionGoaway("resume", leave_ms))
        await self._wait_until_empty(leave_ms)
        for session in self._roster:
            session.connection.close(1001)
        await self._wait_until_empty(CLOSE_GRACE_MS)
        await self._rounds.stop()
        await self._keys.stop()
        await self._services.auditor.stop()
        for session in self._roster:
            session.connection.abort()
        await self._wait_until_empty(CLOSE_GRACE_MS)
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()
        for porter in self._porters:
            await porter.stop()
        self._porters.clear()
        log.info("stopped", gateway_id=self._settings.gateway_id)

    def _end_sessions_of(self, key_ids: frozenset[str]) -> None:
        """A key that was taken out vouches for nobody, also not for those who came in with it."""
        for session in self._roster:
            if session.identity.key_id in key_ids:
                session.connection.close(4001)

    async def _wait_until_empty(self, within_ms: int) -> None:
        for _ in range(within_ms // STOP_POLL_MS):
            if not len(self._roster):
                return
            await asyncio.sleep(STOP_POLL_MS / 1000)

    async def _listen(self, application: web.Application, host: str, port: int, is_public: bool) -> int:
        runner = web.AppRunner(application, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        self._runners.append(runner)
        listener = listening_socket(host, port, is_shared=is_public and self._settings.is_port_shared)
        settings = self._settings
        context = None
        if is_public and settings.certificate_path is not None and settings.key_path is not None:
            context = server_context(settings.certificate_path, settings.key_path)
        rates = self._services.rates
        porter = Porter(
            sockets_max(settings.connections_max),
            refusal=lambda peer: b"" if peer in rates.proxies or rates.enter(peer) else CROWDED,
            left=lambda peer: None if peer in rates.proxies else rates.leave(peer),
            is_trusted=lambda peer: peer in rates.proxies,
            count=self._services.metrics.count_cut_off,
        )
        self._porters.append(porter)
        site = GuardedSite(runner, listener, porter, self._handler, ssl_context=context, backlog=BACKLOG)
        await site.start()
        bound_port: int = listener.getsockname()[1]
        return bound_port

    @staticmethod
    def _handler(server: web.Server) -> HttpHandler:
        """aiohttp's side of one connection."""
        return HttpHandler(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]
            keepalive_timeout=IDLE_S_MAX,
            lingering_time=REST_MS_MAX / 1000,
            max_line_size=HEAD_LINE_BYTES_MAX,
            max_field_size=HEAD_LINE_BYTES_MAX,
            max_headers=HEADERS_MAX,
            auto_decompress=False,
            logger=server_log(),
        )

    def _application(self) -> web.Application:
        application = self._new_application()
        router = application.router
        router.add_get("/v1/ws", self._entrance.open_session)
        application.add_routes(self._rest.routes())
        router.add_get("/healthz", self._health.healthz)
        router.add_get("/readyz", self._health.readyz)
        if self._settings.metrics_port is None and is_loopback(self._settings.host):
            router.add_get("/metrics", self._health.metrics)
        for path in PAGE_BY_PATH:
            router.add_get(path, _page)
        for path in DOCUMENT_BY_PATH:
            router.add_get(path, self._describe)
        router.add_static("/pages", PAGES_FOLDER, follow_symlinks=False)
        return application

    async def _describe(self, request: web.Request) -> web.Response:
        """For everybody: what the interface is like is no secret, and a page cannot send a token with a link."""
        async with self._describing:
            # Making one takes 0.4 s, once: beside the loop, so that whoever asks first stops nobody's session.
            body = await asyncio.to_thread(DOCUMENT_BY_PATH[request.path])
        return web.Response(body=body, content_type="application/json", headers={"Cache-Control": "no-cache"})

    def _metrics_application(self) -> web.Application:
        application = self._new_application()
        application.router.add_get("/metrics", self._health.metrics)
        application.router.add_get("/healthz", self._health.healthz)
        return application

    def _new_application(self) -> web.Application:
        application = web.Application(
            middlewares=[
                problem_middleware(self._services.metrics),
                bounds_middleware(self._services.rates, LATE_BODIES),
            ],
            client_max_size=BODY_BYTES_MAX,
        )
        application.on_response_prepare.append(add_security_headers)
        application.on_response_prepare.append(cors_signal(self._settings.allowed_origins))
        application.on_response_prepare.append(note_answer)
        return application

    def __repr__(self) -> str:
        return f"<Gateway {self._settings.gateway_id} port={self.port} {self._roster!r}>"


async def _page(request: web.Request) -> web.StreamResponse:
    # The ETag of the file decides; a page that is kept longer would speak an older protocol to a newer server.
    return web.FileResponse(PAGES_FOLDER / PAGE_BY_PATH[request.path], headers={"Cache-Control": "no-cache"})


def listening_socket(host: str, port: int, is_shared: bool = False) -> socket.socket:
    """Return a bound socket whose options every accepted connection inherits."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_SEND_BYTES)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, TCP_USER_TIMEOUT_MS)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.setblocking(False)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


def tune_process() -> None:
    """Prepare a process that is a gateway and nothing else: called once by whoever starts it, not by `Gateway`.

    Collections become rare, which took the lag of accepting from 161 to 22 ms at 10,000 connections (measured), and the
    limit of open files becomes the hard one.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 1_000)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
