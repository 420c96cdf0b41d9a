"""Divisions that are followed before they are owned: a standby reads along, so that taking over costs the last moments only.

A shadow holds each division's engine as the journal has it, a tenth of a second behind; it decides nothing, and nobody is
told. Measured with 50,000 live calls (`make bench-shard`): starting a process, restoring and replaying took 3.6 to 4.9 s of
a recovery, and a shadow needs neither. It costs the memory once more, and 3 % of a core at 1,000 calls/s.

Not here: which divisions (`placement`), owning them (`takeover`), who makes a standby (`standby`).
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from actors.collector import uncollected
from actors.hosting import HostedDivision
from actors.journal import Journal, StoreUnavailable

FOLLOW_S = 0.1
"""Between two looks: one round trip a division; what came meanwhile is replayed in a few ms."""
PAUSE_S = 5.0
"""After a division that cannot be replayed: its owner is in the same trouble, and operators are told there."""

log = structlog.get_logger()


class Shadow:
    """Belongs to one shard, until that starts."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._divisions: dict[str, HostedDivision] = {}

    def __repr__(self) -> str:
        return f"<Shadow {list(self._divisions.values())}>"

    async def follow(self, wanted: Callable[[], Awaitable[list[str]]]) -> None:
        """Follow what is `wanted`, until cancelled; a store that is away is waited for. Raises what else `wanted` raises."""
        while True:
            pause_s = FOLLOW_S
            try:
                division_ids = await wanted()
                for one in self._divisions.keys() - set(division_ids):
                    del self._divisions[one]
                for one in division_ids:
                    if not await self._is_followed(one):
                        pause_s = PAUSE_S
            except StoreUnavailable as error:
                log.info("shadow.waits", reason=error.reason)
                pause_s = PAUSE_S
            await asyncio.sleep(pause_s)

    async def _is_followed(self, division_id: str) -> bool:
        """Raises StoreUnavailable."""
        division = self._divisions.get(division_id)
        try:
            if division is not None:
                await division.follow()
                return True
            division = HostedDivision(division_id, self._journal)
            with uncollected():
                await division.warm_up()
        except StoreUnavailable:
            raise
        except Exception:
            # Whoever takes the division over reads it anew, and says what is wrong with it.
            log.exception("shadow.failed", division=division_id)
            self._divisions.pop(division_id, None)
            return False
        self._divisions[division_id] = division
        return True

    def take(self, division_id: str) -> HostedDivision:
        """Return the division, warm where it was followed; `open` reads the rest."""
        return self._divisions.pop(division_id, None) or HostedDivision(division_id, self._journal)

    def clear(self) -> None:
        """Nothing is followed any more."""
        self._divisions.clear()
