"""The clip that the media benchmark sends: 640x480 VP8 at 30 frames/s and 1 Mbit/s with Opus, made once by PyAV."""

import random
from fractions import Fraction
from pathlib import Path

import av

WIDTH, HEIGHT, FRAMES_PER_S, SECONDS, KBITS = 640, 480, 30, 10, 1_000
PACKET_BYTES = 1_100
RATE = str(KBITS * 1000)

Clip = dict[str, list[list[bytes]]]
"""Kind -> for each frame or audio packet its RTP payloads."""


def load_clip(path: Path) -> Clip:
    """Read the clip, making it first where it is missing (10 s of CPU)."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".part")
        _make(draft)
        draft.rename(path)
    clip: Clip = {"audio": [], "video": []}
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.size:
                data = bytes(packet)
                clip[packet.stream.type].append(_packetize(data) if packet.stream.type == "video" else [data])
    return clip


def bitrate(clip: Clip) -> float:
    """What the clip's video really has, in bit/s."""
    return 8 * sum(len(payload) for frame in clip["video"] for payload in frame) / SECONDS


def _packetize(frame: bytes) -> list[bytes]:
    pieces = [frame[at : at + PACKET_BYTES] for at in range(0, len(frame), PACKET_BYTES)]
    return [(b"\x00" if index else b"\x10") + piece for index, piece in enumerate(pieces)]


def _make(path: Path) -> None:
    chance = random.Random(1)
    # A coarse texture that drifts, each band at its own place: enough change that the encoder uses its bit rate.
    texture = bytes(60 + 130 * (x // 16 % 2) + chance.randrange(12) for x in range(WIDTH * 8))
    with av.open(str(path), "w", format="webm") as container:
        video = container.add_stream("libvpx", rate=FRAMES_PER_S)
        video.width, video.height, video.pix_fmt, video.bit_rate = WIDTH, HEIGHT, "yuv420p", KBITS * 1000
        video.codec_context.gop_size = 10_000
        video.options = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "qmin": "2", "qmax": "63"}
        video.options = {**video.options, "minrate": RATE, "maxrate": RATE, "bufsize": RATE}
        audio = container.add_stream("libopus", rate=48_000, layout="stereo")
        audio.bit_rate = 32_000
        for index in range(SECONDS * FRAMES_PER_S):
            for packet in video.encode(_picture(texture, index)):
                container.mux(packet)
        for index in range(SECONDS * 50):
            for packet in audio.encode(_sound(index, chance)):
                container.mux(packet)
        for packet in [*video.encode(None), *audio.encode(None)]:
            container.mux(packet)


def _picture(texture: bytes, index: int) -> av.VideoFrame:
    frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
    for plane in frame.planes:
        rows = []
        for row in range(plane.height):
            at = (index * 2 + row // 32 * 37) % (WIDTH * 6)
            rows.append(texture[at : at + plane.line_size])
        plane.update(b"".join(rows))
    frame.pts, frame.time_base = index, Fraction(1, FRAMES_PER_S)
    return frame


def _sound(index: int, chance: random.Random) -> av.AudioFrame:
    frame = av.AudioFrame(format="s16", layout="stereo", samples=960)
    frame.sample_rate, frame.pts = 48_000, index * 960
    frame.planes[0].update(bytes(byte & 0x0F for byte in chance.randbytes(frame.planes[0].buffer_size)))
    return frame
