"""The measured processes of the media benchmark: `ours` hosts the real MediaWorker, `relay` aiortc's MediaRelay.

Orders come as JSON lines on the input, each is answered by one line on the output.
"""

import asyncio
import json
import logging
import resource
import sys
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

import structlog
import uvloop
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaRelay
from aiortc.mediastreams import MediaStreamTrack

from media.reports import MediaSettings, RecordingSealed, Report, RoomOrder
from media.worker import MediaWorker

Handler = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


def usage() -> dict[str, float]:
    """CPU seconds of this process and of its ended children, and when."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "cpu_s": own.ru_utime + own.ru_stime,
        "children_cpu_s": children.ru_utime + children.ru_stime,
        "at_s": monotonic(),
        "rss_mib": own.ru_maxrss / 1024,
    }


class Ours:
    """The media worker as its host in production runs it."""

    def __init__(self, folder: str, recording: str) -> None:
        self._recording = recording
        self._sealed_count = 0
        self._worker = MediaWorker(MediaSettings(worker_id="bench", recordings_folder=folder), self._on_report)

    def _on_report(self, report: Report) -> None:
        if isinstance(report, RecordingSealed):
            self._sealed_count += 1

    async def start(self) -> None:
        await self._worker.start()

    async def handle(self, order: dict[str, Any]) -> dict[str, Any]:
        """One order."""
        worker = self._worker
        if order["do"] == "open":
            await worker.open_room(
                RoomOrder(room_id=order["room"], attempt=1, parties=["customer", "agent"], recording=self._recording)  # type: ignore[arg-type]
            )
        elif order["do"] == "answer":
            return {"sdp": await worker.answer(order["room"], 1, order["party"], order["sdp"])}
        elif order["do"] == "close":
            await worker.close_room(order["room"], 1)
        elif order["do"] == "stop":
            await worker.stop()
        return {**usage(), **worker.measures(), "sealed": self._sealed_count}


class Relay:
    """What aiortc offers for the same: decode, relay, encode."""

    def __init__(self) -> None:
        self._relay = MediaRelay()
        self._rooms: dict[str, dict[str, RTCPeerConnection]] = {}
        self._tracks: dict[tuple[str, str], MediaStreamTrack] = {}

    async def start(self) -> None:
        """Nothing to bind."""

    async def handle(self, order: dict[str, Any]) -> dict[str, Any]:
        """One order."""
        if order["do"] == "answer":
            return {"sdp": await self._answer(order)}
        return usage()

    async def _answer(self, order: dict[str, Any]) -> str:
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        room, name = self._rooms.setdefault(order["room"], {}), order["party"]

        def on_track(track: MediaStreamTrack) -> None:
            self._tracks[name, track.kind] = track

        peer.on("track", on_track)
        await peer.setRemoteDescription(RTCSessionDescription(order["sdp"], "offer"))
        for transceiver in peer.getTransceivers():
            transceiver.direction = "sendrecv"
        await peer.setLocalDescription(await peer.createAnswer())
        room[name] = peer
        for hearer in room:
            for transceiver in room[hearer].getTransceivers():
                source = self._tracks.get(("agent" if hearer == "customer" else "customer", transceiver.kind))
                if source is not None and transceiver.sender.track is None:
                    transceiver.sender.replaceTrack(self._relay.subscribe(source))
        sdp: str = peer.localDescription.sdp
        return sdp


async def main() -> None:
    """Arguments: `ours <folder> <recording>` or `relay`."""
    host = Ours(sys.argv[2], sys.argv[3]) if sys.argv[1] == "ours" else Relay()
    await host.start()
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print("ready", flush=True)
    while line := await reader.readline():
        print(json.dumps(await host.handle(json.loads(line))), flush=True)


if __name__ == "__main__":
    # The output carries answers; logs would break its lines.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    uvloop.install()
    asyncio.run(main())
