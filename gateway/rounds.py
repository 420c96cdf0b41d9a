"""What a gateway does by the clock: look after connections, tell waiting customers their position.

Rules: two tasks for the whole process, whatever the number of connections. A round that fails is logged and the next
one comes. Positions are read in batches; a client hears of its own at most every 2 s, beyond position 50 every 10 s,
and only what has changed (SAFETY.md 11).

Not here: what is checked (`gateway/session.py`), the estimate itself (`dispatch/estimate.py`).
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from gateway.refusals import EXPECTED
from gateway.roster import SLOT_MS, Roster
from gateway.session import Session
from gateway.speaker import Services

QUEUE_ROUND_MS = 2_000
FAR_POSITION = 50
FAR_ROUNDS = 5
"""Beyond `FAR_POSITION` only each fifth round counts: 10 s."""
POSITIONS_PER_READ = 1_000
"""Bounds one message to the shard; it answers a thousand ranks in some milliseconds."""

log = structlog.get_logger("gateway.rounds")


class Rounds:
    """The two clocks of one gateway."""

    def __init__(self, roster: Roster, services: Services) -> None:
        self._roster = roster
        self._services = services
        self._tasks: list[asyncio.Task[None]] = []
        self._slot = 0
        self._queue_round = 0

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._repeat(SLOT_MS, self._look_after)),
            loop.create_task(self._repeat(QUEUE_ROUND_MS, self._tell_positions)),
        ]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def _repeat(self, every_ms: int, round_: Callable[[], Coroutine[Any, Any, None]]) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while True:
            # From now on, not from when the last one was due: after a stall the missed rounds are not made up for.
            due_s = max(due_s + every_ms / 1000, loop.time())
            await asyncio.sleep(due_s - loop.time())
            try:
                await round_()
            except EXPECTED as error:
                log.warning("round_failed", error=type(error).__name__)
            except Exception:
                log.exception("round_failed")

    async def _look_after(self) -> None:
        now_s = asyncio.get_running_loop().time()
        now_ms = int(time.time() * 1000)
        slot, self._slot = self._slot, self._slot + 1
        for session in self._roster.slot(slot):
            try:
                session.check(now_s, now_ms)
            except Exception:
                # The others of this slot are to be looked after all the same.
                log.exception("check_failed", connection_id=session.connection_id)

    async def _tell_positions(self) -> None:
        self._queue_round += 1
        is_far_round = self._queue_round % FAR_ROUNDS == 0
        for division_id, sessions in self._roster.waiting_by_division().items():
            due = [one for one in sessions if is_far_round or one.told_position <= FAR_POSITION]
            for start in range(0, len(due), POSITIONS_PER_READ):
                await self._tell(division_id, due[start : start + POSITIONS_PER_READ])

    async def _tell(self, division_id: str, sessions: list[Session]) -> None:
        session_by_call_id = {session.waiting_call_id: session for session in sessions}
        async with asyncio.timeout(self._services.settings.command_timeout_ms / 1000):
            views = await self._services.hall.positions(list(session_by_call_id), division_id)
        for view in views:
            session = session_by_call_id.get(view.call_id)
            if session is not None:
                session.tell_position(view)
