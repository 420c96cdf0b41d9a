"""Messages between processes: late, lost, twice, out of order; and the end of whoever should have answered.

A call runs as the receiver's own task. What becomes of it on the way is decided by the weather, when it is sent. A caller
whose request or answer got lost sees its connection break (`PeerGone`) in bounded time, as with Ray; one whose receiver is
frozen sees nothing at all.

Not here: the store (`store`), sockets of people (`gateways`).
"""

import asyncio
import random
from typing import Any

from actors.mailbox import PeerGone
from actors.shard import ShardEnded
from tests.simulation.clockwork import PROCESS, Process, VirtualLoop
from tests.simulation.weather import Weather

NOTICE_S = (0.01, 2.5)
"""How long until a caller learns that its receiver is dead; Ray's own notice took 2.0 s (RAY.md)."""


class Wire:
    """All connections between parts, by name."""

    def __init__(self, loop: VirtualLoop, chance: random.Random, weather: Weather) -> None:
        self.loop = loop
        self.weather = weather
        self.world = Process("world")
        self.parts: dict[str, tuple[Process, Any]] = {}
        self.trace: Any = lambda *words: None
        self.cut: set[tuple[str, str]] = set()
        """(caller, receiver) between whom nothing passes now, by the beginnings of their names."""
        self._chance = chance
        self._open: dict[str, dict[asyncio.Future[Any], None]] = {}
        """Process -> calls that it has not answered."""

    def enter(self, name: str, process: Process, part: Any) -> None:
        """Let the part be called by that name until its process dies."""
        self.parts[name] = (process, part)
        process.at_death.append(lambda: self._bury(name, process))

    def _bury(self, name: str, process: Process) -> None:
        if self.parts.get(name, (None, None))[0] is process:
            del self.parts[name]
        for future in self._open.pop(process.name, {}):
            self._break(future, f"{process.name} died")

    def delay_s(self) -> float:
        weather = self.weather
        if self._chance.random() < weather.spike_ratio:
            return self._chance.uniform(0, weather.spike_s)
        return weather.delay_s * self._chance.uniform(0.2, 2.0)

    def later(self, delay_s: float, callback: Any, *args: Any) -> None:
        """Do it in the world's name, so that nobody's death stops it."""
        self.loop.call_later(delay_s, callback, *args, context=self.world.context)

    async def call(
        self, name: str, target: tuple[Process, Any], method: str, args: tuple[Any, ...], *, is_once: bool = False
    ) -> Any:
        """Call a part in another process. Raises PeerGone, or what the part raised. `is_once`: it is never repeated."""
        future = self.loop.create_future()
        weather, chance = self.weather, self._chance
        caller = PROCESS.get()
        if chance.random() < weather.loss_ratio or self.is_cut(caller.name if caller else "", name):
            self._break(future, "the request was lost")
        else:
            is_answer_lost = chance.random() < weather.loss_ratio
            self.later(self.delay_s(), self._arrive, target, method, args, future, is_answer_lost)
        if not is_once and chance.random() < weather.repeat_ratio:
            self.later(self.delay_s() + self.delay_s(), self._arrive, target, method, args, None, False)
        return await future

    def is_cut(self, caller: str, receiver: str) -> bool:
        return any(caller.startswith(one) and receiver.startswith(other) for one, other in sorted(self.cut))

    def _arrive(self, target: Any, method: str, args: Any, future: asyncio.Future[Any] | None, is_lost: bool) -> None:
        process, part = target
        if process.is_dead:
            if future is not None:
                self._break(future, f"{process.name} is dead")
            return
        if future is not None:
            self._open.setdefault(process.name, {})[future] = None
        self.loop.spawn(process, self._serve(process, part, method, args, future, is_lost))

    async def _serve(
        self, process: Process, part: Any, method: str, args: Any, future: asyncio.Future[Any] | None, is_lost: bool
    ) -> None:
        answer, error = None, None
        try:
            answer = await getattr(part, method)(*args)
        except ShardEnded as ended:
            error = PeerGone(str(ended))
        except asyncio.CancelledError:
            error = PeerGone(f"{process.name} ends")
        except Exception as raised:
            error = raised
        if future is None:
            return
        self._open.get(process.name, {}).pop(future, None)
        if is_lost:
            self._break(future, "the answer was lost")
        else:
            self.later(self.delay_s(), settle, future, answer, error)

    def _break(self, future: asyncio.Future[Any], reason: str) -> None:
        self.later(self._chance.uniform(*NOTICE_S), settle, future, None, PeerGone(reason))


def settle(future: asyncio.Future[Any], answer: Any, error: Exception | None) -> None:
    """Answer whoever still waits."""
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(answer)


class WirePeer:
    """One incarnation of a part, as another process knows it."""

    def __init__(self, wire: Wire, name: str, target: tuple[Process, Any]) -> None:
        self.name = name
        self._wire = wire
        self._target = target

    async def receive(self, sender: str, number: int, payload: bytes) -> bytes:
        answer: bytes = await self._wire.call(self.name, self._target, "receive", (sender, number, payload))
        return answer

    async def poll(self, gateway_id: str, cursor: int, wait_s: float) -> bytes:
        answer: bytes = await self._wire.call(self.name, self._target, "poll", (gateway_id, cursor, wait_s))
        return answer

    def __getattr__(self, method: str) -> Any:
        """Whatever else a part offers to others is called in the same way."""

        async def call(*args: Any) -> Any:
            return await self._wire.call(self.name, self._target, method, args)

        return call


class WireNetwork:
    """`actors.network.Network` over the wire."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def peer(self, name: str) -> WirePeer:
        await asyncio.sleep(self._wire.delay_s())
        target = self._wire.parts.get(name)
        if target is None:
            raise PeerGone(f"no part {name!r}")
        return WirePeer(self._wire, name, target)
