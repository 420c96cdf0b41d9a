"""Servers that end with their test."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.store.certificates import Files
from tests.store.servers import Program, Server
from tests.store.wired import Wired, wired_hall

MakeServer = Callable[..., Server]


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[MakeServer]:
    """Makes servers, each with a folder of its own under the test's; all are killed at the end."""
    made: list[Server] = []

    def make(
        name: str, *options: str, program: Program = "valkey", port: int | None = None, tls: Files | None = None
    ) -> Server:
        made.append(Server(tmp_path / name, program, *options, port=port, tls=tls))
        return made[-1]

    yield make
    for server in made:
        server.end()


@pytest.fixture
async def wired(make_server: MakeServer) -> AsyncIterator[Wired]:
    """A hall in this process over a real store that can be made to misbehave."""
    async with wired_hall(await make_server("store").start()) as one:
        yield one
