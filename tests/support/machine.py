"""What the kernel shows of a stack's own processes: arguments and environments, those of jobs left out."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from types import TracebackType

from nordan_core.embedded.files import matching
from support.chaos_stack import ChaosStack

PAUSE_S = 0.1
PROC = Path("/proc")


class Watch:
    """Looks at every process of a stack again and again, so that short-lived ones are seen too."""

    def __init__(self, stack: ChaosStack) -> None:
        self._stack = stack
        self._jobs: set[int] = set()
        self._keepers: set[int] = set()
        """They are Nordan's; what is below them is a tenant's."""
        self._seen: dict[tuple[int, str], bytes] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)

    def __enter__(self) -> Watch:
        """Begin to look."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop looking."""
        self._stopping.set()
        self._thread.join(10)

    @property
    def seen(self) -> dict[str, bytes]:
        """What each process was called with: a few words of it, and all of it."""
        return {f"{pid} {words[:60]}": whole for (pid, words), whole in self._seen.items()}

    def _look(self) -> None:
        while not self._stopping.wait(PAUSE_S):
            found = {
                pid: (_called_with(pid), _ancestors(pid)) for pid in self._stack.pids_marked(str(self._stack.home))
            }
            # Read after the processes: a shim writes down its program before it lets it begin.
            self._jobs |= job_pids(self._stack)
            self._keepers |= keeper_pids(self._stack)
            for pid, (whole, ancestors) in found.items():
                # Of one that went while it was looked at nobody can say whose it was.
                is_tenants = bool(self._jobs & {pid, *ancestors} or self._keepers.intersection(ancestors))
                if whole and ancestors and not is_tenants:
                    words = whole.partition(b"\0\0")[0].replace(b"\0", b" ").decode(errors="replace")
                    self._seen[pid, words] = whole


def keeper_pids(stack: ChaosStack) -> set[int]:
    """Return the keepers of sessions that are open now, by their records' names."""
    records = matching(stack.data, "regions/*/attempts/*/rank-*/keeper-*.json")
    return {int(path.stem.removeprefix("keeper-")) for path in records}


def job_pids(stack: ChaosStack) -> set[int]:
    """Return the programs of jobs that run now, by their shims' records."""
    pids = set()
    for record in matching(stack.data, "regions/*/attempts/*/rank-*/pid.json"):
        try:
            pids.add(int(json.loads(record.read_text())["pid"]))
        except (OSError, ValueError):
            continue
    return pids


def _called_with(pid: int) -> bytes:
    try:
        return (PROC / str(pid) / "cmdline").read_bytes() + b"\0\0" + (PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return b""


def _ancestors(pid: int) -> list[int]:
    found = []
    while pid := _parent(pid):
        found.append(pid)
    return found


def _parent(pid: int) -> int:
    try:
        return int((PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
