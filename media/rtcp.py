"""RTCP as the worker needs it: reports, NACK, picture requests and REMB, in bytes and as values.

Pure. `parse` yields what it understands and ends silently at the first piece that does not fit: RTCP is repeated
anyway, and a party must not be able to raise an exception here. Formats: RFC 3550 section 6, RFC 4585 section 6,
RFC 5104 section 4.3.1 (FIR), draft-alvestrand-rmcat-remb-03.
"""

from collections.abc import Iterator, Sequence
from struct import pack, unpack_from
from typing import NamedTuple

SENDER_REPORT = 200
RECEIVER_REPORT = 201
SOURCE_DESCRIPTION = 202
TRANSPORT_FEEDBACK = 205
PAYLOAD_FEEDBACK = 206
NACK_FORMAT = 1
PLI_FORMAT = 1
FIR_FORMAT = 4
REMB_FORMAT = 15
NACKED_MAX = 512
"""More sequence numbers in one packet than the ring holds would only cost time."""


class SenderReport(NamedTuple):
    """Which instant (`ntp`, 32.32 fixed point seconds since 1900) belongs to which RTP timestamp."""

    ssrc: int
    ntp: int
    timestamp: int


class ReceptionReport(NamedTuple):
    """How the stream `ssrc` that we send arrives; `lost` in 1/256 since the last report."""

    ssrc: int
    lost: int


class Nack(NamedTuple):
    """These sequence numbers of the stream `ssrc` did not arrive."""

    ssrc: int
    sequences: list[int]


class PictureRequest(NamedTuple):
    """A decoder of the stream `ssrc` needs a key frame."""

    ssrc: int


class Remb(NamedTuple):
    """The receiver thinks it can take so many bit/s for these streams together."""

    bitrate: int
    ssrcs: tuple[int, ...]


Message = SenderReport | ReceptionReport | Nack | PictureRequest | Remb


def parse(data: bytes) -> Iterator[Message]:
    """Yield the messages of a compound packet, in its order."""
    at = 0
    while at + 8 <= len(data):
        first, kind, words = unpack_from("!BBH", data, at)
        end = at + 4 + 4 * words
        if first >> 6 != 2 or end > len(data):
            return
        count = first & 31
        if kind == SENDER_REPORT and end >= at + 28:
            ssrc, ntp, timestamp = unpack_from("!IQI", data, at + 4)
            yield SenderReport(ssrc, ntp, timestamp)
            yield from _receptions(data, at + 28, end, count)
        elif kind == RECEIVER_REPORT:
            yield from _receptions(data, at + 8, end, count)
        elif kind == TRANSPORT_FEEDBACK and count == NACK_FORMAT and end >= at + 12:
            yield _nack(data, at, end)
        elif kind == PAYLOAD_FEEDBACK and end >= at + 12:
            yield from _payload_feedback(data, at, end, count)
        at = end


def _receptions(data: bytes, at: int, end: int, count: int) -> Iterator[ReceptionReport]:
    for _ in range(count):
        if at + 24 > end:
            return
        ssrc, lost = unpack_from("!IB", data, at)
        yield ReceptionReport(ssrc, lost)
        at += 24


def _nack(data: bytes, at: int, end: int) -> Nack:
    (ssrc,) = unpack_from("!I", data, at + 8)
    sequences: list[int] = []
    for pair_at in range(at + 12, end - 3, 4):
        base, following = unpack_from("!HH", data, pair_at)
        sequences.append(base)
        sequences += [(base + 1 + bit) & 0xFFFF for bit in range(16) if following >> bit & 1]
        if len(sequences) > NACKED_MAX:
            break
    return Nack(ssrc, sequences[:NACKED_MAX])


def _payload_feedback(data: bytes, at: int, end: int, feedback: int) -> Iterator[Message]:
    if feedback == PLI_FORMAT:
        yield PictureRequest(unpack_from("!I", data, at + 8)[0])
    elif feedback == FIR_FORMAT:
        # A FIR names its streams in its entries; the header's field is 0 (RFC 5104 section 4.3.1.1).
        for entry_at in range(at + 12, end - 7, 8):
            yield PictureRequest(unpack_from("!I", data, entry_at)[0])
    elif feedback == REMB_FORMAT and end >= at + 20 and data[at + 12 : at + 16] == b"REMB":
        count = min(data[at + 16], (end - at - 20) // 4)
        exponent = data[at + 17] >> 2
        mantissa = (data[at + 17] & 3) << 16 | data[at + 18] << 8 | data[at + 19]
        yield Remb(mantissa << exponent, unpack_from(f"!{count}I", data, at + 20))


def _packet(count: int, kind: int, body: bytes) -> bytes:
    return pack("!BBH", 0x80 | count, kind, len(body) // 4) + body


def picture_request(sender_ssrc: int, ssrc: int) -> bytes:
    """Ask the sender of `ssrc` for a key frame (PLI)."""
    return _packet(PLI_FORMAT, PAYLOAD_FEEDBACK, pack("!II", sender_ssrc, ssrc))


def nack(sender_ssrc: int, ssrc: int, sequences: Sequence[int]) -> bytes:
    """Ask for `sequences` again. They must be in sending order; runs within 17 share one entry."""
    body = pack("!II", sender_ssrc, ssrc)
    base = following = -1
    for sequence in sequences:
        distance = (sequence - base) & 0xFFFF
        if base >= 0 and 1 <= distance <= 16:
            following |= 1 << (distance - 1)
            continue
        if base >= 0:
            body += pack("!HH", base, following)
        base, following = sequence, 0
    if base >= 0:
        body += pack("!HH", base, following)
    return _packet(NACK_FORMAT, TRANSPORT_FEEDBACK, body)


def remb(sender_ssrc: int, bitrate: int, ssrc: int) -> bytes:
    """Tell the sender of `ssrc` how many bit/s may arrive."""
    exponent = max(0, bitrate.bit_length() - 18)
    mantissa = bitrate >> exponent
    body = pack("!II4sBBH", sender_ssrc, 0, b"REMB", 1, exponent << 2 | mantissa >> 16, mantissa & 0xFFFF)
    return _packet(REMB_FORMAT, PAYLOAD_FEEDBACK, body + pack("!I", ssrc))


class Reception(NamedTuple):
    """What a receiver report says about one stream (RFC 3550 section 6.4.1)."""

    ssrc: int
    lost_ratio_256: int
    lost_total: int
    highest_sequence: int
    jitter: int
    last_report: int
    since_last_report: int


def receiver_report(sender_ssrc: int, about: Reception) -> bytes:
    """Report how one stream arrives here."""
    lost = max(0, min(about.lost_total, 0x7FFFFF))
    body = pack("!IIB", sender_ssrc, about.ssrc, about.lost_ratio_256) + lost.to_bytes(3, "big")
    body += pack("!IIII", about.highest_sequence, about.jitter, about.last_report, about.since_last_report)
    return _packet(1, RECEIVER_REPORT, body)


def sender_report(report: SenderReport, packet_count: int, octet_count: int, cname: bytes) -> bytes:
    """A sender report and the source description that ties audio and video of one party together."""
    body = pack("!IQIII", *report, packet_count & 0xFFFFFFFF, octet_count & 0xFFFFFFFF)
    item = b"\x01" + bytes([len(cname)]) + cname
    chunk = pack("!I", report.ssrc) + item + bytes(4 - len(item) % 4)
    return _packet(0, SENDER_REPORT, body) + _packet(1, SOURCE_DESCRIPTION, chunk)
