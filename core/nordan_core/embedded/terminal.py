"""What `nordan up` shows: a spinner with the present step on a terminal, plain lines elsewhere.

Used by `up_command`. Standard error gets the progress, standard output the one thing that a script may want: the URL.
"""

from __future__ import annotations

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
            self._errors.print(f"{text} ...", markup=False)

    def note(self, text: str) -> None:
        """Say something that stays worth knowing."""
        self._errors.print(text, markup=False)

    def ready(self, ready: Ready) -> None:
        """Say where the stack is and which regions it has."""
        if self._status:
            self._status.stop()
        self._output.print(f"Nordan is ready at {ready.url}", markup=False)
        self._errors.print(f"Regions: {', '.join(ready.regions) or 'none'}", markup=False)
        self._errors.print(f"Data: {ready.data_dir}", markup=False)

    def logged_in(self, config: str) -> None:
        """Say that the CLI knows the stack."""
        self._errors.print(f"You are logged in ({config}). Try: nordan submit -- echo hello", markup=False)
        self._errors.print("Ctrl-C stops the stack.", markup=False)

    def not_logged_in(self, config: str, ready: Ready) -> None:
        """Say how to log in."""
        self._errors.print(f"{config} is for another server and stays as it is. To use this one:", markup=False)
        self._errors.print(f"  {login_command(ready)}", markup=False)
        self._errors.print("Ctrl-C stops the stack.", markup=False)
