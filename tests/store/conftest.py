"""Servers that end with their test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.store.servers import Program, Server

MakeServer = Callable[..., Server]


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[MakeServer]:
    """Makes servers, each with a folder of its own under the test's; all are killed at the end."""
    made: list[Server] = []

    def make(name: str, *options: str, program: Program = "valkey", port: int | None = None) -> Server:
        made.append(Server(tmp_path / name, program, *options, port=port))
        return made[-1]

    yield make
    for server in made:
        server.end()
