"""What the command line sends is what the api takes, and what the api answers is what the command line reads."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import httpx
import pytest

from nordan_cli.invocation import Invocation
from support.command_line import Nordan
from support.control import Control
from support.fake_rest import FakeRest

EUROPE = Path(__file__).parents[3] / "deploy" / "world" / "europe.yaml"
REGIONS = ("fr-bru-1", "se-bor-1", "no-nar-1", "de-fra-1")


@pytest.fixture
def world(nordan: Nordan, control: Control) -> Control:
    """Europe's sample world, applied and joined, and a project."""
    assert nordan("admin", "apply", "-f", str(EUROPE)).code == 0
    assert nordan("admin", "projects", "create", "default").code == 0
    for region in REGIONS:
        control.join(region)
    return control


@pytest.mark.usefixtures("control")
def test_a_world_is_applied_and_applied_again(nordan: Nordan) -> None:
    first = json.loads(nordan("admin", "apply", "-f", str(EUROPE), "-o", "json").out)
    again = json.loads(nordan("admin", "apply", "-f", str(EUROPE), "-o", "json").out)
    assert {one["action"] for one in first["results"]} == {"created"}
    assert {one["action"] for one in again["results"]} == {"unchanged"}


def test_a_login_finds_out_who_it_is(nordan: Nordan, run: Invocation) -> None:
    url, key = run.url, run.key
    run.url = run.key = ""
    assert "as admin, project default" in nordan("login", "--url", url, "--key", key).out
    assert nordan("admin", "projects", "list").code == 0
    wrong = nordan("login", "--url", url, "--key", "nk_wrong")
    assert wrong.code == 1
    assert "does not know this key" in wrong.err


@pytest.mark.usefixtures("world")
def test_places_are_listed(nordan: Nordan) -> None:
    assert nordan("regions").out.splitlines()[1].split()[0] in REGIONS
    offers = nordan("offers").out.splitlines()
    assert offers[1].split()[0] == "no-nar-1-h100"
    assert nordan("admin", "nodes", "--pool", "fr-bru-1-b200").out.count("ready") == 2


@pytest.mark.usefixtures("world")
def test_a_job_goes_from_submission_to_its_cancellation(nordan: Nordan) -> None:
    submitted = nordan("submit", "--name", "hello", "--", "echo", "hello")
    assert submitted.code == 0, submitted.err
    identity = submitted.out.strip()
    assert identity in nordan("list", "--state", "queued").out
    shown = nordan("get", "hello").out
    assert "state    queued" in shown
    assert "Policy" in shown
    assert "hello is queued" in nordan("why", identity[-8:]).out
    assert "has not started" in nordan("logs", "hello").err
    assert nordan("certificate", "get", "hello").err.endswith("(job_not_ended)\n") is False
    assert nordan("cancel", "hello", "--grace", "5s").out == f"{identity} cancelled\n"
    assert nordan("get", identity).out.count("cancelled") >= 2
    assert nordan("artifact", "list", identity).out.startswith("no artifacts")
    assert nordan("usage", identity).code == 0
    assert nordan("usage").code == 0
    assert "pending" in nordan("certificate", "get", identity).err
    assert nordan("list", "--state", "queued").out.startswith("no jobs")


@pytest.mark.usefixtures("world")
def test_a_job_that_no_pool_may_run_says_why_and_what_would_help(nordan: Nordan) -> None:
    ended = nordan("submit", "--residency", "PT", "--", "true")
    assert ended.code == 1
    assert ended.err.startswith("error: ")
    for word in ("control_plane_outside_describe", "request: req_"):
        assert word in ended.err


@pytest.mark.usefixtures("world")
def test_a_fault_in_a_document_names_its_field_and_a_near_one(nordan: Nordan, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("name: a\ncommand: [echo]\nmax_duraton: 4h\n")
    ended = nordan("submit", "-f", str(tmp_path / "job.yaml"))
    assert ended.code == 1
    assert "max_duraton: no such field" in ended.err
    assert "did you mean 'max_duration'?" in ended.err


@pytest.mark.usefixtures("world")
def test_norway_reaches_the_api_as_norway(nordan: Nordan, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("command: [echo]\nenv: {COUNTRY: NO}\npolicy: {process: [NO]}\n")
    ended = nordan("submit", "-f", str(tmp_path / "job.yaml"))
    assert ended.code == 0, ended.err
    shown = json.loads(nordan("get", ended.out.strip(), "-o", "json").out)
    assert shown["policy"]["effective"]["process"] == {"all_of": [["EEA"], ["NO"]]}
    assert "EEA and NO" in nordan("get", ended.out.strip()).out


@pytest.mark.usefixtures("world")
def test_an_environment_of_a_mebibyte_is_refused_with_what_to_do(nordan: Nordan) -> None:
    ended = nordan("submit", "--env", f"A={'x' * (1 << 20)}", "--", "true")
    assert ended.code == 1
    assert "body_too_large" in ended.err
    assert len(ended.err) < 1000


@pytest.mark.usefixtures("world")
def test_a_dataset_is_named_put_and_shown(nordan: Nordan, rest: FakeRest, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"a")
    digest = hashlib.sha256(b"a").hexdigest()
    base = "//127.0.0.1/fr-bru-1/v1"
    rest.on(f"PUT {base}/blobs/{digest}", httpx.Response(201))

    def commit(request: httpx.Request) -> httpx.Response:
        assert request.url.path.startswith("/fr-bru-1/v1/uploads/upl_")
        return httpx.Response(200, json={"artifact_id": "art_1", "digest": digest})

    rest.otherwise(commit)
    words = "--name patients --region fr-bru-1 --residency FR,SE --forbid-exposure US --egress unenforced"
    ended = nordan("dataset", "put", str(tmp_path / "a.csv"), *words.split())
    assert ended.code == 0, ended.err
    assert "art_1" in ended.out
    again = nordan("dataset", "put", str(tmp_path / "a.csv"), *words.split())
    assert again.code == 0, again.err
    other = nordan("dataset", "put", str(tmp_path / "a.csv"), *words.replace("FR,SE", "FR").split())
    assert "leave the policy out" in other.err
    shown = nordan("dataset", "get", "patients").out
    assert "process" in shown
    assert "FR, SE" in shown
    assert "patients" in nordan("dataset", "list").out
    elsewhere = nordan("dataset", "put", str(tmp_path / "a.csv"), "--name", "patients", "--region", "no-nar-1")
    assert elsewhere.code == 1
    assert "rejected_by_policy" in elsewhere.err


@pytest.mark.usefixtures("world")
def test_tenants_keys_and_what_they_may(nordan: Nordan, run: Invocation) -> None:
    assert nordan("admin", "organisations", "create", "acme").code == 0
    assert "acme" in nordan("admin", "organisations", "list").out
    made = nordan("admin", "keys", "create", "acme", "--role", "submitter", "--expires-in", "90d", "-o", "json")
    issued = json.loads(made.out)
    run.key = issued["key"]
    assert nordan("admin", "apply", "-f", str(EUROPE)).code == 1
    assert "home" not in nordan("admin", "projects", "list").out
    assert nordan("list").code == 1


@pytest.mark.usefixtures("world")
def test_a_plan_without_a_scheduler_says_so(nordan: Nordan) -> None:
    ended = nordan("plan", "--", "true")
    assert ended.code == 1
    assert "no scheduler answers" in ended.err


@pytest.mark.usefixtures("world")
def test_a_control_plane_without_a_certificate_key_says_so(nordan: Nordan) -> None:
    ended = nordan("certificate", "keys")
    assert ended.code == 1
    assert "has no certificate key" in ended.err


@pytest.mark.usefixtures("world")
def test_the_audit_log_is_read(nordan: Nordan) -> None:
    assert nordan("admin", "audit").out.startswith("INDEX")
    assert nordan("admin", "audit", "--checkpoint").code == 1
