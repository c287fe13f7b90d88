"""A copy between regions is a transfer: its own decision, its own permission, its own line in the log."""

from __future__ import annotations

from typing import Any

from nordan_core.proof.keys import trusted
from nordan_core.proof.tokens import read_access
from support.lab import BOUGHT, PATIENTS, Lab, job
from support.region_side import manifest

DATA = manifest(a__csv="1")
DATASETS, ARTIFACTS = "/v1/projects/default/datasets", "/v1/projects/default/artifacts"
FRENCH = {**PATIENTS, "residency": ["FR"]}


def copy(lab: Lab, artifact: str, region: str, *, expect: int = 201) -> dict[str, Any]:
    answer: dict[str, Any] = lab.admin("POST", f"{ARTIFACTS}/{artifact}:copy", {"region": region}, expect=expect).json()
    return answer


def source(lab: Lab, region: str, upload: str, *, expect: int = 200) -> dict[str, Any]:
    return lab.worker(region, "/worker/v1/uploads:source", {"upload_id": upload}, expect=expect)


def acts(lab: Lab, *names: str) -> list[str]:
    rows = lab.rows("select act from audit_entry where act = any(:acts) order by id", acts=list(names))
    return [act for (act,) in rows]


def test_a_copy_makes_one_more_place_and_one_entry_each_for_leave_and_arrival(lab: Lab) -> None:
    artifact = lab.put("patients", "fr-bru-1", DATA)
    access = copy(lab, artifact, "se-bor-1")
    assert access["url"].endswith("/se-bor-1"), "the target fetches; the caller never holds the bytes"
    told = source(lab, "se-bor-1", access["upload_id"])
    lab.region("se-bor-1").commit(access["upload_id"], told["manifest"])
    assert lab.admin("GET", f"{ARTIFACTS}/{artifact}").json()["regions"] == ["fr-bru-1", "se-bor-1"]
    assert acts(lab, "copy_allowed", "copy_refused") == ["copy_allowed"]
    [body] = lab.rows("select body from audit_entry where act = 'copy_allowed'")[0]
    assert (body["artifact"], body["region"]) == (artifact, "se-bor-1")
    stored = lab.rows("select subject, body ->> 'region' from audit_entry where act = 'artifact_stored' order by id")
    assert stored[-1] == (artifact, "se-bor-1")


def test_a_job_may_run_where_its_data_were_copied_to(lab: Lab) -> None:
    artifact = lab.put("patients", "fr-bru-1", DATA)
    waiting = lab.submit(inputs=["dataset/patients"], resources={"gpu": "H200:1"}, max_wait="1h")
    assert lab.cycle().placed == 0
    access = copy(lab, artifact, "se-bor-1")
    lab.region("se-bor-1").commit(access["upload_id"], DATA)
    assert lab.cycle().placed == 1
    assert lab.grant_of(waiting)[1] == "se-bor-1"


def test_the_source_is_told_to_the_target_alone_with_leave_to_read_these_bytes(lab: Lab) -> None:
    artifact = lab.put("patients", "fr-bru-1", DATA)
    upload = copy(lab, artifact, "se-bor-1")["upload_id"]
    told = source(lab, "se-bor-1", upload)
    claims = read_access(told["token"], keys=trusted(lab.context.grant_key.public), now=lab.clock.now())
    digest = lab.admin("GET", f"{ARTIFACTS}/{artifact}").json()["digest"]
    assert (claims.audience, claims.act, claims.obj) == ("gateway:fr-bru-1", "read", f"manifest:{digest}")
    assert told["url"].endswith(f"/fr-bru-1/v1/manifests/{digest}")
    source(lab, "no-nar-1", upload, expect=404)


def test_a_place_that_the_policy_does_not_allow_is_refused_with_the_facet(lab: Lab) -> None:
    artifact = lab.put("patients", "fr-bru-1", DATA, FRENCH)
    refused = copy(lab, artifact, "se-bor-1", expect=422)
    assert refused["code"] == "rejected_by_policy"
    assert refused["refusals"][0]["facet"] == "store"
    assert acts(lab, "copy_allowed", "copy_refused") == ["copy_refused"]


def test_law_that_moves_after_leave_was_given_stops_the_copy(lab: Lab) -> None:
    lab.apply({"kind": "ControlPlane", "territory": "FR", "operator": "caisse-du-rhone"})
    artifact = lab.put("patients", "fr-bru-1", DATA)
    upload = copy(lab, artifact, "se-bor-1")["upload_id"]
    lab.apply(BOUGHT)
    assert source(lab, "se-bor-1", upload, expect=422)["code"] == "fenced"
    assert lab.region("se-bor-1").commit(upload, DATA, expect=422)["code"] == "fenced"
    assert lab.admin("GET", f"{ARTIFACTS}/{artifact}").json()["regions"] == ["fr-bru-1"]


def test_other_bytes_than_the_artifacts_are_not_taken_for_it(lab: Lab) -> None:
    artifact = lab.put("patients", "fr-bru-1", DATA)
    upload = copy(lab, artifact, "se-bor-1")["upload_id"]
    answer = lab.region("se-bor-1").commit(upload, manifest(a__csv="2"), expect=409)
    assert answer["code"] == "copy_differs"


def test_a_copy_to_where_the_bytes_are_is_a_conflict(lab: Lab) -> None:
    artifact = lab.put("patients", "fr-bru-1", DATA)
    assert copy(lab, artifact, "fr-bru-1", expect=409)["code"] == "already_there"


def test_fenced_bytes_are_not_copied(lab: Lab) -> None:
    artifact = lab.put("patients", "fr-bru-1", DATA)
    upload = copy(lab, artifact, "se-bor-1")["upload_id"]
    with lab.engine.begin() as connection:
        connection.exec_driver_sql("update artifact set fenced_at = now()")
    assert copy(lab, artifact, "se-bor-1", expect=422)["code"] == "fenced"
    assert source(lab, "se-bor-1", upload, expect=422)["code"] == "fenced"


def test_leave_to_copy_expires(lab: Lab) -> None:
    artifact = lab.put("patients", "fr-bru-1", DATA)
    upload = copy(lab, artifact, "se-bor-1")["upload_id"]
    lab.pass_time(2 * 3600)
    assert source(lab, "se-bor-1", upload, expect=409)["code"] == "upload_expired"


def test_bad_words_say_what_is_wanted(lab: Lab) -> None:
    artifact = lab.put("patients", "fr-bru-1", DATA)
    assert lab.admin("POST", f"{ARTIFACTS}/{artifact}:copy", {}, expect=422).json()["errors"][0]["field"] == "region"
    assert copy(lab, artifact, "xx-no-1", expect=404)["code"] == "not_found"
    assert copy(lab, "art_absent", "se-bor-1", expect=404)["code"] == "not_found"


def put_files(lab: Lab, region: str, **changes: Any) -> str:
    body = {"region": region, "job": job(files=DATA, **changes)}
    access = lab.admin("POST", "/v1/projects/default/files:put", body, expect=201).json()
    return str(lab.region(region).commit(access["upload_id"], DATA)["artifact_id"])


def test_job_files_are_not_copied_to_where_their_jobs_inputs_may_not_lie(lab: Lab) -> None:
    """Files may carry what the data taught."""
    lab.put("patients", "fr-bru-1", manifest(b__csv="2"), FRENCH)
    files = put_files(lab, "fr-bru-1", inputs=["dataset/patients"])
    assert copy(lab, files, "se-bor-1", expect=422)["code"] == "rejected_by_policy"


def test_the_same_bytes_under_another_policy_are_another_artifact(lab: Lab) -> None:
    lab.put("patients", "fr-bru-1", manifest(b__csv="2"), FRENCH)
    tight = put_files(lab, "fr-bru-1", inputs=["dataset/patients"])
    wide = put_files(lab, "se-bor-1")
    assert tight != wide
    assert lab.admin("GET", f"{ARTIFACTS}/{tight}").json()["regions"] == ["fr-bru-1"]
    assert put_files(lab, "fr-bru-1") == wide, "under the same policy they are one, in two places"
    inside = lab.submit(files=DATA, inputs=["dataset/patients"])
    outside = lab.submit(files=DATA)
    chosen = dict(lab.rows("select job_id, artifact_id from job_input where name = '.files'"))
    assert (chosen[inside], chosen[outside]) == (tight, wide)


def test_a_job_of_wider_outputs_does_not_get_at_files_by_their_digests(lab: Lab) -> None:
    """They were put for a job whose data may not leave France; a tighter job may have those of a wider one."""
    lab.put("patients", "fr-bru-1", manifest(b__csv="2"), FRENCH)
    put_files(lab, "fr-bru-1", inputs=["dataset/patients"])
    refused = lab.admin("POST", "/v1/projects/default/jobs", job(files=DATA), expect=404).json()
    assert "under this job's policy" in refused["detail"]
    assert lab.one("select count(*) from job") == 0
    wide = put_files(lab, "fr-bru-1")
    lab.submit(files=DATA, policy={"process": ["FR"]})
    assert lab.rows("select artifact_id from job_input where name = '.files'") == [(wide,)]
