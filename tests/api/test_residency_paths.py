"""Law that moves while a job does: seen at apply, at redeem, at renewal, at every put and every read."""

from __future__ import annotations

from typing import Any

import pytest

from nordan_core.proof.canonical import digest_of
from nordan_core.proof.keys import trusted
from nordan_core.proof.tokens import read_renewal
from nordan_core.residency.policy import meet, parse_policy
from nordan_core.world import EntityDocument
from nordan_scheduler import cycle as cycle_module
from nordan_scheduler.engine import plan as engine_plan
from support.certificates import failing
from support.lab import BOUGHT, JOBS, PATIENTS, Lab
from support.region_side import manifest
from support.soundness import assert_sound

DATA = manifest(a__csv="1")
#: A US company buys the French operator of pools: everything that forbids exposure to the US has to leave.


@pytest.fixture(autouse=True)
def _control_plane_of_somebody_else(lab: Lab) -> None:
    """So that what happens to the operator of pools leaves the control plane lawful."""
    lab.apply({"kind": "ControlPlane", "territory": "FR", "operator": "caisse-du-rhone"})


def _patients(lab: Lab, **changes: Any) -> dict[str, Any]:
    lab.put("patients", "fr-bru-1", DATA)
    return {"inputs": ["dataset/patients"], **changes}


def _entries(lab: Lab, act: str) -> int:
    return int(lab.one("select count(*) from audit_entry where act = :act", act=act))


def test_the_log_says_what_a_change_of_the_world_changed_it_to(lab: Lab) -> None:
    """By digest: whoever keeps the document can prove that this is the one."""
    newcomer = {"kind": "Entity", "name": "newcomer", "seat": "PT", "presences": [], "owners": []}
    lab.apply(newcomer)
    [(changed,)] = lab.rows(
        "select body -> 'changed' from audit_entry where subject = 'world' order by id desc limit 1"
    )
    assert changed == {"Entity newcomer": digest_of(EntityDocument.model_validate(newcomer).stored())}


class TestBetweenPlanAndApply:
    """The cycle plans on a snapshot; what it writes is judged by the law as it then stands."""

    def test_a_place_that_became_unlawful_is_dropped(self, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing is placed; the job says why it waits at the next cycle."""
        job = lab.submit(**_patients(lab))
        plan = engine_plan.plan

        def plan_and_be_bought(*args: Any, **more: Any) -> Any:
            decided = plan(*args, **more)
            assert decided.decisions
            lab.apply(BOUGHT)
            return decided

        with monkeypatch.context() as patch:
            patch.setattr(cycle_module, "plan", plan_and_be_bought)
            report = lab.cycle()
        assert (report.placed, report.dropped) == (0, 1)
        assert lab.cycle().placed == 0
        shown = lab.show(job)
        assert (shown["state"], shown["reason"]) == ("queued", "residency_unsatisfiable")
        assert any(one["facet"] == "forbid_exposure" for one in shown["why"])
        assert_sound(lab)

    def test_a_change_that_touches_nothing_is_judged_again_and_placed(
        self, lab: Lab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The certificate tells of the judgement at the newer epoch."""
        job = lab.submit()
        plan = engine_plan.plan

        def plan_and_add(*args: Any, **more: Any) -> Any:
            decided = plan(*args, **more)
            lab.apply({"kind": "Entity", "name": "newcomer", "seat": "PT"})
            return decided

        with monkeypatch.context() as patch:
            patch.setattr(cycle_module, "plan", plan_and_add)
            assert lab.cycle().placed == 1
        epoch = lab.one("select epoch from residency_epoch")
        assert lab.one("select (verdicts -> 'apply' ->> 'epoch')::int from attempt") == epoch
        region, run = lab.take(job)
        region.end(run)
        lab.seal()
        assert failing(lab.verify(job)) == {}


class TestBetweenApplyAndRedeem:
    """No spec leaves the control plane under a law that no longer holds."""

    def test_a_place_that_became_unlawful_gets_nothing(self, lab: Lab) -> None:
        """Denied, fenced, everything given back; the answer holds neither grant nor order."""
        job = lab.place(**_patients(lab))
        grant, code = lab.grant_of(job)
        lab.apply(BOUGHT)
        answer = lab.region(code).redeem(grant)
        assert (answer["outcome"], answer["grant"], answer["order"]) == ("refused", "", None)
        assert "exposed" in answer["message"] or "US" in answer["message"]
        shown = lab.show(job)
        assert (shown["state"], shown["reason"]) == ("fenced", "fenced")
        assert (shown["attempts"][0]["result"], shown["attempts"][0]["redeemed_at"]) == ("fenced", None)
        assert (_entries(lab, "grant_denied"), _entries(lab, "grant_redeemed")) == (1, 0)
        assert lab.region(code).redeem(grant)["outcome"] == "gone"
        assert_sound(lab)
        lab.cancel(job)
        lab.seal()
        assert failing(lab.verify(job)) == {}

    def test_facts_that_ran_out_meanwhile_count_as_no_facts(self, lab: Lab) -> None:
        """The word that was given at apply said until when it was good."""
        pool = lab.one("select document from pool where name = 'fr-bru-1-b200'")
        until = lab.clock.now().replace(minute=1).isoformat()
        lab.apply({**pool, "facts_valid_until": until})
        job = lab.place(resources={"gpu": "B200:1"})
        grant, code = lab.grant_of(job)
        lab.clock.advance(60)
        assert lab.region(code).redeem(grant)["outcome"] == "refused"
        assert lab.state(job) == "fenced"

    def test_a_floor_that_became_tighter_holds_for_what_was_submitted_before(self, lab: Lab) -> None:
        """Today's floors stand beside the policy that the job was accepted under."""
        job = lab.place(resources={"gpu": "B200:1"})
        grant, code = lab.grant_of(job)
        sets = {key: ["EEA"] for key in ("store", "describe", "access", "key")}
        floor = {"class": "internal", "process": ["SE"], **sets}
        lab.apply({"kind": "Project", "name": "default", "organisation": "home", "floor": floor})
        assert lab.region(code).redeem(grant)["outcome"] == "refused"
        assert lab.state(job) == "fenced"

    def test_it_holds_also_for_what_waits(self, lab: Lab) -> None:
        """Nothing is placed where it could not be redeemed; the job waits and says why."""
        job = lab.submit(resources={"gpu": "B200:1"})
        sets = {key: ["EEA"] for key in ("store", "describe", "access", "key")}
        floor = {"class": "internal", "process": ["SE"], **sets}
        lab.apply({"kind": "Project", "name": "default", "organisation": "home", "floor": floor})
        assert lab.cycle().placed == 0
        assert "process" in {one["facet"] for one in lab.show(job)["why"]}

    def test_a_word_said_under_another_atlas_is_said_again(self, lab: Lab) -> None:
        """A new release brings its atlas without moving the epoch."""
        _, region, _ = lab.running()
        with lab.engine.begin() as connection:
            connection.exec_driver_sql("update attempt set verdicts = jsonb_set(verdicts, '{redeem,atlas}', '\"old\"')")
            connection.exec_driver_sql("update attempt set verdicts = verdicts - 'apply'")
        region.sync()
        assert lab.one("select verdicts -> 'renew' ->> 'atlas' from attempt") == lab.context.atlas.digest

    def test_a_floor_that_became_wider_frees_nothing_that_was_accepted_under_less(self, lab: Lab) -> None:
        """Nor does it disturb what runs."""
        job, region, run = lab.running(resources={"gpu": "B200:1"})
        floor = {"class": "public"}
        lab.apply({"kind": "Project", "name": "default", "organisation": "home", "floor": floor})
        assert region.sync()["stop"] == []
        region.end(run)
        lab.seal()
        report = lab.verify(job)
        assert failing(report) == {}
        assert report.certificate is not None
        assert report.certificate.policies[report.certificate.job.policy_digest]["policy"] != floor

    def test_an_organisations_floor_holds_as_well(self, lab: Lab) -> None:
        """It stands above every project's."""
        job = lab.place()
        grant, code = lab.grant_of(job)
        lab.apply({"kind": "Organisation", "name": "home", "floor": {"forbid_exposure": ["FR", "SE", "NO", "US"]}})
        assert lab.region(code).redeem(grant)["outcome"] == "refused"

    def test_a_change_that_touches_nothing_is_granted_under_the_new_epoch(self, lab: Lab) -> None:
        """Judged again, and said so."""
        job = lab.place(**_patients(lab))
        lab.apply({"kind": "Entity", "name": "newcomer", "seat": "PT"})
        region, run = lab.take(job)
        epoch = lab.one("select epoch from residency_epoch")
        assert lab.one("select (verdicts -> 'redeem' ->> 'epoch')::int from attempt") == epoch
        assert lab.one("select (body ->> 'epoch')::int from audit_entry where act = 'grant_redeemed'") == epoch
        region.start(run)
        region.end(run)
        lab.seal()
        assert failing(lab.verify(job)) == {}

    def test_the_control_planes_own_place_counts_at_redemption_too(self, lab: Lab) -> None:
        """A cell that moved abroad may not hand out descriptions that it should not have."""
        job = lab.place(**_patients(lab))
        grant, code = lab.grant_of(job)
        lab.apply({"kind": "ControlPlane", "territory": "DE", "operator": "mainkai-cloud"})
        assert lab.region(code).redeem(grant)["outcome"] == "refused"


class TestWhileItRuns:
    """Renewal is an act that is judged: what became unlawful is stopped at the next sync."""

    def test_it_is_stopped_at_once_and_not_renewed(self, lab: Lab) -> None:
        """Reason fenced, no grace; its logs and checkpoints are closed, its outputs never published."""
        job, region, run = lab.running(**_patients(lab, outputs=["model"]))
        lab.apply(BOUGHT)
        alive_until = lab.one("select alive_until from attempt_grant")
        lab.clock.advance(1)
        down = region.sync()
        stop = {"attempt_id": run.attempt, "grace_s": 0.0, "reason": "fenced"}
        assert down["stop"] == [stop] == region.sync()["stop"]
        assert down["fenced_objects"] == [f"attempt:{run.attempt}"]
        claims = read_renewal(down["renewal"], keys=trusted(lab.context.grant_key.public))
        assert claims.items == ()
        assert lab.one("select alive_until from attempt_grant") == alive_until
        assert region.publish(run, "late", DATA, expect=409)["code"] == "stale_fence"
        logs = lab.admin("GET", f"{JOBS}/{job}/logs", expect=422).json()
        assert logs["code"] == "fenced"
        region.end(run, outputs={"model": DATA})
        shown = lab.show(job)
        assert (shown["state"], shown["artifacts"]) == ("fenced", [])
        assert shown["attempts"][0]["result"] == "fenced"
        assert region.sync()["fenced_objects"] == [f"attempt:{run.attempt}"], "leave to read it may still be about"
        assert_sound(lab)

    def test_what_is_stored_before_the_region_was_told_is_judged_too(self, lab: Lab) -> None:
        """A checkpoint, or a success with outputs, that is in the very next message."""
        job, region, run = lab.running(**_patients(lab, outputs=["model"]))
        lab.apply(BOUGHT)
        assert region.publish(run, "late", DATA, expect=422)["code"] == "fenced"
        region.end(run, outputs={"model": DATA})
        shown = lab.show(job)
        assert (shown["state"], shown["artifacts"]) == ("fenced", [])
        assert_sound(lab)

    def test_law_comes_before_an_owners_wish_to_cancel(self, lab: Lab) -> None:
        """A cancellation's grace is no leave to publish."""
        job, region, run = lab.running(**_patients(lab))
        lab.cancel(job, grace_s=600)
        lab.apply(BOUGHT)
        assert region.sync()["stop"] == [{"attempt_id": run.attempt, "grace_s": 0.0, "reason": "fenced"}]
        assert region.publish(run, "late", DATA, expect=409)["code"] == "stale_fence"
        region.end(run, "cancelled", reason="cancelled_by_user")
        assert (lab.state(job), lab.one("select result from attempt")) == ("cancelled", "fenced")

    def test_a_region_that_does_not_answer_is_waited_for_and_the_job_stays_fenced(self, lab: Lab) -> None:
        """Its grant runs out; the loss is the law's doing, so nothing is tried again elsewhere."""
        job, region, _ = lab.running(**_patients(lab))
        lab.apply(BOUGHT)
        region.sync()
        lab.clock.advance(60)
        lab.reap()
        assert lab.state(job) == "fenced"
        assert_sound(lab)

    def test_only_those_are_stopped_whose_policy_forbids_it(self, lab: Lab) -> None:
        """A neighbour whose policy says nothing of exposure goes on, judged again."""
        _, _, sensitive = lab.running(**_patients(lab))
        _, region, plain = lab.running(resources={"gpu": "B200:1"})
        lab.apply(BOUGHT)
        down = region.sync(live=[sensitive, plain])
        assert [one["attempt_id"] for one in down["stop"]] == [sensitive.attempt]
        epoch = lab.one("select epoch from residency_epoch")
        assert lab.rows(
            "select (verdicts -> 'renew' ->> 'epoch')::int from attempt where id = :id", id=plain.attempt
        ) == [(epoch,)]

    def test_an_end_of_facts_stops_what_runs(self, lab: Lab) -> None:
        """No epoch moves when an instant passes; the word that was given has an end."""
        pool = lab.one("select document from pool where name = 'fr-bru-1-b200'")
        lab.apply({**pool, "facts_valid_until": lab.clock.now().replace(minute=1).isoformat()})
        _, region, run = lab.running(resources={"gpu": "B200:1"})
        assert region.sync()["stop"] == []
        lab.clock.advance(60)
        assert [one["reason"] for one in region.sync()["stop"]] == ["fenced"]
        assert run

    def test_a_certificate_tells_of_the_judgement_at_renewal(self, lab: Lab) -> None:
        """So a job that ran through a change of law shows that it was looked at."""
        job, region, run = lab.running(**_patients(lab))
        lab.clock.advance(2)
        lab.apply({"kind": "Entity", "name": "newcomer", "seat": "PT"})
        region.sync()
        region.end(run)
        lab.seal()
        report = lab.verify(job)
        assert failing(report) == {}
        assert report.certificate is not None
        [attempt] = report.certificate.attempts
        assert [one.stage for one in attempt.judgements] == ["apply", "redeem", "renew"]


class TestTheControlPlane:
    """It is judged like a place."""

    def test_a_certificate_says_where_it_stood_when_it_took_the_job(self, lab: Lab) -> None:
        """Whoever buys its operator before the log is sealed makes no past submission unlawful."""
        job, region, run = lab.running(**_patients(lab))
        region.end(run)
        lab.apply({"kind": "ControlPlane", "territory": "DE", "operator": "mainkai-cloud"})
        lab.seal()
        report = lab.verify(job)
        assert failing(report) == {}
        assert report.certificate is not None
        assert report.certificate.control_plane["territory"] == "FR"


class TestBytes:
    """Putting data somewhere is judged when leave is given and again when the bytes are there."""

    @pytest.mark.parametrize(("region", "facet"), [("no-nar-1", "store"), ("de-fra-1", "forbid_exposure")])
    def test_a_dataset_may_not_rest_where_its_policy_forbids(self, lab: Lab, region: str, facet: str) -> None:
        """With the facets at fault, an entry in the log, and no leave."""
        lab.admin("POST", "/v1/projects/default/datasets", {"name": "patients", "policy": PATIENTS}, expect=201)
        path = "/v1/projects/default/datasets/patients:put"
        answer = lab.admin("POST", path, {"region": region}, expect=422).json()
        assert answer["code"] == "rejected_by_policy"
        assert facet in {one["facet"] for one in answer["refusals"]}
        assert lab.one("select count(*) from upload") == 0
        assert (_entries(lab, "upload_refused"), _entries(lab, "upload_allowed")) == (1, 0)

    def test_bytes_are_not_let_in_by_a_control_plane_that_may_not_describe_them(self, lab: Lab) -> None:
        """Names of files are a description; neither a dataset's nor a job's may come here."""
        lab.put("patients", "fr-bru-1", DATA)
        lab.apply({"kind": "ControlPlane", "territory": "DE", "operator": "caisse-du-rhone"})
        body = {"region": "fr-bru-1", "job": {"name": "a", "command": ["x"], "inputs": ["dataset/patients"]}}
        datasets = "/v1/projects/default/datasets/patients:put"
        for path, asked in ((datasets, {"region": "fr-bru-1"}), ("/v1/projects/default/files:put", body)):
            assert lab.admin("POST", path, asked, expect=422).json()["code"] == "control_plane_outside_describe"

    def test_an_unknown_region_is_not_found(self, lab: Lab) -> None:
        """And is no matter of law."""
        lab.admin("POST", "/v1/projects/default/datasets", {"name": "patients", "policy": PATIENTS}, expect=201)
        path = "/v1/projects/default/datasets/patients:put"
        assert lab.admin("POST", path, {"region": "xx-yyy-1"}, expect=404).json()["code"] == "not_found"

    @pytest.mark.parametrize(("region", "status"), [("fr-bru-1", 201), ("se-bor-1", 422), ("de-fra-1", 422)])
    def test_a_jobs_files_are_judged_by_the_policy_of_that_job(self, lab: Lab, region: str, status: int) -> None:
        """Inputs included: files may carry what the data taught."""
        _patients(lab)
        job = {"name": "a", "command": ["true"], "inputs": ["dataset/patients"], "policy": {"store": ["FR"]}}
        lab.admin("POST", "/v1/projects/default/files:put", {"region": region, "job": job}, expect=status)

    def test_a_commit_is_judged_again(self, lab: Lab) -> None:
        """A region that became unlawful since leave was given holds bytes that never become an artifact."""
        lab.admin("POST", "/v1/projects/default/datasets", {"name": "patients", "policy": PATIENTS}, expect=201)
        path = "/v1/projects/default/datasets/patients:put"
        upload = lab.admin("POST", path, {"region": "fr-bru-1"}, expect=201).json()["upload_id"]
        lab.apply(BOUGHT)
        assert lab.region("fr-bru-1").commit(upload, DATA, expect=422)
        assert lab.one("select count(*) from artifact") == 0

    def test_a_commit_is_for_the_region_that_leave_was_given_for(self, lab: Lab) -> None:
        """Another region has no such upload; the same commit twice is one artifact, another is a conflict."""
        lab.admin("POST", "/v1/projects/default/datasets", {"name": "patients", "policy": PATIENTS}, expect=201)
        path = "/v1/projects/default/datasets/patients:put"
        upload = lab.admin("POST", path, {"region": "fr-bru-1"}, expect=201).json()["upload_id"]
        lab.worker("se-bor-1", "/worker/v1/uploads:commit", {"upload_id": upload, "manifest": DATA}, expect=404)
        region = lab.region("fr-bru-1")
        first = region.commit(upload, DATA)
        lab.clock.advance(4000)
        assert region.commit(upload, DATA) == first, "the answer is known, even when leave has run out"
        assert region.commit(upload, manifest(b="2"), expect=409)["code"] == "upload_used"
        assert lab.one("select count(*) from artifact") == 1

    def test_leave_runs_out(self, lab: Lab) -> None:
        """After an hour."""
        lab.admin("POST", "/v1/projects/default/datasets", {"name": "patients", "policy": PATIENTS}, expect=201)
        path = "/v1/projects/default/datasets/patients:put"
        upload = lab.admin("POST", path, {"region": "fr-bru-1"}, expect=201).json()["upload_id"]
        lab.clock.advance(3600)
        assert lab.region("fr-bru-1").commit(upload, DATA, expect=409)["code"] == "upload_expired"

    def test_the_same_bytes_in_a_second_region_are_another_place_of_the_same_version(self, lab: Lab) -> None:
        """Then the job may run there too."""
        first = lab.put("patients", "fr-bru-1", DATA)
        assert lab.put("patients", "se-bor-1", DATA) == first
        shown = lab.admin("GET", "/v1/projects/default/datasets/patients").json()
        assert [one["regions"] for one in shown["versions"]] == [["fr-bru-1", "se-bor-1"]]

    def test_a_job_runs_only_where_its_data_lie(self, lab: Lab) -> None:
        """The Swedish pool is lawful and cheaper to reach, and does not hold them."""
        job = lab.submit(**_patients(lab), resources={"gpu": "H200:1"}, max_wait="1h")
        assert lab.cycle().placed == 0
        assert "data_not_in_region" in {one["code"] for one in lab.show(job)["why"]}
        lab.put("patients", "se-bor-1", DATA)
        assert lab.cycle().placed == 1


class TestLineage:
    """What comes out is at least as tight as what went in."""

    def test_outputs_and_checkpoints_inherit_and_name_their_parents(self, lab: Lab) -> None:
        """The dataset's policy and the job's own words, met."""
        data = lab.put("patients", "fr-bru-1", DATA)
        job, region, run = lab.running(
            inputs=["dataset/patients"], outputs=["model"], policy={"process": ["FR"], "class": "restricted"}
        )
        region.publish(run, "step-1", manifest(s="1"))
        region.end(run, outputs={"model": manifest(m="1")})
        atlas = lab.context.atlas
        stated = parse_policy(PATIENTS, atlas)
        for line in lab.show(job)["artifacts"]:
            shown = lab.admin("GET", f"/v1/projects/default/artifacts/{line['id']}", expect=200).json()
            assert shown["parents"] == [data]
            born = parse_policy(shown["policy"], atlas)
            assert meet(born, stated) == born, line["kind"]
            assert shown["policy"]["process"] == ["FR"]
            assert shown["policy"]["class"] == "restricted"

    def test_a_job_on_an_output_is_held_to_what_the_output_inherited(self, lab: Lab) -> None:
        """By id, by job and name, by the name of the newest job."""
        lab.put("patients", "fr-bru-1", DATA)
        job, region, run = lab.running(name="train", inputs=["dataset/patients"], outputs=["model"])
        region.end(run, outputs={"model": manifest(m="1")})
        artifact = lab.show(job)["artifacts"][0]["id"]
        for name in (f"artifact/{artifact}", f"artifact/{job}/model", "artifact/train/model"):
            second = lab.submit(inputs=[name])
            effective = parse_policy(lab.show(second)["policy"]["effective"], lab.context.atlas)
            assert meet(effective, parse_policy(PATIENTS, lab.context.atlas)) == effective

    def test_another_projects_data_are_not_there(self, lab: Lab) -> None:
        """Neither a dataset, nor a version's id, nor an output, nor files; the answer is that of an absent name."""
        data = lab.put("patients", "fr-bru-1", DATA)
        job, region, run = lab.running(name="train", outputs=["model"])
        region.end(run, outputs={"model": DATA})
        lab.admin("POST", "/v1/projects", {"name": "second"}, expect=201)
        for name in ("dataset/patients", f"artifact/{data}", f"artifact/{job}/model", "artifact/train/model"):
            body: dict[str, Any] = {"name": "thief", "command": ["true"], "inputs": [name]}
            answer = lab.admin("POST", "/v1/projects/second/jobs", body, expect=404).json()
            assert answer["code"] == "not_found"
        body = {"name": "thief", "command": ["true"], "files": DATA}
        assert lab.admin("POST", "/v1/projects/second/jobs", body, expect=404).json()["code"] == "not_found"
        for path in (f"artifacts/{data}", "datasets/patients"):
            lab.admin("GET", f"/v1/projects/second/{path}", expect=404)
        lab.admin("POST", f"/v1/projects/second/artifacts/{data}:read", expect=404)


class TestPolicyAtSubmission:
    """What a job may and may not say."""

    def test_only_the_owner_of_data_waives_the_guard_of_egress(self, lab: Lab) -> None:
        """Neither a job nor a floor may."""
        body = {"name": "a", "command": ["true"], "policy": {"egress": "unenforced"}}
        assert lab.admin("POST", JOBS, body, expect=422).json()["errors"][0]["field"].endswith("egress")
        for path in ("/v1/projects", "/v1/organisations"):
            answer = lab.admin("POST", path, {"name": "lax", "floor": {"egress": "unenforced"}}, expect=422).json()
            assert answer["errors"][0]["field"] == "floor.egress"
        document = {"kind": "Project", "name": "lax", "organisation": "home", "floor": {"egress": "unenforced"}}
        assert lab.apply(document, expect=422)["errors"][0]["field"] == "documents.0.floor.egress"

    def test_places_of_confidential_data_are_not_the_jobs_alone_to_state(self, lab: Lab) -> None:
        """A floor or the data's owner must have said where."""
        lab.admin("POST", "/v1/projects", {"name": "bare", "floor": {}}, expect=201)
        body = {"name": "a", "command": ["true"], "policy": {"residency": ["FR"], "class": "confidential"}}
        answer = lab.admin("POST", "/v1/projects/bare/jobs", body, expect=422).json()
        assert answer["code"] in {"residency_unsatisfiable", "control_plane_outside_describe"}
        assert _entries(lab, "job_refused") == 1
