"""Logs: one JSON line an event, to standard error; never personal data, never SDP (STYLE.md)."""

import logging
import os
import sys

import structlog

LEVEL_VARIABLE = "TELLERHALL_LOG_LEVEL"


def configure_logging() -> None:
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
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
