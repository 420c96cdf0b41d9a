"""A gateway as a part of the hall: what the supervisor starts in a process of its own.

Rules: several may share one port, each with an id of its own. One that is drained sends its clients to the others, then ends,
and the supervisor starts its successor; one that is stopped ends with the whole hall.
"""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from actors.audit import StoreAudit
from actors.guard import Guard
from actors.inbox import Inbox
from actors.items import ReadPart, decode_gateway_items, encode
from actors.network import Network
from actors.parts import HallSettings, open_hall
from actors.reporting import part_facts
from actors.tickets import StoreTickets
from gateway.app import Gateway, tune_process
from gateway.settings import Settings


class GatewayPartSettings(Struct, frozen=True):
    hall: HallSettings
    gateway: Settings


def decode_settings(data: bytes) -> GatewayPartSettings:
    """Paths travel as text."""
    return msgspec.msgpack.decode(data, type=GatewayPartSettings, dec_hook=_decode_path)


def decode_gateway(values: dict[str, Any]) -> Settings:
    """Make a gateway's settings from plain values. Raises msgspec.ValidationError, which is a ValueError."""
    return msgspec.convert(values, Settings, dec_hook=_decode_path)


def _decode_path(kind: type[Any], value: Any) -> Any:
    if kind is Path:
        return Path(value)
    raise NotImplementedError(f"no way to decode {kind}")


class GatewayPart:
    """Hosts one Gateway, and guards the supervisor. `facts` tells the port that it got."""

    def __init__(self, settings: bytes, network: Network) -> None:
        self._settings = decode_settings(settings)
        self._network = network
        self.ended = asyncio.Event()
        self._inbox = Inbox()
        self._draining: asyncio.Task[None] | None = None

    async def start(self) -> None:
        tune_process()
        own = self._settings
        self._hall, self._client = open_hall(own.hall, self._network, own.gateway.gateway_id)
        self._gateway = Gateway(self._hall, own.gateway, StoreTickets(self._client), StoreAudit(self._client))
        await self._gateway.start()
        self._guarding = asyncio.create_task(Guard(self._client).run(), name="guard")

    async def stop(self) -> None:
        ending = [task for task in (self._guarding, self._draining) if task is not None]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        await self._gateway.stop()
        await self._hall.close()
        await self._client.close()

    async def status(self) -> dict[str, Any]:
        own = {"connections": self._gateway.connections, "connections_max": self._settings.gateway.connections_max}
        return {**own, "is_draining": self._draining is not None, **self.facts(), **part_facts()}

    async def receive(self, sender: str, number: int, payload: bytes) -> bytes:
        return await self._inbox.take(sender, number, lambda: asyncio.ensure_future(self._answers(payload)))

    async def _answers(self, payload: bytes) -> bytes:
        items = decode_gateway_items(payload)
        return encode([await self.status() if isinstance(item, ReadPart) else self._drain() for item in items])

    def _drain(self) -> int:
        """Begin to leave the clients to the others; returns how many there are. Harmless when repeated."""
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain_and_end(), name="drain")
        return sum(self._gateway.connections.values())

    async def _drain_and_end(self) -> None:
        try:
            await self._gateway.drain()
        finally:
            self.ended.set()

    def facts(self) -> dict[str, Any]:
        return {"port": self._gateway.port, "metrics_port": self._gateway.metrics_port}
