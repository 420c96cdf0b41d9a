"""The audit log's files: a line an entry, a file a day; written behind the gateways, and checked from end to end.

    <data>/audit/2026-11-28.jsonl     lines as the store had them, in the order of the chain
    <data>/keys/audit-head.json       number and hash of the last line, kept apart from the lines

Rules: a line is appended and fsynced before the store may forget it, and never written again. A half-written line at the
end, as a crash leaves it, is taken away and comes anew from the store. What does not follow the last line stops the archive
by name: nothing is trimmed then.

Theory of the check: each line holds the hash of the line before, so a line that was changed, removed, added or moved no longer
fits its neighbours. A chain that was cut at its end fits; that shows against the head, of which there are three: the file
apart, the store's while the hall runs, and any that somebody has noted elsewhere (`tellerhall audit head`). Who can write
all of the hall's data can make a new chain, which only a head noted elsewhere gives away: note it daily where the hall's
own people cannot write.

Not here: the chain in the store (`audit`).
"""

import asyncio
import json
import os
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import structlog
from msgspec import Struct, field

from actors.audit import GENESIS, Head, Line, StoreAudit, decode_line, hash_of
from actors.store_client import StoreUnavailable

HEAD_FILE = "audit-head.json"
STEP_LINES_MAX = 1_000
POLL_S = 0.5
PAUSE_MAX_S = 5.0
PROBLEMS_MAX = 20
"""Named in one report; where one line is wrong the next ones mostly are."""

log = structlog.get_logger("actors.audit")


class AuditBroken(Exception):
    """The lines do not fit each other. The text says where."""


class AuditFiles:
    """The files of one hall. Only one process appends."""

    def __init__(self, folder: Path, head_path: Path) -> None:
        self.folder = folder
        self.head_path = head_path
        self._last: Head | None = None
        self._day = ""

    def last(self) -> Head:
        """Return the end of what is archived; mends a half-written line. Raises AuditBroken, OSError."""
        if self._last is None:
            self._last = self._find_last()
        return self._last

    def _find_last(self) -> Head:
        for path in reversed(self.paths()):
            _cut_half_line(path)
            lines = path.read_bytes().splitlines()
            if lines:
                self._day = path.stem
                return Head(_decoded(lines[-1], path.name).seq, hash_of(lines[-1]))
        return Head()

    def paths(self) -> list[Path]:
        """Return the files, oldest first: ISO dates sort as text."""
        return sorted(self.folder.glob("????-??-??.jsonl"))

    def append(self, lines: list[bytes]) -> Head:
        """Make the lines durable; return the new end. Raises AuditBroken before anything is written, OSError."""
        last = self.last()
        texts: dict[str, list[bytes]] = {}
        for line in lines:
            entry = _decoded(line, "the store")
            if entry.seq != last.seq + 1 or entry.prev != last.hash:
                raise AuditBroken(f"entry {entry.seq} of the store does not follow entry {last.seq} of the archive")
            # A gateway's clock may be a little behind another's: the order of the chain counts, and days never go back.
            self._day = max(self._day, datetime.fromtimestamp(entry.at_ms / 1000, UTC).date().isoformat())
            texts.setdefault(self._day, []).append(line)
            last = Head(entry.seq, hash_of(line))
        self._last = None  # Until it is certain what the files hold.
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for day, found in texts.items():
            _append(self.folder / f"{day}.jsonl", b"".join(line + b"\n" for line in found))
        self._note(last)
        self._last = last
        return last

    def note_last(self) -> Head:
        """Note the end of what lies here as the head, as after a restore; return it. Raises AuditBroken, OSError."""
        last = self.last()
        if last.seq:
            self._note(last)
        return last

    def _note(self, last: Head) -> None:
        _replace(self.head_path, json.dumps({"seq": last.seq, "hash": last.hash}).encode())

    def noted_head(self) -> Head | None:
        """Return the head that lies apart; None where there is none. Raises AuditBroken."""
        try:
            return msgspec.json.decode(self.head_path.read_bytes(), type=Head)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError:
            raise AuditBroken(f"{self.head_path.name} is not a head") from None

    def lines(self) -> Iterator[tuple[str, bytes]]:
        """Yield (file, line) of all whole lines, oldest first; a file at a time is in memory."""
        for path in self.paths():
            for line in path.read_bytes().split(b"\n")[:-1]:
                yield path.name, line


class Checked(Struct):
    """What a check found."""

    entries_count: int = 0
    last: Head = Head()
    problems: list[str] = field(default_factory=list)

    def complain(self, text: str) -> None:
        """Note a problem, up to the bound."""
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(text)


def check(files: AuditFiles, heads: dict[str, Head]) -> Checked:
    """Read every line and compare with `heads` (by where they come from), each of which the chain must hold."""
    found, at_heads = Checked(), {head.seq: "" for head in heads.values()}
    if 0 in at_heads:
        at_heads[0] = GENESIS
    for name, raw in files.lines():
        found.entries_count += 1
        try:
            line = decode_line(raw)
        except msgspec.DecodeError:
            found.complain(f"{name}: after entry {found.last.seq}: a line is no entry")
            continue
        _check_link(found, name, line)
        found.last = Head(line.seq, hash_of(raw))
        if line.seq in at_heads:
            at_heads[line.seq] = found.last.hash
    for where, head in heads.items():
        if head.seq > found.last.seq:
            found.complain(f"the log ends at entry {found.last.seq}, {where} says {head.seq}: its end was cut")
        elif at_heads[head.seq] != head.hash:
            found.complain(f"entry {head.seq} is not the one that {where} says: it, or what is before it, was changed")
    return found


def _check_link(found: Checked, name: str, line: Line) -> None:
    last = found.last
    if line.seq == last.seq + 1 and line.prev == last.hash:
        return
    if line.seq > last.seq + 1:
        found.complain(f"{name}: entry {line.seq} comes after entry {last.seq}: what was between is missing")
    elif line.seq <= last.seq:
        found.complain(f"{name}: entry {line.seq} comes after entry {last.seq}: moved, or there twice")
    else:
        found.complain(f"{name}: entry {line.seq} does not follow entry {last.seq}: one of the two was changed")


class AuditArchive:
    """Brings the store's chain into the files. `run` in a task."""

    def __init__(self, audit: StoreAudit, files: AuditFiles) -> None:
        self._audit = audit
        self._files = files
        self.failure = ""
        self.archived = 0

    async def run(self) -> None:
        """Archive until cancelled; wait out troubles of store and disk. Ends where the two chains do not fit."""
        pause_s = POLL_S
        while True:
            try:
                count = await self.step()
                self.failure, pause_s = "", 0.0 if count == STEP_LINES_MAX else POLL_S
            except (StoreUnavailable, OSError) as error:
                if not self.failure:
                    log.warning("audit.waits", reason=type(error).__name__)
                self.failure, pause_s = type(error).__name__, min(pause_s * 2 + POLL_S, PAUSE_MAX_S)
            except AuditBroken as error:
                self.failure = str(error)
                log.error("audit.stopped", reason=self.failure)
                return
            await asyncio.sleep(pause_s)

    async def step(self) -> int:
        """Archive the next lines; return how many there were. Raises AuditBroken, StoreUnavailable, OSError."""
        last = await asyncio.to_thread(self._files.last)
        lines = await self._audit.read(last.seq, STEP_LINES_MAX)
        if not lines and (head := await self._audit.head()).seq < last.seq:
            raise AuditBroken(
                f"the archive ends at entry {last.seq}, the store's log at {head.seq}: one of them is another hall's"
            )
        if lines:
            last = await asyncio.to_thread(self._files.append, lines)
            await self._audit.trim(last.seq)
        self.archived = last.seq
        return len(lines)

    async def catch_up(self) -> None:
        """Archive all that is there now. Raises as `step`."""
        while await self.step():
            pass

    def report(self) -> dict[str, object]:
        """For the status: how far it is, and what is in the way."""
        return {"archived": self.archived, "failure": self.failure}


def _decoded(line: bytes, where: str) -> Line:
    try:
        return decode_line(line)
    except msgspec.DecodeError:
        raise AuditBroken(f"{where}: the last line is no entry") from None


def _cut_half_line(path: Path) -> None:
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        log.warning("audit.half_line", file=path.name)
        with path.open("r+b") as file:
            file.truncate(whole)
            os.fsync(file.fileno())


def _append(path: Path, content: bytes) -> None:
    is_new = not path.exists()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    if is_new:
        _sync_folder(path.parent)


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
