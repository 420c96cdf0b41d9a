"""A gateway as a part of the hall: what the supervisor starts in a process of its own."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from actors.guard import Guard
from actors.network import Network
from actors.parts import HallSettings, open_hall
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

    async def start(self) -> None:
        tune_process()
        own = self._settings
        self._hall, self._client = open_hall(own.hall, self._network, own.gateway.gateway_id)
        self._gateway = Gateway(self._hall, own.gateway)
        await self._gateway.start()
        self._guarding = asyncio.create_task(Guard(self._client).run(), name="guard")

    async def stop(self) -> None:
        self._guarding.cancel()
        await asyncio.gather(self._guarding, return_exceptions=True)
        await self._gateway.stop()
        await self._hall.close()
        await self._client.close()

    async def status(self) -> dict[str, Any]:
        return {"text": repr(self._gateway)}

    def facts(self) -> dict[str, Any]:
        return {"port": self._gateway.port, "metrics_port": self._gateway.metrics_port}
