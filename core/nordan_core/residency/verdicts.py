"""What the judge answers: values, never exceptions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class FacetRefusal:
    """One facet that fails, for a person and for a program."""

    facet: str
    """A facet's name, or `facts` where the facts themselves have expired."""
    want: str
    """What the policy asks."""
    have: str
    """What there is instead."""
    message: str
    """One sentence with both."""

    def document(self) -> dict[str, str]:
        """Return it as JSON values."""
        return {"facet": self.facet, "want": self.want, "have": self.have, "message": self.message}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether something is lawful, with every facet that fails."""

    refusals: tuple[FacetRefusal, ...]
    """In the order of the facets; empty when allowed."""
    good_until: datetime | None
    """The first later instant at which the answer may differ for the same policy, facts and atlas; None when never."""
    gaps: tuple[str, ...] = ()
    """What is allowed without being enforced or proved, in sentences; certificates print them."""

    @property
    def allowed(self) -> bool:
        """Return whether nothing fails."""
        return not self.refusals

    @property
    def failing(self) -> frozenset[str]:
        """Return the names of the facets that fail."""
        return frozenset(refusal.facet for refusal in self.refusals)


def together(verdicts: Iterable[Verdict]) -> Verdict:
    """Return one verdict that allows what all allow."""
    every = tuple(verdicts)
    ends = [one.good_until for one in every if one.good_until is not None]
    refusals = dict.fromkeys(refusal for one in every for refusal in one.refusals)
    gaps = dict.fromkeys(gap for one in every for gap in one.gaps)
    return Verdict(tuple(refusals), min(ends, default=None), tuple(gaps))
