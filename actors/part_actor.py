"""The Ray actor around a part: what the supervisor asks of it, and the door at which other parts speak with it.

Plain until `wiring.spawn` hands it to Ray. Its main loop is the part's; what is asked in the `CONTROL` group runs beside it.
"""

import asyncio
import importlib
import os
import time
from typing import Any

import msgspec
import structlog

from actors.build import handshake
from actors.logs import configure_logging, part_log
from actors.rpc import Address
from actors.rpc_server import RpcServer
from actors.shard import ShardEnded
from actors.spans import close_spans, configure_spans
from actors.wiring import PRIVATE_UMASK, RayNetwork, ray_address, ray_node

LOOP_BEAT_S = 0.25

log = structlog.get_logger()


class PartActor:
    """Around one part; made by its class's path and its settings."""

    def __init__(self, log_name: str, class_path: str, settings: bytes, expected_build: bytes) -> None:
        handshake(msgspec.msgpack.decode(expected_build))
        os.umask(PRIVATE_UMASK)
        configure_logging(part_log(log_name))
        configure_spans(log_name)
        module, _, name = class_path.partition(":")
        self._class = getattr(importlib.import_module(module), name)
        self._settings = settings
        self._part: Any = None
        self._tasks: list[asyncio.Task[None]] = []
        self._loop_beat_s = time.monotonic()
        self._starting = asyncio.Lock()
        self._is_started = False
        self._server: RpcServer | None = None
        self._network = RayNetwork()
        self._address: Address | None = None

    async def start(self) -> dict[str, Any]:
        """Start the part; returns what the supervisor keeps of it. Once started it only tells that."""
        async with self._starting:
            if not self._is_started:
                await self._make()
                await self._part.start()
                self._tasks.append(asyncio.create_task(self._end_with_part()))
                self._is_started = True
        return self.facts()

    async def stand_by(self) -> None:
        """Make the part, and let it do what it can before its start."""
        async with self._starting:
            await self._make()
        if hasattr(self._part, "stand_by"):
            await self._part.stand_by()
            self._tasks.append(asyncio.create_task(self._end_with_part()))

    async def _make(self) -> None:
        if self._part is None:
            part = self._class(self._settings, self._network)
            server = RpcServer(part, ShardEnded)
            self._address = await server.start(ray_address())
            self._tasks.append(asyncio.create_task(self._beat()))
            self._part, self._server = part, server

    async def address(self) -> tuple[str, int, bytes] | None:
        """Where other parts speak with this one (`rpc.Address`); None until it is made. Runs beside the main loop."""
        own = self._address
        return None if own is None else (own.host, own.port, own.secret)

    async def pulse(self) -> tuple[float, int]:
        """For how long the main loop has not run, in s, and how far a start has got (`Part.progress`). Runs beside it."""
        return time.monotonic() - self._loop_beat_s, getattr(self._part, "progress", int)()

    async def _beat(self) -> None:
        while True:
            self._loop_beat_s = time.monotonic()
            await asyncio.sleep(LOOP_BEAT_S)

    def facts(self) -> dict[str, Any]:
        """Process id and Ray node, and what the part tells of itself (ports)."""
        return {"pid": os.getpid(), "ray_node": ray_node(), **getattr(self._part, "facts", dict)()}

    async def _end_with_part(self) -> None:
        await self._part.ended.wait()
        log.warning("part.ended", part=type(self._part).__name__)
        os._exit(70)

    async def stop(self) -> None:
        for task in self._tasks[1:]:
            task.cancel()
        await self._part.stop()
        if self._server is not None:
            await self._server.close()
        self._network.close()
        await close_spans()

    async def status(self) -> dict[str, Any]:
        status: dict[str, Any] = await self._part.status()
        return status

    async def receive(self, sender: str, number: int, payload: bytes) -> bytes:
        """By a call of Ray's own, as the naive twin in `bench` does; parts speak over `rpc`."""
        answer: bytes = await self._part.receive(sender, number, payload)
        return answer

    async def poll(self, gateway_id: str, cursor: int, wait_s: float) -> bytes:
        """As `receive`."""
        answer: bytes = await self._part.poll(gateway_id, cursor, wait_s)
        return answer
