"""Logs: one JSON line an event; never personal data, never SDP (STYLE.md).

A part writes to `<folder>/<name>.log`; at a start a file beyond the bound becomes `<name>.log.1`. Without
a folder, and for what Python or Ray say by themselves, it is standard error.
"""

import logging
import os
import sys
from pathlib import Path
from typing import TextIO

import structlog

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
            structlog.processors.dict_tracebacks,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(_open(path) if path is not None else sys.stderr),
        cache_logger_on_first_use=True,
    )


def _open(path: Path) -> TextIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > BYTES_MAX:
        path.replace(path.with_name(path.name + ".1"))
    return path.open("a", encoding="utf-8", buffering=1)
