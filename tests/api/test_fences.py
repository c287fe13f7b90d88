"""What became unlawful, from the change of law to its owner's choice: fenced, explained, refused, released, resumed."""

from __future__ import annotations

from datetime import timedelta
from secrets import token_hex
from typing import Any

import pytest

from nordan_api.workers import sync
from nordan_core.proof.keys import trusted
from nordan_core.proof.tokens import read_access, read_renewal
from support.certificates import failing
from support.derogating import Members
from support.lab import BOUGHT, JOBS, PATIENTS, Lab
from support.region_side import manifest
from support.soundness import assert_sound

DATA = manifest(a__csv="1")
ARTIFACTS = "/v1/projects/default/artifacts"
#: A US company buys the French operator of pools, and sells it again.
SOLD = {**BOUGHT, "owners": []}


@pytest.fixture(autouse=True)
def _control_plane_of_somebody_else(lab: Lab) -> None:
    """So that what happens to the operator of pools leaves the control plane lawful."""
    lab.apply({"kind": "ControlPlane", "territory": "FR", "operator": "caisse-du-rhone"})


def patients(lab: Lab, **changes: Any) -> dict[str, Any]:
    lab.put("patients", "fr-bru-1", DATA)
    return {"inputs": ["dataset/patients"], **changes}


def acts(lab: Lab, act: str) -> int:
    return int(lab.one("select count(*) from audit_entry where act = :act", act=act))


def fenced(lab: Lab, **changes: Any) -> str:
    """Return a job whose attempt was fenced and is gone."""
    job, region, run = lab.running(**patients(lab, **changes))
    lab.apply(BOUGHT)
    lab.revisit()
    region.sync()
    region.end(run, "fenced", reason="fenced")
    assert lab.state(job) == "fenced"
    return job


def test_all_that_became_unlawful_is_told_to_stop_however_few_fences_are_written_down_at_once(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ends before its fence is written down ends fenced all the same, and its owner is told why."""
    monkeypatch.setattr(sync, "FENCED_AT_ONCE", 1)
    lab.put("patients", "fr-bru-1", DATA)
    jobs = [lab.place(inputs=["dataset/patients"]) for _ in range(3)]
    region = lab.region("fr-bru-1")
    runs = [region.take(lab.grant_of(job)[0]) for job in jobs]
    for run in runs:
        region.start(run)
    lab.apply(BOUGHT)
    down = region.sync()
    assert {one["attempt_id"] for one in down["stop"]} == {run.attempt for run in runs}
    assert acts(lab, "grant_revoked") == 1
    renewed = read_renewal(down["renewal"], keys=trusted(lab.context.grant_key.public))
    assert renewed.items == ()
    for run in runs:
        # News alone: it brings no account of what lives there, by which the others would be fenced.
        news = {
            "supervisor_id": region.supervisor,
            "nonce": token_hex(16),
            "reports": [run.ended("fenced", reason="fenced")],
            "live": None,
        }
        assert lab.worker("fr-bru-1", "/worker/v1/sync", news)["settled"] == [run.attempt]
    assert (acts(lab, "grant_revoked"), acts(lab, "attempt_fenced")) == (1, 3)
    lab.seal()
    for job in jobs:
        shown = lab.show(job)
        assert (shown["state"], shown["reason"]) == ("fenced", "fenced")
        assert shown["message"].startswith("forbid_exposure: ")
        assert [one["facet"] for one in shown["fence"]["refusals"]] == ["forbid_exposure"]


class TestExplained:
    """Its owner sees which facet, what was wanted, what was found, from the first moment on."""

    def test_the_leader_fences_what_the_region_has_not_asked_about_yet(self, lab: Lab) -> None:
        """The next word to the region stops it; the act is written once, whoever comes first."""
        job, region, run = lab.running(**patients(lab))
        lab.apply(BOUGHT)
        lab.revisit()
        shown = lab.show(job)
        assert (shown["state"], shown["reason"]) == ("running", "fenced")
        assert shown["message"].startswith("forbid_exposure: ")
        fence = shown["fence"]
        assert (fence["attempt"], fence["region"]) == (1, "fr-bru-1")
        assert [one["facet"] for one in fence["refusals"]] == ["forbid_exposure"]
        assert fence["refusals"][0]["want"] == "no exposure to [US]"
        assert "auvergne-calcul" in fence["refusals"][0]["have"]
        down = region.sync()
        assert down["stop"] == [{"attempt_id": run.attempt, "grace_s": 0.0, "reason": "fenced"}]
        assert acts(lab, "grant_revoked") == 1
        region.end(run, "fenced", reason="fenced", message="stopped")
        shown = lab.show(job)
        assert (shown["state"], shown["reason"]) == ("fenced", "fenced")
        assert shown["message"].startswith("forbid_exposure: ")
        assert shown["attempts"][0]["message"] == shown["message"]
        assert shown["fence"] == fence
        assert_sound(lab)

    def test_a_region_that_speaks_first_fences_it_with_the_same_words(self, lab: Lab) -> None:
        """And the leader finds it done."""
        job, region, _ = lab.running(**patients(lab))
        lab.apply(BOUGHT)
        region.sync()
        shown = lab.show(job)
        lab.revisit()
        assert lab.show(job) == shown
        assert shown["fence"]["refusals"][0]["facet"] == "forbid_exposure"
        assert (acts(lab, "grant_revoked"), lab.one("select state from attempt_grant")) == (1, "revoked")
        assert_sound(lab)

    def test_a_denied_redemption_explains_itself_as_well(self, lab: Lab) -> None:
        """Denied, not revoked: one act of that."""
        job = lab.place(**patients(lab))
        grant, code = lab.grant_of(job)
        lab.apply(BOUGHT)
        lab.region(code).redeem(grant)
        assert lab.show(job)["fence"]["refusals"][0]["facet"] == "forbid_exposure"
        lab.revisit()
        assert (acts(lab, "grant_denied"), acts(lab, "grant_revoked")) == (1, 0)
        assert_sound(lab)

    def test_a_supervisor_that_asks_again_for_a_revoked_grant_gets_nothing(self, lab: Lab) -> None:
        """Even when it is lawful again by then: the attempt was told to stop."""
        job, region, run = lab.running(**patients(lab))
        lab.apply(BOUGHT)
        lab.revisit()
        lab.apply(SOLD)
        answer = region.redeem(run.grant, run.redemption)
        assert (answer["outcome"], answer["grant"]) == ("gone", "")
        assert region.sync()["stop"][0]["reason"] == "fenced"
        assert job

    def test_a_success_in_the_very_message_that_finds_it_unlawful_is_a_fence(self, lab: Lab) -> None:
        """It is judged before its outputs are kept; its neighbours' reports are stored."""
        job, region, run = lab.running(**patients(lab, outputs=["model"]))
        neighbour, _, plain = lab.running(resources={"gpu": "B200:1"})
        lab.apply(BOUGHT)
        region.sync(run.ended(outputs={"model": DATA}), plain.ended(), live=[run, plain])
        assert (lab.state(job), lab.state(neighbour)) == ("fenced", "succeeded")
        assert lab.show(job)["fence"]["refusals"][0]["facet"] == "forbid_exposure"
        assert acts(lab, "grant_revoked") == 0
        assert_sound(lab)

    def test_a_certificate_of_it_holds(self, lab: Lab) -> None:
        """With the revocation among its entries."""
        job = fenced(lab)
        lab.cancel(job)
        lab.seal()
        report = lab.verify(job)
        assert failing(report) == {}
        assert report.certificate is not None
        assert "grant_revoked" in {one.entry["act"] for one in report.certificate.audit.entries}

    def test_a_job_that_never_was_fenced_has_no_fence(self, lab: Lab) -> None:
        """Nor one that goes on."""
        job, _, _ = lab.running()
        lab.revisit()
        assert lab.show(job)["fence"] is None


class TestResumed:
    """Going on is the owner's choice, and a new attempt like any other."""

    def test_it_is_refused_while_no_pool_is_lawful(self, lab: Lab) -> None:
        """With the reason; the job stays as it is, the refusal is one act."""
        lab.put("patients", "se-bor-1", DATA)
        job = fenced(lab)
        region = lab.one("select document from region where code = 'se-bor-1'")
        lab.apply({**region, "operator": "mainkai-cloud"})
        answer = lab.retry(job, expect=422)
        assert answer["code"] in {"residency_unsatisfiable", "data_not_in_region"}
        assert lab.state(job) == "fenced"
        assert (acts(lab, "resume_refused"), acts(lab, "job_resumed")) == (1, 0)
        assert_sound(lab)

    def test_when_it_is_lawful_again_another_attempt_starts_with_a_newer_fence(self, lab: Lab) -> None:
        """Nothing starts by itself before; the number counts on."""
        job = fenced(lab)
        lab.apply(SOLD)
        lab.revisit()
        assert lab.cycle().placed == 0
        answer = lab.retry(job)
        assert (answer["state"], answer["reason"]) == ("recovering", None)
        assert_sound(lab)
        assert lab.cycle().placed == 1
        region, run = lab.take(job)
        assert run.fence == 2
        region.start(run)
        region.end(run)
        assert lab.state(job) == "succeeded"
        assert lab.show(job)["fence"] is None
        assert_sound(lab)
        lab.seal()
        assert failing(lab.verify(job)) == {}

    def test_it_is_judged_again_at_apply_and_at_redemption(self, lab: Lab) -> None:
        """Law that moves after the owner's choice counts."""
        job = fenced(lab)
        lab.apply(SOLD)
        lab.revisit()
        lab.retry(job)
        lab.apply(BOUGHT)
        assert lab.cycle().placed == 0
        lab.apply(SOLD)
        assert lab.cycle().placed == 1
        grant, code = lab.grant_of(job)
        lab.apply(BOUGHT)
        assert lab.region(code).redeem(grant)["outcome"] == "refused"
        assert lab.state(job) == "fenced"
        lab.apply(SOLD)
        lab.retry(job)
        assert_sound(lab)

    def test_it_goes_on_from_a_checkpoint_that_may_be_read(self, lab: Lab) -> None:
        """One that lies where it may not any more counts as nowhere."""
        job, region, run = lab.running(**patients(lab))
        region.publish(run, "step-1", manifest(s="1"))
        lab.apply(BOUGHT)
        lab.revisit()
        region.sync()
        region.end(run, "fenced", reason="fenced")
        [checkpoint] = lab.show(job)["artifacts"]
        assert checkpoint["fences"][0]["region"] == "fr-bru-1"
        lab.apply(SOLD)
        lab.revisit()
        lab.retry(job)
        assert lab.cycle().placed == 1
        assert lab.one("select resume_from from attempt where number = 2") == checkpoint["id"]

    @pytest.mark.parametrize("how", ["queued", "running", "succeeded", "cancelled"])
    def test_only_a_fenced_job_waits_for_that_choice(self, lab: Lab, how: str) -> None:
        """Any other answers with its state."""
        if how == "queued":
            job = lab.submit()
        else:
            job, region, run = lab.running()
            if how == "succeeded":
                region.end(run)
            elif how == "cancelled":
                lab.cancel(job)
                region.end(run, "cancelled", reason="cancelled_by_user")
        answer = lab.retry(job, expect=409)
        assert (answer["code"], how in answer["detail"]) == ("job_not_fenced", True)
        assert acts(lab, "job_resumed") == 0

    def test_twice_is_once(self, lab: Lab) -> None:
        """The second finds it waiting."""
        job = fenced(lab)
        lab.apply(SOLD)
        lab.revisit()
        lab.retry(job)
        assert lab.retry(job, expect=409)["code"] == "job_not_fenced"
        assert acts(lab, "job_resumed") == 1

    def test_a_fenced_job_can_be_cancelled_instead(self, lab: Lab) -> None:
        """Or after its owner had it go on."""
        job = fenced(lab)
        lab.apply(SOLD)
        lab.revisit()
        lab.retry(job)
        lab.cancel(job)
        assert lab.state(job) == "cancelled"
        assert_sound(lab)


class TestRead:
    """Bytes in a place that became unlawful are refused by api and gateway, and stay."""

    def test_leave_is_refused_with_the_facet_until_it_is_released(self, lab: Lab) -> None:
        """And the region's gateway is told of the leave that is about."""
        artifact = lab.put("patients", "fr-bru-1", DATA)
        path = f"{ARTIFACTS}/{artifact}:read"
        access = lab.admin("POST", path, {}, expect=200).json()
        claims = read_access(access["token"], keys=trusted(lab.context.grant_key.public), now=lab.clock.now())
        region = lab.region("fr-bru-1")
        assert region.sync()["fenced_objects"] == []
        lab.apply(BOUGHT)
        lab.revisit()
        assert region.sync()["fenced_objects"] == [claims.about] == [f"artifact:{artifact}"]
        answer = lab.admin("POST", path, {}, expect=422).json()
        assert answer["code"] == "fenced"
        assert "forbid_exposure" in answer["detail"]
        assert answer["fences"][0]["refusals"][0]["facet"] == "forbid_exposure"
        shown = lab.admin("GET", f"{ARTIFACTS}/{artifact}").json()
        assert shown["regions"] == ["fr-bru-1"]
        assert [one["region"] for one in shown["fences"]] == ["fr-bru-1"]
        assert lab.admin("POST", f"{ARTIFACTS}/{artifact}:copy", {"region": "se-bor-1"}, expect=422).json()["code"] == (
            "fenced"
        )
        lab.apply(SOLD)
        lab.admin("POST", path, {}, expect=422)
        lab.revisit()
        lab.admin("POST", path, {}, expect=200)
        assert region.sync()["fenced_objects"] == []
        assert (acts(lab, "artifact_fenced"), acts(lab, "artifact_released")) == (1, 1)

    def test_the_gateway_is_told_for_as_long_as_leave_may_be_about(self, lab: Lab) -> None:
        """After that only the api has to refuse."""
        artifact = lab.put("patients", "fr-bru-1", DATA)
        lab.apply(BOUGHT)
        lab.revisit()
        region = lab.region("fr-bru-1")
        lab.pass_time(3599)
        assert region.sync()["fenced_objects"] == [f"artifact:{artifact}"]
        lab.pass_time(1)
        assert region.sync()["fenced_objects"] == []
        lab.admin("POST", f"{ARTIFACTS}/{artifact}:read", {}, expect=422)

    def test_another_regions_place_is_read_meanwhile(self, lab: Lab) -> None:
        """Nothing is moved for that; it was there."""
        artifact = lab.put("patients", "fr-bru-1", DATA, {**PATIENTS, "forbid_exposure": []})
        lab.put("patients", "se-bor-1", DATA, {**PATIENTS, "forbid_exposure": []})
        region = lab.one("select document from region where code = 'fr-bru-1'")
        lab.apply({**region, "access_territories": ["DE"]})
        lab.revisit()
        access = lab.admin("POST", f"{ARTIFACTS}/{artifact}:read", {}, expect=200).json()
        assert "se-bor-1" in access["url"]
        shown = lab.admin("GET", f"{ARTIFACTS}/{artifact}").json()
        assert [one["region"] for one in shown["fences"]] == ["fr-bru-1"]
        assert shown["fenced_at"] is None

    def test_a_job_is_not_accepted_on_data_that_nobody_may_read(self, lab: Lab) -> None:
        """It says where they would have to be."""
        lab.put("patients", "fr-bru-1", DATA, {**PATIENTS, "forbid_exposure": []})
        region = lab.one("select document from region where code = 'fr-bru-1'")
        lab.apply(
            {**region, "endpoints": {**region["endpoints"], "key": {"territory": "DE", "operator": "mainkai-cloud"}}}
        )
        lab.revisit()
        body = {"name": "a", "command": ["true"], "inputs": ["dataset/patients"]}
        assert lab.admin("POST", JOBS, body, expect=422).json()["code"] == "data_not_in_region"


class TestDerogated:
    """Leave to fall short of a facet counts for what is there, as long as it lasts."""

    def test_what_a_derogation_covers_is_not_fenced_by_the_leader(self, lab: Lab) -> None:
        """The region's next word takes the use; taken back, it ends what rests on it."""
        members = Members.of(lab)
        granted = members.grant()
        job, region, _ = lab.running(**patients(lab))
        lab.apply(BOUGHT)
        lab.revisit()
        assert lab.show(job)["reason"] is None
        assert region.sync()["stop"] == []
        assert members.show(granted)["uses"] == 1
        lab.revisit()
        assert lab.show(job)["reason"] is None
        members.revoke(granted)
        lab.revisit()
        assert lab.show(job)["message"].startswith("forbid_exposure: ")
        assert region.sync()["stop"][0]["reason"] == "fenced"
        assert_sound(lab)

    def test_it_ends_at_its_end_also_for_a_region_that_is_silent(self, lab: Lab) -> None:
        """No epoch moves; what rests on it does not outlive it."""
        members = Members.of(lab)
        members.grant(not_after=(lab.clock.now() + timedelta(hours=1)).isoformat())
        job, region, _ = lab.running(**patients(lab))
        lab.apply(BOUGHT)
        region.sync()
        lab.pass_time(3599)
        lab.revisit()
        assert lab.show(job)["reason"] is None
        lab.pass_time(1)
        lab.revisit()
        assert lab.show(job)["reason"] == "fenced"

    def test_bytes_may_lie_and_be_read_while_it_lasts(self, lab: Lab) -> None:
        """Also where it is for one dataset alone; another's place beside it is closed."""
        members = Members.of(lab)
        artifact = lab.put("patients", "fr-bru-1", DATA)
        other = lab.put("others", "fr-bru-1", manifest(b="2"))
        granted = members.grant(subjects=["dataset/patients"])
        lab.apply(BOUGHT)
        lab.revisit()
        assert lab.rows("select artifact_id from location where fenced_at is not null") == [(other,)]
        members.revoke(granted)
        lab.revisit()
        closed = lab.rows("select artifact_id from location where fenced_at is not null order by 1")
        assert closed == sorted([(artifact,), (other,)])

    def test_a_fenced_job_goes_on_under_one(self, lab: Lab) -> None:
        """Its owner's choice is judged with it, as a submission is."""
        job = fenced(lab)
        lab.retry(job, expect=422)
        Members.of(lab).grant()
        lab.revisit()
        lab.retry(job)
        assert lab.cycle().placed == 1
