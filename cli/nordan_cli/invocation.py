"""One run of the program: its clock, its way to the network and the global options. Carried as Typer's `ctx.obj`.

Tests make one with a fake transport and a clock that stands still; everything below takes it from here.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from nordan_cli import config
from nordan_cli.errors import WrongUse
from nordan_core.clock import Clock, SystemClock

if TYPE_CHECKING:  # httpx takes a quarter of a second to import: only where something is sent
    import httpx

DEFAULT_PROJECT = "default"
HOW_TO_START = "On this machine: nordan up. With another one: nordan login --url https://HOST"


@dataclass(slots=True)
class Invocation:
    """What the root command learned, and the outside world as this run sees it."""

    clock: Clock = field(default_factory=SystemClock)
    sleep: Callable[[float], None] = time.sleep
    transport: httpx.BaseTransport | None = None
    """None for the real network."""
    config_path: Path = field(default_factory=config.default_path)
    url: str = ""
    key: str = ""
    project: str = ""

    def settle(self, *, project: str | None = None) -> config.Config:
        """Return address, key and project: option, then environment, then file, then the default project.

        Raises:
            WrongUse: no address or no key is known.
        """
        stored = config.load(self.config_path)
        if stored.key and config.is_open_to_others(self.config_path):
            note(f"warning: others can read the key in {self.config_path}; run: chmod 600 {self.config_path}")
        settled = config.Config(
            url=self.url or stored.url,
            key=self.key or stored.key,
            project=project or self.project or stored.project or DEFAULT_PROJECT,
        )
        if not settled.url or not settled.key:
            missing = "address" if not settled.url else "API key"
            raise WrongUse(f"no {missing} of a control plane is known\n{HOW_TO_START}")
        return settled


def of(ctx: typer.Context) -> Invocation:
    """Return the run that a command belongs to."""
    found = ctx.find_object(Invocation)
    if found is None:
        raise WrongUse("this command was started without nordan's own entry")
    return found


def note(text: str) -> None:
    """Tell the person something that is not the command's output."""
    typer.echo(text, err=True)


def is_watched() -> bool:
    """Tell whether a person sits before standard error: only then progress is drawn."""
    return sys.stderr.isatty()
