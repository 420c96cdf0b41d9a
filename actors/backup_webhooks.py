"""Webhook endpoints in a backup, and on their way back: switched off, so that a rehearsal tells no bank system of old calls.

    webhooks    frames of [endpoint, progress, dead letters]

Rules: their places in the archive are read before the journals' cut, so none lies behind it; what was delivered between the
two is delivered again. Dead letters of what came after the cut are left out: their places will be other events'.

Not here: the book (`webhook_book`), the rest of a backup (`backup`, `restore`).
"""

import asyncio
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from actors.backup_manifest import read_frames, write_frame
from actors.store_client import StoreClient
from actors.webhook_book import DeadLetter, Endpoint, Progress, WebhookBook

WEBHOOKS_FILE = "webhooks"


class SavedWebhook(Struct, array_like=True):
    """One endpoint with all that belongs to it."""

    endpoint: Endpoint
    progress: Progress
    dead_letters: list[DeadLetter]


async def read_webhooks(client: StoreClient) -> list[SavedWebhook]:
    """All of the hall, as of some instant from now on. Raises StoreUnavailable."""
    book = WebhookBook(client)
    progress = await book.progress()
    return [
        SavedWebhook(one, progress.get(one.id, Progress((0, -1))), await book.dead_letters(one.id))
        for one in await book.endpoints()
    ]


def save_webhooks(saved: list[SavedWebhook], folder: Path, last_batches: dict[str, int]) -> None:
    """Write what was read before the cut, as of the cut."""
    if not saved:
        return
    with (folder / WEBHOOKS_FILE).open("wb") as file:
        for one in saved:
            last_batch = last_batches.get(one.endpoint.division_id)
            letters = [it for it in one.dead_letters if last_batch is None or it.batch <= last_batch]
            write_frame(file, replace(one, dead_letters=letters))


def _read(path: Path) -> list[SavedWebhook]:
    return list(read_frames(path, SavedWebhook)) if path.exists() else []


async def restore_webhooks(client: StoreClient, path: Path) -> None:
    """Put them back, switched off. One that the store has under the same id is replaced."""
    book = WebhookBook(client)
    for one in await asyncio.to_thread(_read, path):
        # Its place first: an endpoint without one would begin somewhere else.
        await book.save(one.endpoint.id, one.progress)
        await book.want_again(one.endpoint.id, one.dead_letters, is_wanted=False)
        await book.put(replace(one.endpoint, is_enabled=False))
