"""The supervisor: keeps what runs equal to what should run.

Each slot (`shard-0`, `follower`, `media-1`, `gateway-1`) holds one incarnation of a part. Its process is looked at four
times a second (where it is on this machine), its control thread asked every second; one that is gone or silent is ended
for certain and followed by the next incarnation, under a name with a higher epoch (SAFETY.md 13), on a machine that is not
suspected. A slot that fails again and again is tried ever more slowly, never given up.

Rules
- Nothing is started or ended without the office (`office`): a supervisor that was frozen and has been followed does
  nothing more and ends.
- Silence counts only while the supervisor itself ran and held the office: after a freeze of its own everybody has
  `SILENT_S` again.
- A slot's settings are made when an incarnation starts, so its epoch and name stand in them.
- A successor finds the running parts noted in the store and adopts them; what runs and is not noted is ended.

Not here: on which machine (`nodes`), how one part is asked (`incarnation`), who starts a supervisor (`guard`).
"""

import asyncio
import contextlib
import os
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import structlog
from msgspec import Struct

from actors import wiring
from actors.directory import Directory, PartEntry
from actors.incarnation import Incarnation, NotStarted, is_born
from actors.mailbox import PeerGone
from actors.network import Network
from actors.nodes import Nodes, RayNode
from actors.office import BEAT_S, Office, Superseded, read_office
from actors.standby import Made, Standby
from actors.store_client import StoreClient, StoreUnavailable

ADOPT_S = 2.0
"""A part that lives answers in ms, from a thread that does nothing else; a lost machine must not hold up the rest."""
ADOPT_SUSPECTED_S = 1.0
FACTS_S = 10.0
UNENDED_MAX = 1_000
"""More parts than a hall has; what is left out is a stray for the next supervisor."""
ENDINGS_AT_ONCE = 16
"""Threads that wait for Ray to end something; more wait for these."""
PAUSE_FIRST_S = 0.1
PAUSE_MAX_S = 5.0
LIVED_S = 30.0
"""An incarnation that lived this long had started well: the next pause is short again."""
STOP_S = 20.0
SLOT = "supervisor"
"""Its own entry among the parts."""

PATIENT_KINDS = frozenset({"follower", "webhooks"})
"""Parts that nobody waits for: a short silence costs less than their restart."""

log = structlog.get_logger()


class Slot(Struct, frozen=True):
    """One place in which a part should run."""

    id: str
    kind: str
    """A key of `wiring.OPTIONS`."""
    class_path: str
    """`module:Class` of the part; named from above, so that this file imports nothing of the layers above it."""
    settings: dict[str, Any]
    """The part's settings; `@name` and `@epoch` as values stand for this incarnation's own, at any depth."""
    has_standby: bool = False
    """The next incarnation waits in a process of its own."""

    def name(self, epoch: int) -> str:
        """Of the actor that fills it as the incarnation of that number."""
        return f"{self.id}-e{epoch}"


class SupervisorSettings(Struct, frozen=True):
    slots: list[Slot]
    """In the order of starting; stopped in reverse."""
    store_url: str
    epoch: int = 0
    """Of the office, taken by who starts this supervisor."""

    @property
    def name(self) -> str:
        """Of the supervisor's own actor."""
        return f"{SLOT}-e{self.epoch}"


class Supervisor:
    """A part itself: started by a guard."""

    def __init__(self, settings: bytes, network: Network) -> None:
        self._settings = msgspec.msgpack.decode(settings, type=SupervisorSettings)
        self.ended = asyncio.Event()
        self._client = StoreClient(self._settings.store_url)
        self._directory = Directory(self._client)
        self._office = Office(self._client, self._settings.epoch)
        self._nodes = Nodes(time.monotonic)
        self._running: dict[str, Incarnation] = {}
        self._starting: dict[str, tuple[str, str]] = {}
        """Slot -> (kind, machine) while a part is on its way."""
        self._restarts: dict[str, int] = {}
        self._standbys = {slot.id: self._standby(slot) for slot in self._settings.slots if slot.has_standby}
        self._left: dict[str, PartEntry] = {}
        """What the supervisor before this one had noted."""
        self._tasks: list[asyncio.Task[None]] = []
        self._endings = ThreadPoolExecutor(ENDINGS_AT_ONCE, "ending")
        self._unended: deque[wiring.Handle] = deque(maxlen=UNENDED_MAX)
        """What was to be ended while the office was not confirmed."""
        self._progress = 0
        self._hall_id = ""

    async def start(self) -> None:
        """Show that the office is held, and begin to keep each slot. Raises Superseded, StoreUnavailable."""
        await self._office.beat()
        self._hall_id = (await read_office(self._client)).hall_id
        self._left = await self._directory.read_parts()
        entry = PartEntry(self._settings.name, os.getpid(), time.time_ns() // 1_000_000, 0, wiring.ray_node())
        strays = await self._take_stock()
        self._suspect_predecessor()
        await self._office.enter_part(SLOT, entry)
        self._tasks = [asyncio.create_task(self._keep(slot), name=slot.id) for slot in self._settings.slots]
        self._tasks.append(asyncio.create_task(self._hold_office()))
        self._tasks.append(asyncio.create_task(self._end_strays(strays)))

    def facts(self) -> dict[str, Any]:
        """What runs by slot (process ids, ports); whether all do; a number that grows while parts get on; whose it is."""
        parts = {slot_id: running.facts for slot_id, running in self._running.items()}
        is_complete = all(slot.id in parts for slot in self._settings.slots)
        return {"parts": parts, "is_complete": is_complete, "progress": self._progress, "hall_id": self._hall_id}

    async def stop(self) -> None:
        """Stop all parts in good order: gateways first, the follower last, so that nothing said is missed."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(StoreUnavailable, Superseded):
            await self._office.want_nothing()
        for standby in self._standbys.values():
            await standby.close()
        for slot in reversed(self._settings.slots):
            running = self._running.pop(slot.id, None)
            if running is None:
                continue
            try:
                await running.handle.stop(STOP_S)
            except Exception as error:
                # Whatever one part makes of its end, the others are to end in good order too.
                log.warning("part.not_stopped", slot=slot.id, reason=str(error) or type(error).__name__)
            self._endings.submit(running.handle.kill)
        await asyncio.to_thread(self._endings.shutdown)
        await self._client.close()

    async def status(self) -> dict[str, Any]:
        now_s = time.monotonic()
        return {
            slot.id: {
                "name": running.handle.name,
                "pid": running.pid,
                "ray_node": running.ray_node,
                "up_s": int(now_s - running.started_s),
                "restarts": self._restarts.get(slot.id, 0),
            }
            if (running := self._running.get(slot.id)) is not None
            else {"name": "", "restarts": self._restarts.get(slot.id, 0)}
            for slot in self._settings.slots
        }

    def _suspect_predecessor(self) -> None:
        """The machine of a supervisor that had to be followed may be lost, with all that ran there."""
        before = self._left.get(SLOT)
        if before is not None and before.ray_node != wiring.ray_node():
            self._nodes.suspect(before.ray_node)

    # -- the office

    async def _hold_office(self) -> None:
        """Show life; end as soon as another holds the office."""
        while True:
            try:
                await self._office.beat()
                for _ in range(len(self._unended)):
                    self._end_soon(self._unended.popleft())
            except StoreUnavailable as error:
                log.warning("office.not_confirmed", reason=error.reason)
            except Superseded as error:
                self._resign(error)
                return
            await asyncio.sleep(BEAT_S)

    def _resign(self, error: Superseded) -> None:
        log.warning("supervisor.superseded", name=self._settings.name, office=str(error))
        self.ended.set()

    def _end(self, handle: wiring.Handle) -> None:
        """End a part for certain, unless somebody else decides that by now; later, if nobody can tell. Blocks: for a thread."""
        if self._office.is_trusted():
            handle.kill()
        else:
            self._unended.append(handle)

    def _end_soon(self, handle: wiring.Handle) -> None:
        """Not awaited: Ray takes 14 s to end what ran on a lost machine (M), and its successor is not to wait for that."""
        self._endings.submit(self._end, handle)

    async def _take_stock(self) -> list[str]:
        """Look what runs besides what is noted: standbys are kept; return the names of the rest, which nobody answers for.

        A part that was started and never noted, by one who died meanwhile, looks like a standby; its start is harmless.
        """
        names = await _names()
        kept = {entry.name for entry in self._left.values()} | {self._settings.name}
        for slot in self._settings.slots:
            entry = self._left.get(slot.id)
            after = epoch_of(entry.name) if entry is not None else 0
            newest = max((one for one in names if one.startswith(f"{slot.id}-e")), key=epoch_of, default="")
            if slot.has_standby and epoch_of(newest) > after:
                with contextlib.suppress(PeerGone, TimeoutError):
                    self._standbys[slot.id].offer(Made(await wiring.asked(wiring.find, newest), ""))
                    kept.add(newest)
        ids = {SLOT, *self._left, *(slot.id for slot in self._settings.slots)}
        return [one for one in names if one not in kept and one.rpartition("-e")[0] in ids]

    async def _end_strays(self, strays: list[str]) -> None:
        """End what runs in no slot, and strike slots that are no more."""
        try:
            for slot_id in self._left.keys() - {SLOT} - {slot.id for slot in self._settings.slots}:
                strays.append(self._left[slot_id].name)
                await self._office.strike_part(slot_id)
            for name in strays:
                log.warning("part.stray", name=name)
                with contextlib.suppress(PeerGone):
                    self._end_soon(await wiring.asked(wiring.find, name))
        except (StoreUnavailable, TimeoutError, Superseded) as error:
            log.warning("strays.not_ended", reason=str(error) or type(error).__name__)

    # -- one slot

    async def _keep(self, slot: Slot) -> None:
        pause_s = PAUSE_FIRST_S
        is_first = True
        while not self.ended.is_set():
            try:
                running = await self._adopt(slot) if is_first else None
                is_first = False
                if running is None:
                    running = await self._start(slot)
                self._running[slot.id] = running
                if slot.has_standby:
                    self._standbys[slot.id].begin()
                await self._watch(running)
                if time.monotonic() - running.started_s > LIVED_S:
                    pause_s = PAUSE_FIRST_S
            except (PeerGone, StoreUnavailable, TimeoutError, NotStarted) as error:
                log.warning("part.not_started", slot=slot.id, reason=str(error) or type(error).__name__)
            except Superseded as error:
                self._resign(error)
                return
            except Exception:
                log.exception("part.failed", slot=slot.id)
            self._running.pop(slot.id, None)
            self._restarts[slot.id] = self._restarts.get(slot.id, 0) + 1
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)

    async def _adopt(self, slot: Slot) -> Incarnation | None:
        """Take over the incarnation that an earlier supervisor left running.

        One that does not answer is ended for certain, or it would keep its name and its port from its successor.
        """
        entry = self._left.get(slot.id)
        if entry is None:
            return None
        try:
            handle = await wiring.asked(wiring.find, entry.name)
        except (PeerGone, TimeoutError):
            return None
        try:
            await handle.pulse(ADOPT_SUSPECTED_S if self._nodes.is_suspected(entry.ray_node) else ADOPT_S)
            running = Incarnation(handle, await handle.facts(FACTS_S), is_patient=slot.kind in PATIENT_KINDS)
        except Exception as error:
            log.warning("part.not_adopted", slot=slot.id, name=entry.name, reason=str(error) or type(error).__name__)
            if entry.ray_node:
                self._nodes.suspect(entry.ray_node)
            self._end_soon(handle)
            return None
        self._nodes.hear(running.ray_node)
        log.info("part.adopted", slot=slot.id, name=entry.name, pid=running.pid)
        return running

    def _standby(self, slot: Slot) -> Standby:
        return Standby(
            slot.id, lambda: self._make(slot), self._end_soon, lambda node_id: self._is_misplaced(slot, node_id)
        )

    async def _is_misplaced(self, slot: Slot, node_id: str) -> bool:
        """A machine that was lost has left the standby beside its part, and another has come since."""
        chosen, known, avoided = await self._choose_node(slot)
        return self._nodes.is_better(chosen, node_id, known, avoided)

    async def _start(self, slot: Slot) -> Incarnation:
        made = await self._standbys[slot.id].take() if slot.has_standby else None
        made = made or await self._make(slot)
        self._starting[slot.id] = slot.kind, made.node_id
        try:
            return await self._bring_up(slot, made.handle, made.node_id)
        finally:
            self._starting.pop(slot.id, None)

    async def _make(self, slot: Slot) -> Made:
        epoch = await self._office.next_incarnation(slot.id)
        name = slot.name(epoch)
        settings = msgspec.msgpack.encode(_filled(slot.settings, {"@name": name, "@epoch": epoch}))
        node_id, _, _ = await self._choose_node(slot)
        # From this instant on, or others that start now would all choose the same machine.
        self._starting[slot.id] = slot.kind, node_id
        try:
            return Made(await wiring.asked(self._spawn, slot, name, settings, node_id), node_id)
        finally:
            self._starting.pop(slot.id, None)

    async def _choose_node(self, slot: Slot) -> tuple[str, list[RayNode], str]:
        """Return the machine for the next incarnation, all machines, and the one that was avoided."""
        running = [(self._kind_of(slot_id), one.ray_node) for slot_id, one in self._running.items()]
        is_core_needed = wiring.OPTIONS[slot.kind]["num_cpus"] > 0
        known = await wiring.asked(wiring.ray_nodes)
        present = self._running.get(slot.id)
        # A standby is to outlive the machine of the part that it stands by for.
        avoided = present.ray_node if present is not None else ""
        running += self._starting.values()
        return self._nodes.choose(slot.kind, is_core_needed, known, running, avoided), known, avoided

    def _kind_of(self, slot_id: str) -> str:
        return next((slot.kind for slot in self._settings.slots if slot.id == slot_id), "")

    def _spawn(self, slot: Slot, name: str, settings: bytes, node_id: str) -> wiring.Handle:
        if not self._office.is_trusted():
            raise NotStarted("the office is not confirmed")
        return wiring.spawn(slot.kind, name, slot.class_path, settings, node_id)

    async def _bring_up(self, slot: Slot, handle: wiring.Handle, node_id: str) -> Incarnation:
        try:
            try:
                await is_born(handle)
            except (TimeoutError, PeerGone):
                self._nodes.suspect(node_id)
                raise
            running = await Incarnation.started(handle, self._note_progress, is_patient=slot.kind in PATIENT_KINDS)
            restarts_count = self._restarts.get(slot.id, 0)
            at_ms = time.time_ns() // 1_000_000
            entry = PartEntry(handle.name, running.pid, at_ms, restarts_count, running.ray_node)
            await self._office.enter_part(slot.id, entry)
        except BaseException:
            # Without the trust too: nobody else knows of this one before it is noted.
            self._endings.submit(handle.kill)
            raise
        log.info("part.started", slot=slot.id, name=handle.name, pid=running.pid, ray_node=running.ray_node)
        return running

    def _note_progress(self) -> None:
        self._progress += 1

    async def _watch(self, running: Incarnation) -> None:
        """Return when the incarnation is gone or silent; it is ended for certain then."""
        self._note_progress()
        reason = await running.gone(self._office.is_trusted, lambda: self._nodes.hear(running.ray_node))
        if reason == "silent":
            self._nodes.suspect(running.ray_node)
        log.warning("part.gone", name=running.handle.name, pid=running.pid, reason=reason)
        self._end_soon(running.handle)


async def _names() -> list[str]:
    """What Ray knows to run; nothing where its head does not answer."""
    try:
        return await wiring.asked(wiring.names)
    except TimeoutError:
        log.warning("ray.silent")
        return []


def epoch_of(name: str) -> int:
    """Of an actor's name; 0: it has none."""
    number = name.rpartition("-e")[2]
    return int(number) if number.isdigit() else 0


def _filled(value: Any, own: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(one, own) for key, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, own) for one in value]
    return own.get(value, value) if isinstance(value, str) else value
