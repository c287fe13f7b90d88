"""Datasets and artifacts: bytes go straight between this machine and a region's gateway, checked by digest."""

from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path

import httpx
import pytest

from support.command_line import Nordan
from support.fake_rest import FakeRest, access, job, problem

DATASETS = "/v1/projects/default/datasets"
ARTIFACT = "art_00000000000000000000000abc"
READ = f"POST /v1/projects/default/artifacts/{ARTIFACT}:read"
COMMIT = "POST //gateway.test/v1/uploads/upl_1:commit"
ID = "job_00000000000000000000000abc"
HOLDING = {"model/weights": b"weights", "run.sh": b"#!/bin/sh\n"}


def digest(data: bytes) -> str:
    """Return the SHA-256 of the bytes."""
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def taking(rest: FakeRest) -> FakeRest:
    """A gateway that takes two files for the dataset `patients`."""
    rest.on(f"POST {DATASETS}/patients:put", access(upload_id="upl_1"))
    for data in (b"a", b"bb"):
        rest.on(f"PUT //gateway.test/v1/blobs/{digest(data)}", httpx.Response(201))
    return rest.on(COMMIT, {"artifact_id": ARTIFACT, "digest": "d" * 64})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of data."""
    (tmp_path / "data" / "b").mkdir(parents=True)
    (tmp_path / "data" / "a.csv").write_bytes(b"a")
    (tmp_path / "data" / "b" / "b.csv").write_bytes(b"bb")
    return tmp_path / "data"


def test_a_new_dataset_is_named_with_its_policy_and_its_files_are_put(
    nordan: Nordan, taking: FakeRest, data: Path
) -> None:
    taking.on(f"POST {DATASETS}", {"id": "dts_1", "name": "patients"})
    words = "--name patients --region fr-bru-1 --residency FR,SE --forbid-exposure US --egress unenforced"
    ended = nordan("dataset", "put", str(data), *words.split())
    assert ended.code == 0
    policy = {"residency": ["FR", "SE"], "forbid_exposure": ["US"], "egress": "unenforced"}
    assert taking.bodies(f"POST {DATASETS}") == [{"name": "patients", "policy": policy}]
    assert taking.bodies(f"POST {DATASETS}/patients:put") == [{"region": "fr-bru-1"}]
    assert [one["path"] for one in taking.bodies(COMMIT)[0]["files"]] == ["a.csv", "b/b.csv"]
    assert "patients in fr-bru-1: 2 files, 3 B" in ended.out
    assert ARTIFACT in ended.out


def test_a_policy_file_holds_norway_and_flags_win_over_it(
    nordan: Nordan, taking: FakeRest, data: Path, tmp_path: Path
) -> None:
    taking.on(f"POST {DATASETS}", {"id": "dts_1", "name": "patients"})
    (tmp_path / "policy.yaml").write_text("residency: [NO]\nclass: internal\n")
    words = f"--name patients --region no-1 --policy {tmp_path / 'policy.yaml'} --class restricted"
    nordan("dataset", "put", str(data), *words.split())
    [sent] = taking.bodies(f"POST {DATASETS}")
    assert sent["policy"] == {"residency": ["NO"], "class": "restricted"}


def test_a_further_version_of_a_known_dataset_needs_no_policy(nordan: Nordan, taking: FakeRest, data: Path) -> None:
    taking.on(f"GET {DATASETS}/patients", {"id": "dts_1", "name": "patients"})
    assert nordan("dataset", "put", str(data / "a.csv"), "--name", "patients", "--region", "se-bor-1").code == 0
    assert not taking.sent(f"POST {DATASETS}")
    assert [one["path"] for one in taking.bodies(COMMIT)[0]["files"]] == ["a.csv"]


def test_another_policy_for_a_known_dataset_is_refused_with_advice(nordan: Nordan, rest: FakeRest, data: Path) -> None:
    rest.on(f"POST {DATASETS}", problem(409, "dataset_exists", "dataset patients exists with another policy"))
    ended = nordan("dataset", "put", str(data), "--name", "patients", "--region", "fr-1", "--residency", "FR")
    assert ended.code == 1
    assert "leave the policy out, or choose another name" in ended.err


def test_an_empty_folder_is_an_error_of_use(nordan: Nordan, rest: FakeRest, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ended = nordan("dataset", "put", str(tmp_path / "empty"), "--name", "a", "--region", "fr-1")
    assert ended.code == 2
    assert not rest.requests


def test_datasets_are_listed_and_shown(nordan: Nordan, rest: FakeRest) -> None:
    version = {"id": ARTIFACT, "kind": "dataset", "digest": "d" * 64, "size_bytes": 2048, "regions": ["fr-bru-1"]}
    times = {"created_at": "2026-10-31T23:00:00+00:00"}
    policy = {"process": ["FR", "SE"], "egress": "unenforced"}
    one = {"id": "dts_1", "name": "patients", "policy": policy, "versions": [{**version, **times}], **times}
    rest.on(f"GET {DATASETS}", {"items": [one]}).on(f"GET {DATASETS}/patients", one)
    assert nordan("dataset", "list").out.splitlines() == [
        "NAME      ID     VERSIONS  REGIONS   AGE",
        "patients  dts_1  1         fr-bru-1  1h ago",
    ]
    assert (
        nordan("dataset", "get", "patients").out
        == f"""\
dataset  patients  dts_1
created  1h ago

Policy
process  FR, SE
egress   unenforced

Versions
ARTIFACT                        DIGEST        SIZE     REGIONS   AGE
{ARTIFACT}  dddddddddddd  2.0 KiB  fr-bru-1  1h ago
"""
    )


@pytest.fixture
def holding(rest: FakeRest) -> FakeRest:
    """A gateway that holds an artifact of two files."""
    rest.on(f"GET /v1/projects/default/artifacts/{ARTIFACT}", {"id": ARTIFACT, "name": "model", "digest": "e" * 64})
    rest.on(READ, access(url=f"http://gateway.test/v1/manifests/{'e' * 64}"))
    files = [
        {"path": path, "digest": digest(data), "size_bytes": len(data), "mode": 0o755 if path == "run.sh" else 0o644}
        for path, data in HOLDING.items()
    ]
    base = f"GET //gateway.test/v1/manifests/{'e' * 64}"
    rest.on(base, {"files": files})
    for path, data in HOLDING.items():
        rest.on(f"{base}/files/{path}", httpx.Response(200, content=data))
    return rest


def test_an_artifact_is_fetched_with_its_folders_and_modes(nordan: Nordan, holding: FakeRest, tmp_path: Path) -> None:
    ended = nordan("artifact", "get", ARTIFACT, "-d", str(tmp_path / "out"))
    assert ended.code == 0
    for path, data in HOLDING.items():
        assert (tmp_path / "out" / path).read_bytes() == data
    assert stat.S_IMODE((tmp_path / "out" / "run.sh").stat().st_mode) == 0o755
    assert ended.out.split() == [str(tmp_path / "out" / path) for path in HOLDING]
    assert sorted(one.name for one in (tmp_path / "out" / "model").iterdir()) == ["weights"]


def test_an_output_is_found_by_its_job_and_name(nordan: Nordan, holding: FakeRest, tmp_path: Path) -> None:
    one = {"id": ARTIFACT, "name": "model", "kind": "output", "digest": "e" * 64}
    holding.on("GET /v1/projects/default/jobs", {"items": [job()]})
    holding.on(f"GET /v1/projects/default/jobs/{ID}/artifacts", {"items": [one]})
    assert nordan("artifact", "get", "digits/model", "-d", str(tmp_path)).code == 0
    ended = nordan("artifact", "get", "digits/modle", "-d", str(tmp_path))
    assert ended.code == 1
    assert "has no artifact 'modle'; it has: model" in ended.err


def test_bytes_with_another_digest_are_not_kept(nordan: Nordan, holding: FakeRest, tmp_path: Path) -> None:
    route = f"GET //gateway.test/v1/manifests/{'e' * 64}/files/model/weights"
    holding.first(route, httpx.Response(200, content=b"weightz"))
    ended = nordan("artifact", "get", ARTIFACT, "-d", str(tmp_path))
    assert ended.code == 1
    assert "model/weights arrived with the digest" in ended.err
    assert not list((tmp_path / "model").iterdir())


def test_what_is_here_already_is_not_fetched_again(nordan: Nordan, holding: FakeRest, tmp_path: Path) -> None:
    nordan("artifact", "get", ARTIFACT, "-d", str(tmp_path))
    before = len(holding.requests)
    assert nordan("artifact", "get", ARTIFACT, "-d", str(tmp_path)).code == 0
    assert len(holding.requests) - before == 3


def test_another_file_in_the_way_is_replaced_only_by_force(nordan: Nordan, holding: FakeRest, tmp_path: Path) -> None:
    (tmp_path / "run.sh").write_text("mine")
    ended = nordan("artifact", "get", ARTIFACT, "-d", str(tmp_path))
    assert ended.code == 1
    assert "is there already and differs; --force" in ended.err
    assert (tmp_path / "run.sh").read_text() == "mine"
    assert nordan("artifact", "get", ARTIFACT, "-d", str(tmp_path), "--force").code == 0
    assert (tmp_path / "run.sh").read_bytes() == HOLDING["run.sh"]


@pytest.mark.parametrize("path", ["../evil", "/etc/evil", "link/evil", "a/../../evil"])
def test_an_artifact_cannot_write_outside_the_folder(nordan: Nordan, rest: FakeRest, tmp_path: Path, path: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path)
    rest.on(f"GET /v1/projects/default/artifacts/{ARTIFACT}", {"id": ARTIFACT, "digest": "e" * 64}).on(READ, access())
    evil = {"path": path, "digest": digest(b"x"), "size_bytes": 1}
    rest.on(f"GET //gateway.test/v1/manifests/{'e' * 64}", {"files": [evil]})
    ended = nordan("artifact", "get", ARTIFACT, "-d", str(tmp_path / "out"))
    assert ended.code == 1
    assert "lies outside" in ended.err
    assert sorted(one.name for one in tmp_path.iterdir()) == ["out"]


def test_a_jobs_artifacts_are_listed(nordan: Nordan, rest: FakeRest) -> None:
    one = {
        "id": ARTIFACT,
        "name": "model",
        "kind": "output",
        "digest": "e" * 64,
        "size_bytes": 7,
        "regions": ["a", "b"],
    }
    rest.on(f"GET /v1/projects/default/jobs/{ID}/artifacts", {"items": [one]})
    assert nordan("artifact", "list", ID).out.splitlines() == [
        "NAME   KIND    ARTIFACT                        SIZE  REGIONS  AGE",
        f"model  output  {ARTIFACT}  7 B   a, b",
    ]
    assert json.loads(nordan("artifact", "list", ID, "-o", "json").out)["items"] == [one]


def test_a_copy_is_fetched_by_the_region_and_not_by_this_machine(nordan: Nordan, rest: FakeRest) -> None:
    rest.on(f"GET {DATASETS}/patients", {"id": "dts_1", "name": "patients", "versions": [ARTIFACT_LINE]})
    rest.on(f"POST /v1/projects/default/artifacts/{ARTIFACT}:copy", access(upload_id="upl_1"))
    told = [{"fetched_bytes": 3, "size_bytes": 3}, {"artifact_id": ARTIFACT, "digest": "d" * 64}]
    rest.on(PULL, httpx.Response(200, text="\n".join(map(json.dumps, told))))
    ended = nordan("dataset", "copy", "patients", "--region", "se-bor-1")
    assert (ended.code, ended.out) == (0, "patients is in se-bor-1 too\n")
    assert rest.bodies(f"POST /v1/projects/default/artifacts/{ARTIFACT}:copy") == [{"region": "se-bor-1"}]


def test_a_copy_that_fails_says_why(nordan: Nordan, rest: FakeRest) -> None:
    rest.on(f"GET /v1/projects/default/artifacts/{ARTIFACT}", ARTIFACT_LINE)
    rest.on(f"POST /v1/projects/default/artifacts/{ARTIFACT}:copy", access(upload_id="upl_1"))
    broken = {"problem": {"status": 502, "code": "source_away", "detail": "the other region broke off; ask again"}}
    rest.on(PULL, httpx.Response(200, text=json.dumps(broken)))
    ended = nordan("artifact", "copy", ARTIFACT, "--region", "se-bor-1")
    assert ended.code == 1
    assert "the other region broke off; ask again" in ended.err


ARTIFACT_LINE = {"id": ARTIFACT, "digest": "d" * 64, "name": "patients", "size_bytes": 3}
PULL = "POST //gateway.test/v1/uploads/upl_1:pull"
