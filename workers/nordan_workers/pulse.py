"""A process that still does its work says so: it touches a file, whose age a probe of the cluster looks at.

Used by the supervisor and the Celery worker, which listen on no port. The gateway answers for itself.
"""

from __future__ import annotations

from pathlib import Path

import structlog

#: Time between two touches; a probe allows for several that were missed.
INTERVAL_S = 5.0


class Pulse:
    """One process's sign of life."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._is_troubled = False

    def beat(self) -> None:
        """Touch the file, if anybody wants one; what the file system refuses is told once and ends no process."""
        if self._path is None:
            return
        try:
            self._path.touch(mode=0o640)
            self._is_troubled = False
        except OSError as error:
            if not self._is_troubled:
                structlog.get_logger().warning("pulse_not_shown", error=type(error).__name__)
            self._is_troubled = True
