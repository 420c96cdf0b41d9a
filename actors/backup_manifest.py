"""What a backup says of itself: its manifest, and the check that every byte is what it was.

    manifest.json                   what is inside, with the hash of each file
    manifest.sha256                 the manifest's own hash
    divisions/<id>/snapshot         the engine's state, as the journal had it
    divisions/<id>/batches          the journal's entries, as frames of [number, payload]
    archive/<id>/<day>.sqlite       the histories
    audit/<day>.jsonl               the audit log
    webhooks                        endpoints with their secrets, as frames (`backup_webhooks`)
    people                          personal records, as frames of [reference, fields, ms left]
    recordings/...                  finished recordings, as they lay

Rules: nothing in it names a place: it can be put back into any folder and any store. A file that is missing, changed or unknown
makes the whole backup damaged, and is named. A frame is a length of four bytes, big-endian, and MessagePack.

Not here: taking (`backup`) and putting back (`restore`).
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec
from msgspec import Struct, field

from media.evidence import sha256_of, sync, write_whole

FORMAT = 1
MANIFEST_FILE = "manifest.json"
DIGEST_FILE = "manifest.sha256"
T = TypeVar("T")
NAMED_MAX = 10
"""Files named in one message; the rest is counted."""


class BackupDamaged(Exception):
    """The backup is not what was written. The text names the files."""


class BackupFile(Struct, frozen=True):
    path: str
    bytes: int
    sha256: str


class DivisionBackup(Struct, frozen=True, kw_only=True):
    """One division as of the backup's cut."""

    snapshot_batch: int
    """0: there was none."""
    first_batch: int
    """The oldest entry that is inside; one beyond `last_batch` where there is none."""
    last_batch: int
    plan_digest: str
    """Of the configuration that the division decided by."""
    state_digest: str
    """Of the engine, replayed from these very bytes when the backup was taken."""
    calls_count: int


class Manifest(Struct, frozen=True, kw_only=True):
    format: int = FORMAT
    version: str
    build: str
    began_at_ms: int
    """Every command that was acknowledged before this instant is inside."""
    cut_at_ms: int
    """The instant, by the same clock, of which all divisions' journals are."""
    divisions: dict[str, DivisionBackup]
    incarnations: dict[str, int]
    people_count: int
    recordings_count: int
    recordings_open: list[str]
    """Recordings that were not finished and are not inside, by their folder."""
    missing: list[str] = field(default_factory=list)
    """What else is not inside, and why, in words."""
    webhooks_count: int = 0
    files: list[BackupFile]


def write_frame(file: BinaryIO, value: Any) -> None:
    """Append one value."""
    data = msgspec.msgpack.encode(value)
    file.write(len(data).to_bytes(4, "big") + data)


def read_frames(path: Path, kind: type[T]) -> Iterator[T]:
    """Yield the values of a file of frames, in order. Memory: one frame. Raises BackupDamaged."""
    decoder = msgspec.msgpack.Decoder(kind)
    with path.open("rb") as file:
        while head := file.read(4):
            length = int.from_bytes(head, "big")
            data = file.read(length)
            if len(data) < length:
                raise BackupDamaged(f"{path.name}: ends within a frame")
            try:
                yield decoder.decode(data)
            except msgspec.DecodeError as error:
                raise BackupDamaged(f"{path.name}: {error}") from error


def list_files(folder: Path) -> list[BackupFile]:
    """Hash everything below `folder`, sorted by path. Reads every byte: for a thread."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [BackupFile(path.relative_to(folder).as_posix(), path.stat().st_size, sha256_of(path)) for path in paths]


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write it last: a backup without one is none."""
    content = msgspec.json.format(msgspec.json.encode(manifest))
    write_whole(folder / MANIFEST_FILE, content)
    write_whole(folder / DIGEST_FILE, hashlib.sha256(content).hexdigest().encode() + b"\n")
    sync(folder)


def read_manifest(folder: Path) -> Manifest:
    """Read and check the manifest alone. Raises BackupDamaged."""
    try:
        content = (folder / MANIFEST_FILE).read_bytes()
        digest = (folder / DIGEST_FILE).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BackupDamaged(f"{folder} is no backup: {MANIFEST_FILE} or {DIGEST_FILE} cannot be read") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise BackupDamaged(f"{MANIFEST_FILE} was changed")
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except msgspec.DecodeError as error:
        raise BackupDamaged(f"{MANIFEST_FILE} cannot be understood: {error}") from error
    if manifest.format > FORMAT:
        raise BackupDamaged(f"{MANIFEST_FILE} has format {manifest.format}, this program reads up to {FORMAT}")
    return manifest


def verify(folder: Path) -> Manifest:
    """Check every byte against the manifest. Raises BackupDamaged, which names what is wrong. For a thread."""
    manifest = read_manifest(folder)
    listed = {one.path: one for one in manifest.files}
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    wrong = [f"{path}: missing" for path in sorted(set(listed) - present)]
    wrong += [f"{path}: not in the manifest" for path in sorted(present - set(listed) - {MANIFEST_FILE, DIGEST_FILE})]
    for path in sorted(set(listed) & present):
        one = listed[path]
        if (folder / path).stat().st_size != one.bytes or sha256_of(folder / path) != one.sha256:
            wrong.append(f"{path}: changed")
    if wrong:
        more = f" and {len(wrong) - NAMED_MAX} more" if len(wrong) > NAMED_MAX else ""
        raise BackupDamaged("; ".join(wrong[:NAMED_MAX]) + more)
    return manifest
