"""The hall that `bench/shard.py` measures: embedded store, private Ray, supervisor, one shard, follower.

No media worker, and gateways only where asked for. Started as `tellerhall up` starts it, by the same slots with the same
settings, so the supervisor that restarts a killed shard here is the one that does so in a bank. Without gateways everybody's
page is in this process: the clients of one.
"""

import asyncio
import contextlib
import gc
import math
import os
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil

from actors import wiring
from actors.configuration import Configuration, GatewaySection, HallSection, MediaSection
from actors.directory import Directory
from actors.guard import Guard
from actors.hall import Hall
from actors.logs import FOLDER_VARIABLE
from actors.parts import HallSettings, open_hall
from actors.placement import settle
from actors.store import EmbeddedStore
from actors.store_client import StoreClient, StoreUnavailable
from actors.supervisor import Slot, SupervisorSettings
from bench.measuring import COLLECTOR
from dispatch.commands import ApplyPlan
from dispatch.plan import Plan
from gateway.ports import claim_port
from gateway.slots import slots_of

SHARD, FOLLOWER = "shard-0", "follower"
START_S = 120.0
STOP_S = 40.0
LOOK_S = 0.1

ChangeSlot = Callable[[Slot], Slot]


class BenchHall:
    """One run of a hall with one division. Use: `async with bench_hall(plan) as hall`."""

    def __init__(
        self, folder: Path, plan: Plan, change: ChangeSlot, shards_count: int, gateway: GatewaySection | None
    ) -> None:
        self.folder = folder
        self._shards_count = shards_count
        self._gateway = gateway
        self._port: socket.socket | None = None
        self.plan = plan
        self._change = change
        self.store = EmbeddedStore(folder / "store")
        self.hall: Hall
        self.client: StoreClient
        self._supervisor: wiring.Handle | None = None

    async def start(self) -> None:
        os.environ[FOLDER_VARIABLE] = str(self.folder / "logs")
        await self.store.start()
        wiring.start_local(self.folder / "ray", 0)
        own_section = HallSection(data_folder=str(self.folder), shards=self._shards_count)
        configuration = Configuration(
            divisions=[self.plan],
            hall=own_section,
            media=MediaSection(workers=0),
            gateway=self._gateway or GatewaySection(),
        )
        if self._gateway is not None:
            self._port = claim_port(self._gateway.host, 0)
        slots = [
            self._change(slot)
            for slot in slots_of(configuration, self.store.url, self.port)
            if slot.kind != "gateway" or self._gateway is not None
        ]
        own = HallSettings([self.plan.division_id], self.store.url)
        self._network = wiring.RayNetwork()
        self.hall, self.client = open_hall(own, self._network, "bench")
        await settle(Directory(self.client), [self.plan.division_id], [SHARD])
        self._supervisor = await Guard(self.client).begin(SupervisorSettings(slots, self.store.url))
        await self._parts_started(self._supervisor)
        reply = await self.hall.submit(ApplyPlan(plan=self.plan, digest="1", principal="operator:bench"))
        if not reply.is_accepted:
            raise SystemExit(f"plan refused: {reply}")

    @property
    def port(self) -> int:
        """Of all gateways."""
        return int(self._port.getsockname()[1]) if self._port is not None else 0

    async def _parts_started(self, supervisor: wiring.Handle) -> None:
        until_s = time.monotonic() + START_S
        while not (await supervisor.facts(START_S))["is_complete"]:
            if time.monotonic() > until_s:
                raise SystemExit(f"the parts did not start within {START_S:.0f} s")
            await asyncio.sleep(LOOK_S)

    async def stop(self) -> None:
        if self._supervisor is not None:
            await self.hall.close()
            self._network.close()
            with contextlib.suppress(Exception):  # The store and Ray end below, whatever a part makes of its end.
                await self._supervisor.stop(STOP_S)
        with contextlib.suppress(AttributeError, StoreUnavailable):
            await self.client.close()
        await asyncio.to_thread(wiring.shutdown)
        await self.store.stop()
        if self._port is not None:
            self._port.close()

    async def pids(self) -> dict[str, int]:
        """Processes whose CPU time counts, by part."""
        parts = await self.hall_parts()
        return {"driver": os.getpid(), "shard": parts[SHARD], "store": self.store.pid or 0, "follower": parts[FOLLOWER]}

    async def hall_parts(self) -> dict[str, int]:
        """Process id by slot, as the supervisor has noted it."""
        return {slot: int(part["pid"]) for slot, part in (await self.hall.status())["parts"].items()}

    async def kill_shard(self) -> float:
        """SIGKILL the shard; returns the instant, once the kernel has ended the process."""
        pid = (await self.hall_parts())[SHARD]
        at_s = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        return at_s

    async def follower_status(self) -> dict[str, Any]:
        """Positions in the journal, as batch numbers."""
        name = (await self.hall.status())["parts"][FOLLOWER]["name"]
        handle = await asyncio.to_thread(wiring.find, name)
        status: dict[str, Any] = (await handle.status(30.0))["divisions"][self.plan.division_id]
        return status

    async def store_facts(self) -> dict[str, Any]:
        """What the server says of its append-only file."""
        [facts] = await self.client.run([("INFO", "persistence")])
        return dict(facts)


@asynccontextmanager
async def bench_hall(
    plan: Plan,
    change: ChangeSlot = lambda slot: slot,
    shards_count: int = 1,
    gateway: GatewaySection | None = None,
) -> AsyncIterator[BenchHall]:
    """Run a hall in a new folder on a disk, and leave nothing behind. `gateway`: with gateways. Raises SystemExit on tmpfs."""
    folder = Path(tempfile.mkdtemp(prefix="th-"))
    one = BenchHall(folder, plan, change, shards_count, gateway)
    try:
        refuse_tmpfs(folder)
        try:
            await one.start()
            yield one
        finally:
            await one.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def settle_memory() -> None:
    """What stands in memory now stays for long: this process collects as a shard does, or the driver measures itself."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR)


class Cpu:
    """CPU seconds of the parts between two looks."""

    def __init__(self, pids: dict[str, int]) -> None:
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items()}
        self._before = self._now()
        self._machine = psutil.cpu_times()

    def stolen(self) -> float:
        """Share of the machine's time since then that its host gave to others."""
        now, before = psutil.cpu_times(), self._machine
        whole = sum(now) - sum(before)
        return (getattr(now, "steal", 0.0) - getattr(before, "steal", 0.0)) / whole if whole else 0.0

    def _now(self) -> dict[str, float]:
        return {name: self._cpu_s(name, process) for name, process in self._processes.items()}

    def _cpu_s(self, name: str, process: psutil.Process) -> float:
        """Of a part that was replaced meanwhile nothing is known any more: said, and not hidden in a zero."""
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            print(f"  {name} was replaced while it was measured: its CPU time is not known", flush=True)
            return math.nan
        return float(times.user + times.system)

    def spent(self) -> dict[str, float]:
        return {name: now - self._before[name] for name, now in self._now().items()}


def refuse_tmpfs(folder: Path) -> None:
    """An fsync into memory measures nothing."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", str(folder)], capture_output=True, text=True, check=True).stdout
    if kind.strip() in {"tmpfs", "ramfs"}:
        raise SystemExit(f"{folder} is {kind.strip()}: say TMPDIR=<folder on a disk>")


def fsync_p50_ms() -> float:
    """Median of 200 fsyncs of 400 bytes, where the data will lie."""
    with tempfile.NamedTemporaryFile(prefix="th-", buffering=0) as file:
        refuse_tmpfs(Path(file.name))
        took = []
        for _ in range(200):
            file.write(b"x" * 400)
            began_s = time.perf_counter()
            os.fsync(file.fileno())
            took.append((time.perf_counter() - began_s) * 1_000)
    return statistics.median(took)
