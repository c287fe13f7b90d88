"""The one error of this package: a document that cannot be read as law. Refusals are values, see `verdicts`."""

from __future__ import annotations

from dataclasses import dataclass

from nordan_core.domain.errors import Invalid


@dataclass
class PolicyError(Invalid):
    """A policy, fact or atlas document that cannot be accepted: which field, and what would be right.

    `field` is a dotted path inside the document that was parsed, such as `process.0`.
    """

    def under(self, prefix: str) -> PolicyError:
        """Return the same error with its field placed inside a larger document."""
        return PolicyError(".".join(part for part in (prefix, self.field) if part), self.message)
