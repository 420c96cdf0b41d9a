"""`tellerhall up`: one foreground process that owns a hall on this machine, from start to clean end.

In order: lock the data folder; end what an earlier run left (by recorded process id and start time); start the store; start
a private Ray, or join the given cluster; let the supervisor start the parts; bring the configured plans to the divisions;
say where everything is; wait; stop in reverse. Embedded mode: this process's death ends all calls (SAFETY.md 19).

Not here: what the parts are (`actors/parts`, `media_part`, `gateway/part`), reading the file (`actors/configuration`).
"""

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import psutil
import structlog

from actors import wiring
from actors.configuration import Configuration, plan_digest
from actors.hall import HallUnavailable
from actors.logs import FOLDER_VARIABLE
from actors.mailbox import PeerGone
from actors.parts import HallSettings, open_hall
from actors.processes import ProcessRecords
from actors.store import EmbeddedStore
from actors.supervisor import Slot, SupervisorSettings
from dispatch.commands import ApplyPlan
from gateway.tls import development_certificate

SUPERVISOR = "supervisor"
SUPERVISOR_START_S = 120.0
STOP_S = 40.0
LOOK_S = 0.5
RECORD_S = 2.0
"""How often new processes are recorded; one that started since is a child of one that is recorded."""
PLAN_TRIES = 20

log = structlog.get_logger("up")


class CannotStart(Exception):
    """One line for the operator: what is in the way and what to do."""


class Up:
    """One run. `say` prints to the operator."""

    def __init__(self, configuration: Configuration, say: Callable[[str], None]) -> None:
        self.configuration = configuration
        self.data = configuration.data_folder
        self._say = say
        self._lock: BinaryIO | None = None
        self._records: ProcessRecords | None = None
        self._store: EmbeddedStore | None = None
        self._ray_folder: Path | None = None
        self._supervisor: wiring.Handle | None = None
        self._store_url = configuration.store.url
        self.facts: dict[str, Any] = {}

    # -- start

    async def start(self) -> None:
        """Raises CannotStart; what was started by then is for `stop` to end."""
        self._take_folder()
        self._end_leftovers()
        if not self._store_url:
            self._store = EmbeddedStore(self.data / "store", on_started=self._on_store_started)
            await self._store.start()
            self._store_url = self._store.url
        await asyncio.to_thread(self._start_ray)
        self._record_children()
        await self._start_supervisor()
        self._record_children()
        await self._apply_plans()
        self._write_address()

    def _take_folder(self) -> None:
        run = self.data / "run"
        run.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = (run / "up.lock").open("ab")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CannotStart(
                f"{self.data} is in use by another Tellerhall: stop it, or choose another --data"
            ) from error
        self._records = ProcessRecords(run / "processes.json")

    def _end_leftovers(self) -> None:
        assert self._records is not None
        ended = self._records.end_recorded()
        if ended:
            self._say(f"ended {len(ended)} processes that an earlier run left")
        ray_folder = self.data / "run" / "ray-folder"
        with contextlib.suppress(OSError):
            shutil.rmtree(ray_folder.read_text().strip(), ignore_errors=True)

    def _on_store_started(self, pid: int) -> None:
        if self._records is not None:
            self._records.record(pid, "store")

    def _start_ray(self) -> None:
        # Ray's processes inherit the environment of this moment.
        os.environ[FOLDER_VARIABLE] = str(self.data / "logs")
        address = self.configuration.ray.address
        if address:
            wiring.join(address)
            return
        self._ray_folder = wiring.make_tmp_folder()
        (self.data / "run" / "ray-folder").write_text(str(self._ray_folder))
        wiring.start_local(self._ray_folder, self.configuration.media.workers)

    def _record_children(self) -> None:
        """Note every process below this one, so that the next start can end it should this one be killed."""
        assert self._records is not None
        known = {one.pid for one in self._records.records}
        for process in psutil.Process().children(recursive=True):
            if process.pid not in known:
                self._records.record(process.pid, "child")

    async def _start_supervisor(self) -> None:
        settings = SupervisorSettings(slots_of(self.configuration, self._store_url), self._store_url)
        encoded = msgspec.msgpack.encode(settings)
        handle = await asyncio.to_thread(wiring.spawn, SUPERVISOR, SUPERVISOR, "actors.supervisor:Supervisor", encoded)
        try:
            self.facts = await handle.start(SUPERVISOR_START_S)
        except TimeoutError as error:
            raise CannotStart(
                f"the parts did not start within {SUPERVISOR_START_S:.0f} s: see {self.data}/logs"
            ) from error
        except PeerGone as error:
            raise CannotStart(f"the supervisor ended while starting: see {self.data}/logs") from error
        self._supervisor = handle

    async def _apply_plans(self) -> None:
        """Bring each division the configured plan; the journal stays the truth where it refuses (SAFETY.md 20)."""
        settings = HallSettings([plan.division_id for plan in self.configuration.divisions], self._store_url)
        hall, client = open_hall(settings, wiring.RayNetwork())
        try:
            for plan in self.configuration.divisions:
                command = ApplyPlan(principal="operator:up", plan=plan, digest=plan_digest(plan))
                reply = await hall.submit(command, plan.division_id)
                if not reply.is_accepted:
                    self._say(f"division {plan.division_id} keeps its former plan: {reply.reason} {reply.value or ''}")
        except HallUnavailable as error:
            raise CannotStart(f"the shard does not answer ({error.reason}): see {self.data}/logs") from error
        finally:
            await hall.close()
            await client.close()

    def _write_address(self) -> None:
        """For `tellerhall status`: where this hall listens."""
        path = self.data / "run" / "hall.json"
        path.with_suffix(".new").write_text(json.dumps({"url": self.url, "pid": os.getpid()}))
        path.with_suffix(".new").replace(path)

    @property
    def url(self) -> str:
        gateway = self.configuration.gateway
        port = self.facts["parts"]["gateway-1"]["port"]
        host = "127.0.0.1" if gateway.host in ("0.0.0.0", "::") else gateway.host
        return f"{'https' if gateway.tls_cert or gateway.tls_self_signed else 'http'}://{host}:{port}"

    # -- running

    async def watch(self, stopping: asyncio.Event) -> None:
        """Keep the supervisor alive and the record of processes true until `stopping`."""
        recorded_s = time.monotonic()
        while not stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), LOOK_S)
            if not stopping.is_set() and not psutil.pid_exists(self.facts["pid"]):
                log.warning("supervisor.gone", pid=self.facts["pid"])
                await self._restart_supervisor()
            if time.monotonic() - recorded_s > RECORD_S:
                recorded_s = time.monotonic()
                self._record_children()

    async def _restart_supervisor(self) -> None:
        """Its name is free only once Ray has noticed; its successor adopts the parts that run."""
        try:
            await self._start_supervisor()
        except (ValueError, CannotStart) as error:
            log.warning("supervisor.not_restarted", reason=str(error))

    # -- stop

    async def stop(self) -> None:
        """End everything that was started, in reverse. Bounded by `STOP_S` and the store's own bounds."""
        if self._supervisor is not None:
            with contextlib.suppress(PeerGone, TimeoutError):
                await self._supervisor.stop(STOP_S)
        await asyncio.to_thread(wiring.shutdown)
        if self._store is not None:
            await self._store.stop()
        if self._records is not None:
            await asyncio.to_thread(self._records.end_recorded)
        if self._ray_folder is not None:
            shutil.rmtree(self._ray_folder, ignore_errors=True)
        for name in ("hall.json", "ray-folder"):
            (self.data / "run" / name).unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()


def slots_of(configuration: Configuration, store_url: str) -> list[Slot]:
    """What should run, in the order of starting."""
    division_ids = [plan.division_id for plan in configuration.divisions]
    store = {"url": store_url, "accept_weaker_durability": configuration.store.accept_weaker_durability}
    hall = {"division_ids": division_ids, "store_url": store_url}
    archive = str(configuration.data_folder / "archive")
    follower = {"division_ids": division_ids, "store": store, "archive_folder": archive}
    shard = {"name": "@name", "division_ids": division_ids, "store": store}
    return [
        Slot("follower", "follower", "actors.parts:FollowerPart", follower, has_epoch=False),
        Slot("shard-0", "shard", "actors.parts:ShardPart", shard),
        *(_media_slot(configuration, hall, number) for number in range(1, configuration.media.workers + 1)),
        Slot("gateway-1", "gateway", "gateway.part:GatewayPart", {"hall": hall, "gateway": _gateway(configuration)}),
    ]


def _media_slot(configuration: Configuration, hall: dict[str, Any], number: int) -> Slot:
    media = configuration.media
    worker = {
        "worker_id": str(number),
        "epoch": "@epoch",
        "recordings_folder": str(configuration.recordings_folder),
        "host": media.host,
        "advertised_addresses": media.advertised_addresses,
        "port": media.first_port + number - 1 if media.first_port else 0,
        "rooms_max": media.rooms_max,
        "parties_max": 2 * media.rooms_max,
    }
    return Slot(f"media-{number}", "media", "actors.media_part:MediaPart", {"hall": hall, "worker": worker})


def _gateway(configuration: Configuration) -> dict[str, Any]:
    own = configuration.gateway
    certificate, key = own.tls_cert, own.tls_key
    if own.tls_self_signed:
        hosts = sorted({"localhost", "127.0.0.1", *([] if own.host == "0.0.0.0" else [own.host])})
        hosts += [one for one in configuration.media.advertised_addresses if one not in hosts]
        made = development_certificate(configuration.data_folder / "keys", hosts)
        certificate, key = str(made[0]), str(made[1])
    return {
        "gateway_id": "@name",
        "host": own.host,
        "port": own.port,
        "is_port_shared": True,
        "certificate_path": certificate or None,
        "key_path": key or None,
        "keys_folder": str(configuration.data_folder / "keys"),
        "jwks_path": own.jwks_file or None,
        "issuer": own.issuer,
        "audience": own.audience,
        "are_development_keys_allowed": own.are_development_keys_allowed,
        "allowed_origins": own.allowed_origins,
        "recordings_folder": str(configuration.recordings_folder),
        "ice_servers": own.ice_servers,
        "ping_ms": own.ping_ms,
        "connections_max": own.connections_max,
        "upgrades_per_s": own.upgrades_per_s,
        "messages_per_s": own.messages_per_s,
        "messages_burst": own.messages_burst,
        "command_timeout_ms": own.command_timeout_ms,
        "metrics_host": own.metrics_host,
        "metrics_port": own.metrics_port,
    }


async def run(configuration: Configuration, say: Callable[[str], None], on_ready: Callable[[Up, float], None]) -> int:
    """Start, say so, wait for SIGINT or SIGTERM, stop. Returns the exit status."""
    began_s = time.monotonic()
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    up = Up(configuration, say)
    try:
        await up.start()
        # Ray takes over these signals while it starts, so they are ours only from here on.
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopping.set)
        on_ready(up, time.monotonic() - began_s)
        await up.watch(stopping)
        say("stopping")
        return 0
    except CannotStart as error:
        say(f"tellerhall: {error}")
        return 1
    finally:
        await up.stop()
