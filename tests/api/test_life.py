"""The life of a job over the worker API, from submission to a certificate that verifies."""

from __future__ import annotations

import pytest

from nordan_core.proof.keys import trusted
from nordan_core.proof.tokens import read_grant, read_renewal
from support.certificates import failing
from support.lab import JOBS, Lab
from support.region_side import asking, manifest

MODEL = manifest(model__bin="weights")


def _masks(lab: Lab) -> set[tuple[int, int]]:
    return {(gpus, free) for gpus, free in lab.rows("select gpus, free_mask from node")}


def test_a_job_goes_from_submission_to_a_verified_certificate(lab: Lab) -> None:
    """Every seam once: submit, place, redeem, run, output, end, seal, certify."""
    lab.put("patients", "fr-bru-1", manifest(a__csv="1"))
    job = lab.submit(inputs=["dataset/patients"], outputs=["model"], resources={"gpu": 2}, nodes=2)
    assert lab.cycle().placed == 1
    assert lab.state(job) == "starting"
    region, run = lab.take(job)
    assert run.order["inputs"][0]["manifest"]["files"][0]["path"] == "a.csv"
    region.start(run)
    assert lab.state(job) == "running"
    lab.clock.advance(10)
    assert region.end(run, outputs={"model": MODEL})["settled"] == [run.attempt]
    shown = lab.show(job)
    assert shown["state"] == "succeeded"
    assert [line["state"] for line in shown["status_history"]] == ["queued", "starting", "running", "succeeded"]
    assert shown["started_at"] is not None
    lab.seal()
    report = lab.verify(job)
    assert failing(report) == {}
    assert report.certificate is not None
    assert [one.name for one in report.certificate.outputs] == ["model"]
    assert any("egress" in gap for gap in report.gaps)


def test_the_end_gives_everything_back(lab: Lab) -> None:
    """GPUs, processors, memory, the lease, the grant."""
    before = lab.rows("select name, free_mask, free_cpus, free_memory_mib from node order by name")
    job, region, run = lab.running(resources={"gpu": "B200:3", "cpu": 7, "memory": "5GiB"}, nodes=2)
    assert lab.rows("select name, free_mask, free_cpus, free_memory_mib from node order by name") != before
    region.end(run)
    assert lab.rows("select name, free_mask, free_cpus, free_memory_mib from node order by name") == before
    assert lab.rows("select state from attempt_grant") == [("closed",)]
    [(closed_at, gpus)] = lab.rows("select closed_at, gpus from lease")
    assert closed_at is not None
    assert gpus == 6
    assert lab.show(job)["state"] == "succeeded"


def test_usage_and_cost_come_from_the_price_that_was_frozen_when_the_attempt_was_placed(lab: Lab) -> None:
    """A price that rises while a job runs does not touch its bill."""
    job, region, run = lab.running(resources={"gpu": "B200:4"})
    pool = lab.one("select document from pool where name = 'fr-bru-1-b200'")
    lab.apply({**pool, "price_eur_per_gpu_h": "9.99"})
    region.end(run, running_s=100.0)
    usage = lab.admin("GET", f"{JOBS}/{job}/usage", expect=200).json()
    [line] = usage["items"]
    assert line["gpu_seconds"] == 400.0
    assert line["price_eur_per_gpu_h"] == "4.6000"
    assert usage["cost_eur"] == "0.511112", "4.60 EUR for 400 GPU-seconds, and a begun micro-EUR"
    assert line["is_final"]
    assert lab.show(job)["cost_eur"] == usage["cost_eur"]


def test_the_grant_that_comes_down_is_signed_for_exactly_this_placement(lab: Lab) -> None:
    """Region, pool, nodes, fence, policy and redemption are in the token, and its life is the order's."""
    job = lab.place(resources={"gpu": 8}, nodes=2)
    _, run = lab.take(job)
    claims = read_grant(run.token, keys=trusted(lab.context.grant_key.public), now=lab.clock.now())
    assert (claims.attempt_id, claims.job_id, claims.region) == (run.attempt, job, run.region)
    assert claims.nodes == tuple(rank["node"] for rank in run.order["ranks"])
    assert (claims.fence, claims.redemption_id) == (run.fence, run.redemption)
    assert claims.policy_digest == lab.show(job)["policy"]["digest"]
    assert (claims.expires_at - claims.issued_at).total_seconds() == run.order["ttl_s"] == 900.0


def test_the_same_redemption_id_gets_the_same_answer_and_another_is_refused(lab: Lab) -> None:
    """So a supervisor that died after asking loses nothing, and two supervisors never run one attempt."""
    region, run = lab.take(lab.place())
    again = region.redeem(run.grant, run.redemption)
    assert (again["outcome"], again["order"], again["grant"]) == ("granted", run.order, run.token)
    other = region.redeem(run.grant, "ab" * 16)
    assert (other["outcome"], other["code"]) == ("refused", "already_redeemed")
    assert other["order"] is None
    assert lab.rows("select count(*) from audit_entry where act = 'grant_redeemed'") == [(1,)]


def test_asking_again_later_does_not_lengthen_the_life_of_a_grant(lab: Lab) -> None:
    """The control plane counts on the first end: past it, another attempt may start."""
    region, run = lab.take(lab.place())
    lab.clock.advance(300)
    again = region.redeem(run.grant, run.redemption)
    assert again["order"]["ttl_s"] == run.order["ttl_s"] - 300
    assert again["grant"] == run.token


def test_each_grant_of_a_batch_is_answered_on_its_own(lab: Lab) -> None:
    """One that is gone does not spoil the others, and answers come in the order of the request."""
    jobs = [lab.submit(resources={"gpu": "B200:1"}) for _ in range(3)]
    assert lab.cycle().placed == 3
    grants = [lab.grant_of(job)[0] for job in jobs]
    lab.cancel(jobs[1])
    items = [{"grant_id": one, "redemption_id": f"{n:032x}"} for n, one in enumerate([*grants, "grt_none"])]
    answers = lab.worker("fr-bru-1", "/worker/v1/grants:redeem", asking(*items))["items"]
    assert [one["outcome"] for one in answers] == ["granted", "gone", "granted", "gone"]
    assert [one["grant_id"] for one in answers] == [one["grant_id"] for one in items]


def test_the_same_grant_twice_in_one_batch_is_refused(lab: Lab) -> None:
    """One of the two would be a second redemption."""
    grant, code = lab.grant_of(lab.place())
    items = [{"grant_id": grant, "redemption_id": one * 16} for one in ("aa", "bb")]
    lab.worker(code, "/worker/v1/grants:redeem", asking(*items), expect=422)
    assert lab.rows("select state from attempt_grant") == [("issued",)]


def test_a_redeemed_grant_names_the_supervisor_that_redeemed_it(lab: Lab) -> None:
    """Of a region that had two after one another, one can tell which began what."""
    _, region, _ = lab.running()
    assert lab.rows("select supervisor_id from attempt_grant") == [(region.supervisor,)]


def test_a_renewal_names_what_may_go_on_and_moves_its_end(lab: Lab) -> None:
    """One signed token for the whole region; an attempt that the supervisor does not hold is not in it."""
    _, region, run = lab.running()
    lab.clock.advance(60)
    down = region.sync()
    keys = trusted(lab.context.grant_key.public)
    claims = read_renewal(down["renewal"], keys=keys)
    assert [(one.attempt_id, one.fence, one.ttl_s) for one in claims.items] == [(run.attempt, run.fence, 900)]
    assert claims.supervisor_id == region.supervisor
    [(alive_until,)] = lab.rows("select alive_until from attempt_grant")
    assert (alive_until - lab.clock.now()).total_seconds() == 900.0
    lab.clock.advance(60)
    assert read_renewal(region.sync(live=[])["renewal"], keys=keys).items == ()


@pytest.mark.parametrize(("passed_s", "is_renewed"), [(29, False), (31, True)])
def test_what_has_nearly_all_of_its_time_left_is_not_renewed(lab: Lab, passed_s: int, is_renewed: bool) -> None:
    """Signing and writing for all attempts of a region every 2 s would cost what they do not gain."""
    _, region, run = lab.running()
    lab.clock.advance(passed_s)
    claims = read_renewal(region.sync()["renewal"], keys=trusted(lab.context.grant_key.public))
    assert [one.attempt_id for one in claims.items] == ([run.attempt] if is_renewed else [])


def test_news_alone_are_settled_and_renew_nothing(lab: Lab) -> None:
    """What the region holds besides is told every 2 s; until then nobody is stopped for not being named."""
    _, region, run = lab.running()
    until = lab.one("select alive_until from attempt_grant")
    lab.clock.advance(60)
    down = region.tell(run.report("running"))
    assert (down["renewal"], down["stop"], down["unknown"], down["settled"]) == ("", [], [], [])
    assert lab.one("select alive_until from attempt_grant") == until
    assert region.tell(run.ended())["settled"] == [run.attempt]
