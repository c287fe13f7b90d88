"""What a careful reader would remark about a policy: contradictions, ends, words that mean less than they seem to.

For whoever writes or reviews one. A policy with remarks is still law; nothing here decides about a job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from nordan_core.residency.exposure import forbidden_territories
from nordan_core.residency.facets import PLACE_FACETS, UNENFORCED, Policy
from nordan_core.residency.hints import listed
from nordan_core.residency.levels import DataClass, Evidence
from nordan_core.residency.places import Atlas
from nordan_core.residency.reading import print_instant

SOON = timedelta(days=30)


class Severity(StrEnum):
    """How much a remark matters."""

    ERROR = "error"
    """Under this policy nothing is lawful, now or at all."""
    WARNING = "warning"
    """It probably does not do what its author wants."""
    HINT = "hint"
    """Worth knowing."""


@dataclass(frozen=True, slots=True)
class Remark:
    """One remark about one facet."""

    severity: Severity
    code: str
    facet: str
    message: str


def lint(policy: Policy, atlas: Atlas, instant: datetime) -> tuple[Remark, ...]:
    """Return the remarks about a policy at `instant`, the gravest first."""
    found = [remark for rule in _RULES for remark in rule(policy, atlas, instant)]
    return tuple(sorted(found, key=lambda one: list(Severity).index(one.severity)))


def _nowhere(policy: Policy, atlas: Atlas, instant: datetime) -> Iterator[Remark]:
    for facet in PLACE_FACETS:
        expression = policy.places(facet)
        if expression is not None and not expression.expand_widely(atlas, instant):
            yield Remark(Severity.ERROR, "allows_nowhere", facet, f"{facet} says {expression}, which allows nowhere")


def _over(policy: Policy, _atlas: Atlas, instant: datetime) -> Iterator[Remark]:
    until = policy.valid_until
    if until is None:
        return
    if instant >= until:
        message = f"the policy ended {print_instant(until)}; since then it denies everything"
        yield Remark(Severity.ERROR, "has_ended", "valid_until", message)
    elif until - instant < SOON:
        message = f"the policy ends {print_instant(until)}; from then on it denies everything, and what runs is stopped"
        yield Remark(Severity.WARNING, "ends_soon", "valid_until", message)


def _no_place_in_common(policy: Policy, atlas: Atlas, instant: datetime) -> Iterator[Remark]:
    # A region computes where it stands, and learns the description of what it runs there.
    computes, learns = policy.process, policy.describe
    if computes is None or learns is None:
        return
    where, told = computes.expand(atlas, instant), learns.expand(atlas, instant)
    if where and told and not computes.expand_widely(atlas, instant) & learns.expand_widely(atlas, instant):
        message = f"process allows {computes} and describe {learns}: the region that computes learns the description"
        yield Remark(Severity.ERROR, "no_place_in_common", "describe", f"{message}, so no region can be lawful")
    elif unused := where - told:
        message = f"process allows {_some(unused)}, but describe does not; a region there would learn the description"
        yield Remark(Severity.WARNING, "never_used", "process", message)


def _unstated(policy: Policy, _atlas: Atlas, _instant: datetime) -> Iterator[Remark]:
    if policy.class_ is DataClass.PUBLIC:
        return
    missing = [facet for facet in PLACE_FACETS if policy.places(facet) is None]
    if missing and len(missing) < len(PLACE_FACETS):
        message = f"{', '.join(missing)} not stated; above class public each has to be, here or in a floor"
        yield Remark(Severity.WARNING, "place_not_stated", missing[0], message)
    elif missing:
        message = "no place is stated; above class public a floor has to, or nothing may run"
        yield Remark(Severity.HINT, "no_place_stated", missing[0], message)


def _forbidden_yet_allowed(policy: Policy, atlas: Atlas, instant: datetime) -> Iterator[Remark]:
    forbidden = forbidden_territories(policy.forbid_exposure or (), atlas)
    for facet in PLACE_FACETS:
        expression = policy.places(facet)
        both = frozenset() if expression is None else expression.expand(atlas, instant) & forbidden
        if both:
            message = f"{facet} allows {_some(both)}, and forbid_exposure forbids operators exposed to it"
            yield Remark(Severity.WARNING, "allowed_yet_forbidden", facet, f"{message}; few there are not")


def _unguarded(policy: Policy, _atlas: Atlas, _instant: datetime) -> Iterator[Remark]:
    if policy.egress == UNENFORCED:
        message = "nobody guards what jobs reach; certificates list this as a gap, and only a data owner may state it"
        yield Remark(Severity.HINT, "egress_unenforced", "egress", message)
    if policy.class_ is DataClass.RESTRICTED and (policy.evidence or Evidence.E0) is Evidence.E0:
        message = "class is restricted, yet a provider's word is enough for where its pools are; E1 asks for a contract"
        yield Remark(Severity.HINT, "place_on_trust", "evidence", message)


def _moving_groups(policy: Policy, atlas: Atlas, instant: datetime) -> Iterator[Remark]:
    for facet in PLACE_FACETS:
        expression = policy.places(facet)
        change = None if expression is None else expression.next_change(atlas, instant)
        if change is not None:
            message = f"{facet} says {expression}, and who is in that changes {print_instant(change)}"
            yield Remark(Severity.HINT, "group_changes", facet, message)


def _narrow_states(policy: Policy, atlas: Atlas, instant: datetime) -> Iterator[Remark]:
    expression = policy.process
    if expression is None:
        return
    allowed = expression.expand(atlas, instant)
    for state in sorted(expression.names() & allowed):
        if left_out := atlas.dependencies(state) - allowed:
            message = f"{state} is {state} alone: {_some(left_out)} are not in it"
            yield Remark(Severity.HINT, "read_narrowly", "process", message)


def _some(codes: frozenset[str]) -> str:
    shown = sorted(codes)[:6]
    return listed(shown) if len(shown) == len(codes) else f"{listed(shown)} and {len(codes) - len(shown)} more"


_RULES: tuple[Callable[[Policy, Atlas, datetime], Iterator[Remark]], ...] = (
    _nowhere,
    _over,
    _no_place_in_common,
    _unstated,
    _forbidden_yet_allowed,
    _unguarded,
    _moving_groups,
    _narrow_states,
)
