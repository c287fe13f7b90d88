"""Both signing keys change on a real stack while jobs run; everything verifies offline by the keys of before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from nordan_core.proof.keys import SigningKey
from support.chaos_jobs import Jobs, Kind
from support.chaos_stack import FR, ChaosStack, Invoker, chaos_stack, until

#: As short as the test needs it; sensitive jobs have 45 s.
TTL_S = 6
#: As short as the test needs it: then the old grant key is done with.
OVERLAP_S = 15.0
ACROSS = Kind("across", 'until [ -e "$STARTS/enough" ]; do sleep 0.1; done; echo done > $NORDAN_OUTPUT_DIR/model', 0)
MODEL = Kind("model", "echo weights > $NORDAN_OUTPUT_DIR/model", 0, {"outputs": ["model"]})


@pytest.fixture(scope="module")
def stack() -> Iterator[ChaosStack]:
    """Yield a running stack."""
    with chaos_stack(Invoker(environment={"NORDAN_GRANT_KEY_OVERLAP_S": str(OVERLAP_S)})) as stack:
        yield stack


def nordan(stack: ChaosStack, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NORDAN_CONFIG": str(stack.home / "config.json"), "COLUMNS": "300"}
    return subprocess.run(
        [sys.executable, "-m", "nordan_cli", *words], env=environment, capture_output=True, text=True, check=False
    )


def done(ran: subprocess.CompletedProcess[str]) -> str:
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def rotation(*words: str) -> str:
    """Change a key's files as an operator does; returns the new key's id."""
    command = [sys.executable, "-m", "nordan_core.proof.rotation", *words]
    return done(subprocess.run(command, capture_output=True, text=True, check=False)).strip()


def state(jobs: Jobs, job: str) -> str:
    return str(jobs.get(f"/jobs/{job}").json()["state"])


def test_keys_change_under_running_jobs_and_all_verifies_from_the_first_ones(stack: ChaosStack, tmp_path: Path) -> None:
    jobs, keys = Jobs(stack), stack.data / "control" / "keys"
    kept, now, log = tmp_path / "kept.json", tmp_path / "now.json", tmp_path / "log.ndjson"
    papers = {name: tmp_path / f"{name}.json" for name in ("before", "across", "after")}
    # 1. A job before the change, a head, and a job that runs across it on a short life.
    done(nordan(stack, "certificate", "keys", "--out", str(kept)))
    before = jobs.submit(MODEL)
    done(nordan(stack, "certificate", "get", before, "--wait", "--out", str(papers["before"])))
    (tmp_path / "head.json").write_text(done(nordan(stack, "admin", "audit", "--checkpoint")))
    supervisor = stack.process(f"supervisor-{FR}")
    with stack.stopped(supervisor):
        across = jobs.submit(ACROSS, region=FR)
        find = "select id from attempt where job_id = %(job)s"
        until(lambda: bool(stack.rows(find, {"job": across})), "the attempt to be placed")
        with stack.connect() as connection:
            connection.execute("update attempt_grant set ttl_s = %s where state = 'issued'", [TTL_S])
    until(lambda: state(jobs, across) == "running", "the job to run")
    # 2. The change of both keys.
    made = {rotation("begin", str(keys / name)) for name in ("grant.key", "certificate.key")}
    until(lambda: made <= _known(stack), "both keys to be introduced")
    changed_at = time.monotonic()
    done(nordan(stack, "certificate", "keys", "--from", str(kept), "--out", str(now)))
    for name in ("grant.key", "certificate.key"):
        rotation("finish", str(keys / name), "--keys", str(now))
    # 3. A job under the new keys; the running one outlives several of its lives and the old key's time.
    after = jobs.submit(MODEL)
    until(lambda: state(jobs, after) == "succeeded", "a job to run under the new keys")
    until(lambda: time.monotonic() > changed_at + OVERLAP_S + 2 * TTL_S, "the old key's time to be over", 60)
    assert state(jobs, across) == "running"
    (stack.starts / "enough").touch()
    until(lambda: state(jobs, across) == "succeeded", "the job to end")
    assert len(stack.rows("select id from attempt where job_id = %(job)s", {"job": across})) == 1
    # 4. A gateway takes the new key's passes.
    assert jobs.output(after, "model") == "weights\n"
    # 5. Offline, by the keys of before the change and by those of now.
    for name, job in (("across", across), ("after", after)):
        done(nordan(stack, "certificate", "get", job, "--wait", "--out", str(papers[name])))
    done(nordan(stack, "admin", "audit", "export", "--out", str(log)))
    for trust in (kept, now):
        for paper in papers.values():
            done(nordan(stack, "certificate", "verify", str(paper), "--keys", str(trust)))
        verdict = nordan(
            stack, "admin", "audit", "verify", str(log), "--keys", str(trust), "--head", str(tmp_path / "head.json")
        )
        assert "verified" in done(verdict)
    # 6. A foreign key, and a log without its end, are refused with the reason.
    _refusals(stack, tmp_path, papers["after"], kept, log)
    # 7. Everything of this stack finds its key after a start.
    for name in ("api", "scheduler-1"):
        stack.wait_replaced(name, stack.kill(name))
    last = jobs.submit(MODEL)
    until(lambda: state(jobs, last) == "succeeded", "a job after the restart")
    done(nordan(stack, "certificate", "get", last, "--wait", "--out", str(papers["after"])))
    done(nordan(stack, "certificate", "verify", str(papers["after"]), "--keys", str(kept)))
    jobs.close()


def _known(stack: ChaosStack) -> set[str]:
    answer = httpx.get(f"{stack.url}/v1/keys", headers={"Authorization": f"Bearer {stack.key}"}, timeout=30).json()
    return {*answer["grant_keys"], *answer["certificate_keys"]}


def _refusals(stack: ChaosStack, folder: Path, paper: Path, kept: Path, log: Path) -> None:
    stranger = SigningKey.create().public
    trust = {**json.loads(kept.read_text()), "certificate_keys": {stranger.key_id: stranger.pem()}}
    foreign, cut = folder / "foreign.json", folder / "cut.ndjson"
    foreign.write_text(json.dumps(trust))
    cut.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))
    for words, why in (
        (("certificate", "verify", str(paper), "--keys", str(foreign)), "not trusted here"),
        (("admin", "audit", "verify", str(log), "--keys", str(foreign)), "not trusted here"),
        (("admin", "audit", "verify", str(cut), "--keys", str(kept)), "under no head: the export is cut off"),
    ):
        ran = nordan(stack, *words)
        assert (ran.returncode, why in ran.stdout) == (1, True), ran.stdout
