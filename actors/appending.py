"""A turn's entries made durable: asked for again until the store has them, or says that a newer epoch does.

Rules: a stepped command is never refused for store trouble; what is repeated is the SAME append (SAFETY.md 1). What has not
been stepped is refused by name meanwhile, after its own bound (`intake`).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog
from msgspec import Struct

from actors.intake import Intake
from actors.journal import Append, Fenced, Journal, StoreUnavailable
from actors.measures import ShardMeasures

RETRY_FIRST_S = 0.02
RETRY_MAX_S = 0.5

log = structlog.get_logger()


class Appended(Struct, frozen=True):
    """What became of a turn's entries."""

    fenced: set[str]
    """Divisions that a newer epoch owns; nothing of theirs was written."""
    asked_s: float
    """When the request was sent that proved the others, by the monotonic clock."""
    took_ms: int


class Appending:
    """Belongs to one shard."""

    def __init__(self, journal: Journal, intake: Intake, measures: ShardMeasures) -> None:
        self._journal = journal
        self._intake = intake
        self._measures = measures
        self._began_s: float | None = None

    def waiting_ms(self) -> int:
        """For how long the append under way has waited; 0 when there is none."""
        return int((time.monotonic() - self._began_s) * 1_000) if self._began_s is not None else 0

    async def append(self, appends: list[Append]) -> Appended:
        """Wait until the store has the entries of all divisions but the fenced. Raises Fenced for what must not happen."""
        self._began_s = asked_s = time.monotonic()
        fenced: set[str] = set()

        async def once() -> None:
            nonlocal asked_s
            asked_s = time.monotonic()
            await self._journal.append(appends)

        try:
            await self.again(once)
        except Fenced as error:
            # Any other reason says that memory and journal differ: a bug, after which nothing here is worth anything.
            if set(error.reasons.values()) != {"epoch"}:
                raise
            fenced = set(error.reasons)
        finally:
            took_s = time.monotonic() - self._began_s
            self._began_s = None
        self._measures.append_s.observe(took_s)
        return Appended(fenced, asked_s, int(took_s * 1_000))

    async def again(self, action: Callable[[], Awaitable[None]]) -> None:
        """Repeat what the store did not do, or did without saying so, until it does."""
        pause_s = RETRY_FIRST_S
        while True:
            try:
                await action()
                return
            except StoreUnavailable as error:
                log.warning("store.unavailable", reason=error.reason)
                self._measures.store_retries_count += 1
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, RETRY_MAX_S)
                self._intake.refuse_old()
