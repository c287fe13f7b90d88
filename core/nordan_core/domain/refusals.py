"""Why something was not taken, as data: counted, tiered and ready to print. Never an exception."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nordan_core.domain.reasons import Reason, tier


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason and how many pools (or nodes) it took out; `want` and `have` are for a person."""

    code: Reason
    count: int = 1
    facet: str = ""
    want: str = ""
    have: str = ""


def tally(refusals: Iterable[Refusal]) -> tuple[Refusal, ...]:
    """Merge equal refusals by adding their counts; first tier first, then the larger count."""
    counts: dict[tuple[Reason, str, str, str], int] = {}
    for refusal in refusals:
        key = (refusal.code, refusal.facet, refusal.want, refusal.have)
        counts[key] = counts.get(key, 0) + refusal.count
    merged = [Refusal(code, count, facet, want, have) for (code, facet, want, have), count in counts.items()]
    return tuple(sorted(merged, key=lambda one: (tier(one.code), -one.count, one.facet, one.want, one.have)))
