"""One stream that comes from a party: noted, repaired, captured and handed to the down-tracks that hear it.

Encoded packets pass through with new headers and are never decoded. Pure book-keeping: no socket, no clock, no task; the
time is an argument (the worker's monotonic seconds), sending goes through a `Wire`.

Theory of operation. An up-track numbers and times packets as its party does. Each down-track adds one offset to the
sequence number and one to the timestamp, chosen when it starts at a source, so that what its party sees goes on without
a seam when the source changes. A video down-track starts at a key frame only. Loss is repaired on each leg by itself:
upwards gaps are asked for again every tick until `NACK_TRIES`, then a key frame is; downwards a party's NACK is answered
from the source's ring. Picture requests are throttled and deferred, never dropped: a dropped one left a picture black
for 10 s. A track that is not open (SAFETY.md 16) is captured and not forwarded.

Not here: SRTP, addresses and aiortc (`link.py`), who hears whom (`room.py`).
"""

from collections.abc import Callable
from typing import Protocol

from media import rtcp
from media.bandwidth import Estimate
from media.down_track import DownTrack, Slot, Wire
from media.rtp import is_vp8_key_frame_start

RING_PACKETS = 512
"""About 3 s of one video stream: longer than any receiver waits for a repair."""
NACK_TRIES = 12
"""Every 40 ms: after half a second the frame is late in any case, and a key frame repairs everything."""
GAP_MAX = 100
"""A larger jump is a restart or a long outage, not a loss that a repair could mend in time."""
PICTURE_GAP_S = 0.5
FIRST_PICTURE_GAP_S = 0.2
"""Until the first one came. The first requests often arrive before the party's side of the connection is ready."""
KEY_FRAME_EVERY_S = 10.0
"""For seeking in the recording, and the most that a lost tail can cost it."""


class Sink(Protocol):
    """Where captured packets go."""

    def append(self, stream: int, marker: int, sequence: int, timestamp: int, now: float, payload: bytes) -> None:
        """Note one packet."""

    def append_report(self, stream: int, report: rtcp.SenderReport, now: float) -> None:
        """Note which instant of the sender's clock belongs to which RTP timestamp."""


class UpTrack:
    """One stream that comes from a party."""

    __slots__ = (
        "_base",
        "_estimate",
        "_expected_before",
        "_highest",
        "_is_picture_wanted",
        "_jitter",
        "_key_frame_at",
        "_missing",
        "_on_live",
        "_picture_asked_at",
        "_received_before",
        "_report",
        "_report_at",
        "_ring",
        "_sink",
        "_stream",
        "_timestamp",
        "_transit",
        "clock_rate",
        "feedback_ssrc",
        "is_live",
        "is_open",
        "is_video",
        "kind",
        "mime_type",
        "nack_count",
        "payload_type",
        "picture_count",
        "received_count",
        "rtx_payload_type",
        "ssrc",
        "subscribers",
        "wire",
    )

    def __init__(
        self,
        kind: str,
        mime_type: str,
        clock_rate: int,
        payload_type: int,
        rtx_payload_type: int | None,
        ssrc: int,
        feedback_ssrc: int,
        wire: Wire,
    ) -> None:
        self.kind, self.mime_type, self.clock_rate = kind, mime_type, clock_rate
        self.payload_type, self.rtx_payload_type = payload_type, rtx_payload_type
        self.ssrc, self.feedback_ssrc, self.wire = ssrc, feedback_ssrc, wire
        self.is_video = kind == "video"
        self.is_live = False
        """The first usable packet has arrived: for video the first of a key frame."""
        self.is_open = False
        self.subscribers: list[DownTrack] = []
        self.received_count = self.nack_count = self.picture_count = 0
        self._on_live: Callable[[UpTrack], None] | None = None
        self._sink: Sink | None = None
        self._stream = 0
        self._ring: list[Slot | None] = [None] * RING_PACKETS
        self._base = self._highest = -1
        self._timestamp = -1
        self._transit = self._jitter = 0.0
        self._missing: dict[int, int] = {}
        self._expected_before = self._received_before = 0
        self._report: rtcp.SenderReport | None = None
        self._report_at = 0.0
        self._picture_asked_at = self._key_frame_at = float("-inf")
        self._is_picture_wanted = False
        self._estimate = Estimate(ssrc) if self.is_video else None

    def watch(self, on_live: Callable[["UpTrack"], None]) -> None:
        """Call `on_live` once, just before the first usable packet is forwarded."""
        self._on_live = on_live

    def capture(self, sink: Sink | None, stream: int, now: float) -> None:
        """Record into `sink` as `stream` from the next packet on; None ends it."""
        self._sink, self._stream = sink, stream
        if sink is not None:
            if self._report is not None:
                sink.append_report(stream, self._report, self._report_at)
            if now - self._key_frame_at > PICTURE_GAP_S:
                self.request_picture(now)

    def receive(
        self, sequence: int, timestamp: int, marker: int, payload: bytes, sent_at: int | None, now: float
    ) -> None:
        """Take one packet: note it, capture it, forward it. Duplicates end here."""
        if not self._note(sequence, timestamp, now):
            return
        is_key = False
        if self.is_video:
            is_key = is_vp8_key_frame_start(payload)
            if is_key:
                self._key_frame_at = now
            assert self._estimate is not None
            self._estimate.add(len(payload), bool(marker), sent_at, now)
        if not self.is_live and payload and (is_key or not self.is_video):
            self.is_live = True
            if self._on_live is not None:
                self._on_live(self)
        self._ring[sequence % RING_PACKETS] = (sequence, timestamp, marker, payload)
        # Padding has no payload: it keeps the numbers whole for subscribers and is nothing to record.
        if self._sink is not None and payload:
            self._sink.append(self._stream, marker, sequence, timestamp, now, payload)
        if self.is_open:
            for subscriber in self.subscribers:
                subscriber.forward(sequence, timestamp, marker, payload, is_key, now)

    def _note(self, sequence: int, timestamp: int, now: float) -> bool:
        """Count the packet; False for a duplicate. `_highest` is unwrapped: it does not return to 0."""
        if self._highest < 0:
            self._base = self._highest = sequence
        else:
            ahead = (sequence - self._highest) & 0xFFFF
            if ahead == 0:
                return False
            if ahead < 0x8000:
                if ahead > 1:
                    self._miss(ahead, now)
                self._highest += ahead
            else:
                slot = self._ring[sequence % RING_PACKETS]
                if slot is not None and slot[0] == sequence:
                    return False
                self._missing.pop(sequence, None)
        self.received_count += 1
        # Interarrival jitter (RFC 3550 section 6.4.1), once a frame: a frame's packets share their timestamp.
        if timestamp != self._timestamp:
            transit = now * self.clock_rate - timestamp
            if self._timestamp >= 0 and abs(transit - self._transit) < self.clock_rate:
                self._jitter += (abs(transit - self._transit) - self._jitter) / 16
            self._transit, self._timestamp = transit, timestamp
        return True

    def _miss(self, ahead: int, now: float) -> None:
        if not self.is_video:
            return
        if ahead > GAP_MAX:
            self._missing.clear()
            self.request_picture(now)
            return
        for distance in range(1, ahead):
            self._missing[(self._highest + distance) & 0xFFFF] = 0
        self._send_nack()

    def _send_nack(self) -> None:
        self.nack_count += 1
        self.wire.send_rtcp(rtcp.nack(self.feedback_ssrc, self.ssrc, list(self._missing)))

    def mend(self, now: float) -> None:
        """Ask again for what is missing and for a picture that was deferred. Call every 40 ms."""
        if self._is_picture_wanted or (self.is_video and self._is_awaited()):
            self.request_picture(now)
        if not self._missing:
            return
        given_up = False
        for sequence in list(self._missing):
            self._missing[sequence] += 1
            if self._missing[sequence] >= NACK_TRIES or (self._highest - sequence) & 0xFFFF >= RING_PACKETS:
                del self._missing[sequence]
                given_up = True
        if given_up:
            self.request_picture(now)
        if self._missing:
            self._send_nack()

    def _is_awaited(self) -> bool:
        """Whether somebody cannot begin without a key frame. A request may be lost like any packet: it is repeated."""
        return not self.is_live or (self.is_open and any(not subscriber.is_started for subscriber in self.subscribers))

    def request_picture(self, now: float) -> None:
        """Ask for a key frame, now or as soon as the throttle allows."""
        if not self.is_video:
            return
        gap_s = PICTURE_GAP_S if self.is_live else FIRST_PICTURE_GAP_S
        self._is_picture_wanted = now - self._picture_asked_at < gap_s
        if not self._is_picture_wanted:
            self._picture_asked_at = now
            self.picture_count += 1
            self.wire.send_rtcp(rtcp.picture_request(self.feedback_ssrc, self.ssrc))

    def on_sender_report(self, report: rtcp.SenderReport, now: float) -> None:
        """Keep it, capture it, and pass it on in each subscriber's own time."""
        self._report, self._report_at = report, now
        if self._sink is not None:
            self._sink.append_report(self._stream, report, now)
        if self.is_open:
            for subscriber in self.subscribers:
                subscriber.forward_report(report)

    @property
    def last_report(self) -> rtcp.SenderReport | None:
        """The newest sender report, for a subscriber that starts now."""
        return self._report

    def tick(self, now: float) -> None:
        """Once a second: report the reception, announce a bit rate, and keep key frames coming."""
        if self._sink is not None and now - self._key_frame_at > KEY_FRAME_EVERY_S:
            self.request_picture(now)
        if self._highest < 0:
            return
        expected = self._highest - self._base + 1
        expected_since, received_since = expected - self._expected_before, self.received_count - self._received_before
        self._expected_before, self._received_before = expected, self.received_count
        lost = 0
        if expected_since > received_since and expected_since > 0:
            lost = min(255, ((expected_since - received_since) << 8) // expected_since)
        self.wire.send_rtcp(self._reception(lost, expected - self.received_count, now) + self._remb(lost, now))

    def _reception(self, lost: int, lost_total: int, now: float) -> bytes:
        last_report = since = 0
        if self._report is not None:
            last_report = (self._report.ntp >> 16) & 0xFFFFFFFF
            since = int((now - self._report_at) * 65536) & 0xFFFFFFFF
        about = rtcp.Reception(
            self.ssrc, lost, lost_total, self._highest & 0xFFFFFFFF, int(self._jitter), last_report, since
        )
        return rtcp.receiver_report(self.feedback_ssrc, about)

    def _remb(self, lost: int, now: float) -> bytes:
        if self._estimate is None:
            return b""
        bitrate = self._estimate.bitrate(lost, [(down.bitrate, down.lost) for down in self.subscribers], now)
        return rtcp.remb(self.feedback_ssrc, bitrate, self.ssrc) if bitrate is not None else b""

    def slot(self, sequence: int) -> Slot | None:
        """The packet of that number, while the ring still has it."""
        slot = self._ring[sequence % RING_PACKETS]
        return slot if slot is not None and slot[0] == sequence else None
