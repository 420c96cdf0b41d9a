"""All that touches the inside of aiortc, aioice and pylibsrtp.

Rules: no other file knows a name of theirs that they do not document. The three versions are pinned; `contract.py`
proves names, signatures and a loopback call at each start and refuses by name to run on a difference.

What is replaced, and only for connections made within `hosted_by` (a context variable says so, so that plain aiortc peers
live beside them in one process):
- `rtcpeerconnection.RTCRtpReceiver` and `RTCRtpSender`: by `Receiver` and `Sender`, which own no jitter buffer, decoder,
  encoder, thread or task; they tell their host what was negotiated.
- `Connection.get_component_candidates`: by one that offers the worker's single port.
What is read: `RTCDtlsTransport._rx_srtp, _tx_srtp, _register_rtp_receiver` and its three siblings, `Session._srtp`,
`Connection._nominated, _protocols, _queue`, the life cycle of `StunProtocol`, `_binding.ffi, lib`.

Pitfalls found on the way: aiortc asks Google's STUN server unless `iceServers=[]`; it cannot restart ICE, so a network
change is a new connection; it notices a lost peer after 30 s, so links count silence themselves; its `close` may wait for
its own tasks, so it needs a timeout.
"""

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import pylibsrtp
from aioice import Candidate, ice, stun
from aioice.candidate import candidate_foundation, candidate_priority
from aiortc import rtcpeerconnection
from aiortc.stats import RTCStatsReport
from aiortc.utils import random32
from pylibsrtp._binding import ffi, lib

from media.port import Address, Port

HANDSHAKE_BACKLOG_MAX = 64
"""DTLS datagrams that may wait for aiortc's pump; a handshake has about ten."""
HEADER_EXTENSION_MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
HEADER_EXTENSION_SEND_TIME = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"

PLAIN_RECEIVER = rtcpeerconnection.RTCRtpReceiver
PLAIN_SENDER = rtcpeerconnection.RTCRtpSender
PLAIN_CANDIDATES = ice.Connection.get_component_candidates


class SrtpError(Exception):
    """A packet did not pass libsrtp: forged, replayed, damaged or too long."""


class Negotiated(Protocol):
    """What a `Receiver` or `Sender` tells about the stream it stands for."""

    kind: str
    mime_type: str
    clock_rate: int
    payload_type: int
    rtx_payload_type: int | None
    mid: str
    mid_id: int
    send_time_id: int
    cname: str
    ssrc: int
    rtx_ssrc: int


class Host(Protocol):
    """The link that a grafted connection belongs to."""

    def bind(self, connection: Any, component: int) -> list[Candidate]:
        """Give the ICE connection its way out and its candidates."""

    def on_receiving(self, stream: Negotiated, feedback_ssrc: int, dtls: Any) -> None:
        """The connection is secured and this stream will arrive."""

    def on_sending(self, stream: Negotiated, dtls: Any) -> None:
        """The connection is secured and this stream may be sent."""


_host: ContextVar[Host | None] = ContextVar("media_link_host", default=None)


@contextmanager
def hosted_by(host: Host) -> Iterator[None]:
    """Graft our data plane into every connection that is made inside this context."""
    token = _host.set(host)
    try:
        yield
    finally:
        _host.reset(token)


class _Stream:
    """What the parameters of one negotiated stream come down to. Satisfies `Negotiated`."""

    def __init__(self, kind: str, parameters: Any) -> None:
        codecs = parameters.codecs
        main = next(codec for codec in codecs if codec.name.lower() != "rtx")
        self.rtx_payload_type: int | None = next(
            (codec.payloadType for codec in codecs if codec.parameters.get("apt") == main.payloadType), None
        )
        extension_ids = {extension.uri: extension.id for extension in parameters.headerExtensions}
        self.kind = kind
        self.mime_type: str = main.mimeType
        self.clock_rate: int = main.clockRate
        self.payload_type: int = main.payloadType
        self.mid: str = parameters.muxId
        self.mid_id: int = extension_ids.get(HEADER_EXTENSION_MID, 0)
        self.send_time_id: int = extension_ids.get(HEADER_EXTENSION_SEND_TIME, 0)
        self.cname: str = parameters.rtcp.cname or ""
        self.ssrc = self.rtx_ssrc = 0


class Receiver:
    """Stands where aiortc expects an `RTCRtpReceiver`."""

    def __init__(self, kind: str, transport: Any, host: Host) -> None:
        self._kind, self.transport, self._host = kind, transport, host
        self._track: Any = None
        self._enabled = True
        self._feedback_ssrc = 0
        self._is_started = False

    @property
    def track(self) -> Any:
        """The track that aiortc made for the SDP's sake; nothing ever comes out of it."""
        return self._track

    def setTransport(self, transport: Any) -> None:
        """Called when the sections are bundled."""
        self.transport = transport

    def _set_rtcp_ssrc(self, ssrc: int) -> None:
        self._feedback_ssrc = ssrc

    async def receive(self, parameters: Any) -> None:
        """Called once the connection is secured."""
        if self._is_started:
            return
        self._is_started = True
        self.transport._register_rtp_receiver(self, parameters)
        stream = _Stream(self._kind, parameters)
        for encoding in parameters.encodings:
            if encoding.payloadType == stream.payload_type:
                stream.ssrc = encoding.ssrc
                stream.rtx_ssrc = encoding.rtx.ssrc if encoding.rtx else 0
        self._host.on_receiving(stream, self._feedback_ssrc, self.transport)

    async def stop(self) -> None:
        """Called when the connection closes."""
        if self._is_started:
            self.transport._unregister_rtp_receiver(self)

    async def getStats(self) -> RTCStatsReport:
        """Nothing: the worker has its own measures."""
        return RTCStatsReport()

    def _handle_disconnect(self) -> None:
        """The connection's state says the same."""

    async def _handle_rtcp_packet(self, packet: Any) -> None:
        """Never called: the port gives RTCP to the link."""

    async def _handle_rtp_packet(self, packet: Any, arrival_time_ms: int) -> None:
        """Never called: the port gives RTP to the link."""


class Sender:
    """Stands where aiortc expects an `RTCRtpSender`."""

    def __init__(self, kind: str, transport: Any, host: Host) -> None:
        self.kind, self.transport, self._host = kind, transport, host
        self.track = None
        self._enabled = True
        self._ssrc, self._rtx_ssrc = random32(), random32()
        self._stream_id, self._track_id = str(uuid.uuid4()), str(uuid.uuid4())
        self._is_started = False

    def setTransport(self, transport: Any) -> None:
        """Called when the sections are bundled."""
        self.transport = transport

    async def send(self, parameters: Any) -> None:
        """Called once the connection is secured."""
        if self._is_started:
            return
        self._is_started = True
        self.transport._register_rtp_sender(self, parameters)
        stream = _Stream(self.kind, parameters)
        stream.ssrc, stream.rtx_ssrc = self._ssrc, self._rtx_ssrc
        self._host.on_sending(stream, self.transport)

    async def stop(self) -> None:
        """Called when the connection closes."""
        if self._is_started:
            self.transport._unregister_rtp_sender(self)

    async def getStats(self) -> RTCStatsReport:
        """Nothing: the worker has its own measures."""
        return RTCStatsReport()

    async def _handle_rtcp_packet(self, packet: Any) -> None:
        """Never called: the port gives RTCP to the link."""


class Ice:
    """aioice's part of one link: its protocol object lives on the shared port."""

    def __init__(self, connection: Any, component: int, port: Port, addresses: list[str], endpoint: Any) -> None:
        self._connection = connection
        self._protocol = ice.StunProtocol(connection)
        self._protocol.connection_made(_PortTransport(port, endpoint, self._protocol))
        self.candidates = [
            Candidate(
                foundation=candidate_foundation("host", "udp", host),
                component=component,
                transport="udp",
                priority=candidate_priority(component, "host", 65535 - index),
                host=host,
                port=port.number,
                type="host",
            )
            for index, host in enumerate(addresses)
        ]
        self._protocol.local_candidate = self.candidates[0]
        connection._protocols.append(self._protocol)
        self.username: str = connection.local_username

    def address(self) -> Address | None:
        """Where the party wants its packets now."""
        pair = self._connection._nominated.get(1)
        return pair.remote_addr if pair is not None else None

    async def add_candidate(self, text: str) -> None:
        """Let aioice check this address of the party, beside those that it learns from the party's own checks."""
        await self._connection.add_remote_candidate(Candidate.from_sdp(text))

    def is_authentic(self, message: bytes) -> bool:
        """Check a STUN request's integrity (RFC 8489 section 9.1.3) before anything believes its sender."""
        try:
            parsed = stun.parse_message(message)
        except ValueError:
            return False
        return bool(parsed.check_message_integrity(self._connection.local_password.encode()))

    def receive_check(self, message: bytes, address: Address) -> None:
        """Give a STUN message to aioice."""
        self._protocol.datagram_received(message, address)

    def receive_handshake(self, datagram: bytes) -> None:
        """Give a DTLS datagram to aiortc's pump."""
        if self._connection._queue.qsize() < HANDSHAKE_BACKLOG_MAX:
            self._connection.data_received(datagram, 1)


class _PortTransport(asyncio.DatagramTransport):
    """What aioice's protocol sees of the shared port."""

    def __init__(self, port: Port, endpoint: Any, protocol: Any) -> None:
        super().__init__()
        self._port, self._endpoint, self._protocol = port, endpoint, protocol

    def sendto(self, data: Any, addr: Any = None) -> None:
        """Send a STUN message or DTLS datagram."""
        if addr is None:
            return
        if data[0] < 4:
            self._port.send_check(data, addr, self._endpoint)
        else:
            self._port.send(data, addr)

    def close(self) -> None:
        """Leave the port to the others; aioice waits for `connection_lost`."""
        asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)


class Secured:
    """libsrtp on the port's two buffers, in place: no copy, no object per packet."""

    def __init__(self, dtls: Any, port: Port) -> None:
        # The sessions own the memory that the raw pointers below lead to: both must live as long as this object.
        self._receiving, self._sending = dtls._rx_srtp, dtls._tx_srtp
        self._receiving_srtp, self._sending_srtp = self._receiving._srtp[0], self._sending._srtp[0]
        self._inbound = ffi.from_buffer("unsigned char[]", port.inbound_bytes)
        self._outbound = ffi.from_buffer("unsigned char[]", port.outbound_bytes)
        self._length = ffi.new("int *")

    def open(self, length: int) -> int:
        """Decrypt `inbound[:length]` in place; the new length, or 0 when the packet is not authentic."""
        self._length[0] = length
        if lib.srtp_unprotect(self._receiving_srtp, self._inbound, self._length):
            return 0
        opened: int = self._length[0]
        return opened

    def seal(self, length: int) -> int:
        """Encrypt `outbound[:length]` in place; the new length, or 0 on an error."""
        self._length[0] = length
        if lib.srtp_protect(self._sending_srtp, self._outbound, self._length):
            return 0
        sealed: int = self._length[0]
        return sealed

    def open_rtcp(self, packet: bytes) -> bytes:
        """Decrypt an RTCP packet. Raises SrtpError."""
        return self._convert(self._receiving.unprotect_rtcp, packet)

    def seal_rtcp(self, packet: bytes) -> bytes:
        """Encrypt an RTCP packet. Raises SrtpError."""
        return self._convert(self._sending.protect_rtcp, packet)

    @staticmethod
    def _convert(convert: Any, packet: bytes) -> bytes:
        try:
            converted: bytes = convert(packet)
        except (pylibsrtp.Error, ValueError) as error:
            raise SrtpError(str(error)) from None
        return converted


def _make_receiver(kind: str, transport: Any) -> Any:
    host = _host.get()
    return PLAIN_RECEIVER(kind, transport) if host is None else Receiver(kind, transport, host)


def _make_sender(track_or_kind: Any, transport: Any) -> Any:
    host = _host.get()
    return PLAIN_SENDER(track_or_kind, transport) if host is None else Sender(track_or_kind, transport, host)


async def _get_component_candidates(
    connection: Any, component: int, addresses: list[str], timeout: int = 5
) -> list[Candidate]:
    host = _host.get()
    if host is None:
        gathered: list[Candidate] = await PLAIN_CANDIDATES(connection, component, addresses, timeout)
        return gathered
    return host.bind(connection, component)


rtcpeerconnection.RTCRtpReceiver = _make_receiver
rtcpeerconnection.RTCRtpSender = _make_sender
ice.Connection.get_component_candidates = _get_component_candidates
