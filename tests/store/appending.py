"""A writer as a shard is one: it repeats the SAME append until the store has it, and keeps a book of what was acknowledged."""

import asyncio
from collections.abc import Awaitable, Callable

from actors.journal import Append, RedisJournal, StoreUnavailable
from actors.store_client import Reason

PATIENCE_S = 30.0


async def repeat(action: Callable[[], Awaitable[object]]) -> list[Reason]:
    """Do it until the store has done it, in bounded time; return why it had to be repeated."""
    reasons: list[Reason] = []
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await action()
            except StoreUnavailable as error:
                reasons.append(error.reason)
                await asyncio.sleep(0.02)
            else:
                return reasons


class Writer:
    """Appends numbered batches to division `main`."""

    def __init__(self, journal: RedisJournal) -> None:
        self.journal = journal
        self.epoch = 0
        self.batch = 0
        """The last that was acknowledged."""
        self.reasons: list[Reason] = []
        """Why appends had to be repeated."""

    async def open(self) -> "Writer":
        """Own the division."""
        self.epoch = (await self.journal.open("main")).epoch
        return self

    async def append(self) -> None:
        """Make the next batch durable, however often it takes."""
        self.reasons += await repeat(lambda: self.try_append(self.batch + 1))
        self.batch += 1

    async def try_append(self, number: int) -> None:
        """Try once. Raises StoreUnavailable."""
        await self.journal.append([Append("main", self.epoch, number, b"%d" % number)])

    async def append_until(self, done: asyncio.Event) -> None:
        """Append one after another until told to stop; the last one is acknowledged too."""
        while not done.is_set():
            await self.append()
            await asyncio.sleep(0)

    async def assert_whole(self, journal: RedisJournal | None = None) -> None:
        """What was acknowledged is there, each batch once and in order, and nothing else."""
        read: list[tuple[int, bytes]] = []
        while step := await (journal or self.journal).read("main", len(read), 1_000):
            read += step
        assert read == [(number, b"%d" % number) for number in range(1, self.batch + 1)]
