"""Removes what a killed test process left: folders and resource groups, the kernel ends the rest.

Names carry the process id of their maker; what belongs to a living process, or to anybody else, is not touched.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from support.kube.spaces import hierarchies, remove_cgroup

PREFIX = "nordan-kube"
_MADE_BY = re.compile(rf"{PREFIX}-(\d+)-")


def remove_leftovers(temporary: Path | None = None) -> list[Path]:
    """Remove what dead test processes left behind; return what it was."""
    removed = []
    for folder in _of_the_dead(temporary or Path(tempfile.gettempdir())):
        shutil.rmtree(folder, ignore_errors=True)
        removed.append(folder)
    for hierarchy in hierarchies():
        for group in _of_the_dead(hierarchy):
            remove_cgroup(group)
            removed.append(group)
    return removed


def _of_the_dead(folder: Path) -> list[Path]:
    return [path for path in folder.glob(f"{PREFIX}-*") if path.is_dir() and _is_left(path.name)]


def _is_left(name: str) -> bool:
    made_by = _MADE_BY.match(name)
    return made_by is not None and not Path(f"/proc/{made_by[1]}").exists()
