"""`nordan exec` on a running stack: a shell in a job, and nothing of it left behind by whatever dies."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nordan_workers.shim import linux
from support.chaos_stack import FR, ChaosStack, until
from support.entering import nordan_exec, screen
from support.tenants import Tenant, add_project

FLOOR = {"class": "internal", "residency": ["FR"]}


@pytest.fixture(scope="module")
def tenant(admin: Tenant, organisation: str) -> Tenant:
    return add_project(admin, organisation, "entered", FLOOR)


@pytest.fixture
def job(tenant: Tenant) -> Iterator[str]:
    job = tenant.submit({"name": "open", "command": ["sh", "-c", "echo running; sleep 300"]})
    tenant.reaches(job, "running")
    yield job
    tenant.ask("POST", f"/jobs/{job}:cancel", json={"grace_s": 0})
    tenant.reaches(job, "cancelled")


@pytest.fixture
def mark() -> str:
    """A word that only this test's commands carry."""
    return f"mark-{time.time_ns()}"


def living(mark: str) -> int:
    """Return how many processes carry a word among their arguments, those of `nordan exec` itself left out."""
    count = 0
    for one in linux.processes():
        try:
            words = Path(f"/proc/{one.pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        count += one.is_alive and mark.encode() in words and b"nordan_cli" not in words
    return count


def test_input_from_a_pipe_goes_through_and_the_code_comes_back(tenant: Tenant, job: str) -> None:
    ended = nordan_exec(tenant, job, "--", "cat", typed=b"hi\n")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"hi\n", b"")
    ended = nordan_exec(tenant, job, "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, b"out\n", b"err\n")
    assert nordan_exec(tenant, job, "--", "sh", "-c", "kill -TERM $$").returncode == 143
    assert nordan_exec(tenant, job, "--", "no-such-program").returncode == 127


def test_it_is_where_the_program_is(tenant: Tenant, job: str) -> None:
    ended = nordan_exec(tenant, job, "--", "sh", "-c", "echo $NORDAN_JOB; ls $NORDAN_OUTPUT_DIR; pwd")
    first, *_, folder = ended.stdout.decode().splitlines()
    assert first == job
    assert folder.endswith("/rank-0")


def test_a_shell_at_a_terminal(tenant: Tenant, job: str) -> None:
    with screen(tenant, job, "-it", "--", "sh") as one:
        one.until("$ ")
        one.type("test -t 0 && echo forty-$((40 + 2))\n")
        one.until("forty-42")
        one.type("sleep 60\n")
        time.sleep(0.5)
        one.type("\x03")
        one.type("echo still-$((1 + 1))\n")
        one.until("still-2")
        one.type("exit 5\n")
        assert one.ends() == 5


def test_another_reader_is_refused_in_words(admin: Tenant, organisation: str, tenant: Tenant, job: str) -> None:
    body = {"role": "submitter", "territory": "US"}
    key = admin.ask("POST", f"/v1/organisations/{organisation}/keys", json=body, expect=201).json()["key"]
    ended = nordan_exec(Tenant(tenant.http, key, tenant.project), job, "--", "id")
    assert ended.returncode == 1
    assert b"the reader sits in US" in ended.stderr


def test_the_certificate_tells_of_the_sessions(tenant: Tenant) -> None:
    job = tenant.submit({"name": "short", "command": ["sh", "-c", "until test -e go; do sleep 0.1; done"]})
    tenant.reaches(job, "running")
    assert nordan_exec(tenant, job, "--", "touch", "go").returncode == 0
    tenant.reaches(job, "succeeded")
    path = f"/jobs/{job}/certificate"
    until(lambda: tenant.ask("GET", path, expect=200).json()["state"] == "issued", "the certificate")
    assert '"exec_opened"' in _payload(tenant.ask("GET", path).json()["envelope"])


def _payload(envelope: dict[str, str]) -> str:
    import base64  # noqa: PLC0415

    return json.dumps(json.loads(base64.b64decode(envelope["payload"])))


@pytest.mark.parametrize("part", ["gateway", "supervisor"])
def test_no_death_leaves_anything_behind(stack: ChaosStack, tenant: Tenant, job: str, mark: str, part: str) -> None:
    """The gateway's ends the session; the supervisor is not needed any more, and the session goes on without it."""
    script = "trap '' HUP TERM; echo begun; while true; do sleep 0.1; done"
    with screen(tenant, job, "-t", "--", "sh", "-c", script, mark) as one:
        one.until("begun")
        assert living(mark) == 1
        dead = stack.kill(f"{part}-{FR}")
        if part == "gateway":
            assert one.ends() == 255
            assert b"the session was cut" in one.shown
        else:
            stack.wait_replaced(f"{part}-{FR}", dead)
            assert one.process.poll() is None
            one.process.kill()
        until(lambda: living(mark) == 0, "the command to be gone", 10.0)
    stack.wait_replaced(f"{part}-{FR}", dead)
    until(lambda: nordan_exec(tenant, job, "--", "true").returncode == 0, "a session as before")


def test_the_end_of_the_job_ends_the_session(tenant: Tenant, job: str, mark: str) -> None:
    with screen(tenant, job, "-t", "--", "sh", "-c", "trap '' HUP TERM; echo begun; sleep 60", mark) as one:
        one.until("begun")
        tenant.ask("POST", f"/jobs/{job}:cancel", json={"grace_s": 0}, expect=200)
        assert one.ends() == 255
        assert b"attempt_over" in one.shown
    assert living(mark) == 0
