"""Backup and restore over a real store: what is inside, what is refused, and that nothing acknowledged is lost."""

import asyncio
import fcntl
import os
import sqlite3
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from actors.archive import Archive
from actors.backup import BackupFailed, Source, save_archive, take_backup
from actors.backup_manifest import MANIFEST_FILE, BackupDamaged, read_frames, verify
from actors.directory import INCARNATIONS_KEY, Directory
from actors.follower import Follower
from actors.journal import RedisJournal
from actors.people import People, PersonRecord
from actors.restore import RestoreRefused, Target, restore_backup
from actors.store import EmbeddedStore
from actors.store_client import StoreClient
from dispatch.codec import decode_events
from dispatch.engine import Engine
from media.evidence import ManifestFile, RoomRecord, attempt_folder
from tests.journal.division import Division

CALLS = 8


class Hall:
    """A store with one division at work, its follower, people and recordings."""

    def __init__(self, folder: Path, store: EmbeddedStore) -> None:
        self.folder = folder
        self.client = StoreClient(store.url)
        self.journal = RedisJournal(store.url, client=self.client)
        self.division = Division(self.journal)
        self.archive = Archive(folder / "archive", "main")
        self.follower = Follower(self.journal, self.archive, "main")
        self.source = Source(["main"], store.url, folder / "archive", folder / "recordings")

    async def begin(self) -> None:
        """Some calls, of which the first are in a snapshot and trimmed away."""
        await self.division.open()
        for number in range(CALLS // 2):
            await self.division.request(number)
        await self.follower.catch_up()
        await self.follower.write_snapshot()
        for number in range(CALLS // 2, CALLS):
            await self.division.request(number)
        await People(self.client).put("c-1", {"name": "Ann Smith"})
        await self.client.run([("HSET", INCARNATIONS_KEY, "media-1", 7)])

    async def close(self) -> None:
        await self.archive.close()
        await self.client.close()


@pytest.fixture
async def hall(tmp_path: Path, store: EmbeddedStore) -> AsyncIterator[Hall]:
    hall = Hall(tmp_path / "hall", store)
    await hall.begin()
    yield hall
    await hall.close()


def record(root: Path, room_id: str, *, is_sealed: bool) -> Path:
    """Lay down a recording as a media worker does."""
    folder = attempt_folder(root, room_id, 1, 1_700_000_000_000)
    folder.mkdir(parents=True)
    room = RoomRecord(
        room_id=room_id, attempt=1, business_reference="", parties=["agent"], recording="required", labels={},
        worker_id="1", worker_epoch=1, opened_at_ms=1,
    )  # fmt: skip
    (folder / "room.json").write_bytes(msgspec.json.encode(room))
    (folder / "agent.capture").write_bytes(os.urandom(1_000))
    if is_sealed:
        file = ManifestFile(party="agent", kind="capture", path="agent.capture", bytes=1_000, sha256="")
        (folder / "manifest.json").write_bytes(msgspec.json.encode([file]))
    return folder


async def restored(folder: Path, backup: Path, *, is_forced: bool = False) -> tuple[Engine, list[int]]:
    """Restore into `folder`; return the engine that a shard would have there, and the batches that its follower archived."""
    await restore_backup(backup, Target(folder, folder / "recordings"), is_forced=is_forced)
    store = EmbeddedStore(folder / "store")
    await store.start()
    journal = RedisJournal(store.url)
    archive = Archive(folder / "archive", "main")
    try:
        snapshot = await journal.read_snapshot("main")
        batch, engine = (
            (snapshot[0], Engine.restore("main", b"".join(snapshot[1]))) if snapshot else (0, Engine("main"))
        )
        for number, payload in await journal.read("main", batch, 100_000):
            engine.replay(decode_events(payload))
            batch = number
        assert batch == await journal.last_batch("main")
        opened = await journal.open("main")
        assert (opened.epoch, opened.last_batch) == (2, batch)
        # The follower goes on from there: archive and journal belong together.
        follower = Follower(journal, archive, "main")
        await follower.catch_up()
        measures = follower.measures()
        return engine, [measures["engine_batch"], measures["archive_batch"]]
    finally:
        await archive.close()
        await journal.close()
        await store.stop()


@pytest.mark.parametrize("name", ["backup", "backup.tar"])
async def test_a_hall_comes_back_as_it_was(hall: Hall, tmp_path: Path, name: str) -> None:
    """Given a hall with calls, histories, people and recordings, when it is saved and put elsewhere, then all is as it was."""
    sealed = record(hall.source.recordings_folder, "call-1", is_sealed=True)
    unsealed = record(hall.source.recordings_folder, "call-2", is_sealed=False)
    manifest = await take_backup(hall.source, tmp_path / name)
    assert manifest.recordings_open == [str(unsealed.relative_to(hall.source.recordings_folder))]
    assert (manifest.recordings_count, manifest.people_count) == (1, 1)
    assert manifest.divisions["main"].last_batch == hall.division.batch
    engine, archived = await restored(tmp_path / "new", tmp_path / name)
    assert engine.digest() == hall.division.engine.digest()
    assert archived == [hall.division.batch, hall.division.batch]
    copy = tmp_path / "new" / "recordings" / sealed.relative_to(hall.source.recordings_folder) / "agent.capture"
    assert copy.read_bytes() == (sealed / "agent.capture").read_bytes()
    assert copy.stat().st_nlink == 1, "a restored hall shares no file with its backup"
    assert not list((tmp_path / "new" / "recordings").glob("*/call-2"))
    for name in ("archive", "recordings"):
        for path in [tmp_path / "new" / name, *(tmp_path / "new" / name).rglob("*")]:
            assert path.stat().st_mode & 0o077 == 0, path


async def test_people_and_incarnations_come_back(hall: Hall, tmp_path: Path) -> None:
    """Given a person's record and a media worker of epoch 7, then both are known, and no later worker begins below."""
    await take_backup(hall.source, tmp_path / "backup")
    await restored(tmp_path / "new", tmp_path / "backup")
    store = EmbeddedStore(tmp_path / "new" / "store")
    await store.start()
    client = StoreClient(store.url)
    try:
        assert await People(client).get("c-1") == {"name": "Ann Smith"}
        [left_ms] = await client.run([("PTTL", "tellerhall:person:c-1")])
        assert left_ms > 0, "the time to keep it went on"
        assert await Directory(client).read_incarnations() == {"media-1": 7}
        assert await Directory(client).read_alive("main") > 0
    finally:
        await client.close()
        await store.stop()


async def test_people_may_be_left_out(hall: Hall, tmp_path: Path) -> None:
    """Given that personal records are not wanted, then none is inside, and the manifest says so."""
    source = msgspec.structs.replace(hall.source, has_people=False)
    manifest = await take_backup(source, tmp_path / "backup")
    assert manifest.missing == ["personal records: left out as asked"]
    assert not (tmp_path / "backup" / "people").exists()
    assert all("Ann" not in path.read_bytes().decode(errors="replace") for path in _files(tmp_path / "backup"))


def left(folder: Path, pattern: str) -> list[Path]:
    return list(folder.glob(pattern))


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_nothing_acknowledged_before_it_began_is_missing(hall: Hall, tmp_path: Path) -> None:
    """Given a division that decides all the while, with snapshots and trims, then each backup holds what came before it."""
    is_over = asyncio.Event()

    async def work() -> None:
        number = CALLS
        while not is_over.is_set():
            await hall.division.request(number)
            number += 1
            if number % 20 == 0:
                await hall.follower.catch_up()
                await hall.follower.write_snapshot()

    working = asyncio.create_task(work())
    try:
        for number in range(5):
            calls = set(hall.division.engine.state.calls)
            batch = hall.division.batch
            manifest = await take_backup(hall.source, tmp_path / f"backup-{number}")
            assert manifest.divisions["main"].last_batch >= batch
            engine, archived = await restored(tmp_path / f"new-{number}", tmp_path / f"backup-{number}")
            assert calls <= set(engine.state.calls)
            assert archived == [manifest.divisions["main"].last_batch] * 2
    finally:
        is_over.set()
        await working
    assert hall.division.batch > CALLS + 20, "nothing happened meanwhile: this tried nothing"


async def test_the_archive_is_never_ahead_of_its_journal(hall: Hall, tmp_path: Path) -> None:
    """Given an archive that was copied after the journals' instant, then what came in between is cut from it."""
    manifest = await take_backup(hall.source, tmp_path / "backup")
    last = manifest.divisions["main"].last_batch
    await hall.division.request(100)
    await hall.follower.catch_up()
    # What `take_backup` does a moment later than the journals.
    await asyncio.to_thread(save_archive, hall.source.archive_folder, tmp_path / "late", {"main": last})
    [day] = (tmp_path / "late" / "main").iterdir()
    file = sqlite3.connect(day)
    assert file.execute("SELECT max(batch) FROM events").fetchone() == (last,)
    assert file.execute("SELECT batch FROM cursor").fetchone() == (last,)
    file.close()


@pytest.mark.parametrize("damage", ["changed", "missing", "not in the manifest", "manifest"])
async def test_a_damaged_backup_is_refused_by_name(hall: Hall, tmp_path: Path, damage: str) -> None:
    """Given one byte more, less or different, then nothing is put back, and the file is named."""
    await take_backup(hall.source, tmp_path / "backup")
    path = tmp_path / "backup" / "divisions" / "main" / "batches"
    if damage == "changed":
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    elif damage == "missing":
        path.unlink()
    elif damage == "manifest":
        path = tmp_path / "backup" / MANIFEST_FILE
        path.write_bytes(path.read_bytes().replace(b'"version"', b'"version" '))
    else:
        path = path.with_name("stranger")
        path.write_bytes(b"")
    with pytest.raises(BackupDamaged, match=rf"{path.name}.*{'changed' if damage == 'manifest' else damage}"):
        await restore_backup(tmp_path / "backup", Target(tmp_path / "new", tmp_path / "new" / "recordings"))
    assert not (tmp_path / "new" / "store").exists()


async def test_a_hall_that_holds_something_is_replaced_only_when_asked(hall: Hall, tmp_path: Path) -> None:
    """Given a hall with calls of its own, then it is refused; with force it is set aside, not deleted."""
    await take_backup(hall.source, tmp_path / "backup")
    await restored(tmp_path / "new", tmp_path / "backup")
    (tmp_path / "new" / "store" / "mark").write_text("of the former hall")
    with pytest.raises(RestoreRefused, match=r"not empty.*--force"):
        await restored(tmp_path / "new", tmp_path / "backup")
    engine, _ = await restored(tmp_path / "new", tmp_path / "backup", is_forced=True)
    assert engine.digest() == hall.division.engine.digest()
    assert [one.read_text() for one in (tmp_path / "new").glob("store-replaced-*/mark")] == ["of the former hall"]


async def test_a_store_of_others_is_replaced_only_when_asked_and_its_epoch_grows(hall: Hall, tmp_path: Path) -> None:
    """Given an existing store with a journal, then it is refused; with force that journal is replaced under a higher epoch."""
    manifest = await take_backup(hall.source, tmp_path / "backup")
    await hall.division.request(200)
    target = Target(tmp_path / "new", tmp_path / "new" / "recordings", hall.source.store_url)
    with pytest.raises(RestoreRefused, match="holds a journal of main already"):
        await restore_backup(tmp_path / "backup", target)
    await restore_backup(tmp_path / "backup", target, is_forced=True)
    assert await hall.journal.last_batch("main") == manifest.divisions["main"].last_batch
    assert (await hall.journal.open("main")).epoch > hall.division.epoch + 1


async def test_a_store_whose_shard_lives_is_left_alone(hall: Hall, tmp_path: Path) -> None:
    """Given a shard that showed life a moment ago, then even force does not take its store away."""
    await take_backup(hall.source, tmp_path / "backup")
    now_ms = (await asyncio.to_thread(verify, tmp_path / "backup")).cut_at_ms
    await Directory(hall.client).note_alive({"main": 1}, now_ms)
    target = Target(tmp_path / "new", tmp_path / "new" / "recordings", hall.source.store_url)
    with pytest.raises(RestoreRefused, match="stop that hall first"):
        await restore_backup(tmp_path / "backup", target, is_forced=True)


async def test_a_running_halls_folder_is_refused(hall: Hall, tmp_path: Path) -> None:
    """Given that `tellerhall up` holds the folder's lock, then nothing is restored there."""
    await take_backup(hall.source, tmp_path / "backup")
    run = tmp_path / "new" / "run"
    run.mkdir(parents=True)
    with (run / "up.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RestoreRefused, match="stop it first"):
            await restore_backup(tmp_path / "backup", Target(tmp_path / "new", tmp_path / "new" / "recordings"))


async def test_a_backup_takes_nobodys_place(hall: Hall, tmp_path: Path) -> None:
    """Given something of that name, then it stays, and nothing half-made is left beside it."""
    (tmp_path / "backup").mkdir()
    with pytest.raises(BackupFailed, match="exists already"):
        await take_backup(hall.source, tmp_path / "backup")
    assert left(tmp_path, "*.part") == []


async def test_a_journal_that_cannot_be_replayed_makes_no_backup(hall: Hall, tmp_path: Path) -> None:
    """Given an entry of nonsense in the store, then that is said now and not on the day of the restore."""
    await hall.client.run(
        [("XADD", "tellerhall:{main}:batches", f"{hall.division.batch + 1}-0", "p", b"\xc1", "b", "1")]
    )
    await hall.client.run([("HINCRBY", "tellerhall:{main}:head", "batch", 1)])
    with pytest.raises(BackupFailed, match="main cannot be replayed"):
        await take_backup(hall.source, tmp_path / "backup")
    assert left(tmp_path, "backup*") == []


def test_a_file_that_ends_within_a_frame_is_damaged(tmp_path: Path) -> None:
    """Given a cut tail, then it is named; an empty file holds nothing."""
    (tmp_path / "people").write_bytes(b"\0\0\0\x05abc")
    with pytest.raises(BackupDamaged, match="people: ends within a frame"):
        list(read_frames(tmp_path / "people", PersonRecord))
    (tmp_path / "people").write_bytes(b"")
    assert list(read_frames(tmp_path / "people", PersonRecord)) == []


async def test_a_file_that_is_no_backup_is_refused(hall: Hall, tmp_path: Path) -> None:
    """Given a folder, or a tar file, of something else, then the reason is said."""
    (tmp_path / "folder").mkdir()
    target = Target(tmp_path / "new", tmp_path / "new" / "recordings")
    with pytest.raises(BackupDamaged, match="is no backup"):
        await restore_backup(tmp_path / "folder", target)
    (tmp_path / "file.tar").write_bytes(b"nonsense" * 200)
    with pytest.raises(RestoreRefused, match="cannot be unpacked"):
        await restore_backup(tmp_path / "file.tar", target)
    with tarfile.open(tmp_path / "other.tar", "w") as tar:
        tar.add(tmp_path / "folder", arcname="../outside")
    with pytest.raises(RestoreRefused, match="cannot be unpacked"):
        await restore_backup(tmp_path / "other.tar", target)
