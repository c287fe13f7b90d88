"""What `nordan up` shows: a spinner with the present step on a terminal, plain lines elsewhere.

Used by `up_command`. Standard error gets the progress, standard output the one thing that a script may want: the URL.
"""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType

from rich.console import Console
from rich.status import Status

from nordan_core.embedded.cli_config import login_command
from nordan_core.embedded.up import Ready


class TerminalReporter:
    """Shows progress to a person."""

    def __init__(self) -> None:
        self._errors = Console(stderr=True, highlight=False, soft_wrap=True)
        self._output = Console(highlight=False, soft_wrap=True)
        self._status: Status | None = Status("Starting", console=self._errors) if self._errors.is_terminal else None

    def __enter__(self) -> TerminalReporter:
        if self._status:
            self._status.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        if self._status:
            self._status.stop()

    def step(self, text: str) -> None:
        """Say what is being done now."""
        if self._status:
            self._status.update(f"{text} …")
            self._status.start()
        else:
            _say(self._errors, f"{text} ...")

    def note(self, text: str) -> None:
        """Say something that stays worth knowing."""
        _say(self._errors, text)

    def ready(self, ready: Ready) -> None:
        """Say where the stack is and which regions it has."""
        if self._status:
            self._status.stop()
        _say(self._output, f"Nordan is ready at {ready.url}")
        _say(self._errors, f"Regions: {', '.join(ready.regions) or 'none'}")
        _say(self._errors, f"Data: {ready.data_dir}")

    def logged_in(self, config: str) -> None:
        """Say that the CLI knows the stack."""
        _say(self._errors, f"You are logged in ({config}). Try: nordan submit -- echo hello")
        _say(self._errors, "Ctrl-C stops the stack.")

    def not_logged_in(self, config: str, ready: Ready) -> None:
        """Say how to log in."""
        _say(self._errors, f"{config} is for another server and stays as it is. To use this one:")
        _say(self._errors, f"  {login_command(ready)}")
        _say(self._errors, "Ctrl-C stops the stack.")


def _say(console: Console, text: str) -> None:
    # A detached stack says it into a file: a full disk must not end it.
    with suppress(OSError):
        console.print(text, markup=False)
