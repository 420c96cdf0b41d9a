"""A hall in this process with a real media worker, and people with plain WebRTC clients (aiortc), as an app's would be.

The worker is wired as its part is in a real hall, by name and by its word that it lives; only the processes are missing.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import msgspec
from aiortc import (
    AudioStreamTrack,
    MediaStreamTrack,
    RTCBundlePolicy,
    RTCConfiguration,
    RTCIceServer,
    RTCPeerConnection,
    RTCSessionDescription,
    VideoStreamTrack,
)
from aiortc.rtcconfiguration import RTCIceTransportPolicy

from actors.local import LocalHall, local_hall
from actors.media_part import MediaPart, MediaPartSettings
from actors.parts import HallSettings
from actors.performer import media_actor_name
from dispatch.plan import AgentPlan, Plan, QueuePlan
from gateway.app import Gateway
from gateway.settings import Settings
from media.link import PartyLink
from media.reports import MediaSettings

PLAN = Plan(
    division_id="main",
    queues=[QueuePlan(id="loans", recording="required", wrap_up="none", reservation_timeout_ms=60_000)],
    agents=[AgentPlan(id="a-1", name="Li Na")],
    reconnect_grace_ms=60_000,
)
REQUEST = {"queue_id": "loans", "is_consented": True}
FRAMES_PER_S = 15


@asynccontextmanager
async def media_part(local: LocalHall, folder: Path, host: str = "127.0.0.1") -> AsyncIterator[MediaPart]:
    """Run a media worker for this hall."""
    worker = MediaSettings(
        worker_id="1", recordings_folder=str(folder), host=host, advertised_addresses=[host], is_contract_checked=False
    )
    settings = MediaPartSettings(HallSettings(local.division_ids, "unix:///nowhere"), worker)
    part = MediaPart(msgspec.msgpack.encode(settings), local.network)
    part._hall = local.hall("media-1")
    await part._worker.start()
    local.network.parts[media_actor_name("1", 0)] = part
    part._begin_hellos()
    try:
        yield part
    finally:
        local.network.parts.pop(media_actor_name("1", 0))
        await part._worker.stop()
        for task in part._tasks:
            task.cancel()
        await asyncio.gather(*part._tasks, return_exceptions=True)
        await part._hall.close()


@asynccontextmanager
async def hall_with_media(folder: Path, settings: Settings) -> AsyncIterator[tuple[MediaPart, Gateway]]:
    """Run a hall with one worker and one gateway."""
    async with local_hall(PLAN) as local, media_part(local, folder) as part:
        hall = local.hall("g-1")
        gateway = Gateway(hall, settings)
        await gateway.start()
        yield part, gateway
        await gateway.stop()
        await hall.close()


def links_of(part: MediaPart, party: str) -> list[PartyLink]:
    """The party's links in the one room that there is."""
    [room] = part._worker._rooms.values()
    return room.parties[party].links


class Picture(VideoStreamTrack):
    """A small grey picture whose brightness moves."""

    async def recv(self) -> av.VideoFrame:
        pts, time_base = await self.next_timestamp()
        frame = av.VideoFrame(160, 120, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes([(pts // 3_000) % 200 + 20]) * plane.buffer_size)
        frame.pts, frame.time_base = pts, Fraction(time_base)
        await asyncio.sleep(1 / FRAMES_PER_S)
        return frame


class Person:
    """One peer connection: what it sends, and how many frames of each kind it has decoded."""

    def __init__(self, ice_servers: list[dict[str, Any]] | None = None, policy: str = "all") -> None:
        servers = [RTCIceServer(one["urls"], one.get("username"), one.get("credential")) for one in (ice_servers or [])]
        self.peer = RTCPeerConnection(
            RTCConfiguration(servers, RTCIceTransportPolicy(policy), bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)
        )
        self.frames_count = {"audio": 0, "video": 0}
        self._readers: list[asyncio.Task[None]] = []
        self.peer.on("track", self._read)

    def _read(self, track: MediaStreamTrack) -> None:
        self._readers.append(asyncio.create_task(self._count(track)))

    async def _count(self, track: MediaStreamTrack) -> None:
        with suppress(Exception):  # aiortc's way to say that the track is over.
            while True:
                await track.recv()
                self.frames_count[track.kind] += 1

    async def offer(self, direction: str = "sendrecv") -> str:
        """Return an offer of one audio and one video section."""
        for track in (AudioStreamTrack(), Picture()):
            self.peer.addTransceiver(track if "send" in direction else track.kind, direction=direction)
        await self.peer.setLocalDescription(await self.peer.createOffer())
        return str(self.peer.localDescription.sdp)

    async def accept(self, answer: str) -> None:
        await self.peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    async def close(self) -> None:
        for reader in self._readers:
            reader.cancel()
        await self.peer.close()

    def sees_and_hears(self, since: dict[str, int]) -> bool:
        """Whether five frames of each kind have come since then."""
        return all(self.frames_count[kind] >= since[kind] + 5 for kind in since)
