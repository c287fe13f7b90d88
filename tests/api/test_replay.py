"""The whole log, exported and replayed offline: what really happened passes, and anything else does not."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from nordan_cli.commands import admin_audit
from nordan_core.atlas.loader import default_atlas
from nordan_core.proof.certificate import verify_certificate
from nordan_core.proof.checkpoint import Checkpoint, sign_checkpoint, verify_checkpoint
from nordan_core.proof.keys import SigningKey, trusted
from nordan_core.proof.replay import Terms
from support.command_line import Nordan
from support.derogating import Members
from support.exports import ATLASES, export_of, lines, replayed, resigned, written
from support.lab import CERTIFICATE_KEY, JOBS, Lab
from support.region_side import manifest

DATA = manifest(a__csv="1")
Json = dict[str, Any]  # Any: JSON
KEYS = trusted(CERTIFICATE_KEY.public)


@pytest.fixture(scope="module")
def export(laboratory: Lab) -> bytes:
    """An export in which every judged act happened, allowed and refused."""
    lab = laboratory.fresh()
    patients = lab.put("patients", "fr-bru-1", DATA)
    inputs = {"inputs": ["dataset/patients"]}
    job, region, run = lab.running(**inputs)
    lab.admin("POST", f"{JOBS}/{job}:exec", {}, expect=200)
    lab.seal()
    abroad = lab.key("home", "submitter", territory="US")
    lab.call("POST", f"{JOBS}/{job}:exec", {}, key=abroad, expect=422)
    lab.admin("GET", f"{JOBS}/{job}/logs", expect=200)
    region.end(run)
    lab.admin("POST", JOBS, {"name": "no", "command": ["true"], "policy": {"process": ["PT"]}}, expect=422)
    elsewhere = {"name": "no", "command": ["true"], "policy": {"describe": ["SE"]}}
    assert lab.admin("POST", JOBS, elsewhere, expect=422).json()["code"] == "control_plane_outside_describe"
    huge = {"name": "no", "command": ["true"], "nodes": 900}
    assert lab.admin("POST", JOBS, huge, expect=422).json()["code"] == "no_capacity"
    put = "/v1/projects/default/datasets/patients:put"
    lab.admin("POST", put, {"region": "no-nar-1"}, expect=422)
    lab.admin("POST", f"/v1/projects/default/artifacts/{patients}:copy", {"region": "no-nar-1"}, expect=422)
    lab.seal()
    return export_of(lab.context.store)


def test_a_log_of_every_judged_act_is_judged_the_same_again(export: bytes) -> None:
    found = replayed(export, CERTIFICATE_KEY.public)
    assert found.faults == []
    assert found.ok
    acts = {part["entry"]["act"] for part in lines(export) if "entry" in part}
    assert acts >= {
        *("job_accepted", "job_refused", "grant_issued", "grant_redeemed", "upload_allowed", "upload_refused"),
        *("copy_refused", "artifact_stored", "read_allowed", "exec_opened", "exec_refused", "policy_changed"),
    }
    assert found.judged >= 14
    assert found.withheld == 1
    assert found.heads == 2


def test_what_may_not_be_described_here_is_not_in_the_log(export: bytes) -> None:
    """The refusal's own entry aside: it names the policy by digest."""
    refused = next(
        part["entry"]["body"]
        for part in lines(export)
        if "entry" in part and part["entry"]["body"].get("reason") == "control_plane_outside_describe"
    )
    subjects = {part["entry"]["subject"] for part in lines(export) if "entry" in part}
    assert f"policy:{refused['policy_digest']}" not in subjects
    assert any(one.startswith("policy:") for one in subjects)


def _entries(parts: list[Json]) -> Iterator[tuple[int, Json]]:
    return ((place, part["entry"]) for place, part in enumerate(parts) if "entry" in part)


def _turn_byte(parts: list[Json]) -> None:
    next(entry for _, entry in _entries(parts))["actor"] = "key_other"


def _drop_entry(parts: list[Json]) -> None:
    del parts[2]


def _swap(parts: list[Json]) -> None:
    parts[0], parts[1] = parts[1], parts[0]


def _cut_off(parts: list[Json]) -> None:
    del parts[-1]


def _no_heads(parts: list[Json]) -> None:
    parts[:] = [part for part in parts if "entry" in part]


def _foreign_head(parts: list[Json]) -> None:
    head = verify_checkpoint(parts[-1]["checkpoint"], KEYS)
    parts[-1]["checkpoint"] = sign_checkpoint(head, SigningKey.create())


def _turn_back(parts: list[Json]) -> None:
    head = verify_checkpoint(parts[-1]["checkpoint"], KEYS)
    early = Checkpoint(head.origin, head.size, head.root, head.at - timedelta(days=1))
    parts[-1]["checkpoint"] = sign_checkpoint(early, CERTIFICATE_KEY)


def _another_log(parts: list[Json]) -> None:
    head = verify_checkpoint(parts[-1]["checkpoint"], KEYS)
    parts[-1]["checkpoint"] = sign_checkpoint(Checkpoint("log:x", head.size, head.root, head.at), CERTIFICATE_KEY)


TAMPERED: dict[str, tuple[Callable[[list[Json]], None], str]] = {
    "an entry was changed": (_turn_byte, "one was changed"),
    "an entry is missing": (_drop_entry, "missing or added"),
    "two entries changed places": (_swap, "should"),
    "the newest head is missing": (_cut_off, "under no head"),
    "no head is there": (_no_heads, "no head"),
    "a head is by a foreign key": (_foreign_head, "not trusted"),
    "a head is older than the one before it": (_turn_back, "before the one before it"),
    "a head is of another log": (_another_log, "of another log"),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_a_log_that_was_tampered_with_is_refused(export: bytes, case: str) -> None:
    change, told = TAMPERED[case]
    parts = lines(export)
    change(parts)
    found = replayed(written(parts), CERTIFICATE_KEY.public)
    assert not found.ok
    assert told in " ".join(found.faults)


def _body(act: str, change: Callable[[Json], None]) -> Callable[[Json], None]:
    def apply(entry: Json) -> None:
        if entry["act"] == act:
            change(entry["body"])

    return apply


def _allow(entry: Json) -> None:
    if entry["act"] == "upload_refused":
        entry["act"] = "upload_allowed"
        entry["body"]["judged"][0]["allowed"] = True


def _move(body: Json) -> None:
    body["region"] = "se-bor-1"


def _good_for_longer(body: Json) -> None:
    body["verdict"]["good_until"] = "2099-01-01T00:00:00+00:00"


def _loosen(entry: Json) -> None:
    if entry["subject"].startswith("policy:"):
        entry["body"]["policy"].pop("process", None)


def _forget(entry: Json) -> None:
    if entry["subject"].startswith("facts:"):
        entry["subject"] = "facts"


def _twice(entry: Json) -> None:
    if entry["act"] == "grant_redeemed":
        entry["act"] = "grant_issued"


def _unissued(entry: Json) -> None:
    if entry["act"] == "grant_issued":
        entry["act"] = "cancel_requested"


def _elsewhere(body: Json) -> None:
    body["judged"][0]["territory"] = "US"


def _later(body: Json) -> None:
    body["verdict"]["at"] = "2026-11-20T09:00:00+00:00"


def _other_atlas(body: Json) -> None:
    body["verdict"]["atlas"] = "00" * 32


def _only_read(body: Json) -> None:
    body["verdict"].update(question="read", territory="FR")


LIES: dict[str, tuple[Callable[[Json], None], str]] = {
    "what the judge refuses was done": (_allow, "judged again it is refused"),
    "what the judge allows was refused": (
        _body("exec_opened", lambda body: body["judged"][1].update(allowed=False)),
        "judged again it is allowed",
    ),
    "a done act that the judge had refused": (
        _body("upload_allowed", lambda body: body["judged"][0].update(allowed=False)),
        "but the judge had refused it",
    ),
    "an act without a word of the judge": (_body("grant_redeemed", lambda body: body.pop("verdict")), "says nothing"),
    "a word that names no policy": (
        _body("grant_issued", lambda body: body["verdict"].update(policies=[])),
        "names no policy",
    ),
    "a word without its question": (
        _body("grant_issued", lambda body: body["verdict"].pop("question")),
        "what it was made of",
    ),
    "facts of another region": (_body("grant_issued", _move), "facts judged are those of"),
    "relied on for longer": (_body("grant_issued", _good_for_longer), "relied on it until"),
    "a policy that was made looser": (_loosen, "another than its digest"),
    "facts that were taken out": (_forget, "does not hold facts:"),
    "a second grant": (_twice, "granted a second time"),
    "an attempt without a grant": (_unissued, "no grant of it"),
    "a reader elsewhere": (_body("read_allowed", _elsewhere), "judged again it is refused"),
    "judged at another time": (_body("grant_issued", _later), "was judged as of"),
    "judged under an unknown atlas": (_body("grant_issued", _other_atlas), "--atlas takes it"),
    "an act that no question was asked about": (
        _body("read_allowed", lambda body: body["judged"].clear()),
        "by nothing",
    ),
    "an answer to another question": (_body("grant_issued", _only_read), "not what is asked for this act"),
    "half of what is asked": (
        _body("exec_opened", lambda body: body["judged"].pop()),
        "not what is asked for this act",
    ),
    "a control plane that is nowhere": (
        _body("grant_redeemed", lambda body: body["verdict"].pop("control_plane")),
        "where the control plane stood",
    ),
    "another policy than the one that it names": (
        _body("grant_redeemed", lambda body: body.update(policy_digest="00" * 32)),
        "other policies than",
    ),
    "a job that was accepted under another policy": (
        _body("job_accepted", lambda body: body.update(policy_digest="00" * 32)),
        "was not accepted under a policy",
    ),
    "allowed although nobody may describe it": (
        _body("grant_issued", lambda body: body["verdict"].update(withheld=True)),
        "may not describe it",
    ),
}


@pytest.mark.parametrize("case", LIES)
def test_a_lie_that_was_properly_sealed_is_found_by_judging_again(export: bytes, case: str) -> None:
    change, told = LIES[case]
    found = replayed(resigned(export, change), CERTIFICATE_KEY.public)
    assert told in " ".join(found.faults), found.faults
    assert not any("was changed" in fault for fault in found.faults)


def test_an_honest_log_that_is_sealed_again_passes(export: bytes) -> None:
    """So that the lies above fail by what they say, and not by how they were made."""
    assert replayed(resigned(export, lambda _: None), CERTIFICATE_KEY.public).faults == []


def test_heads_that_somebody_kept_bind_the_log(export: bytes) -> None:
    parts = lines(export)
    heads = [verify_checkpoint(part["checkpoint"], KEYS) for part in parts if "checkpoint" in part]
    terms = Terms(KEYS, ATLASES, kept=tuple(heads))
    assert replayed(export, CERTIFICATE_KEY.public, terms).ok
    first = next(place for place, part in enumerate(parts) if "checkpoint" in part)
    cut = written(parts[: first + 1])
    assert replayed(cut, CERTIFICATE_KEY.public).fault_count == 0
    assert "was cut off" in " ".join(replayed(cut, CERTIFICATE_KEY.public, terms).faults)
    forged = resigned(export, lambda entry: entry.update(actor="key_other"))
    assert "rewritten" in " ".join(replayed(forged, CERTIFICATE_KEY.public, terms).faults)


def test_a_log_that_stopped_is_told_from_a_living_one(lab: Lab, export: bytes) -> None:
    recent = Terms(KEYS, ATLASES, not_before=lab.clock.now() - timedelta(hours=1))
    assert replayed(export, CERTIFICATE_KEY.public, recent).ok
    later = Terms(KEYS, ATLASES, not_before=lab.clock.now() + timedelta(hours=1))
    assert "was cut off" in " ".join(replayed(export, CERTIFICATE_KEY.public, later).faults)


BROKEN = {
    "nothing": b"",
    "no JSON": b"hello\n",
    "half a line": b'{"index": 0',
    "a nest": b"[" * 100_000 + b"\n",
    "another object": b'{"a": 1}\n',
    "an entry without fields": b'{"index": 0, "salt": "00", "form": 2, "entry": {}}\n',
    "an endless line": b"a" * (5 << 20),
    "a form of the future": b'{"index": 0, "salt": "%s", "form": 9, "entry": {"act": "x", "actor": "x", "at": "x", '
    b'"body": {}, "id": "x", "organisation": null, "subject": "x"}}\n' % (b"00" * 16),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_file_that_is_no_export_is_refused_with_the_reason(case: str) -> None:
    found = replayed(BROKEN[case], CERTIFICATE_KEY.public)
    assert not found.ok
    assert found.faults


def test_faults_without_end_are_counted_and_the_first_told() -> None:
    found = replayed(b"x\n" * 500, CERTIFICATE_KEY.public)
    assert (len(found.faults), found.fault_count) == (100, 501)


def test_the_command_line_exports_and_verifies(
    lab: Lab, nordan: Nordan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In small pages, so that entries and heads come from several; with and without a file between."""
    monkeypatch.setattr(admin_audit, "EXPORT_PAGE", 3)
    lab.put("patients", "fr-bru-1", DATA)
    lab.seal()
    _, region, run = lab.running(inputs=["dataset/patients"])
    region.end(run)
    lab.seal()
    export, keys = tmp_path / "log.ndjson", tmp_path / "keys.json"
    assert nordan("certificate", "keys", "--out", str(keys)).code == 0
    assert nordan("admin", "audit", "export", "--out", str(export)).code == 0
    assert export.read_bytes() == export_of(lab.context.store)
    assert export.stat().st_mode & 0o777 == 0o600
    ended = nordan("admin", "audit", "verify", str(export), "--keys", str(keys))
    assert ended.code == 0, ended.out
    assert ended.out.rstrip().endswith("verified")
    report = json.loads(nordan("admin", "audit", "verify", "--keys", str(keys), "-o", "json").out)
    assert report["verified"]
    assert report["entries"] == len([part for part in lines(export.read_bytes()) if "entry" in part])

    def lie(entry: Json) -> None:
        if entry["act"] == "grant_issued":
            entry["body"]["region"] = "se-bor-1"

    export.write_bytes(resigned(export.read_bytes(), lie))
    ended = nordan("admin", "audit", "verify", str(export), "--keys", str(keys))
    assert ended.code == 1
    assert "REFUSED: 1 faults" in ended.out
    assert nordan("admin", "audit", "verify", str(tmp_path / "gone"), "--keys", str(keys)).code == 2
    assert nordan("admin", "audit", "verify", str(export), "--keys", str(export)).code == 2


def test_a_third_party_gets_the_same_statement_without_names(lab: Lab) -> None:
    """From the sealer, when somebody who may read the job asks for it."""
    lab.put("patients", "fr-bru-1", DATA)
    job, region, run = lab.running(inputs=["dataset/patients"], name="secret-name")
    path = f"{JOBS}/{job}/certificate?redacted=true"
    assert lab.admin("GET", path, expect=409).json()["code"] == "job_not_ended"
    region.end(run)
    assert lab.admin("GET", path, expect=200).json()["state"] == "pending"
    lab.seal()
    assert lab.admin("GET", path, expect=200).json()["state"] == "pending"
    lab.seal()
    envelope = lab.admin("GET", path, expect=200).json()["envelope"]
    report = verify_certificate(
        envelope, grant_keys=trusted(lab.context.grant_key.public), certificate_keys=KEYS, atlas=default_atlas()
    )
    assert [check.detail for check in report.checks if not check.ok] == []
    text = base64.b64decode(envelope["payload"]).decode()
    for name in ("secret-name", "patients", "train"):
        assert name not in text
    assert lab.verify(job).ok
    assert lab.admin("GET", path, expect=200).json()["envelope"] == envelope


def test_a_certificate_of_another_form_has_no_redacted_one(lab: Lab) -> None:
    """Asked for once, and told of from then on."""
    job, region, run = lab.running()
    region.end(run)
    lab.seal()
    lab.rows("update certificate set envelope = '{}' returning 1")
    path = f"{JOBS}/{job}/certificate?redacted=true"
    assert lab.admin("GET", path, expect=200).json()["state"] == "pending"
    lab.seal()
    assert lab.admin("GET", path, expect=409).json()["code"] == "not_redacted"


@pytest.fixture(scope="module")
def by_leave(laboratory: Lab) -> bytes:
    """An export in which a job ran by derogation alone."""
    lab = laboratory.fresh()
    members = Members.of(lab)
    floor = {"residency": ["FR"], "class": "internal", "evidence": "E4"}
    lab.apply({"kind": "Project", "name": "default", "organisation": "home", "floor": floor})
    members.grant(facet="evidence", to="E0", max_uses=1)
    _, region, run = lab.running()
    region.end(run)
    lab.seal()
    return export_of(lab.context.store)


def test_what_rests_on_a_derogation_is_judged_the_same_again(by_leave: bytes) -> None:
    found = replayed(by_leave, CERTIFICATE_KEY.public)
    assert found.faults == []
    issued = [part["entry"]["body"]["verdict"] for part in lines(by_leave) if _is(part, "grant_issued")]
    assert [len(one["derogations"]) for one in issued] == [1]


@pytest.mark.parametrize(
    ("act", "change", "told"),
    [
        ("derogation_requested", {"act": "cancel_requested"}, "nobody asking for that text"),
        ("derogation_approved", {"act": "cancel_requested"}, "which 0 others approved"),
        ("derogation_approved", {"actor": "key_one"}, "which 1 others approved"),
        ("derogation_approved", {"at": "2030-01-01T00:00:00+00:00"}, "before it was approved"),
    ],
)
def test_leave_that_nobody_gave_is_found(by_leave: bytes, act: str, change: Json, told: str) -> None:
    def apply(entry: Json) -> None:
        if entry["act"] == act:
            entry.update(change)

    found = replayed(resigned(by_leave, apply), CERTIFICATE_KEY.public)
    assert told in " ".join(found.faults)


def _is(part: Json, act: str) -> bool:
    return "entry" in part and part["entry"]["act"] == act
