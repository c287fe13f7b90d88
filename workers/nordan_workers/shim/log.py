"""A rank's log: what the program writes goes through a pipe, so that it can neither rewrite its log nor fill the disk.

Runs on a thread of the shim, because a disk that hangs must not keep the shim from the deadline.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

_CHUNK_BYTES = 1 << 16


class RankLog:
    """Appends to one file up to a limit, then drops."""

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
        self._limit_bytes = limit_bytes
        self._left_bytes = limit_bytes

    def feed(self, data: bytes) -> None:
        """Append what still fits, and once a line that says where the rest went."""
        if self._left_bytes <= 0:
            return
        self._append(data[: self._left_bytes])
        self._left_bytes -= len(data)
        if self._left_bytes <= 0:
            self._append(f"\n[nordan] the log has reached {self._limit_bytes} bytes; the rest is dropped\n".encode())

    def _append(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError:
            # A full disk costs the program its log, not its life.
            return


class Pump(threading.Thread):
    """Carries a pipe into a log until every writer has closed it."""

    def __init__(self, source: int, log: RankLog) -> None:
        super().__init__(daemon=True)
        self._source = source
        self._log = log

    def run(self) -> None:
        """Read and append until the end of the pipe."""
        while data := os.read(self._source, _CHUNK_BYTES):
            self._log.feed(data)
