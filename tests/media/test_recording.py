"""Recordings of real calls: playable, bit-identical, crash-safe, and honest about what is missing."""

import asyncio
import hashlib
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import av
import msgspec
import pytest

from media.evidence import MANIFEST_FILE, Manifest
from media.reports import (
    PartyJoined,
    RecordingFailed,
    RecordingSealed,
    RecordingStarted,
    RoomFailed,
    RoomOpened,
)
from media.worker import MediaWorker
from tests.media.conftest import MakeWorker, order
from tests.media.peers import LightParty, Reports, is_part, until

MakeParty = Callable[[], LightParty]


async def record_call(worker: MediaWorker, reports: Reports, make_party: MakeParty, seconds: float) -> list[LightParty]:
    """A recorded call of about so many seconds, still going on."""
    await worker.open_room(order(labels={"queue": "loans"}))
    parties = [make_party(), make_party()]
    for party, name in zip(parties, ("customer", "agent"), strict=True):
        await party.connect(worker, "call-1", 1, name)
    await reports.wait(RecordingStarted, 2)
    await asyncio.sleep(seconds)
    return parties


async def sealed(reports: Reports) -> RecordingSealed:
    """The first sealed recording that is reported."""
    (report, *_) = await reports.wait(RecordingSealed, timeout=30)
    assert isinstance(report, RecordingSealed)
    return report


def read_manifest(root: Path, report: RecordingSealed) -> Manifest:
    """The manifest, after comparing every hash and size that is claimed."""
    (path,) = root.rglob(MANIFEST_FILE)
    content = path.read_bytes()
    assert hashlib.sha256(content).hexdigest() == report.manifest_sha256
    manifest = msgspec.json.decode(content, type=Manifest)
    for file in manifest.files:
        data = (root / file.path).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file.bytes, file.sha256)
    return manifest


def packets_of(path: Path, kind: str) -> list[bytes]:
    """The encoded packets of a file."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(**{kind: 0}) if packet.size]


def count_decoded(path: Path, kind: str) -> int:
    """How many frames of a file decode."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(**{kind: 0}))


async def test_recording_plays_and_is_what_was_sent(
    make_worker: MakeWorker, make_party: MakeParty, tmp_path: Path
) -> None:
    """Given a recorded call, when its room closes, then each party's file decodes with the call's duration, holds the very
    frames that were sent, and the manifest names call, parties, business reference, times and true hashes."""
    worker, reports = await make_worker()
    parties = await record_call(worker, reports, make_party, 3)
    await worker.close_room("call-1", 1)
    report = await sealed(reports)
    manifest = read_manifest(tmp_path, report)
    assert manifest.gaps == report.gaps == []
    assert (manifest.call_id, manifest.business_reference, manifest.labels) == ("call-1", "loan-7", {"queue": "loans"})
    assert abs(manifest.duration_ms - 3_000) < 600
    for party, name in zip(parties, ("customer", "agent"), strict=True):
        (file,) = [file for file in manifest.files if file.party == name and file.kind == "webm"]
        path = tmp_path / file.path
        assert abs(file.duration_ms - 3_000) < 600
        assert count_decoded(path, "video") == file.video_frames > 75
        assert count_decoded(path, "audio") > 120
        assert is_part(packets_of(path, "audio"), party.sent["audio"])
        assert is_part(packets_of(path, "video"), party.sent_frames)
        with av.open(str(path)) as container:
            assert abs(container.duration / 1000 - file.duration_ms) < 100


async def test_reconnect_goes_on_in_the_same_file(
    make_worker: MakeWorker, make_party: MakeParty, tmp_path: Path
) -> None:
    """Given a recorded call, when a party hangs up, stays away for 2.5 s and comes again, then its one file holds both
    segments on one time line, and the pause is named."""
    worker, reports = await make_worker()
    customer, _ = await record_call(worker, reports, make_party, 1.5)
    await customer.leave()
    await asyncio.sleep(2.5)
    again = make_party()
    await again.connect(worker, "call-1", 1, "customer")
    await reports.wait(PartyJoined, 2, party="customer")
    await asyncio.sleep(1.5)
    await worker.close_room("call-1", 1)
    manifest = read_manifest(tmp_path, await sealed(reports))
    (file,) = [file for file in manifest.files if file.party == "customer" and file.kind == "webm"]
    assert file.segments == 2
    assert abs(file.duration_ms - 5_500) < 900
    assert count_decoded(tmp_path / file.path, "video") == file.video_frames
    assert sorted(gap.split(" from")[0] for gap in manifest.gaps) == ["customer: no audio", "customer: no video"]


async def test_close_repeated_reports_the_recording_again(make_worker: MakeWorker, make_party: MakeParty) -> None:
    """Given a sealed recording, when its room is closed once more, then the same recording is reported once more."""
    worker, reports = await make_worker()
    await record_call(worker, reports, make_party, 0.5)
    await worker.close_room("call-1", 1)
    first = await sealed(reports)
    await worker.close_room("call-1", 1)
    await reports.wait(RecordingSealed, 2)
    assert reports.of(RecordingSealed) == [first, first]
    assert await worker.recording("call-1", 1) == first
    assert await worker.recording("call-2", 1) is None


async def test_room_without_recording_seals_nothing(
    make_worker: MakeWorker, make_party: MakeParty, tmp_path: Path
) -> None:
    """Given a room that does not record, when it closes, then nothing was written and nothing is reported."""
    worker, reports = await make_worker()
    await worker.open_room(order(recording="off"))
    await make_party().connect(worker, "call-1", 1, "customer")
    await reports.wait(PartyJoined)
    await worker.close_room("call-1", 1)
    await asyncio.sleep(0.2)
    assert os.listdir(tmp_path) == []
    assert not reports.of(RecordingSealed)


async def test_worker_that_stops_leaves_sealed_or_findable_recordings(
    make_worker: MakeWorker, make_party: MakeParty
) -> None:
    """Given a recorded call, when the worker stops, then its recording is sealed before it is gone."""
    worker, reports = await make_worker()
    await record_call(worker, reports, make_party, 0.5)
    await worker.stop()
    assert reports.of(RecordingSealed)


async def test_what_was_sealed_and_perhaps_not_told_is_told_again(
    make_worker: MakeWorker, make_party: MakeParty, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a sealed recording, when the next worker starts, then it reports it too, and no longer once that is long ago."""
    worker, reports = await make_worker()
    await record_call(worker, reports, make_party, 0.5)
    await worker.stop()
    [told] = reports.of(RecordingSealed)
    _, reports = await make_worker()
    assert await sealed(reports) == told
    monkeypatch.setattr("media.worker.RETOLD_S", -60)
    _, reports = await make_worker()
    await asyncio.sleep(0.3)
    assert not reports.of(RecordingSealed)


async def test_disk_full_fails_the_recording_and_not_the_call(make_worker: MakeWorker, make_party: MakeParty) -> None:
    """Given a recorded call, when the disk takes no more, then RecordingFailed says disk_full for each party, the call
    goes on, and what was written is sealed with the gap named."""
    worker, reports = await make_worker()
    customer, agent = await record_call(worker, reports, make_party, 0.5)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The kernel refuses every write beyond this size (EFBIG), as a full disk does (ENOSPC).
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, hard))
    try:
        await reports.wait(RecordingFailed, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {report.reason for report in reports.of(RecordingFailed)} == {"disk_full"}  # type: ignore[union-attr]
    heard = len(agent.payloads("video"))
    await until(lambda: len(agent.payloads("video")) > heard + 20)
    assert not customer.link.is_closed
    await worker.close_room("call-1", 1)
    report = await sealed(reports)
    assert any("not ended" in gap for gap in report.gaps)


async def test_attempt_on_the_disk_is_not_opened_again(make_worker: MakeWorker) -> None:
    """Given an attempt that an earlier worker recorded, when it is ordered again, then it fails as room_closed; the next
    attempt opens."""
    worker, reports = await make_worker()
    await worker.open_room(order())
    await worker.stop()
    other, others = await make_worker()
    await other.open_room(order())
    assert others.of(RoomFailed, reason="room_closed")
    await other.open_room(order(attempt=2))
    assert others.of(RoomOpened, attempt=2)
    assert reports.of(RoomOpened, attempt=1)


VICTIM = """
import asyncio, json, sys
import structlog
from media.reports import MediaSettings, RoomOrder
from media.worker import MediaWorker

def report(one):
    print(json.dumps({"report": type(one).__name__}), flush=True)

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))

async def main():
    worker = MediaWorker(MediaSettings(worker_id="victim", recordings_folder=sys.argv[1]), report)
    await worker.start()
    await worker.open_room(RoomOrder(room_id="call-1", attempt=1, parties=["customer", "agent"]))
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        party, sdp = json.loads(line)
        print(json.dumps({"sdp": await worker.answer("call-1", 1, party, sdp)}), flush=True)

asyncio.run(main())
"""


async def test_killed_worker_is_sealed_by_the_next(
    make_worker: MakeWorker, make_party: MakeParty, tmp_path: Path
) -> None:
    """Given a worker process with a recorded call, when it is killed with SIGKILL, then a living worker leaves its folder
    alone before, and the next start seals playable files and names the loss."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", VICTIM, str(tmp_path)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        limit=1 << 20,
    )
    assert process.stdin is not None
    assert process.stdout is not None

    async def next_of(key: str, value: str = "") -> str:
        while True:
            line = json.loads(await asyncio.wait_for(process.stdout.readline(), 20))  # type: ignore[union-attr]
            if key in line and value in line[key]:
                return str(line[key])

    await next_of("report", "RoomOpened")
    for name in ("customer", "agent"):
        party = make_party()
        process.stdin.write(json.dumps([name, await party.link.offer()]).encode() + b"\n")
        await party.link.accept(await next_of("sdp"))
        await next_of("report", "RecordingStarted")
    bystander, heard = await make_worker()
    await asyncio.sleep(2.5)
    assert not heard.of(RecordingSealed)
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    await bystander.stop()
    _, reports = await make_worker()
    report = await sealed(reports)
    assert [gap for gap in report.gaps if "not ended" in gap and gap.startswith("customer")]
    manifest = read_manifest(tmp_path, report)
    assert manifest.worker_id == "victim"
    for file in manifest.files:
        if file.kind == "webm":
            assert file.duration_ms > 1_000
            assert count_decoded(tmp_path / file.path, "video") > 20
