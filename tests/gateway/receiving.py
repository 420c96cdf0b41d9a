"""A bank's system that receives webhooks: a real HTTP server that notes what came, and misbehaves at a test's word."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import web

from actors.webhook_book import Secret
from gateway.webhook_signing import TOLERANCE_S, signature


class Received:
    """One request."""

    def __init__(self, headers: dict[str, str], body: bytes) -> None:
        self.headers = headers
        self.body = body
        self.event: dict[str, Any] = msgspec.json.decode(body)

    @property
    def id(self) -> str:
        return str(self.event["id"])


def is_signed(received: Received, secret: Secret, now_s: float) -> bool:
    """Check a signature as a receiver does that has read the page alone."""
    sent_s = int(received.headers["webhook-timestamp"])
    expected = signature(secret.key, received.headers["webhook-id"], sent_s, received.body)
    return abs(now_s - sent_s) <= TOLERANCE_S and expected in received.headers["webhook-signature"].split(" ")


class Receiver:
    """`answer` says how each request is answered; what was answered with a 2xx stands in `taken`."""

    def __init__(self) -> None:
        self.asked: list[Received] = []
        self.taken: list[Received] = []
        self.answer: Callable[[Received], int] = lambda _: 204
        self.headers: dict[str, str] = {}
        self.delay_s = 0.0
        self.flights = Counter[str]()
        """Requests under way, by call."""
        self.overlaps: list[str] = []
        """Calls of which two were under way at once."""
        self.flights_max = 0
        self.port = 0
        self._runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> None:
        application = web.Application()
        application.router.add_post("/{tail:.*}", self._take)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port or self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def _take(self, request: web.Request) -> web.Response:
        received = Received(dict(request.headers), await request.read())
        self.asked.append(received)
        call_id = received.event["subject"]
        self.flights[call_id] += 1
        if self.flights[call_id] > 1:
            self.overlaps.append(call_id)
        self.flights_max = max(self.flights_max, self.flights.total())
        await asyncio.sleep(self.delay_s)
        self.flights[call_id] -= 1
        status = self.answer(received)
        if 200 <= status < 300:
            self.taken.append(received)
        return web.Response(status=status, headers=self.headers)

    def by_call(self) -> dict[str, list[str]]:
        """Call -> ids of its events in the order in which they were taken first."""
        found: dict[str, dict[str, None]] = {}
        for one in self.taken:
            found.setdefault(one.event["subject"], {})[one.id] = None
        return {call_id: list(ids) for call_id, ids in found.items()}
