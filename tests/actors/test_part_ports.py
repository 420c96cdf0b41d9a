"""At which ports parts listen: any, or those of a range that a firewall lets through."""

import socket

import pytest

from actors import rpc_server
from actors.rpc_server import RpcServer
from actors.shard import ShardEnded


def _is_free(port: int) -> bool:
    with socket.socket() as one:
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


async def test_ports_of_a_range(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a range of two ports; then two servers listen there, and a third says what it needs."""
    with socket.socket() as one, socket.socket() as other:
        for held in (one, other):
            held.bind(("127.0.0.1", 0))
        first = one.getsockname()[1]
    # Two neighbours that are free; the kernel gives ports at random, so these stay so for long enough.
    first = next(low for low in range(first, first + 1_000) if all(_is_free(port) for port in (low, low + 1)))
    monkeypatch.setenv(rpc_server.PORTS, f"{first}-{first + 1}")
    servers = [RpcServer(None, ShardEnded) for _ in range(3)]
    try:
        assert {(await server.start("127.0.0.1")).port for server in servers[:2]} == {first, first + 1}
        with pytest.raises(OSError, match=rpc_server.PORTS):
            await servers[2].start("127.0.0.1")
    finally:
        for server in servers:
            await server.close()


@pytest.mark.parametrize("said", ["20000", "20000-", "x-y", "20010-20000", "0-5", "65000-70000"])
def test_what_is_no_range_of_ports(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given something that is no range; then it is refused with an example of one."""
    monkeypatch.setenv(rpc_server.PORTS, said)
    with pytest.raises(ValueError, match="20000-20099"):
        rpc_server.ports()
