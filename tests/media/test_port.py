"""Who may speak for an address on the shared port: nobody before STUN's integrity check, and nobody else afterwards."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from aioice import stun

from media.port import Address, Port


class Endpoint:
    """Notes what it is given. Satisfies `Endpoint`."""

    def __init__(self, username: str) -> None:
        self.username, self.password = username, "p" * 22
        self.checks: list[Address] = []
        self.media_count = self.handshake_count = 0

    def receive_rtp(self, length: int) -> None:
        self.media_count += 1

    def receive_rtcp(self, packet: bytes) -> None:
        self.media_count += 1

    def receive_handshake(self, datagram: bytes) -> None:
        self.handshake_count += 1

    def receive_check(self, message: bytes, address: Address) -> None:
        self.checks.append(address)

    def is_authentic(self, message: bytes) -> bool:
        return stun.parse_message(message).check_message_integrity(self.password.encode())

    def request(self, password: str = "") -> bytes:
        """A connectivity check to this endpoint."""
        message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        message.attributes["USERNAME"] = f"{self.username}:peer"
        message.add_message_integrity((password or self.password).encode())
        return bytes(message)


RTP = bytes([0x80, 96]) + bytes(30)
DTLS = bytes([22]) + bytes(30)


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    """A port on the loopback."""
    made = Port("127.0.0.1", 0)
    yield made
    made.close()


@pytest.fixture
def client() -> AsyncIterator[socket.socket]:
    """A socket that sends to the port."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("127.0.0.1", 0))
    yield made
    made.close()


async def send(client: socket.socket, port: Port, *datagrams: bytes) -> None:
    for datagram in datagrams:
        client.sendto(datagram, ("127.0.0.1", port.number))
    await asyncio.sleep(0.05)


async def test_address_counts_only_after_an_authentic_check(port: Port, client: socket.socket) -> None:
    """Given an endpoint, when media, a handshake and a check with a wrong password come, then it gets nothing; after a
    right one it gets all."""
    endpoint = Endpoint("abcd")
    port.register("abcd", endpoint)
    await send(client, port, RTP, DTLS, endpoint.request("wrong" * 5), RTP, DTLS)
    assert (endpoint.checks, endpoint.media_count, endpoint.handshake_count) == ([], 0, 0)
    await send(client, port, endpoint.request(), RTP, DTLS)
    assert (endpoint.checks, endpoint.media_count, endpoint.handshake_count) == ([client.getsockname()], 1, 1)


async def test_owned_address_cannot_be_taken(port: Port, client: socket.socket) -> None:
    """Given an address that one endpoint owns, when another's authentic check comes from it, then nothing changes until
    the owner is gone."""
    owner, other = Endpoint("ownr"), Endpoint("othr")
    port.register("ownr", owner)
    port.register("othr", other)
    await send(client, port, owner.request(), other.request(), RTP)
    assert (owner.media_count, other.media_count, other.checks) == (1, 0, [])
    port.forget(owner)
    await send(client, port, other.request(), RTP)
    assert (owner.media_count, other.media_count) == (1, 1)


async def test_naming_an_address_does_not_take_it(port: Port, client: socket.socket) -> None:
    """Given a check that we sent to an address, when media comes from there without an authentic check, then it is
    dropped; the answer to the check reaches whoever asked, from wherever it comes."""
    endpoint = Endpoint("abcd")
    port.register("abcd", endpoint)
    request = bytes(stun.Message(stun.Method.BINDING, stun.Class.REQUEST))
    port.send_check(request, client.getsockname(), endpoint)
    await send(client, port, RTP)
    assert endpoint.media_count == 0
    answer = bytes(stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, transaction_id=request[8:20]))
    await send(client, port, answer, answer)
    assert endpoint.checks == [client.getsockname()]
    await send(client, port, RTP)
    assert endpoint.media_count == 0


@pytest.mark.parametrize("datagram", [b"", b"\0", b"\0\1", bytes(20), bytes([128]), bytes([200]) * 40, bytes(1_900)])
async def test_rubbish_is_dropped(port: Port, client: socket.socket, datagram: bytes) -> None:
    """Given any datagram that is nothing, when it comes, then nothing happens, and the port goes on."""
    endpoint = Endpoint("abcd")
    port.register("abcd", endpoint)
    await send(client, port, endpoint.request(), datagram, RTP)
    assert endpoint.media_count == 1
