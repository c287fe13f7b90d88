"""The core and a second judge that was written from the documents give the same answers.

A few thousand cases here; `make agree` runs a million. What the two once read differently has a test by name below.
"""

from __future__ import annotations

import ast
import json
from datetime import UTC, datetime
from pathlib import Path

from nordan_core.atlas.loader import default_atlas_bytes
from nordan_core.residency.atlas import parse_atlas
from nordan_core.residency.entities import Entity, Ownership
from nordan_core.residency.exposure import exposure
from nordan_core.residency.facts import Certification, Service, facts_document
from nordan_core.residency.judge import judge, judge_storage
from support import second_judge
from support.agreement import ACTS, ASKED, Tally, compare, show
from support.residency import ATLAS, FAR, NOW, a_pool, as_owner, by_name

MOST_LINES = 300


def test_the_core_and_the_second_judge_agree() -> None:
    tally = Tally()
    for _ in compare(20261129, 6_000, tally, per_world=20):
        pass
    assert not tally.disagreements, tally.disagreements[0]
    for act in ACTS:
        assert tally.seen[act, "all", "met"] >= 20, show(tally)
        assert tally.seen[act, "all", "failed"] >= 20, show(tally)
    for act, facets in ASKED.items():
        for facet in facets - {"class", "non_derogable"}:
            assert tally.seen[act, facet, "met"] >= 8, (act, facet, show(tally))
            assert tally.seen[act, facet, "failed"] >= 8, (act, facet, show(tally))
    assert tally.seen["until", "all", "met"] >= 500


def test_the_second_judge_shares_nothing_with_the_core_and_stays_small() -> None:
    source = Path(second_judge.__file__).read_text(encoding="utf-8")
    imported = {node.module for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)}
    assert not [module for module in imported if module and module.startswith(("nordan", "support"))]
    assert not [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import)]
    assert len(source.splitlines()) <= MOST_LINES


def test_a_territory_that_the_atlas_does_not_know_may_belong_to_any_state() -> None:
    """Both judges deny it wherever anything is forbidden, and neither of them where nothing is."""
    document = json.loads(default_atlas_bytes())
    document["territories"].pop("GU")
    atlas = parse_atlas(json.dumps(document).encode())
    entities = by_name(Entity("auvergne-calcul", "FR", frozenset(["GU"]), ()))
    second = second_judge.SecondJudge(second_judge.Atlas(document))
    pool = a_pool(entities=entities)
    facts = second_judge.Facts(facts_document(pool))
    for forbidden in (["CN"], ["US"], []):
        of = as_owner(forbid_exposure=forbidden)
        want = {"forbid_exposure"} if forbidden else set()
        assert judge(of, pool, atlas, NOW).failing == want
        assert second.runs(({"forbid_exposure": set(forbidden)}, set()), facts, NOW) == want


def test_a_level_that_asks_nothing_needs_no_fact() -> None:
    weakest = as_owner(encryption="none", compute="none", tenancy="shared", evidence="E0", seal_min=[0] * 8)
    unknown = a_pool(encryption=None, compute=None, tenancy=frozenset(), seal=None)
    assert judge(weakest, unknown, ATLAS, NOW).allowed
    for facet, value in {
        "encryption": "rest",
        "compute": "tee",
        "tenancy": "dedicated",
        "seal_min": [0] * 7 + [1],
    }.items():
        assert judge(as_owner(**{facet: value}), unknown, ATLAS, NOW).failing == {facet}


def test_a_pool_that_nobody_is_recorded_to_reach_is_not_one_that_nobody_reaches() -> None:
    verdict = judge(as_owner(access=["FR"]), a_pool(access_territories=frozenset()), ATLAS, NOW)
    assert verdict.failing == {"access"}


def test_one_certificate_has_to_cover_all_services_of_an_act() -> None:
    halves = tuple(Certification("c5", "type2", frozenset([service]), None, FAR) for service in Service)
    asked = as_owner(certifications={"c5": "type2"})
    assert judge(asked, a_pool(certifications=halves), ATLAS, NOW).failing == {"certifications"}
    assert judge_storage(asked, a_pool(certifications=halves), ATLAS, NOW).allowed


def test_companies_that_hold_more_than_half_of_each_other_have_nobody_on_record_at_the_top() -> None:
    def exposed(loop: int) -> bool:
        person = Entity("person", "FR", frozenset(), ())
        pair = [
            Entity(one, "FR", frozenset(), (Ownership(other, loop, loop), Ownership("person", 100 - loop, 100 - loop)))
            for one, other in (("op", "twin"), ("twin", "op"))
        ]
        return exposure("op", by_name(person, *pair)).is_unknown

    assert exposed(51)
    assert not exposed(50)


def test_an_instant_is_read_the_same_with_and_without_a_time() -> None:
    assert second_judge.instant("2027-03-01") == datetime(2027, 3, 1, tzinfo=UTC)
