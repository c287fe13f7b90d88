"""What each check says when it refuses: the facet, what was wanted, what there is, and a sentence with both."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nordan_core.residency import ownership as ownership_module
from nordan_core.residency.entities import Ownership
from nordan_core.residency.facts import Certification, PoolFacts, Service
from nordan_core.residency.judge import judge_reader, permits
from nordan_core.residency.levels import Tenancy
from support.residency import (
    ATLAS,
    ENTITIES,
    FAMILY,
    FAR,
    NOW,
    OPERATOR,
    US_PARENT,
    a_german_pool,
    a_policy,
    a_pool,
    as_owner,
    by_name,
)

UNSEATED = {**ENTITIES, "auvergne-calcul": replace(OPERATOR, seat=None)}
DENIED = "is not recorded, and what is unknown is denied"

#: Facets, changes of the pool, then what is wanted, what there is, and the sentence.
SAID: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[str, str, str]]] = {
    "the seat of the building's owner is not known": (
        {"access": ["FR"]},
        {"entities": UNSEATED},
        ("[FR]", "not recorded", f"the seat of auvergne-calcul, whose building it is {DENIED}"),
    ),
    "nobody knows who has access": (
        {"access": ["FR"]},
        {"access_territories": None},
        ("[FR]", "not recorded", f"from where people reach fr-bru-1-h100 {DENIED}"),
    ),
    "an endpoint is not known": (
        {"key": ["FR", "SE"]},
        {"endpoints": a_pool().endpoints[:2]},
        ("[FR, SE]", "not recorded", f"the key endpoint of fr-bru-1-h100 {DENIED}"),
    ),
    "there is no certificate": (
        {"certifications": {"c5": "type2"}},
        {"certifications": ()},
        (
            "c5 type2 for compute and storage",
            "none",
            "fr-bru-1-h100 has no valid c5 type2 for compute and storage; it has none",
        ),
    ),
    "there is a lesser certificate": (
        {"certifications": {"c5": "type2"}},
        {"certifications": (Certification("c5", "type1", frozenset(Service), None, FAR),)},
        (
            "c5 type2 for compute and storage",
            "type1 for compute+keys+storage until 2030-01-01T00:00:00Z",
            "fr-bru-1-h100 has no valid c5 type2 for compute and storage; "
            "it has type1 for compute+keys+storage until 2030-01-01T00:00:00Z",
        ),
    ),
    "SEAL levels are too low": (
        {"seal_min": [4, 0, 2, 0, 0, 0, 0, 4]},
        {"seal": (4, 0, 1, 0, 0, 0, 0, 3)},
        (
            "[4, 0, 2, 0, 0, 0, 0, 4]",
            "[4, 0, 1, 0, 0, 0, 0, 3]",
            "fr-bru-1-h100 is below the SEAL floor in SOV-3, SOV-8",
        ),
    ),
    "SEAL levels are not known": (
        {"seal_min": [1, 0, 0, 0, 0, 0, 0, 0]},
        {"seal": None},
        ("[1, 0, 0, 0, 0, 0, 0, 0]", "not recorded", f"the SEAL levels of fr-bru-1-h100 {DENIED}"),
    ),
    "a list of endpoints cannot be enforced": (
        {"egress": ["hub"]},
        {"enforces": frozenset(["isolation"])},
        (
            "only [hub] reachable, enforced",
            "not enforced",
            "fr-bru-1-h100 cannot enforce that jobs reach only [hub]; "
            "the owner of the data may state `egress: unenforced` to accept that",
        ),
    ),
    "that nothing is reached cannot be enforced": (
        {"egress": []},
        {"enforces": frozenset(["isolation"])},
        (
            "nothing reachable, enforced",
            "not enforced",
            "fr-bru-1-h100 cannot enforce that jobs reach nothing; "
            "the owner of the data may state `egress: unenforced` to accept that",
        ),
    ),
    "neighbours are too near": (
        {"tenancy": "single"},
        {"tenancy": frozenset([Tenancy.SHARED, Tenancy.DEDICATED])},
        ("single", "dedicated", "tenancy must be single or stronger; fr-bru-1-h100 has: dedicated"),
    ),
    "encryption is not known": (
        {"encryption": "rest"},
        {"encryption": None},
        ("rest", "not recorded", "encryption must be rest or stronger; fr-bru-1-h100 has: not recorded"),
    ),
    "the facts have expired": (
        {},
        {"valid_until": NOW},
        (
            "facts in force at 2026-11-22T09:30:00Z",
            "expired 2026-11-22T09:30:00Z",
            "the facts about fr-bru-1-h100 expired 2026-11-22T09:30:00Z; its provider has to confirm them",
        ),
    ),
    "the policy has ended": (
        {"valid_until": "2026-11-22T09:30:00Z"},
        {},
        (
            "an act before 2026-11-22T09:30:00Z",
            "2026-11-22T09:30:00Z",
            "the policy ended 2026-11-22T09:30:00Z; its owner has to renew it",
        ),
    ),
    "it computes elsewhere": (
        {"process": ["SE"]},
        {},
        ("[SE]", "FR", "fr-bru-1-h100 computes in FR; process allows [SE]"),
    ),
}


@pytest.mark.parametrize(("facets", "changes", "said"), SAID.values(), ids=SAID)
def test_a_refusal_says(facets: dict[str, Any], changes: dict[str, Any], said: tuple[str, str, str]) -> None:
    (refusal,) = permits(a_policy(**facets), a_pool(**changes), ATLAS, NOW).refusals
    assert (refusal.want, refusal.have, refusal.message) == said


def ownership(pool: PoolFacts, **limits: int) -> list[tuple[str, str, str]]:
    refusals = permits(a_policy(ownership_max={"EU": limits}), pool, ATLAS, NOW).refusals
    return [(refusal.want, refusal.have, refusal.message) for refusal in refusals]


def test_a_share_from_outside_is_named_in_per_cent_with_both_limits() -> None:
    assert ownership(a_pool(), single=12, collective=39) == []
    assert ownership(a_pool(), single=11, collective=39) == [
        (
            "outside EU at most 11 % each, 39 % together",
            "auvergne-calcul: 12 % and 12 %",
            "owners of auvergne-calcul from outside EU, unrecorded ones included, hold up to 12 % and 12 %",
        )
    ]
    assert len(ownership(a_pool(), single=39, collective=11)) == 1
    assert ownership(a_pool(), single=12, collective=12) == []


def test_owners_may_have_to_sit_in_one_state() -> None:
    at_home = a_pool(entities=by_name(replace(OPERATOR, owners=(Ownership("famille-marchand", 100, 100),)), FAMILY))
    for state, allowed in (("FR", True), ("SE", False)):
        policy = a_policy(ownership_max={state: {"single": 24}})
        assert permits(policy, at_home, ATLAS, NOW).allowed is allowed
    policy = a_policy(ownership_max={"FR": {"single": 24}})
    assert permits(policy, a_pool(), ATLAS, NOW).allowed
    assert not permits(a_policy(ownership_max={"FR": {"single": 11}}), a_pool(), ATLAS, NOW).allowed


def test_owners_whose_shares_do_not_settle_are_unknown_and_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership_module, "MOST_IN_A_LOOP", 0)
    (refusal,) = permits(a_policy(ownership_max={"EU": {"single": 100}}), a_pool(), ATLAS, NOW).refusals
    assert (refusal.facet, refusal.have) == ("ownership_max", "not recorded")
    assert refusal.want == "outside EU at most 100 % each, 100 % together"
    assert refusal.message == f"who owns auvergne-calcul {DENIED}"
    # Another operator, whose exposure is not remembered.
    pool = a_pool(pool="fr-bru-1-a100")
    (refusal,) = permits(a_policy(forbid_exposure=["CN"]), pool, ATLAS, NOW).refusals
    assert refusal.have == "exposure of auvergne-calcul unknown"
    assert "form loops that cannot be resolved" in refusal.message


def test_who_can_be_compelled_is_named_with_the_reason() -> None:
    (refusal,) = permits(a_policy(forbid_exposure=["US", "CN"]), a_german_pool(), ATLAS, NOW).refusals
    assert (refusal.want, refusal.have, refusal.message) == (
        "no exposure to [CN, US]",
        "mainkai exposed to [US]",
        "mainkai can be compelled (US: larkspur, which controls mainkai, has its seat there)",
    )
    unknown = {**ENTITIES, "larkspur": replace(US_PARENT, seat=None, presences=None)}
    (refusal,) = permits(a_policy(forbid_exposure=["CN"]), a_german_pool(entities=unknown), ATLAS, NOW).refusals
    assert (refusal.want, refusal.have) == ("no exposure to [CN]", "exposure of mainkai unknown")
    assert refusal.message == (
        "it is not known who can compel mainkai (the seat of larkspur is not recorded), and what is unknown is denied"
    )


def test_a_territory_that_the_atlas_does_not_know_may_belong_to_any_state() -> None:
    entities = {**ENTITIES, "auvergne-calcul": replace(OPERATOR, presences=frozenset(["SE", "QQ"]))}
    (refusal,) = permits(a_policy(forbid_exposure=["CN"]), a_pool(entities=entities), ATLAS, NOW).refusals
    assert (refusal.want, refusal.have) == ("no exposure to [CN]", "exposure of auvergne-calcul unknown")
    assert f"QQ is no territory of atlas {ATLAS.version}: auvergne-calcul is present there" in refusal.message
    assert permits(a_policy(), a_pool(entities=entities), ATLAS, NOW).allowed


def test_a_reader_whose_territory_is_not_on_record_is_told_what_to_record() -> None:
    of = as_owner(class_="confidential", access=["FR"])
    assert [one.want for one in judge_reader(of, None, ATLAS, NOW).refusals] == ["[FR]"]
    unstated = replace(of, policy=a_policy(class_="confidential"), missing=())
    (refusal,) = judge_reader(unstated, None, ATLAS, NOW).refusals
    assert (refusal.want, refusal.have) == ("a territory on record", "not recorded")
    assert judge_reader(replace(unstated, policy=a_policy(class_="internal")), None, ATLAS, NOW).allowed


def test_a_pool_that_isolates_has_no_gap_of_tenancy_whatever_it_offers() -> None:
    shared = a_pool(tenancy=frozenset([Tenancy.SHARED]))
    assert permits(a_policy(), shared, ATLAS, NOW).gaps == ()
    (gap,) = permits(a_policy(), replace(shared, enforces=frozenset(["egress"])), ATLAS, NOW).gaps
    assert gap.startswith("tenancy:")
