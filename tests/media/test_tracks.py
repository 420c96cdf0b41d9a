"""Up- and down-tracks with synthetic packets: numbering, repair, picture requests, reports. No socket, no clock."""

from itertools import pairwise

import pytest

from media import rtcp
from media.bandwidth import OPTIMISTIC_BITRATE
from media.down_track import REPAIRS_PER_TICK, DownTrack
from media.rtp import HEADER, header_extensions, is_vp8_key_frame_start, parse
from media.up_track import GAP_MAX, NACK_TRIES, RING_PACKETS, UpTrack

KEY = b"\x10\x00key"
DELTA = b"\x10\x01delta"
REST = b"\x00rest"


class Tape:
    """Keeps what is sent. Satisfies `Wire`."""

    def __init__(self) -> None:
        self.outbound = memoryview(bytearray(2048))
        self.packets: list[tuple[int, int, int, bytes]] = []
        self.rtcp: list[rtcp.Message] = []

    def send_rtp(self, length: int) -> None:
        packet = parse(self.outbound, length, 0)
        assert packet is not None
        payload = self.outbound[packet.start : packet.end].tobytes()
        self.packets.append((packet.sequence, packet.timestamp, packet.payload_type, payload))

    def send_rtcp(self, packet: bytes) -> None:
        self.rtcp += rtcp.parse(packet)

    def of(self, kind: type[rtcp.Message]) -> list[rtcp.Message]:
        return [message for message in self.rtcp if isinstance(message, kind)]


def up_track(kind: str = "video") -> tuple[UpTrack, Tape]:
    tape = Tape()
    up = UpTrack(kind, "video/VP8", 90_000, 96, 97, 11, 12, tape)
    up.is_open = True
    return up, tape


def down_track(up: UpTrack | None = None, kind: str = "video") -> tuple[DownTrack, Tape]:
    tape = Tape()
    down = DownTrack(kind, 90_000, 100, 101, 21, 22, header_extensions("1", 4, 3), "cname", tape)
    down.subscribe(up)
    return down, tape


def feed(up: UpTrack, numbers: range, now: float = 1.0, payload: bytes = KEY) -> None:
    for number in numbers:
        up.receive(number & 0xFFFF, number * 3000 & 0xFFFFFFFF, 0x80, payload, None, now)


def steps(values: list[int], bits: int) -> set[int]:
    return {(b - a) & ((1 << bits) - 1) for a, b in pairwise(values)}


def test_numbers_and_times_go_on_over_the_wrap() -> None:
    """Given a source near 65535 and 2**32, when it wraps, then a subscriber sees steps of one and of a frame."""
    up, _ = up_track()
    _, tape = down_track(up)
    begin = (1 << 32) // 3000 - 20
    for index in range(60):
        up.receive((0xFFF0 + index) & 0xFFFF, (begin + index) * 3000 & 0xFFFFFFFF, 0x80, KEY, None, 1.0)
    assert len(tape.packets) == 60
    assert steps([packet[0] for packet in tape.packets], 16) == {1}
    assert steps([packet[1] for packet in tape.packets], 32) == {3000}


def test_numbers_and_times_go_on_over_a_change_of_source() -> None:
    """Given a subscriber of one source, when it hears another one half a second later, then numbers go on by one and time
    by half a second, from a key frame on."""
    first, _ = up_track()
    second, asked = up_track()
    down, tape = down_track(first)
    feed(first, range(100, 110), now=1.0)
    down.subscribe(second)
    second.mend(1.4)
    assert asked.of(rtcp.PictureRequest)
    feed(second, range(40_000, 40_003), now=1.45, payload=DELTA)
    feed(second, range(40_003, 40_010), now=1.5)
    feed(first, range(110, 120), now=1.5)
    numbers, times = [packet[0] for packet in tape.packets], [packet[1] for packet in tape.packets]
    assert len(numbers) == 17
    assert steps(numbers, 16) == {1}
    assert (times[10] - times[9]) & 0xFFFFFFFF == 45_000


def test_video_starts_at_a_key_frame_and_audio_at_once() -> None:
    """Given new subscribers, when packets come, then video waits for the first packet of a key frame."""
    video, _ = up_track()
    _, pictures = down_track(video)
    for number, payload in enumerate([REST, DELTA, REST, KEY, REST]):
        video.receive(number, 0, 0, payload, None, 1.0)
    assert [packet[3] for packet in pictures.packets] == [KEY, REST]
    audio, _ = up_track("audio")
    _, sounds = down_track(audio, "audio")
    audio.receive(0, 0, 0, b"opus", None, 1.0)
    assert [packet[3] for packet in sounds.packets] == [b"opus"]


def test_late_packet_from_before_the_start_is_not_forwarded() -> None:
    """Given a subscriber that started at a key frame, when an older packet comes late, then it does not get a number that
    an earlier source has used; a late one from after the start does get its own."""
    up, _ = up_track()
    _, tape = down_track(up)
    up.receive(10, 0, 0, DELTA, None, 1.0)
    up.receive(12, 0, 0, KEY, None, 1.0)
    up.receive(14, 0, 0, REST, None, 1.0)
    up.receive(11, 0, 0, REST, None, 1.0)
    up.receive(13, 0, 0, b"\x00late", None, 1.0)
    first = tape.packets[0][0]
    assert [(packet[0] - first) & 0xFFFF for packet in tape.packets] == [0, 2, 1]


def test_duplicates_end_at_the_up_track() -> None:
    """Given a packet that came, when it comes again, newest or older, then nothing is forwarded or counted."""
    up, _ = up_track()
    _, tape = down_track(up)
    feed(up, range(5))
    feed(up, range(2, 5))
    assert len(tape.packets) == up.received_count == 5


def test_gated_track_is_captured_and_not_forwarded() -> None:
    """SAFETY.md 16. Given a track that is not open, when packets come, then the sink has them and no subscriber."""
    up, _ = up_track()
    up.is_open = False
    _, tape = down_track(up)
    kept: list[int] = []

    class Sink:
        def append(self, stream: int, marker: int, sequence: int, timestamp: int, now: float, payload: bytes) -> None:
            kept.append(sequence)

        def append_report(self, stream: int, report: rtcp.SenderReport, now: float) -> None:
            raise AssertionError("no report came")

    up.capture(Sink(), 0, 0.0)
    feed(up, range(3))
    assert kept == [0, 1, 2]
    assert tape.packets == []


def test_gap_is_asked_for_until_it_is_given_up_and_then_a_picture_is() -> None:
    """Given a gap, when nothing repairs it, then it is asked for NACK_TRIES times and a key frame after that."""
    up, tape = up_track()
    feed(up, range(3))
    tape.rtcp.clear()
    feed(up, range(5, 6))
    for beat in range(NACK_TRIES + 3):
        up.mend(10.0 + beat * 0.04)
    assert [message.sequences for message in tape.of(rtcp.Nack)] == [[3, 4]] * NACK_TRIES  # type: ignore[union-attr]
    assert len(tape.of(rtcp.PictureRequest)) == 1


def test_repaired_gap_is_forwarded_and_not_asked_for_again() -> None:
    """Given a gap, when the repair comes, then it is forwarded under its own number and no NACK follows."""
    up, tape = up_track()
    _, heard = down_track(up)
    feed(up, [0, 1, 3])  # type: ignore[arg-type]
    feed(up, range(2, 3))
    tape.rtcp.clear()
    up.mend(2.0)
    assert not tape.of(rtcp.Nack)
    first = heard.packets[0][0]
    assert [(packet[0] - first) & 0xFFFF for packet in heard.packets] == [0, 1, 3, 2]


@pytest.mark.parametrize(("jump", "is_nacked"), [(GAP_MAX, True), (GAP_MAX + 1, False)])
def test_large_jump_asks_for_a_picture_and_not_for_packets(jump: int, is_nacked: bool) -> None:
    """Given a jump at GAP_MAX and one past it, when it is seen, then only the smaller one is a gap to repair."""
    up, tape = up_track()
    feed(up, range(1))
    tape.rtcp.clear()
    feed(up, range(jump, jump + 1), now=5.0)
    assert bool(tape.of(rtcp.Nack)) == is_nacked
    assert bool(tape.of(rtcp.PictureRequest)) != is_nacked


def test_picture_requests_are_deferred_and_never_dropped() -> None:
    """Given three requests within the throttle, when time goes on, then exactly one more goes out, when it may."""
    up, tape = up_track()
    feed(up, range(1))
    tape.rtcp.clear()
    up.request_picture(10.0)
    up.request_picture(10.1)
    up.request_picture(10.2)
    assert len(tape.of(rtcp.PictureRequest)) == 1
    up.mend(10.4)
    assert len(tape.of(rtcp.PictureRequest)) == 1
    up.mend(10.5)
    up.mend(11.5)
    assert len(tape.of(rtcp.PictureRequest)) == 2


def test_nack_is_answered_over_rtx_from_the_ring() -> None:
    """Given a started subscriber, when it misses packets, then those that the ring has come again on the repair stream,
    with their own number in front; older ones and those before the start do not."""
    up, _ = up_track()
    down, tape = down_track(up)
    feed(up, range(RING_PACKETS + 50))
    first, last = tape.packets[0][0], tape.packets[-1][0]
    tape.packets.clear()
    down.repair([last, (last - 1) & 0xFFFF, (first + 2) & 0xFFFF, (first - 1) & 0xFFFF, (last + 1) & 0xFFFF], 1.0)
    assert [packet[2] for packet in tape.packets] == [101, 101]
    assert [packet[3] for packet in tape.packets] == [
        last.to_bytes(2, "big") + KEY,
        ((last - 1) & 0xFFFF).to_bytes(2, "big") + KEY,
    ]


def test_repairs_have_a_budget() -> None:
    """Given a subscriber that asks for the same packet for ever, when its budget is spent, then it gets no more till the
    next tick."""
    up, _ = up_track()
    down, tape = down_track(up)
    feed(up, range(2))
    last = tape.packets[-1][0]
    tape.packets.clear()
    down.repair([last] * (REPAIRS_PER_TICK + 1), 1.0)
    assert len(tape.packets) == REPAIRS_PER_TICK
    down.tick()
    down.repair([last], 1.0)
    assert len(tape.packets) == REPAIRS_PER_TICK + 1


def test_sender_report_is_translated() -> None:
    """Given a started subscriber, when the source reports, then the same instant belongs to the subscriber's own time."""
    up, _ = up_track()
    _, tape = down_track(up)
    feed(up, range(7, 8))
    up.on_sender_report(rtcp.SenderReport(11, 123 << 32, 7 * 3000 + 90), 1.0)
    (report,) = tape.of(rtcp.SenderReport)
    assert report == rtcp.SenderReport(21, 123 << 32, (tape.packets[0][1] + 90) & 0xFFFFFFFF)


def test_receiver_report_counts_losses_over_the_wrap() -> None:
    """Given one packet of four lost around 65535, when the tick reports, then it says a quarter."""
    up, tape = up_track("audio")
    feed(up, [number for number in range(0xFFC0, 0x10040) if number % 4])  # type: ignore[arg-type]
    up.tick(2.0)
    (report,) = tape.of(rtcp.ReceptionReport)
    assert report.ssrc == 11  # type: ignore[union-attr]
    assert abs(report.lost - 64) <= 2  # type: ignore[union-attr]


def test_bit_rate_is_optimistic_until_loss() -> None:
    """Given a fresh stream, when it is reported, then 1.5 Mbit/s are announced; with a subscriber's lower REMB and loss,
    that one."""
    up, tape = up_track()
    down, _ = down_track(up)
    feed(up, range(10))
    up.tick(1.0)
    assert tape.of(rtcp.Remb)[-1].bitrate == pytest.approx(OPTIMISTIC_BITRATE, rel=0.001)  # type: ignore[union-attr]
    down.bitrate, down.lost = 400_000, 26
    up.tick(2.0)
    assert tape.of(rtcp.Remb)[-1].bitrate == pytest.approx(400_000, rel=0.001)  # type: ignore[union-attr]


def test_key_frame_is_asked_for_every_ten_seconds_of_recording() -> None:
    """Given a recorded stream without key frames, when ten seconds pass, then one is asked for."""
    up, tape = up_track()

    class Nowhere:
        def append(self, stream: int, marker: int, sequence: int, timestamp: int, now: float, payload: bytes) -> None:
            """Keep nothing."""

        def append_report(self, stream: int, report: rtcp.SenderReport, now: float) -> None:
            """Keep nothing."""

    feed(up, range(1), now=1.0)
    up.capture(Nowhere(), 0, 1.0)
    tape.rtcp.clear()
    up.tick(10.9)
    assert not tape.of(rtcp.PictureRequest)
    up.tick(11.1)
    assert tape.of(rtcp.PictureRequest)


def test_header_carries_mid_and_send_time() -> None:
    """Given negotiated extensions, when a packet is written, then both stand in it and the payload begins behind them."""
    up, _ = up_track()
    _, tape = down_track(up)
    feed(up, range(1), now=2.5)
    packet = parse(tape.outbound, 12 + 12 + len(KEY), 3)
    assert packet is not None
    assert packet.sent_at == int(2.5 * 262144) & 0xFFFFFF
    assert tape.outbound[12:14].tobytes() == b"\xbe\xde"
    assert HEADER.unpack_from(tape.outbound)[0] == 0x90
    assert is_vp8_key_frame_start(tape.outbound[packet.start : packet.end].tobytes())
