"""The record of what was started, so that the next start can end what a kill -9 left (SAFETY.md 19).

Rules: a process is named by its id AND its start time, for ids are used again; the start time counts from the boot,
so the boot is recorded too. Only what is in the record is ended, with what those processes started. The file is
replaced as a whole, never changed in place: a crash leaves the old record or the new one.

Not here: who starts processes (`store`, `wiring`, the console command).
"""

import os
import signal
import time
from pathlib import Path

import msgspec
import psutil
import structlog
from msgspec import Struct

PROCESSES_MAX = 1_000
"""A hall on one machine starts a few dozen."""
END_S = 5.0
"""How long a process may take to end politely, and then the kernel to end it."""

log = structlog.get_logger("actors.processes")


class ProcessRecord(Struct, frozen=True):
    pid: int
    started_ticks: int
    """Since the boot, as in field 22 of /proc/<pid>/stat."""
    role: str
    """`store`, `ray`, `gateway` ..."""
    command: str


class _File(Struct):
    boot_id: str
    processes: list[ProcessRecord]


class ProcessRecords:
    """The processes of one data folder, in `<data>/run/processes.json`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._records = self._read()

    @property
    def records(self) -> list[ProcessRecord]:
        """What is recorded now, oldest first."""
        return list(self._records)

    def record(self, pid: int, role: str) -> None:
        """Remember a running process, durably; one that has ended already is left out, and the ended are forgotten."""
        command = " ".join(_command(pid))[:400]
        started_ticks = _started_ticks(pid)
        alive = [one for one in self._records if one.pid != pid and _is_running(one)]
        if started_ticks is not None:
            alive.append(ProcessRecord(pid, started_ticks, role, command))
        if len(alive) > PROCESSES_MAX:
            raise RuntimeError(f"{self._path} holds {PROCESSES_MAX} running processes: something starts them in a loop")
        self._write(alive)

    def forget(self, pid: int) -> None:
        """The process was ended in good order."""
        self._write([one for one in self._records if one.pid != pid])

    def end_recorded(self) -> list[ProcessRecord]:
        """End every recorded process that still runs, with all below it; return these records. Takes at most 2 * END_S."""
        left = [one for one in self._records if one.pid != os.getpid() and _is_running(one)]
        processes = _with_descendants(left)
        for each in (signal.SIGTERM, signal.SIGKILL):
            for process in processes:
                _signal(process, each)
            processes = _wait(processes)
        for one in left:
            log.warning("processes.ended", role=one.role, pid=one.pid)
        if processes:
            names = ", ".join(str(process.pid) for process in processes)
            raise RuntimeError(f"processes of an earlier run cannot be ended: {names}")
        self._write([])
        return left

    def _read(self) -> list[ProcessRecord]:
        try:
            file = msgspec.json.decode(self._path.read_bytes(), type=_File)
        except FileNotFoundError:
            return []
        except msgspec.MsgspecError as error:
            # Nothing may be ended on a guess. The file is written as a whole, so somebody else changed it.
            log.error("processes.unreadable", path=str(self._path), error=str(error))
            return []
        return file.processes if file.boot_id == _boot_id() else []

    def _write(self, records: list[ProcessRecord]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_suffix(".new")
        with temporary.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(_File(_boot_id(), records)), indent=1))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
        # Only now: what a full disk did not take is still to be recorded.
        self._records = records


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _stat_fields(pid: int) -> list[str]:
    """Return the fields from the third on: the second is a name that may hold blanks and brackets."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _started_ticks(pid: int) -> int | None:
    """Return the start of a running process; None when there is none or it waits to be collected."""
    fields = _stat_fields(pid)
    return int(fields[19]) if fields and fields[0] not in ("Z", "X") else None


def _is_running(one: ProcessRecord) -> bool:
    return _started_ticks(one.pid) == one.started_ticks


def _command(pid: int) -> list[str]:
    try:
        return list(psutil.Process(pid).cmdline())
    except psutil.Error:
        return []


def _with_descendants(records: list[ProcessRecord]) -> list[psutil.Process]:
    """Return the recorded processes and what they started; never this process or what it stands on."""
    mine = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found: dict[int, psutil.Process] = {}
    for one in records:
        try:
            top = psutil.Process(one.pid)
            tree = [top, *top.children(recursive=True)]
        except psutil.Error:
            continue
        if _is_running(one):
            found.update((process.pid, process) for process in tree)
    return [process for pid, process in found.items() if pid not in mine]


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _wait(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return those that still run after END_S."""
    deadline = time.monotonic() + END_S
    while True:
        left = [process for process in processes if _has_life(process)]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.02)


def _has_life(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
