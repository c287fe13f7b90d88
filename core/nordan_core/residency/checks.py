"""The checks of the judge, one for each thing that law or a policy asks of a pool.

Each takes a case and yields a refusal for what fails; an unknown fact fails every question about it. `judge` decides
which checks apply to which act. A check never looks at another facet, so that all failing facets are always reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType

from nordan_core.residency import adequacy
from nordan_core.residency.exposure import Exposure, exposure, forbidden_territories
from nordan_core.residency.facets import UNENFORCED, OwnershipLimit, Policy
from nordan_core.residency.facts import EndpointKind, PoolFacts, Service
from nordan_core.residency.hints import listed
from nordan_core.residency.levels import Level, Tenancy
from nordan_core.residency.ownership import UnsettledError, foreign_shares
from nordan_core.residency.places import Atlas
from nordan_core.residency.reading import print_instant
from nordan_core.residency.verdicts import FacetRefusal

NOT_RECORDED = "not recorded"
POOLS_REMEMBERED = 4_096
"""Exposure does not depend on the policy, so it is kept for this many pools."""
PERCENT = 10_000
"""Millionths in one per cent."""


@dataclass(frozen=True, slots=True)
class Case:
    """One question: may something happen on this pool, under this policy, at this instant."""

    policy: Policy
    facts: PoolFacts
    atlas: Atlas
    instant: datetime
    services: frozenset[Service]
    """What the pool does in this act, and so what certificates have to cover."""


Check = Callable[[Case], Iterator[FacetRefusal]]


def policy_in_force(case: Case) -> Iterator[FacetRefusal]:
    """Past its own end a policy denies everything."""
    return expired_policy(case.policy, case.instant)


def facts_in_force(case: Case) -> Iterator[FacetRefusal]:
    """Expired facts prove nothing, so nothing may rest on them."""
    until = case.facts.valid_until
    if case.instant >= until:
        yield FacetRefusal(
            "facts",
            f"facts in force at {print_instant(case.instant)}",
            f"expired {print_instant(until)}",
            f"the facts about {case.facts.pool} expired {print_instant(until)}; its provider has to confirm them",
        )


def process_in_place(case: Case) -> Iterator[FacetRefusal]:
    """Computation happens in the region's territory."""
    return _outside(case, "process", {case.facts.territory: f"{case.facts.pool} computes"}, _runners(case.facts))


def store_in_place(case: Case) -> Iterator[FacetRefusal]:
    """Bytes and logs rest at the region's store and log endpoints; logs carry content."""
    return _endpoints_outside(case, "store", (EndpointKind.STORE, EndpointKind.LOG))


def bytes_in_place(case: Case) -> Iterator[FacetRefusal]:
    """Bytes rest at the region's store endpoints."""
    return _endpoints_outside(case, "store", (EndpointKind.STORE,))


def key_in_place(case: Case) -> Iterator[FacetRefusal]:
    """Keys rest at the region's key endpoints."""
    return _endpoints_outside(case, "key", (EndpointKind.KEY,))


def describe_in_place(case: Case) -> Iterator[FacetRefusal]:
    """The region learns names, command and states of what it runs or keeps."""
    learns = {case.facts.territory: f"{case.facts.region} learns the description"}
    return _outside(case, "describe", learns, _runners(case.facts))


def access_in_place(case: Case) -> Iterator[FacetRefusal]:
    """People with privileged access sit somewhere; so does whoever owns the building."""
    facts = case.facts
    if case.policy.access is None:
        return
    if not facts.access_territories:
        yield _unknown(case, "access", f"from where people reach {facts.pool}")
    else:
        reached = dict.fromkeys(facts.access_territories, "people have access")
        yield from _outside(case, "access", reached, facts.operators())
    host = facts.entities.get(facts.building_owner)
    if host is None or host.seat is None:
        yield _unknown(case, "access", f"the seat of {facts.building_owner}, whose building it is")
    else:
        yield from _outside(case, "access", {host.seat: f"{host.name}, who owns the building, sits"}, (host.name,))


def not_exposed(case: Case) -> Iterator[FacetRefusal]:
    """No forbidden state may be able to compel provider, operator or whoever runs an endpoint."""
    if not case.policy.forbid_exposure:
        return iter(())
    return exposed(case.policy, pool_exposures(case.facts), case.atlas)


def certified(case: Case) -> Iterator[FacetRefusal]:
    """Each certificate asked for is held at its level or above, in force, for all services used."""
    for name, level in sorted(case.policy.certifications or ()):
        scheme = case.atlas.schemes.get(name)
        held = [one for one in case.facts.certifications if one.scheme == name]
        if any(
            scheme is not None and scheme.satisfies(one.level, level) and one.covers(case.services, case.instant)
            for one in held
        ):
            continue
        have = ", ".join(
            f"{one.level} for {'+'.join(sorted(one.scope))} until {print_instant(one.valid_until)}" for one in held
        )
        services = " and ".join(sorted(case.services))
        yield FacetRefusal(
            "certifications",
            f"{name} {level} for {services}",
            have or "none",
            f"{case.facts.pool} has no valid {name} {level} for {services}; it has {have or 'none'}",
        )


def sealed(case: Case) -> Iterator[FacetRefusal]:
    """Each SEAL objective reaches its floor; floors are never averaged."""
    want, have = case.policy.seal_min, case.facts.seal
    if want is None or not any(want):
        return
    if have is None:
        yield _unknown(case, "seal_min", f"the SEAL levels of {case.facts.pool}", want=str(list(want)))
    elif short := [place for place, pair in enumerate(zip(want, have, strict=True), start=1) if pair[1] < pair[0]]:
        objectives = ", ".join(f"SOV-{place}" for place in short)
        yield FacetRefusal(
            "seal_min", str(list(want)), str(list(have)), f"{case.facts.pool} is below the SEAL floor in {objectives}"
        )


def owned_at_home(case: Case) -> Iterator[FacetRefusal]:
    """Owners from outside a group hold no more than the limit, alone and together."""
    for limit in sorted(case.policy.ownership_max or ()):
        for operator in case.facts.operators():
            yield from _owned(case, limit, operator)


def encrypted(case: Case) -> Iterator[FacetRefusal]:
    """Data at rest is encrypted as strongly as asked."""
    return _at_least(case, "encryption", case.policy.encryption, case.facts.encryption)


def shielded(case: Case) -> Iterator[FacetRefusal]:
    """Data in use is shielded as strongly as asked."""
    return _at_least(case, "compute", case.policy.compute, case.facts.compute)


def located(case: Case) -> Iterator[FacetRefusal]:
    """The pool's place is proved as well as asked."""
    return _at_least(case, "evidence", case.policy.evidence, case.facts.evidence)


def kept_apart(case: Case) -> Iterator[FacetRefusal]:
    """Other tenants are kept as far away as asked, by something that is enforced."""
    return _at_least(case, "tenancy", case.policy.tenancy, max(enforced_tenancy(case.facts), default=None))


def egress_guarded(case: Case) -> Iterator[FacetRefusal]:
    """A list of endpoints is worth what the executor enforces."""
    allowed = case.policy.egress
    if isinstance(allowed, frozenset) and "egress" not in case.facts.enforces:
        reachable = f"only {listed(allowed)}" if allowed else "nothing"
        yield FacetRefusal(
            "egress",
            f"{reachable} reachable, enforced",
            "not enforced",
            f"{case.facts.pool} cannot enforce that jobs reach {reachable}; "
            f"the owner of the data may state `egress: {UNENFORCED}` to accept that",
        )


@lru_cache(maxsize=POOLS_REMEMBERED)
def pool_exposures(facts: PoolFacts) -> Mapping[str, Exposure]:
    """Return the exposure of each of the pool's operators; worked out once for each version of the facts."""
    return MappingProxyType({name: exposure(name, facts.entities) for name in facts.operators()})


def enforced_tenancy(facts: PoolFacts) -> frozenset[Tenancy]:
    """Return the tenancy levels that count: a pool that cannot isolate tenants offers at most itself to one alone."""
    if "isolation" in facts.enforces:
        return facts.tenancy
    return facts.tenancy & {Tenancy.SINGLE}


def expired_policy(policy: Policy, instant: datetime) -> Iterator[FacetRefusal]:
    """Yield a refusal when the policy's own end has come."""
    until = policy.valid_until
    if until is not None and instant >= until:
        yield FacetRefusal(
            "valid_until",
            f"an act before {print_instant(until)}",
            print_instant(instant),
            f"the policy ended {print_instant(until)}; its owner has to renew it",
        )


def exposed(policy: Policy, exposures: Mapping[str, Exposure], atlas: Atlas) -> Iterator[FacetRefusal]:
    """Yield a refusal for each of the named entities that a forbidden state may compel."""
    if not policy.forbid_exposure:
        return
    want = f"no exposure to {listed(policy.forbid_exposure)}"
    forbidden = forbidden_territories(policy.forbid_exposure, atlas)
    for name, found in exposures.items():
        reached = sorted(found.territories & forbidden)
        if reached:
            because = "; ".join(f"{territory}: {found.because[territory]}" for territory in reached)
            yield FacetRefusal(
                "forbid_exposure", want, f"{name} exposed to {listed(reached)}", f"{name} can be compelled ({because})"
            )
        elif why := "; ".join([*found.unknown, *_unplaced(found, atlas)]):
            yield FacetRefusal(
                "forbid_exposure",
                want,
                f"exposure of {name} unknown",
                f"it is not known who can compel {name} ({why}), and what is unknown is denied",
            )


def _unplaced(found: Exposure, atlas: Atlas) -> list[str]:
    """Return sentences for what the atlas does not know: such a territory may depend on any state."""
    strange = sorted(one for one in found.territories if not atlas.is_territory(one))
    return [f"{one} is no territory of atlas {atlas.version}: {found.because[one]}" for one in strange]


def _runners(facts: PoolFacts) -> tuple[str, ...]:
    """Return who receives what is computed in a region: who brings the machines and who runs the building's floor."""
    return facts.provider, facts.operator


def _outside(case: Case, facet: str, used: Mapping[str, str], who: Iterable[str]) -> Iterator[FacetRefusal]:
    """Yield a refusal for each territory outside; `who` are the entities that run what is there."""
    expression = case.policy.places(facet)
    if expression is None:
        return
    allowed = expression.expand(case.atlas, case.instant)
    for territory in sorted(used.keys() - allowed):
        recipients = [case.facts.entities.get(name) for name in who]
        if not adequacy.allows(expression, territory, recipients, case.atlas, case.instant):
            hint = adequacy.advice(expression, territory, case.atlas, case.instant)
            message = f"{used[territory]} in {territory}; {facet} allows {expression}{hint}"
            yield FacetRefusal(facet, str(expression), territory, message)


def _endpoints_outside(case: Case, facet: str, kinds: tuple[EndpointKind, ...]) -> Iterator[FacetRefusal]:
    if case.policy.places(facet) is None:
        return
    for kind in kinds:
        endpoints = case.facts.endpoints_of(kind)
        if not endpoints:
            yield _unknown(case, facet, f"the {kind} endpoint of {case.facts.pool}")
        for territory in sorted({one.territory for one in endpoints}):
            who = [one.operator for one in endpoints if one.territory == territory]
            yield from _outside(case, facet, {territory: f"the {kind} endpoint is"}, who)


def _unknown(case: Case, facet: str, what: str, want: str = "") -> FacetRefusal:
    return FacetRefusal(
        facet,
        want or str(case.policy.places(facet)),
        NOT_RECORDED,
        f"{what} is not recorded, and what is unknown is denied",
    )


def _at_least(case: Case, facet: str, want: Level | None, have: Level | None) -> Iterator[FacetRefusal]:
    # The weakest level asks nothing, so it needs no fact.
    if not want or (have is not None and have >= want):
        return
    offered = have.word if have is not None else NOT_RECORDED
    yield FacetRefusal(
        facet, want.word, offered, f"{facet} must be {want.word} or stronger; {case.facts.pool} has: {offered}"
    )


def _owned(case: Case, limit: OwnershipLimit, operator: str) -> Iterator[FacetRefusal]:
    home = case.atlas.group(limit.group, case.instant) or frozenset([limit.group])
    want = f"outside {limit.group} at most {limit.single} % each, {limit.collective} % together"
    try:
        single, together = foreign_shares(operator, case.facts.entities, is_home=home.__contains__)
    except UnsettledError:
        yield _unknown(case, "ownership_max", f"who owns {operator}", want)
        return
    if single > limit.single * PERCENT or together > limit.collective * PERCENT:
        have = f"{single / PERCENT:g} % and {together / PERCENT:g} %"
        yield FacetRefusal(
            "ownership_max",
            want,
            f"{operator}: {have}",
            f"owners of {operator} from outside {limit.group}, unrecorded ones included, hold up to {have}",
        )
