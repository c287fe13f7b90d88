"""A job that can never run is told so with its files as without them: nobody is asked to put files for it first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from support.command_line import Nordan
from support.lab import JOBS, PATIENTS, Lab, job
from support.region_side import manifest

Json = dict[str, Any]
FILES: Json = {"files": manifest(train__py="1")}
HERE: Json = {"residency": ["FR", "SE"]}
NEVER = {
    "the control plane may not describe it": ({"residency": ["SE"]}, "control_plane_outside_describe"),
    "no pool may process it": ({"process": ["DE"]}, "residency_unsatisfiable"),
    "no place is left at all": ({"process": ["PT"]}, "residency_unsatisfiable"),
    "no pool has so many nodes": (HERE, "no_capacity"),
    "no lawful region holds the data": ({"process": ["SE"]}, "data_not_in_region"),
}


@pytest.fixture(params=NEVER)
def never(lab: Lab, request: pytest.FixtureRequest) -> tuple[Json, str]:
    """Return a document without files that can never run, and the reason."""
    policy, reason = NEVER[request.param]
    lab.put("patients", "fr-bru-1", manifest(a__csv="1"), PATIENTS)
    nodes = 4000 if reason == "no_capacity" else 1
    return job(inputs=["dataset/patients"], policy=policy, nodes=nodes), reason


def told(problem: Json) -> Json:
    """Return what a problem says of the job itself."""
    return {name: value for name, value in problem.items() if name != "request_id"}


def refusals(lab: Lab) -> list[Json]:
    """Return the entries of refusals, oldest first, without their instants."""
    bodies: list[Json] = [
        body for (body,) in lab.rows("select body from audit_entry where act = 'job_refused' order by at, id")
    ]
    for body in bodies:
        for one in body["judged"]:
            one.pop("at")
    return bodies


def test_a_refusal_and_its_entry_are_the_same_with_files(lab: Lab, never: tuple[Json, str]) -> None:
    """Reason, conflict and relaxation; files that nobody put are not spoken of."""
    document, reason = never
    without = lab.admin("POST", JOBS, document, expect=422).json()
    with_files = lab.admin("POST", JOBS, {**document, **FILES}, expect=422).json()
    assert told(with_files) == told(without)
    assert with_files["code"] == reason
    first, second = refusals(lab)
    assert first == second


def test_a_batch_refuses_the_same_with_files(lab: Lab, never: tuple[Json, str]) -> None:
    """Beside a job that may run and lacks its files, which is no act."""
    document, reason = never
    jobs = [document, {**document, **FILES}, job(**FILES)]
    items = lab.admin("POST", f"{JOBS}:batchCreate", {"jobs": jobs}, expect=200).json()["items"]
    first, second, lacking = (told(one["problem"]) for one in items)
    assert first == second
    assert (second["code"], lacking["code"]) == (reason, "not_found")
    assert len(refusals(lab)) == 2


def test_a_lawful_job_is_still_asked_for_its_files(lab: Lab) -> None:
    """Nothing is stored and nothing is written down: it was neither accepted nor refused for good."""
    answer = lab.admin("POST", JOBS, job(**FILES), expect=404).json()
    assert "put them through a gateway first" in answer["detail"]
    assert (lab.one("select count(*) from job"), refusals(lab)) == (0, [])


def test_the_command_line_says_why_a_job_with_files_can_never_run(
    planner: Lab, nordan: Nordan, never: tuple[Json, str], tmp_path: Path
) -> None:
    """It asks for a plan, sends no byte, and prints the api's reason with what would help."""
    document, reason = never
    (tmp_path / "train.py").write_text("print()\n")
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump({**document, "files": ["train.py"]}))
    ended = nordan("submit", "-f", str(file))
    bare = tmp_path / "bare.yaml"
    bare.write_text(yaml.safe_dump(document))
    same = nordan("submit", "-f", str(bare))
    assert (ended.code, ended.out) == (1, "")
    assert reason in ended.err
    assert "files" not in ended.err
    assert _without_request(ended.err) == _without_request(same.err)
    assert planner.one("select count(*) from upload") == 1, "that of the data, which were put before"


def _without_request(printed: str) -> list[str]:
    return [line for line in printed.splitlines() if "request: req_" not in line]
