"""What the supervisor has told the gateway through files: fenced objects and ready replicas. Read when they change.

A list that cannot be read keeps its last good form: the supervisor replaces files whole, so this is about a disk that
fails, and forgetting a fence would open what is closed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from nordan_workers.supervisor.noticeboard import FENCES, SERVICES


@dataclass(frozen=True, slots=True)
class Replica:
    """A ready replica of a service, on this machine."""

    attempt_id: str
    port: int


class Lists:
    """The two lists of one region."""

    def __init__(self, region_dir: Path) -> None:
        self._fences = _Watched(region_dir / FENCES)
        self._services = _Watched(region_dir / SERVICES)

    def fenced(self) -> frozenset[str]:
        """Return the objects that must not be read."""
        return frozenset(self._fences.document().get("objects", ()))

    def replicas(self, job_id: str) -> tuple[Replica, ...]:
        """Return the ready replicas of a service, none when there is no such service."""
        rows = self._services.document().get("services", {}).get(job_id, ())
        return tuple(Replica(row["attempt_id"], row["port"]) for row in rows)


class _Watched:
    """A JSON file, parsed again when another one has taken its place."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._document: dict[str, Any] = {}  # Any: JSON that the supervisor wrote

    def document(self) -> dict[str, Any]:
        try:
            state = self._path.stat()
            if (state.st_ino, state.st_mtime_ns) != self._seen:
                self._document = json.loads(self._path.read_bytes())
                self._seen = (state.st_ino, state.st_mtime_ns)
        except FileNotFoundError:
            return self._document
        except (OSError, ValueError) as error:
            structlog.get_logger().error("list_unreadable", list=self._path.name, error=type(error).__name__)
        return self._document
