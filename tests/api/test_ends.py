"""A certification that ends while what was said about it is kept: it counts until that instant, and not from it on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from nordan_core.atlases import AtlasShelf
from nordan_core.facts import FactsCache
from nordan_scheduler import cycle as cycle_module
from nordan_scheduler.cycle import Cycle
from nordan_scheduler.engine.plan import plan
from nordan_scheduler.fencer import Fencer
from nordan_scheduler.load import Loader
from nordan_scheduler.metrics import Metrics
from support.lab import Lab
from support.region_side import manifest

DATA = manifest(a__csv="1")
#: What only the French pool of B200 has, and only until the end.
CERTIFIED: dict[str, Any] = {"resources": {"gpu": "B200:1"}, "policy": {"certifications": {"c5": "type2"}}}
MINUTE_S = 60.0


@pytest.fixture
def end(lab: Lab) -> datetime:
    """Certify one pool for one minute more."""
    end: datetime = lab.clock.now() + timedelta(seconds=MINUTE_S)
    pool = lab.one("select document from pool where name = 'fr-bru-1-b200'")
    held = {"scheme": "c5", "level": "type2", "scope": ["compute", "storage"], "valid_until": end.isoformat()}
    lab.apply({**pool, "certifications": [held]})
    return end


def until_just_before(lab: Lab) -> None:
    """Let all but the last millisecond of the minute pass."""
    lab.pass_time(MINUTE_S - 0.001)


def reach_the_end(lab: Lab, end: datetime) -> None:
    lab.pass_time(0.001)
    assert lab.clock.now() == end


def a_lasting_cycle(lab: Lab) -> Callable[[], int]:
    """Return a cycle that keeps its masks, as the running scheduler does."""
    loader = Loader(lab.context.store, lab.clock, FactsCache(AtlasShelf()))
    cycle = Cycle(lab.context.store, lab.clock, loader, wake_regions=lambda _: None, metrics=Metrics())
    return lambda: cycle.run(lab.epoch).placed


@pytest.mark.usefixtures("end")
def test_a_kept_mask_lets_through_until_the_instant_and_not_at_it(lab: Lab, end: datetime) -> None:
    """The same scheduler, with the mask that it took before."""
    placed = a_lasting_cycle(lab)
    lab.submit(**CERTIFIED)
    assert placed() == 1
    until_just_before(lab)
    lab.submit(**CERTIFIED)
    assert placed() == 1
    late = lab.submit(**CERTIFIED)
    reach_the_end(lab, end)
    assert placed() == 0
    assert {one["facet"] for one in lab.show(late)["why"]} >= {"certifications"}


def test_what_was_planned_before_is_not_applied_at_it(lab: Lab, end: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    """No epoch moves; the word that the plan was made on knows its own end."""
    placed = a_lasting_cycle(lab)
    lab.submit(**CERTIFIED)
    until_just_before(lab)

    def plan_and_wait(*args: Any, **more: Any) -> Any:
        decided = plan(*args, **more)
        assert len(decided.decisions) == 1
        reach_the_end(lab, end)
        return decided

    with monkeypatch.context() as patch:
        patch.setattr(cycle_module, "plan", plan_and_wait)
        assert placed() == 0
    assert lab.rows("select id from attempt") == []


def test_what_was_applied_before_is_not_redeemed_at_it(lab: Lab, end: datetime) -> None:
    """A millisecond earlier it is."""
    early, late = lab.place(**CERTIFIED), lab.place(**CERTIFIED)
    until_just_before(lab)
    (first, code), (second, _) = lab.grant_of(early), lab.grant_of(late)
    assert lab.region(code).redeem(first)["outcome"] == "granted"
    reach_the_end(lab, end)
    assert lab.region(code).redeem(second)["outcome"] == "refused"
    assert lab.show(late)["fence"]["refusals"][0]["facet"] == "certifications"


def test_what_runs_is_renewed_before_and_stopped_at_it(lab: Lab, end: datetime) -> None:
    """By the region's own word, though nothing has moved."""
    job, region, _ = lab.running(**CERTIFIED)
    until_just_before(lab)
    assert region.sync()["stop"] == []
    reach_the_end(lab, end)
    assert [one["reason"] for one in region.sync()["stop"]] == ["fenced"]
    assert lab.show(job)["message"].startswith("certifications: ")


def test_the_leaders_look_finds_it_at_that_instant_with_what_it_remembers(lab: Lab, end: datetime) -> None:
    """Running attempts and stored bytes alike; the region has not spoken."""
    fencer = Fencer(lab.context.store, lab.clock, FactsCache(AtlasShelf()), Metrics())
    job, _, _ = lab.running(**CERTIFIED)
    # A region's bytes may rest where the facts of one of its pools allow it, so the other pools must not be certified.
    artifact = lab.put("patients", "fr-bru-1", DATA, {"residency": ["EU"], "certifications": {"c5": "type2"}})
    fencer.step(lab.epoch)
    until_just_before(lab)
    fencer.step(lab.epoch)
    assert lab.show(job)["reason"] is None
    assert lab.rows("select artifact_id from location where fenced_at is not null") == []
    reach_the_end(lab, end)
    fencer.step(lab.epoch)
    assert lab.show(job)["message"].startswith("certifications: ")
    assert lab.rows("select artifact_id from location where fenced_at is not null") == [(artifact,)]
