"""Show a person that something long is going on: a bar after two seconds, on standard error, on a terminal only."""

from __future__ import annotations

from threading import Lock
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from nordan_core.clock import Clock

SHOWN_AFTER_S = 2.0


class Transfer:
    """Counts bytes of one upload or download; several threads may advance it."""

    def __init__(self, label: str, total_bytes: int, *, clock: Clock, is_watched: bool) -> None:
        self._label = label
        self._total = total_bytes
        self._clock = clock
        self._is_watched = is_watched
        self._started = clock.monotonic()
        self._done = 0
        self._lock = Lock()
        self._bar: tuple[Progress, TaskID] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar:
            self._bar[0].stop()

    def advance(self, count: int) -> None:
        """Count bytes that just went over the wire."""
        with self._lock:
            self._done += count
            if self._bar:
                self._bar[0].update(self._bar[1], completed=self._done)
            elif self._is_watched and self._clock.monotonic() - self._started >= SHOWN_AFTER_S:
                self._bar = self._open()

    def _open(self) -> tuple[Progress, TaskID]:
        progress = Progress(*self._columns(), console=Console(stderr=True), transient=True)
        progress.start()
        return progress, progress.add_task(self._label, total=self._total, completed=self._done)

    def _columns(self) -> tuple[ProgressColumn, ...]:
        return (TextColumn("{task.description}"), BarColumn(), DownloadColumn(True), TransferSpeedColumn())


class Tally(Transfer):
    """Counts things that are not bytes."""

    def _columns(self) -> tuple[ProgressColumn, ...]:
        return (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
