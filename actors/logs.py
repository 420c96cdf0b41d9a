"""Logs: one JSON line an event; never personal data, never SDP (STYLE.md).

A part writes to `<folder>/<name>.log`. A file that would grow past `BYTES_MAX` becomes `<name>.log.1`, that one `.2` and so on;
`FILES_MAX` are kept, so a part's logs have a bound. Without a folder, and for what Python or Ray say by themselves, it is
standard error. Ray bounds its own session logs by the settings of `wiring.prepare`; those of workers that ended long ago go by
`prune_session_logs`.

Rules: of an exception its places are logged, never the values of variables, among which are names, tokens and SDP. A disk
that takes no line costs that line: who logs a trouble must not fail by it, least of all when the disk is the trouble.
Lines of a call carry its id and its trace (`tracing`).
"""

import contextlib
import logging
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TextIO, cast

import msgspec
import structlog
from structlog.processors import ExceptionRenderer
from structlog.tracebacks import ExceptionDictTransformer

from actors.tracing import add_trace

LEVEL_VARIABLE = "TELLERHALL_LOG_LEVEL"
FOLDER_VARIABLE = "TELLERHALL_LOG_FOLDER"
BYTES_MAX = 16 * 1024 * 1024
"""Of one file: a hundred thousand lines, some twenty thousand calls."""
SESSION_FILES_MAX = 200
"""Of Ray's ended workers: some fifty incarnations of parts."""
_WORKER_LOG = re.compile(r"worker-[0-9a-f]+-[0-9a-f]+-(\d+)\.(?:out|err|log)(?:\.\d+)?\Z")
FILES_MAX = 4
"""Of one part, the present one among them; at least 2."""


class _Output(Protocol):
    def write(self, line: str) -> Any: ...


class _Setting:
    """How this process logs now. No output: nobody has set it up, as where a shard runs inside a test."""

    output: _Output | None = None
    level: int = logging.INFO


def prune_session_logs(folder: Path, files_max: int = SESSION_FILES_MAX) -> int:
    """Remove the oldest logs of Ray's ended workers below `folder`, beyond `files_max` of them; return how many went.

    Ray bounds each worker's own files and keeps those of all that ever ran; a part that fails for days has thousands.
    """
    ended = []
    for path in folder.glob("session_*/logs/worker-*"):
        pid = _WORKER_LOG.match(path.name)
        if pid is not None and not Path(f"/proc/{pid[1]}").exists():
            with contextlib.suppress(FileNotFoundError):
                ended.append((path.stat().st_mtime, path))
    surplus = sorted(ended)[: max(0, len(ended) - files_max)]
    for _, path in surplus:
        path.unlink(missing_ok=True)
    return len(surplus)


def part_log(name: str) -> Path | None:
    """Where the part of that slot logs, by the environment."""
    folder = os.environ.get(FOLDER_VARIABLE)
    return Path(folder) / f"{name}.log" if folder else None


def configure_logging(path: Path | None = None, bytes_max: int = BYTES_MAX, files_max: int = FILES_MAX) -> None:
    """Set structlog up for this process. The level comes from TELLERHALL_LOG_LEVEL (default `info`)."""
    level = logging.getLevelNamesMapping().get(os.environ.get(LEVEL_VARIABLE, "info").upper(), logging.INFO)
    output: _Output = _LogFile(path, bytes_max, files_max) if path is not None else sys.stderr
    _Setting.level, _Setting.output = level, output
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            add_trace,
            ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, output)),
        cache_logger_on_first_use=True,
    )


def silence() -> None:
    """Write no more lines: for a test that has set logging up in its own process."""
    _Setting.output = None


def write_lines(lines: list[dict[str, Any]]) -> None:
    """Write lines of level `info` in one go, at a tenth of the cost of one each; `event` names each. Never raises."""
    if not lines or _Setting.output is None or _Setting.level > logging.INFO:
        return
    head = {"level": "info", "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z")}
    text = b"\n".join(msgspec.json.encode({**add_trace(None, "", line), **head}) for line in lines)
    _Setting.output.write(text.decode() + "\n")


class _LogFile:
    """Whole lines to the end of a file, with nothing held back that a full disk could leave half written in memory."""

    def __init__(self, path: Path, bytes_max: int, files_max: int) -> None:
        self._path = path
        self._bytes_max = bytes_max
        self._files_max = files_max
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = self._opened()
        self._bytes = os.fstat(self._descriptor).st_size

    def _opened(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)

    def write(self, line: str) -> None:
        data = line.encode(errors="replace")
        with contextlib.suppress(OSError):
            if self._bytes and self._bytes + len(data) > self._bytes_max:
                self._rotate()
            self._bytes += os.write(self._descriptor, data)

    def _rotate(self) -> None:
        """Set the file aside, unless somebody else has: a predecessor that froze may hold the same one."""
        if self._is_still_there():
            for number in range(self._files_max - 1, 1, -1):
                with contextlib.suppress(FileNotFoundError):
                    self._aside(number - 1).replace(self._aside(number))
            self._path.replace(self._aside(1))
        former, self._descriptor = self._descriptor, self._opened()
        os.close(former)
        self._bytes = os.fstat(self._descriptor).st_size

    def _is_still_there(self) -> bool:
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False

    def _aside(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def flush(self) -> None:
        """Each line was written at once."""
