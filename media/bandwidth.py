"""How many bit/s one party may send: the figure of the REMB messages.

aiortc has no transport-wide congestion control, and its delay-based estimate only creeps upwards: left alone it holds a
browser at 480x360 for half a minute. So the figure starts optimistic and stays so until over-use or loss is seen, by us
or by a subscriber; then the measured minimum rules, and for HOLD_S after the last sign of trouble. Fed once a frame:
feeding it each packet cost a quarter of the whole worker and told it nothing more.
"""

from aiortc.rate import BandwidthUsage, RemoteBitrateEstimator

OPTIMISTIC_BITRATE = 1_500_000
"""640x480 at 30 frames/s in good quality, with room for the audio."""
BITRATE_MIN = 100_000
"""Below this a browser turns its picture off; the audio and a few frames still fit."""
LOSS_MAX = 5
"""In 1/256: 2 % loss is normal on radio, more is a full link."""
HOLD_S = 5.0
"""How long one sign of over-use counts. A single false alarm shall not cost the picture's size for long."""


class Estimate:
    """The receiving side's estimate for one video stream. Times are the worker's monotonic seconds."""

    __slots__ = ("_estimator", "_frame_bytes", "_measured", "_ssrc", "_troubled_until")

    def __init__(self, ssrc: int) -> None:
        self._ssrc = ssrc
        self._estimator = RemoteBitrateEstimator()
        self._frame_bytes = 0
        self._measured: int | None = None
        self._troubled_until = 0.0

    def add(self, payload_bytes: int, is_frame_end: bool, sent_at: int | None, now: float) -> None:
        """Note one packet; the estimator itself runs at the end of a frame, in 20 us."""
        self._frame_bytes += payload_bytes
        if not is_frame_end or sent_at is None:
            return
        result = self._estimator.add(
            arrival_time_ms=int(now * 1000), abs_send_time=sent_at, payload_size=self._frame_bytes, ssrc=self._ssrc
        )
        self._frame_bytes = 0
        if result is not None:
            self._measured = result[0]
        if self._estimator.detector.state() is BandwidthUsage.OVERUSING:
            self._troubled_until = now + HOLD_S

    def bitrate(self, lost: int, subscribers: list[tuple[int | None, int]], now: float) -> int | None:
        """Bit/s to announce now, None before anything is known.

        `lost`: share of packets lost on the way here in 1/256; `subscribers`: each one's (REMB or None, loss in 1/256).
        """
        if lost > LOSS_MAX or any(loss > LOSS_MAX for _, loss in subscribers):
            self._troubled_until = now + HOLD_S
        known = [rate for rate in (self._measured, *(rate for rate, _ in subscribers)) if rate]
        lowest = min(known) if known else None
        if now >= self._troubled_until:
            return max(OPTIMISTIC_BITRATE, lowest or 0)
        return max(BITRATE_MIN, lowest) if lowest is not None else None
