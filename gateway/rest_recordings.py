"""REST about recordings: what is sealed of a call, and the files themselves.

Rules: only a file that stands in a manifest of the token's own division is given out, and only from inside the recordings
folder. Looking at a recording is recorded in the audit log before anything is sent.

Not here: what a manifest says (`media/evidence.py`), checking hashes, which whoever fetched a file does with its manifest.
"""

import asyncio
from pathlib import Path

import structlog
from aiohttp import web

from gateway import documents
from gateway.operations import STAFF, Asked, Operation
from gateway.refusals import Refused
from media.evidence import Manifest, ManifestFile

CHUNK_BYTES = 262_144
ANY_BYTES = "application/octet-stream"

log = structlog.get_logger("gateway.recordings")


async def show_recording(asked: Asked) -> documents.RecordingDocument:
    """The manifests of what is sealed, one an attempt; `fetch_recording` has the files that they name."""
    return documents.RecordingDocument(asked.path["id"], await _manifests(asked))


async def fetch_recording(asked: Asked) -> web.FileResponse:
    """A file as it was sealed, whole or in part: `Range` is heeded. `file` is the last part of the manifest's `path`."""
    attempt, name = asked.path["attempt"], asked.path["file"]
    for manifest in await _manifests(asked):
        for file in manifest.files:
            if str(manifest.attempt) == attempt and Path(file.path).name == name:
                return await asyncio.to_thread(_opened, _folder(asked), file)
    raise Refused("not_found", "no such file")


def _folder(asked: Asked) -> Path:
    folder = asked.speaker.services.settings.recordings_folder
    if folder is None:
        raise Refused("not_found", "this gateway sees no recordings")
    return folder


async def _manifests(asked: Asked) -> list[Manifest]:
    found = await asyncio.to_thread(
        documents.read_manifests, _folder(asked), asked.path["id"], asked.speaker.division_id
    )
    if not found:
        raise Refused("not_found", "no such recording")
    return found


def _opened(folder: Path, file: ManifestFile) -> web.FileResponse:
    """A manifest is data: whatever path it holds, nothing outside of the folder is sent, nor what is not as long as it says."""
    path = (folder / file.path).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file() or path.stat().st_size != file.bytes:
        log.error("recording.file_not_as_sealed", bytes=file.bytes)
        raise Refused("not_found", "the file is not what was sealed: look at the recordings folder")
    headers = {
        "Cache-Control": "private, no-store",
        "Content-Disposition": f'attachment; filename="{path.name}"',
        "Content-Type": "video/webm" if file.kind == "webm" else ANY_BYTES,
    }
    return web.FileResponse(path, CHUNK_BYTES, headers=headers)


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET",
        path="/v1/recordings/{id}",
        handler=show_recording,
        summary="The sealed recordings of a call",
        roles=STAFF,
        whose="division",
        is_audited=True,
        answer=documents.RecordingDocument,
    ),
    Operation(
        method="GET",
        path="/v1/recordings/{id}/attempts/{attempt}/files/{file}",
        handler=fetch_recording,
        summary="A file of a sealed recording, whole or a range of it",
        roles=STAFF,
        whose="division",
        is_audited=True,
        answer=str,
        media_type=ANY_BYTES,
        takes_ranges=True,
        headers=("Range",),
    ),
)
