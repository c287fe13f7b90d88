"""A floor that makes what already runs confidential shortens how long it may go on without its region."""

from __future__ import annotations

import pytest

from support.certificates import failing
from support.lab import Lab
from support.shims import Region, Shim, lives_of

CONFIDENTIAL = {"class": "confidential", "residency": ["EEA"]}


@pytest.fixture(autouse=True)
def _pools_that_keep_egress(lab: Lab) -> None:
    """So that confidential work may run there."""
    for pool in ("fr-bru-1-h100", "fr-bru-1-b200"):
        document = lab.one("select document from pool where name = :pool", pool=pool)
        lab.apply({**document, "enforces": ["egress", "isolation"]})


def raise_class(lab: Lab) -> None:
    lab.apply({"kind": "Project", "name": "default", "organisation": "home", "floor": CONFIDENTIAL})


def running(lab: Lab) -> tuple[str, Region, Shim]:
    """Return a job that runs in France under a grant of fifteen minutes."""
    job, _, run = lab.running(policy={"residency": ["FR"]})
    region = Region(lab, run.region)
    pool = lab.one("select pool from attempt where job_id = :job", job=job)
    region.shims[run.attempt] = Shim(job, pool, run, lab.clock.monotonic() + 900)
    return job, region, region.shims[run.attempt]


def test_the_next_renewal_is_a_short_one(lab: Lab) -> None:
    """And those after it, for which the judge's word stands."""
    _, region, shim = running(lab)
    lab.clock.advance(60)
    assert lives_of(lab, region.sync()) == {shim.run.attempt: 900}
    raise_class(lab)
    for _ in range(2):
        lab.clock.advance(2)
        assert lives_of(lab, region.sync()) == {shim.run.attempt: 45}


def test_the_control_plane_waits_as_long_as_the_region_may_count_on(lab: Lab) -> None:
    """The answer with the short life may be lost, and then the old deadline still stands in the region."""
    job, region, _ = running(lab)
    region.sync()
    raise_class(lab)
    region.sync()
    lab.clock.advance(60)
    lab.reap()
    assert lab.one("select state from attempt where job_id = :job", job=job) == "running"
    lab.clock.advance(850)
    lab.reap()
    assert lab.one("select reason from attempt where job_id = :job", job=job) == "grant_expired"


def test_a_redemption_after_it_gives_a_short_life(lab: Lab) -> None:
    """Asked again, it gives what is left of that; the certificate names the short bound and holds."""
    job = lab.place(policy={"residency": ["FR"]})
    raise_class(lab)
    grant, code = lab.grant_of(job)
    region = Region(lab, code)
    answer = region.ask_for(grant)
    attempt = answer.body["items"][0]["order"]["attempt_id"]
    assert lives_of(lab, answer) == {attempt: 45}
    assert answer.body["items"][0]["order"]["ttl_s"] == 45
    lab.clock.advance(5)
    assert lives_of(lab, region.ask_for(grant)) == {attempt: 40}
    region.arrive(answer)
    region.end(attempt, "failed", "container_exit")
    region.arrive(region.sync())
    lab.seal()
    report = lab.verify(job)
    assert failing(report) == {}
    assert report.certificate is not None
    assert [one.bound_s for one in report.certificate.attempts] == [45]


def test_a_redemption_that_is_asked_again_after_it_gives_no_more_than_a_short_life(lab: Lab) -> None:
    """Whatever the first answer gave."""
    job = lab.place(policy={"residency": ["FR"]})
    grant, code = lab.grant_of(job)
    region = Region(lab, code)
    assert list(lives_of(lab, region.ask_for(grant)).values()) == [900]
    raise_class(lab)
    assert list(lives_of(lab, region.ask_for(grant)).values()) == [45]
