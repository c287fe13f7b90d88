"""Jobs over REST: submit, refuse, look, cancel."""

from __future__ import annotations

from typing import Any

import pytest

from support.control import Control

Json = dict[str, Any]
JOBS = "/v1/projects/default/jobs"


def job(**changes: Any) -> Json:
    """Return a small job document."""
    return {"name": "hello", "command": ["echo", "hello"], **changes}


def test_a_job_is_accepted_and_shown(europe: Control) -> None:
    """202 with a Location; the job stands in the list and under its own URL."""
    answer = europe.admin("POST", JOBS, job(), expect=202)
    shown = europe.admin("GET", answer.headers["location"], expect=200).json()
    assert shown["id"] == answer.json()["id"]
    assert shown["state"] == "queued"
    assert shown["policy"]["effective"]["class"] == "internal"
    assert [one["id"] for one in europe.admin("GET", JOBS, expect=200).json()["items"]] == [shown["id"]]


def test_a_job_that_no_pool_may_run_is_refused_with_conflict_and_relaxation(europe: Control) -> None:
    """Residency in a territory without pools is refused at submission, and nothing is stored."""
    answer = europe.admin("POST", JOBS, job(policy={"process": ["PT"]}), expect=422).json()
    assert answer["code"] == "residency_unsatisfiable"
    assert answer["conflict"]
    assert answer["relaxation"]["changes"]
    assert europe.admin("GET", JOBS).json()["items"] == []


def test_a_project_that_keeps_its_description_elsewhere_is_refused_with_what_helps(europe: Control) -> None:
    """The control plane stands in FR: `residency: [SE]` cannot be described here."""
    europe.admin(
        "POST", "/v1/projects", {"name": "se", "floor": {"class": "internal", "residency": ["SE"]}}, expect=201
    )
    answer = europe.admin("POST", "/v1/projects/se/jobs", job(), expect=422).json()
    assert answer["code"] == "control_plane_outside_describe"
    assert "describe" in answer["detail"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"colour": "red"}, "colour"),
        ({"policy": {"process": ["UK"]}}, "policy.process.0"),
        ({"policy": {"process": ["EL"]}}, "policy.process.0"),
        ({"policy": {"process": ["fr"]}}, "policy.process.0"),
        ({"policy": {"process": ["\uff26\uff32"]}}, "policy.process.0"),
        ({"policy": {"process": ["FR\n"]}}, "policy.process.0"),
        ({"policy": {"process": [False]}}, "policy.process.0"),
        ({"resources": {"gpu": 0}}, "resources.gpu"),
        ({"resources": {"gpu": -1}}, "resources.gpu"),
        ({"nodes": 10_000}, "nodes"),
        ({"command": []}, "command"),
        ({"command": [""]}, ""),
        ({"env": {"A": "x" * 60_000}}, ""),
        ({"kind": "magic"}, "kind"),
        ({"max_duration": "soon"}, "max_duration"),
    ],
)
def test_bad_input_is_refused_field_by_field(europe: Control, changes: Json, field: str) -> None:
    """Each fault has a clear error that names the field; nothing changes."""
    answer = europe.admin("POST", JOBS, job(**changes), expect=422).json()
    assert answer["errors"][0]["field"] == field
    assert answer["errors"][0]["message"]
    assert europe.admin("GET", JOBS).json()["items"] == []


def test_a_body_over_the_limit_is_refused_unread(europe: Control) -> None:
    """A 1 MiB environment never reaches the parser."""
    answer = europe.admin("POST", JOBS, job(env={"A": "x" * (1 << 20)}), expect=413).json()
    assert answer["code"] == "body_too_large"


def test_duplicate_json_keys_are_an_error(europe: Control) -> None:
    """JSON that says a key twice is ambiguous, so it is refused."""
    body = '{"name": "a", "command": ["true"], "nodes": 1, "nodes": 2}'
    headers = {"Authorization": f"Bearer {europe.admin_key}"}
    response = europe.client.post(JOBS, content=body, headers=headers)
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "nodes"


def test_the_same_idempotency_key_gives_the_same_job(europe: Control) -> None:
    """A retry is answered with the first job; another body under that key conflicts."""
    first = europe.admin("POST", JOBS, job(), expect=202, Idempotency_Key="k1").json()
    again = europe.admin("POST", JOBS, job(), expect=202, Idempotency_Key="k1")
    assert again.json() == first
    assert again.headers["location"]
    other = europe.admin("POST", JOBS, job(name="other"), expect=409, Idempotency_Key="k1").json()
    assert other["code"] == "idempotency_key_reused"
    assert len(europe.admin("GET", JOBS).json()["items"]) == 1


def test_a_waiting_job_is_cancelled_at_once_and_only_once(europe: Control) -> None:
    """Cancelling is idempotent until the job has ended; then it conflicts."""
    identity = europe.admin("POST", JOBS, job(), expect=202).json()["id"]
    assert europe.admin("POST", f"{JOBS}/{identity}:cancel", {}, expect=200).json()["state"] == "cancelled"
    assert europe.admin("POST", f"{JOBS}/{identity}:cancel", {}, expect=409).json()["code"] == "job_ended"


def test_another_organisations_job_is_simply_not_there(europe: Control) -> None:
    """The same 404 for an absent job, an absent project and another tenant's."""
    identity = europe.admin("POST", JOBS, job(), expect=202).json()["id"]
    europe.admin("POST", "/v1/organisations", {"name": "other"}, expect=201)
    stranger = europe.key("other", "owner")
    for path in (f"{JOBS}/{identity}", JOBS, "/v1/projects/absent/jobs"):
        assert europe.call("GET", path, key=stranger).json()["code"] == "not_found"


def test_expired_revoked_and_foreign_keys_are_refused(europe: Control) -> None:
    """Each is a 401 that says so, from the instant on at which the key ended."""
    short = europe.key("home", "viewer", expires_in_s=60)
    europe.call("GET", JOBS, key=short, expect=200)
    europe.clock.advance(61)
    assert europe.call("GET", JOBS, key=short, expect=401).json()["code"] == "unauthenticated"
    assert europe.call("GET", JOBS, key="nk_foreign", expect=401).json()["code"] == "unauthenticated"
    assert europe.client.get(JOBS).status_code == 401
