from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pytest

from nordan_core.atlas.loader import default_atlas
from nordan_core.domain.ids import OrganisationId, ProjectId, RegionCode
from nordan_core.domain.reasons import Reason
from nordan_core.domain.states import AttemptResult, JobState
from nordan_core.store.leadership import NotLeader
from nordan_scheduler import cycle as cycle_module
from nordan_scheduler.engine.plan import Plan, plan
from nordan_scheduler.engine.snapshot import Snapshot
from support.cell import FR, Cell, lead, state_of
from support.scheduling import a_cycle


def test_a_waiting_job_gets_attempt_grant_lease_audit_entry_and_nudge_together(cell: Cell) -> None:
    [job] = cell.submit(gpus=3)
    woken: list[RegionCode] = []
    report = a_cycle(cell, woken).run(lead(cell.store))
    assert (report.waiting, report.placed, report.dropped) == (1, 1, 0)
    assert woken == [FR]
    assert state_of(cell, job) is JobState.STARTING
    [attempt] = cell.rows("select number, fence, pool, state, placement, verdicts -> 'apply' from attempt")
    assert attempt[:4] == (1, 1, "fr-h100", "placed")
    assert attempt[4] == [{"rank": 0, "node": attempt[4][0]["node"], "gpu_mask": 7, "gpus": 3}]
    assert attempt[5]["allowed"] is True
    assert attempt[5]["atlas"] == default_atlas().digest
    assert cell.rows("select state, ttl_s, region from attempt_grant") == [("issued", 900.0, FR)]
    assert cell.rows("select provider, gpus, price_micro_eur_per_gpu_h from lease") == [
        ("auvergne-calcul", 3, 2_500_000)
    ]
    assert cell.rows("select count(*) from outbox") == [(1,)]
    assert cell.rows("select count(*) from audit_entry where act = 'grant_issued'") == [(1,)]
    assert cell.free_gpus() == 29


def test_a_second_cycle_finds_nothing_to_do(cell: Cell) -> None:
    cell.submit(3)
    cycle, epoch = a_cycle(cell), lead(cell.store)
    assert cycle.run(epoch).placed == 3
    assert cycle.run(epoch).waiting == 0
    assert cell.rows("select count(*) from attempt") == [(3,)]


def test_jobs_that_find_no_room_say_why_and_start_when_room_is_given_back(cell: Cell) -> None:
    first, second = cell.submit(gpus=8, nodes=2)[0], cell.submit(gpus=8, nodes=2)[0]
    third = cell.submit(gpus=8)[0]
    cycle, epoch = a_cycle(cell), lead(cell.store)
    assert cycle.run(epoch).placed == 2
    waiting = cell.job(third)
    assert (waiting.state, waiting.reason) == (JobState.QUEUED, Reason.NO_CAPACITY)
    assert waiting.why[0]["count"] == 2
    cell.redeem(*cell.grants()[0])
    cell.end(first)
    assert cycle.run(epoch).placed == 1
    assert state_of(cell, third) is JobState.STARTING
    assert cell.job(third).why == ()
    assert state_of(cell, second) is JobState.STARTING


def test_a_confidential_job_gets_a_short_grant(cell: Cell) -> None:
    cell.submit(policy={"class": "confidential"})
    a_cycle(cell).run(lead(cell.store))
    assert cell.rows("select ttl_s from attempt_grant") == [(45.0,)]


def test_a_job_runs_only_where_its_policy_allows(cell: Cell) -> None:
    cell.submit(policy={"process": ["SE"]})
    a_cycle(cell).run(lead(cell.store))
    assert cell.rows("select region from attempt") == [("se-bor-1",)]


def test_a_policy_that_allows_no_pool_waits_with_its_facets(cell: Cell) -> None:
    [job] = cell.submit(policy={"process": ["DE"]})
    a_cycle(cell).run(lead(cell.store))
    waiting = cell.job(job)
    assert waiting.reason is Reason.RESIDENCY_UNSATISFIABLE
    assert {(one["code"], one["facet"]) for one in waiting.why} == {("residency_unsatisfiable", "process")}


def test_a_job_that_may_not_be_described_here_runs_nowhere(cell: Cell) -> None:
    [job] = cell.submit(policy={"describe": ["FR"]})
    cell.apply([{"kind": "ControlPlane", "territory": "SE", "operator": "auvergne-calcul"}])
    a_cycle(cell).run(lead(cell.store))
    assert cell.job(job).reason is Reason.CONTROL_PLANE_OUTSIDE_DESCRIBE


def test_a_retry_gets_the_next_number_and_fence(cell: Cell) -> None:
    [job] = cell.submit()
    cycle, epoch = a_cycle(cell), lead(cell.store)
    cycle.run(epoch)
    cell.redeem(*cell.grants()[0])
    cell.end(job, AttemptResult.LOST, reason=Reason.NODE_LOST)
    assert state_of(cell, job) is JobState.RECOVERING
    assert cycle.run(epoch).waiting == 0, "the back-off has not passed"
    cell.run("update job set not_before = now()")
    assert cycle.run(epoch).placed == 1
    assert cell.rows("select number, fence from attempt order by number") == [(1, 1), (2, 2)]
    assert cycle.run(epoch).waiting == 0, "a recovering job with a live attempt does not wait"


def test_a_cancelled_job_is_not_placed(cell: Cell) -> None:
    [job] = cell.submit()
    cell.run("update job set cancel_requested_at = now() where id = :job", job=job)
    assert a_cycle(cell).run(lead(cell.store)).waiting == 0


def test_a_region_that_fell_silent_gets_nothing(cell: Cell) -> None:
    cell.run("update region set seen_at = now() - interval '31 s' where code = :code", code=FR)
    cell.submit()
    a_cycle(cell).run(lead(cell.store))
    assert cell.rows("select region from attempt") == [("se-bor-1",)]


def test_a_change_of_law_between_plan_and_apply_is_judged_again(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    [job] = cell.submit(policy={"forbid_exposure": ["US"]})
    cycle = a_cycle(cell)
    changed = _plan_then(monkeypatch, lambda: cell.apply([{"kind": "Entity", "name": "auvergne-calcul", "seat": "US"}]))
    report = cycle.run(lead(cell.store))
    assert changed.called
    assert (report.placed, report.dropped) == (0, 1)
    assert state_of(cell, job) is JobState.QUEUED
    assert cell.free_gpus() == 32


def test_a_change_that_leaves_the_pool_lawful_delays_nothing(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    cell.submit()
    cycle = a_cycle(cell)
    _plan_then(monkeypatch, lambda: cell.run("update residency_epoch set epoch = epoch + 1"))
    assert cycle.run(lead(cell.store)).placed == 1


def _tighten(cell: Cell, process: list[str], klass: str = "internal") -> None:
    rest = {facet: ["EU"] for facet in ("store", "describe", "access", "key")}
    with cell.store.begin() as work:
        work.epoch.step()
        work.tenants.set_project_floor(cell.project, {"class": klass, "process": process, **rest})


def test_a_floor_that_was_tightened_while_a_job_waits_sends_it_elsewhere(cell: Cell) -> None:
    cell.submit()
    _tighten(cell, ["SE"])
    a_cycle(cell).run(lead(cell.store))
    assert cell.rows("select region from attempt") == [("se-bor-1",)]


def test_a_floor_that_raised_the_class_makes_grants_short(cell: Cell) -> None:
    cell.submit()
    _tighten(cell, ["EU"], "restricted")
    a_cycle(cell).run(lead(cell.store))
    assert cell.rows("select ttl_s from attempt_grant") == [(45.0,)]


def test_a_floor_tightened_between_plan_and_apply_is_judged_again(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    cell.submit()
    cycle, epoch = a_cycle(cell), lead(cell.store)
    changed = _plan_then(monkeypatch, lambda: _tighten(cell, ["SE"]))
    report = cycle.run(epoch)
    assert changed.called
    assert (report.placed, report.dropped) == (0, 1)
    cycle.run(epoch)
    assert cell.rows("select region from attempt") == [("se-bor-1",)]


def test_a_floor_that_allows_nothing_says_which_facet(cell: Cell) -> None:
    [job] = cell.submit()
    _tighten(cell, ["DE"])
    a_cycle(cell).run(lead(cell.store))
    waiting = cell.job(job)
    assert waiting.reason is Reason.RESIDENCY_UNSATISFIABLE
    assert {one["facet"] for one in waiting.why} == {"process"}


def test_what_changed_since_the_plan_drops_only_its_own_decision(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = cell.submit(2)
    cycle = a_cycle(cell)
    _plan_then(monkeypatch, lambda: cell.run("update job set cancel_requested_at = now() where id = :job", job=first))
    report = cycle.run(lead(cell.store))
    assert (report.placed, report.dropped) == (1, 1)
    assert cell.rows("select job_id from attempt") == [(second,)]
    assert cell.free_gpus() == 31


def test_gpus_that_another_took_are_not_given_twice(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    cell.submit()
    _plan_then(monkeypatch, lambda: cell.run("update node set free_mask = 0"))
    report = a_cycle(cell).run(lead(cell.store))
    assert (report.placed, report.dropped) == (0, 1)
    assert cell.rows("select count(*) from attempt") == [(0,)]


def test_a_deposed_leader_changes_nothing(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    cell.submit()
    epoch = lead(cell.store)

    def depose() -> None:
        cell.run("update leader set until = now() - interval '1 s'")
        lead(cell.store)

    _plan_then(monkeypatch, depose)
    with pytest.raises(NotLeader):
        a_cycle(cell).run(epoch)
    assert cell.rows("select count(*) from attempt") == [(0,)]
    assert cell.free_gpus() == 32


def test_facts_are_logged_once_before_they_are_acted_on(cell: Cell) -> None:
    cell.submit()
    cycle, epoch = a_cycle(cell), lead(cell.store)
    cycle.run(epoch)
    cycle.run(epoch)
    [digest] = cell.rows("select verdicts -> 'apply' ->> 'facts' from attempt")[0]
    logged = cell.rows("select body ->> 'pool' from audit_entry where subject = :subject", subject=f"facts:{digest}")
    assert logged == [("fr-h100",)]


def test_a_pool_that_keeps_no_tenants_apart_stays_with_its_first_organisation(cell: Cell) -> None:
    other = OrganisationId("org_other"), ProjectId("prj_other")
    cell.add_tenant(*other, "other")
    with cell.store.begin() as work:
        for region in work.places.regions():
            work.places.join(
                region.code, credential_hash=region.code, gateway_url="", broker_sealed=b"", offers=("single",)
            )
        work.epoch.step()
    [ours] = cell.submit(policy={"residency": ["FR"]})
    [theirs] = cell.submit(policy={"residency": ["FR"]}, organisation=other[0], project=other[1])
    cycle, epoch = a_cycle(cell), lead(cell.store)
    assert cycle.run(epoch).placed == 1
    assert cell.rows("select single_tenant from pool where name = 'fr-h100'") == [(cell.organisation,)]
    assert cell.job(theirs).reason is Reason.REJECTED_BY_POLICY
    cell.redeem(*cell.grants()[0])
    cell.end(ours)
    assert cycle.run(epoch).placed == 0
    assert cell.rows("select single_tenant from pool where name = 'fr-h100'") == [(cell.organisation,)]
    assert cell.job(theirs).reason is Reason.REJECTED_BY_POLICY


class _Once:
    def __init__(self) -> None:
        self.called = False


def _plan_then(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> _Once:
    """Let something happen once, between the plan and its application."""
    once = _Once()

    def plan_and_act(snapshot: Snapshot, now: datetime, seed: int) -> Plan:
        decided = plan(snapshot, now, seed)
        if not once.called:
            once.called = True
            act()
        return decided

    monkeypatch.setattr(cycle_module, "plan", plan_and_act)
    return once
