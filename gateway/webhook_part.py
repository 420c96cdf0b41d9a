"""The sender of webhooks as a part of the hall: one sender an endpoint, as the book of webhooks says.

Rules: the book is looked at once a second; what was changed there holds from then on. A part that is killed is followed by
another, which goes on where the book says. It runs only where `webhooks.allowed_hosts` names somebody.

Not here: sending to one endpoint (`gateway/webhook_sender`), registering one (`gateway/rest_webhooks`).
"""

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import structlog
from msgspec import Struct

from actors.archive_reading import Placed
from actors.history_items import EventsPage, ReadEvents
from actors.items import HallUnavailable
from actors.network import Network
from actors.parts import HallSettings, open_hall
from actors.store_client import StoreUnavailable
from actors.webhook_book import DeadLetter, Endpoint, WebhookBook
from gateway import webhook_sender
from gateway.webhook_sender import EndpointSender, SendingSettings
from gateway.webhook_urls import UrlRules, connector_options

LOOK_S = 1.0
AGAIN_MAX = 100
"""Dead letters taken up again at one look."""
CONNECTIONS_MAX = 64

ReadOf = Callable[[str], webhook_sender.ReadEvents]
"""Division -> how its events are read."""

log = structlog.get_logger("gateway.webhooks")


class WebhookSettings(Struct, frozen=True):
    """From the section `webhooks` of the configuration."""

    rules: UrlRules
    sending: SendingSettings = SendingSettings()
    ca_file: str = ""
    """Whom to trust beside the machine's own list: the bank's own authority."""


class Webhooks:
    """All senders of a hall. `start` and `stop` in a running loop."""

    def __init__(self, book: WebhookBook, read_of: ReadOf, settings: WebhookSettings) -> None:
        self._book = book
        self._read_of = read_of
        self._settings = settings
        self._senders: dict[str, tuple[EndpointSender, asyncio.Task[None]]] = {}
        self._http: aiohttp.ClientSession | None = None
        self._watching: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Webhooks {[sender for sender, _ in self._senders.values()]}>"

    async def start(self) -> None:
        """Raises OSError, ssl.SSLError where `ca_file` is no good."""
        context = ssl.create_default_context()
        if self._settings.ca_file:
            context.load_verify_locations(Path(self._settings.ca_file))
        connector = aiohttp.TCPConnector(limit=CONNECTIONS_MAX, ssl=context, **connector_options())
        # No proxy from the environment, no cookies: a request has what is written here, and nothing else.
        self._http = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, auto_decompress=False
        )
        self._watching = asyncio.create_task(self._watch(), name="webhooks")

    async def stop(self) -> None:
        """End all senders, and keep how far they are."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        for endpoint_id in list(self._senders):
            await self._end(endpoint_id)
        if self._http is not None:
            await self._http.close()

    async def _watch(self) -> None:
        while True:
            try:
                await self.look()
            except StoreUnavailable as error:
                log.warning("webhooks.book_unread", reason=error.reason)
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Make the senders what the book says. Raises StoreUnavailable."""
        endpoints = {one.id: one for one in await self._book.endpoints()}
        for endpoint_id in [one for one in self._senders if one not in endpoints]:
            await self._end(endpoint_id, is_kept=False)
        progress = await self._book.progress() if endpoints.keys() - self._senders.keys() else {}
        for endpoint in endpoints.values():
            if endpoint.id in self._senders:
                self._senders[endpoint.id][0].endpoint = endpoint
            elif endpoint.id in progress:
                self._begin(endpoint, EndpointSender(
                    endpoint, progress[endpoint.id], self._read_of(endpoint.division_id), self._book, self._session,
                    self._settings.rules, self._settings.sending,
                ))  # fmt: skip
        await self._send_again(list(endpoints.values()))
        await self._book.beat(time.time_ns() // 1_000_000)

    @property
    def _session(self) -> aiohttp.ClientSession:
        assert self._http is not None, "`start` made it"
        return self._http

    def _begin(self, endpoint: Endpoint, sender: EndpointSender) -> None:
        log.info("webhook.begins", endpoint_id=endpoint.id, division_id=endpoint.division_id)
        self._senders[endpoint.id] = (sender, asyncio.create_task(self._run(sender), name=f"webhook-{endpoint.id}"))

    async def _run(self, sender: EndpointSender) -> None:
        """A sender that fails begins again at the next look, where the book says."""
        try:
            await sender.run()
        except Exception:
            log.exception("webhook.failed", endpoint_id=sender.endpoint.id)
            self._senders.pop(sender.endpoint.id, None)

    async def _end(self, endpoint_id: str, *, is_kept: bool = True) -> None:
        sender, task = self._senders.pop(endpoint_id)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if is_kept:
            with contextlib.suppress(StoreUnavailable):  # The successor repeats some then.
                await sender.save()

    async def _send_again(self, endpoints: list[Endpoint]) -> None:
        counts = await self._book.dead_counts([one.id for one in endpoints])
        for endpoint, count in zip(endpoints, counts, strict=True):
            if count and endpoint.id in self._senders:
                letters = [one for one in await self._book.dead_letters(endpoint.id) if one.is_wanted]
                await self._take_up(endpoint, letters[:AGAIN_MAX])

    async def _take_up(self, endpoint: Endpoint, letters: list[DeadLetter]) -> None:
        """Read their events again; what the archive has dropped by now is gone for good."""
        read, found = self._read_of(endpoint.division_id), list[tuple[Placed, DeadLetter]]()
        gone: list[DeadLetter] = []
        for letter in letters:
            try:
                page = await read((letter.batch, letter.place - 1), 1)
            except HallUnavailable:
                break
            is_there = bool(page.events) and page.events[0].position == (letter.batch, letter.place)
            if is_there:
                found.append((page.events[0], letter))
            else:
                gone.append(letter)
        if gone:
            log.error("webhook.letters_gone", endpoint_id=endpoint.id, letters_count=len(gone))
            await self._book.unbury(endpoint.id, gone)
        await self._senders[endpoint.id][0].send_again(found)


class WebhookPartSettings(Struct, frozen=True):
    hall: HallSettings
    webhooks: WebhookSettings


class WebhookPart:
    """What the supervisor starts in a process of its own."""

    def __init__(self, settings: bytes, network: Network) -> None:
        self._settings = msgspec.msgpack.decode(settings, type=WebhookPartSettings)
        self._network = network
        self.ended = asyncio.Event()

    async def start(self) -> None:
        self._hall, self._client = open_hall(self._settings.hall, self._network)
        self._webhooks = Webhooks(WebhookBook(self._client), self._read_of, self._settings.webhooks)
        await self._webhooks.start()

    async def stop(self) -> None:
        await self._webhooks.stop()
        await self._hall.close()
        await self._client.close()

    async def status(self) -> dict[str, Any]:
        return {"text": repr(self._webhooks)}

    def _read_of(self, division_id: str) -> webhook_sender.ReadEvents:
        async def read(after: tuple[int, int], count_max: int) -> EventsPage:
            page: EventsPage = await self._hall.ask_follower(ReadEvents(division_id, after, count_max))
            return page

        return read
