"""Every path on which something is begun, continued, shown or moved asks the judge: enumerated, and each shown to.

Each path is walked twice: as it is, where it gives what was asked; and under a judge that refuses everything, where it
must give nothing. A route that is neither on a path nor named here as free fails, so a new one cannot be forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from nordan_core.atlases import AtlasShelf
from nordan_core.facts import FactsCache
from nordan_core.residency import judge
from nordan_core.residency.verdicts import FacetRefusal
from support.lab import JOBS, PATIENTS, Lab
from support.lab import job as a_document
from support.region_side import Run, manifest
from support.routes import routes_of

DATA = manifest(a__csv="1")
P = "/v1/projects/{project}"
HOME = "/v1/projects/default"

Act = Callable[[], bool]
"""Does the act and tells whether it gave what was asked."""
Walk = Callable[[Lab], Act]
"""Brings a lab to where the act can be done."""


def _submit(lab: Lab) -> Act:
    return lambda: lab.admin("POST", JOBS, a_document()).status_code == 202


def _submit_many(lab: Lab) -> Act:
    def act() -> bool:
        items = lab.admin("POST", f"{JOBS}:batchCreate", {"jobs": [a_document()]}, expect=200).json()["items"]
        return [one["status"] for one in items] == [202]

    return act


def _apply(lab: Lab) -> Act:
    lab.submit()
    return lambda: lab.cycle().placed == 1


def _redeem(lab: Lab) -> Act:
    grant, code = lab.grant_of(lab.place())
    return lambda: lab.region(code).redeem(grant)["outcome"] == "granted"


def _renew(lab: Lab) -> Act:
    _, region, run = lab.running()
    until = "select alive_until from attempt_grant"

    def act() -> bool:
        before = lab.one(until)
        lab.clock.advance(60)
        down = region.sync()
        is_stopped = [one["attempt_id"] for one in down["stop"]] == [run.attempt]
        assert is_stopped is (lab.one(until) == before)
        return not is_stopped

    return act


def _retry(lab: Lab) -> Act:
    _, region, run = lab.running()
    region.end(run, "lost", reason="node_lost")
    lab.pass_time(61)
    return lambda: lab.cycle().placed == 1


def _resume(lab: Lab) -> Act:
    job, region, run = lab.running()
    region.end(run, "fenced", reason="fenced")
    return lambda: lab.admin("POST", f"{JOBS}/{job}:retry", {}).status_code == 200


def _scale(lab: Lab) -> Act:
    """A replica is an attempt like any other: there is one way to make them."""
    lab.submit(kind="inference", port=8080)
    return lambda: lab.cycle().placed == 1


def _serve(lab: Lab) -> Act:
    job, region, run = lab.running(kind="inference", port=8080)
    region.sync(run.report("running", is_ready=True))
    return lambda: lab.admin("POST", f"{JOBS}/{job}:connect", {}).status_code == 200


def _read_log(lab: Lab) -> Act:
    job, _, _ = lab.running()
    return lambda: lab.admin("GET", f"{JOBS}/{job}/logs").status_code == 200


def _exec(lab: Lab) -> Act:
    job, _, _ = lab.running()
    return lambda: lab.admin("POST", f"{JOBS}/{job}:exec", {}).status_code == 200


def _go_on_with_exec(lab: Lab) -> Act:
    job, _, _ = lab.running()
    token = lab.admin("POST", f"{JOBS}/{job}:exec", {}, expect=200).json()["token"]
    return lambda: lab.admin("POST", f"{JOBS}/{job}:exec", {"renew": token}).status_code == 200


def _read_artifact(lab: Lab) -> Act:
    artifact = lab.put("patients", "fr-bru-1", DATA)
    return lambda: lab.admin("POST", f"{HOME}/artifacts/{artifact}:read", {}).status_code == 200


def _name_dataset(lab: Lab) -> Act:
    body = {"name": "patients", "policy": PATIENTS}
    return lambda: lab.admin("POST", f"{HOME}/datasets", body).status_code == 201


def _put_dataset(lab: Lab) -> Act:
    lab.admin("POST", f"{HOME}/datasets", {"name": "patients", "policy": PATIENTS}, expect=201)
    return lambda: lab.admin("POST", f"{HOME}/datasets/patients:put", {"region": "fr-bru-1"}).status_code == 201


def _put_files(lab: Lab) -> Act:
    body = {"region": "fr-bru-1", "job": a_document()}
    return lambda: lab.admin("POST", f"{HOME}/files:put", body).status_code == 201


def _commit(lab: Lab) -> Act:
    lab.admin("POST", f"{HOME}/datasets", {"name": "patients", "policy": PATIENTS}, expect=201)
    path = f"{HOME}/datasets/patients:put"
    upload = lab.admin("POST", path, {"region": "fr-bru-1"}, expect=201).json()["upload_id"]
    return lambda: _worker(lab, "fr-bru-1", "uploads:commit", {"upload_id": upload, "manifest": DATA}) == 201


def _copy(lab: Lab) -> Act:
    artifact = lab.put("patients", "fr-bru-1", DATA)
    path = f"{HOME}/artifacts/{artifact}:copy"
    return lambda: lab.admin("POST", path, {"region": "se-bor-1"}).status_code == 201


def _copying(lab: Lab) -> str:
    artifact = lab.put("patients", "fr-bru-1", DATA)
    answer = lab.admin("POST", f"{HOME}/artifacts/{artifact}:copy", {"region": "se-bor-1"}, expect=201)
    upload: str = answer.json()["upload_id"]
    return upload


def _fetch_copy(lab: Lab) -> Act:
    upload = _copying(lab)
    return lambda: _worker(lab, "se-bor-1", "uploads:source", {"upload_id": upload}) == 200


def _commit_copy(lab: Lab) -> Act:
    upload = _copying(lab)
    return lambda: _worker(lab, "se-bor-1", "uploads:commit", {"upload_id": upload, "manifest": DATA}) == 201


def _publish(lab: Lab) -> Act:
    _, region, run = lab.running()
    body = _checkpoint(run)
    return lambda: _worker(lab, region.code, "artifacts", body) == 201


def _keep_outputs(lab: Lab) -> Act:
    job, region, run = lab.running(outputs=["model"])

    def act() -> bool:
        region.end(run, outputs={"model": DATA})
        return bool(lab.show(job)["artifacts"])

    return act


def _checkpoint(run: Run) -> dict[str, Any]:
    return {"attempt_id": run.attempt, "fence": run.fence, "kind": "checkpoint", "name": "one", "manifest": DATA}


def _worker(lab: Lab, region: str, path: str, body: dict[str, Any]) -> int:
    return lab.call("POST", f"/worker/v1/{path}", body, key=lab.credentials[region]).status_code


#: Each path, and the routes that it goes by; none for what the scheduler does by itself.
PATHS: dict[str, tuple[Walk, tuple[str, ...]]] = {
    "submit": (_submit, (f"POST {P}/jobs",)),
    "submit many": (_submit_many, (f"POST {P}/jobs:batchCreate",)),
    "apply": (_apply, ()),
    "redeem": (_redeem, ("POST /worker/v1/grants:redeem",)),
    "renew": (_renew, ("POST /worker/v1/sync",)),
    "retry": (_retry, ()),
    "resume": (_resume, (f"POST {P}/jobs/{{job}}:retry",)),
    "scale": (_scale, ()),
    "serve": (_serve, (f"POST {P}/jobs/{{job}}:connect",)),
    "log read": (_read_log, (f"GET {P}/jobs/{{job}}/logs",)),
    "artifact read": (_read_artifact, (f"POST {P}/artifacts/{{artifact}}:read",)),
    "dataset name": (_name_dataset, (f"POST {P}/datasets",)),
    "dataset put": (_put_dataset, (f"POST {P}/datasets/{{dataset}}:put",)),
    "files put": (_put_files, (f"POST {P}/files:put",)),
    "commit": (_commit, ("POST /worker/v1/uploads:commit",)),
    "copy": (_copy, (f"POST {P}/artifacts/{{artifact}}:copy",)),
    "copy fetch": (_fetch_copy, ("POST /worker/v1/uploads:source",)),
    "copy commit": (_commit_copy, ("POST /worker/v1/uploads:commit",)),
    "exec": (_exec, (f"POST {P}/jobs/{{job}}:exec",)),
    "exec renew": (_go_on_with_exec, (f"POST {P}/jobs/{{job}}:exec",)),
    "checkpoint": (_publish, ("POST /worker/v1/artifacts",)),
    "outputs": (_keep_outputs, ("POST /worker/v1/sync",)),
}
#: Routes that begin, continue, show or move nothing that a policy is about, each with why.
FREE: dict[str, str] = {
    f"POST {P}/jobs:plan": "asks the judge and stores nothing; tests/scheduler/test_port.py",
    f"GET {P}/jobs": "descriptions that this control plane was judged for at submission",
    f"GET {P}/jobs/{{job}}": "as above",
    f"GET {P}/jobs/{{job}}/attempts": "as above",
    f"GET {P}/jobs/{{job}}/artifacts": "names, digests and places, no bytes",
    f"GET {P}/jobs/{{job}}/usage": "an account",
    f"GET {P}/jobs/{{job}}/certificate": "a statement about what was",
    f"POST {P}/jobs/{{job}}:cancel": "ends",
    f"POST {P}/derogations": "asks; counts for nothing until two have approved it, and then at each judgement",
    f"GET {P}/derogations": "texts",
    f"GET {P}/derogations/{{derogation}}": "a text",
    f"POST {P}/derogations/{{derogation}}:approve": "steps the epoch; whatever rests on it is judged",
    f"POST {P}/derogations/{{derogation}}:withdraw": "changes nothing that counts",
    f"POST {P}/derogations/{{derogation}}:revoke": "steps the epoch; whatever rests on it is judged",
    f"GET {P}/datasets/{{dataset}}/lineage": "names, digests and places, no bytes",
    f"GET {P}/datasets/{{dataset}}/where": "asks the judge and gives its word",
    f"GET {P}/artifacts/{{artifact}}/lineage": "names, digests and places, no bytes",
    f"GET {P}/artifacts/{{artifact}}/where": "asks the judge and gives its word",
    f"POST {P}/artifacts/{{artifact}}:declassify": "asks; counts for nothing until two have approved it",
    f"GET {P}/policies": "what floors and datasets said, no bytes",
    f"GET {P}/declassifications": "texts",
    f"GET {P}/declassifications/{{declassification}}": "a text",
    f"POST {P}/declassifications/{{declassification}}:approve": "steps the epoch; what follows is judged",
    f"POST {P}/declassifications/{{declassification}}:withdraw": "changes nothing that counts",
    f"POST {P}/declassifications/{{declassification}}:revoke": "steps the epoch; whatever rests on it is judged",
    f"GET {P}/datasets": "names, digests and places, no bytes",
    f"GET {P}/datasets/{{dataset}}": "as above",
    f"GET {P}/artifacts/{{artifact}}": "as above",
}
#: Routes about the platform itself: no tenant's work or bytes are theirs.
PLATFORM = {
    *("GET /healthz", "GET /readyz", "GET /openapi.json", "GET /v1/me", "GET /v1/keys", "GET /v1/cell"),
    *("GET /v1/organisations", "POST /v1/organisations", "POST /v1/organisations/{organisation}/keys"),
    *("GET /v1/organisations/{organisation}/keys", "DELETE /v1/organisations/{organisation}/keys/{key}"),
    *("GET /v1/projects", "POST /v1/projects", f"GET {P}"),
    *("POST /v1/admin:apply", "GET /v1/regions", "POST /v1/regions/{code}:join", "GET /v1/pools", "GET /v1/nodes"),
    *("POST /v1/pools/{pool}:{verb}", "POST /v1/pools/{pool}/nodes/{node}:{verb}", "GET /worker/v1/keys"),
    *("GET /v1/audit/checkpoint", "GET /v1/audit/checkpoints", "GET /v1/audit/consistency", "GET /v1/audit/entries"),
    *("GET /v1/atlas", "GET /v1/atlas/{digest}", "POST /v1/atlas:diff", "POST /v1/atlas:apply"),
}


@pytest.fixture
def refusing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Make the judge refuse everything from now on, as a change of law would."""

    def refuse(*_: object) -> Iterator[FacetRefusal]:
        yield FacetRefusal("process", "nowhere", "here", "nothing is lawful any more")

    def begin() -> None:
        for name in ("RUN_CHECKS", "STORAGE_CHECKS"):
            monkeypatch.setattr(judge, name, (refuse,))
        for facet in judge.RUN_LINES:
            monkeypatch.setitem(judge.RUN_LINES, facet, refuse)
        for name in ("_description_outside", "_reader_outside"):
            monkeypatch.setattr(judge, name, refuse)
        # Nothing that masks rest on has moved, so they would be right to stay.
        context = replace(lab.context, facts_cache=FactsCache(AtlasShelf()))
        lab.context = lab.app.state.context = context
        lab.apply({"kind": "Entity", "name": "newcomer", "seat": "PT"})

    return begin


def test_every_path_of_the_design_is_walked() -> None:
    """By the names that the design gives them."""
    named = (
        "submit, apply, redeem, renew, retry, resume, scale, serve, log read, artifact read, dataset put, copy, exec"
    )
    assert set(named.split(", ")) <= PATHS.keys()


@pytest.mark.parametrize("name", PATHS)
def test_a_path_gives_what_was_asked_where_it_is_lawful(lab: Lab, name: str) -> None:
    """Or its refusal below would mean nothing."""
    assert PATHS[name][0](lab)()


@pytest.mark.log_is_broken
@pytest.mark.parametrize("name", PATHS)
def test_a_path_gives_nothing_where_the_judge_refuses(lab: Lab, refusing: Callable[[], None], name: str) -> None:
    """Whatever was said before the law moved."""
    act = PATHS[name][0](lab)
    refusing()
    assert not act()


def test_every_route_is_on_a_path_or_free_of_law(lab: Lab) -> None:
    """A new route without a line here fails this test."""
    on_paths = {route for _, routes in PATHS.values() for route in routes}
    named = on_paths | FREE.keys() | PLATFORM
    assert set(routes_of(lab.app)) - named == set(), "say on which path it is, or why it is free"
    assert named - set(routes_of(lab.app)) == set(), "a line for a route that is not there"
    assert len(named) == len(on_paths) + len(FREE) + len(PLATFORM)
