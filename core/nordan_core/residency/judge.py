"""The residency function: may this happen there, under this policy, at this instant.

Called at submission, at apply, at redeem and at renewal, for every upload and every read; always the same functions,
so that no path is judged more kindly than another. The caller brings atlas, facts and instant. All failing facets are
reported, never only the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from nordan_core.residency import checks
from nordan_core.residency.adequacy import allows, edges
from nordan_core.residency.entities import Entity
from nordan_core.residency.exposure import exposure
from nordan_core.residency.facets import PLACE_FACETS, UNENFORCED, Policy
from nordan_core.residency.facts import ControlPlaneFacts, PoolFacts, Service
from nordan_core.residency.layers import Effective
from nordan_core.residency.levels import DataClass, Evidence, Tenancy
from nordan_core.residency.places import ADEQUATE, Atlas
from nordan_core.residency.policy import facet_document
from nordan_core.residency.reading import print_instant
from nordan_core.residency.sets import SetExpression
from nordan_core.residency.verdicts import FacetRefusal, Verdict
from nordan_core.residency.widening import holding, in_force

#: What running asks of a pool, by the one facet that each check looks at (`facts` looks at none), in their order. So
#: what a policy permits can be put together from what its facets permit, which `masks` does.
RUN_LINES: dict[str, checks.Check] = {
    "facts": checks.facts_in_force,
    "process": checks.process_in_place,
    "store": checks.store_in_place,
    "describe": checks.describe_in_place,
    "access": checks.access_in_place,
    "key": checks.key_in_place,
    "forbid_exposure": checks.not_exposed,
    "certifications": checks.certified,
    "seal_min": checks.sealed,
    "ownership_max": checks.owned_at_home,
    "encryption": checks.encrypted,
    "compute": checks.shielded,
    "tenancy": checks.kept_apart,
    "evidence": checks.located,
    "egress": checks.egress_guarded,
}

#: The two ends come first: past them nothing else matters.
RUN_CHECKS: tuple[checks.Check, ...] = (checks.policy_in_force, *RUN_LINES.values())

#: What putting bytes into a region asks: the same, but for what only running code brings about, which is computing in
#: a place (process, compute), neighbours on a machine (tenancy), calls out (egress) and logs (part of store).
STORAGE_CHECKS: tuple[checks.Check, ...] = (
    checks.policy_in_force,
    checks.facts_in_force,
    checks.bytes_in_place,
    checks.describe_in_place,
    checks.access_in_place,
    checks.key_in_place,
    checks.not_exposed,
    checks.certified,
    checks.sealed,
    checks.owned_at_home,
    checks.encrypted,
    checks.located,
)

RUN_SERVICES = frozenset({Service.COMPUTE, Service.STORAGE})
STORAGE_SERVICES = frozenset({Service.STORAGE})
#: Place facets that storing does not touch, so that their absence does not stop it.
NOT_FOR_STORAGE = frozenset({"process"})


def judge(effective: Effective, facts: PoolFacts, atlas: Atlas, instant: datetime) -> Verdict:
    """Return whether a job under `effective` may run on a pool at `instant`, with every facet that fails."""
    case = _case(effective, checks.Case(effective.policy, facts, atlas, instant, RUN_SERVICES), RUN_CHECKS)
    refusals = (*_not_stated(effective, effective.missing), *_refusals(RUN_CHECKS, case))
    return Verdict(refusals, _until(effective, case), (*_used(effective, instant), *_gaps(case)))


def judge_storage(effective: Effective, facts: PoolFacts, atlas: Atlas, instant: datetime) -> Verdict:
    """Return whether bytes under `effective` may be put into the region of a pool at `instant`.

    Everything is asked that running asks, save `process`, `compute`, `tenancy`, `egress` and the place of logs.
    """
    case = _case(effective, checks.Case(effective.policy, facts, atlas, instant, STORAGE_SERVICES), STORAGE_CHECKS)
    missing = tuple(facet for facet in effective.missing if facet not in NOT_FOR_STORAGE)
    refusals = (*_not_stated(effective, missing), *_refusals(STORAGE_CHECKS, case))
    return Verdict(refusals, _until(effective, case))


def standing_refusals(effective: Effective, policy: Policy, instant: datetime) -> tuple[FacetRefusal, ...]:
    """Return what `judge` refuses at every pool, `policy` being what is in force of `effective`: its own faults."""
    return (*_not_stated(effective, effective.missing), *checks.expired_policy(policy, instant))


def line_verdict(facet: str, policy: Policy, facts: PoolFacts, atlas: Atlas, instant: datetime) -> Verdict:
    """Return what one line of RUN_LINES says of a pool under a policy that states this facet alone."""
    case = checks.Case(policy, facts, atlas, instant, RUN_SERVICES)
    return Verdict(tuple(RUN_LINES[facet](case)), _good_until(case))


def permits(policy: Policy, facts: PoolFacts, atlas: Atlas, instant: datetime) -> Verdict:
    """Return what the stated facets alone say of a pool, without defaults: what the meet is defined by."""
    case = checks.Case(policy, facts, atlas, instant, RUN_SERVICES)
    return Verdict(_refusals(RUN_CHECKS, case), _good_until(case), _gaps(case))


def judge_control_plane(effective: Effective, facts: ControlPlaneFacts, atlas: Atlas, instant: datetime) -> Verdict:
    """Return whether this control plane may hold the description of a job: names, command, states, bill."""
    who = {facts.operator: exposure(facts.operator, facts.entities)}
    # Of the facets that are asked here, who may compel the operator is the one with alternatives.
    policy = in_force(effective, instant).settled(lambda one, _: any(checks.exposed(one, who, atlas)))
    refusals = (
        *_not_stated(effective, [facet for facet in effective.missing if facet == "describe"]),
        *checks.expired_policy(policy, instant),
        *_description_outside(policy, facts, atlas, instant),
        *checks.exposed(policy, who, atlas),
    )
    ends = (
        policy.valid_until,
        _next_change(policy, ("describe",), atlas, instant),
        *_recipients_change(policy, ("describe",), facts.entities),
    )
    return Verdict(refusals, _sooner(effective, _earliest(instant, ends), instant))


def judge_reader(effective: Effective, territory: str | None, atlas: Atlas, instant: datetime) -> Verdict:
    """Return whether somebody in `territory` may read logs or artifacts; None is a territory not on record.

    An unknown territory is denied above `internal`; below, and where `access` is not stated, it is let through.
    """
    policy = in_force(effective, instant).policy
    refusals = (
        *_not_stated(effective, [facet for facet in effective.missing if facet == "access"]),
        *checks.expired_policy(policy, instant),
        *_reader_outside(effective.class_, policy.access, territory, atlas, instant),
    )
    ends = (policy.valid_until, _next_change(policy, ("access",), atlas, instant))
    return Verdict(refusals, _sooner(effective, _earliest(instant, ends), instant))


def _case(effective: Effective, stated: checks.Case, which: Sequence[checks.Check]) -> checks.Case:
    """Return the case under the policy that is in force for it."""
    if not effective.derogations:
        return stated

    def fails(policy: Policy, facet: str) -> bool:
        return any(one.facet == facet for one in _refusals(which, replace(stated, policy=policy)))

    return replace(stated, policy=in_force(effective, stated.instant).settled(fails))


def _refusals(which: Iterable[checks.Check], case: checks.Case) -> tuple[FacetRefusal, ...]:
    return tuple(refusal for check in which for refusal in check(case))


def _not_stated(effective: Effective, missing: Iterable[str]) -> Iterator[FacetRefusal]:
    for facet in missing:
        yield FacetRefusal(
            facet,
            "stated by the data's owner or a floor",
            "stated by the job alone" if facet in effective.stated_by else "not stated",
            f"above class public, {facet} must be stated on a dataset, the project or the organisation; "
            "a job can only narrow it",
        )


def _description_outside(
    policy: Policy, facts: ControlPlaneFacts, atlas: Atlas, instant: datetime
) -> Iterator[FacetRefusal]:
    expression = policy.describe
    operator = facts.entities.get(facts.operator)
    if expression is None or allows(expression, facts.territory, [operator], atlas, instant):
        return
    yield FacetRefusal(
        "describe",
        str(expression),
        facts.territory,
        f"this control plane stands in {facts.territory} and would hold the job's description, but describe allows "
        f"{expression}; submit to a control plane inside, or add {facts.territory} to describe where it is stated",
    )


def _reader_outside(
    class_: DataClass, expression: SetExpression | None, territory: str | None, atlas: Atlas, instant: datetime
) -> Iterator[FacetRefusal]:
    want = "a territory on record" if expression is None else str(expression)
    if territory is None:
        if class_ > DataClass.INTERNAL:
            yield FacetRefusal(
                "access",
                want,
                checks.NOT_RECORDED,
                f"the reader's territory is not on record, and the data are {class_.word}; "
                "it is recorded when a key is made: an administrator makes one with a territory",
            )
    elif expression is not None and territory not in expression.expand(atlas, instant):
        yield FacetRefusal("access", want, territory, f"the reader sits in {territory}; access allows {expression}")


def _gaps(case: checks.Case) -> tuple[str, ...]:
    facts = case.facts
    gaps = []
    if case.policy.egress == UNENFORCED and "egress" not in facts.enforces:
        gaps.append("egress: not enforced; the owner of the data accepted that")
    if "isolation" not in facts.enforces and Tenancy.SINGLE not in facts.tenancy:
        gaps.append(f"tenancy: {facts.pool} does not enforce isolation between tenants")
    if facts.evidence is Evidence.E0:
        gaps.append(f"evidence: the place of {facts.pool} is its provider's word (E0)")
    return tuple(gaps)


def _used(effective: Effective, instant: datetime) -> Iterator[str]:
    for one in holding(effective, instant):
        it = one.derogation
        enough = facet_document(it.to, it.facet)
        yield f"{it.facet}: {enough} was enough until {print_instant(it.not_after)}, by derogation {it.id}"


def _sooner(effective: Effective, until: datetime | None, instant: datetime) -> datetime | None:
    """Return the first later instant at which the answer may differ, the edges of derogations among them."""
    edges = [edge for one in effective.derogations for edge in (one.derogation.not_before, one.derogation.not_after)]
    return _earliest(instant, (until, *edges))


def _until(effective: Effective, case: checks.Case) -> datetime | None:
    """Return the first later instant at which anything that may be asked changes, the edges of derogations included."""
    ways = in_force(effective, case.instant).ways() if effective.derogations else ()
    ends = [_good_until(replace(case, policy=policy)) for policy in ways]
    return _sooner(effective, _earliest(case.instant, (_good_until(case), *ends)), case.instant)


def _good_until(case: checks.Case) -> datetime | None:
    policy, facts = case.policy, case.facts
    wanted = {scheme for scheme, _ in policy.certifications or ()}
    ends = [policy.valid_until, facts.valid_until]
    for one in facts.certifications:
        if one.scheme in wanted:
            ends += [one.valid_from, one.valid_until]
    ends += [case.atlas.next_change(limit.group, case.instant) for limit in policy.ownership_max or ()]
    ends.append(_next_change(policy, PLACE_FACETS, case.atlas, case.instant))
    ends += _recipients_change(policy, PLACE_FACETS, facts.entities)
    return _earliest(case.instant, ends)


def _next_change(policy: Policy, facets: Iterable[str], atlas: Atlas, instant: datetime) -> datetime | None:
    stated = [expression for facet in facets if (expression := policy.places(facet)) is not None]
    return _earliest(instant, [expression.next_change(atlas, instant) for expression in stated])


def _recipients_change(
    policy: Policy, facets: Iterable[str], entities: Mapping[str, Entity]
) -> Iterator[datetime | None]:
    """Yield when those who run places may become adequate, or cease to be, where a policy asks for that."""
    stated = [expression for facet in facets if (expression := policy.places(facet)) is not None]
    if any(ADEQUATE in expression.names() for expression in stated):
        yield from edges(entities.values())


def _earliest(instant: datetime, ends: Iterable[datetime | None]) -> datetime | None:
    return min((end for end in ends if end is not None and end > instant), default=None)
