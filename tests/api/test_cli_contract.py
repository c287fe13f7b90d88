"""The command line against the real api: every verb's request is understood, and every answer is read as it is.

`tests/cli` runs the same verbs against a fake; here nothing is fake but the regions' gateways.
"""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from nordan_cli import models
from nordan_cli.decode import decode, decode_items
from support.command_line import Nordan, Result
from support.derogating import Members, a_wish
from support.lab import EUROPE, JOBS, Lab
from support.region_side import manifest

Json = dict[str, Any]


def ok(result: Result) -> str:
    """Return what a command printed; it must have gone well."""
    assert result.code == 0, result.err
    return result.out


def finished(lab: Lab) -> str:
    """Return a job that has read data, left an output and been certified."""
    lab.put("patients", "fr-bru-1", manifest(a__csv="1"))
    job, region, run = lab.running(name="digits", inputs=["dataset/patients"], outputs=["model"])
    region.publish(run, "step-1", manifest(s="1"))
    region.end(run, outputs={"model": manifest(m="1")})
    lab.seal()
    return job


def test_login_checks_address_and_key(lab: Lab, nordan: Nordan) -> None:
    """And says who one is."""
    url, key = str(lab.client.base_url), lab.key("home", "submitter")
    assert "home" in ok(nordan("login", "--url", url, "--key", key)) + nordan("--version").out
    assert nordan("login", "--url", url, "--key", "nk_wrong").code == 1


def test_a_job_is_submitted_listed_shown_and_cancelled(lab: Lab, nordan: Nordan) -> None:
    """By id and by name, in tables and as documents."""
    job = ok(nordan("submit", "--name", "hello", "--gpus", "B200:2", "--", "echo", "hello")).strip().split()[-1]
    assert lab.show(job)["spec"]["resources"]["gpus"] == 2
    assert "hello" in ok(nordan("list"))
    assert json.loads(ok(nordan("list", "-o", "json")))["items"][0]["id"] == job
    assert "queued" in ok(nordan("get", job))
    assert yaml.safe_load(ok(nordan("get", "hello", "-o", "yaml")))["id"] == job
    ok(nordan("why", job))
    assert "cancelled" in ok(nordan("cancel", job)) + ok(nordan("get", job))
    assert "cancelled" in ok(nordan("cancel", job)), "what is asked for is so already"


def test_a_job_document_is_submitted_whole(lab: Lab, nordan: Nordan, tmp_path: Path) -> None:
    """Every field that the reference page shows."""
    lab.put("patients", "fr-bru-1", manifest(a="1"))
    document = {
        "name": "digits",
        "kind": "training",
        "image": "python:3.12",
        "command": ["python", "train.py"],
        "env": {"EPOCHS": "20"},
        "nodes": 2,
        "resources": {"gpu": "H100:8", "cpu": 8, "memory": "64GiB"},
        "inputs": ["dataset/patients"],
        "outputs": ["model"],
        "policy": {"forbid_exposure": ["US"]},
        "objective": "cost",
        "max_price": 2.50,
        "max_duration": "4h",
        "retry": {"limit": 3, "on": ["node_lost", "preempted"]},
        "preemptible": True,
    }
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(document))
    job = ok(nordan("submit", "-f", str(file))).strip().split()[-1]
    spec = lab.show(job)["spec"]
    assert (spec["nodes"], spec["max_duration_s"], spec["objective"], spec["preemptible"]) == (2, 14400.0, "cost", True)
    assert lab.cycle().placed == 1
    shown = ok(nordan("get", job))
    assert "fr-bru-1" in shown


def test_a_refused_job_is_explained(nordan: Nordan, tmp_path: Path) -> None:
    """With the code, the conflict and what would help."""
    policy = tmp_path / "policy.yaml"
    policy.write_text("process: [PT]\n")
    refused = nordan("submit", "--policy", str(policy), "--", "true")
    assert refused.code == 1
    assert "process" in refused.err
    elsewhere = nordan("submit", "--residency", "PT", "--", "true")
    assert "describe" in elsewhere.err, "the control plane stands in FR"
    malformed = nordan("submit", "--residency", "UK", "--", "true")
    assert malformed.code in {1, 2}
    assert "GB" in malformed.err, "the code that was meant"


def test_a_plan_shows_every_pool(planner: Lab, nordan: Nordan) -> None:
    """Allowed or refused, with the reason; a job that could never run ends with 1."""
    shown = ok(nordan("plan", "--forbid-exposure", "US", "--", "true"))
    for pool, word in (("fr-bru-1-h100", "allowed"), ("no-nar-1-h100", "refused"), ("de-fra-1-h100", "refused")):
        [line] = [line for line in shown.splitlines() if pool in line]
        assert word in line
    never = nordan("plan", "--residency", "PT", "--", "true")
    assert never.code == 1, never.err
    assert planner.rows("select count(*) from job") == [(0,)]


def test_without_a_scheduler_a_plan_says_so(nordan: Nordan) -> None:
    """The job can be submitted all the same."""
    asked = nordan("plan", "--", "true")
    assert asked.code == 1
    assert "no scheduler answers" in asked.err


def test_what_jobs_left_used_and_cost(lab: Lab, nordan: Nordan) -> None:
    """Artifacts, usage of one job and of all."""
    job = finished(lab)
    listed = ok(nordan("artifact", "list", job))
    assert "model" in listed
    assert "step-1" in listed
    used = ok(nordan("usage", job))
    assert "fr-bru-1" in used
    assert "digits" in ok(nordan("usage"))
    assert json.loads(ok(nordan("usage", job, "-o", "json")))["items"][0]["number"] == 1


def test_a_certificate_is_fetched_and_verified_offline(lab: Lab, nordan: Nordan, tmp_path: Path) -> None:
    """With the two public keys; one byte changed, and it is refused."""
    job = finished(lab)
    file, keys = tmp_path / "certificate.json", tmp_path / "keys.json"
    ok(nordan("certificate", "get", job, "--out", str(file)))
    ok(nordan("certificate", "keys", "--out", str(keys)))
    verified = nordan("certificate", "verify", str(file), "--keys", str(keys))
    assert "verified" in ok(verified)
    text = file.read_bytes()
    file.write_bytes(text.replace(b'"payload":"e', b'"payload":"f', 1))
    assert nordan("certificate", "verify", str(file), "--keys", str(keys)).code == 1


def test_a_pending_certificate_is_said_to_be_pending(lab: Lab, nordan: Nordan) -> None:
    """And that of a job that goes on is a conflict."""
    job, region, run = lab.running()
    assert nordan("certificate", "get", job).code == 1
    region.end(run)
    pending = nordan("certificate", "get", job)
    assert (pending.code, "pending" in pending.err) == (1, True)


def test_datasets_are_listed_and_shown(lab: Lab, nordan: Nordan) -> None:
    """With versions, places and policy."""
    lab.put("patients", "fr-bru-1", manifest(a="1"))
    assert "patients" in ok(nordan("dataset", "list"))
    shown = ok(nordan("dataset", "get", "patients"))
    assert "fr-bru-1" in shown
    assert nordan("dataset", "get", "absent").code == 1


def test_the_market_is_shown(lab: Lab, nordan: Nordan) -> None:
    """Regions and offers, nodes for the administrator."""
    assert "se-bor-1" in ok(nordan("regions"))
    assert "4.6" in ok(nordan("offers"))
    assert "no-nar-1-h100" in ok(nordan("admin", "pools"))
    assert "de-fra-1-h100-3" in ok(nordan("admin", "nodes"))
    assert "FR" in ok(nordan("admin", "regions", "list"))
    assert lab


def test_an_administrator_applies_a_world_twice(lab: Lab, nordan: Nordan) -> None:
    """The second time nothing changes."""
    again = ok(nordan("admin", "apply", "-f", str(EUROPE)))
    assert "unchanged" in again
    assert "updated" not in again
    assert lab


def test_an_administrator_makes_tenants_and_keys(lab: Lab, nordan: Nordan, tmp_path: Path) -> None:
    """Organisation, project with a floor, key; the key works until it is revoked."""
    ok(nordan("admin", "organisations", "create", "acme"))
    assert "acme" in ok(nordan("admin", "organisations", "list"))
    floor = tmp_path / "floor.yaml"
    floor.write_text("class: internal\nresidency: [FR]\n")
    ok(nordan("admin", "projects", "create", "lab", "--organisation", "acme", "--floor", str(floor)))
    assert "lab" in ok(nordan("admin", "projects", "list"))
    made = json.loads(
        ok(nordan("admin", "keys", "create", "acme", "--role", "owner", "--territory", "FR", "-o", "json"))
    )
    assert lab.call("GET", "/v1/me", key=made["key"], expect=200).json()["territory"] == "FR"
    ok(nordan("admin", "keys", "revoke", "acme", made["id"]))
    lab.clock.advance(2)
    lab.call("GET", "/v1/me", key=made["key"], expect=401)
    ok(nordan("admin", "keys", "create", "home", "--role", "admin"))


def test_a_region_joins_by_command(lab: Lab, nordan: Nordan, tmp_path: Path) -> None:
    """What it prints opens the worker API."""
    broker, bundle = tmp_path / "broker", tmp_path / "join.json"
    broker.write_text("redis://region:secret@127.0.0.1:6379/0\n")
    words = ["--gateway-url", "http://127.0.0.1:9", "--broker-url-file", str(broker), "--out", str(bundle)]
    ok(nordan("admin", "regions", "join", "fr-bru-1", *words))
    text = bundle.read_text()
    credential = (yaml.safe_load(text))["credential"]
    headers = {"Authorization": f"Bearer {credential}"}
    assert lab.client.get("/worker/v1/keys", headers=headers).status_code == 200


def test_the_audit_log_is_shown(lab: Lab, nordan: Nordan) -> None:
    """Sealed entries in their order, and the signed head."""
    finished(lab)
    assert "grant_redeemed" in ok(nordan("admin", "audit", "--limit", "1000"))
    assert json.loads(ok(nordan("admin", "audit", "--checkpoint")))["size"] > 0


def test_a_service_is_found(lab: Lab, nordan: Nordan) -> None:
    """Its URL at the region's gateway."""
    job, region, run = lab.running(kind="inference", port=8080)
    region.sync(run.report("running", is_ready=True))
    assert f"/v1/services/{job}/" in ok(nordan("connect", job))


#: Fields that the command line may look for and this server leaves to newer ones.
NOT_SENT = {("Attempt", "signal"), ("UsageRow", "energy_wh"), ("Access", "upload_id"), ("Why", "message")}


def test_what_the_command_line_looks_for_is_what_the_api_sends(planner: Lab) -> None:
    """A field that one of the two calls otherwise would show up nowhere else: defaults hide it."""
    lab = planner
    job = finished(lab)
    waiting = lab.submit(nodes=4, resources={"gpu": "B200:8"}, max_wait="1h")
    lab.cycle()

    def get(path: str) -> Json:
        answer: Json = lab.admin("GET", path, expect=200).json()
        return answer

    plan = lab.admin("POST", f"{JOBS}:plan", {"name": "a", "command": ["true"]}, expect=200).json()
    shown = get(f"{JOBS}/{job}")
    pairs: list[tuple[type, Json]] = [
        (models.Me, get("/v1/me")),
        (models.Job, shown),
        (models.Attempt, shown["attempts"][0]),
        (models.Change, shown["status_history"][0]),
        (models.Policy, shown["policy"]),
        (models.Why, get(f"{JOBS}/{waiting}")["why"][0]),
        (models.Plan, plan),
        (models.PlanRow, plan["regions"][0]),
        (models.PlanRefusal, next(row["refusals"][0] for row in _plan_of_patients(lab) if row["refusals"])),
        (models.Access, lab.admin("GET", f"{JOBS}/{job}/logs").json()),
        (models.Artifact, get(f"{JOBS}/{job}/artifacts")["items"][0]),
        (models.Dataset, get("/v1/projects/default/datasets")["items"][0]),
        (models.Region, get("/v1/regions")["items"][0]),
        (models.Pool, get("/v1/pools")["items"][0]),
        (models.Node, get("/v1/nodes")["items"][0]),
        (models.Usage, get(f"{JOBS}/{job}/usage")),
        (models.UsageRow, get(f"{JOBS}/{job}/usage")["items"][0]),
        (models.IssuedCertificate, get(f"{JOBS}/{job}/certificate")),
        (models.TrustedKeys, get("/v1/keys")),
        (models.Named, get("/v1/projects")["items"][0]),
        (models.AuditEntry, get("/v1/audit/entries")["items"][0]),
    ]
    for shape, answer in pairs:
        decode(shape, answer)
        unknown = {one.name for one in fields(shape)} - answer.keys()
        assert {(shape.__name__, name) for name in unknown} <= NOT_SENT, shape.__name__
    assert len(decode_items(models.Job, get(JOBS))) == 2


def _plan_of_patients(lab: Lab) -> list[Json]:
    body = {"name": "a", "command": ["true"], "inputs": ["dataset/patients"]}
    rows: list[Json] = lab.admin("POST", f"{JOBS}:plan", body, expect=200).json()["regions"]
    return rows


def test_members_ask_for_a_derogation_approve_and_revoke_it(lab: Lab, nordan: Nordan, tmp_path: Path) -> None:
    """From the text in a file to the digest that two others approve."""
    members, as_member = Members.of(lab), ["--project", "default"]
    wish = tmp_path / "derogation.yaml"
    wish.write_text(yaml.safe_dump(a_wish(lab)))

    def say(key: str, *words: str) -> Json:
        ended = ok(nordan("--key", key, "admin", "derogations", *words, *as_member, "-o", "json"))
        answer: Json = json.loads(ended)
        return answer

    asked = say(members.asks, "request", "-f", str(wish))
    drawn = ok(nordan("--key", members.first, "admin", "derogations", "get", asked["id"], *as_member))
    assert asked["digest"] in drawn
    assert "forbid_exposure" in drawn
    say(members.first, "approve", asked["id"], "--digest", asked["digest"])
    assert say(members.first, "withdraw", asked["id"])["approvals"] == []
    for key in (members.first, members.second):
        asked = say(key, "approve", asked["id"], "--digest", asked["digest"])
    assert asked["state"] == "approved"
    assert "0 of 5" in ok(nordan("admin", "derogations", "list", *as_member))
    assert say(members.second, "revoke", asked["id"])["state"] == "revoked"


def test_the_catalogue_says_where_data_went_and_may_go(lab: Lab, nordan: Nordan) -> None:
    """By name of a dataset and by id of an artifact."""
    version = lab.put("patients", "fr-bru-1", manifest(a__csv="1"))
    inside = ["--project", "default"]
    for words in (["dataset", "lineage", "patients"], ["artifact", "lineage", version]):
        assert version in ok(nordan(*words, *inside))
    for words in (["dataset", "where", "patients"], ["artifact", "where", version]):
        [line] = [one for one in ok(nordan(*words, *inside)).splitlines() if one.startswith("de-fra-1-h100")]
        assert " no " in line
        assert "process" in line
