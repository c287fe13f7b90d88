"""The one tree of errors. A class stands for what a caller handles differently; data are fields, not parsed text.

NordanError
├── Invalid            bad input; names the field            422
├── Refused            lawful input that must not run        422, carries a reason code
├── Unauthenticated    no or bad credentials                 401
├── Forbidden          known caller, not allowed             403
├── NotFound           absent, or another tenant's           404
├── Conflict           does not fit the present state        409
├── TooLarge           a body over the limit                 413
├── Unavailable        try again later                       503
└── OperatorError      this machine's set-up is at fault     (CLI exit 1)

"Does not fit" is not an error but a value: see `nordan_core.domain.refusals`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nordan_core.domain.reasons import Reason


class NordanError(Exception):
    """Root of every error that Nordan raises on purpose."""


@dataclass
class Invalid(NordanError):
    """Input that cannot be accepted: says which field, what was wrong and what would be right."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


@dataclass
class Refused(NordanError):
    """A well-formed request that policy, law or capacity forbids for good."""

    reason: Reason
    message: str
    detail: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.message


@dataclass
class Unauthenticated(NordanError):
    """The caller is not known: no credential, an expired or a forged one."""

    message: str

    def __str__(self) -> str:
        return self.message


@dataclass
class Forbidden(NordanError):
    """The caller is known and may not do this."""

    message: str
    code: str = "forbidden"

    def __str__(self) -> str:
        return self.message


@dataclass
class NotFound(NordanError):
    """No such thing for this caller; another tenant's objects look the same."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"no {self.kind} {self.name!r}"


@dataclass
class Conflict(NordanError):
    """The request does not fit the present state; `code` tells programs why."""

    code: str
    message: str

    def __str__(self) -> str:
        return self.message


@dataclass
class TooLarge(NordanError):
    """A body over the limit, refused unread."""

    limit_bytes: int

    def __str__(self) -> str:
        return (
            f"the body is over {self.limit_bytes} bytes; content goes to a region's gateway, "
            "the control plane takes documents only"
        )


@dataclass
class Unavailable(NordanError):
    """A part that is needed does not answer now."""

    message: str
    retry_after_s: float = 1.0

    def __str__(self) -> str:
        return self.message


@dataclass
class OperatorError(NordanError):
    """This machine or its set-up is at fault; the text says what to do."""

    message: str

    def __str__(self) -> str:
        return self.message
