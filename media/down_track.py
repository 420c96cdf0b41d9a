"""One stream that goes to a party: the packets of a source with new headers.

Pure book-keeping, as `up_track.py`, whose head tells the theory. Sending goes through a `Wire`.
"""

import random
from typing import Protocol

from media import rtcp
from media.rtp import HEADER, HEADER_BYTES

REPAIRS_PER_TICK = 512
"""Retransmissions a party may ask for in a second: NACKs must not multiply traffic without bound."""

Slot = tuple[int, int, int, bytes]
"""(sequence, timestamp, marker, payload)"""


class Wire(Protocol):
    """A party's secured way out. `outbound` is shared by all wires: write, then send at once."""

    outbound: memoryview

    def send_rtp(self, length: int) -> None:
        """Secure and send the first `length` bytes of `outbound`."""

    def send_rtcp(self, packet: bytes) -> None:
        """Secure and send one RTCP packet."""


class Source(Protocol):
    """What a down-track needs of the up-track that it hears."""

    is_open: bool
    subscribers: "list[DownTrack]"

    @property
    def last_report(self) -> rtcp.SenderReport | None:
        """The newest sender report."""

    def slot(self, sequence: int) -> Slot | None:
        """A packet sent lately."""

    def request_picture(self, now: float) -> None:
        """Ask the sender for a key frame."""


class DownTrack:
    """One stream that goes to a party. It hears one source at a time."""

    __slots__ = (
        "_ahead",
        "_cname",
        "_extensions",
        "_first_byte",
        "_last_at",
        "_last_sequence",
        "_last_timestamp",
        "_repairs",
        "_rtx_sequence",
        "_send_time_at",
        "_sequence_offset",
        "_timestamp_offset",
        "bitrate",
        "clock_rate",
        "is_started",
        "is_video",
        "kind",
        "lost",
        "octet_count",
        "packet_count",
        "payload_start",
        "payload_type",
        "repair_count",
        "rtx_payload_type",
        "rtx_ssrc",
        "source",
        "ssrc",
        "wire",
    )

    def __init__(
        self,
        kind: str,
        clock_rate: int,
        payload_type: int,
        rtx_payload_type: int | None,
        ssrc: int,
        rtx_ssrc: int,
        extensions: tuple[bytes, int],
        cname: str,
        wire: Wire,
    ) -> None:
        self.kind, self.clock_rate, self.wire = kind, clock_rate, wire
        self.payload_type, self.rtx_payload_type = payload_type, rtx_payload_type
        self.ssrc, self.rtx_ssrc = ssrc, rtx_ssrc
        self.is_video = kind == "video"
        self.source: Source | None = None
        self.is_started = False
        self.bitrate: int | None = None
        """What this party's REMB says, bit/s."""
        self.lost = 0
        """In 1/256, from its newest receiver report."""
        self.packet_count = self.octet_count = self.repair_count = 0
        self._cname = cname.encode()[:255]
        self._extensions, self._send_time_at = extensions
        self._first_byte = 0x90 if self._extensions else 0x80
        self.payload_start = HEADER_BYTES + len(self._extensions)
        # Random beginnings (RFC 3550 section 5.1), low enough that the first wrap is not in the first second.
        self._last_sequence = random.getrandbits(15)
        self._rtx_sequence = random.getrandbits(15)
        self._last_timestamp = random.getrandbits(31)
        self._last_at = 0.0
        self._sequence_offset = self._timestamp_offset = 0
        self._ahead = 0
        self._repairs = 0

    def subscribe(self, source: Source | None) -> None:
        """Hear `source` from its next usable packet on, for which it asks by itself; None hears nothing."""
        if self.source is source:
            return
        if self.source is not None:
            self.source.subscribers.remove(self)
        self.source, self.is_started = source, False
        if source is not None:
            source.subscribers.append(self)

    def forward(self, sequence: int, timestamp: int, marker: int, payload: bytes, is_key: bool, now: float) -> None:
        """Send one packet of the source on, renumbered."""
        if not self.is_started:
            if (self.is_video and not is_key) or not payload:
                return
            self._start(sequence, timestamp, now)
        number = (sequence + self._sequence_offset) & 0xFFFF
        advance = (number - self._last_sequence) & 0xFFFF
        if advance < 0x8000:
            self._ahead += advance
            self._last_sequence = number
            self._last_timestamp = (timestamp + self._timestamp_offset) & 0xFFFFFFFF
            self._last_at = now
        elif 0x10000 - advance >= self._ahead:
            return  # From before the start: its number belongs to the source that was heard then.
        self.packet_count += 1
        self.octet_count += len(payload)
        self._write(
            marker | self.payload_type,
            number,
            (timestamp + self._timestamp_offset) & 0xFFFFFFFF,
            self.ssrc,
            payload,
            now,
        )

    def _start(self, sequence: int, timestamp: int, now: float) -> None:
        pause = int((now - self._last_at) * self.clock_rate) if self._last_at else 0
        self._sequence_offset = (self._last_sequence + 1 - sequence) & 0xFFFF
        self._timestamp_offset = (self._last_timestamp + max(1, pause) - timestamp) & 0xFFFFFFFF
        self._ahead = 0
        self.is_started = True
        if self.source is not None and self.source.last_report is not None:
            self.forward_report(self.source.last_report)

    def _write(self, second: int, number: int, timestamp: int, ssrc: int, payload: bytes, now: float) -> None:
        out, start = self.wire.outbound, self.payload_start
        end = start + len(payload)
        HEADER.pack_into(out, 0, self._first_byte, second, number, timestamp, ssrc)
        out[HEADER_BYTES:start] = self._extensions
        if self._send_time_at:
            at = self._send_time_at
            out[at : at + 3] = (int(now * 262144) & 0xFFFFFF).to_bytes(3, "big")
        out[start:end] = payload
        self.wire.send_rtp(end)

    def forward_report(self, report: rtcp.SenderReport) -> None:
        """Send the source's report on, in this stream's time and with this stream's counts."""
        if self.is_started:
            own = rtcp.SenderReport(self.ssrc, report.ntp, (report.timestamp + self._timestamp_offset) & 0xFFFFFFFF)
            self.wire.send_rtcp(rtcp.sender_report(own, self.packet_count, self.octet_count, self._cname))

    def repair(self, numbers: list[int], now: float) -> None:
        """Send again what the party missed, as far as the source still has it and the budget lasts."""
        if self.source is None or not self.is_started:
            return
        for number in numbers:
            slot = self.source.slot((number - self._sequence_offset) & 0xFFFF)
            behind = (self._last_sequence - number) & 0xFFFF
            if slot is None or behind >= self._ahead or self._repairs >= REPAIRS_PER_TICK:
                continue
            self._repairs += 1
            self.repair_count += 1
            _, timestamp, marker, payload = slot
            timestamp = (timestamp + self._timestamp_offset) & 0xFFFFFFFF
            if self.rtx_payload_type is None:
                self._write(marker | self.payload_type, number, timestamp, self.ssrc, payload, now)
                continue
            self._rtx_sequence = (self._rtx_sequence + 1) & 0xFFFF
            body = number.to_bytes(2, "big") + payload  # RFC 4588 section 4
            self._write(marker | self.rtx_payload_type, self._rtx_sequence, timestamp, self.rtx_ssrc, body, now)

    def tick(self) -> None:
        """Once a second: a new budget for repairs."""
        self._repairs = 0
