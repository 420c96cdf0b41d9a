"""What a recording says about itself: `room.json` when it begins, `manifest.json` when it is sealed.

A folder with a `room.json` and without a `manifest.json` is unsealed: its worker is recording, or died. Both are told
apart by the lock on the folder, which the kernel releases when a process dies. Files appear under their final name whole
or not at all. Paths are built from validated ids only; what comes from outside never becomes part of a path unchecked.
"""

import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct, field

from media.reports import RecordingSealed, SealedFile

ROOM_FILE = "room.json"
MANIFEST_FILE = "manifest.json"
FORMAT = 1
FOLDERS_SCANNED_MAX = 100_000
"""Attempt folders looked at when a worker starts; the newest days come first."""

_ROOM_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")
_PARTY = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_READ_BYTES = 1 << 20


class RoomRecord(Struct, kw_only=True, frozen=True):
    """Written before the first packet, so that a crashed worker's logs still belong to a call."""

    format: int = FORMAT
    room_id: str
    attempt: int
    business_reference: str
    parties: list[str]
    recording: str
    labels: dict[str, str]
    worker_id: str
    worker_epoch: int
    opened_at_ms: int


class ManifestFile(Struct, kw_only=True, frozen=True):
    """One file of a recording."""

    party: str
    kind: str
    """`webm`: playable, VP8 and Opus as the party sent them. `capture`: the log that it was made from."""
    path: str
    """Relative to the recordings folder."""
    bytes: int
    sha256: str
    started_at_ms: int = 0
    """When the file's time 0 was, by the worker's clock: lays the parties' files beside each other."""
    duration_ms: int = 0
    video_frames: int = 0
    audio_packets: int = 0
    lost_video_frames: int = 0
    lost_audio_packets: int = 0
    segments: int = 0
    """How often the party connected: one file holds all of them on one time line."""
    chain_head: str = ""
    """Capture logs: the last hash of the chain, which shows a cut tail."""


class Manifest(Struct, kw_only=True, frozen=True):
    """The sealed recording of one attempt at one call."""

    format: int = FORMAT
    call_id: str
    attempt: int
    business_reference: str
    parties: list[str]
    labels: dict[str, str]
    worker_id: str
    worker_epoch: int
    started_at_ms: int
    ended_at_ms: int
    duration_ms: int
    sealed_at_ms: int
    files: list[ManifestFile]
    gaps: list[str] = field(default_factory=list)
    """What is missing and why, in words; empty when nothing is."""


def is_room_id(text: str) -> bool:
    """Say whether this may name a folder."""
    return _ROOM_ID.fullmatch(text) is not None


def is_party(text: str) -> bool:
    """Say whether this may begin a file's name."""
    return _PARTY.fullmatch(text) is not None


def attempt_folder(root: Path, room_id: str, attempt: int, opened_at_ms: int) -> Path:
    """Where an attempt's files lie. Raises ValueError for ids that are none."""
    if not is_room_id(room_id) or attempt < 0:
        raise ValueError("not a room id or attempt")
    day = datetime.fromtimestamp(opened_at_ms / 1000, UTC).strftime("%Y-%m-%d")
    return root / day / room_id / f"attempt-{attempt}"


def find_attempt(root: Path, room_id: str, attempt: int) -> Path | None:
    """The folder of an attempt, whatever day it began; None when there is none. O(days)."""
    if not is_room_id(room_id):
        return None
    found = (day / room_id / f"attempt-{attempt}" for day in _days(root))
    return next((folder for folder in found if (folder / ROOM_FILE).exists()), None)


def unsealed_attempts(root: Path) -> Iterator[Path]:
    """Folders that wait for a manifest, newest day first."""
    seen = 0
    for day in _days(root):
        for record in day.glob(f"*/attempt-*/{ROOM_FILE}"):
            seen += 1
            if seen > FOLDERS_SCANNED_MAX:
                return
            if not (record.parent / MANIFEST_FILE).exists():
                yield record.parent


def recently_sealed(root: Path, since_s: float) -> Iterator[Path]:
    """Folders of the two newest days whose manifest was written at `since_s` (wall clock) or later."""
    for day in _days(root)[:2]:
        for manifest in day.glob(f"*/attempt-*/{MANIFEST_FILE}"):
            if manifest.stat().st_mtime >= since_s:
                yield manifest.parent


def _days(root: Path) -> list[Path]:
    return sorted(root.glob("[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"), reverse=True)


def lock_folder(folder: Path) -> int | None:
    """Take the folder for this process; a descriptor to close at the end, or None when another has it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_locked(folder: Path) -> bool:
    """Whether a living process records or seals here."""
    lock = lock_folder(folder)
    if lock is not None:
        os.close(lock)
    return lock is None


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut."""
    with whole_file(path) as draft:
        draft.write_bytes(content)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a draft's path; when the body succeeds the draft becomes `path`, otherwise it goes."""
    draft = path.with_name(path.name + ".part")
    try:
        yield draft
        sync(draft)
        draft.replace(path)
        sync(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Bring a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """The hash of a file's content, as hex. Memory: 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def read_room(folder: Path) -> RoomRecord:
    """Raises OSError or msgspec.DecodeError."""
    return msgspec.json.decode((folder / ROOM_FILE).read_bytes(), type=RoomRecord)


def read_sealed(folder: Path) -> RecordingSealed | None:
    """What to report about a folder; None while it has no readable manifest."""
    try:
        return sealed_report(folder)
    except (OSError, msgspec.DecodeError):
        return None


def sealed_report(folder: Path) -> RecordingSealed:
    """What to report about a sealed folder. Raises OSError or msgspec.DecodeError."""
    content = (folder / MANIFEST_FILE).read_bytes()
    manifest = msgspec.json.decode(content, type=Manifest)
    return RecordingSealed(
        room_id=manifest.call_id,
        attempt=manifest.attempt,
        manifest_sha256=hashlib.sha256(content).hexdigest(),
        files=[SealedFile(file.party, file.path, file.sha256, file.duration_ms, file.bytes) for file in manifest.files],
        gaps=manifest.gaps,
    )
