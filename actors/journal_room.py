"""The bound on a journal: how much may stand beyond the last snapshot before the hall takes no new calls.

Rules: asked of the store once a second. At the bound new calls are refused by name (`journal_full`) and an alert stands in the
status; everything that ends calls goes on, so the journal may grow a little further. Below it again, once the follower has
written a snapshot and trimmed, calls are admitted again by themselves. While the store does not answer the last size counts.

Why a bound: what has not been trimmed is replayed at every recovery, lies in the store's memory, and grows without end when
the follower cannot work.

Not here: trimming (`follower`), the refusal itself (`stepping`), counting (`journal`).
"""

import asyncio
from collections.abc import Iterable
from typing import Any

import structlog

from actors.journal import Journal, JournalSize, StoreUnavailable

EVERY_S = 1.0
SIZE_MAX = JournalSize(1_000_000, 1024**3)
"""Twenty times what stands there when the follower writes its snapshots in time (`follower.SNAPSHOT_BATCHES`), and with 1 GiB
about a tenth of a small machine's memory: reached after half an hour of 500 turns a second without a follower."""

log = structlog.get_logger("actors.journal_room")


class JournalRoom:
    """Looks at the journals of one shard's divisions."""

    def __init__(self, journal: Journal, division_ids: Iterable[str]) -> None:
        """`division_ids`: looked at anew each time."""
        self._journal = journal
        self._division_ids = division_ids
        self.size_max = SIZE_MAX
        self._sizes: dict[str, JournalSize] = {}

    def __repr__(self) -> str:
        return f"<JournalRoom {self._sizes}>"

    def is_full(self, division_id: str) -> bool:
        """Was the journal at its bound at the last look?"""
        size = self._sizes.get(division_id)
        return size is not None and self._is_full(size)

    def _is_full(self, size: JournalSize) -> bool:
        return size.batches >= self.size_max.batches or size.bytes >= self.size_max.bytes

    async def watch(self) -> None:
        """Look once a second until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(EVERY_S)

    async def look(self) -> None:
        """Ask for all sizes."""
        sizes = {}
        for division_id in list(self._division_ids):
            try:
                sizes[division_id] = await self._journal.size(division_id)
            except StoreUnavailable:
                if division_id in self._sizes:
                    sizes[division_id] = self._sizes[division_id]
        changed = [one for one, size in sizes.items() if self.is_full(one) != self._is_full(size)]
        self._sizes = sizes
        for division_id in changed:
            size = sizes[division_id]
            event = "journal.full" if self.is_full(division_id) else "journal.has_room"
            log.warning(event, division=division_id, batches=size.batches, bytes=size.bytes)

    def values(self, division_id: str) -> dict[str, Any]:
        """The last look, for a status."""
        size = self._sizes.get(division_id, JournalSize(0, 0))
        return {
            "journal_batches": size.batches,
            "journal_bytes": size.bytes,
            "is_journal_full": self.is_full(division_id),
        }
