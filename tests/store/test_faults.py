"""A store in trouble: commands wait within a bound and are then refused by name; nothing acknowledged is lost (SAFETY.md 1, 9).

The hall is real and in this process, the store a real server: frozen, killed, without room, with another password.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from actors import intake, shard
from actors.hall import Hall
from tests.store.wired import Wired


@pytest.fixture(autouse=True)
def short_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits 10 s for the store in a hall waits 0.3 s here."""
    monkeypatch.setattr(intake, "UNSTEPPED_S", 0.3)
    monkeypatch.setattr(shard, "STALL_MS", 200)


@contextlib.asynccontextmanager
async def trouble(wired: Wired) -> AsyncIterator[None]:
    """Ask for a call before, at the beginning of and during a trouble that the body makes and then ends.

    The one before is acknowledged and stays; the first in the trouble is stepped, waits, and is acknowledged in the end; the
    one behind it is refused by name while the trouble lasts.
    """
    assert (await wired.hall.call("before").request("c-1", "slow")).is_accepted
    other = wired.local.hall("g-2")
    await other.agents()
    begun = asyncio.Event()
    outcome = asyncio.create_task(ask_in_trouble(wired, other, begun))
    yield
    begun.set()
    await outcome
    await other.close()


async def ask_in_trouble(wired: Wired, other: Hall, begun: asyncio.Event) -> None:
    await begun.wait()


async def assert_refused_and_kept(wired: Wired, end_trouble: Callable[[], Awaitable[None]]) -> None:
    """The trouble has begun: what is stepped waits, what comes later is refused by name; afterwards nothing is lost."""
