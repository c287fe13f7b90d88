"""How every process logs: one JSON line per event on standard error, constant event names, identifiers only.

Each entry point calls `configure_logs` once. Libraries may put content into their messages (Celery quotes whole
bodies, PostgreSQL the values of a row), so of theirs only the place that spoke is kept, never what it said.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO, cast

import structlog

from nordan_core.domain.errors import OperatorError

MAX_FRAMES = 12


def configure_logs(process: str) -> None:
    """Set structlog and the standard library's root logger up for this process."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _without_words,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        # Any: structlog asks for a TextIO and uses two methods of it.
        logger_factory=structlog.PrintLoggerFactory(cast(Any, _Steadfast(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)
    root = logging.getLogger()
    root.handlers[:] = [ContentFree()]
    root.setLevel(logging.WARNING)
    logging.captureWarnings(True)
    sys.excepthook = lambda _kind, error, _trace: _tell_end("process_died", error)
    threading.excepthook = lambda end: _tell_end("thread_died", end.exc_value)


class _Steadfast:
    """Writes where it can. A line that a full disk refuses is lost; whoever logs must go on, and answer its caller."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> None:
        """Write, or lose the text."""
        with suppress(OSError):
            self._file.write(text)

    def flush(self) -> None:
        """Flush what can be."""
        with suppress(OSError):
            self._file.flush()


def _tell_end(event: str, error: BaseException | None) -> None:
    """Log an exception that nobody caught; Python itself would print its words."""
    structlog.get_logger().critical(event, exc_info=error)


def _without_words(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Keep of an exception its type and where it came from: its text may quote a path, a name or a message.

    What is said to the operator about this machine is ours, and stays.
    """
    given = event.pop("exc_info", None)
    error = given if isinstance(given, BaseException) else sys.exc_info()[1] if given else None
    if error is not None:
        frames = traceback.extract_tb(error.__traceback__)
        event["error"] = type(error).__name__
        event["errno"] = getattr(error, "errno", None)
        if isinstance(error, OperatorError):
            event["message"] = str(error)
        event["frames"] = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames[-MAX_FRAMES:]]
    return event


class ContentFree(logging.Handler):
    """Logs that a library spoke, where and how loud, without its words."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log one event for the record; its message and arguments are dropped."""
        kind = record.exc_info[0] if record.exc_info else None
        structlog.get_logger().log(
            record.levelno,
            "library_message",
            library=record.name,
            place=f"{record.module}:{record.lineno}",
            error=kind.__name__ if kind else None,
        )
