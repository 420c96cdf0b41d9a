"""One run: a whole hall, its people and its troubles, from one seed.

Course: the parts start, plans are applied, people come and faults strike for `storm_s`; then every fault stops, and within
`BOUND_S` every call has ended, every agent is free and every room closed; `verdict` compares what is left with what is durable.

Rules: whatever is drawn is drawn from the seed, and each drawer has dice of its own, so that a change in one place moves as
little as possible elsewhere. Everything that somebody may see goes into the trace; its digest is the run's identity.
"""

import asyncio
import hashlib
import random
import sys
import traceback
from collections import deque
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from actors import incarnation, media_part
from actors.hall import Hall as HallClient
from actors.hall import HallUnavailable, MoveRefused, owner_from
from actors.performer import Performer
from actors.placement import settle
from actors.shard import Shard, ShardSettings
from actors.store_client import StoreUnavailable
from actors.tracing import CALLS
from dispatch.commands import ApplyPlan
from tests.simulation import verdict
from tests.simulation.clockwork import Process, Violation, VirtualLoop
from tests.simulation.customers import Customer
from tests.simulation.disasters import strike
from tests.simulation.following import FollowingEnd
from tests.simulation.gateways import Gateway
from tests.simulation.media import PaperWorker
from tests.simulation.media import media_part as media_end
from tests.simulation.people import Person
from tests.simulation.plans import draw_plans
from tests.simulation.slots import Keeper, Make, Office
from tests.simulation.staff import Staff
from tests.simulation.store import RemoteDirectory, RemoteJournal, Store
from tests.simulation.truth import Truth
from tests.simulation.weather import Weather, draw
from tests.simulation.wire import Wire, WireNetwork

BOUND_S = 150.0
"""From the end of all faults to the end of every call. Together: a part that failed again and again is tried after 5 s and a
division after 30 s; a hand-over is given up after 45 s at most; a person's patience is 40 s, its talk 60 s at most."""
LATE_S = (25.0, 35.0)
"""After the end of all faults a few more come: they must be taken."""
TRACE_KEPT = 4_000
QUIET_S = 5.0
"""How long it must stay quiet before the verdict."""
INSPECT_S = 1.0


class Hall:
    """The floor on which people meet gateways, and everything below it."""

    def __init__(self, seed: int, folder: Path, weather: Weather | None = None) -> None:
        self.seed = seed
        self.loop = VirtualLoop()
        self.chance = random.Random(f"hall {seed}")
        self.weather = weather or draw(random.Random(f"weather {seed}"))
        self.plans = draw_plans(random.Random(f"plans {seed}"))
        self.division_ids = [plan.division_id for plan in self.plans]
        self.truth = Truth(self.division_ids)
        self.truth.on_batch = self._note_batch
        self.wire = Wire(self.loop, random.Random(f"wire {seed}"), self.weather)
        self.wire.trace = self.trace
        self.store = Store(self.wire, random.Random(f"store {seed}"), self.truth)
        self.office = Office(self.wire, self.store, random.Random(f"office {seed}"))
        self.office.late_end_ratio = self.weather.late_end_ratio
        self.keepers: dict[str, Keeper] = {}
        self.wall_offsets_ns: dict[str, int] = {}
        """Slot -> by how much the wall clock of its incarnations is wrong."""
        self.workers: list[tuple[Process, PaperWorker]] = []
        self.people: list[Person] = []
        self.customers: list[Customer] = []
        self.is_healed = False
        self.is_ahead = False
        """Some clock was so far ahead that a journal may refuse new calls by the right one."""
        self.storm_s = self.chance.choice((15.0, 30.0, 60.0))
        self.operator: Any = None
        self.digest = hashlib.sha256()
        self.lines: deque[str] = deque(maxlen=TRACE_KEPT)
        self._folder = folder
        self._network: Any = WireNetwork(self.wire)
        self._customers_done = 0

    # -- what is written down

    def trace(self, *words: Any) -> None:
        """Write a line that belongs to the run's identity."""
        line = f"{self.loop.now_ns / 1e9:.6f} " + " ".join(map(str, words))
        self.lines.append(line)
        self.digest.update(line.encode())

    def hear(self, level: str, event: str, fields: dict[str, Any]) -> None:
        """The product logs something; what it logs as an exception is a bug of somebody's."""
        if level == "error" and fields.get("exc_info"):
            error = sys.exc_info()[1]
            text = "".join(traceback.format_exception(error)) if error is not None else ""
            self.fail(Violation(f"{event} {fields}\n{text}"))
        told = {key: value for key, value in fields.items() if isinstance(value, str | int) and key != "took_ms"}
        self.trace("log", level, event, told)

    def fail(self, error: BaseException) -> None:
        """End the run; the first failure counts."""
        if self.loop.failure is None:
            self.loop.failure = error

    def _note_batch(self, division_id: str, batch: int, writer: str, events: list[Any]) -> None:
        self.trace("durable", division_id, batch, writer, *events)

    # -- the floor

    @property
    def bound_s(self) -> float:
        """How long anything may take at most from now on."""
        return BOUND_S if self.is_healed else self.storm_s + BOUND_S

    def begin(self, work: Coroutine[Any, Any, Any]) -> None:
        """Let somebody outside of all processes do something; what fails there fails the run."""
        task = self.loop.spawn(self.wire.world, work)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.fail(error)

    def any_gateway(self, chance: random.Random) -> Gateway | None:
        """One of those whose kernel accepts a connection."""
        found = [
            keeper.part
            for slot_id, keeper in self.keepers.items()
            if slot_id.startswith("gateway") and keeper.handle is not None and not keeper.handle.process.is_dead
        ]
        return chance.choice(found) if found else None

    # -- parts

    def _make_hall(self, gateway_id: str = "") -> HallClient:
        directory: Any = RemoteDirectory(self.store)
        return HallClient(
            self._network, self.division_ids, owner_from(directory.read_owner), gateway_id=gateway_id,
            read_parts=directory.read_parts, directory=directory,
        )  # fmt: skip

    def _make_shard(self, name: str, epoch: int, process: Process) -> Shard:
        self._set_clock(process, name)
        directory: Any = RemoteDirectory(self.store)
        settings = ShardSettings(name, self.division_ids, name.rpartition("-e")[0])
        journal: Any = RemoteJournal(self.store)
        return Shard(settings, journal, directory, Performer(self._network, directory.read_owner))

    def _make_follower(self, name: str, epoch: int, process: Process) -> FollowingEnd:
        self._set_clock(process, name)
        end = FollowingEnd(RemoteJournal(self.store), self._folder, self.division_ids, *self._snapshots)
        process.at_death.append(end.let_go)
        return end

    def _make_gateway(self, name: str, epoch: int, process: Process) -> Gateway:
        self._set_clock(process, name)
        gateway = Gateway(name, self._make_hall(name), self.wire)
        process.at_death.append(gateway.bury)
        return gateway

    def _make_media(self, name: str, epoch: int, process: Process) -> Any:
        self._set_clock(process, name)
        worker_id = name.rpartition("-e")[0].removeprefix("media-")
        return media_end(worker_id, epoch, self.division_ids, self._network)

    def _make_worker(self, settings: Any, report: Any) -> PaperWorker:
        worker = PaperWorker(settings, report, random.Random(f"{self.seed} {settings.worker_id}"), self.truth)
        process = self.wire.parts[f"media-{settings.worker_id}-e{settings.epoch}"][0]
        self.workers.append((process, worker))
        return worker

    def _set_clock(self, process: Process, name: str) -> None:
        process.wall_offset_ns = self.wall_offsets_ns.get(name.rpartition("-e")[0], 0)

    def _open(self) -> None:
        chance = self.chance
        self._snapshots = (chance.choice((5, 30, 10_000)), chance.choice((2.0, 10.0, 300.0)))
        makes: dict[str, tuple[int, Make]] = {
            "follower": (1, self._make_follower),
            "shard": (chance.choice((1, 2, 3)), self._make_shard),
            "media": (chance.choice((1, 2)), self._make_media),
            "gateway": (chance.choice((1, 2)), self._make_gateway),
        }
        for kind, (count, make) in makes.items():
            for number in range(count):
                slot_id = kind if kind == "follower" else f"{kind}-{number}"
                has_standby = kind == "shard" and chance.random() < 0.5
                self.keepers[slot_id] = Keeper(self.office, slot_id, make, has_standby=has_standby)

    @contextmanager
    def ruled(self) -> Iterator[None]:
        """Let the product find the simulation where it looks for its surroundings."""
        CALLS._traceparents.clear()
        patches: list[tuple[Any, str, Any]] = [
            (incarnation, "is_alive", self.office.is_alive),
            (incarnation, "ray_node", lambda: "near"),
            (media_part, "MediaWorker", self._make_worker),
            (media_part, "open_hall", lambda settings, network: (self._make_hall(), None)),
        ]
        with ExitStack() as stack:
            for target, name, new in patches:
                stack.enter_context(patch.object(target, name, new))
            yield

    # -- the course

    async def live(self) -> None:
        """Everything, in order."""
        self.loop.set_exception_handler(self._on_exception)
        self._open()
        shards = [slot_id for slot_id in self.keepers if slot_id.startswith("shard")]
        await settle(self.store.directory, self.division_ids, shards)
        for keeper in self.keepers.values():
            self.begin(keeper.run())
        for kind, every_s in self.weather.disasters.items():
            self.begin(strike(self, kind, every_s))
        self.begin(self._inspect())
        self.operator = self._make_hall()
        for plan in self.plans:
            await self._command(
                ApplyPlan(plan=plan, digest="1", principal="operator:root", id="plan"), plan.division_id
            )
        self._people_come()
        await asyncio.sleep(self.storm_s)
        self.heal()
        await self._until_quiet()
        await verdict.check(self)

    def _on_exception(self, loop: Any, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.fail(error if error is not None else Violation(str(context)))

    async def _command(self, command: Any, division_id: str) -> None:
        for _ in range(1_000):
            try:
                reply = await self.operator.submit(command, division_id)
            except HallUnavailable:
                await asyncio.sleep(0.5)
                continue
            if not reply.is_accepted:
                raise Violation(f"{command} was refused: {reply}")
            return
        raise Violation(f"{command} was never answered")

    async def move(self, division_id: str, slot_id: str) -> str:
        """Return why it was not moved."""
        if self.operator is None:
            return "not_ready"
        try:
            await self.operator.move(division_id, slot_id)
        except (MoveRefused, HallUnavailable, StoreUnavailable) as error:
            return str(error.reason)
        return ""

    def _people_come(self) -> None:
        for plan in self.plans:
            division_id, queue_ids = plan.division_id, [queue.id for queue in plan.queues]
            everywhere = [*queue_ids, *(f"{one}/desk" for one in self.division_ids if one != division_id)]
            for agent in plan.agents:
                dice = random.Random(f"{self.seed} {division_id} {agent.id}")
                staff = Staff(self, agent.id, division_id, everywhere, dice)
                self.people.append(staff)
                self.begin(staff.live())
            count = self.chance.choice((4, 10, 20))
            arrivals_s = [self.chance.uniform(0, self.storm_s) for _ in range(count)]
            late_s = [self.storm_s + self.chance.uniform(*LATE_S) for _ in range(3)]
            for number, at_s in enumerate([*arrivals_s, *late_s]):
                self._customer_comes(f"{division_id}-{number}", division_id, self.chance.choice(queue_ids), at_s)

    def _customer_comes(self, name: str, division_id: str, queue_id: str, at_s: float) -> None:
        customer = Customer(self, name, division_id, queue_id, random.Random(f"{self.seed} customer {name}"))
        customer.is_late = at_s > self.storm_s
        self.people.append(customer)
        self.customers.append(customer)

        async def live() -> None:
            await customer.live(at_s)
            self._customers_done += 1

        self.begin(live())

    def heal(self) -> None:
        """All faults stop. Who was frozen goes on, and finds out what it missed."""
        self.trace("healed")
        self.is_healed = True
        self.weather.calm()
        self.wire.cut.clear()
        self.store.go_on()
        self.office.late_end_ratio = 0.0
        for keeper in self.keepers.values():
            for handle in keeper.handles:
                handle.process.doom = None
                handle.process.wall_offset_ns = 0
                self.loop.go_on(handle.process)
        self.wall_offsets_ns.clear()

    async def _inspect(self) -> None:
        while True:
            await asyncio.sleep(INSPECT_S)
            verdict.inspect(self)

    async def _until_quiet(self) -> None:
        until_s, quiet_s = self.loop.time() + BOUND_S, 0.0
        while quiet_s < QUIET_S:
            if self.loop.time() > until_s:
                raise Violation(f"not quiet {BOUND_S:.0f} s after all faults stopped: {'; '.join(self.unrest())}")
            await asyncio.sleep(0.5)
            quiet_s = 0.0 if self.unrest() else quiet_s + 0.5

    def close(self) -> None:
        """The run is over: whatever still was under way is thrown away."""
        for keeper in self.keepers.values():
            for handle in keeper.handles:
                self.loop.kill(handle.process)
        self.loop.end()

    def unrest(self) -> list[str]:
        """What is not over yet, in words."""
        found = []
        if self._customers_done < len(self.customers):
            found.append(f"{len(self.customers) - self._customers_done} customers are not done")
        for process, worker in self.workers:
            if not process.is_dead and worker.rooms:
                found.append(f"{process.name} holds {sorted(worker.rooms)}")
        return found + self.truth.unrest()
