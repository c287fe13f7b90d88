"""The judge's word on a job with its derogations: each pool by as few as will do, and asked for once while it holds."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from nordan_core.domain.ids import PoolName
from nordan_core.domain.queueing import QueuedJob, Residency
from nordan_core.facts import FactsBook
from nordan_core.residency.derogations import Covering
from nordan_core.residency.effective_text import effective_document
from nordan_core.residency.entities import Entity
from nordan_core.residency.facets import PLACE_FACETS
from nordan_core.residency.facts import ControlPlaneFacts
from nordan_core.residency.widening import derogated
from nordan_scheduler.law import Law
from nordan_scheduler.wording import Wording
from support.derogations import a_derogation
from support.queueing import a_job
from support.residency import ATLAS, NOW, a_layer, a_pool, a_swedish_pool, in_force

POOLS = (a_pool(territory="DE"), a_swedish_pool())
FRENCH, SWEDISH = (PoolName(one.pool) for one in POOLS)
HOME = ControlPlaneFacts(
    territory="FR", operator="caisse", entities={"caisse": Entity("caisse", "FR", frozenset(), ())}
)
POLICY = in_force(
    a_layer(
        "project",
        "default",
        **{
            **{facet: ["FR", "SE", "DE"] for facet in PLACE_FACETS},
            "class_": "internal",
            "process": ["FR"],
            "certifications": {"hds": "v2"},
        },
    )
)


BOOKS = {epoch: FactsBook(epoch, ATLAS, POOLS, HOME, {}, {}, "cp") for epoch in (1, 2)}


def _covering(name: str, **changes: Any) -> Covering:
    return Covering(a_derogation(id=f"drg_{name}", **changes), None)


CERTIFIED = {"facet": "certifications", "to": {"c5": "type1"}}
GERMAN, SWEDE, PROVEN = _covering("a", to=["DE"]), _covering("b", to=["SE"]), _covering("c", **CERTIFIED)
NEEDLESS = tuple(_covering(f"n{number}", facet="evidence", to="E0") for number in range(5))


class _Asked:
    """A law that counts what it asks about."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *covered: Covering) -> None:
        self.law = Law(ATLAS)
        self.law.learn({POLICY.digest: effective_document(POLICY)})
        self.count = 0
        self.job: QueuedJob = replace(a_job(), policy_digest=POLICY.digest, derogations=self.law.cover(covered))
        say = Wording.residency

        def counted(wording: Wording, *given: Any) -> Residency:
            self.count += 1
            return say(wording, *given)

        monkeypatch.setattr(Wording, "residency", counted)

    def say(self, epoch: int = 1, now: datetime = NOW) -> Residency:
        return self.law.residency(self.job, BOOKS[epoch], now)


@pytest.mark.parametrize("needless", [(), NEEDLESS], ids=["of three", "of eight"])
def test_each_pool_is_let_in_by_no_more_than_it_needs(
    monkeypatch: pytest.MonkeyPatch, needless: tuple[Covering, ...]
) -> None:
    """Of many as of few; what was only tried is not kept among the policies."""
    asked = _Asked(monkeypatch, GERMAN, SWEDE, PROVEN, *needless)
    said = asked.say()
    assert said.allowed == {FRENCH, SWEDISH}
    assert {pool: by.ids for pool, by in said.derogated.items()} == {
        FRENCH: ("drg_a", "drg_c"),
        SWEDISH: ("drg_b", "drg_c"),
    }
    assert dict(said.refusals) == {}
    for by in said.derogated.values():
        assert asked.law.documents(by.policies).keys() == set(by.policies)
    tried = [derogated(POLICY, some).digest for some in ((GERMAN,), (PROVEN,), (GERMAN, SWEDE, PROVEN, *needless))]
    assert asked.law.documents(tried) == {}


def test_an_answer_is_kept_for_as_long_as_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until law moves, or a derogation or anything else that was asked about comes to its end."""
    asked = _Asked(monkeypatch, GERMAN, PROVEN)
    first, count = asked.say(), asked.count
    assert first.good_until is not None
    assert asked.say(now=first.good_until - timedelta(seconds=1)) is first
    assert asked.count == count
    asked.say(epoch=2)
    assert asked.count > count
    after = asked.say(epoch=2, now=first.good_until)
    assert [set(one.allowed) for one in (first, after)] == [{FRENCH}, set()]


def test_with_other_derogations_the_answer_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is used up is not among a job's any more."""
    asked = _Asked(monkeypatch, GERMAN, PROVEN)
    assert asked.say().allowed == {FRENCH}
    asked.job = replace(asked.job, derogations=asked.job.derogations[:1])
    assert asked.say().allowed == frozenset()
    asked.job = replace(asked.job, derogations=())
    assert (asked.say().allowed, asked.say().derogated) == (frozenset(), {})


def test_where_none_help_it_is_as_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no combination is tried."""
    asked = _Asked(monkeypatch, *NEEDLESS)
    said = asked.say()
    assert (said.allowed, said.derogated, set(said.refusals)) == (frozenset(), {}, {FRENCH, SWEDISH})
    assert asked.count == 2
    assert said.good_until == NEEDLESS[0].derogation.not_after
