"""One incarnation of a part, as its supervisor knows it: how it is started, and when it counts as gone.

Bounds
- Between being made and its first word: `BORN_S`.
- A start may take as long as it needs while it gets on: `START_S` without progress, or `SILENT_S` without a word, end it.
- Afterwards: gone at once where its process is seen to have ended, or Ray says so; after `UNREACHED_S` of broken connections;
  after `SILENT_S` (or `PATIENT_SILENT_S`) without a word of its control thread; after `HUNG_S` in which its main loop did not
  run.

Not here: what follows then (`supervisor`).
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from actors.mailbox import PeerGone
from actors.wiring import Handle, PeerEnded, ray_node

LOOK_S = 0.25
PULSE_S = 1.0
SILENT_S = 4.0
"""A lost machine closes no connection and says nothing. With the choice of another and a replay this is to stay within 10 s."""
UNREACHED_S = 1.0
"""A broken connection may be the network's; it is tried again for so long. Ray takes 2 s to report it (M)."""
PATIENT_SILENT_S = 20.0
"""Of a part that nobody waits for. A follower that reads back the snapshot of a large division holds its interpreter for some
seconds, on a busy machine for more than `SILENT_S` (M: replaced twice in 12 minutes at 1,000 calls/s)."""
HUNG_S = 10.0
"""A step takes at most 50 ms, a rebuild of 50,000 live calls seconds."""
STALL_S = 1.0
"""Who looks four times a second and slept for longer was frozen itself."""
BORN_S = 30.0
"""A new process imports for 1 to 2 s; on a machine that is overloaded for ten times as long."""
START_S = 60.0


class NotStarted(Exception):
    """A part did not get on with its start, or may not be started now."""


class Incarnation:
    """A part that runs in a slot."""

    def __init__(self, handle: Handle, facts: dict[str, Any], *, is_patient: bool = False) -> None:
        """`is_patient`: nobody waits for this part, so its silence may last longer."""
        self._is_patient = is_patient
        self.handle = handle
        self.facts = facts
        self.started_s = time.monotonic()
        self._heard_s = self.started_s
        self._lag_s = 0.0
        self._unreached_s: float | None = None
        """Since when its connection is broken."""
        self._is_ended = False

    def __repr__(self) -> str:
        return f"<Incarnation {self.handle.name} pid={self.pid}>"

    @classmethod
    async def started(
        cls, handle: Handle, note_progress: Callable[[], None], *, is_patient: bool = False
    ) -> "Incarnation":
        """Start the part. Raises NotStarted, PeerGone, or what the part's own start raised."""
        start = asyncio.ensure_future(handle.start())
        follow = asyncio.ensure_future(_until_stuck(handle, note_progress))
        try:
            await asyncio.wait({start, follow}, return_when=asyncio.FIRST_COMPLETED)
            if start.done():
                return cls(handle, start.result(), is_patient=is_patient)
            raise NotStarted(follow.result())
        finally:
            start.cancel()
            follow.cancel()

    @property
    def pid(self) -> int:
        return int(self.facts["pid"])

    @property
    def ray_node(self) -> str:
        return str(self.facts["ray_node"])

    async def gone(self, is_trusted: Callable[[], bool], on_heard: Callable[[], None]) -> str:
        """Return why the part is gone, once it is. Silence while `is_trusted` says no counts for nothing."""
        pulses = asyncio.create_task(self._take_pulses(on_heard))
        looked_s = time.monotonic()
        try:
            while True:
                await asyncio.sleep(LOOK_S)
                now_s = time.monotonic()
                if now_s - looked_s > STALL_S or not is_trusted():
                    self._heard_s, self._unreached_s = now_s, None
                looked_s = now_s
                if reason := self._why_gone(now_s):
                    return reason
        finally:
            pulses.cancel()

    def _why_gone(self, now_s: float) -> str:
        """Cases in this order: seen, told, broken off, silent, hung. Empty: it lives."""
        if self._is_ended or (self.ray_node == ray_node() and not is_alive(self.pid)):
            return "ended"
        if self._unreached_s is not None and now_s - self._unreached_s > UNREACHED_S:
            return "silent"
        if now_s - self._heard_s > (PATIENT_SILENT_S if self._is_patient else SILENT_S):
            return "silent"
        return "hung" if self._lag_s > HUNG_S else ""

    async def _take_pulses(self, on_heard: Callable[[], None]) -> None:
        while not self._is_ended:
            try:
                self._lag_s, _ = await self.handle.pulse(SILENT_S)
                self._heard_s, self._unreached_s = time.monotonic(), None
                on_heard()
                await asyncio.sleep(PULSE_S)
            except PeerEnded:
                self._is_ended = True
            except PeerGone:
                self._unreached_s = self._unreached_s or time.monotonic()
                await asyncio.sleep(LOOK_S)
            except TimeoutError:
                continue


async def is_born(handle: Handle) -> None:
    """Return when the part's process is there. Raises TimeoutError; PeerGone if it came to nothing."""
    await handle.pulse(BORN_S)


async def _until_stuck(handle: Handle, note_progress: Callable[[], None]) -> str:
    """Return why a start is to be given up; as long as it gets on, that is never."""
    now_s = time.monotonic()
    heard_s = got_on_s = looked_s = now_s
    before = -1
    while True:
        with contextlib.suppress(TimeoutError):
            _, progress = await handle.pulse(PULSE_S)
            heard_s = time.monotonic()
            if progress != before:
                if before >= 0:
                    note_progress()
                before, got_on_s = progress, heard_s
        await asyncio.sleep(LOOK_S)
        now_s = time.monotonic()
        if now_s - looked_s > STALL_S + PULSE_S:
            heard_s = got_on_s = now_s
        looked_s = now_s
        if now_s - heard_s > SILENT_S:
            return f"{handle.name} fell silent in its start"
        if now_s - got_on_s > START_S:
            return f"{handle.name} has not got on with its start for {START_S:.0f} s"


def is_alive(pid: int) -> bool:
    """Say whether the process runs; one that only waits to be reaped does not."""
    with contextlib.suppress(OSError, ValueError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in "ZX"
    return False
