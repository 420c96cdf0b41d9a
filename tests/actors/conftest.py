"""Halls inside this process, each ending with nothing left behind."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from actors.hall import Hall
from actors.journal_memory import MemoryJournal
from actors.local import LocalHall, local_hall
from tests.actors.kit import PLAN


@pytest.fixture(autouse=True)
async def nothing_left() -> AsyncIterator[None]:
    """No task runs any more once all fixtures have ended."""
    yield
    for _ in range(20):
        await asyncio.sleep(0)
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task() and not task.done()]
    assert not left


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal()


@pytest.fixture
async def local(journal: MemoryJournal) -> AsyncIterator[LocalHall]:
    async with local_hall(PLAN, journal) as local:
        yield local


@pytest.fixture
async def hall(local: LocalHall) -> AsyncIterator[Hall]:
    hall = local.hall("g-1")
    yield hall
    await hall.close()


@pytest.fixture
async def other_hall(local: LocalHall) -> AsyncIterator[Hall]:
    """A client of the same hall in another gateway."""
    hall = local.hall("g-2")
    yield hall
    await hall.close()
