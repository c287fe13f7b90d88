"""Options that several verbs share, so that they mean the same everywhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from nordan_cli.errors import WrongUse

Project = Annotated[str | None, typer.Option("--project", "-p", help="Project; the one of your login if unsaid.")]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Show again whenever something changes.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="The most to show.")]
Folder = Annotated[Path, typer.Option("-d", "--directory", help="Folder to write into; made if absent.")]
OutFile = Annotated[Path | None, typer.Option("-f", "--out", metavar="FILE", help="Write there, not to the screen.")]

_TIME = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(text: str) -> float:
    """Return the length of time that `30`, `90s`, `15m`, `4h` or `2d` says.

    Raises:
        WrongUse: the text says something else.
    """
    match = _TIME.fullmatch(text)
    if not match:
        raise WrongUse(f"{text!r} is not a length of time; write 90s, 15m, 4h or 2d")
    return float(match[1]) * _SECONDS[match[2] or "s"]
