"""The audit log in a backup, and on its way back: the chain goes on, and no restore takes anything out of it.

    audit/<day>.jsonl     the log's files as they lay, and behind them what only the store had

Rules: a log that does not hold together stands in nobody's way: the backup says so and holds what there is. A hall that has
a log keeps its own, whatever is restored into it: who restores could otherwise erase what they did.

Not here: the log (`audit`), its files (`audit_archive`), the rest of a backup (`backup`, `restore`).
"""

import asyncio
import shutil
from pathlib import Path

from actors.audit import StoreAudit
from actors.audit_archive import HEAD_FILE, STEP_LINES_MAX, AuditBroken, AuditFiles
from actors.store_client import StoreClient


async def save_audit(client: StoreClient, source: Path, folder: Path) -> list[str]:
    """Copy the log below `folder`; return what is wrong with it, in words. Raises StoreUnavailable, OSError."""
    files = AuditFiles(folder / "audit", folder / "audit" / HEAD_FILE)
    await asyncio.to_thread(_copy_days, source, files.folder)
    try:
        await _add_newest(StoreAudit(client), files)
    except AuditBroken as error:
        return [f"audit log: what the store has behind its files ({error})"]
    finally:
        files.head_path.unlink(missing_ok=True)
    return []


async def _add_newest(audit: StoreAudit, files: AuditFiles) -> None:
    last = await asyncio.to_thread(files.last)
    while lines := await audit.read(last.seq, STEP_LINES_MAX):
        last = await asyncio.to_thread(files.append, lines)


def _copy_days(source: Path, target: Path) -> None:
    """The follower may be writing the newest one: a half line at its end is cut when the copy is read."""
    for path in sorted(source.glob("????-??-??.jsonl")):
        target.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.copyfile(path, target / path.name)


async def restore_audit(client: StoreClient, source: Path, data: Path) -> None:
    """Put the log back where there is none, and let the store's chain go on behind the files.

    A store that has a chain keeps it. Raises AuditBroken where the files cannot be read, StoreUnavailable, OSError.
    """
    files = AuditFiles(data / "audit", data / "keys" / HEAD_FILE)
    if not files.paths():
        await asyncio.to_thread(_copy_days, source, files.folder)
    last = await asyncio.to_thread(files.note_last)
    if last.seq:
        await StoreAudit(client).begin_after(last)
