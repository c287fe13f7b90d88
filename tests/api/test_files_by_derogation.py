"""A job with files that only a derogation makes lawful: they are put by it, and the job runs by it."""

from __future__ import annotations

from typing import Any

from support.certificates import failing
from support.derogating import Members
from support.lab import BOUGHT, Lab
from support.region_side import manifest
from support.soundness import assert_sound


def test_a_job_with_files_is_put_and_submitted_by_it(lab: Lab) -> None:
    """From leave to put them to a certificate; when it ends, leave that is open does."""
    wanted: dict[str, Any] = {"inputs": ["dataset/patients"], "files": manifest(train__py="1")}
    lab.apply({"kind": "ControlPlane", "territory": "FR", "operator": "caisse-du-rhone"})
    lab.put("patients", "fr-bru-1", manifest(a__csv="1"))
    members = Members.of(lab)
    lab.apply(BOUGHT)
    put = {"region": "fr-bru-1", "job": {"name": "x", "command": ["x"], **wanted}}
    door, region = "/v1/projects/default/files:put", lab.region("fr-bru-1")
    lab.admin("POST", door, put, expect=422)
    granted = members.grant()
    upload, open_ = (lab.admin("POST", door, put, expect=201).json()["upload_id"] for _ in range(2))
    assert region.sync()["fenced_objects"] == []
    region.commit(upload, wanted["files"])
    lab.revisit()
    job, region, run = lab.running(**wanted)
    region.end(run)
    lab.seal()
    report = lab.verify(job)
    assert failing(report) == {}
    assert members.show(granted)["uses"] == 1
    assert_sound(lab)
    members.revoke(granted)
    lab.admin("POST", door, put, expect=422)
    assert f"upload:{open_}" in region.sync()["fenced_objects"]
