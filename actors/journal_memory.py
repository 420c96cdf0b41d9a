"""The journal's twin in memory: same semantics, no disk, and faults at the caller's word.

Rules: whatever `actors.journal` promises holds here too; `tests/journal` runs one suite over both. It forgets all
with its process, so `check_durability` refuses it like any store that may lose data.

Not here: the real one, and what the words mean (`journal`).
"""

import asyncio

from actors.journal import (
    Append,
    Durability,
    Fenced,
    JournalSize,
    NotDurable,
    Opened,
    check_appends,
    check_follows,
    check_pieces,
    check_trim,
)
from actors.store_client import Reason, StoreUnavailable


class _Division:
    __slots__ = ("batches", "epoch", "last", "snapshot")

    def __init__(self) -> None:
        self.epoch = 0
        self.last = 0
        self.batches: dict[int, bytes] = {}
        """In rising order, which a dict keeps."""
        self.snapshot: tuple[int, list[bytes]] | None = None


class MemoryJournal:
    """A journal for tests and simulations. One object stands for one store; share it to share the data."""

    def __init__(self, *, accept_weaker_durability: bool = True) -> None:
        self._accept_weaker_durability = accept_weaker_durability
        self._division_by_id: dict[str, _Division] = {}
        self._faults: list[tuple[Reason, bool]] = []
        self._running = asyncio.Event()
        self._running.set()

    def refuse_appends(self, count: int, reason: Reason = "not_connected") -> None:
        """Let the next `count` appends fail without effect."""
        self._faults += [(reason, False)] * count

    def lose_replies(self, count: int, reason: Reason = "timeout") -> None:
        """Let the next `count` appends, after those already faulty, take effect and yet raise StoreUnavailable."""
        self._faults += [(reason, True)] * count

    def stall(self) -> None:
        """Let every request wait until `go_on`."""
        self._running.clear()

    def go_on(self) -> None:
        """End a stall."""
        self._running.set()

    async def open(self, division_id: str) -> Opened:
        division = await self._division(division_id)
        division.epoch += 1
        return Opened(division.epoch, division.last)

    async def append(self, appends: list[Append]) -> None:
        check_appends(appends)
        await self._running.wait()
        reason, is_done = self._faults.pop(0) if self._faults else (None, True)
        refused = {one.division_id: answer for one in appends if is_done and (answer := self._add(one))}
        if reason is not None:
            raise StoreUnavailable(reason, "a fault was asked for")
        if refused:
            raise Fenced(refused)

    def _add(self, one: Append) -> str:
        division = self._division_by_id.setdefault(one.division_id, _Division())
        if one.epoch != division.epoch:
            return "epoch"
        if one.batch == division.last + 1:
            division.batches[one.batch] = one.payload
            division.last = one.batch
            return ""
        if one.batch != division.last:
            return "batch"
        return "" if division.batches.get(one.batch, one.payload) == one.payload else "payload"

    async def last_batch(self, division_id: str) -> int:
        return (await self._division(division_id)).last

    async def read(self, division_id: str, after_batch: int, count_max: int) -> list[tuple[int, bytes]]:
        division = await self._division(division_id)
        first = max(after_batch + 1, next(iter(division.batches), division.last + 1))
        numbers = range(first, min(first + count_max, division.last + 1))
        batches = [(number, division.batches[number]) for number in numbers]
        check_follows(division_id, after_batch, batches, division.last)
        return batches

    async def size(self, division_id: str) -> JournalSize:
        batches = (await self._division(division_id)).batches
        return JournalSize(len(batches), sum(map(len, batches.values())))

    async def write_snapshot(self, division_id: str, batch: int, pieces: list[bytes]) -> None:
        check_pieces(pieces)
        division = await self._division(division_id)
        if division.snapshot is None or batch > division.snapshot[0]:
            division.snapshot = (batch, list(pieces))

    async def read_snapshot(self, division_id: str) -> tuple[int, list[bytes]] | None:
        snapshot = (await self._division(division_id)).snapshot
        return (snapshot[0], list(snapshot[1])) if snapshot else None

    async def trim(self, division_id: str, up_to_batch: int) -> None:
        division = await self._division(division_id)
        check_trim(division_id, up_to_batch, division.snapshot[0] if division.snapshot else 0)
        for number in [number for number in division.batches if number <= up_to_batch]:
            del division.batches[number]

    async def check_durability(self) -> Durability:
        weaknesses = ["everything is held in memory and lost with the process"]
        if not self._accept_weaker_durability:
            raise NotDurable(weaknesses[0])
        return Durability("memory", "no", "no", "noeviction", weaknesses)

    async def close(self) -> None:
        """Nothing is held open."""

    async def _division(self, division_id: str) -> _Division:
        await self._running.wait()
        return self._division_by_id.setdefault(division_id, _Division())
