"""Builds the wheel and checks what is in it; `make wheel-check` runs it.

What an editable install hides: a package or a data file that the wheel forgets.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE_ROOTS = ("core", "api", "scheduler", "workers", "cli")
NOT_SHIPPED = {"__pycache__"}


def main() -> int:
    """Return 0 when the wheel holds exactly what the source roots hold."""
    with tempfile.TemporaryDirectory() as folder:
        built = names_in(build(Path(folder)))
    wanted = {name for root in SOURCE_ROOTS for name in names_below(ROOT / root)}
    missing, extra = sorted(wanted - built), sorted(built - wanted)
    for name in missing:
        print(f"missing from the wheel: {name}")
    for name in extra:
        print(f"in the wheel, not in the source: {name}")
    print(f"the wheel holds {len(built)} files")
    return 1 if missing or extra else 0


def build(folder: Path) -> Path:
    """Build the wheel with the installed back end, offline, and return its path."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return next(folder.glob("*.whl"))


def names_in(wheel: Path) -> set[str]:
    """Return the wheel's files, its own records left out."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def names_below(root: Path) -> set[str]:
    """Return the files of the packages below a source root."""
    return {
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file() and not NOT_SHIPPED & set(path.parts)
    }


if __name__ == "__main__":
    sys.exit(main())
