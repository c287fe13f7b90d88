"""The sample world is judged as the head of its file, the tutorial and the demo say."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from nordan_cli import jobfile
from nordan_core.atlas.loader import default_atlas
from nordan_core.facts import FactsBook, build_facts
from nordan_core.residency.judge import judge, judge_control_plane
from nordan_core.residency.layers import Effective, Layer, LayerKind, effective
from nordan_core.residency.policy import parse_policy
from nordan_core.world import parse_world
from nordan_core.world_facts import state_of
from support.pages import ROOT

NOW = datetime(2026, 11, 22, tzinfo=UTC)
ATLAS = default_atlas()
PATIENTS = {"class": "restricted", "residency": ["FR", "SE"], "forbid_exposure": ["US"], "egress": "unenforced"}


@pytest.fixture(scope="module")
def europe() -> FactsBook:
    documents = parse_world(list(jobfile.load_all(ROOT / "deploy" / "world" / "europe.yaml")))
    return build_facts(state_of(documents), ATLAS, epoch=1)


def of_data(policy: Mapping[str, object]) -> Effective:
    return effective([Layer(LayerKind.INPUT, "patients", parse_policy(policy, ATLAS))], has_content=True)


def of_floor(policy: Mapping[str, object]) -> Effective:
    return effective([Layer(LayerKind.PROJECT, "swedish", parse_policy(policy, ATLAS))], has_content=False)


def allowed_regions(of: Effective, book: FactsBook) -> set[str]:
    return {pool.region for pool in book.pools if not judge(of, pool, ATLAS, NOW).refusals}


def test_the_patients_may_be_in_bruyeres_and_borlange_only(europe: FactsBook) -> None:
    assert allowed_regions(of_data(PATIENTS), europe) == {"fr-bru-1", "se-bor-1"}


@pytest.mark.parametrize("region", ["no-nar-1", "de-fra-1"])
def test_the_others_are_refused_for_their_place_and_their_owner(europe: FactsBook, region: str) -> None:
    (pool,) = [pool for pool in europe.pools if pool.region == region]
    facets = {refusal.facet for refusal in judge(of_data(PATIENTS), pool, ATLAS, NOW).refusals}
    assert {"process", "forbid_exposure"} <= facets


def test_the_minority_shareholder_exposes_nobody(europe: FactsBook) -> None:
    assert not judge_control_plane(of_data(PATIENTS), europe.control_plane, ATLAS, NOW).refusals


def test_owners_who_stay_silent_on_egress_are_refused_everywhere(europe: FactsBook) -> None:
    silent = {facet: value for facet, value in PATIENTS.items() if facet != "egress"}
    assert allowed_regions(of_data(silent), europe) == set()


def test_a_project_described_in_sweden_alone_cannot_use_this_control_plane(europe: FactsBook) -> None:
    alone = of_floor({"class": "internal", "residency": ["SE"]})
    assert judge_control_plane(alone, europe.control_plane, ATLAS, NOW).refusals


def test_the_five_line_form_for_sweden_runs_in_borlange(europe: FactsBook) -> None:
    inside: dict[str, object] = {facet: ["SE"] for facet in ("process", "store", "key")}
    seen = {facet: ["SE", "FR"] for facet in ("describe", "access")}
    swedish = of_floor({"class": "internal", **inside, **seen})
    assert not judge_control_plane(swedish, europe.control_plane, ATLAS, NOW).refusals
    assert allowed_regions(swedish, europe) == {"se-bor-1"}
