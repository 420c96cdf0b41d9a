"""Debian's coturn on loopback for a test: with a shared secret, as docs/operating.md configures it, and its own few ports.

Rules: ended by its process handle, at the end of the context whatever happened. It may be frozen, which is what a network that
is gone looks like to whoever must go through it. A missing server is an error, never a skip.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_S = 20.0
RELAY_PORTS = 40
BINDING_REQUEST = bytes.fromhex("000100002112a442") + bytes(12)
"""RFC 8489 section 5: a Binding request without attributes."""


class TurnServer:
    """One coturn that runs."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, port: int, relay_ports: range) -> None:
        self.process = process
        self.port = port
        self.url = f"turn:127.0.0.1:{port}?transport=udp"
        self.relay_ports = relay_ports
        self._log = log

    def text(self) -> str:
        """What it has written to its log."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def answers(self) -> bool:
        """Whether it answers a Binding request within a tenth of a second."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.settimeout(0.1)
            with contextlib.suppress(OSError):
                probe.sendto(BINDING_REQUEST, ("127.0.0.1", self.port))
                return probe.recv(1_024)[:2] == b"\x01\x01"
        return False

    def freeze(self) -> None:
        """Nothing goes through any more, and nobody is told."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)


@contextmanager
def turn_server(folder: Path, secret: str) -> Iterator[TurnServer]:
    """Run a coturn whose long-term credentials come from `secret`."""
    command = shutil.which("turnserver")
    assert command, "the TURN tests need Debian's coturn: apt-get install coturn"
    folder.mkdir(parents=True, exist_ok=True)
    port, first = _free_port(socket.SOCK_STREAM), _free_range()
    log = folder / "turn.log"
    arguments = [
        "-n", "--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", f"--listening-port={port}",
        f"--min-port={first}", f"--max-port={first + RELAY_PORTS - 1}", "--fingerprint",
        "--use-auth-secret", f"--static-auth-secret={secret}", "--realm=bank.example",
        "--no-tls", "--no-dtls", "--no-cli", "--allow-loopback-peers", "--simple-log", f"--log-file={log}",
        f"--pidfile={folder / 'turn.pid'}", f"--userdb={folder / 'turn.db'}", "--verbose",
    ]  # fmt: skip
    process = subprocess.Popen(
        [command, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={"PATH": os.defpath}
    )
    server = TurnServer(process, log, port, range(first, first + RELAY_PORTS))
    try:
        deadline = time.monotonic() + START_S
        while not server.answers():
            assert process.poll() is None, f"coturn ended: {server.text()}"
            assert time.monotonic() < deadline, f"coturn does not answer: {server.text()}"
        yield server
    finally:
        server.thaw()
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port(kind: int) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _free_range() -> int:
    """The first of some ports in a row that nobody has now, below those that the system gives out by itself."""
    start = 20_000 + os.getpid() % 100 * 100
    for first in range(start, start + 10_000, RELAY_PORTS):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for port in range(first, first + RELAY_PORTS):
                probe = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                probe.bind(("127.0.0.1", port))
            return first
    raise AssertionError("no free ports in a row")
