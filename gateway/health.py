"""Health, readiness and metrics.

Rules: `/healthz` says that this process runs, nothing else, so that a store's trouble never gets gateways restarted.
`/readyz` says whether a client would be served now. Neither needs a token and neither tells anything about a person.

Not here: the measures themselves (`gateway/metrics.py`).
"""

import asyncio
import time
from typing import Any

from aiohttp import web

from gateway.problems import json_response, problem_response
from gateway.refusals import EXPECTED, Refused, refused_by
from gateway.speaker import Services

STATUS_TIMEOUT_MS = 3_000
"""A load balancer gives up after a few seconds; no answer by then is an answer."""
QUEUES_LIFE_S = 1.0
"""Several scrapers at once cost the shard one reading."""
METRICS_TYPE = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}


class Health:
    """The handlers of one gateway."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._read_at_s = 0.0
        self.is_closing = False

    async def healthz(self, request: web.Request) -> web.Response:
        return json_response({"status": "ok", "gateway_id": self._services.settings.gateway_id})

    async def readyz(self, request: web.Request) -> web.Response:
        if self.is_closing:
            return problem_response(Refused("not_ready", "this gateway is closing"), 503)
        try:
            async with asyncio.timeout(STATUS_TIMEOUT_MS / 1000):
                status = await self._services.hall.status()
        except EXPECTED as error:
            return problem_response(refused_by(error), 503)
        problem = readiness_problem(status)
        if problem is not None:
            return problem_response(problem, 503)
        return json_response({"status": "ready", "gateway_id": self._services.settings.gateway_id})

    async def metrics(self, request: web.Request) -> web.Response:
        await asyncio.gather(self._read_queues(), self._read_status())
        return web.Response(body=self._services.metrics.text(), headers=METRICS_TYPE)

    async def _read_queues(self) -> None:
        """Refresh the hall's figures; when the hall does not answer the last ones stay and the gateway's own go out."""
        now_s = time.monotonic()
        if now_s - self._read_at_s < QUEUES_LIFE_S:
            return
        self._read_at_s = now_s
        try:
            async with asyncio.timeout(STATUS_TIMEOUT_MS / 1000):
                for division_id in self._services.hall.division_ids:
                    self._services.metrics.show_queues(division_id, await self._services.hall.queues(division_id))
        except EXPECTED:
            return

    async def _read_status(self) -> None:
        """What cannot be read is not shown as it was: an old figure of the hall would pass for a good one."""
        try:
            self._services.metrics.hall.status = await self._services.overview.read()
        except EXPECTED:
            self._services.metrics.hall.status = {}


def readiness_problem(status: dict[str, Any]) -> Refused | None:
    """Say why no client could be served now; None when any division can serve: one that cannot must not stop the others."""
    if status.get("store"):
        return Refused("store_unavailable")
    divisions: dict[str, dict[str, Any]] = status["divisions"]
    reasons = [str(one.get("unavailable") or one.get("stopped_reason") or "") for one in divisions.values()]
    return None if "" in reasons else Refused(reasons[0] if reasons else "not_ready")
