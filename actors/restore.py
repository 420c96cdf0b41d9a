"""The way back from a backup: into a hall that does not run, and that is empty or may be replaced.

Rules
- Nothing is touched before every byte of the backup was checked against its manifest.
- A hall that holds something is refused unless replacing it was asked for; what it held is set aside under another name, never
  deleted, but for the journals of a store that others may use, whose epochs go on growing.
- The journals come last: a restore that was cut short leaves a hall without calls, which is refused until it is repeated.

Afterwards the shard sees a stall that lasted from the cut until its start, as after any outage: leases, graces and reservations
move, patience and queued-at do not (SAFETY.md 8).

Not here: taking a backup (`backup`), starting the hall.
"""

import asyncio
import fcntl
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from msgspec import Struct

from actors.audit_archive import AuditBroken
from actors.backup import BackupFailed, replayed
from actors.backup_audit import restore_audit
from actors.backup_manifest import DivisionBackup, Manifest, read_frames, verify
from actors.backup_webhooks import WEBHOOKS_FILE, restore_webhooks
from actors.directory import Directory
from actors.journal import PIECE_BYTES_MAX, Append, RedisJournal
from actors.people import People, PersonRecord
from actors.store import EmbeddedStore
from actors.store_client import StoreClient

ALIVE_MS = 10_000
"""An owner that lived so lately may live still; it says so once a second."""
PEOPLE_AT_ONCE = 500


class RestoreRefused(Exception):
    """Nothing was changed, in one line why not."""


class Target(Struct, frozen=True):
    """Where to."""

    data_folder: Path
    recordings_folder: Path
    store_url: str = ""
    """Empty: the embedded store of the data folder."""


async def restore_backup(backup: Path, target: Target, *, is_forced: bool = False) -> Manifest:
    """Put a backup (a folder, or a file made as one) into a hall that does not run.

    Raises BackupDamaged, RestoreRefused, StoreFolderTaken, StoreFailed, StoreUnavailable, OSError.
    """
    with _hall_of_ones_own(target.data_folder), _opened(backup, target.data_folder) as folder:
        manifest = await asyncio.to_thread(_check, folder)
        if not target.store_url:
            _make_room(target, is_forced)
        async with _store(target) as url:
            client = StoreClient(url)
            try:
                if target.store_url:
                    await _check_store(client, manifest, is_forced)
                    _make_room(target, is_forced)
                await _fill(folder, manifest, target, client, is_forced)
            finally:
                await client.close()
    return manifest


def _check(folder: Path) -> Manifest:
    """Check every byte, and that this version can replay them. Raises BackupDamaged, RestoreRefused."""
    manifest = verify(folder)
    for division_id, one in manifest.divisions.items():
        own = folder / "divisions" / division_id
        try:
            replayed(division_id, own, one.snapshot_batch, one.first_batch, one.last_batch)
        except BackupFailed as error:
            raise RestoreRefused(f"{error} (the backup is of version {manifest.version})") from error
    return manifest


@contextmanager
def _hall_of_ones_own(data: Path) -> Iterator[None]:
    """Hold the lock that `tellerhall up` takes."""
    (data / "run").mkdir(parents=True, exist_ok=True, mode=0o700)
    with (data / "run" / "up.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RestoreRefused(f"a hall runs with {data}: stop it first") from error
        yield


@contextmanager
def _opened(backup: Path, data: Path) -> Iterator[Path]:
    """Yield the backup's folder; of a file, unpacked beside the data."""
    if backup.is_dir():
        yield backup
        return
    with tempfile.TemporaryDirectory(prefix="restore-", dir=data) as unpacked:
        try:
            with tarfile.open(backup, "r:") as tar:
                tar.extractall(unpacked, filter="data")
        except (OSError, tarfile.TarError) as error:
            raise RestoreRefused(f"{backup} cannot be unpacked: {error}") from error
        yield Path(unpacked)


def _make_room(target: Target, is_forced: bool) -> None:
    """Set aside what is there. Raises RestoreRefused where that was not asked for."""
    folders = [target.data_folder / "archive", target.recordings_folder]
    if not target.store_url:
        folders.append(target.data_folder / "store")
    full = [folder for folder in folders if folder.is_dir() and any(folder.iterdir())]
    if full and not is_forced:
        names = ", ".join(str(one) for one in full)
        raise RestoreRefused(f"this hall is not empty ({names}): give another folder, or --force to set that aside")
    for folder in full:
        aside = folder.with_name(f"{folder.name}-replaced-{time.time_ns() // 1_000_000}")
        try:
            folder.rename(aside)
        except OSError as error:
            raise RestoreRefused(f"{folder} cannot be set aside: {error.strerror}") from error


@asynccontextmanager
async def _store(target: Target) -> AsyncIterator[str]:
    """Yield the store's URL; the embedded one runs for as long as this lasts."""
    if target.store_url:
        yield target.store_url
        return
    store = EmbeddedStore(target.data_folder / "store")
    await store.start()
    try:
        yield store.url
    finally:
        await store.stop()


async def _fill(folder: Path, manifest: Manifest, target: Target, client: StoreClient, is_forced: bool) -> None:
    journal, directory = RedisJournal("", client=client), Directory(client)
    await asyncio.to_thread(_put_back, folder / "archive", target.data_folder / "archive")
    await asyncio.to_thread(_put_back, folder / "recordings", target.recordings_folder)
    if any(one.path == "people" for one in manifest.files):
        await _put_people_back(folder / "people", People(client))
    try:
        await restore_audit(client, folder / "audit", target.data_folder)
    except AuditBroken as error:
        raise RestoreRefused(f"the audit log that lies in {target.data_folder} cannot be read: {error}") from error
    await restore_webhooks(client, folder / WEBHOOKS_FILE)
    await directory.restore_incarnations(manifest.incarnations)
    for division_id, division in manifest.divisions.items():
        if is_forced:
            await journal.erase(division_id)
        epoch = await _put_journal_back(journal, division_id, division, folder / "divisions" / division_id)
        # How a successor knows how long nobody could be heard.
        await directory.note_alive({division_id: epoch}, manifest.cut_at_ms)


async def _check_store(client: StoreClient, manifest: Manifest, is_forced: bool) -> None:
    """Raises RestoreRefused for an existing store whose hall runs, or is not empty."""
    journal, directory = RedisJournal("", client=client), Directory(client)
    now_ms = time.time_ns() // 1_000_000
    for division_id in manifest.divisions:
        if now_ms - await directory.read_alive(division_id) < ALIVE_MS:
            raise RestoreRefused(
                f"a shard owned {division_id} within the last {ALIVE_MS // 1_000} s: stop that hall first"
            )
        if not is_forced and await journal.last_batch(division_id):
            raise RestoreRefused(f"the store holds a journal of {division_id} already: --force replaces it")


def _put_back(source: Path, target: Path) -> None:
    """Copy, so that a backup never shares a file with a hall that will write to it."""
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
        for root, _, names in os.walk(target):
            Path(root).chmod(0o700)
            for name in names:
                (Path(root) / name).chmod(0o600)


async def _put_people_back(path: Path, people: People) -> None:
    records: list[PersonRecord] = []
    for record in read_frames(path, PersonRecord):
        records.append(record)
        if len(records) == PEOPLE_AT_ONCE:
            await people.restore(records)
            records = []
    await people.restore(records)


async def _put_journal_back(journal: RedisJournal, division_id: str, division: DivisionBackup, folder: Path) -> int:
    """Append the entries under an epoch of their own, then write the snapshot; return the epoch."""
    epoch = (await journal.open(division_id)).epoch
    if not await journal.begin_after(division_id, division.first_batch - 1):
        raise RestoreRefused(f"the store holds a journal of {division_id} already")
    for number, payload in read_frames(folder / "batches", tuple[int, bytes]):
        await journal.append([Append(division_id, epoch, number, payload)])
    data = (folder / "snapshot").read_bytes()
    if division.snapshot_batch:
        pieces = [data[start : start + PIECE_BYTES_MAX] for start in range(0, len(data), PIECE_BYTES_MAX)]
        await journal.write_snapshot(division_id, division.snapshot_batch, pieces)
    return epoch
