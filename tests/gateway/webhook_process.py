"""A sender of webhooks in a process of its own, to be killed: `python -m tests.gateway.webhook_process STORE_URL ARCHIVE`."""

import asyncio
import sys
from pathlib import Path

from actors.archive import Archive
from actors.archive_reading import Position
from actors.history_items import EventsPage
from actors.store_client import StoreClient
from actors.webhook_book import WebhookBook
from gateway.webhook_part import Webhooks, WebhookSettings
from gateway.webhook_sender import ReadEvents, SendingSettings
from gateway.webhook_urls import UrlRules


async def main() -> None:
    archive = Archive(Path(sys.argv[2]), "main")

    def read_of(_: str) -> ReadEvents:
        async def read(after: Position, count_max: int) -> EventsPage:
            return EventsPage(await archive.after(after, count_max), (await archive.cursor(), 1 << 62))

        return read

    settings = WebhookSettings(UrlRules(["127.0.0.1"]), SendingSettings(timeout_ms=2_000, backoff_first_s=0.01))
    await Webhooks(WebhookBook(StoreClient(sys.argv[1])), read_of, settings).start()
    await asyncio.Event().wait()


asyncio.run(main())
