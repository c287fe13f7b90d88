"""One `up` per data folder. The kernel drops the lock with its holder, so a stale one cannot exist.

Used by `up`; `down` reads the holder's pid.
"""

from __future__ import annotations

import fcntl
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nordan_core.domain.errors import OperatorError


@contextmanager
def data_dir_lock(path: Path) -> Iterator[None]:
    """Hold the lock file, with our pid in it, for the time of the block.

    Raises:
        OperatorError: another process holds it; the message names its pid.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OperatorError(_taken(path)) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def holder(path: Path) -> int | None:
    """Return the pid of the process that holds the lock, or None when nobody does."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = path.read_text().strip()
        return int(text) if text.isdigit() else 0
    else:
        return None
    finally:
        os.close(descriptor)


def _taken(path: Path) -> str:
    pid = path.read_text().strip() or "unknown"
    return (
        f"Another `nordan up` (pid {pid}) is running on {path.parent}. Use that one, stop it with `nordan down "
        f"--data-dir {shlex.quote(str(path.parent))}`, or choose another folder with --data-dir."
    )
