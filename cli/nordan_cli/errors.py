"""What can go wrong on the client's side, each with the exit code that the shell sees.

Raised anywhere in this package, printed once by `nordan_cli.main`. Exit codes: 1 refused or failed, 2 wrong use; a
job's own code when attached, a command's after exec; 130 after Ctrl-C; 255 for a session that was cut.

NordanError
└── CliError
    ├── WrongUse       an argument or a file of the user's          exit 2
    ├── Unreachable    api or gateway does not answer               exit 1
    ├── Unreadable     an answer that this version cannot read      exit 1
    ├── Problem        the server refused, with a problem document  exit 1
    ├── Cut            a session ended before its command           exit 255
    └── Failed         anything else that ended badly               exit 1
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nordan_cli.text import plain
from nordan_core.domain.errors import NordanError


class CliError(NordanError):
    """Root of the client's own errors."""

    exit_code = 1


class WrongUse(CliError):
    """An argument, a file or the configuration is at fault; nothing was sent."""

    exit_code = 2


class Unreachable(CliError):
    """Nobody answered at an address, after the tries that patience allowed."""

    def __init__(self, url: str, cause: str, advice: str) -> None:
        super().__init__(f"no answer from {url}: {cause}\n{advice}")


class Unreadable(CliError):
    """The answer lacks something that this version needs, or has another type."""

    def __init__(self, where: str, fault: str) -> None:
        super().__init__(f"the server's answer cannot be read: {where} {fault}; are both sides of one version?")


class Cut(CliError):
    """A session inside a job ended before its command did; the code is the one that ssh has for it."""

    exit_code = 255


class Failed(CliError):
    """The command ran and its outcome is bad."""


@dataclass(frozen=True, slots=True)
class FieldFault:
    """One field that the server did not accept."""

    field: str
    message: str


@dataclass
class Problem(CliError):
    """A problem document (RFC 9457) as the server sent it."""

    status: int
    code: str
    title: str
    detail: str = ""
    faults: tuple[FieldFault, ...] = ()
    request_id: str = ""
    retry_after_s: float = 0.0
    extensions: Mapping[str, object] = field(default_factory=dict)
    """Further members: `conflict` and `relaxation` of a job that no pool may run, for one."""

    @property
    def is_passing(self) -> bool:
        """Tell whether the same request may go well in a moment."""
        return self.status == 503 or (self.status == 409 and self.code == "in_progress")

    def __str__(self) -> str:
        first = self.detail or self.title
        lines = [f"{first} ({self.code})" if self.code else f"{first} (HTTP {self.status})"]
        faults = (f"{fault.field or 'document'}: {fault.message}" for fault in self.faults)
        lines += [f"  {line}" for line in faults if line not in first]
        lines += [f"  {name}: {plain(value)}" for name, value in self.extensions.items() if value]
        if self.request_id:
            lines.append(f"  request: {self.request_id}")
        return "\n".join(lines)
