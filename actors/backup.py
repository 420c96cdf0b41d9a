"""A backup of a hall that runs: journals, histories, people, webhooks and finished recordings, without stopping anything.

Rules
- All journals are taken as of one instant (the cut), so that no call is in two divisions or in none. What was acknowledged
  before the backup began lies before the cut.
- The histories are taken after the cut and cut back to it: an archive must never be ahead of its journal (`follower`).
- What was taken is replayed before it counts: a backup that cannot be replayed is none.
- A backup appears under its name whole or not at all. It holds personal data and evidence: files are for their owner alone.

Theory: snapshots are read first, then the newest batch of every division in one atomic step, then the entries up to it. The
follower may trim meanwhile; the journal then says that there is a gap, and the whole is taken anew, at most `TRIES` times.

Not here: the manifest (`backup_manifest`), the way back (`restore`).
"""

import asyncio
import os
import shutil
import sqlite3
import tarfile
import time
from importlib import metadata
from pathlib import Path
from urllib.parse import quote

from msgspec import Struct

from actors.backup_audit import save_audit
from actors.backup_manifest import DivisionBackup, Manifest, list_files, read_frames, write_frame, write_manifest
from actors.backup_webhooks import read_webhooks, save_webhooks
from actors.build import build_id
from actors.directory import Directory
from actors.journal import JournalGap, RedisJournal
from actors.people import People
from actors.store_client import StoreClient
from dispatch.codec import decode_events
from dispatch.engine import Engine
from media.evidence import MANIFEST_FILE, is_room_id, sync, unsealed_attempts

READ_BATCHES = 200
TRIES = 5
"""A snapshot with its trim comes once in a minute at the most; taking one division's journal takes seconds."""
ARCHIVE_STEP_PAGES = 1_000
"""4 MiB of a history at a time; the follower writes between the steps."""
SQLITE_S = 30.0


class BackupFailed(Exception):
    """No backup was made, in one line why. What had been written is gone again."""


class Source(Struct, frozen=True):
    """What is to be saved."""

    division_ids: list[str]
    """Those known by configuration; others are found in the store."""
    store_url: str
    archive_folder: Path
    recordings_folder: Path
    has_people: bool = True
    audit_folder: Path | None = None
    """Where the audit log's files lie; None: it is left out."""


class Cut(Struct, frozen=True):
    """The journals as of one instant."""

    at_ms: int
    divisions: dict[str, DivisionBackup]


async def take_backup(source: Source, target: Path) -> Manifest:
    """Write a backup to `target`, a new folder, or a new file where the name ends with `.tar`.

    Raises BackupFailed, StoreUnavailable, OSError.
    """
    draft = target.with_name(target.name + ".part")
    for path in (target, draft):
        if path.exists():
            raise BackupFailed(f"{path} exists already")
    draft.mkdir(mode=0o700, parents=True)
    try:
        manifest = await _fill(source, draft)
        await asyncio.to_thread(_finish, draft, target)
    except BaseException:
        await asyncio.to_thread(shutil.rmtree, draft, True)
        raise
    return manifest


async def _fill(source: Source, draft: Path) -> Manifest:
    began_at_ms = time.time_ns() // 1_000_000
    client = StoreClient(source.store_url)
    try:
        directory = Directory(client)
        placed = (await directory.read_placement()).slots
        division_ids = sorted({*source.division_ids, *placed})
        webhooks = await read_webhooks(client)
        cut = await _cut(RedisJournal(source.store_url, client=client), division_ids, draft / "divisions")
        incarnations = await directory.read_incarnations()
        missing: list[str] = []
        people_count = await _save_people(source, client, draft / "people", missing)
        if source.audit_folder is not None:
            missing += await save_audit(client, source.audit_folder, draft)
    finally:
        await client.close()
    last_batches = {one: division.last_batch for one, division in cut.divisions.items()}
    save_webhooks(webhooks, draft, last_batches)
    await asyncio.to_thread(save_archive, source.archive_folder, draft / "archive", last_batches)
    saved, still_open = await asyncio.to_thread(_save_recordings, source.recordings_folder, draft / "recordings")
    manifest = Manifest(
        version=metadata.version("tellerhall"),
        build=build_id(),
        began_at_ms=began_at_ms,
        cut_at_ms=cut.at_ms,
        divisions=cut.divisions,
        incarnations=incarnations,
        people_count=people_count,
        webhooks_count=len(webhooks),
        recordings_count=saved,
        recordings_open=still_open,
        missing=missing,
        files=await asyncio.to_thread(list_files, draft),
    )
    await asyncio.to_thread(write_manifest, draft, manifest)
    return manifest


def _finish(draft: Path, target: Path) -> None:
    """Give the backup its name, once it is on the disk."""
    if target.suffix == ".tar":
        made = target.with_name(target.name + ".tar-part")
        try:
            with open(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                with tarfile.open(fileobj=file, mode="w") as tar:
                    tar.add(draft, arcname=".")
                file.flush()
                os.fsync(file.fileno())
            made.replace(target)
        finally:
            made.unlink(missing_ok=True)
        shutil.rmtree(draft)
    else:
        for folder, _, names in os.walk(draft):
            for name in names:
                sync(Path(folder) / name)
            sync(Path(folder))
        draft.replace(target)
    sync(target.parent)


# -- journals


async def _cut(journal: RedisJournal, division_ids: list[str], folder: Path) -> Cut:
    for _ in range(TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        try:
            return await _try_cut(journal, division_ids, folder)
        except JournalGap:
            continue
    raise BackupFailed("the journal was trimmed each time it was read: try again later")


async def _try_cut(journal: RedisJournal, division_ids: list[str], folder: Path) -> Cut:
    """Raises JournalGap when somebody trimmed meanwhile."""
    snapshot_batches: dict[str, int] = {}
    for division_id in division_ids:
        snapshot = await journal.read_snapshot(division_id)
        snapshot_batches[division_id] = snapshot[0] if snapshot else 0
        (folder / division_id).mkdir(parents=True, mode=0o700)
        (folder / division_id / "snapshot").write_bytes(b"".join(snapshot[1]) if snapshot else b"")
    last_batches = await journal.last_batches(division_ids)
    at_ms = time.time_ns() // 1_000_000
    divisions = {}
    for division_id in division_ids:
        own = folder / division_id
        first = await _save_batches(journal, division_id, own / "batches", last_batches[division_id])
        if first > snapshot_batches[division_id] + 1:
            raise JournalGap(division_id, snapshot_batches[division_id] + 1, first)
        divisions[division_id] = await asyncio.to_thread(
            replayed, division_id, own, snapshot_batches[division_id], first, last_batches[division_id]
        )
    return Cut(at_ms, divisions)


async def _save_batches(journal: RedisJournal, division_id: str, path: Path, last_batch: int) -> int:
    """Write the entries up to `last_batch`; return the number of the first one that is there."""
    try:
        after = 0
        batches = await journal.read(division_id, after, READ_BATCHES)
    except JournalGap as gap:
        after = gap.first_batch - 1
        batches = await journal.read(division_id, after, READ_BATCHES)
    first = after + 1
    with path.open("wb") as file:
        while batches and batches[0][0] <= last_batch:
            for number, payload in batches:
                if number <= last_batch:
                    write_frame(file, (number, payload))
            batches = await journal.read(division_id, batches[-1][0], READ_BATCHES)
    return min(first, last_batch + 1)


def replayed(division_id: str, folder: Path, snapshot_batch: int, first: int, last: int) -> DivisionBackup:
    """Do what a recovery would do with these bytes. Raises BackupFailed."""
    try:
        data = (folder / "snapshot").read_bytes()
        engine = Engine.restore(division_id, data) if data else Engine(division_id)
        number = snapshot_batch
        for number, payload in read_frames(folder / "batches", tuple[int, bytes]):
            if number > snapshot_batch:
                engine.replay(decode_events(payload))
        number = max(number, snapshot_batch)
    except Exception as error:
        raise BackupFailed(
            f"the journal of {division_id} cannot be replayed: {type(error).__name__}: {error}"
        ) from error
    if number != last:
        raise BackupFailed(f"the journal of {division_id} ends at batch {number} instead of {last}")
    return DivisionBackup(
        snapshot_batch=snapshot_batch,
        first_batch=first,
        last_batch=last,
        plan_digest=engine.state.plan_digest,
        state_digest=engine.digest(),
        calls_count=len(engine.state.calls),
    )


# -- people, histories, recordings


async def _save_people(source: Source, client: StoreClient, path: Path, missing: list[str]) -> int:
    """Return how many records were written."""
    if not source.has_people:
        missing.append("personal records: left out as asked")
        return 0
    if client.address.kind == "cluster":
        missing.append("personal records: those of a cluster's servers are to be saved with the cluster's own means")
        return 0
    count = 0
    with path.open("wb") as file:
        async for records in People(client).all():
            for record in records:
                write_frame(file, record)
            count += len(records)
    return count


def save_archive(root: Path, folder: Path, last_batches: dict[str, int]) -> None:
    """Copy every day's history, and cut what came after the journals' instant."""
    for path in sorted(root.glob("*/????-??-??.sqlite")):
        division_id = path.parent.name
        (folder / division_id).mkdir(parents=True, exist_ok=True, mode=0o700)
        _save_day(path, folder / division_id / path.name, last_batches.get(division_id))


def _save_day(path: Path, copy: Path, last_batch: int | None) -> None:
    """`last_batch` None: a division that is not placed any more; nothing was added meanwhile."""
    source = sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, timeout=SQLITE_S)
    target = sqlite3.connect(copy, timeout=SQLITE_S)
    try:
        source.backup(target, pages=ARCHIVE_STEP_PAGES)
        # One file without its log beside it: what is listed and hashed is all there is.
        target.execute("PRAGMA journal_mode = DELETE")
        if last_batch is not None:
            with target:
                target.execute("DELETE FROM events WHERE batch > ?", (last_batch,))
                target.execute("UPDATE cursor SET batch = min(batch, ?)", (last_batch,))
    finally:
        source.close()
        target.close()


def _save_recordings(root: Path, folder: Path) -> tuple[int, list[str]]:
    """Save finished recordings, as links where that is possible; return how many, and the folders of those that are not."""
    count = 0
    for manifest in sorted(root.glob(f"????-??-??/*/attempt-*/{MANIFEST_FILE}")):
        if not is_room_id(manifest.parent.parent.name):
            continue
        own = folder / manifest.parent.relative_to(root)
        own.mkdir(parents=True, mode=0o700)
        for path in sorted(manifest.parent.iterdir()):
            if path.is_file() and path.suffix != ".part":
                _link_or_copy(path, own / path.name)
        count += 1
    return count, sorted(str(one.relative_to(root)) for one in unsealed_attempts(root))


def _link_or_copy(path: Path, target: Path) -> None:
    """A finished recording never changes, so a second name for it is as good as a copy, and costs nothing."""
    try:
        os.link(path, target)
    except OSError:
        shutil.copy2(path, target)
