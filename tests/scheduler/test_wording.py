"""The engine is told what the judge says: once for what policies have in common, again only where it has changed."""

from __future__ import annotations

from datetime import timedelta

import pytest

from nordan_core.domain.ids import PoolName
from nordan_core.domain.reasons import Reason
from nordan_core.facts import FactsBook, SharedMasks
from nordan_core.residency import masks
from nordan_core.residency.entities import Entity
from nordan_core.residency.facts import ControlPlaneFacts, PoolFacts
from nordan_core.residency.judge import judge, line_verdict
from nordan_core.residency.verdicts import Verdict
from nordan_scheduler.wording import Wording
from support.residency import ATLAS, NOW, a_german_pool, a_pool, a_swedish_pool, as_owner

POOLS = (a_pool(), a_german_pool(), a_swedish_pool())
HOME = ControlPlaneFacts(
    territory="FR", operator="caisse", entities={"caisse": Entity("caisse", "FR", frozenset(), ())}
)
POLICY = as_owner(process=["FR", "SE"], evidence="E4", describe=["FR", "SE"])


def book(epoch: int = 1, pools: tuple[PoolFacts, ...] = POOLS, shared: SharedMasks | None = None) -> FactsBook:
    return FactsBook(epoch, ATLAS, pools, HOME, {}, {}, "cp", masks=shared or SharedMasks())


def test_pools_and_reasons_are_those_of_the_judge() -> None:
    said = Wording().residency(POLICY, book(), NOW)
    verdicts = {PoolName(facts.pool): judge(POLICY, facts, ATLAS, NOW) for facts in POOLS}
    assert said.allowed == {pool for pool, verdict in verdicts.items() if verdict.allowed}
    assert set(said.refusals) == set(verdicts) - said.allowed
    assert len(said.refusals) == len(list(said.refusals))
    for pool, refusals in said.refusals.items():
        told = [(one.facet, one.want, one.have) for one in verdicts[pool].refusals]
        assert [(one.facet, one.want, one.have) for one in refusals] == told
        assert {one.code for one in refusals} == {Reason.RESIDENCY_UNSATISFIABLE}
    for pool in (*said.allowed, PoolName("nowhere")):
        assert pool not in said.refusals
    assert said.facts == {facts.pool: facts.digest for facts in POOLS}


def test_a_control_plane_outside_describe_closes_every_pool() -> None:
    said = Wording().residency(as_owner(describe=["SE"]), book(), NOW)
    assert said.allowed == frozenset()
    assert {one.code for refused in said.refusals.values() for one in refused} == {
        Reason.CONTROL_PLANE_OUTSIDE_DESCRIBE
    }
    assert set(said.refusals) == {facts.pool for facts in POOLS}


def test_policies_that_let_the_same_pools_through_share_them() -> None:
    wording, seen = Wording(), book()
    one, other = (wording.residency(as_owner(process=["FR"], evidence=level), seen, NOW) for level in ("E1", "E2"))
    assert one.allowed is other.allowed
    assert one.facts is other.facts


def test_a_step_of_the_epoch_that_changes_nothing_asks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def recording(facet: str, *given: object) -> Verdict:
        asked.append(facet)
        return line_verdict(facet, *given)  # type: ignore[arg-type]  # handed through

    monkeypatch.setattr(masks, "line_verdict", recording)
    wording, shared = Wording(), SharedMasks()
    first = wording.residency(POLICY, book(1, POOLS, shared), NOW)
    del asked[:]
    again = wording.residency(POLICY, book(2, tuple(POOLS), shared), NOW)
    assert asked == []
    assert (again.allowed, again.epoch, first.epoch) == (first.allowed, 2, 1)
    moved = (a_pool(territory="DE", facts_version=2), *POOLS[1:])
    assert wording.residency(POLICY, book(3, moved, shared), NOW).allowed == {"se-bor-1-h200"}
    assert asked != []


def test_what_was_said_of_describing_ends_with_the_policy() -> None:
    wording, seen = Wording(), book()
    ends = NOW + timedelta(hours=1)
    policy = as_owner(process=["FR"], valid_until=ends.isoformat())
    assert wording.residency(policy, seen, NOW).good_until == ends
    over = wording.residency(policy, seen, ends)
    assert over.allowed == frozenset()
    assert {one.code for refused in over.refusals.values() for one in refused} == {
        Reason.CONTROL_PLANE_OUTSIDE_DESCRIBE
    }


def test_other_pools_are_told_by_their_own_names() -> None:
    wording = Wording()
    assert wording.residency(POLICY, book(), NOW).allowed == {"fr-bru-1-h100", "se-bor-1-h200"}
    renamed = (a_pool(pool="fr-bru-1-b200"), *POOLS[1:])
    assert wording.residency(POLICY, book(2, renamed), NOW).allowed == {"fr-bru-1-b200", "se-bor-1-h200"}
