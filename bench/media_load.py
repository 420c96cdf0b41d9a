"""What one forwarded direction of a call costs the media worker, beside what aiortc's MediaRelay costs for the same.

One run measures in turn, each
in a fresh process under uvloop: 30 one-to-one calls (60 directions) through the real MediaWorker without and with
recording, and one call (2 directions) through MediaRelay, which would need 16 cores for 60. The figure is CPU seconds of
the measured process per second of one audio + video stream forwarded one way; ratios of one run compare, absolute times
do not. The relay encodes at aiortc's own 0.5 Mbit/s, half of what it receives: that favours the relay.

The parties are light: real ICE, DTLS and SRTP, no codecs, all in this process. Forwarding delay is measured on every
eighth audio packet, from just before it is secured here to when it is opened here.
"""

import asyncio
import heapq
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from struct import pack, unpack
from time import monotonic
from typing import Any

import uvloop

from bench.media_clip import Clip, bitrate, load_clip
from media import rtcp
from media.down_track import DownTrack, Slot
from media.link import PartyLink
from media.port import Port

ROOT = Path(__file__).resolve().parents[1]
CALLS = 30
IS_QUICK = os.environ.get("QUICK") == "1"
WARM_S = 5.0
MEASURE_S = 20.0 if IS_QUICK else 60.0
READY_TIMEOUT_S = 30.0
SEAL_TIMEOUT_S = 120.0
DELAY_EVERY = 8
LOSS_PERCENT_MAX = 1.0
"""A run that lost more was starved of CPU by something else, and is repeated."""
RUNS_MAX = 3
STALL_S = 0.1


class Source:
    """The clip as one party sends it. Satisfies `media.down_track.Source`."""

    def __init__(self, down: DownTrack, frames: list[list[bytes]]) -> None:
        self.is_open = True
        self.subscribers: list[DownTrack] = []
        self.last_report: rtcp.SenderReport | None = None
        self.down, self._frames = down, frames
        self._ring: dict[int, Slot] = {}
        self._at = 0 if down.is_video else random.randrange(len(frames))
        self._sequence = self._count = 0
        self.period_s, self._step = (1 / 30, 3_000) if down.is_video else (0.02, 960)

    def slot(self, sequence: int) -> Slot | None:
        """A packet sent lately."""
        slot = self._ring.get(sequence % 512)
        return slot if slot is not None and slot[0] == sequence else None

    def request_picture(self, now: float) -> None:
        """Go back to the key frame."""
        self._at = 0

    def send(self, now: float) -> int:
        """Send one frame or audio packet; the number of packets."""
        payloads = self._frames[self._at % len(self._frames)]
        timestamp = self._count * self._step & 0xFFFFFFFF
        if self._count % 50 == 0:
            self.down.forward_report(rtcp.SenderReport(0, int((time.time() + 2_208_988_800) * 2**32), timestamp))
        for index, payload in enumerate(payloads):
            if not self.down.is_video:
                payload += pack("d", monotonic())
            marker = 0x80 if index == len(payloads) - 1 else 0
            self._ring[self._sequence % 512] = (self._sequence, timestamp, marker, payload)
            self.down.forward(self._sequence, timestamp, marker, payload, self._at == 0, now)
            self._sequence = (self._sequence + 1) & 0xFFFF
        self._at += 1
        self._count += 1
        return len(payloads)


@dataclass
class Counts:
    """What all parties together sent and got in the measured time."""

    sent: int = 0
    received: int = 0
    received_bytes: int = 0
    delays_s: list[float] = field(default_factory=list)


class CountingLink(PartyLink):
    """Counts what arrives; opens only what the delay is measured on."""

    tally: Counts
    seen = 0

    def receive_rtp(self, length: int) -> None:
        """Take one packet."""
        counts = self.tally
        counts.received += 1
        counts.received_bytes += length
        audio = self.up_by_kind.get("audio")
        if audio is None or self.port.inbound[1] & 127 != audio.payload_type or self._secured is None:
            return
        self.seen += 1
        if self.seen % DELAY_EVERY == 0:
            opened = self._secured.open(length)
            if opened > 20:
                delay = monotonic() - unpack("d", self.port.inbound[opened - 8 : opened])[0]
                if 0 <= delay < 10:
                    counts.delays_s.append(delay)


class Press:
    """All parties, and the pace at which they send."""

    def __init__(self, clip: Clip) -> None:
        self.clip, self.counts = clip, Counts()
        self._due: list[tuple[float, int, Source]] = []
        self._links: list[CountingLink] = []
        self._ports: list[Port] = []

    async def join(self, host: "HostProcess", room: str, party: str) -> CountingLink:
        """Connect one party."""
        port = Port("127.0.0.1", 0)
        link = CountingLink(port, ["127.0.0.1"])
        link.tally = self.counts
        link.on_down = self._on_down
        self._ports.append(port)
        self._links.append(link)
        answer = await host.ask(do="answer", room=room, party=party, sdp=await link.offer())
        await link.accept(answer["sdp"])
        return link

    def _on_down(self, down: DownTrack) -> None:
        source = Source(down, self.clip[down.kind])
        down.subscribe(source)
        heapq.heappush(self._due, (monotonic() + random.random() * source.period_s, id(source), source))

    async def run(self) -> None:
        """Send everything at its time, for ever."""
        while True:
            now = monotonic()
            while self._due and self._due[0][0] <= now:
                due, key, source = heapq.heappop(self._due)
                self.counts.sent += source.send(now)
                # After a stall a camera goes on with the next frame; it does not send all that it missed.
                next_due = max(due + source.period_s, now - STALL_S)
                heapq.heappush(self._due, (next_due, key, source))
            await asyncio.sleep(0.001)

    def begin(self) -> None:
        """Count from now on."""
        self.counts = Counts()
        for link in self._links:
            link.tally = self.counts

    async def leave(self) -> None:
        """All parties hang up."""
        await asyncio.gather(*(link.close() for link in self._links))
        for port in self._ports:
            port.close()


class HostProcess:
    """A measured process and its line of orders."""

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "bench.media_host", *self._arguments),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 20,
        )
        assert self._process.stdout is not None
        ready = await asyncio.wait_for(self._process.stdout.readline(), READY_TIMEOUT_S)
        if ready != b"ready\n":
            raise RuntimeError("the measured process did not start")

    async def ask(self, **order: str) -> dict[str, Any]:
        """Give one order, wait for its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        async with self._turn:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            await self._process.stdin.drain()
            line = await asyncio.wait_for(self._process.stdout.readline(), READY_TIMEOUT_S)
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def end(self) -> None:
        """End it."""
        self._process.kill()
        await self._process.wait()


async def measure(clip: Clip, calls: int, *arguments: str) -> dict[str, float]:
    """One measured process under load: its figures."""
    host = HostProcess(*arguments)
    await host.start()
    rooms = [f"bench-{time.time_ns()}-{number}" for number in range(calls)]
    press = Press(clip)
    pace = asyncio.create_task(press.run())
    links: list[CountingLink] = []
    for room in rooms:
        await host.ask(do="open", room=room)
        for party in ("customer", "agent"):
            links.append(await press.join(host, room, party))
    deadline = monotonic() + READY_TIMEOUT_S
    while not all(len(link.down_by_kind) == 2 for link in links):
        if monotonic() > deadline:
            raise RuntimeError("not all parties connected")
        await asyncio.sleep(0.05)
    await asyncio.sleep(WARM_S)
    before = await host.ask(do="usage")
    press.begin()
    own = time.process_time()
    await asyncio.sleep(MEASURE_S)
    after = await host.ask(do="usage")
    own = time.process_time() - own
    counts = press.counts
    figures = _figures(calls, before, after, counts)
    figures["press_core_percent"] = 100 * own / MEASURE_S
    pace.cancel()
    if arguments[-1] == "required":
        figures["sealing_cpu_s_per_party_minute"] = await _seal(host, rooms, after["at_s"] - before["at_s"] + WARM_S)
    await press.leave()
    await host.end()
    return figures


def _figures(calls: int, before: dict[str, Any], after: dict[str, Any], counts: Counts) -> dict[str, float]:
    seconds, cpu_s = after["at_s"] - before["at_s"], after["cpu_s"] - before["cpu_s"]
    delays = sorted(counts.delays_s)
    # Per direction that arrived: what was lost was not forwarded. The relay's packets are others than were sent.
    arrived = min(1.0, counts.received / max(1, counts.sent)) if delays else 1.0
    figures = {
        "cost": cpu_s / seconds / (2 * calls * arrived),
        "core_percent": 100 * cpu_s / seconds,
        "packets_per_s": counts.received / seconds,
        "rss_mib": after["rss_mib"],
    }
    if delays:  # The relay encodes anew: nothing of what was stamped arrives.
        figures["loss_percent"] = 100 * (1 - counts.received / max(1, counts.sent))
        figures["delay_p50_ms"] = 1000 * delays[len(delays) // 2]
        figures["delay_p99_ms"] = 1000 * delays[int(len(delays) * 0.99)]
        figures["lag_p99_ms"] = after["loop_lag_ms_p99"]
    return figures


async def _seal(host: HostProcess, rooms: list[str], seconds: float) -> float:
    for room in rooms:
        await host.ask(do="close", room=room)
    deadline = monotonic() + SEAL_TIMEOUT_S
    while (await host.ask(do="usage"))["sealed"] < len(rooms):
        if monotonic() > deadline:
            raise RuntimeError("recordings were not sealed in time")
        await asyncio.sleep(0.2)
    used = await host.ask(do="stop")  # Ends the finaliser: only then does its CPU time count as a child's.
    return float(used["children_cpu_s"]) / (2 * len(rooms) * seconds / 60)


async def measure_fairly(clip: Clip, calls: int, *arguments: str) -> dict[str, float]:
    """Measure until the machine let the load through, RUNS_MAX times at most."""
    runs: list[dict[str, float]] = []
    for run in range(1, RUNS_MAX + 1):
        runs.append(await measure(clip, calls, *arguments))
        lost = runs[-1].get("loss_percent", 0.0)
        if lost <= LOSS_PERCENT_MAX:
            return runs[-1]
        print(f"{arguments[0]} {arguments[-1]}: run {run} lost {lost:.1f} % of its packets: this machine is busy")
    print("taking the run that lost least; its cost is for what arrived, its delays say nothing")
    return min(runs, key=lambda figures: figures["loss_percent"])


def check_disk(folder: Path) -> float:
    """Refuse a folder in memory; the median time of an fsync there, in ms."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    holding = [(len(point), kind) for point, kind in mounts if folder.is_relative_to(point)]
    if max(holding)[1] in ("tmpfs", "ramfs"):
        sys.exit(f"{folder} is in memory: recording there would prove nothing")
    times: list[float] = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(21):
            file.write(b"x" * 65_536)
            file.flush()
            begin = monotonic()
            os.fsync(file.fileno())
            times.append(1000 * (monotonic() - begin))
    return sorted(times)[10]


def _commit() -> str:
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"


async def main() -> None:
    """Measure, print the table and the RESULT line."""
    build = ROOT / "build" / "bench"
    build.mkdir(parents=True, exist_ok=True)
    clip = load_clip(build / "clip-640x480.webm")
    with tempfile.TemporaryDirectory(dir=build) as folder:
        fsync_ms = check_disk(Path(folder))
        print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, commit {_commit()}")
        print(f"clip {bitrate(clip) / 1e6:.2f} Mbit/s, fsync p50 {fsync_ms:.1f} ms, {MEASURE_S:.0f} s each")
        rows = {
            "ours_60": await measure_fairly(clip, CALLS, "ours", folder, "off"),
            "ours_60_recorded": await measure_fairly(clip, CALLS, "ours", folder, "required"),
            "relay": await measure_fairly(clip, 1, "relay"),
        }
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    print(f"\n{'':32}" + "".join(f"{title:>18}" for title in rows))
    for name in names:
        cells = (f"{row[name]:18.4f}" if name in row else f"{'-':>18}" for row in rows.values())
        print(f"{name:32}" + "".join(cells))
    result = {title: round(row["cost"], 5) for title, row in rows.items()}
    result["ratio"] = round(rows["relay"]["cost"] / rows["ours_60_recorded"]["cost"], 1)
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    uvloop.install()
    asyncio.run(main())
