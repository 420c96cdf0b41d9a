"""One party's link: aiortc for SDP, ICE and DTLS, our own plane for the packets.

A link is used once: from one SDP offer to its end. A party that reconnects gets a new one. The link turns datagrams into
calls of its tracks, and what its tracks write into secured datagrams. aiortc's documented names stand here, its inside
in `aiortc_inside.py`.

Not here: repair and renumbering (`up_track.py`, `down_track.py`), who hears whom (`room.py`).
"""

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from time import monotonic
from typing import Any

from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription

from media import rtcp, rtp
from media.aiortc_inside import Ice, Negotiated, Secured, SrtpError, hosted_by
from media.down_track import DownTrack
from media.port import Address, Port
from media.sdp import Flow, Offer, finish_answer
from media.up_track import UpTrack

CODECS = {"audio": ("audio/opus",), "video": ("video/vp8", "video/rtx")}
DIRECTIONS: dict[Flow, str] = {"both": "sendrecv", "up": "recvonly", "down": "sendonly"}
"""Ours, by what the link carries."""
PARTY_DIRECTIONS: dict[Flow, str] = {"both": "sendrecv", "up": "sendonly", "down": "recvonly"}
CLOSE_TIMEOUT_S = 3.0


class PartyLink:
    """The connection of one party."""

    def __init__(self, port: Port, addresses: list[str]) -> None:
        self.port = port
        self.addresses = addresses
        self.outbound = port.outbound
        self.link_id = secrets.token_hex(16)
        """Part of the address of a session over HTTP: nobody guesses it."""
        self.flow: Flow = "both"
        self.remote_ufrag = ""
        self.candidates_count = 0
        """How many the party has trickled."""
        self.expected_kinds: frozenset[str] = frozenset()
        """The kinds that the party announced to send."""
        self.up_by_kind: dict[str, UpTrack] = {}
        self.down_by_kind: dict[str, DownTrack] = {}
        self.on_up: Callable[[UpTrack], None] = _ignore
        self.on_down: Callable[[DownTrack], None] = _ignore
        self.on_closed: Callable[[], None] = _ignore
        self.is_closed = False
        self.packets_in = self.packets_out = self.drops = 0
        self.made_at = monotonic()
        self._live_at: float | None = None
        self._ups: dict[int, UpTrack] = {}
        self._downs: dict[int, DownTrack] = {}
        self._send_time_id = 0
        self._secured: Secured | None = None
        self._ice: Ice | None = None
        self._address: Address | None = None
        self._checks = 0
        self._heard_count = -1
        self._heard_at = self.made_at
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        self._peer.on("connectionstatechange", self._on_state)

    @property
    def is_connected(self) -> bool:
        """Whether packets can flow."""
        return self._secured is not None and not self.is_closed

    async def answer(self, offer: Offer) -> str:
        """Answer a checked offer. Raises whatever aiortc raises about its content; the caller closes the link then."""
        self.expected_kinds, self.remote_ufrag = offer.sent_kinds, offer.ufrag
        with hosted_by(self):
            self._add_transceivers(offer.kinds, DIRECTIONS[offer.flow])
            await self._peer.setRemoteDescription(RTCSessionDescription(offer.text, "offer"))
            await self._peer.setLocalDescription(await self._peer.createAnswer())
        return finish_answer(self._peer.localDescription.sdp, offer.flow)

    async def add_candidate(self, text: str) -> None:
        """Check this address of the party too; it is a candidate that `sdp.read_candidate` has read."""
        if self._ice is not None and not self.is_closed:
            await self._ice.add_candidate(text)

    async def offer(self, flow: Flow = "both") -> str:
        """The other side of `answer`: this link plays a party. Used by the contract check and to press on workers."""
        with hosted_by(self):
            self._add_transceivers(["audio", "video"], PARTY_DIRECTIONS[flow])
            await self._peer.setLocalDescription(await self._peer.createOffer())
        sdp: str = self._peer.localDescription.sdp
        return sdp

    async def accept(self, answer: str) -> None:
        """Take the answer to `offer`."""
        with hosted_by(self):
            await self._peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    def _add_transceivers(self, kinds: list[str], direction: str) -> None:
        for kind in kinds:
            codecs = [one for one in RTCRtpSender.getCapabilities(kind).codecs if one.mimeType.lower() in CODECS[kind]]
            self._peer.addTransceiver(kind, direction=direction).setCodecPreferences(codecs)

    async def close(self) -> None:
        """End the connection, telling the party by DTLS. Idempotent, at most CLOSE_TIMEOUT_S."""
        self.end()
        with contextlib.suppress(Exception):  # aiortc's own trouble while it dies is of no use to anybody.
            await asyncio.wait_for(self._peer.close(), CLOSE_TIMEOUT_S)
        self.port.forget(self)

    def silence_s(self, now: float) -> float:
        """How long nothing authentic arrived from the party. Call about once a second."""
        heard = self.packets_in + self._checks
        if heard != self._heard_count:
            self._heard_count, self._heard_at = heard, now
        return now - self._heard_at

    def live_at(self, now: float) -> float:
        """When the link's first stream was there: now, if nobody asked before."""
        if self._live_at is None:
            self._live_at = now
        return self._live_at

    def tick(self, now: float) -> None:
        """Once a second: reports to the party, and its address again, which a browser may have changed."""
        self._refresh_address()
        for up in self.up_by_kind.values():
            up.tick(now)
        for down in self.down_by_kind.values():
            down.tick()

    def counts(self) -> dict[str, int]:
        """What happened on this link so far."""
        return {
            "nacks": sum(up.nack_count for up in self.up_by_kind.values()),
            "pictures": sum(up.picture_count for up in self.up_by_kind.values()),
            "repairs": sum(down.repair_count for down in self.down_by_kind.values()),
            "link_drops": self.drops,
        }

    def mend(self, now: float) -> None:
        """Every 40 ms: ask for what is missing."""
        for up in self.up_by_kind.values():
            up.mend(now)

    # From the port.

    def receive_rtp(self, length: int) -> None:
        """Open one packet in place and hand it to its track."""
        secured = self._secured
        if secured is None:
            return
        length = secured.open(length)
        data = self.port.inbound
        packet = rtp.parse(data, length, self._send_time_id) if length else None
        if packet is None:
            self.drops += 1
            return
        self.packets_in += 1
        payload_type, marker, sequence, timestamp, ssrc, start, end, sent_at = packet
        up = self._ups.get(ssrc) or self._learn(ssrc, payload_type)
        if up is None:
            self.drops += 1
        elif payload_type == up.payload_type:
            up.receive(sequence, timestamp, marker, data[start:end].tobytes(), sent_at, monotonic())
        elif payload_type == up.rtx_payload_type and end >= start + 2:
            # A repair (RFC 4588 section 4). Its timing says nothing about the frame that it belongs to.
            sequence = (data[start] << 8) | data[start + 1]
            up.receive(sequence, timestamp, marker, data[start + 2 : end].tobytes(), None, monotonic())

    def _learn(self, ssrc: int, payload_type: int) -> UpTrack | None:
        """Give a stream that the SDP did not announce to the track of its payload type; two streams a track at most."""
        if len(self._ups) >= 2 * len(self.up_by_kind):
            return None
        for up in self.up_by_kind.values():
            if payload_type in (up.payload_type, up.rtx_payload_type):
                if payload_type == up.payload_type:
                    up.ssrc = ssrc
                self._ups[ssrc] = up
                return up
        return None

    def receive_rtcp(self, packet: bytes) -> None:
        """Open one RTCP packet and act on it."""
        secured = self._secured
        if secured is None:
            return
        try:
            data = secured.open_rtcp(packet)
        except SrtpError:
            self.drops += 1
            return
        self.packets_in += 1
        now = monotonic()
        for message in rtcp.parse(data):
            self._on_rtcp(message, now)

    def _on_rtcp(self, message: rtcp.Message, now: float) -> None:
        if isinstance(message, rtcp.Remb):
            for ssrc in message.ssrcs:
                if ssrc in self._downs:
                    self._downs[ssrc].bitrate = message.bitrate
            return
        if isinstance(message, rtcp.SenderReport):
            if message.ssrc in self._ups:
                self._ups[message.ssrc].on_sender_report(message, now)
            return
        down = self._downs.get(message.ssrc)
        if down is None:
            return
        if isinstance(message, rtcp.ReceptionReport):
            down.lost = message.lost
        elif isinstance(message, rtcp.Nack):
            down.repair(message.sequences, now)
        elif down.source is not None:
            down.source.request_picture(now)

    def receive_handshake(self, datagram: bytes) -> None:
        """Take one DTLS datagram."""
        if self._ice is not None:
            self._ice.receive_handshake(datagram)

    def receive_check(self, message: bytes, address: Address) -> None:
        """Take one STUN message, which may change the address that media goes to."""
        if self._ice is not None:
            self._checks += 1
            self._ice.receive_check(message, address)
            self._refresh_address()

    def is_authentic(self, message: bytes) -> bool:
        """Say whether this STUN request was signed with this link's password."""
        return self._ice is not None and self._ice.is_authentic(message)

    # To the party.

    def send_rtp(self, length: int) -> None:
        """Secure `outbound[:length]` in place and send it."""
        secured, address = self._secured, self._address
        if secured is None or address is None:
            return
        length = secured.seal(length)
        if length:
            self.packets_out += 1
            self.port.send(self.outbound[:length], address)

    def send_rtcp(self, packet: bytes) -> None:
        """Secure and send one RTCP packet."""
        secured, address = self._secured, self._address
        if secured is None or address is None:
            return
        try:
            self.port.send(secured.seal_rtcp(packet), address)
        except SrtpError:
            self.drops += 1

    # From aiortc.

    def _on_state(self) -> None:
        if self._peer.connectionState in ("closed", "failed"):
            self.end()

    def end(self) -> None:
        """Stop at once; `close` then does what takes time. Idempotent."""
        if not self.is_closed:
            self.is_closed = True
            self._secured = None
            self.on_closed()

    def _refresh_address(self) -> None:
        if self._ice is not None:
            self._address = self._ice.address() or self._address

    def _secure(self, dtls: Any) -> None:
        if self._secured is None and not self.is_closed:
            self._secured = Secured(dtls, self.port)
            self._refresh_address()

    def bind(self, connection: Any, component: int) -> list[Any]:
        """Put the ICE connection on the worker's port."""
        self._ice = Ice(connection, component, self.port, self.addresses, self)
        self.port.register(self._ice.username, self)
        return self._ice.candidates

    def on_receiving(self, stream: Negotiated, feedback_ssrc: int, dtls: Any) -> None:
        """A stream will arrive: make its up-track."""
        self._secure(dtls)
        up = UpTrack(
            kind=stream.kind,
            mime_type=stream.mime_type,
            clock_rate=stream.clock_rate,
            payload_type=stream.payload_type,
            rtx_payload_type=stream.rtx_payload_type,
            ssrc=stream.ssrc,
            feedback_ssrc=feedback_ssrc,
            wire=self,
        )
        if stream.kind == "video":
            self._send_time_id = stream.send_time_id
        for ssrc in (stream.ssrc, stream.rtx_ssrc):
            if ssrc:
                self._ups[ssrc] = up
        self.up_by_kind[stream.kind] = up
        self.on_up(up)

    def on_sending(self, stream: Negotiated, dtls: Any) -> None:
        """A stream may be sent: make its down-track."""
        self._secure(dtls)
        down = DownTrack(
            kind=stream.kind,
            clock_rate=stream.clock_rate,
            payload_type=stream.payload_type,
            rtx_payload_type=stream.rtx_payload_type,
            ssrc=stream.ssrc,
            rtx_ssrc=stream.rtx_ssrc,
            extensions=rtp.header_extensions(stream.mid, stream.mid_id, stream.send_time_id),
            cname=stream.cname,
            wire=self,
        )
        self._downs[stream.ssrc] = self._downs[stream.rtx_ssrc] = down
        self.down_by_kind[stream.kind] = down
        self.on_down(down)


def _ignore(*_: object) -> None:
    """The hook that nobody set."""
