"""What the supervisor has told the gateway through files: fences, ready replicas, keys. Read when they change.

A list that cannot be read keeps its last good form: the supervisor replaces files whole, so this is about a disk that
fails, and forgetting a fence would open what is closed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import structlog

from nordan_core.proof.succession import Statement
from nordan_workers.executors.base import Address
from nordan_workers.supervisor.noticeboard import FENCES, SERVICES, SUCCESSIONS

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Replica:
    """A ready replica of a service."""

    attempt_id: str
    address: Address


class Lists:
    """The lists of one region."""

    def __init__(self, region_dir: Path) -> None:
        self._fences = _Watched(region_dir / FENCES, _fences, frozenset[str]())
        self._successions = _Watched(region_dir / SUCCESSIONS, _statements, tuple[Statement, ...]())
        self._services = _Watched(region_dir / SERVICES, _services, dict[str, tuple[Replica, ...]]())

    def fenced(self) -> frozenset[str]:
        """Return the objects that must not be read."""
        return self._fences.value()

    def successions(self) -> tuple[Statement, ...]:
        """Return how the control plane's keys followed each other, as the supervisor was told: nothing is proven."""
        return self._successions.value()

    def replicas(self, job_id: str) -> tuple[Replica, ...]:
        """Return the ready replicas of a service, none when there is no such service."""
        return self._services.value().get(job_id, ())


class _Watched(Generic[Value]):
    """What a JSON file says, read again when another one has taken its place."""

    def __init__(self, path: Path, parse: Callable[[Any], Value], empty: Value) -> None:
        self._path = path
        self._parse = parse
        self._value = empty
        self._seen: tuple[int, int] | None = None

    def value(self) -> Value:
        try:
            state = self._path.stat()
            if (state.st_ino, state.st_mtime_ns) != self._seen:
                self._value = self._parse(json.loads(self._path.read_bytes()))
                self._seen = (state.st_ino, state.st_mtime_ns)
        except FileNotFoundError:
            return self._value
        except (OSError, ValueError, LookupError, TypeError) as error:
            structlog.get_logger().warning("list_unreadable", list=self._path.name, error=type(error).__name__)
        return self._value


def _fences(document: Any) -> frozenset[str]:  # Any: JSON that the supervisor wrote
    return frozenset(document["objects"])


def _statements(document: Any) -> tuple[Statement, ...]:  # Any: JSON that the supervisor wrote
    return tuple(dict(one) for one in document["statements"])


def _services(document: Any) -> dict[str, tuple[Replica, ...]]:  # Any: JSON that the supervisor wrote
    return {
        job_id: tuple(Replica(row["attempt_id"], Address(row["host"], row["port"])) for row in rows)
        for job_id, rows in document["services"].items()
    }
