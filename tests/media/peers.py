"""Parties for the media tests: a clip that is made once, and a light party that sends it and notes what arrives."""

import asyncio
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from time import monotonic

import av

from media import rtcp
from media.down_track import DownTrack
from media.link import PartyLink
from media.port import Address, Port
from media.reports import Report
from media.sdp import Flow
from media.up_track import UpTrack
from media.worker import MediaWorker

FRAMES_PER_S = 30
PACKET_BYTES = 1_100
Clip = tuple[list[list[bytes]], list[bytes]]
"""Payloads of each video frame, payloads of each audio packet."""


def make_clip(path: Path, seconds: int = 4, width: int = 320, height: int = 240) -> Clip:
    """Encode a moving texture and a tone; only the first frame is a key frame."""
    with av.open(str(path), "w", format="webm") as container:
        video = container.add_stream("libvpx", rate=FRAMES_PER_S)
        video.width, video.height, video.pix_fmt, video.bit_rate = width, height, "yuv420p", 400_000
        video.codec_context.gop_size = 10_000
        video.options = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
        audio = container.add_stream("libopus", rate=48_000, layout="stereo")
        texture = bytes((x * x + 31 * x) % 251 for x in range(width * 4))
        for index in range(seconds * FRAMES_PER_S):
            frame = av.VideoFrame(width, height, "yuv420p")
            for plane in frame.planes:
                rows = (texture[(row + index) % width :][: plane.line_size] for row in range(plane.height))
                plane.update(b"".join(row.ljust(plane.line_size, b"\x80") for row in rows))
            frame.pts, frame.time_base = index, Fraction(1, FRAMES_PER_S)
            for packet in video.encode(frame):
                container.mux(packet)
        for index in range(seconds * 50):
            sound = av.AudioFrame(format="s16", layout="stereo", samples=960)
            sound.sample_rate, sound.pts = 48_000, index * 960
            sound.planes[0].update(bytes((i * 7) & 0x1F for i in range(sound.planes[0].buffer_size)))
            for packet in audio.encode(sound):
                container.mux(packet)
        for packet in [*video.encode(None), *audio.encode(None)]:
            container.mux(packet)
    return read_clip(path)


def read_clip(path: Path) -> Clip:
    """The packets of a file as RTP payloads."""
    with av.open(str(path)) as container:
        packets = [(packet.stream.type, bytes(packet)) for packet in container.demux() if packet.size]
    return [packetize(data) for kind, data in packets if kind == "video"], [d for kind, d in packets if kind == "audio"]


def packetize(frame: bytes) -> list[bytes]:
    """One VP8 frame as RTP payloads with the shortest descriptor (RFC 7741 section 4.2)."""
    pieces = [frame[at : at + PACKET_BYTES] for at in range(0, len(frame), PACKET_BYTES)]
    return [(b"\x00" if index else b"\x10") + piece for index, piece in enumerate(pieces)]


def frame_of(payloads: list[bytes]) -> bytes:
    """What `packetize` was given."""
    return b"".join(payload[1:] for payload in payloads)


class Notes:
    """Everything that arrived on one party's tracks, in order. Satisfies `Sink`."""

    def __init__(self) -> None:
        self.packets: dict[str, list[tuple[int, int, int, bytes]]] = {"audio": [], "video": []}
        self.reports: dict[str, list[rtcp.SenderReport]] = {"audio": [], "video": []}

    def append(self, stream: int, marker: int, sequence: int, timestamp: int, now: float, payload: bytes) -> None:
        self.packets["video" if stream else "audio"].append((sequence, timestamp, marker, payload))

    def append_report(self, stream: int, report: rtcp.SenderReport, now: float) -> None:
        self.reports["video" if stream else "audio"].append(report)


class Camera:
    """The way back of a local source, which sends nothing back. Satisfies `Wire`."""

    def __init__(self) -> None:
        self.outbound = memoryview(bytearray(2048))
        self.frame = 0

    def send_rtp(self, length: int) -> None:
        raise AssertionError("a local source sends nothing back")

    def send_rtcp(self, packet: bytes) -> None:
        raise AssertionError("a local source sends nothing back")


class LocalSource(UpTrack):
    """What a party's camera and encoder are: a picture request rewinds the clip to its key frame at once."""

    __slots__ = ("camera", "request_count")

    def __init__(self, down: DownTrack, camera: Camera) -> None:
        self.camera, self.request_count = camera, 0
        super().__init__(down.kind, "", down.clock_rate, 96, None, 1, 1, camera)
        self.is_open = True

    def request_picture(self, now: float) -> None:
        """Send a key frame next."""
        self.request_count += 1
        if self.is_video:
            self.camera.frame = 0


class LossyPort(Port):
    """A port that may lose media packets on their way out."""

    def __init__(self) -> None:
        super().__init__("127.0.0.1", 0)
        self.loses: Callable[[], bool] = lambda: False
        self.lost_count = 0

    def send(self, datagram: bytes | memoryview, address: Address) -> None:
        if 127 < datagram[0] < 192 and not 192 <= datagram[1] <= 208 and self.loses():
            self.lost_count += 1
            return
        super().send(datagram, address)


class LightParty:
    """A party without codecs: sends a clip in real time over a real link, and notes what arrives."""

    def __init__(self, clip: Clip) -> None:
        self.frames, self.sounds = clip
        self.port = LossyPort()
        self.link = PartyLink(self.port, ["127.0.0.1"])
        self.link.on_up, self.link.on_down = self._on_up, self._on_down
        self.notes = Notes()
        self.camera = Camera()
        self.sent: dict[str, list[bytes]] = {"audio": [], "video": []}
        self.sent_frames: list[bytes] = []
        self.sources: dict[str, LocalSource] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._is_gone = False
        self.is_muted = False
        """Set before `connect`: sends nothing until `unmute`."""

    def _on_up(self, up: UpTrack) -> None:
        up.capture(self.notes, int(up.is_video), monotonic())

    def _on_down(self, down: DownTrack) -> None:
        source = LocalSource(down, self.camera)
        self.sources[down.kind] = source
        down.subscribe(source)
        if not self.is_muted:
            self._tasks.append(asyncio.create_task(self._send(source)))

    async def connect(
        self, worker: MediaWorker, room_id: str, attempt: int, party: str, flow: Flow = "both"
    ) -> tuple[str, str]:
        """Offer, and take the answer; returns it with the id of the worker's link."""
        answer, link_id = await worker.open_link(room_id, attempt, party, await self.link.offer(flow), flow)
        await self.link.accept(answer)
        return answer, link_id

    async def _send(self, source: LocalSource) -> None:
        period, step = (1 / FRAMES_PER_S, 3_000) if source.is_video else (0.02, 960)
        begin, count, sequence = monotonic(), 0, 0xFFF0
        while True:
            if source.is_video:
                payloads = self.frames[self.camera.frame % len(self.frames)]
                self.camera.frame += 1
                self.sent_frames.append(frame_of(payloads))
            else:
                payloads = [self.sounds[count % len(self.sounds)]]
            for index, payload in enumerate(payloads):
                marker = 0x80 if index == len(payloads) - 1 else 0
                self.sent[source.kind].append(payload)
                source.receive(sequence & 0xFFFF, count * step & 0xFFFFFFFF, marker, payload, None, monotonic())
                sequence += 1
            if count % 50 == 0:
                ntp = int((monotonic() + 3_000_000_000) * (1 << 32))
                source.on_sender_report(rtcp.SenderReport(1, ntp, count * step & 0xFFFFFFFF), monotonic())
            count += 1
            await asyncio.sleep(max(0.0, begin + count * period - monotonic()))

    def mute(self) -> None:
        """Send no more."""
        for task in self._tasks:
            task.cancel()

    def unmute(self) -> None:
        """Begin to send."""
        self.is_muted = False
        self._tasks += [asyncio.create_task(self._send(source)) for source in self.sources.values()]

    def vanish(self) -> None:
        """Disappear without a word, as a phone that lost its network does."""
        self.mute()
        if not self._is_gone:
            self._is_gone = True
            self.port.close()

    async def leave(self) -> None:
        """Hang up."""
        self.mute()
        await self.link.close()
        self.vanish()

    def payloads(self, kind: str) -> list[bytes]:
        """What arrived of a kind."""
        return [payload for _, _, _, payload in self.notes.packets[kind]]


class Reports(list[Report]):
    """A worker's reports, and a way to wait for one."""

    def of(self, kind: type[Report], **wanted: object) -> list[Report]:
        """Those of a kind whose attributes are as wanted."""
        found = [report for report in self if isinstance(report, kind)]
        return [one for one in found if all(getattr(one, name) == value for name, value in wanted.items())]

    async def wait(self, kind: type[Report], count: int = 1, timeout: float = 10.0, **wanted: object) -> list[Report]:
        """Wait until there are `count` such reports."""
        await until(lambda: len(self.of(kind, **wanted)) >= count, timeout, f"{count} {kind.__name__} {wanted}: {self}")
        return self.of(kind, **wanted)


async def until(is_so: Callable[[], bool], timeout: float = 10.0, what: str = "") -> None:
    """Wait for a condition; fail with `what` otherwise."""
    deadline = monotonic() + timeout
    while not is_so():
        assert monotonic() < deadline, f"not in {timeout} s: {what}"
        await asyncio.sleep(0.02)


def is_part(part: list[bytes], whole: list[bytes]) -> bool:
    """Whether `part` stands in `whole`, in one piece."""
    if not part:
        return False
    begins = (at for at, one in enumerate(whole) if one == part[0])
    return any(whole[at : at + len(part)] == part for at in begins)
