"""A hall with media in this process, whose gateway lets a page of another origin in, and a Chromium."""

import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aioice.ice
import pytest
from playwright.async_api import Browser, async_playwright

from actors.media_part import MediaPart
from gateway.app import Gateway
from gateway.development_issuer import DevelopmentIssuer
from gateway.settings import Settings
from tests.gateway.real_media import hall_with_media
from tests.hall.pages import FLAGS

PAGE = "http://localhost"
"""An origin of somebody else's; cameras are given to it, as it is this machine."""


@pytest.fixture
def token(tmp_path: Path) -> Callable[..., str]:
    return DevelopmentIssuer.open(tmp_path / "keys").issue


@pytest.fixture
async def hall(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[MediaPart, Gateway]]:
    """A hall with one worker and one gateway. aioice leaves out loopback by itself."""
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])
    settings = Settings(keys_folder=tmp_path / "keys", stop_ms=200, ping_ms=600_000, allowed_origins=(PAGE,))
    async with hall_with_media(tmp_path / "recordings", settings) as found:
        yield found


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    chromium = shutil.which("chromium")
    assert chromium, "the browser tests need Chromium: apt-get install chromium"
    # A hall of a bank's is not on the loopback of whoever calls; this one is, and Chromium asks before it lets a page there.
    flags = [f"{one},LocalNetworkAccessChecks" if one.startswith("--disable-features=") else one for one in FLAGS]
    async with async_playwright() as playwright:
        made = await playwright.chromium.launch(executable_path=chromium, args=flags)
        yield made
        await made.close()
