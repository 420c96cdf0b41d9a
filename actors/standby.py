"""The next incarnation of a slot, made in advance: its process runs, has all imported, and reads along where it can.

Measured: a new process takes 1 to 2 s until it can do anything, a busy machine makes that more. One that waits takes over at
once. It has the next epoch's name already, and is used for that epoch or ended: one that was made before another filled
the slot would count as replaced.

Bounds: one a slot. What goes wrong with it is tried again every `LOOK_S`, and the slot is filled without it meanwhile.

Not here: when it is used (`supervisor`), what it does until then (`shadow`).
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import structlog

from actors.incarnation import SILENT_S, NotStarted, is_born
from actors.mailbox import PeerGone
from actors.office import Superseded
from actors.store_client import StoreUnavailable
from actors.wiring import Handle

LOOK_S = 2.0
PULSE_S = 0.5
"""One that does not say a word within this is no help in a hurry."""

log = structlog.get_logger()


class Made(NamedTuple):
    """A part's process, not started yet."""

    handle: Handle
    node_id: str


class Standby:
    """Of one slot. `begin` once the slot is filled, `take` when it is empty."""

    def __init__(
        self,
        slot_id: str,
        make: Callable[[], Awaitable[Made]],
        end: Callable[[Handle], None],
        is_misplaced: Callable[[str], Awaitable[bool]],
    ) -> None:
        """`make`: start the process of the next incarnation; `end`: end one for certain, later.

        `is_misplaced`: whether there is a better machine by now than that one.
        """
        self._slot_id = slot_id
        self._make = make
        self._end = end
        self._is_misplaced = is_misplaced
        self._ready: Made | None = None
        self._takes_count = 0
        self._is_wanted = asyncio.Event()
        """The slot is filled: from each `begin` to the next `take`."""
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Standby of {self._slot_id} ready={self._ready is not None}>"

    def begin(self) -> None:
        """Keep one ready from now on, until it is taken."""
        self._is_wanted.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._keep(), name=f"standby {self._slot_id}")

    def offer(self, made: Made) -> None:
        """Use one that an earlier supervisor made: it waits still."""
        self._ready = made

    async def take(self) -> Made | None:
        """Return the one that is ready, if it lives. One that is being made just now comes too late and is ended."""
        self._takes_count += 1
        self._is_wanted.clear()
        made, self._ready = self._ready, None
        if made is None:
            return None
        try:
            await made.handle.pulse(PULSE_S)
        except (PeerGone, TimeoutError) as error:
            log.warning("standby.not_used", slot=self._slot_id, reason=str(error) or type(error).__name__)
            self._end(made.handle)
            return None
        return made

    async def close(self) -> None:
        """End it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._ready is not None:
            self._end(self._ready.handle)

    async def _keep(self) -> None:
        while True:
            await self._is_wanted.wait()
            try:
                if self._ready is None:
                    await self._prepare(self._takes_count)
                else:
                    await self._look_after(self._ready)
            except (PeerGone, StoreUnavailable, TimeoutError, NotStarted) as error:
                log.warning("standby.not_made", slot=self._slot_id, reason=str(error) or type(error).__name__)
            except Superseded:
                return  # The supervisor hears of it by itself.
            except Exception:
                log.exception("standby.failed", slot=self._slot_id)
            await asyncio.sleep(LOOK_S)

    async def _prepare(self, takes_count: int) -> None:
        made = await self._make()
        try:
            await is_born(made.handle)
            await made.handle.stand_by()
            if takes_count == self._takes_count:
                self._ready = made
        finally:
            if self._ready is not made:
                self._end(made.handle)

    async def _look_after(self, made: Made) -> None:
        try:
            await made.handle.pulse(SILENT_S)
        except (PeerGone, TimeoutError):
            is_useful = False
        else:
            # Not known where an earlier supervisor put it: it may stay.
            is_useful = not made.node_id or not await self._is_misplaced(made.node_id)
        # One that was taken meanwhile has answered since: it is the supervisor's.
        if not is_useful and self._ready is made:
            self._ready = None
            self._end(made.handle)
