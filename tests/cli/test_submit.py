"""submit and plan: files go where the job may run and nowhere else; exit codes say what came of it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from pathlib import Path

import httpx
import pytest

from support.command_line import Nordan
from support.fake_rest import FakeRest, access, attempt, job, problem, stream

ID = "job_00000000000000000000000abc"
JOBS = "POST /v1/projects/default/jobs"
PLAN = "POST /v1/projects/default/jobs:plan"
PUT = "POST /v1/projects/default/files:put"
GET = f"GET /v1/projects/default/jobs/{ID}"
LOGS = f"{GET}/logs"
DIGEST = hashlib.sha256(b"print(1)\n").hexdigest()
BLOB = f"PUT //gateway.test/v1/blobs/{DIGEST}"
COMMIT = "POST //gateway.test/v1/uploads/upl_1:commit"
TAIL = "GET //gateway.test/v1/attempts/att_1/logs"


def row(region: str, price: str, *, allowed: bool = True, holds: bool = True, fits: bool = True) -> dict[str, object]:
    """Return what a plan says of one region."""
    refusal = {"code": "residency_unsatisfiable", "facet": "process", "want": "FR, SE", "have": "NO", "message": "no"}
    shown = {"region": region, "pool": f"{region}-h100", "allowed": allowed, "refusals": [] if allowed else [refusal]}
    return {**shown, "holds_inputs": holds, "fits_now": fits, "price_eur_per_gpu_h": price, "estimated_start": None}


def planned(*rows: dict[str, object], startable: bool = True, never: object = None) -> dict[str, object]:
    """Return a plan's answer."""
    return {"snapshot_age_s": 0.2, "startable": startable, "regions": list(rows), "never": never}


@pytest.fixture
def document(tmp_path: Path) -> str:
    """A job document with one file."""
    (tmp_path / "train.py").write_text("print(1)\n")
    (tmp_path / "job.yaml").write_text("name: digits\ncommand: [python, train.py]\nfiles: [train.py]\nenv: {L: NO}\n")
    return str(tmp_path / "job.yaml")


@pytest.fixture
def gateway(rest: FakeRest) -> FakeRest:
    """A server whose gateways take files."""
    rest.on(PUT, access(upload_id="upl_1")).on(BLOB, httpx.Response(201))
    return rest.on(COMMIT, {"artifact_id": "art_1", "digest": DIGEST}).on(JOBS, job())


def test_a_command_alone_is_a_job(nordan: Nordan, rest: FakeRest) -> None:
    rest.on(JOBS, job())
    ended = nordan("submit", "--", "echo", "--loud", "hello")
    assert (ended.code, ended.out) == (0, f"{ID}\n")
    assert rest.bodies(JOBS) == [{"command": ["echo", "--loud", "hello"], "name": "echo"}]


def test_flags_make_a_document(nordan: Nordan, rest: FakeRest) -> None:
    rest.on(JOBS, job())
    words = "--name a --gpus H100:8 --nodes 2 --cpus 4 --memory 8GiB -e A=1 --env B=NO --input patients --output model"
    more = "--max-price 2.5 --max-duration 4h --objective cost --kind training --residency FR,SE --egress unenforced"
    nordan("submit", *words.split(), *more.split(), "--preemptible", "--", "true")
    assert rest.bodies(JOBS) == [
        {
            "name": "a",
            "kind": "training",
            "nodes": 2,
            "objective": "cost",
            "max_price": 2.5,
            "max_duration": "4h",
            "preemptible": True,
            "resources": {"gpu": "H100:8", "cpu": 4, "memory": "8GiB"},
            "env": {"A": "1", "B": "NO"},
            "policy": {"residency": ["FR", "SE"], "egress": "unenforced"},
            "inputs": ["dataset/patients"],
            "outputs": ["model"],
            "command": ["true"],
        }
    ]


def test_files_go_to_lawful_regions_with_the_data_the_cheapest_first(
    nordan: Nordan, gateway: FakeRest, document: str
) -> None:
    rows = (
        row("no-nar-1", "1.75", allowed=False),
        row("se-bor-1", "2.95"),
        row("fr-bru-1", "2.45"),
        row("fr-lyo-1", "1.00", holds=False),
    )
    gateway.on(PLAN, planned(*rows))
    assert nordan("submit", "-f", document).code == 0
    assert [body["region"] for body in gateway.bodies(PUT)] == ["fr-bru-1", "se-bor-1"]
    [sent] = gateway.bodies(JOBS)
    assert sent["files"] == {"files": [{"path": "train.py", "digest": DIGEST, "size_bytes": 9, "mode": 0o644}]}
    assert sent["env"] == {"L": "NO"}
    assert gateway.bodies(PUT)[0]["job"] == sent
    assert gateway.bodies(COMMIT)[0] == sent["files"]


def test_the_api_key_never_goes_to_a_gateway(nordan: Nordan, gateway: FakeRest, document: str) -> None:
    gateway.on(PLAN, planned(row("fr-bru-1", "2.45")))
    nordan("submit", "-f", document)
    at_gateway = [request for request in gateway.requests if request.url.host == "gateway.test"]
    assert [request.headers["Authorization"] for request in at_gateway] == ["Bearer pass-1"] * 2
    assert at_gateway[0].content == b"print(1)\n"


def test_at_most_four_regions_get_the_files(nordan: Nordan, gateway: FakeRest, document: str) -> None:
    gateway.on(PLAN, planned(*(row(f"r-{n}", str(n)) for n in range(1, 7))))
    nordan("submit", "-f", document)
    assert [body["region"] for body in gateway.bodies(PUT)] == ["r-1", "r-2", "r-3", "r-4"]


def test_a_region_that_is_away_is_passed_over_with_a_warning(nordan: Nordan, gateway: FakeRest, document: str) -> None:
    gateway.on(PLAN, planned(row("fr-bru-1", "2.45"), row("se-bor-1", "2.95")))
    away = access(url="http://away.test", upload_id="upl_0")
    gateway.first(PUT, away)
    gateway.on(f"PUT //away.test/v1/blobs/{DIGEST}", httpx.ConnectError("refused"))
    ended = nordan("submit", "-f", document)
    assert ended.code == 0
    assert "warning: fr-bru-1 did not take the job's files" in ended.err


def test_nothing_is_submitted_when_no_region_took_the_files(nordan: Nordan, rest: FakeRest, document: str) -> None:
    rest.on(PLAN, planned(row("fr-bru-1", "2.45"))).on(PUT, access(upload_id="upl_1"))
    rest.on(BLOB, problem(507, "disk_full", "no space"))
    ended = nordan("submit", "-f", document)
    assert ended.code == 1
    assert "nothing was submitted" in ended.err
    assert not rest.sent(JOBS)


def test_a_file_that_changed_while_it_was_sent_is_told(nordan: Nordan, gateway: FakeRest, document: str) -> None:
    gateway.on(PLAN, planned(row("fr-bru-1", "2.45")))
    gateway.first(BLOB, problem(422, "digest_mismatch", "the bytes are others"))
    ended = nordan("submit", "-f", document)
    assert ended.code == 1
    assert "changed while it was sent" in ended.err


def test_a_job_that_can_never_run_shows_conflict_and_relaxation(nordan: Nordan, rest: FakeRest, document: str) -> None:
    rest.on(PLAN, planned(row("no-nar-1", "1.75", allowed=False), startable=False, never={"code": "x"}))
    rest.on(JOBS, problem(422, "residency_unsatisfiable", "no pool may", conflict=["job"], relaxation={"add": "FR"}))
    ended = nordan("submit", "-f", document)
    assert ended.code == 1
    assert ended.err.splitlines() == [
        "error: no pool may (residency_unsatisfiable)",
        "  conflict: job",
        "  relaxation: add FR",
        "  request: req-1",
    ]
    assert not rest.sent(PUT)


def test_a_mistyped_field_gets_a_suggestion(nordan: Nordan, rest: FakeRest) -> None:
    faults = [{"field": "comand", "message": "no such field; see docs/reference/job-document.md"}]
    rest.on(JOBS, problem(422, "invalid", "comand: no such field", errors=faults))
    assert "did you mean 'command'?" in nordan("submit", "--", "true").err


def test_a_job_without_a_command_is_an_error_of_use(nordan: Nordan, rest: FakeRest) -> None:
    ended = nordan("submit")
    assert ended.code == 2
    assert not rest.requests


EXITS: dict[str, tuple[dict[str, object], int]] = {
    "success": ({"state": "succeeded", "exit_code": 0}, 0),
    "the program's own code": ({"exit_code": 42}, 42),
    "a signal": ({"signal": 9}, 137),
    "a loss without a code": ({"reason": "node_lost"}, 1),
    "a cancellation": ({"state": "cancelled", "exit_code": 3}, 1),
    "a code that no shell knows": ({"exit_code": 256}, 1),
}


@pytest.mark.parametrize("case", EXITS)
def test_attached_it_exits_with_the_jobs_code(nordan: Nordan, rest: FakeRest, case: str) -> None:
    members, code = EXITS[case]
    last = {name: value for name, value in members.items() if name != "state"}
    running = job("running", attempts=[attempt()])
    ended_job = job(str(members.get("state", "failed")), attempts=[{**attempt(state="ended"), **last}])
    rest.on(JOBS, job()).on(GET, job(), running, ended_job).on(LOGS, access())
    rest.on(TAIL, stream("id: 6\ndata: hello", "event: end\ndata:"))
    ended = nordan("submit", "--attach", "--", "true")
    assert ended.code == code
    assert ended.out == f"{ID}\nhello\n"
    assert ended.err.splitlines()[:2] == ["digits queued", "digits running attempt 1 in fr-bru-1"]


def test_ctrl_c_while_attached_leaves_the_job_running(nordan: Nordan, rest: FakeRest) -> None:
    def interrupt(_request: httpx.Request) -> httpx.Response:
        os.kill(os.getpid(), signal.SIGINT)
        return httpx.Response(200, json=job())

    rest.on(JOBS, job()).on(GET, interrupt)
    ended = nordan("submit", "--attach", "--", "true")
    assert ended.code == 130
    assert "the job goes on" in ended.err
    assert f"nordan cancel {ID}" in ended.err


def test_a_plan_is_a_table_with_each_refusal_and_a_summary(nordan: Nordan, rest: FakeRest) -> None:
    rest.on(PLAN, planned(row("fr-bru-1", "2.4500"), row("no-nar-1", "1.7500", allowed=False, holds=False)))
    ended = nordan("plan", "--", "true")
    assert ended.code == 0
    assert (
        ended.out
        == """\
REGION    POOL           LAWFUL   FACET    WANTED  OFFERED  DATA  FITS  EUR/GPU-H  START
fr-bru-1  fr-bru-1-h100  allowed                            yes   yes   2.45
no-nar-1  no-nar-1-h100  refused  process  FR, SE  NO       no    yes   1.75

1 of 2 regions allowed, 1 of them with the data; the job could start now
"""
    )
    assert not rest.sent(PUT)


PLANS: dict[str, tuple[dict[str, object], int, str]] = {
    "full now": (planned(row("a", "1", fits=False), startable=False), 0, "the job would wait"),
    "never": (
        planned(row("a", "1", allowed=False), startable=False, never={"code": "price_cap", "message": "too dear"}),
        1,
        "the job could never run (price_cap)\nmessage: too dear",
    ),
    "no data": (planned(row("a", "1", holds=False), startable=False), 1, "no region holds the data"),
}


@pytest.mark.parametrize("case", PLANS)
def test_a_plan_exits_with_what_would_become_of_the_job(nordan: Nordan, rest: FakeRest, case: str) -> None:
    answer, code, text = PLANS[case]
    rest.on(PLAN, answer)
    ended = nordan("plan", "--", "true")
    assert ended.code == code
    assert text in ended.out


def test_a_plan_sends_digests_and_no_file(nordan: Nordan, rest: FakeRest, document: str) -> None:
    rest.on(PLAN, planned(row("fr-bru-1", "2.45")))
    shown = nordan("plan", "-f", document, "-o", "json")
    assert json.loads(shown.out)["regions"][0]["region"] == "fr-bru-1"
    assert rest.bodies(PLAN)[0]["files"]["files"][0]["digest"] == DIGEST
    assert {request.url.host for request in rest.requests} == {"nordan.test"}
