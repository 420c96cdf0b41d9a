"""`tellerhall up`: one foreground process that owns a hall on this machine, from start to clean end.

In order: lock the data folder; end what an earlier run left (by recorded process id and start time); look whether ports, keys
and store can be had; start the store; start a private Ray, or join the given cluster; let the supervisor start the parts;
bring the configured plans to the divisions; say where everything is; wait; stop in reverse.

Embedded mode: this process's death ends all calls (SAFETY.md 19).

Not here: what the parts are (`actors/parts`, `media_part`, `gateway/part`), reading the file (`actors/configuration`).
"""

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import psutil
import structlog

from actors import wiring
from actors.audit import AuditFull
from actors.configuration import Configuration
from actors.directory import Directory
from actors.guard import Guard, NoSupervisor
from actors.hall import HallUnavailable
from actors.journal import NotDurable, RedisJournal
from actors.logs import FOLDER_VARIABLE, prune_session_logs
from actors.mailbox import PeerGone
from actors.nodes import places_count
from actors.office import Ownership
from actors.parts import HallSettings, open_hall
from actors.placement import PlacementContested, settle
from actors.processes import ProcessRecords
from actors.store import EmbeddedStore, StoreFailed, StoreFolderTaken
from actors.store_client import StoreClient, StoreUnavailable
from actors.supervisor import Slot, SupervisorSettings
from gateway.configured_plans import ConfiguredPlans
from gateway.identity import open_verifier
from gateway.part import decode_gateway
from gateway.ports import PortTaken, check_media_port, claim_port
from gateway.slots import gateway_values, slots_of
from gateway.stopping import finished, heed_signals, unless
from gateway.tls import server_context

PARTS_START_S = 120.0
"""Without any part getting on; replaying a large journal may take longer altogether."""
STOP_S = 40.0
LOOK_S = 0.5
FACTS_S = 10.0
RECORD_S = 2.0
"""How often new processes are recorded; one that started since is a child of one that is recorded."""
log = structlog.get_logger("up")


class CannotStart(Exception):
    """One line for the operator: what is in the way and what to do."""


class Up:
    """One run. `say` prints to the operator."""

    def __init__(
        self, configuration: Configuration, say: Callable[[str], None], *, is_plan_insisted: bool = False
    ) -> None:
        """`is_plan_insisted`: the file's plans are taken also where others came over REST meanwhile."""
        self.configuration = configuration
        self._is_plan_insisted = is_plan_insisted
        self.data = configuration.data_folder
        self._say = say
        self._lock: BinaryIO | None = None
        self._records: ProcessRecords | None = None
        self._store: EmbeddedStore | None = None
        self._ray_folder: Path | None = None
        self._client: StoreClient | None = None
        self._guard: Guard | None = None
        self._ownership: Ownership | None = None
        self._store_url = configuration.store.url
        self._port: socket.socket | None = None
        self.facts: dict[str, Any] = {}

    # -- start

    async def start(self) -> None:
        """Raises CannotStart; what was started by then is for `stop` to end."""
        self._take_folder()
        self._end_leftovers()
        self._check_gateway()
        self._check_ports()
        await self._start_store()
        self._say(f"starting with the data in {self.data}")
        try:
            await finished(asyncio.to_thread(self._start_ray))
        except Exception as error:
            log.exception("ray.not_started")
            raise CannotStart(f"Ray did not start: {_first_line(error)}; see {self.data}/logs") from error
        self._record_children()
        await self._start_supervisor()
        self._record_children()
        await self._apply_plans()
        self._write_address()

    def _take_folder(self) -> None:
        run = self.data / "run"
        try:
            run.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = (run / "up.lock").open("ab")
        except OSError as error:
            raise CannotStart(f"{run} cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise CannotStart(
                f"{self.data} is in use by another Tellerhall: stop it, or choose another --data"
            ) from error
        self._lock = lock
        self._records = ProcessRecords(run / "processes.json")

    def _end_leftovers(self) -> None:
        assert self._records is not None
        try:
            ended = self._records.end_recorded()
        except RuntimeError as error:
            raise CannotStart(str(error)) from error
        if ended:
            self._say(f"ended {len(ended)} processes that an earlier run left")
        with contextlib.suppress(OSError):
            ray_folder = Path((self.data / "run" / "ray-folder").read_text().strip())
            if ray_folder.name.startswith(wiring.TMP_PREFIX):
                shutil.rmtree(ray_folder, ignore_errors=True)

    def _check_gateway(self) -> None:
        """What makes every gateway refuse to start is said now."""
        try:
            settings = decode_gateway(gateway_values(self.configuration, 0))
            open_verifier(settings)
            if settings.certificate_path and settings.key_path:
                server_context(settings.certificate_path, settings.key_path)
        except ssl.SSLError as error:
            raise CannotStart(f"gateway.tls_cert and tls_key do not fit: {error.reason or error}") from error
        except OSError as error:
            raise CannotStart(f"a file of the gateway cannot be used: {error}") from error
        except ValueError as error:
            raise CannotStart(f"the gateway would not start: {error}") from error

    def _check_ports(self) -> None:
        """On a cluster the ports are those of other machines: nothing can be said here."""
        if self.configuration.ray.address:
            return
        media, gateway = self.configuration.media, self.configuration.gateway
        try:
            self._port = claim_port(gateway.host, gateway.port)
            for number in range(media.workers if media.first_port else min(1, media.workers)):
                check_media_port(media.host, media.first_port + number if media.first_port else 0)
        except PortTaken as error:
            what = "gateway.port" if self._port is None else "media.first_port on media.host"
            raise CannotStart(f"{what} cannot be had: {error}") from error

    async def _start_store(self) -> None:
        if not self._store_url:
            self._store = EmbeddedStore(self.data / "store", on_started=self._on_store_started)
            try:
                await self._store.start()
            except (StoreFolderTaken, StoreFailed, OSError) as error:
                raise CannotStart(str(error)) from error
            self._store_url = self._store.url
            return
        accept_weaker = self.configuration.store.accept_weaker_durability
        journal = RedisJournal(self._store_url, accept_weaker_durability=accept_weaker)
        try:
            await journal.check_durability()
        except NotDurable as error:
            raise CannotStart(f"the store at store.url may lose what it acknowledged: {error}") from error
        except StoreUnavailable as error:
            raise CannotStart(f"the store at store.url does not answer: {error.reason}") from error
        finally:
            await journal.close()

    def _on_store_started(self, pid: int) -> None:
        self._record(pid, "store")

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
                self._record(process.pid, "child")

    def _record(self, pid: int, role: str) -> None:
        """What a full disk does not take is tried again at the next look; no call ends for that."""
        assert self._records is not None
        try:
            self._records.record(pid, role)
        except (OSError, RuntimeError) as error:
            log.error("process.not_recorded", pid=pid, role=role, reason=str(error))

    async def _start_supervisor(self) -> None:
        port = self._port.getsockname()[1] if self._port is not None else self.configuration.gateway.port
        machines = await wiring.asked(wiring.ray_nodes)
        slots = slots_of(self.configuration, self._store_url, port, places_count(machines))
        self._client = StoreClient(self._store_url)
        try:
            guard = Guard(self._client)
            await self._take_hall(self._client, guard, slots)
            # Known from the first instant on: what is started from now on is for `stop` to end in good order.
            self._guard = guard
            supervisor = await guard.begin(SupervisorSettings(slots, self._store_url))
            await self._parts_started(supervisor)
        except (NoSupervisor, PeerGone, StoreUnavailable, PlacementContested, TimeoutError) as error:
            raise CannotStart(f"the parts did not start ({_first_line(error)}): see {self.data}/logs") from error

    async def _take_hall(self, client: StoreClient, guard: Guard, slots: list[Slot]) -> None:
        """The embedded store is ours alone; another may be that of a hall that runs."""
        self._ownership = Ownership(client)
        if self.configuration.ray.address and not await self._ownership.take():
            self._ownership = None
            raise CannotStart("another `tellerhall up` runs a hall with this store: stop it first")
        if self.configuration.ray.address and await guard.meets_other_hall():
            await self._ownership.give_up()
            self._ownership = None
            raise CannotStart("another hall, with another store, runs on this Ray cluster: a cluster is for one hall")
        division_ids = [plan.division_id for plan in self.configuration.divisions]
        await settle(Directory(client), division_ids, [slot.id for slot in slots if slot.kind == "shard"])

    async def _parts_started(self, supervisor: wiring.Handle) -> None:
        """Return once every part runs. Raises CannotStart when none gets on any more, PeerGone, TimeoutError."""
        progress, got_on_s = -1, time.monotonic()
        while True:
            facts = await supervisor.facts(FACTS_S)
            if facts["is_complete"]:
                self.facts = facts
                return
            if facts["progress"] != progress:
                progress, got_on_s = facts["progress"], time.monotonic()
            if time.monotonic() - got_on_s > PARTS_START_S:
                raise CannotStart(f"the parts did not start within {PARTS_START_S:.0f} s: see {self.data}/logs")
            await asyncio.sleep(LOOK_S / 5)

    async def _apply_plans(self) -> None:
        """Offer each division the configured plan; the journal is the truth (SAFETY.md 20)."""
        settings = HallSettings([plan.division_id for plan in self.configuration.divisions], self._store_url)
        network = wiring.RayNetwork()
        hall, client = open_hall(settings, network)
        try:
            plans = ConfiguredPlans(hall, client, self._say, is_insisted=self._is_plan_insisted)
            for plan in self.configuration.divisions:
                await plans.offer(plan)
        except (AuditFull, StoreUnavailable) as error:
            raise CannotStart(f"the audit log cannot be written: {error}") from error
        except HallUnavailable as error:
            raise CannotStart(f"the shard does not answer ({error.reason}): see {self.data}/logs") from error
        finally:
            await hall.close()
            network.close()
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
        # On all addresses: the one that clients are told for media is the one they reach.
        everywhere = self.configuration.media.advertised_addresses[0]
        host = everywhere if gateway.host in ("0.0.0.0", "::") else gateway.host
        host = f"[{host}]" if ":" in host else host
        return f"{'https' if gateway.tls_cert or gateway.tls_self_signed else 'http'}://{host}:{port}"

    # -- running

    async def watch(self, stopping: asyncio.Event) -> None:
        """Guard the supervisor, and keep the record of processes true, until `stopping`."""
        assert self._guard is not None
        guarding = asyncio.create_task(self._guard.run())
        recorded_s = time.monotonic()
        try:
            while not stopping.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), LOOK_S)
                if not await self._owns_hall():
                    self._say("another `tellerhall up` has taken this hall: leaving it to that")
                    return
                if time.monotonic() - recorded_s > RECORD_S:
                    recorded_s = time.monotonic()
                    self._record_children()
                    if self._ray_folder is not None:
                        prune_session_logs(self._ray_folder)
        finally:
            guarding.cancel()
            await asyncio.gather(guarding, return_exceptions=True)

    async def _owns_hall(self) -> bool:
        """Show life to who would take the hall."""
        if not self.configuration.ray.address:
            return True
        try:
            if self._ownership is None or await self._ownership.beat():
                return True
        except StoreUnavailable:
            return True  # Nobody else can take it either.
        self._ownership = None
        return False

    # -- stop

    async def stop(self) -> None:
        """End everything that was started, in reverse. Bounded by `STOP_S` and the store's own bounds."""
        if self._lock is None:
            return  # The folder is another hall's, with all that is noted in it.
        if self._guard is not None and self._ownership is not None:
            await self._stop_parts(self._guard, self._ownership)
        if self._client is not None:
            await self._client.close()
        await asyncio.to_thread(wiring.shutdown)
        if self._store is not None:
            await self._store.stop()
        try:
            if self._records is not None:
                await asyncio.to_thread(self._records.end_recorded)
        except (OSError, RuntimeError) as error:
            self._say(f"tellerhall: {error}")
        if self._ray_folder is not None:
            shutil.rmtree(self._ray_folder, ignore_errors=True)
        for name in ("hall.json", "ray-folder"):
            (self.data / "run" / name).unlink(missing_ok=True)
        if self._port is not None:
            self._port.close()
        self._lock.close()

    async def _stop_parts(self, guard: Guard, ownership: Ownership) -> None:
        """Let the supervisor end them in good order; one that is gone just now is followed first, on a cluster."""
        try:
            supervisor = await guard.find()
            await supervisor.stop(STOP_S)
            await asyncio.to_thread(supervisor.kill)
            await ownership.give_up()
        except Exception as error:
            log.warning("parts.not_stopped", reason=_first_line(error))
            if self.configuration.ray.address:
                self._say("the parts on the cluster could not be stopped: start this hall again and stop it")


async def run(
    configuration: Configuration,
    say: Callable[[str], None],
    on_ready: Callable[[Up, float], None],
    *,
    is_plan_insisted: bool = False,
) -> int:
    """Start, say so, wait for SIGINT or SIGTERM, stop. Returns the exit status."""
    began_s = time.monotonic()
    stopping = asyncio.Event()
    heed_signals(stopping)
    up = Up(configuration, say, is_plan_insisted=is_plan_insisted)
    try:
        await unless(stopping, up.start())
        if not stopping.is_set():
            # Ray may have taken them over while it started.
            heed_signals(stopping)
            on_ready(up, time.monotonic() - began_s)
            await up.watch(stopping)
        say("stopping")
        return 0
    except CannotStart as error:
        say(f"tellerhall: {error}")
        return 1
    finally:
        await up.stop()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
