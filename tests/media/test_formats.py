"""Packets and texts from outside: whatever a party sends, parsing ends in a value, and what we write we can read."""

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as some

from media import rtcp, rtp
from media.port import username_of
from media.sdp import BadOffer, check_offer, finish_answer


@given(some.binary(max_size=200), some.integers(0, 14))
def test_any_bytes_are_no_rtp_or_stay_in_bounds(data: bytes, send_time_id: int) -> None:
    """Given any bytes, when they are parsed, then the payload lies within them or there is none."""
    packet = rtp.parse(memoryview(data + bytes(64)), len(data), send_time_id)
    assert packet is None or 12 <= packet.start <= packet.end <= len(data)


@given(some.binary(max_size=300))
def test_any_bytes_are_bounded_rtcp(data: bytes) -> None:
    """Given any bytes, when they are parsed as RTCP, then nothing is raised and lists are bounded."""
    for message in rtcp.parse(data):
        assert not isinstance(message, rtcp.Nack) or len(message.sequences) <= rtcp.NACKED_MAX


@given(some.binary(max_size=100))
def test_any_bytes_are_no_check(data: bytes) -> None:
    """Given any bytes, when a username is looked for, then there is text or none."""
    assert isinstance(username_of(data), str)


@given(some.text(max_size=500))
def test_any_text_is_no_offer(text: str) -> None:
    """Given any text, when it is checked as an offer, then it is refused by name or accepted."""
    with suppress(BadOffer):
        check_offer("v=0\n" + text)


@given(some.binary(max_size=30))
def test_any_payload_is_a_frame_start_or_not(payload: bytes) -> None:
    """Given any payload, when it is looked at, then a key frame's start is a frame's start."""
    assert rtp.is_vp8_frame_start(payload) or not rtp.is_vp8_key_frame_start(payload)


@given(some.integers(0, 0xFFFF), some.lists(some.integers(1, 40), max_size=60))
def test_nack_carries_every_number(begin: int, distances: list[int]) -> None:
    """Given missing numbers in order, over the wrap, when they are packed and parsed, then they are the same."""
    numbers = [begin]
    for distance in distances:
        numbers.append((numbers[-1] + distance) & 0xFFFF)
    (message,) = rtcp.parse(rtcp.nack(1, 2, numbers))
    assert message == rtcp.Nack(2, numbers)


@given(some.integers(1, 10**9), some.integers(0, 2**32 - 1))
def test_remb_is_near_its_rate(bitrate: int, ssrc: int) -> None:
    """Given a rate, when it is packed and parsed, then 18 bits of it are left."""
    (message,) = rtcp.parse(rtcp.remb(1, bitrate, ssrc))
    assert isinstance(message, rtcp.Remb)
    assert message.ssrcs == (ssrc,)
    assert 0 <= bitrate - message.bitrate <= bitrate / 2**17


def test_full_intra_request_names_its_streams() -> None:
    """RFC 5104 4.3.1.1. Given a FIR with two entries, when it is parsed, then each stream is asked for a picture."""
    entries = (7).to_bytes(4, "big") + bytes(4) + (9).to_bytes(4, "big") + bytes(4)
    packet = bytes([0x84, 206, 0, 6]) + bytes(8) + entries
    assert list(rtcp.parse(packet)) == [rtcp.PictureRequest(7), rtcp.PictureRequest(9)]


@given(some.integers(0, 2**40), some.integers(-30_000, 30_000))
def test_unwrap_finds_the_nearest(reference: int, distance: int) -> None:
    """Given a number near a reference, when only its last 16 bits are known, then it is found again."""
    assert rtp.unwrap((reference + distance) & 0xFFFF, reference, 16) == reference + distance


def test_candidates_are_dropped_from_offers() -> None:
    """Given an offer with candidates, when it is checked, then they are gone and the sent kinds are known."""
    text = "\r\n".join(
        [
            "v=0",
            "a=group:BUNDLE 0 1",
            "a=fingerprint:sha-256 AA",
            "m=audio 9 UDP/TLS/RTP/SAVPF 111",
            "a=candidate:1 1 udp 1 abc.local 5 typ host",
            "a=end-of-candidates",
            "a=sendrecv",
            "m=video 9 UDP/TLS/RTP/SAVPF 96",
            "a=recvonly",
        ]
    )
    offer = check_offer(text)
    assert "candidate" not in offer.text
    assert (offer.kinds, offer.sent_kinds) == (["audio", "video"], frozenset({"audio"}))


def test_answer_asks_for_forward_error_correction() -> None:
    """Given an answer with Opus, when it is finished, then the line behind says useinbandfec and line ends are kept."""
    assert finish_answer("a=rtpmap:111 opus/48000/2\r\na=x\r\n") == (
        "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\na=x\r\n"
    )
