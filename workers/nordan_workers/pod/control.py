"""The control folder, through which stager and agent tell the shim what the region said: small files, by rename.

What each means is told at the head of `shim.c`. Instants are on the boot-time clock, which all containers of a node
share, counted from the moment when the region was asked.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

#: A later deadline is written when it gains so much, or when the written one is near; an earlier one always.
STEP_S = 2.0
NEAR_S = 20.0


def boot_s() -> float:
    """Return the boot-time clock: unlike the monotonic one it counts suspended time, as a deadline must."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(slots=True)
class Control:
    """Writes what has changed. One thread at a time."""

    folder: Path
    _deadline_s: float | None = None
    _kill_at_s: float = field(default=float("inf"))

    def tell_deadline(self, asked_s: float, ttl_s: float) -> None:
        """Have the shim end its command `ttl_s` after the region was asked."""
        at_s = asked_s + ttl_s
        written_s = self._deadline_s
        if written_s is not None and written_s - asked_s > NEAR_S and 0 <= at_s - written_s < STEP_S:
            return
        self._replace("deadline", b"%.3f\n" % max(0.0, at_s))
        self._deadline_s = at_s

    def tell_stop(self, at_s: float, grace_s: float) -> None:
        """Have the shim stop its command; of several stops the earliest kill counts."""
        # A stop comes again with every answer; the way there differs by milliseconds.
        if at_s + grace_s < self._kill_at_s - 0.5:
            self._replace("stop", b"%.3f %.3f\n" % (max(0.0, at_s), max(0.0, grace_s)))
            self._kill_at_s = at_s + grace_s

    def tell_start(self, env: Mapping[str, str]) -> None:
        """Let the command begin, with these variables on top of its container's."""
        if not (self.folder / "start").exists():
            pairs = (f"{name}={value}".encode(errors="surrogateescape") for name, value in env.items())
            self._replace("start", b"".join(pair + b"\0" for pair in pairs))

    def tell_collected(self) -> None:
        """Let the shim go: nothing of the job's container is needed any more."""
        self._replace("collected", b"")

    def is_shim_at_work(self) -> bool:
        """Tell whether the shim holds its lock: it runs, and so may its command."""
        with suppress(FileNotFoundError), (self.folder / "lock").open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def place_lock(self) -> None:
        """Make the lock that the shim holds while its command may run."""
        (self.folder / "lock").touch(mode=0o644)

    def place_shim(self, source: Path) -> None:
        """Put the static helper where the job's container finds it."""
        self._replace("shim", source.read_bytes(), 0o755)

    def _replace(self, name: str, data: bytes, mode: int = 0o644) -> None:
        temporary = self.folder / f".{name}.new"
        temporary.write_bytes(data)
        temporary.chmod(mode)
        temporary.rename(self.folder / name)
