"""A plan answers as a submission would be answered at that moment, derogations of the project counted in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from support.command_line import Nordan
from support.derogating import Members
from support.lab import BOUGHT, JOBS, Lab, job
from support.region_side import manifest

Json = dict[str, Any]


@pytest.fixture
def wanted(planner: Lab) -> Json:
    """Return a job that no pool may run any more: the operator of those that may was bought."""
    planner.apply({"kind": "ControlPlane", "territory": "FR", "operator": "caisse-du-rhone"})
    planner.put("patients", "fr-bru-1", manifest(a__csv="1"))
    planner.apply(BOUGHT)
    return job(inputs=["dataset/patients"])


def planned(lab: Lab, document: Json) -> Json:
    answer: Json = lab.admin("POST", f"{JOBS}:plan", document, expect=200).json()
    return answer


def test_without_a_derogation_the_plan_refuses_as_the_submission_does(planner: Lab, wanted: Json) -> None:
    refused = planner.admin("POST", JOBS, wanted, expect=422).json()
    answer = planned(planner, wanted)
    assert (answer["startable"], answer["never"]["code"]) == (False, refused["code"])
    assert [one["pool"] for one in answer["regions"] if one["allowed"] or one["derogations"]] == []


@pytest.mark.parametrize("subject", ["project/default", "dataset/patients"])
def test_a_derogation_in_force_is_counted_in_and_named(planner: Lab, wanted: Json, subject: str) -> None:
    granted = Members.of(planner).grant(subjects=[subject])
    answer = planned(planner, wanted)
    assert (answer["startable"], answer["never"]) == (True, None)
    allowed = {one["pool"]: one["derogations"] for one in answer["regions"] if one["allowed"]}
    assert allowed
    assert all(named == [granted["id"]] for named in allowed.values())
    planner.place(**wanted)
    assert planner.one("select pool from attempt") == answer["chosen"]


def test_a_derogation_that_is_used_up_or_over_is_not_counted_in(planner: Lab, wanted: Json) -> None:
    members = Members.of(planner)
    used, taken_back = members.grant(max_uses=1), members.grant()
    planner.place(**wanted)
    assert {members.show(one)["uses"] for one in (used, taken_back)} == {0, 1}
    for one in (used, taken_back):
        if members.show(one)["state"] == "approved":
            members.revoke(one)
    answer = planned(planner, wanted)
    planner.admin("POST", JOBS, wanted, expect=422)
    assert (answer["startable"], answer["never"]["code"]) == (False, "residency_unsatisfiable")


def test_what_needs_none_names_none(planner: Lab) -> None:
    Members.of(planner).grant()
    answer = planned(planner, job())
    assert answer["startable"]
    assert [one["derogations"] for one in answer["regions"] if one["derogations"]] == []


def test_the_command_line_names_it(planner: Lab, wanted: Json, nordan: Nordan, tmp_path: Path) -> None:
    """Below the table, since a pool may lack room besides."""
    granted = Members.of(planner).grant()
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(wanted))
    ended = nordan("plan", "-f", str(file))
    assert ended.code == 0
    assert f"fr-bru-1-h100: allowed by {granted['id']} alone" in ended.out
