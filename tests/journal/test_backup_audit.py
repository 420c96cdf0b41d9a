"""The audit log in backups: saved whole, put back whole, and nothing is ever taken out of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from actors.audit import Entry, StoreAudit
from actors.audit_archive import HEAD_FILE, AuditArchive, AuditFiles, check
from actors.backup import Source, take_backup
from actors.restore import RestoreRefused, Target, restore_backup
from actors.store import EmbeddedStore
from actors.store_client import StoreClient


def files_of(data: Path) -> AuditFiles:
    return AuditFiles(data / "audit", data / "keys" / HEAD_FILE)


async def record(audit: StoreAudit, names: list[str]) -> None:
    for name in names:
        await audit.record(Entry(at_ms=1_700_000_000_000, what=name, who="supervisor:s-1"))


async def saved(tmp_path: Path, store: EmbeddedStore, client: StoreClient, names: list[str]) -> Path:
    """A backup of a hall whose log holds `names`, the last of them in the store alone."""
    audit, data = StoreAudit(client), tmp_path / "hall"
    await record(audit, names[:-1])
    await AuditArchive(audit, files_of(data)).catch_up()
    await record(audit, names[-1:])
    target = tmp_path / f"backup-{len(names)}"
    await take_backup(Source([], store.url, data / "archive", data / "recordings", audit_folder=data / "audit"), target)
    return target


@asynccontextmanager
async def started(data: Path) -> AsyncIterator[StoreAudit]:
    """The log of a hall after a restore, with its store running."""
    store = EmbeddedStore(data / "store")
    await store.start()
    client = StoreClient(store.url)
    try:
        yield StoreAudit(client)
    finally:
        await client.close()
        await store.stop()


def names_in(data: Path) -> list[str]:
    """What stands in the files, once they hold together up to the noted head."""
    files = files_of(data)
    head = files.noted_head()
    assert head is not None
    assert check(files, {"the head": head}).problems == []
    return [line.split(b'"what":"')[1].split(b'"')[0].decode() for _, line in files.lines()]


async def test_the_chain_goes_on_after_a_restore(tmp_path: Path, store: EmbeddedStore, client: StoreClient) -> None:
    """Given a log of which the newest entry is in no file yet; when it is restored elsewhere; then it is whole, and goes on."""
    backup = await saved(tmp_path, store, client, ["one", "two", "three"])
    data = tmp_path / "new"
    await restore_backup(backup, Target(data, data / "recordings"))
    assert names_in(data) == ["one", "two", "three"]
    async with started(data) as audit:
        await record(audit, ["four"])
        await AuditArchive(audit, files_of(data)).catch_up()
    assert names_in(data) == ["one", "two", "three", "four"]


async def test_a_hall_keeps_its_own_log(tmp_path: Path, store: EmbeddedStore, client: StoreClient) -> None:
    """Given a hall that recorded more since its backup; when that is restored over it; then nothing is missing."""
    backup = await saved(tmp_path, store, client, ["one", "two"])
    data = tmp_path / "new"
    await restore_backup(backup, Target(data, data / "recordings"))
    async with started(data) as audit:
        await record(audit, ["a secret deed"])
        await AuditArchive(audit, files_of(data)).catch_up()
    await restore_backup(backup, Target(data, data / "recordings"), is_forced=True)
    async with started(data) as audit:
        await record(audit, ["after"])
        await AuditArchive(audit, files_of(data)).catch_up()
    assert names_in(data) == ["one", "two", "a secret deed", "after"]


async def test_a_broken_log_stands_in_no_backups_way(tmp_path: Path, store: EmbeddedStore, client: StoreClient) -> None:
    """Given a log whose files and store do not fit; then the backup is made, and says so."""
    await saved(tmp_path, store, client, ["one", "two", "three"])
    [path] = files_of(tmp_path / "hall").paths()
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0].replace(b"one", b"won"))
    source = Source([], store.url, tmp_path / "a", tmp_path / "r", audit_folder=tmp_path / "hall" / "audit")
    manifest = await take_backup(source, tmp_path / "backup")
    [missing] = manifest.missing
    assert "audit log" in missing
    assert (tmp_path / "backup" / "audit" / path.name).read_bytes() == path.read_bytes()


async def test_a_log_that_cannot_be_read_refuses_the_restore(
    tmp_path: Path, store: EmbeddedStore, client: StoreClient
) -> None:
    """Given a folder whose audit log is no log; then nothing is restored into it, in one line why."""
    backup = await saved(tmp_path, store, client, ["one", "two"])
    data = tmp_path / "new"
    (data / "audit").mkdir(parents=True)
    (data / "audit" / "2026-11-28.jsonl").write_bytes(b"nonsense\n")
    with pytest.raises(RestoreRefused, match="audit log"):
        await restore_backup(backup, Target(data, data / "recordings"))
