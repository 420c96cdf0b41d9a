"""The hall under test: `tellerhall up` on the cluster, over a store that the tests start, kill and start again."""

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from actors.directory import Directory, PartEntry
from actors.incarnation import is_alive
from actors.store import EmbeddedStore
from actors.store_client import StoreClient
from tests.faults.cluster import Cluster
from tests.hall.running import Hall, clean_environment

T = TypeVar("T")
DIVISIONS = ["north", "south"]
AGENTS_EACH = 60
CUSTOMERS_EACH = 700
"""An outage of 10 s leaves 300 calls of a division without an answer."""
BACK_S = 60.0

CONFIGURATION = """
[hall]
shards = 2
[gateway]
port = {port}
[media]
workers = 1
"""
DIVISION = """
[[divisions]]
division_id = "{division}"
reconnect_grace_ms = 120_000
[[divisions.queues]]
id = "q"
name = {{ en = "Questions" }}
media = "external"
recording = "off"
reservation_timeout_ms = 60_000
connecting_timeout_ms = 60_000
wrap_up = "timed"
wrap_up_ms = 200
misses_max = 100
"""
AGENT = '[[divisions.agents]]\nid = "{agent}"\nname = "Agent {agent}"\n'


class StoreThread:
    """An embedded store in a loop and a thread of its own: the kernel ends the server with the thread that started it."""

    def __init__(self, folder: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="store")
        self._thread.start()
        self.pids: list[int] = []
        self._store = EmbeddedStore(folder, on_started=self.pids.append)
        self._run(self._store.start())

    @property
    def url(self) -> str:
        return self._store.url

    def restart(self) -> None:
        """Stop it in good order, and start it again."""
        self._run(self._store.stop())
        self._run(self._store.start())

    def end(self) -> None:
        self._run(self._store.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()


class FaultyHall:
    """A hall on three machines, and what is done to it."""

    def __init__(self, folder: Path, cluster: Cluster, store: StoreThread) -> None:
        self.folder = folder
        self.cluster = cluster
        self.store = store
        self.up = Hall(folder)
        self.environment = {**clean_environment(), **cluster.environment}
        divisions = [
            DIVISION.format(division=division)
            + "".join(AGENT.format(agent=f"{division}-{number}") for number in range(AGENTS_EACH))
            for division in DIVISIONS
        ]
        (folder / "hall.toml").write_text(CONFIGURATION.format(port=free_port()) + "".join(divisions))

    def start(self) -> None:
        arguments = ("--config", str(self.folder / "hall.toml"), "--address", self.cluster.address)
        self.up.start(*arguments, "--redis-url", self.store.url, environment=self.cluster.environment)

    # -- looking

    def parts(self) -> dict[str, PartEntry]:
        """What runs in each slot, as noted in the store."""
        return self._ask(lambda directory: directory.read_parts())

    def part(self, slot_id: str) -> PartEntry:
        return self.parts()[slot_id]

    def divisions_of(self, slot_id: str) -> list[str]:
        return [one for one in DIVISIONS if self.owner(one).startswith(f"{slot_id}-e")]

    def owner(self, division_id: str) -> str:
        owner = self._ask(lambda directory: directory.read_owner(division_id))
        assert owner is not None
        return owner.actor_name

    def _ask(self, ask: Callable[[Directory], Awaitable[T]]) -> T:
        async def run() -> T:
            client = StoreClient(self.store.url)
            try:
                return await ask(Directory(client))
            finally:
                await client.close()

        return asyncio.run(run())

    # -- harming

    def signal(self, slot_id: str, number: signal.Signals) -> PartEntry:
        """Send a signal to the part's process; returns which it was."""
        entry = self.part(slot_id)
        os.kill(entry.pid, number)
        return entry

    def replaced(self, slot_id: str, before: PartEntry) -> PartEntry:
        """Wait until another incarnation fills the slot; fail after `BACK_S`."""
        return self.eventually(
            lambda: entry if (entry := self.part(slot_id)).pid != before.pid else None, f"{slot_id} was not replaced"
        )

    def eventually(self, look: Callable[[], T | None], what: str) -> T:
        deadline_s = time.monotonic() + BACK_S
        while (found := look()) is None:
            assert time.monotonic() < deadline_s, f"{what}\n{self.up.logs()}"
            time.sleep(0.1)
        return found

    def assert_whole(self) -> None:
        """Every slot is filled by a process that lives, on a machine that a test may harm; the supervisor may be on any."""
        for slot_id in ("shard-0", "shard-1", "follower", "gateway-1", "media-1", "supervisor"):
            self.eventually(lambda slot_id=slot_id: is_alive(self.part(slot_id).pid) or None, f"{slot_id} is gone")
            if slot_id != "supervisor":
                self._off_the_head(slot_id)

    def _off_the_head(self, slot_id: str) -> None:
        """Where both machines were suspected at once, as on a busy machine, the head was the last resort."""
        deadline_s = time.monotonic() + BACK_S
        while (entry := self.part(slot_id)).ray_node not in self.cluster.machines:
            assert time.monotonic() < deadline_s, f"{slot_id} stays on the head"
            os.kill(entry.pid, signal.SIGKILL)
            self.replaced(slot_id, entry)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
