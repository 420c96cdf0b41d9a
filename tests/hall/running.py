"""A real hall for tests: `tellerhall up` as a child process, what it printed, what it started, and proof that nothing is left.

Rules: everything that a hall starts is known by process id, read from its own record and from the process tree; nothing is
ever ended by name. A hall is started with a clean environment, so that a developer's settings change no test.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from gateway.development_issuer import DevelopmentIssuer

START_S = 120.0
"""The issue asks for 30 s on a free machine; a busy one with two cores may need more to say the same thing."""
STOP_S = 90.0
CHECK_S = 30.0
REPOSITORY = Path(__file__).parents[2]
COMMAND = str(Path(sys.executable).parent / "tellerhall")


class Hall:
    """One data folder and the process that runs a hall in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.output = folder / "output.txt"
        self.process: subprocess.Popen[bytes] | None = None
        self.ready_s = 0.0

    # -- the process

    def start(self, *arguments: str, environment: dict[str, str] | None = None) -> "Hall":
        """Run `tellerhall up` and return once it says that it is ready."""
        self.launch(*arguments, environment=environment)
        self.wait_for_line("Tellerhall is ready")
        self.ready_s = float(re.findall(r"ready after ([\d.]+) s", self.text())[-1])
        return self

    def launch(self, *arguments: str, environment: dict[str, str] | None = None) -> "Hall":
        """Run `tellerhall up` in a process group of its own, as a terminal would, and return at once."""
        command = [COMMAND, "up", "--data", str(self.data), *arguments]
        self.output.parent.mkdir(parents=True, exist_ok=True)
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env={**clean_environment(), **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def wait_for_line(self, text: str) -> None:
        assert self.process is not None
        deadline = time.monotonic() + START_S
        while text not in self.text():
            assert self.process.poll() is None, f"the hall ended: {self.text()}"
            assert time.monotonic() < deadline, f"not {text!r} but {self.text()}\n{self.logs()}"
            time.sleep(0.05)

    def logs(self) -> str:
        """The last lines of every part's log, for a failed test's report."""
        found = []
        for path in sorted((self.data / "logs").glob("*.log")):
            found += [f"--- {path.name}", *path.read_text(errors="replace").splitlines()[-15:]]
        return "\n".join(found)

    def interrupt(self) -> int:
        """Ctrl-C: the signal goes to every process of the terminal's group. Returns the exit status."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(STOP_S)

    def kill(self) -> None:
        """kill -9 of the foreground process."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(STOP_S)

    def wait(self) -> int:
        """Wait until it ends by itself; returns the exit status."""
        assert self.process is not None
        return self.process.wait(START_S)

    def end(self) -> None:
        """For fixtures: end it if it still runs, in whatever state."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()

    # -- what it started

    def started(self) -> "Started":
        """Everything that belongs to the hall now: processes, listening ports, Ray's folder."""
        assert self.process is not None
        record = json.loads((self.data / "run" / "processes.json").read_text())
        processes = {
            one["pid"]: psutil.Process(one["pid"]) for one in record["processes"] if psutil.pid_exists(one["pid"])
        }
        top = psutil.Process(self.process.pid)
        for process in [top, *top.children(recursive=True)]:
            processes[process.pid] = process
        return Started(list(processes.values()), Path((self.data / "run" / "ray-folder").read_text().strip()))

    @property
    def url(self) -> str:
        return str(json.loads((self.data / "run" / "hall.json").read_text())["url"])

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def token(self, role: str, sub: str) -> str:
        return DevelopmentIssuer.open(self.data / "keys").issue(role, sub)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another subcommand on this hall's data folder."""
        return tellerhall(*arguments, "--data", str(self.data))


class Started:
    """What a hall had running at one instant."""

    def __init__(self, processes: list[psutil.Process], ray_folder: Path) -> None:
        self.processes = processes
        self.ray_folder = ray_folder
        self.ports = sorted({port for process in processes for port in _listening(process)})

    def left(self) -> list[str]:
        """Name what is still there."""
        found = [f"process {one.pid} {_command(one)}" for one in self.processes if _is_running(one)]
        found += [f"port {port}" for port in self.ports if not _is_free(port)]
        return found + ([f"folder {self.ray_folder}"] if self.ray_folder.exists() else [])

    def assert_gone(self) -> None:
        wait_until(lambda: not self.left(), CHECK_S)
        assert self.left() == []


def tellerhall(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the console command to its end."""
    return subprocess.run(
        [COMMAND, *arguments],
        cwd=REPOSITORY,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )


def clean_environment() -> dict[str, str]:
    """This process's environment without what would configure Tellerhall or Ray."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("TELLERHALL_", "RAY_"))}


def wait_until(is_so: Callable[[], object], within_s: float) -> None:
    """Return as soon as `is_so` says yes, or when the time is over: the caller's assertion then says what is wrong."""
    deadline = time.monotonic() + within_s
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.05)


def _is_running(process: psutil.Process) -> bool:
    # A Process knows its start time: a number that is used again is another process.
    try:
        return bool(process.is_running()) and str(process.status()) != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())[:80]
    except psutil.Error:
        return ""


def _listening(process: psutil.Process) -> list[int]:
    try:
        found: Any = process.net_connections("inet")
    except psutil.Error:
        return []
    return [one.laddr.port for one in found if one.status == psutil.CONN_LISTEN]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
