"""From a capture log to a playable WebM: the party's own VP8 and Opus, bit-identical, on one time line.

Nothing is decoded or encoded. The log is read twice, first for its clocks (`timeline.py`), then for its packets, which are
put in order, joined to frames and written as they come, so that an hour's call needs no more memory than a minute's. A
frame with a missing packet is left out, and so is what follows until the next key frame: a player shows a still picture,
never a broken one. All segments of a party (it may have reconnected) come into the one file.
"""

import heapq
import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from msgspec import Struct

from media.capture import CaptureReader, Record
from media.rtp import is_vp8_frame_start, unwrap, vp8_descriptor_bytes
from media.timeline import Stream, Timeline

REORDER_PACKETS_MAX = 256
"""Packets held for a missing one: 1.6 s of video, three times as long as repairs are asked for."""
INTERLEAVE_US = 3_000_000
HOLE_MIN_US = 2_000_000
"""A pause in what arrived that the manifest names. Cameras and microphones that run never pause so long."""
HOLES_NAMED_MAX = 100
MILLISECONDS = Fraction(1, 1000)
AUDIO_PACKET_US = 20_000
VIDEO_FRAME_US = 33_333


class Muxed(Struct):
    """What became of one log."""

    started_at_us: int = 0
    duration_ms: int = 0
    video_frames: int = 0
    audio_packets: int = 0
    lost_video_frames: int = 0
    lost_audio_packets: int = 0
    segments: int = 0
    holes: list[str] = []  # msgspec copies defaults


class Unit(Struct, order=True):
    """One frame or audio packet on the time line."""

    at_us: int
    is_video: bool
    data: bytes
    is_key: bool


class NothingToPlay(Exception):
    """The log holds no frame and no audio packet."""


class _Order:
    """Puts one stream's packets into the order they were sent in."""

    def __init__(self) -> None:
        self._next: int | None = None
        self._held: dict[int, Record] = {}
        self.lost_count = 0

    def add(self, record: Record) -> Iterator[tuple[Record, bool]]:
        """Yield what is in turn now, each with whether packets before it are missing."""
        if self._next is None:
            self._next = record.sequence
        number = unwrap(record.sequence, self._next, 16)
        if number < self._next:
            return
        self._held[number] = record
        if number == self._next or len(self._held) > REORDER_PACKETS_MAX:
            yield from self._release()

    def _release(self) -> Iterator[tuple[Record, bool]]:
        assert self._next is not None
        first = min(self._held)
        missing = first - self._next
        self.lost_count += missing
        self._next = first
        while (record := self._held.pop(self._next, None)) is not None:
            yield record, missing > 0
            missing = 0
            self._next += 1

    def rest(self) -> Iterator[tuple[Record, bool]]:
        """Yield what is still held."""
        while self._held:
            yield from self._release()


class _Frames:
    """Joins one stream's packets to frames (RFC 7741 section 4): from S=1, partition 0 to the marker."""

    def __init__(self) -> None:
        self._packets: list[Record] = []
        self._is_whole = True
        self._is_key_needed = True
        self.lost_count = 0

    def add(self, record: Record, is_after_loss: bool) -> tuple[int, bytes, bool] | None:
        """(timestamp, frame, is it a key frame) when `record` completes one."""
        if is_after_loss:
            self._is_key_needed = True
            if self._packets and self._packets[0].timestamp == record.timestamp:
                self._is_whole = False
        if self._packets and self._packets[0].timestamp != record.timestamp:
            self._drop()  # Its marker is lost.
        if not self._packets:
            self._is_whole = is_vp8_frame_start(record.payload)
        self._packets.append(record)
        if not record.is_marked:
            return None
        packets, is_whole = self._packets, self._is_whole
        self._packets = []
        try:
            frame = b"".join(packet.payload[vp8_descriptor_bytes(packet.payload) :] for packet in packets)
        except ValueError:
            is_whole = False
        if is_whole and not frame[0] & 1:
            self._is_key_needed = False
        if not is_whole or self._is_key_needed:
            self._is_key_needed = True
            self.lost_count += 1
            return None
        return packets[0].timestamp, frame, not frame[0] & 1

    def _drop(self) -> None:
        self._packets = []
        self._is_key_needed = True
        self.lost_count += 1


class _Units:
    """All streams of one log as units in the order of time, as far as packets that come late allow."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._orders = {number: _Order() for number in timeline.streams}
        self._frames = {number: _Frames() for number in timeline.streams}
        self._waiting: list[Unit] = []

    def read(self, reader: CaptureReader) -> Iterator[Unit]:
        """Yield everything that can be played."""
        newest_us = 0
        for record in reader.records():
            stream = self._timeline.streams.get(record.stream)
            if stream is None:
                continue
            for unit in self._advance(stream, self._orders[stream.number].add(record)):
                newest_us = max(newest_us, unit.at_us)
                heapq.heappush(self._waiting, unit)
            while self._waiting and self._waiting[0].at_us < newest_us - INTERLEAVE_US:
                yield heapq.heappop(self._waiting)
        for stream in self._timeline.streams.values():
            for unit in self._advance(stream, self._orders[stream.number].rest()):
                heapq.heappush(self._waiting, unit)
        while self._waiting:
            yield heapq.heappop(self._waiting)

    def _advance(self, stream: Stream, packets: Iterator[tuple[Record, bool]]) -> Iterator[Unit]:
        for record, is_after_loss in packets:
            if stream.kind == "video":
                frame = self._frames[stream.number].add(record, is_after_loss)
                if frame is None:
                    continue
                timestamp, data, is_key = frame
            else:
                timestamp, data, is_key = record.timestamp, record.payload, True
            at_us = self._timeline.at_us(stream, stream.unwrap_timestamp(timestamp))
            yield Unit(at_us, stream.kind == "video", data, is_key)

    def losses(self, kind: str) -> int:
        """Frames of video or packets of audio that could not be used or never came."""
        counted: dict[int, Any] = {**self._frames} if kind == "video" else {**self._orders}
        return sum(counted[number].lost_count for number, one in self._timeline.streams.items() if one.kind == kind)


class _File:
    """The WebM file being written; time 0 is the first unit."""

    def __init__(self, path: Path, size: tuple[int, int] | None, has_audio: bool) -> None:
        # A cluster each 2 s: players seek by clusters, and a damaged one costs no more.
        self._container = av.open(str(path), "w", format="webm", options={"cluster_time_limit": "2000"})
        self._streams: dict[bool, Any] = {}
        if size is not None:
            width, height = size
            self._streams[True] = self._container.add_mux_stream(
                "vp8", rate=30, width=width, height=height, time_base=MILLISECONDS
            )
        if has_audio:
            self._template = _opus_template()
            self._streams[False] = self._container.add_stream_from_template(self._template.streams.audio[0])
        self._last_ms = {True: -1, False: -1}

    def write(self, unit: Unit, started_at_us: int) -> None:
        stream = self._streams.get(unit.is_video)
        if stream is None:
            return
        # Two units of a stream never share a millisecond: players take the later one for a mistake.
        at_ms = max(round((unit.at_us - started_at_us) / 1000), self._last_ms[unit.is_video] + 1)
        self._last_ms[unit.is_video] = at_ms
        packet = av.Packet(unit.data)
        packet.stream = stream
        packet.time_base = MILLISECONDS
        packet.pts = packet.dts = at_ms
        packet.is_keyframe = unit.is_key
        self._container.mux(packet)

    def close(self) -> None:
        self._container.close()


def _opus_template() -> Any:
    """A file with one silent Opus packet. PyAV gives a stream its Opus header (RFC 7845) from another stream only."""
    content = io.BytesIO()
    with av.open(content, "w", format="webm") as container:
        stream = container.add_stream("libopus", rate=48_000, layout="stereo")
        silence = av.AudioFrame(format="s16", layout="stereo", samples=960)
        silence.sample_rate = 48_000
        silence.pts = 0
        for plane in silence.planes:
            plane.update(bytes(plane.buffer_size))
        for packet in [*stream.encode(silence), *stream.encode(None)]:
            container.mux(packet)
    content.seek(0)
    return av.open(content)


def mux(reader: CaptureReader, path: Path) -> Muxed:
    """Write the log's content to `path`. Raises NothingToPlay, OSError or av.FFmpegError."""
    timeline = Timeline(reader)
    units = _Units(timeline)
    file: _File | None = None
    muxed = Muxed(segments=timeline.segment_count)
    holes = _Holes()
    ends_at_us = 0
    has_audio = any(stream.kind == "audio" and stream.timestamps for stream in timeline.streams.values())
    try:
        for unit in units.read(reader):
            if file is None:
                muxed.started_at_us = unit.at_us
                file = _File(path, timeline.size, has_audio)
            file.write(unit, muxed.started_at_us)
            holes.note(unit, muxed.started_at_us)
            ends_at_us = max(ends_at_us, unit.at_us + (VIDEO_FRAME_US if unit.is_video else AUDIO_PACKET_US))
            if unit.is_video:
                muxed.video_frames += 1
            else:
                muxed.audio_packets += 1
    finally:
        if file is not None:
            file.close()
    if file is None:
        raise NothingToPlay
    muxed.duration_ms = round((ends_at_us - muxed.started_at_us) / 1000)
    muxed.lost_video_frames, muxed.lost_audio_packets = units.losses("video"), units.losses("audio")
    muxed.holes = holes.found
    return muxed


class _Holes:
    """Finds long pauses of one kind while the other may go on."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self._last_us: dict[bool, int] = {}

    def note(self, unit: Unit, started_at_us: int) -> None:
        last_us = self._last_us.get(unit.is_video, started_at_us)
        self._last_us[unit.is_video] = max(last_us, unit.at_us)
        if unit.at_us - last_us >= HOLE_MIN_US and len(self.found) < HOLES_NAMED_MAX:
            kind = "video" if unit.is_video else "audio"
            begin, end = ((at - started_at_us) / 1_000_000 for at in (last_us, unit.at_us))
            self.found.append(f"no {kind} from {begin:.1f} s to {end:.1f} s")
