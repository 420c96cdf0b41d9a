"""The embedded store as a process: what survives its death, and what its parent's death leaves (SAFETY.md 19)."""

import asyncio
import contextlib
import functools
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from actors.journal import Append, RedisJournal, StoreUnavailable
from actors.store import EmbeddedStore, StoreFailed, StoreFolderTaken
from actors.store_client import StoreClient
from tests.waiting import until

PARENT = """
import asyncio, sys
from pathlib import Path
from actors.journal import Append, RedisJournal
from actors.store import EmbeddedStore

async def main():
    store = EmbeddedStore(Path(sys.argv[1]))
    await store.start()
    journal = RedisJournal(store.url)
    opened = await journal.open("main")
    await journal.append([Append("main", opened.epoch, opened.last_batch + 1, b"from the parent")])
    print(store.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EmbeddedStore]:
    """A running store; nothing of it is left afterwards."""
    store = EmbeddedStore(tmp_path / "store")
    await store.start()
    yield store
    pid = store.pid
    await store.stop()
    assert pid is None or not psutil.pid_exists(pid)


def is_restarted(store: EmbeddedStore, count: int) -> bool:
    """Say whether the store was restarted so often."""
    return store.restart_count == count


def has_ended(process: psutil.Process) -> bool:
    """Say whether the process is gone; one that nobody has collected yet is."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def start_and_kill_parent(folder: Path) -> psutil.Process:
    """Let another process start a store, kill that process, return its server."""
    command = [sys.executable, "-c", PARENT, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        server = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    return server


async def test_acknowledged_batches_survive_kill_9(store: EmbeddedStore) -> None:
    """Given a stream of appends, when the server is killed three times, then every acknowledged batch is there."""
    journal = RedisJournal(store.url)
    epoch = (await journal.open("main")).epoch
    killer = asyncio.create_task(kill_repeatedly(store, 3))
    batch = 0
    while not killer.done():
        with contextlib.suppress(StoreUnavailable):
            await journal.append([Append("main", epoch, batch + 1, b"%d" % (batch + 1))])
            batch += 1
        await asyncio.sleep(0)
    await killer
    read = []
    while step := await journal.read("main", len(read), 1_000):
        read += step
    # The last append may have arrived without its reply; what was acknowledged must be there, and nothing twice.
    assert len(read) in (batch, batch + 1)
    assert read == [(number, b"%d" % number) for number in range(1, len(read) + 1)]
    assert store.restart_count == 3
    await journal.close()


async def kill_repeatedly(store: EmbeddedStore, count: int) -> None:
    """Kill the server in the middle of its work, each time it is back."""
    for number in range(1, count + 1):
        await asyncio.sleep(0.1)
        assert store.pid is not None
        os.kill(store.pid, signal.SIGKILL)
        await until(functools.partial(is_restarted, store, number))


async def test_data_survive_a_stop_and_nothing_else_does(tmp_path: Path) -> None:
    """Given data, when the store is stopped and started, then they are there; process, socket and lock were gone."""
    store = EmbeddedStore(tmp_path / "store")
    for expected in (0, 1):
        await store.start()
        journal = RedisJournal(store.url)
        opened = await journal.open("main")
        assert opened.last_batch == expected
        await journal.append([Append("main", opened.epoch, expected + 1, b"x")])
        await journal.close()
        await store.stop()
        await store.stop()
        assert store.pid is None
        assert not (tmp_path / "store" / "store.sock").exists()


async def test_two_halls_never_share_a_folder(
    store: EmbeddedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a running store, when another is started on its folder, then it is refused, naming folder and process."""
    monkeypatch.setattr("actors.store.LOCK_S", 0.2)
    second = EmbeddedStore(tmp_path / "store")
    with pytest.raises(StoreFolderTaken, match=str(os.getpid())):
        await second.start()
    await second.stop()
    client = StoreClient(store.url)
    assert await client.run([("PING",)]) == [True]
    await client.close()


async def test_the_store_is_private(store: EmbeddedStore, tmp_path: Path) -> None:
    """Given a running store, then it listens on no port, and only this user may reach folder and socket."""
    assert store.pid is not None
    assert psutil.Process(store.pid).net_connections("inet") == []
    assert stat.S_IMODE((tmp_path / "store").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "store" / "store.sock").stat().st_mode) == 0o700


async def test_it_ends_with_its_parent_and_the_next_goes_on(tmp_path: Path) -> None:
    """Given a parent that is killed with -9, then its server ends, and the next hall finds data and a free folder."""
    server = start_and_kill_parent(tmp_path / "store")
    store = EmbeddedStore(tmp_path / "store")
    await store.start()
    assert has_ended(server)
    journal = RedisJournal(store.url)
    assert await journal.read("main", 0, 10) == [(1, b"from the parent")]
    await journal.close()
    await store.stop()


async def test_a_folder_with_a_long_or_odd_name_works(tmp_path: Path) -> None:
    """Given names that no socket path can hold or that need quoting, then the store starts all the same."""
    for name in ("x" * 150, 'blank "quote" \\ 数据'):
        store = EmbeddedStore(tmp_path / name / "store")
        await store.start()
        client = StoreClient(store.url)
        assert await client.run([("PING",)]) == [True]
        await client.close()
        await store.stop()


async def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    """Given a broken append-only file, when the store is started, then the error shows the log, and the lock is free."""
    store = EmbeddedStore(tmp_path / "store")
    await store.start()
    await store.stop()
    manifest = tmp_path / "store" / "appendonlydir" / "appendonly.aof.manifest"
    whole = manifest.read_bytes()
    manifest.write_bytes(b"nonsense\n")
    with pytest.raises(StoreFailed, match="manifest"):
        await store.start()
    assert store.pid is None
    manifest.write_bytes(whole)
    await store.start()
    await store.stop()


async def test_every_server_is_reported_to_be_recorded(tmp_path: Path) -> None:
    """Given a listener, when the server dies once, then both process ids were told, so a later run can end them."""
    pids: list[int] = []
    store = EmbeddedStore(tmp_path / "store", on_started=pids.append)
    await store.start()
    first = store.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await until(functools.partial(is_restarted, store, 1))
    assert pids == [first, store.pid]
    assert store.failure == ""
    await store.stop()


async def test_stopping_a_frozen_server_takes_bounded_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a server that hears nothing, when the store is stopped, then it is ended all the same."""
    for name in ("SHUTDOWN_S", "KILL_S"):
        monkeypatch.setattr(f"actors.store.{name}", 0.2)
    store = EmbeddedStore(tmp_path / "store")
    await store.start()
    assert store.pid is not None
    server = psutil.Process(store.pid)
    os.kill(server.pid, signal.SIGSTOP)
    await store.stop()
    assert has_ended(server)
