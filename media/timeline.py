"""When each captured packet was made, on one clock: the worker's.

Three clocks meet in a log: RTP time (per stream), the sender's wall clock (its sender reports tie both together) and the
worker's clock (arrival). Theory: a line through all (RTP time, sender's time) pairs of a stream gives its rate, drift
included; the sender's clock is laid on the worker's by the least delayed packet of the segment, that is the smallest
(arrival - sender's time). Audio and video of one segment share that one shift, so they stay together to some
milliseconds, where arrival times alone are off by 150 ms. Without reports the least delayed packet of the stream itself
places it.

Pure, apart from reading the log. Memory: 16 bytes a packet.
"""

import json
from array import array
from dataclasses import dataclass, field
from struct import unpack_from

from media.capture import DESCRIPTION, END, REPORT, CaptureReader, Record
from media.rtp import is_vp8_key_frame_start, unwrap, vp8_descriptor_bytes

NTP_EPOCH_S = 2_208_988_800
"""From 1900 to 1970."""
LINE_SPAN_MIN_S = 3
"""Reports over a shorter time give a slope that is mostly rounding."""
DRIFT_MAX = 0.001
"""1,000 ppm. No clock is that bad: such a slope comes from a step of the sender's clock, and the nominal rate is better."""


@dataclass
class Stream:
    """One stream of a log, surveyed."""

    number: int
    kind: str
    clock_rate: int
    segment: int
    reports: list[tuple[int, int]] = field(default_factory=list)
    """(RTP time unwrapped, sender's clock in us)."""
    timestamps: "array[int]" = field(default_factory=lambda: array("q"))
    arrivals_us: "array[int]" = field(default_factory=lambda: array("q"))
    highest_timestamp: int | None = None
    size: tuple[int, int] | None = None
    """Width and height of the first key frame."""
    _rate: float = 0.0
    _anchor: tuple[float, float] = (0.0, 0.0)

    def unwrap_timestamp(self, timestamp: int) -> int:
        """Give a timestamp its place in unbounded RTP time, near the highest one so far."""
        if self.highest_timestamp is None:
            self.highest_timestamp = timestamp
        unwrapped = unwrap(timestamp, self.highest_timestamp, 32)
        self.highest_timestamp = max(unwrapped, self.highest_timestamp)
        return unwrapped

    def fit(self) -> None:
        """Find rate and anchor: `place` then gives the sender's time, or RTP time in us when it sent no report."""
        self._rate = 1_000_000 / self.clock_rate
        self._anchor = (0.0, 0.0)
        if not self.reports:
            return
        base = self.reports[0][0]
        count = len(self.reports)
        mean_x = sum(x - base for x, _ in self.reports) / count
        mean_y = sum(y for _, y in self.reports) / count
        spread = sum((x - base - mean_x) ** 2 for x, _ in self.reports)
        if self.reports[-1][0] - base > LINE_SPAN_MIN_S * self.clock_rate and spread:
            slope = sum((x - base - mean_x) * (y - mean_y) for x, y in self.reports) / spread
            if abs(slope / self._rate - 1) <= DRIFT_MAX:
                self._rate = slope
        self._anchor = (base + mean_x, mean_y)

    def place(self, timestamp: int) -> float:
        """Sender's time in us of an unwrapped timestamp."""
        return self._anchor[1] + (timestamp - self._anchor[0]) * self._rate

    def least_delay(self) -> float:
        """The smallest (arrival - sender's time), in us."""
        return min(
            arrival - self.place(timestamp)
            for timestamp, arrival in zip(self.timestamps, self.arrivals_us, strict=True)
        )


class Timeline:
    """A log's streams and their places on the worker's clock. Reads the log once."""

    def __init__(self, reader: CaptureReader) -> None:
        self.streams: dict[int, Stream] = {}
        for record in reader.records():
            self._note(record)
        for stream in self.streams.values():
            stream.highest_timestamp = None
        self._shift_us: dict[int, float] = {}
        self._lay()

    def _note(self, record: Record) -> None:
        if record.stream == DESCRIPTION:
            told = json.loads(record.payload)
            self.streams[told["stream"]] = Stream(told["stream"], told["kind"], told["clock_rate"], told["segment"])
        elif record.stream == REPORT:
            self._note_report(record)
        elif record.stream != END and record.stream in self.streams:
            stream = self.streams[record.stream]
            stream.timestamps.append(stream.unwrap_timestamp(record.timestamp))
            stream.arrivals_us.append(record.arrival_us)
            if stream.kind == "video" and stream.size is None:
                stream.size = vp8_size(record.payload)

    def _note_report(self, record: Record) -> None:
        stream = self.streams.get(record.sequence)
        if stream is None or len(record.payload) != 8:
            return
        ntp = int.from_bytes(record.payload, "little")
        at_us = ((ntp >> 32) - NTP_EPOCH_S) * 1_000_000 + ((ntp & 0xFFFFFFFF) * 1_000_000 >> 32)
        stream.reports.append((stream.unwrap_timestamp(record.timestamp), at_us))

    def _lay(self) -> None:
        heard = [stream for stream in self.streams.values() if stream.timestamps]
        shared: dict[int, float] = {}
        for stream in heard:
            stream.fit()
            delay = stream.least_delay()
            self._shift_us[stream.number] = delay
            if stream.reports:
                shared[stream.segment] = min(delay, shared.get(stream.segment, delay))
        for stream in heard:
            if stream.reports:
                self._shift_us[stream.number] = shared[stream.segment]

    def at_us(self, stream: Stream, timestamp: int) -> int:
        """The worker's time, us since 1970, at which an unwrapped timestamp of `stream` was made."""
        return round(stream.place(timestamp) + self._shift_us[stream.number])

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height of the first picture; None when there is none."""
        return next((stream.size for stream in self.streams.values() if stream.size), None)

    @property
    def segment_count(self) -> int:
        """How often the party connected."""
        return len({stream.segment for stream in self.streams.values()})


def vp8_size(payload: bytes) -> tuple[int, int] | None:
    """Width and height from the first packet of a key frame (RFC 6386 section 9.1); None from any other."""
    if not is_vp8_key_frame_start(payload):
        return None
    frame = payload[vp8_descriptor_bytes(payload) :]
    if len(frame) < 10 or frame[3:6] != b"\x9d\x01\x2a":
        return None
    width, height = unpack_from("<HH", frame, 6)
    return width & 0x3FFF, height & 0x3FFF
