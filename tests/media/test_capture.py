"""Capture logs and muxing with synthetic packets: chain, torn tails, clocks, losses, segments."""

import errno
import random
from pathlib import Path

import msgspec
import pytest

from media import finaliser
from media.capture import BLOCK, BLOCK_BYTES, CaptureLog, CaptureReader, CaptureWriter, Record
from media.evidence import (
    MANIFEST_FILE,
    ROOM_FILE,
    Manifest,
    RoomRecord,
    attempt_folder,
    is_locked,
    lock_folder,
    whole_file,
)
from media.mux import NothingToPlay, mux
from media.rtcp import SenderReport
from media.timeline import NTP_EPOCH_S, Timeline
from tests.media.peers import Clip, frame_of
from tests.media.test_recording import count_decoded, packets_of

EPOCH_S = 1_700_000_000.0
Packet = tuple[int, int, int, int, float, bytes]
"""(stream, marker, sequence, timestamp, arrival in s, payload)"""


class Log:
    """A log written by the real writer at arrival times of the test's choice."""

    def __init__(self, path: Path) -> None:
        self.writer = CaptureWriter(1 << 30)
        self.confirmed: list[int] = []
        self.failed: list[str] = []
        self.log = CaptureLog(path, self.writer, EPOCH_S, lambda: self.confirmed.append(1), self.failed.append)
        self.streams: dict[tuple[str, int], int] = {}

    def stream(self, kind: str, segment: int = 1) -> int:
        rate = 90_000 if kind == "video" else 48_000
        fields = {"kind": kind, "codec": "", "clock_rate": rate, "segment": segment, "ssrc": 1}
        return self.log.add_stream(fields)

    def put(self, packets: list[Packet]) -> None:
        for stream, marker, sequence, timestamp, arrival_s, payload in packets:
            self.log.append(stream, marker, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, arrival_s, payload)

    async def seal(self) -> CaptureReader:
        await self.log.seal()
        await self.writer.close(5)
        return CaptureReader(self.log.path)


def ntp(seconds: float) -> int:
    return int((seconds + NTP_EPOCH_S) * (1 << 32))


def film(
    clip: Clip, stream: int, begin_s: float, count: int = 60, sequence: int = 0xFFF0, time: int = 0
) -> list[Packet]:
    """Frames of the clip from its key frame on, 30 a second."""
    packets: list[Packet] = []
    for index, payloads in enumerate(clip[0][:count]):
        for at, payload in enumerate(payloads):
            marker = 0x80 if at == len(payloads) - 1 else 0
            packets.append((stream, marker, sequence, time + index * 3000, begin_s + index / 30, payload))
            sequence += 1
    return packets


def sound(clip: Clip, stream: int, begin_s: float, count: int = 100, sequence: int = 65_500) -> list[Packet]:
    """Audio packets of the clip, 50 a second."""
    return [
        (stream, 0, sequence + index, (1 << 32) - 5_000 + index * 960, begin_s + index / 50, payload)
        for index, payload in enumerate(clip[1][:count])
    ]


@pytest.fixture
async def log(tmp_path: Path) -> Log:
    """An empty log."""
    return Log(tmp_path / "party.capture")


async def test_log_holds_what_was_put_and_is_confirmed(log: Log, clip: Clip) -> None:
    """Given packets over several blocks, when the log is read, then they are all there in order, and it is complete."""
    stream = log.stream("video")
    packets = film(clip, stream, 1.0) * 4
    log.put(packets)
    reader = await log.seal()
    records = [record for record in reader.records() if record.stream == stream]
    assert log.confirmed == [1]
    assert reader.is_complete
    assert reader.problems == []
    assert records == [
        Record(stream, marker > 0, sequence & 0xFFFF, time, int((EPOCH_S + at) * 1_000_000), payload)
        for stream, marker, sequence, time, at, payload in packets
    ]
    assert log.log.path.stat().st_size > 2 * BLOCK_BYTES


async def test_torn_tail_costs_its_block_alone(log: Log, clip: Clip) -> None:
    """Given a log cut in its last block, when it is read, then all blocks before are there and the cut is named."""
    stream = log.stream("video")
    log.put(film(clip, stream, 1.0) * 4)
    reader = await log.seal()
    whole = len(list(reader.records()))
    content = log.log.path.read_bytes()
    log.log.path.write_bytes(content[:-1])
    assert 0 < len(list(reader.records())) < whole
    assert "cut off" in reader.problems[0]
    assert not reader.is_complete
    log.log.path.write_bytes(content[: BLOCK.size - 5])
    assert list(reader.records()) == []
    assert "cut off" in reader.problems[0]


async def test_chain_shows_every_changed_byte(log: Log, clip: Clip) -> None:
    """Given a log, when any one byte of it is changed, then reading names a problem; the other blocks can still be read."""
    stream = log.stream("video")
    log.put(film(clip, stream, 1.0) * 4)
    reader = await log.seal()
    whole = len(list(reader.records()))
    content = log.log.path.read_bytes()
    chance = random.Random(3)
    for at in [0, 5, 20, BLOCK.size, *(chance.randrange(len(content)) for _ in range(30))]:
        log.log.path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert len(list(reader.records())) < whole, at
        assert reader.problems, at


async def test_removed_block_shows(log: Log, clip: Clip) -> None:
    """Given a log, when a whole block is taken out of its middle, then the chain is broken there."""
    log.put(film(clip, log.stream("video"), 1.0) * 4)
    reader = await log.seal()
    content = log.log.path.read_bytes()
    first = BLOCK.size + BLOCK.unpack_from(content)[1]
    second = first + BLOCK.size + BLOCK.unpack_from(content, first)[1]
    log.log.path.write_bytes(content[:first] + content[second:])
    list(reader.records())
    assert "hash chain broken" in reader.problems[0]


async def test_backlog_is_bounded(tmp_path: Path) -> None:
    """Given a writer that may hold a few bytes, when more wait, then the log fails as writer_too_slow and takes no more."""
    writer = CaptureWriter(backlog_bytes_max=0)
    failed: list[str] = []
    log = CaptureLog(tmp_path / "x.capture", writer, EPOCH_S, lambda: None, failed.append)
    busy = writer.run(lambda: __import__("time").sleep(0.3))
    for number in range(3):
        log.append(0, 0, number, 0, 1.0, bytes(BLOCK_BYTES - 100))
        log.flush()
    await busy
    await writer.close(5)
    assert failed == ["writer_too_slow"]


async def test_muxed_file_is_bit_identical(log: Log, clip: Clip, tmp_path: Path) -> None:
    """Given packets that come out of order and wrap their numbers and times, when they are muxed, then the file holds the
    very frames and packets in their order, and decodes."""
    video, audio = log.stream("video"), log.stream("audio")
    packets = sorted(film(clip, video, 1.0) + sound(clip, audio, 1.0), key=lambda packet: packet[4])
    for at in range(5, len(packets) - 5, 7):
        packets[at], packets[at + 2] = packets[at + 2], packets[at]
    log.put(packets)
    path = tmp_path / "party.webm"
    muxed = mux(await log.seal(), path)
    assert packets_of(path, "video") == [frame_of(frame) for frame in clip[0][:60]]
    assert packets_of(path, "audio") == clip[1][:100]
    assert count_decoded(path, "video") == 60
    assert (muxed.video_frames, muxed.audio_packets, muxed.lost_video_frames, muxed.lost_audio_packets) == (
        60,
        100,
        0,
        0,
    )
    assert abs(muxed.duration_ms - 2_000) <= 40
    assert muxed.holes == []


async def test_lost_packet_leaves_out_frames_until_the_next_key_frame(log: Log, clip: Clip, tmp_path: Path) -> None:
    """Given a packet lost in frame 20 and a key frame in place of frame 40, when muxed, then frames 20 to 39 are left out."""
    video = log.stream("video")
    first = film(clip, video, 1.0, 40)
    again = film(clip, video, 1.0 + 40 / 30, 20, sequence=first[-1][2] + 1, time=40 * 3000)
    lost = next(at for at, packet in enumerate(first) if packet[3] == 20 * 3000)
    log.put(first[:lost] + first[lost + 1 :] + again)
    path = tmp_path / "party.webm"
    muxed = mux(await log.seal(), path)
    assert packets_of(path, "video") == [frame_of(frame) for frame in clip[0][:20] + clip[0][:20]]
    assert muxed.lost_video_frames in (19, 20)
    assert count_decoded(path, "video") == 40


async def test_sender_reports_keep_lips_and_voice_together(log: Log, clip: Clip) -> None:
    """Given audio that travels 150 ms longer than video and reports of both, when places are looked up, then what was
    made at one instant has one place, though it arrived apart."""
    video, audio = log.stream("video"), log.stream("audio")
    log.put(film(clip, video, 1.0))
    log.put(sound(clip, audio, 1.15))
    for second in range(2):
        log.log.append_report(video, SenderReport(1, ntp(50 + second), second * 90_000), 1.0)
        log.log.append_report(audio, SenderReport(2, ntp(50 + second), (second * 48_000 - 5_000) & 0xFFFFFFFF), 1.0)
    timeline = Timeline(await log.seal())
    pictures, voices = timeline.streams[video], timeline.streams[audio]
    picture_us = timeline.at_us(pictures, pictures.unwrap_timestamp(45_000))
    voices.unwrap_timestamp((1 << 32) - 5_000)
    voice_us = timeline.at_us(voices, voices.unwrap_timestamp(24_000 - 5_000))
    assert abs(picture_us - voice_us) < 1_000
    assert abs(picture_us - (EPOCH_S + 1.5) * 1_000_000) < 2_000


async def test_drift_of_the_senders_clock_is_followed(log: Log) -> None:
    """Given an RTP clock that runs 200 ppm fast for ten minutes, when places are looked up, then its end is where the
    reports say and not 120 ms later."""
    audio = log.stream("audio")
    rate = 48_000 * 1.0002
    for second in range(601):
        log.put([(audio, 0, second, int(second * rate), 1.0 + second, b"opus")])
        log.log.append_report(audio, SenderReport(2, ntp(50 + second), int(second * rate)), 1.0 + second)
    timeline = Timeline(await log.seal())
    voices = timeline.streams[audio]
    begin, end = timeline.at_us(voices, 0), timeline.at_us(voices, int(600 * rate))
    assert abs(end - begin - 600_000_000) < 2_000


async def test_segments_lie_on_one_time_line(log: Log, clip: Clip, tmp_path: Path) -> None:
    """Given a party that came again 5 s later with other clocks, when muxed, then one file holds both, the pause between
    them is as long as it was, and it is named."""
    log.put(film(clip, log.stream("video", 1), 1.0, 30))
    log.put(film(clip, log.stream("video", 2), 7.0, 30, sequence=900, time=3_000_000_000))
    path = tmp_path / "party.webm"
    muxed = mux(await log.seal(), path)
    assert (muxed.segments, muxed.video_frames) == (2, 60)
    assert abs(muxed.duration_ms - 7_000) < 50
    assert muxed.holes == ["no video from 1.0 s to 6.0 s"]
    assert count_decoded(path, "video") == 60


async def test_log_without_media_cannot_be_played(log: Log, tmp_path: Path) -> None:
    """Given a log with descriptions alone, when it is muxed, then NothingToPlay is raised and no file stays."""
    log.stream("video")
    reader = await log.seal()
    with pytest.raises(NothingToPlay), whole_file(tmp_path / "party.webm") as draft:
        mux(reader, draft)
    assert [path.name for path in tmp_path.iterdir()] == ["party.capture"]  # noqa: ASYNC240


def test_paths_stay_below_the_folder(tmp_path: Path) -> None:
    """Given ids from outside, when a path is built, then it lies below the root or is refused."""
    assert attempt_folder(tmp_path, "call-1", 2, 0) == tmp_path / "1970-01-01" / "call-1" / "attempt-2"
    for room_id in ("..", "a/b", "", "/etc"):
        with pytest.raises(ValueError, match="room id"):
            attempt_folder(tmp_path, room_id, 1, 0)


def test_folder_has_one_owner(tmp_path: Path) -> None:
    """Given a locked folder, when another wants it, then it is told so; after the release it gets it."""
    import os

    lock = lock_folder(tmp_path)
    assert lock is not None
    assert is_locked(tmp_path)
    os.close(lock)
    assert not is_locked(tmp_path)


async def test_muxing_that_breaks_off_leaves_the_whole_log_in_the_manifest(
    tmp_path: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a disk that fills up while the playable file is made, then the manifest still has the log's own last hash."""
    log = Log(tmp_path / "customer.capture")
    log.put(film(clip, log.stream("video"), 1.0))
    reader = await log.seal()
    list(reader.records())
    order = {"room_id": "call-1", "attempt": 1, "business_reference": "", "recording": "required", "labels": {}}
    record = RoomRecord(**order, parties=["customer"], worker_id="1", worker_epoch=1, opened_at_ms=0)  # type: ignore[arg-type]
    (tmp_path / ROOM_FILE).write_bytes(msgspec.json.encode(record))

    def broken_off(reader: CaptureReader, path: Path) -> None:
        next(reader.records())
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(finaliser, "mux", broken_off)
    finaliser.seal(tmp_path, tmp_path, is_playable=True)
    manifest = msgspec.json.decode((tmp_path / MANIFEST_FILE).read_bytes(), type=Manifest)
    assert manifest.gaps == ["customer: not playable (OSError); the capture log is kept"]
    assert [file.chain_head for file in manifest.files] == [reader.head.hex()]
