"""The supervisor: keeps what runs equal to what should run.

Each slot (`shard-0`, `follower`, `media-1`, `gateway-1`) holds one incarnation of a part. Its process is looked at
four times a second (where it is on this machine), its word asked every two seconds; one that is gone or silent is
ended for certain and followed by the next incarnation, under a name with a higher epoch (SAFETY.md 13). A slot that
fails again and again is tried ever more slowly, never given up.

Rules: a slot's settings are made when an incarnation starts, so its epoch and name stand in them. A successor of
the supervisor itself finds the running parts noted in the store and adopts them.
"""

import asyncio
import contextlib
import os
import time
from pathlib import Path
from typing import Any

import msgspec
import structlog
from msgspec import Struct

from actors.directory import Directory, PartEntry
from actors.mailbox import PeerGone
from actors.network import Network
from actors.store_client import StoreClient, StoreUnavailable
from actors.wiring import Handle, find, ray_node, spawn

LOOK_S = 0.25
STATUS_S = 2.0
SILENT_S = 10.0
"""A part that has not said a word for so long is taken for dead: a shard replays 50,000 live calls in less."""
PAUSE_FIRST_S = 0.1
PAUSE_MAX_S = 5.0
LIVED_S = 30.0
"""An incarnation that lived this long had started well: the next pause is short again."""
STOP_S = 20.0
SLOT = "supervisor"
"""Its own entry among the parts."""

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
    has_epoch: bool = True

    def name(self, epoch: int) -> str:
        """Of the actor that fills it as the incarnation of that number."""
        return f"{self.id}-e{epoch}" if self.has_epoch else self.id


class SupervisorSettings(Struct, frozen=True):
    slots: list[Slot]
    """In the order of starting; stopped in reverse."""
    store_url: str


class Running:
    """An incarnation in its slot."""

    def __init__(self, handle: Handle, facts: dict[str, Any]) -> None:
        self.handle = handle
        self.facts = facts
        self.started_s = time.monotonic()
        self.heard_s = self.started_s

    @property
    def pid(self) -> int:
        return int(self.facts["pid"])

    def is_gone(self) -> bool:
        """Say whether its process is gone for certain; of one on another machine only its silence tells."""
        return self.facts["ray_node"] == ray_node() and not is_alive(self.pid)


class Supervisor:
    """A part itself: started by `tellerhall up`."""

    def __init__(self, settings: bytes, network: Network) -> None:
        self._settings = msgspec.msgpack.decode(settings, type=SupervisorSettings)
        self.ended = asyncio.Event()
        self._client = StoreClient(self._settings.store_url)
        self._directory = Directory(self._client)
        self._running: dict[str, Running] = {}
        self._restarts: dict[str, int] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._owner_heard_s = time.monotonic()
        """Nobody but `tellerhall up` asks for the status."""
        self._first = {slot.id: asyncio.Event() for slot in self._settings.slots}

    async def start(self) -> None:
        """Begin to keep each slot; returns once every part has started once."""
        await self._directory.write_part(SLOT, PartEntry(SLOT, os.getpid(), time.time_ns() // 1_000_000, 0))
        self._tasks = [asyncio.create_task(self._keep(slot), name=slot.id) for slot in self._settings.slots]
        await asyncio.gather(*(event.wait() for event in self._first.values()))

    def facts(self) -> dict[str, Any]:
        """Facts of every part by slot (process ids, ports), and since when no `tellerhall up` asked after this supervisor."""
        parts = {slot_id: running.facts for slot_id, running in self._running.items()}
        return {"parts": parts, "owner_silent_s": time.monotonic() - self._owner_heard_s}

    async def stop(self) -> None:
        """Stop all parts in good order: gateways first, the follower last, so that nothing said is missed."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for slot in reversed(self._settings.slots):
            running = self._running.pop(slot.id, None)
            if running is None:
                continue
            try:
                await running.handle.stop(STOP_S)
            except Exception as error:
                # Whatever one part makes of its end, the others are to end in good order too.
                log.warning("part.not_stopped", slot=slot.id, reason=str(error) or type(error).__name__)
            running.handle.kill()
        await self._client.close()

    async def status(self) -> dict[str, Any]:
        now_s = self._owner_heard_s = time.monotonic()
        return {
            slot.id: {
                "name": running.handle.name,
                "pid": running.pid,
                "up_s": int(now_s - running.started_s),
                "restarts": self._restarts.get(slot.id, 0),
            }
            if (running := self._running.get(slot.id)) is not None
            else {"name": "", "restarts": self._restarts.get(slot.id, 0)}
            for slot in self._settings.slots
        }

    # -- one slot

    async def _keep(self, slot: Slot) -> None:
        pause_s = PAUSE_FIRST_S
        is_first = True
        while True:
            try:
                running = await self._adopt(slot) if is_first else None
                is_first = False
                if running is None:
                    running = await self._start(slot)
                self._running[slot.id] = running
                self._first[slot.id].set()
                await self._watch(running)
                if time.monotonic() - running.started_s > LIVED_S:
                    pause_s = PAUSE_FIRST_S
            except (PeerGone, StoreUnavailable, TimeoutError) as error:
                log.warning("part.not_started", slot=slot.id, reason=str(error) or type(error).__name__)
            except Exception:
                log.exception("part.failed", slot=slot.id)
            self._running.pop(slot.id, None)
            self._restarts[slot.id] = self._restarts.get(slot.id, 0) + 1
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)

    async def _adopt(self, slot: Slot) -> Running | None:
        """Take over the incarnation that an earlier supervisor left running. Raises StoreUnavailable.

        One that runs and does not answer is ended for certain, or it would keep its name and its port from its successor.
        """
        entry = (await self._directory.read_parts()).get(slot.id)
        if entry is None:
            return None
        try:
            handle = await asyncio.to_thread(find, entry.name)
        except PeerGone:
            return None
        try:
            return Running(handle, await handle.facts(SILENT_S))
        except Exception as error:
            log.warning("part.not_adopted", slot=slot.id, name=entry.name, reason=str(error) or type(error).__name__)
            handle.kill()
            return None

    async def _start(self, slot: Slot) -> Running:
        epoch = await self._directory.next_incarnation(slot.id)
        name, before = slot.name(epoch), slot.name(epoch - 1)
        # A supervisor that died between starting a part and noting it left one that nobody else would ever end.
        with contextlib.suppress(PeerGone):
            (await asyncio.to_thread(find, before)).kill()
        settings = msgspec.msgpack.encode(_filled(slot.settings, {"@name": name, "@epoch": epoch}))
        handle = await asyncio.to_thread(spawn, slot.kind, name, slot.class_path, settings)
        try:
            running = Running(handle, await handle.start())
            await self._directory.write_part(slot.id, self._entry(slot, running))
        except BaseException:
            handle.kill()
            raise
        log.info("part.started", slot=slot.id, name=name, pid=running.pid)
        return running

    def _entry(self, slot: Slot, running: Running) -> PartEntry:
        restarts_count = self._restarts.get(slot.id, 0)
        return PartEntry(running.handle.name, running.pid, time.time_ns() // 1_000_000, restarts_count)

    async def _watch(self, running: Running) -> None:
        """Return when the incarnation is gone or silent; it is ended for certain then."""
        try:
            while not running.is_gone():
                await asyncio.sleep(LOOK_S)
                now_s = time.monotonic()
                if now_s - running.heard_s > STATUS_S:
                    await self._ask(running)
        finally:
            if not asyncio.current_task().cancelling():  # type: ignore[union-attr]
                running.handle.kill()
        log.warning("part.gone", name=running.handle.name, pid=running.pid)

    async def _ask(self, running: Running) -> None:
        try:
            await running.handle.status(SILENT_S)
        except TimeoutError as error:
            raise PeerGone(f"{running.handle.name} has been silent for {SILENT_S} s") from error
        running.heard_s = time.monotonic()


def _filled(value: Any, own: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(one, own) for key, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, own) for one in value]
    return own.get(value, value) if isinstance(value, str) else value


def is_alive(pid: int) -> bool:
    """Say whether the process runs; one that only waits to be reaped does not."""
    with contextlib.suppress(OSError, ValueError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in "ZX"
    return False
