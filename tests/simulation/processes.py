"""A part's process, as its supervisor and the others see it: what `wiring.PartActor` and `wiring.Handle` are, without Ray.

Rules: a part is made inside its own process and reached over the wire alone. A process takes a while to be born; a part
that ends by itself takes its process with it; ending one from outside may take long (Ray needs 14 s where a machine is lost).
"""

import asyncio
from collections.abc import Callable
from typing import Any

from actors.mailbox import PeerGone
from actors.wiring import PeerEnded
from tests.simulation.clockwork import Process
from tests.simulation.wire import Wire

BORN_S = (0.3, 2.0)
"""A new process imports for 1 to 2 s (RAY.md)."""
END_S = 0.02
END_LATE_S = (5.0, 40.0)


class PartProcess:
    """The process's own end."""

    def __init__(self, wire: Wire, process: Process, make: Callable[[], Any], born_s: float) -> None:
        self.part: Any = None
        self.is_started = False
        self._wire = wire
        self._process = process
        self._make = make
        self._starting = asyncio.Lock()
        self._born_at_s = wire.loop.time() + born_s
        self._watch: asyncio.Task[None] | None = None

    async def _until_born(self) -> None:
        await asyncio.sleep(max(0.0, self._born_at_s - self._wire.loop.time()))
        if self.part is None:
            self.part = self._make()
            self._watch = asyncio.create_task(self._end_with_part())

    async def pulse(self) -> tuple[float, int]:
        """Asked by the supervisor: it lives, and gets on."""
        await self._until_born()
        return 0.0, self._wire.loop.callbacks_count

    async def start(self) -> None:
        await self._until_born()
        async with self._starting:
            if not self.is_started:
                await self.part.start()
                self.is_started = True

    async def stand_by(self) -> None:
        await self._until_born()
        await self.part.stand_by()

    async def receive(self, sender: str, number: int, payload: bytes) -> bytes:
        if self.part is None:
            raise PeerGone(f"{self._process.name} is not started")
        answer: bytes = await self.part.receive(sender, number, payload)
        return answer

    async def poll(self, gateway_id: str, cursor: int, wait_s: float) -> bytes:
        if self.part is None:
            raise PeerGone(f"{self._process.name} is not started")
        answer: bytes = await self.part.poll(gateway_id, cursor, wait_s)
        return answer

    async def _end_with_part(self) -> None:
        await self.part.ended.wait()
        self._wire.loop.kill(self._process)


class PartHandle:
    """The supervisor's end, as `actors.incarnation` and `actors.standby` use it."""

    def __init__(self, wire: Wire, name: str, process: Process, end: PartProcess, node: str, pid: int) -> None:
        self.name = name
        self.process = process
        self.end = end
        self.end_s = END_S
        """How long its end takes."""
        self._wire = wire
        self._facts = {"pid": pid, "ray_node": node}

    def __repr__(self) -> str:
        return f"<PartHandle {self.name} {self.process.state}>"

    async def start(self) -> dict[str, Any]:
        await self._ask("start")
        return self._facts

    async def stand_by(self) -> None:
        await self._ask("stand_by")

    async def pulse(self, timeout_s: float) -> tuple[float, int]:
        async with asyncio.timeout(timeout_s):
            lag_s, progress = await self._ask("pulse")
        return lag_s, progress

    async def _ask(self, method: str) -> Any:
        try:
            return await self._wire.call(self.name, (self.process, self.end), method, (), is_once=True)
        except PeerGone as error:
            raise (PeerEnded(self.name) if self.process.is_dead else error) from error

    def kill(self) -> None:
        """For certain, but not at once."""
        self._wire.later(self.end_s, self._wire.loop.kill, self.process)
