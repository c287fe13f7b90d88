"""Lets a benchmark use the test clusters: importing this makes `support` and what it stands on importable."""

from __future__ import annotations

import sys
from pathlib import Path

_TOP = Path(__file__).parents[1]
sys.path[:0] = [str(_TOP / "tests"), str(_TOP / "deploy" / "images")]
