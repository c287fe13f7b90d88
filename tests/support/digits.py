"""Writes scikit-learn's digits as the CSV file that the demo's programs read."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import cast

DATASET = Path(__file__).resolve().parents[2] / "deploy" / "demo" / "dataset.py"


def write_digits(path: Path) -> None:
    """Write the file with the demo's own code, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # cast: runpy gives names of a script that is no package
    write = cast("Callable[[Path], None]", runpy.run_path(str(DATASET))["write_digits"])
    write(path)
