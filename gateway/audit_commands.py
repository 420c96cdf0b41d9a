"""`tellerhall audit verify`, `show` and `head`: what they read, what they print, their exit status.

Not here: the check itself (`actors/audit_archive.py`).
"""

import argparse
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from actors.audit import Head, decode_line
from actors.audit_archive import AuditBroken, AuditFiles, Checked, check
from actors.configuration import Configuration
from gateway.slots import audit_head_path

Load = Callable[[argparse.Namespace], Configuration]
AddCommon = Callable[[argparse.ArgumentParser], None]
Ask = Callable[[Configuration, str], Any]
"""Ask the hall that runs with the data folder; None where none does or answers."""

DAMAGED = 3
ARCHIVED_S = 15.0
"""The archive is half a second behind the store; a busy disk some seconds."""


def add_commands(commands: Any, add_common: AddCommon, load: Load, ask: Ask) -> None:
    """Add all three to the console command."""
    audit = commands.add_parser("audit", help="look at the audit log, and check that nobody changed it")
    actions = audit.add_subparsers(dest="action", required=True, metavar="action")
    verify = actions.add_parser(
        "verify",
        help="check every entry",
        description="Exit status 0: whole, 3: changed, cut or incomplete, 1: not readable.",
    )
    verify.add_argument("--head", type=_head, default=None, help="SEQ:HASH as noted earlier: the log must hold it")
    show = actions.add_parser("show", help="print entries, one JSON line each")
    show.add_argument("--day", default="", help="of this day alone, as 2026-11-28")
    show.add_argument("--who", default="", help="of this person alone, as supervisor:s-1")
    show.add_argument("--last", type=int, default=100, help="the newest so many (default: 100)")
    head = actions.add_parser("head", help="print SEQ:HASH, to be noted where nobody of this hall can write")
    for parser, run in ((verify, _verify), (show, _show), (head, _print_head)):
        add_common(parser)
        parser.set_defaults(run=lambda options, run=run: run(options, load(options), ask))


def _head(text: str) -> Head:
    seq, _, digest = text.partition(":")
    if not seq.isdigit() or len(digest) != 64:
        raise argparse.ArgumentTypeError("SEQ:HASH, as `tellerhall audit head` prints it")
    return Head(int(seq), digest)


def _files(configuration: Configuration) -> AuditFiles:
    return AuditFiles(configuration.data_folder / "audit", audit_head_path(configuration))


def _verify(options: argparse.Namespace, configuration: Configuration, ask: Ask) -> int:
    files = _files(configuration)
    heads: dict[str, Head] = {}
    if options.head is not None:
        heads["the noted head"] = options.head
    try:
        running = _running_head(configuration, ask)
        if running is not None:
            heads["the store of the hall that runs"] = running
            _wait_until_archived(files, running)
        if (noted := files.noted_head()) is not None:
            heads[f"{files.head_path.name}"] = noted
        found = check(files, heads)
    except (AuditBroken, OSError) as error:
        _say(f"tellerhall: the audit log cannot be read: {error}", sys.stderr)
        return 1
    return _verdict(found, heads)


def _verdict(found: Checked, heads: dict[str, Head]) -> int:
    for problem in found.problems:
        _say(f"damaged: {problem}")
    against = ", ".join(heads) or "no head: a cut end would not show"
    state = "damaged" if found.problems else "whole"
    _say(f"{found.entries_count} entries, {state}, compared with {against}")
    if not found.problems:
        _say(f"head {found.last.seq}:{found.last.hash}")
    return DAMAGED if found.problems else 0


def _running_head(configuration: Configuration, ask: Ask) -> Head | None:
    answer = ask(configuration, "/v1/audit/head")
    return None if answer is None else msgspec.convert(answer, Head)


def _wait_until_archived(files: AuditFiles, head: Head) -> None:
    """The check says what is missing, should it not come."""
    deadline_s = time.monotonic() + ARCHIVED_S
    while time.monotonic() < deadline_s:
        noted = files.noted_head()
        if head.seq == 0 or (noted is not None and noted.seq >= head.seq):
            return
        time.sleep(0.2)


def _show(options: argparse.Namespace, configuration: Configuration, _ask: Ask) -> int:
    last: deque[bytes] = deque(maxlen=max(1, options.last))
    try:
        for name, raw in _files(configuration).lines():
            if options.day and Path(name).stem != options.day:
                continue
            if not options.who or decode_line(raw).who == options.who:
                last.append(raw)
    except (OSError, msgspec.DecodeError) as error:
        _say(f"tellerhall: the audit log cannot be read: {error}", sys.stderr)
        return 1
    for raw in last:
        _say(raw.decode(errors="replace"))
    return 0


def _print_head(_options: argparse.Namespace, configuration: Configuration, ask: Ask) -> int:
    try:
        head = _running_head(configuration, ask) or _files(configuration).noted_head()
    except (AuditBroken, OSError) as error:
        _say(f"tellerhall: the audit log cannot be read: {error}", sys.stderr)
        return 1
    if head is None:
        _say("tellerhall: nothing was recorded yet", sys.stderr)
        return 1
    _say(f"{head.seq}:{head.hash}")
    return 0


def _say(line: str, to: Any = None) -> None:
    (to or sys.stdout).write(line + "\n")
