"""What the tests of webhooks work with: an archive with a book beside it, a real receiver, and the sender between them."""

import time
from pathlib import Path

from actors.archive import Archive
from actors.archive_reading import START, Position
from actors.history_items import EventsPage
from actors.store_client import StoreClient
from actors.webhook_book import Endpoint, Progress, WebhookBook
from dispatch import events as ev
from gateway import webhook_sender
from gateway.webhook_part import Webhooks, WebhookSettings
from gateway.webhook_sender import EndpointSender, SendingSettings
from gateway.webhook_signing import new_secret
from gateway.webhook_urls import UrlRules
from tests.gateway.receiving import Receiver
from tests.waiting import until

RULES = UrlRules(["127.0.0.1"])
QUICK = SendingSettings(timeout_ms=2_000, backoff_first_s=0.01, backoff_max_s=0.05)
SECRET = new_secret()


def life(call_id: str, at_ms: int) -> list[ev.Event]:
    """A call's events: four that leave, and one that does not."""
    return [
        ev.CallQueued(at_ms, call_id, "c-1", "loans", at_ms, at_ms + 20_000, "Anna's house"),
        ev.CallReserved(at_ms + 1, call_id, "r", "a-1", "c-1", "loans", 1, at_ms + 20_000, 1, "longest_idle"),
        ev.ReservationAccepted(at_ms + 2, call_id, "r", "a-1", at_ms + 9_000, 1),
        ev.CallForgotten(at_ms + 3, call_id, "c-1"),
        ev.CallEnded(at_ms + 4, call_id, "c-1", "loans", "said something rude", "a-1"),
    ]


class Desk:
    """An archive with a book beside it, a receiver, and the sender between them."""

    def __init__(self, folder: Path, client: StoreClient) -> None:
        self.archive = Archive(folder, "main")
        self.book = WebhookBook(client)
        self.receiver = Receiver()
        self.batch = 0
        self.webhooks: Webhooks | None = None

    async def endpoint(self, types: list[str] | None = None) -> Endpoint:
        endpoint = Endpoint("e-1", "main", self.receiver.url, types or [], [SECRET], 1)
        await self.book.put(endpoint, START)
        return endpoint

    async def calls(self, count: int, at_ms: int | None = None) -> list[str]:
        """Calls whose events are mixed with each other's, one a batch."""
        begun_ms = at_ms if at_ms is not None else time.time_ns() // 1_000_000
        ids = [f"call-{self.batch}-{number}" for number in range(count)]
        lives = [life(call_id, begun_ms) for call_id in ids]
        for place in range(5):
            batches = []
            for one in lives:
                self.batch += 1
                batches.append((self.batch, [one[place]]))
            await self.archive.add(batches)
        return ids

    def read_of(self, division_id: str) -> webhook_sender.ReadEvents:
        async def read(after: Position, count_max: int) -> EventsPage:
            return EventsPage(await self.archive.after(after, count_max), (await self.archive.cursor(), 1 << 62))

        assert division_id == "main"
        return read

    async def start(self, sending: SendingSettings = QUICK) -> None:
        self.webhooks = Webhooks(self.book, self.read_of, WebhookSettings(RULES, sending))
        await self.webhooks.start()

    async def stop(self) -> None:
        if self.webhooks is not None:
            await self.webhooks.stop()
            self.webhooks = None

    @property
    def sender(self) -> EndpointSender:
        assert self.webhooks is not None
        return self.webhooks._senders["e-1"][0]

    async def settled(self) -> None:
        """Return when everything that is archived is delivered or given up."""
        await until(lambda: self.webhooks is not None and "e-1" in self.webhooks._senders)
        await until(lambda: self.sender._head[0] == self.batch and not self.sender._outstanding)

    async def progress(self) -> Progress:
        return (await self.book.progress())["e-1"]
