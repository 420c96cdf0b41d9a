"""REST about the audit log: its entries, for an operator of their division, and its head.

Rules: entries of other divisions are passed over. Reading the log is itself recorded. A page looks at a bounded number of
lines, so an answer may hold few entries and still have a `next`.

Not here: writing and archiving it (`actors/audit.py`, `actors/audit_archive.py`), checking it (`tellerhall audit verify`).
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from actors.audit import Line, decode_line
from gateway import answers
from gateway.operations import Asked, Operation

LIMIT_MAX = 500
SCANNED_MAX = 20_000
"""Lines one request looks at: some 50 ms of a thread."""


class AuditQuery(Struct, forbid_unknown_fields=True):
    """Query of `GET /v1/audit`."""

    after: Annotated[int, Meta(ge=0, le=2**53)] = 0
    limit: Annotated[int, Meta(ge=1, le=LIMIT_MAX)] = 100


async def list_audit(asked: Asked) -> answers.AuditPage:
    """In order, after the entry `after`. Go on with `next`, until it comes back unchanged."""
    query, speaker = asked.query, asked.speaker
    first = speaker.hall.division_ids[0]
    own = speaker.identity.division_id or first
    folder = speaker.services.settings.audit_folder
    lines: list[bytes] = []
    if folder is not None:
        lines = await asyncio.to_thread(lambda: _archived(folder, query.after))
    reached = decode_line(lines[-1]).seq if lines else query.after
    if len(lines) < SCANNED_MAX:
        stored = speaker.services.auditor.audit.read(reached, SCANNED_MAX - len(lines))
        lines += await speaker.within_time(stored)
    entries: list[Line] = []
    after = query.after
    for raw in lines:
        if len(entries) == query.limit:
            break
        line = decode_line(raw)
        after = line.seq
        if (line.division or first) == own:
            entries.append(line)
    return answers.AuditPage([msgspec.to_builtins(line) for line in entries], after)


async def show_audit_head(asked: Asked) -> answers.AuditHead:
    """Note it elsewhere: against it a log that was cut or made anew shows."""
    head = await asked.speaker.within_time(asked.speaker.services.auditor.audit.head())
    return answers.AuditHead(head.seq, head.hash)


def _archived(folder: Path, after: int) -> list[bytes]:
    """Return archived lines after that number, at most `SCANNED_MAX`."""
    paths = sorted(folder.glob("????-??-??.jsonl"))
    while len(paths) > 1 and 0 < _first_seq(paths[1]) <= after + 1:
        paths.pop(0)
    found = []
    for line in _whole_lines(paths):
        if decode_line(line).seq > after:
            found.append(line)
            if len(found) == SCANNED_MAX:
                break
    return found


def _first_seq(path: Path) -> int:
    with path.open("rb") as file:
        line = file.readline()
    return decode_line(line).seq if line.endswith(b"\n") else 0


def _whole_lines(paths: list[Path]) -> Iterator[bytes]:
    for path in paths:
        with path.open("rb") as file:
            yield from (line[:-1] for line in file if line.endswith(b"\n"))


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET",
        path="/v1/audit",
        handler=list_audit,
        summary="Entries of the audit log",
        roles=("operator",),
        whose="division",
        query=AuditQuery,
        answer=answers.AuditPage,
        is_audited=True,
    ),
    Operation(
        method="GET",
        path="/v1/audit/head",
        handler=show_audit_head,
        summary="The end of the audit log",
        roles=("operator",),
        whose="hall",
        answer=answers.AuditHead,
    ),
)
