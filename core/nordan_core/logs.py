"""Logging of every process: one JSON object a line on stderr, constant event names, identifiers, never content."""

from __future__ import annotations

import logging
import sys

import structlog


def configure_logs(process: str, level: int = logging.INFO) -> None:
    """Set up structlog for this process; library loggers are kept to warnings."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )
    structlog.contextvars.bind_contextvars(process=process)
