"""Logs: one JSON line an event; never personal data, never SDP (STYLE.md).

A part writes to `<folder>/<name>.log`; at a start a file beyond the bound becomes `<name>.log.1`. Without
a folder, and for what Python or Ray say by themselves, it is standard error.

Rules: of an exception its places are logged, never the values of variables, among which are names, tokens and SDP. A disk
that takes no line costs that line: who logs a trouble must not fail by it, least of all when the disk is the trouble.
"""

import contextlib
import logging
import os
import sys
from pathlib import Path
from typing import TextIO, cast

import structlog
from structlog.processors import ExceptionRenderer
from structlog.tracebacks import ExceptionDictTransformer

LEVEL_VARIABLE = "TELLERHALL_LOG_LEVEL"
FOLDER_VARIABLE = "TELLERHALL_LOG_FOLDER"
BYTES_MAX = 16 * 1024 * 1024


def part_log(name: str) -> Path | None:
    """Where the part of that slot logs, by the environment."""
    folder = os.environ.get(FOLDER_VARIABLE)
    return Path(folder) / f"{name}.log" if folder else None


def configure_logging(path: Path | None = None) -> None:
    """Set structlog up for this process. The level comes from TELLERHALL_LOG_LEVEL (default `info`)."""
    level = logging.getLevelNamesMapping().get(os.environ.get(LEVEL_VARIABLE, "info").upper(), logging.INFO)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(_open(path) if path is not None else sys.stderr),
        cache_logger_on_first_use=True,
    )


class _LogFile:
    """Whole lines to the end of a file, with nothing held back that a full disk could leave half written in memory."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)

    def write(self, line: str) -> None:
        with contextlib.suppress(OSError):
            os.write(self._descriptor, line.encode(errors="replace"))

    def flush(self) -> None:
        """Each line was written at once."""


def _open(path: Path) -> TextIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > BYTES_MAX:
        path.replace(path.with_name(path.name + ".1"))
    return cast(TextIO, _LogFile(path))
