"""RTP headers and VP8 payload descriptors, read and never interpreted further.

Pure functions on bytes. Every length in a packet is the sender's claim: `parse` refuses what does not fit, so callers
may slice with what it returns. RTCP is in `rtcp.py`.
"""

from struct import Struct
from typing import NamedTuple

HEADER = Struct("!BBHII")
HEADER_BYTES = 12
MARKER = 0x80
ONE_BYTE_EXTENSIONS = 0xBE
"""First byte of the 0xBEDE profile (RFC 8285 section 4.2)."""


class Packet(NamedTuple):
    """Where things stand in one RTP packet; the payload is `data[start:end]`."""

    payload_type: int
    marker: int
    """0 or MARKER, ready to be or-ed into a header."""
    sequence: int
    timestamp: int
    ssrc: int
    start: int
    end: int
    sent_at: int | None
    """abs-send-time, 24 bits of 6.18 fixed point seconds, when the packet carries the extension."""


def parse(data: memoryview, length: int, send_time_id: int) -> Packet | None:
    """Read the first `length` bytes of `data`; None when they are no well-formed RTP packet. O(extensions)."""
    if length < HEADER_BYTES:
        return None
    first, second, sequence, timestamp, ssrc = HEADER.unpack_from(data)
    start = HEADER_BYTES + 4 * (first & 15)
    sent_at = None
    if first & 16:
        if length < start + 4:
            return None
        end_of_extensions = start + 4 + 4 * ((data[start + 2] << 8) | data[start + 3])
        if length < end_of_extensions:
            return None
        if send_time_id and data[start] == ONE_BYTE_EXTENSIONS:
            sent_at = _send_time(data, start + 4, end_of_extensions, send_time_id)
        start = end_of_extensions
    if first & 32 and length > start:
        length -= data[length - 1]
    if first >> 6 != 2 or length < start:
        return None
    return Packet(second & 127, second & MARKER, sequence, timestamp, ssrc, start, length, sent_at)


def _send_time(data: memoryview, at: int, end: int, wanted: int) -> int | None:
    while at < end:
        byte = data[at]
        if byte == 0:
            at += 1
            continue
        if byte >> 4 == wanted:
            return (data[at + 1] << 16) | (data[at + 2] << 8) | data[at + 3] if at + 3 < end else None
        at += 2 + (byte & 15)
    return None


def header_extensions(mid: str | None, mid_id: int, send_time_id: int) -> tuple[bytes, int]:
    """Build the extension block for one outgoing stream: (bytes, offset of the 3 send-time bytes in the packet or 0)."""
    body = b""
    send_time_at = 0
    if mid and mid_id and len(mid) <= 16:
        body += bytes([mid_id << 4 | (len(mid) - 1)]) + mid.encode("ascii")
    if send_time_id:
        send_time_at = HEADER_BYTES + 4 + len(body) + 1
        body += bytes([send_time_id << 4 | 2, 0, 0, 0])
    if not body:
        return b"", 0
    body += bytes(-len(body) % 4)
    return b"\xbe\xde" + (len(body) // 4).to_bytes(2, "big") + body, send_time_at


def vp8_descriptor_bytes(payload: bytes) -> int:
    """Length of the VP8 payload descriptor (RFC 7741 section 4.2). Raises ValueError when it is cut off."""
    if not payload:
        raise ValueError("empty VP8 payload")
    length = 1
    if payload[0] & 0x80:
        if len(payload) < 3:
            raise ValueError("VP8 payload descriptor is cut off")
        flags = payload[1]
        length = 2
        if flags & 0x80:
            length += 2 if payload[2] & 0x80 else 1
        if flags & 0x40:
            length += 1
        if flags & 0x30:
            length += 1
    if len(payload) <= length:
        raise ValueError("VP8 payload descriptor is cut off")
    return length


def is_vp8_frame_start(payload: bytes) -> bool:
    """Say whether a frame begins here: S=1 and partition 0 (RFC 7741 section 4.2)."""
    return bool(payload) and payload[0] & 0x17 == 0x10


def is_vp8_key_frame_start(payload: bytes) -> bool:
    """Say whether a decoder can begin here: the first packet of a frame whose P bit is 0 (RFC 6386 section 9.1)."""
    if not is_vp8_frame_start(payload):
        return False
    try:
        return not payload[vp8_descriptor_bytes(payload)] & 1
    except ValueError:
        return False


def unwrap(value: int, reference: int, bits: int) -> int:
    """The unbounded number nearest to `reference` that ends in `value` (modulo 2**bits)."""
    half = 1 << (bits - 1)
    return reference + ((value - reference + half) & ((1 << bits) - 1)) - half
