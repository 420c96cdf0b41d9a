"""The worker's one UDP port: every party's datagrams come and go here.

Rules: an address belongs to an endpoint only after a connectivity check from it passed STUN's integrity check, so
nobody can have another's packets sent to him, or taken from him, by naming an address. Checks are dispatched by the
username in them, answers by the transaction that asked, everything else by address. What belongs to nobody is dropped
and counted, never answered.

Theory of operation. One readable callback takes up to BATCH datagrams into one buffer; media is handled in place, in
that very buffer, without a bytes object, a queue, a task or a coroutine per packet. That is where the factor 30 to
aiortc's own path comes from. Sending is a plain `sendto` on the non-blocking socket; when the kernel's buffer is full
the packet is lost, as on any network.

Not here: what a datagram means (`link.py`).
"""

import asyncio
import socket
from collections import OrderedDict
from struct import unpack_from
from time import monotonic
from typing import Protocol

Address = tuple[str, int]

DATAGRAM_BYTES_MAX = 2048
"""Of the buffers. Media packets stay below 1,500 bytes; libsrtp adds up to 144 when it secures one in place."""
MEDIA_BYTES_MAX = 1600
BATCH = 64
"""Datagrams per wake-up: enough to drain a burst, few enough (3 ms) that timers stay punctual."""
SOCKET_BUFFER_BYTES = 8 << 20
"""Of the kernel, for 1 s of a full worker; the kernel may grant less (net.core.rmem_max)."""
ADDRESS_HOLD_S = 15.0
"""An address is not given to another endpoint while its owner's checks still come from it (every 2.5 to 5 s)."""
TRANSACTIONS_MAX = 4096
"""Checks whose answers are awaited, over all endpoints. The oldest is forgotten first: it is repeated anyway."""
STUN_HEADER_BYTES = 20
STUN_USERNAME = 6


class Endpoint(Protocol):
    """One party's link, as the port sees it."""

    def receive_rtp(self, length: int) -> None:
        """Take the secured packet in the port's `inbound`, in place."""

    def receive_rtcp(self, packet: bytes) -> None:
        """Take one secured RTCP packet."""

    def receive_handshake(self, datagram: bytes) -> None:
        """Take one DTLS datagram."""

    def receive_check(self, message: bytes, address: Address) -> None:
        """Take one STUN message."""

    def is_authentic(self, message: bytes) -> bool:
        """Say whether this STUN request was signed with the endpoint's own password."""


class Port:
    """The socket and who owns which remote address."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            self._socket.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
        try:
            self._socket.bind((host, port))
        except OSError:
            self._socket.close()
            raise
        self.number: int = self._socket.getsockname()[1]
        self.inbound_bytes = bytearray(DATAGRAM_BYTES_MAX)
        self.outbound_bytes = bytearray(DATAGRAM_BYTES_MAX)
        self.inbound, self.outbound = memoryview(self.inbound_bytes), memoryview(self.outbound_bytes)
        self.packets_in = self.bytes_in = self.packets_out = self.bytes_out = self.drops = 0
        self._by_address: dict[Address, Endpoint] = {}
        self._by_username: dict[str, Endpoint] = {}
        self._heard_at: dict[Address, float] = {}
        self._awaited: OrderedDict[bytes, Endpoint] = OrderedDict()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket.fileno(), self._on_readable)

    def close(self) -> None:
        """Stop listening. Datagrams to a closed port are the sender's problem."""
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def register(self, username: str, endpoint: Endpoint) -> None:
        """Give `endpoint` the checks that carry this username fragment."""
        self._by_username[username] = endpoint

    def forget(self, endpoint: Endpoint) -> None:
        """Drop whatever still comes for `endpoint`. O(endpoints), once per connection."""
        for mapping in (self._by_username, self._by_address, self._awaited):
            for key in [key for key, owner in mapping.items() if owner is endpoint]:
                del mapping[key]  # type: ignore[arg-type]  # the keys come from this very mapping
        self._heard_at = {address: at for address, at in self._heard_at.items() if address in self._by_address}

    def send(self, datagram: bytes | memoryview, address: Address) -> None:
        """Send one datagram; lost when the kernel does not take it."""
        try:
            self._socket.sendto(datagram, address)
        except OSError:  # A full buffer, or an address that cannot be reached: both are ordinary loss.
            self.drops += 1
            return
        self.packets_out += 1
        self.bytes_out += len(datagram)

    def send_check(self, message: bytes, address: Address, endpoint: Endpoint) -> None:
        """Send one STUN message, remembering who awaits the answer if it is a request."""
        if message[0] == 0 and message[1] == 1:
            self._awaited[message[8:STUN_HEADER_BYTES]] = endpoint
            if len(self._awaited) > TRANSACTIONS_MAX:
                self._awaited.popitem(last=False)
        self.send(message, address)

    def _on_readable(self) -> None:
        receive, inbound, by_address = self._socket.recvfrom_into, self.inbound_bytes, self._by_address
        for _ in range(BATCH):
            try:
                length, address = receive(inbound)
            except OSError:  # Nothing left, or an ICMP error of an earlier send, which no one awaits.
                return
            self.packets_in += 1
            self.bytes_in += length
            endpoint = by_address.get(address)
            first = inbound[0]
            if 127 < first < 192 and endpoint is not None and 12 <= length <= MEDIA_BYTES_MAX:
                if 192 <= inbound[1] <= 208:
                    endpoint.receive_rtcp(bytes(self.inbound[:length]))
                else:
                    endpoint.receive_rtp(length)
            elif first < 4 and length >= STUN_HEADER_BYTES:
                self._on_check(bytes(self.inbound[:length]), address)
            elif 19 < first < 64 and endpoint is not None and length:
                endpoint.receive_handshake(bytes(self.inbound[:length]))
            else:
                self.drops += 1

    def _on_check(self, message: bytes, address: Address) -> None:
        if message[0] & 1 or message[1] & 0x10:  # An answer (RFC 8489 section 5): C1 or C0 of the class is set.
            owner = self._awaited.pop(message[8:STUN_HEADER_BYTES], None)
            if owner is not None:
                owner.receive_check(message, address)
            return
        owner = self._by_username.get(username_of(message))
        if owner is None or not owner.is_authentic(message) or not self._take_address(address, owner):
            self.drops += 1
            return
        owner.receive_check(message, address)

    def _take_address(self, address: Address, endpoint: Endpoint) -> bool:
        now = monotonic()
        owner = self._by_address.get(address)
        if owner is not None and owner is not endpoint and now - self._heard_at.get(address, 0.0) < ADDRESS_HOLD_S:
            return False
        self._by_address[address] = endpoint
        self._heard_at[address] = now
        return True


def username_of(message: bytes) -> str:
    """The receiver's username fragment in a STUN request; empty when there is none."""
    at = STUN_HEADER_BYTES
    while at + 4 <= len(message):
        kind, length = unpack_from("!HH", message, at)
        if kind == STUN_USERNAME:
            return message[at + 4 : at + 4 + length].split(b":")[0].decode("ascii", "replace")
        at += 4 + length + (-length % 4)
    return ""
