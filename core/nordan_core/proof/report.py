"""What a verifier answers: one line for each check, never an exception."""

from dataclasses import dataclass
from typing import NamedTuple

from nordan_core.proof.records import Certificate


class Check(NamedTuple):
    """One thing that was checked, with a sentence for a person."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """The whole answer; `certificate` is absent when the paper could not be opened or read."""

    checks: tuple[Check, ...]
    gaps: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()
    certificate: Certificate | None = None

    @property
    def ok(self) -> bool:
        """Return whether every check passed, and there was one."""
        return bool(self.checks) and all(check.ok for check in self.checks)
