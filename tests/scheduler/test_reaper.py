from __future__ import annotations

from datetime import timedelta

from nordan_core.domain.reasons import Reason
from nordan_core.domain.states import JobState
from nordan_scheduler.metrics import Metrics
from nordan_scheduler.reaper import ABANDONED_S, INTERVAL_S, RENUDGE_S, SKEW_S, Reaper
from support.cell import FR, Cell, lead, state_of
from support.scheduling import a_cycle


def _started(cell: Cell) -> tuple[int, Reaper]:
    epoch = lead(cell.store)
    a_cycle(cell).run(epoch)
    return epoch, Reaper(cell.store, cell.clock, Metrics())


def test_an_attempt_whose_grant_ran_out_is_lost_and_its_gpus_come_back(cell: Cell) -> None:
    [job] = cell.submit(policy={"class": "confidential"})
    epoch, reaper = _started(cell)
    cell.redeem(*cell.grants()[0])
    cell.age_grants(45.0 + SKEW_S - 1)
    assert reaper.step(epoch) == INTERVAL_S
    assert state_of(cell, job) is JobState.STARTING, "skew has not passed"
    cell.age_grants(2)
    reaper.step(epoch)
    found = cell.job(job)
    assert (found.state, found.reason) == (JobState.RECOVERING, Reason.GRANT_EXPIRED)
    assert cell.rows("select result, reason from attempt") == [("lost", "grant_expired")]
    assert cell.free_gpus() == 32


def test_a_renewed_attempt_is_left_alone(cell: Cell) -> None:
    [job] = cell.submit()
    epoch, reaper = _started(cell)
    cell.redeem(*cell.grants()[0])
    cell.age_grants(2000)
    with cell.store.begin() as work:
        work.attempts.renew(work.attempts.live_in(FR), cell.clock.now())
    reaper.step(epoch)
    assert state_of(cell, job) is JobState.STARTING


def test_an_unredeemed_grant_is_announced_again_with_growing_waits(cell: Cell) -> None:
    cell.submit()
    epoch, reaper = _started(cell)
    reaper.step(epoch)
    assert cell.rows("select count(*) from outbox") == [(1,)], "its first nudge still waits"
    cell.run("delete from outbox")
    reaper.step(epoch)
    assert cell.rows("select count(*) from outbox") == [(0,)], "it is not old enough"
    cell.age_grants(RENUDGE_S + 1)
    reaper.step(epoch)
    assert cell.rows("select count(*) from outbox") == [(1,)]
    cell.run("delete from outbox")
    reaper.step(epoch)
    assert cell.rows("select count(*) from outbox") == [(0,)], "the back-off has not passed"


def test_a_grant_that_no_region_takes_is_taken_back(cell: Cell) -> None:
    [job] = cell.submit()
    epoch, reaper = _started(cell)
    cell.age_grants(ABANDONED_S + 1)
    reaper.step(epoch)
    assert state_of(cell, job) is JobState.RECOVERING
    assert cell.rows("select state from attempt_grant") == [("closed",)]
    assert cell.free_gpus() == 32


def test_a_job_that_waited_too_long_fails_with_max_wait(cell: Cell) -> None:
    past = cell.clock.now() - timedelta(seconds=1)
    [late] = cell.submit(max_wait_s=5.0, wait_until=past)
    [patient] = cell.submit(gpus=8, nodes=9, max_wait_s=500.0, wait_until=past + timedelta(seconds=500))
    epoch, reaper = _started(cell)
    reaper.step(epoch)
    found = cell.job(late)
    assert (found.state, found.reason) == (JobState.FAILED, Reason.MAX_WAIT)
    assert found.message == "no place was found within max_wait of 5 s"
    assert state_of(cell, patient) is JobState.QUEUED
    assert cell.rows(
        "select body ->> 'reason' from audit_entry where subject = :job and actor = 'reaper'", job=late
    ) == [("max_wait",)]


def test_a_job_that_lost_its_place_begins_to_wait_anew(cell: Cell) -> None:
    now = cell.clock.now()
    [job] = cell.submit(max_wait_s=60.0, wait_until=now + timedelta(seconds=60))
    epoch, reaper = _started(cell)
    cell.redeem(*cell.grants()[0])
    cell.age_grants(2000)
    cell.run("update job set wait_until = :past", past=now - timedelta(seconds=1000))
    reaper.step(epoch)
    reaper.step(epoch)
    assert state_of(cell, job) is JobState.RECOVERING
    assert cell.rows("select wait_until > :soon from job", soon=now + timedelta(seconds=50)) == [(True,)]


def test_answers_older_than_two_days_are_forgotten(cell: Cell) -> None:
    now = cell.clock.now()
    with cell.store.begin() as work:
        work.idempotency.claim("old", "digest", now - timedelta(hours=49))
        work.idempotency.claim("new", "digest", now)
    Reaper(cell.store, cell.clock, Metrics()).step(lead(cell.store))
    assert cell.rows("select scope from idempotency") == [("new",)]
