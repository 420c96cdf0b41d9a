"""Slots and who fills them: a supervisor that judges as the product does (`Incarnation`, `Standby`) and is never harmed.

It notes what it started in the directory's parts, gives each incarnation the next number for ever, and may be wrong: the
weather lets it take a living part for dead (`usurp`), and lets the end of what it follows take long.

Not here: the supervisor's office and its own successor (real ones in tests/faults).
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any

from actors.directory import PartEntry
from actors.incarnation import Incarnation, NotStarted, is_born
from actors.mailbox import PeerGone
from actors.standby import Made, Standby
from actors.store_client import StoreUnavailable
from actors.supervisor import LIVED_S, PAUSE_FIRST_S, PAUSE_MAX_S
from tests.simulation.clockwork import Process, Violation
from tests.simulation.processes import BORN_S, END_LATE_S, END_S, PartHandle, PartProcess
from tests.simulation.store import Store
from tests.simulation.wire import Wire

FAR_RATIO = 0.3
"""Incarnations on another machine than the supervisor: their processes are not seen to end."""

Make = Callable[[str, int, Process], Any]
"""(actor name, epoch, process) -> the part."""


class Office:
    """What all slots share."""

    def __init__(self, wire: Wire, store: Store, chance: random.Random) -> None:
        self.wire = wire
        self.store = store
        self.chance = chance
        self.processes: dict[int, Process] = {}
        """By process id."""
        self.epochs: dict[str, int] = {}
        self.late_end_ratio = 0.0

    def is_alive(self, pid: int) -> bool:
        return not self.processes[pid].is_dead

    def next_pid(self, process: Process) -> int:
        pid = len(self.processes) + 1
        self.processes[pid] = process
        return pid


class Keeper:
    """Of one slot."""

    def __init__(self, office: Office, slot_id: str, make: Make, *, has_standby: bool = False) -> None:
        self.slot_id = slot_id
        self.handle: PartHandle | None = None
        """Of the incarnation that fills the slot now."""
        self.incarnation: Incarnation | None = None
        self.handles: list[PartHandle] = []
        """All that were ever made."""
        self.restarts_count = 0
        self._office = office
        self._make_part = make
        self._standby = (
            Standby(slot_id, self._make, self.end_soon, self._is_misplaced)  # type: ignore[arg-type]
            if has_standby
            else None
        )

    @property
    def part(self) -> Any:
        """What fills the slot, dead or alive; None before anything did."""
        return self.handle.end.part if self.handle is not None else None

    async def run(self) -> None:
        """Keep the slot filled."""
        pause_s = PAUSE_FIRST_S
        while True:
            try:
                running = await self._start()
                if self._standby is not None:
                    self._standby.begin()
                await running.gone(lambda: True, lambda: None)
                assert self.handle is not None, "it has just been started"
                self.end_soon(self.handle)
                if asyncio.get_running_loop().time() - running.started_s > LIVED_S:
                    pause_s = PAUSE_FIRST_S
            except (PeerGone, StoreUnavailable, TimeoutError, NotStarted) as error:
                self._office.wire.trace(self.slot_id, "not started", repr(error))
            self.restarts_count += 1
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)

    def usurp(self) -> None:
        """Take what fills the slot for dead."""
        if self.incarnation is not None:
            self.incarnation._is_ended = True

    def end_soon(self, handle: Any) -> None:
        office = self._office
        handle.end_s = office.chance.uniform(*END_LATE_S) if office.chance.random() < office.late_end_ratio else END_S
        handle.kill()

    async def _start(self) -> Incarnation:
        made = await self._standby.take() if self._standby is not None else None
        handle: Any = (made or await self._make()).handle
        try:
            await is_born(handle)
            running = await Incarnation.started(handle, lambda: None)
        except BaseException:
            handle.kill()
            raise
        self.handle, self.incarnation = handle, running
        store = self._office.store
        at_ms = int(asyncio.get_running_loop().time() * 1_000)
        store.directory.parts[self.slot_id] = PartEntry(handle.name, running.pid, at_ms, self.restarts_count)
        self._office.wire.trace(self.slot_id, "filled", handle.name)
        return running

    async def _make(self) -> Made:
        office = self._office
        epoch = office.epochs[self.slot_id] = office.epochs.get(self.slot_id, 0) + 1
        name = f"{self.slot_id}-e{epoch}"
        process = Process(name)
        end = PartProcess(
            office.wire, process, lambda: self._make_part(name, epoch, process), office.chance.uniform(*BORN_S)
        )
        if name in office.wire.parts:
            raise Violation(f"{name} is made twice")
        office.wire.enter(name, process, end)
        node = "far" if office.chance.random() < FAR_RATIO else "near"
        handle = PartHandle(office.wire, name, process, end, node, office.next_pid(process))
        self.handles.append(handle)
        await asyncio.sleep(0)
        return Made(handle, node)  # type: ignore[arg-type]

    async def _is_misplaced(self, node_id: str) -> bool:
        return False
