"""The finaliser's own process: reads folders to seal from its input, line by line, and says `sealed` or `failed`.

It runs at the lowest priority, one folder at a time, and ends when its input ends or its parent is gone. For each party
it makes `<party>.webm` from `<party>.capture`, keeps both, and writes the manifest last: where there is one, the attempt is
sealed. Whatever is wrong with a log becomes a named gap, and never hinders the other party's file.
"""

import contextlib
import json
import os
import sys
import threading
import time
from pathlib import Path

import av
import msgspec

from media.capture import CaptureReader
from media.evidence import (
    MANIFEST_FILE,
    Manifest,
    ManifestFile,
    RoomRecord,
    lock_folder,
    read_room,
    sha256_of,
    whole_file,
    write_whole,
)
from media.mux import Muxed, NothingToPlay, mux

LOCK_WAIT_S = 10.0
PARENT_CHECK_S = 1.0


def seal(folder: Path, root: Path, is_playable: bool) -> None:
    """Bring one attempt to its manifest. Does nothing when it has one. Raises OSError or msgspec.DecodeError."""
    lock = _lock(folder)
    try:
        if (folder / MANIFEST_FILE).exists():
            return
        room = read_room(folder)
        files: list[ManifestFile] = []
        gaps: list[str] = []
        for party in room.parties:
            files += _seal_party(folder, root, party, gaps, is_playable)
        manifest = _manifest(room, files, gaps)
        write_whole(folder / MANIFEST_FILE, msgspec.json.format(msgspec.json.encode(manifest)))
    finally:
        os.close(lock)


def _lock(folder: Path) -> int:
    deadline = time.monotonic() + LOCK_WAIT_S
    while (lock := lock_folder(folder)) is None:
        if time.monotonic() > deadline:
            raise OSError(f"{folder} is locked by another process")
        time.sleep(0.1)
    return lock


def _seal_party(folder: Path, root: Path, party: str, gaps: list[str], is_playable: bool) -> list[ManifestFile]:
    log = folder / f"{party}.capture"
    if not log.exists():
        gaps.append(f"{party}: nothing was captured")
        return []
    reader = CaptureReader(log)
    target = folder / f"{party}.webm"
    files: list[ManifestFile] = []
    muxed = Muxed()
    if is_playable:
        try:
            with whole_file(target) as draft:
                muxed = mux(reader, draft)
            files.append(_file(root, target, party, "webm", muxed))
        except NothingToPlay:
            gaps.append(f"{party}: the log holds nothing that can be played")
        except (OSError, ValueError, KeyError, av.FFmpegError) as error:
            gaps.append(f"{party}: not playable ({type(error).__name__}); the capture log is kept")
            _read_through(reader)
    else:
        gaps.append(f"{party}: not playable (muxing failed before); the capture log is kept")
        _read_through(reader)
    gaps += [f"{party}: {problem}" for problem in [*reader.problems, *muxed.holes]]
    if not reader.is_complete:
        gaps.append(f"{party}: the log was not ended (worker lost or disk failed)")
    return [*files, _file(root, log, party, "capture", muxed, reader.head.hex())]


def _read_through(reader: CaptureReader) -> None:
    """What the manifest says of a log, above all its last hash, is known only at its end."""
    for _ in reader.records():
        pass


def _file(root: Path, path: Path, party: str, kind: str, muxed: Muxed, chain_head: str = "") -> ManifestFile:
    return ManifestFile(
        party=party,
        kind=kind,
        path=str(path.relative_to(root)),
        bytes=path.stat().st_size,
        sha256=sha256_of(path),
        started_at_ms=muxed.started_at_us // 1000,
        duration_ms=muxed.duration_ms,
        video_frames=muxed.video_frames,
        audio_packets=muxed.audio_packets,
        lost_video_frames=muxed.lost_video_frames,
        lost_audio_packets=muxed.lost_audio_packets,
        segments=muxed.segments,
        chain_head=chain_head,
    )


def _manifest(room: RoomRecord, files: list[ManifestFile], gaps: list[str]) -> Manifest:
    spans = [(file.started_at_ms, file.started_at_ms + file.duration_ms) for file in files if file.started_at_ms]
    started_at_ms = min((begin for begin, _ in spans), default=room.opened_at_ms)
    ended_at_ms = max((end for _, end in spans), default=started_at_ms)
    return Manifest(
        call_id=room.room_id,
        attempt=room.attempt,
        business_reference=room.business_reference,
        parties=room.parties,
        labels=room.labels,
        worker_id=room.worker_id,
        worker_epoch=room.worker_epoch,
        started_at_ms=started_at_ms,
        ended_at_ms=ended_at_ms,
        duration_ms=ended_at_ms - started_at_ms,
        sealed_at_ms=time.time_ns() // 1_000_000,
        files=files,
        gaps=gaps,
    )


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_S)
    os._exit(1)


def main() -> None:
    """Arguments: the recordings folder, the parent's process id."""
    root, parent = Path(sys.argv[1]), int(sys.argv[2])
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    with contextlib.suppress(OSError):
        os.nice(19)
    for line in sys.stdin:
        job = json.loads(line)
        try:
            seal(Path(job["folder"]), root, job["is_playable"])
            answer = "sealed"
        except (OSError, msgspec.DecodeError):
            answer = "failed"
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
