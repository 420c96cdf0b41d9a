"""Webhook endpoints in backups: saved whole, put back switched off, with nothing behind the journals' instant."""

from pathlib import Path

import pytest

from actors.backup import Source, take_backup
from actors.backup_manifest import read_frames
from actors.backup_webhooks import SavedWebhook, read_webhooks, save_webhooks
from actors.restore import Target, restore_backup
from actors.store import EmbeddedStore
from actors.store_client import StoreClient
from actors.webhook_book import DeadLetter, Endpoint, Progress, Secret, WebhookBook

CRM = Endpoint("w-1", "main", "https://crm.bank.example/calls", ["tellerhall.call_ended"], [Secret(b"k" * 32)], 1)
LOG = Endpoint("w-2", "main", "https://log.bank.example/", [], [Secret(b"l" * 32), Secret(b"m" * 32, 9)], 2, False)
TOLD = Progress((7, 2), delivered_count=40, given_up_count=1)


def letter(batch: int) -> DeadLetter:
    return DeadLetter(batch, 0, f"main.{batch}.0", "tellerhall.call_ended", "c1", 5, "410")


@pytest.fixture
async def book(client: StoreClient) -> WebhookBook:
    made = WebhookBook(client)
    await made.put(CRM, (0, -1))
    await made.save(CRM.id, TOLD)
    await made.bury(CRM.id, letter(6))
    await made.put(LOG, (3, 1))
    return made


async def test_endpoints_come_back_switched_off(
    tmp_path: Path, store: EmbeddedStore, client: StoreClient, book: WebhookBook
) -> None:
    """Given two endpoints, one of them with a letter given up; when a backup is restored elsewhere; then all of it is there, in
    its place, and nothing is sent until somebody says so."""
    data = tmp_path / "hall"
    made = await take_backup(Source([], store.url, data / "archive", data / "recordings"), tmp_path / "backup")
    assert made.webhooks_count == 2
    await restore_backup(tmp_path / "backup", Target(tmp_path / "new", tmp_path / "new" / "recordings"))
    other = EmbeddedStore(tmp_path / "new" / "store")
    await other.start()
    there = StoreClient(other.url)
    try:
        crm, log = await read_webhooks(there)
    finally:
        await there.close()
        await other.stop()
    assert not crm.endpoint.is_enabled
    assert (crm.endpoint.url, crm.endpoint.types, crm.endpoint.secrets) == (CRM.url, CRM.types, CRM.secrets)
    assert (crm.progress, crm.dead_letters) == (TOLD, [letter(6)])
    assert (log.endpoint, log.progress.position, log.dead_letters) == (LOG, (3, 1), [])


async def test_a_hall_without_endpoints_saves_none(tmp_path: Path, store: EmbeddedStore, client: StoreClient) -> None:
    """Given no endpoint; then there is no file of them, and a restore has nothing to say."""
    data = tmp_path / "hall"
    made = await take_backup(Source([], store.url, data / "archive", data / "recordings"), tmp_path / "backup")
    assert made.webhooks_count == 0
    assert "webhooks" not in [one.path for one in made.files]
    await restore_backup(tmp_path / "backup", Target(tmp_path / "new", tmp_path / "new" / "recordings"))


def test_letters_from_behind_the_cut_stay_out(tmp_path: Path) -> None:
    """Given letters of a batch at the journals' instant and one behind it; then the latter is not saved: its place will be
    another event's."""
    save_webhooks([SavedWebhook(CRM, TOLD, [letter(8), letter(9)])], tmp_path, {"main": 8})
    [saved] = read_frames(tmp_path / "webhooks", SavedWebhook)
    assert [one.batch for one in saved.dead_letters] == [8]
