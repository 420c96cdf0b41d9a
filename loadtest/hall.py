"""The hall under test: one of our own that lives as long as the run, or one that runs already, and how it is asked.

Rules: a private hall is the product as anybody starts it, `tellerhall up` with a configuration file; it is always stopped by
SIGINT and waited for. Questions go over REST as an operator.

Theory: agents have two of the three skills in turn, so that routing has something to decide, while the chain of shared
skills keeps the hall close to one pool, which the predictions assume. Media are another system's, nothing is recorded.

Not here: WebSockets (`loadtest/link.py`).
"""

import json
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway.development_issuer import DevelopmentIssuer

START_S_MAX = 180.0
"""Ray alone needs ten seconds, and a minute on a machine that is busy with other things."""
STOP_S_MAX = 120.0
LOOK_S = 0.2
REQUEST_S = 30.0
TOKEN_S = 3_600
QUEUE_IDS = ("cards", "loans", "wealth")
TARGET_MS = 1_000


class HallFailed(Exception):
    """The hall did not start, does not answer, or is not one that can be tested; the text says which."""


def configuration(agents: int, wrap_up_ms: int) -> str:
    """Return the configuration file of a private hall."""
    lines = ["[hall]", 'name = "Load test"', "[media]", "workers = 0", "[[divisions]]", 'division_id = "load"']
    for queue_id in QUEUE_IDS:
        lines += [
            *("[[divisions.queues]]", f'id = "{queue_id}"', f"need = {{ {queue_id} = 1 }}"),
            *(f"target_ms = {TARGET_MS}", 'recording = "off"', 'media = "external"'),
            *('wrap_up = "timed"', f"wrap_up_ms = {wrap_up_ms}"),
        ]
    for index in range(agents):
        first, second = QUEUE_IDS[index % 3], QUEUE_IDS[(index + 1) % 3]
        lines += ["[[divisions.agents]]", f'id = "load-a-{index}"', f"skills = {{ {first} = 5, {second} = 5 }}"]
    return "\n".join(lines) + "\n"


class Hall:
    """A running hall, asked as an operator."""

    def __init__(self, url: str, data: Path, division_id: str = "") -> None:
        self.url = url.rstrip("/")
        self._issuer = DevelopmentIssuer.open(data / "keys")
        self._division_id = division_id
        self._token = self.token("operator", "loadtest")

    def token(self, role: str, person_id: str) -> str:
        """Issue a token for as long as a run may last."""
        return self._issuer.issue(role, person_id, TOKEN_S, self._division_id)

    def get(self, path: str) -> Any:
        """Return the JSON answer; raises HallFailed."""
        request = urllib.request.Request(f"{self.url}{path}", headers={"Authorization": f"Bearer {self._token}"})
        # A hall under test may have made its certificate itself; the token is worth nothing anywhere else.
        context = ssl._create_unverified_context() if self.url.startswith("https") else None
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_S, context=context) as response:
                return json.load(response)
        except (OSError, ValueError, urllib.error.URLError) as error:
            raise HallFailed(f"{self.url}{path}: {error}") from error

    def queue_ids(self) -> list[str]:
        return sorted(one["queue_id"] for one in self.get("/v1/queues")["queues"])

    def free_agent_ids(self) -> list[str]:
        """Return the agents that nobody works as, in order of their ids."""
        return sorted(one["agent_id"] for one in self.get("/v1/agents")["agents"] if one["activity"] == "offline")

    def live_count(self) -> int:
        """Return how many calls have not ended."""
        queues = self.get("/v1/queues")["queues"]
        return sum(count for one in queues for state, count in one["live_calls"].items() if state != "ended")

    def admitted_count(self) -> int:
        """Return how many calls this division has admitted since its shard started."""
        divisions = self.get("/v1/status")["divisions"]
        return sum(int(one["admitted_count"]) for one in divisions.values())

    def history(self, call_id: str) -> list[dict[str, Any]]:
        """Return the call's events in order; empty when the hall knows of no such call."""
        try:
            events: list[dict[str, Any]] = self.get(f"/v1/calls/{call_id}/history")["events"]
        except HallFailed as error:
            if isinstance(error.__cause__, urllib.error.HTTPError) and error.__cause__.code == 404:
                return []
            raise
        return events


@contextmanager
def private_hall(folder: Path, data: Path, agents: int, wrap_up_ms: int) -> Iterator[Hall]:
    """Start a hall with its data in `data`, its configuration and log in `folder`; stop it at the end, whatever happened.

    Raises HallFailed when it does not start or does not stop cleanly.
    """
    config = folder / "hall.toml"
    config.write_text(configuration(agents, wrap_up_ms))
    command = [str(Path(sys.executable).with_name("tellerhall")), "up", "--config", str(config)]
    log_path = folder / "hall.log"
    # A hall prints tokens at its start: nobody else's business, even if they are worth nothing after the run.
    log_path.touch(mode=0o600)
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [*command, "--data", str(data), "--port", "0"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Ctrl-C at the terminal is for the load test, which then stops the hall in order.
            start_new_session=True,
        )
        try:
            yield Hall(_wait_for_url(process, data, log_path), data)
        finally:
            _stop(process)
    if process.returncode:
        raise HallFailed(f"the hall ended with {process.returncode}: see {log_path}")


def _wait_for_url(process: subprocess.Popen[bytes], data: Path, log: Path) -> str:
    """Return where the hall listens; `tellerhall up` writes it when everything is ready."""
    until_s = time.monotonic() + START_S_MAX
    while time.monotonic() < until_s:
        try:
            address = json.loads((data / "run" / "hall.json").read_text())
            # The file of an earlier run in the same folder names another process.
            if address["pid"] == process.pid:
                return str(address["url"])
        except (OSError, ValueError):
            pass
        if process.poll() is not None:
            raise HallFailed(f"the hall ended with {process.returncode} while starting: see {log}")
        time.sleep(LOOK_S)
    raise HallFailed(f"the hall was not ready after {START_S_MAX:.0f} s: see {log}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_S_MAX)
    except subprocess.TimeoutExpired:
        # What it leaves is ended by the next `tellerhall up` on the same folder, by recorded process id.
        process.kill()
        process.wait()
