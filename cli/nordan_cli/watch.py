"""Show something until it will not change any more: in place on a terminal, one text after another elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from nordan_cli.errors import Unreachable
from nordan_cli.invocation import Invocation

INTERVAL_S = 1.0
_CLEAR = "\x1b[H\x1b[2J\x1b[3J"


def watch(run: Invocation, draw: Callable[[], tuple[str, bool]]) -> None:
    """Print what `draw` returns each time that it changed, until its second value says that this was the last.

    A control plane that is away for a while is waited for.
    """
    shown: str | None = None
    while True:
        try:
            text, is_last = draw()
        except Unreachable:
            if shown is None:
                raise
            run.sleep(INTERVAL_S)
            continue
        if text != shown:
            typer.echo(f"{_CLEAR}{text}" if sys.stdout.isatty() else text)
            shown = text
        if is_last:
            return
        run.sleep(INTERVAL_S)
