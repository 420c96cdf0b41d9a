"""A real gateway on a free port before a stub hall, and a client; at the end nothing may be left."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest

from gateway.app import Gateway
from gateway.development_issuer import DevelopmentIssuer
from gateway.settings import Settings
from tests.gateway.client import Visitor
from tests.gateway.stub_hall import StubHall


@pytest.fixture
def issuer(tmp_path: Path) -> DevelopmentIssuer:
    return DevelopmentIssuer.open(tmp_path / "keys")


@pytest.fixture
def token(issuer: DevelopmentIssuer) -> Callable[..., str]:
    """`token("customer", "c-1")`"""
    return issuer.issue


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(keys_folder=tmp_path / "keys", recordings_folder=tmp_path / "recordings", stop_ms=200)


@pytest.fixture
def stub() -> StubHall:
    return StubHall()


@pytest.fixture
async def gateway(stub: StubHall, settings: Settings) -> AsyncIterator[Gateway]:
    gateway = Gateway(stub, settings)  # type: ignore[arg-type]
    before = asyncio.all_tasks()
    await gateway.start()
    yield gateway
    await gateway.stop()
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, f"tasks left behind: {left}"
    assert stub.listeners == {}, "subscriptions left behind"


@pytest.fixture
async def visitor(gateway: Gateway) -> AsyncIterator[Visitor]:
    async with aiohttp.ClientSession() as http:
        yield Visitor(http, f"http://127.0.0.1:{gateway.port}")
