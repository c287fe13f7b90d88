"""Where the processor's time went: seconds per service of a stack, read from /proc.

Wall-clock figures move with everything else that a shared machine does; seconds of processor per job do not,
or much less. So a benchmark prints both, and two versions are compared by the second.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def seconds(root: int) -> dict[str, float]:
    """Return the seconds used so far by every process under `root`, their ended children with them, by service."""
    children: dict[int, list[int]] = {}
    used: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (found := _process(entry)) is not None:
            parent, used[int(entry.name)] = found
            children.setdefault(parent, []).append(int(entry.name))
    totals: dict[str, float] = {}
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        waiting += children.get(pid, [])
        service = _service(pid)
        totals[service] = totals.get(service, 0.0) + used.get(pid, 0.0)
    return totals


def table(before: Mapping[str, float], after: Mapping[str, float], jobs: int) -> str:
    """Return the milliseconds per job of each service between two readings, the largest first."""
    spent = {name: (after[name] - before.get(name, 0.0)) / jobs * 1000 for name in after}
    rows = sorted(spent.items(), key=lambda row: -row[1])
    shown = ", ".join(f"{name} {ms:.1f}" for name, ms in rows if ms >= 0.05)
    return f"processor: {sum(spent.values()):.1f} ms a job ({shown})"


def _process(entry: Path) -> tuple[int, float] | None:
    """Return a process's parent and its seconds, None when it has just ended."""
    try:
        fields = (entry / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[1]), sum(map(int, fields[11:15])) * TICK_S


def _service(pid: int) -> str:
    """Return the module that a Python process runs, or the first word of any other's command line."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "ended"
    if "-m" in command:
        return command[command.index("-m") + 1]
    return Path(command[0].split(":")[0].split()[0]).name if command[0].strip() else "ended"
