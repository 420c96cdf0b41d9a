"""Real stores for the journal's tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from actors.journal import Journal, RedisJournal
from actors.journal_memory import MemoryJournal
from actors.store import EmbeddedStore
from actors.store_client import StoreClient
from tests.store.servers import Server


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EmbeddedStore]:
    """A running Valkey with its own folder; nothing of it is left afterwards."""
    store = EmbeddedStore(tmp_path / "store")
    await store.start()
    yield store
    await store.stop()
    assert store.pid is None


@pytest.fixture
async def client(store: EmbeddedStore) -> AsyncIterator[StoreClient]:
    """A connection beside the one under test."""
    client = StoreClient(store.url)
    yield client
    await client.close()


@pytest.fixture(params=["valkey", "redis", "memory"])
async def journal(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Journal]:
    """Each journal there is, the embedded Valkey, Debian's Redis and the twin in memory: one suite over all of them."""
    if request.param == "memory":
        yield MemoryJournal()
        return
    server = EmbeddedStore(tmp_path / "store") if request.param == "valkey" else Server(tmp_path / "store", "redis")
    await server.start()
    journal = RedisJournal(server.url)
    assert (await journal.check_durability()).server.startswith(request.param)
    yield journal
    await journal.close()
    if isinstance(server, Server):
        server.end()
    else:
        await server.stop()
