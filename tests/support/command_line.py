"""How a command line that ran in this process ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """Exit code and what was printed where."""

    code: int
    out: str
    err: str


Nordan = Callable[..., Result]
"""Runs `nordan` with the words given."""
