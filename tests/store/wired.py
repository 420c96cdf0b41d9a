"""A hall whose store lies behind a wire with faults."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from msgspec import Struct

from actors.hall import Hall
from actors.journal import RedisJournal
from actors.local import LocalHall, local_hall
from actors.store_client import StoreClient
from dispatch.events import CallQueued
from tests.actors.kit import PLAN, history
from tests.store.proxy import Proxy
from tests.store.servers import Server


class Wired(Struct):
    """A hall whose store lies behind a proxy."""

    server: Server
    proxy: Proxy
    local: LocalHall
    hall: Hall
    truth: RedisJournal
    """Past the proxy: what the store has."""


@asynccontextmanager
async def wired_hall(server: Server) -> AsyncIterator[Wired]:
    """All of it running; the hall ends before its store."""
    truth = RedisJournal(server.url)
    async with Proxy(server) as proxy:
        journal = RedisJournal(proxy.url, client=StoreClient(proxy.url, request_s=0.5))
        async with local_hall(PLAN, journal) as local:
            hall = local.hall("g-1")
            yield Wired(server, proxy, local, hall, truth)
            proxy.let_replies_go()
            await hall.close()
        await journal.close()
    await truth.close()


async def queued_ids(journal: RedisJournal) -> list[str]:
    """Calls that were queued, as the journal has it."""
    return [event.call_id for event in await history(journal) if isinstance(event, CallQueued)]
