"""What a job tries on the machine that it shares with Nordan and with another tenant, and what it gets."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nordan_core.embedded.proc import ProcessId
from support.chaos_stack import FR, SE, ChaosStack
from support.machine import job_pids
from support.spy import PARTS
from support.tenants import Tenant, add_tenant

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only root gives each attempt a user of its own"),
]
SPY = Path(__file__).resolve().parents[1] / "support" / "spy.py"
SECRET = "the neighbours secret"
#: By the interpreter, by the shell that starts it, and by the script that finds its libraries.
ADDED_BY_PROGRAMS = {"LC_CTYPE", "PWD", "LD_LIBRARY_PATH"}
#: How the kernel says no.
DENIED = {"EACCES", "EPERM"}
CONTROL_FILES = (
    *("control/keys/grant.key", "control/keys/certificate.key", "control/admin-key", "control/sealing-key"),
    *("control/database-password", "control/scheduler-secret", "postgres/superuser-password", "logs/api.log"),
    *("postgres/cluster/data/PG_VERSION", "postgres/cluster/data/pg_hba.conf", "processes/api.json", "ports.json"),
)
REGION_FILES = (
    *("join.json", "services.json", "fences.json", "records/supervisor-id"),
    *("broker/password", "broker/inspector-password", "broker/users.acl", "broker/valkey.conf"),
)
FOLDERS = (
    *("", "control", "logs", "postgres", "postgres/run", "processes", "regions", "runtime", "runtime/bin", "binaries"),
)
REGION_FOLDERS = ("", "attempts", "broker", "logs", "records", "run", "store", "store/blobs", "store/uploads", "work")
REACHED = ("run/supervisor.sock", "run/events.sock", "run/shim.sock")
API_PATHS = ("/v1/me", "/v1/regions", "/v1/projects/neighbour/jobs", "/v1/audit/entries", "/worker/v1/keys")
#: What a job needs to find of Nordan.
OPEN = {"runtime", "runtime/bin", "binaries"}
GET = "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
POST = (
    "POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n"
    "Content-Length: {length}\r\n\r\n{body}"
)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A running job of another tenant, with a secret in every place."""

    job: str
    attempt: str
    pid: int


@dataclass(frozen=True, slots=True)
class Spied:
    """What the spy tried, and what came of it."""

    tasks: dict[str, Any]
    found: dict[str, Any]
    neighbour: Neighbour


@pytest.fixture(scope="module")
def neighbour(stack: ChaosStack, admin: Tenant) -> Iterator[Neighbour]:
    tenant = add_tenant(admin, "neighbour", "neighbour", {"class": "internal", "residency": ["FR"]})
    tenant.put_dataset("secrets", {}, FR, {"note": SECRET.encode()})
    script = f'echo {SECRET} | tee note "$TMPDIR/note" > $NORDAN_OUTPUT_DIR/note; echo {SECRET}; exec sleep 300'
    document = {
        "name": "neighbour",
        "command": ["sh", "-c", script],
        "env": {"TOKEN": SECRET},
        "inputs": ["dataset/secrets"],
    }
    before = job_pids(stack)
    job = tenant.submit(document)
    found = tenant.reaches(job, "running")
    [pid] = job_pids(stack) - before
    yield Neighbour(job, found["attempts"][-1]["id"], pid)
    tenant.ask("POST", f"/jobs/{job}:cancel", json={"grace_s": 0}, expect=200)
    tenant.reaches(job, "cancelled")


@pytest.fixture(scope="module")
def spied(stack: ChaosStack, admin: Tenant, neighbour: Neighbour) -> Spied:
    """Run the spy once, on the machine and in the region of its neighbour."""
    tenant = add_tenant(admin, "spy", "spy", {"class": "internal", "residency": ["FR"]})
    tenant.put_dataset("own", {}, FR, {"note": b"mine"})
    tasks = _tasks(stack, neighbour)
    document = {"name": "spy", "command": ["python", "spy.py"], "inputs": ["dataset/own"], "outputs": ["found"]}
    files = {"spy.py": SPY.read_bytes(), "tasks.json": json.dumps(tasks).encode()}
    job = tenant.runs(tenant.put_files(document, FR, files))
    return Spied(tasks, json.loads(tenant.log(job["id"])), neighbour)


def _tasks(stack: ChaosStack, neighbour: Neighbour) -> dict[str, Any]:
    data, region = stack.data, stack.region(FR)
    secrets = [data / name for name in CONTROL_FILES]
    secrets += [stack.region(code) / name for code in (FR, SE) for name in REGION_FILES]
    of_neighbour = [*region.glob(f"work/{neighbour.attempt}/**/*"), *region.glob(f"*/{neighbour.attempt}/**/*")]
    stored = [path for part in ("blobs", "manifests", "uploads") for path in (region / "store" / part).rglob("*")]
    read = [path for path in (*secrets, *of_neighbour, *stored) if path.is_file()]
    # Whatever has gone or was never there would be refused for the wrong reason.
    assert all(path.is_file() for path in secrets)
    assert len([path for path in of_neighbour if path.is_file() and SECRET in path.read_text()]) >= 4
    assert any(path.is_file() and SECRET in path.read_text() for path in stored)
    regions = [stack.region(code) / name for code in (FR, SE) for name in REGION_FOLDERS]
    folders = [data / name for name in FOLDERS] + regions + [region / "work" / neighbour.attempt]
    sockets = [stack.region(code) / name for code in (FR, SE) for name in REACHED]
    processes = [neighbour.pid, *(stack.process(name).pid for name in stack.names()), stack.up.pid]
    return {
        "read": [str(path) for path in read],
        "list": [str(path) for path in folders if str(path.relative_to(data)) not in OPEN],
        "write": [str(path) for path in folders],
        "reach": [str(path) for path in (data / "postgres" / "run" / ".s.PGSQL.5432", *sockets) if path.exists()],
        "processes": processes,
        "look": [f"/proc/{pid}/{part}" for pid in processes for part in PARTS],
        "become": [0, *sorted({Path(f"/proc/{pid}").stat().st_uid for pid in processes} - {0})],
        "say": _words(stack, neighbour),
    }


def _words(stack: ChaosStack, neighbour: Neighbour) -> dict[str, tuple[int, str]]:
    """Return what is said to each port: what its callers say, without what they show."""
    why = json.dumps({"job_id": neighbour.job})
    plan = json.dumps({"spec": {}, "effective": {}, "organisation": "org_x"})
    said: dict[str, tuple[int, str]] = {}
    ports: dict[str, int] = json.loads((stack.data / "ports.json").read_text())
    for name, port in ports.items():
        if name.startswith("valkey"):
            for word in ("PING", "INFO", "LRANGE nudges 0 -1", "AUTH default x", "HELLO 3", "MONITOR"):
                said[f"{name} {word}"] = port, f"{word}\r\nQUIT\r\n"
        else:
            said[f"{name} health"] = port, GET.format(path="/healthz")
        if name.startswith("gateway"):
            said[f"{name} log"] = port, GET.format(path=f"/v1/attempts/{neighbour.attempt}/logs")
        if name.startswith("scheduler"):
            said[f"{name} why"] = port, POST.format(path="/why", length=len(why), body=why)
            said[f"{name} plan"] = port, POST.format(path="/plan", length=len(plan), body=plan)
            said[f"{name} metrics"] = port, GET.format(path="/metrics")
        if name == "api":
            said |= {f"{name} {path}": (port, GET.format(path=path)) for path in API_PATHS}
    return said


@pytest.mark.parametrize("kind", ["read", "open", "list", "write", "reach", "look", "signal", "trace", "become"])
def test_the_kernel_denies_a_job_what_is_not_its_own(spied: Spied, kind: str) -> None:
    """Keys, passwords, sockets, stores, logs, processes: of Nordan, of this region and another, of a neighbour."""
    tries = spied.found[kind]
    assert len(tries) >= 3
    assert {what: answer for what, answer in tries.items() if answer not in DENIED} == {}


def test_everything_that_it_tried_was_there(spied: Spied, stack: ChaosStack) -> None:
    """Whoever may, can: the tries failed for no other reason."""
    assert all(ProcessId.of(pid) for pid in spied.tasks["processes"])
    assert all(os.access(path, os.R_OK) for path in spied.tasks["read"] if "/records/" in path or "/control/" in path)
    assert SECRET.encode() in Path(f"/proc/{spied.neighbour.pid}/environ").read_bytes()
    assert stack.rows("select 1") == [(1,)]


def test_ports_of_this_machine_answer_nobody_without_a_password_or_a_key(spied: Spied) -> None:
    """Loopback is open to jobs, so each port asks who comes; health and counts are for everybody."""
    wrong = {}
    for name, answer in spied.found["say"].items():
        port, _, what = name.partition(" ")
        if port.startswith("valkey"):
            is_right = answer.startswith(("-NOAUTH", "-WRONGPASS"))
        elif what in {"health", "metrics"}:
            is_right = answer.startswith("HTTP/1.1 200")
        else:
            is_right = answer.startswith("HTTP/1.1 401")
        if not is_right or spied.neighbour.job in answer or spied.neighbour.attempt in answer:
            wrong[name] = answer
    assert wrong == {}


def test_its_own_things_work(spied: Spied) -> None:
    """Its inputs, its folder, its children, its output."""
    own = spied.found["own"]
    assert own["inputs"] == {"own/note": "mine"}
    assert own["child ended by"] == -9
    assert own["mode of cwd"] == 0o700
    assert own["environ"].startswith("b'")


def test_it_has_a_user_of_its_own_and_no_rights(spied: Spied, stack: ChaosStack) -> None:
    """One number for user and group, in no other group, without capabilities, and no way to any."""
    own = spied.found["own"]
    [uid] = set(own["ids"])
    assert uid not in {0, Path(f"/proc/{spied.neighbour.pid}").stat().st_uid}
    assert uid not in {Path(f"/proc/{stack.process(name).pid}").stat().st_uid for name in stack.names()}
    rights = own["rights"]
    assert (rights["NoNewPrivs"], rights["Groups"] in {"", str(uid)}) == ("1", True)
    assert {int(rights[name], 16) for name in ("CapEff", "CapPrm", "CapAmb")} == {0}


def test_nothing_is_handed_to_it_but_its_own(spied: Spied) -> None:
    """No open file but the three, and no variable that is not its own or Nordan's for jobs."""
    own = spied.found["own"]
    assert [file.split()[0] for file in own["files"]] == ["0", "1", "2", "the"]
    assert set(own["environment"]) - ADDED_BY_PROGRAMS == {
        *("PATH", "HOME", "TMPDIR", "MASTER_ADDR", "MASTER_PORT", "CUDA_VISIBLE_DEVICES"),
        *("NORDAN_JOB", "NORDAN_ATTEMPT", "NORDAN_FENCE", "NORDAN_NODE_RANK", "NORDAN_NODES", "NORDAN_GPUS"),
        *("NORDAN_INPUT_DIR", "NORDAN_CHECKPOINT_DIR", "NORDAN_OUTPUT_DIR"),
    }


def test_a_regions_own_user_cannot_read_the_control_planes_secrets_nor_another_regions(
    stack: ChaosStack, spied: Spied
) -> None:
    """Its worker and its gateway run under it: should one of them be taken over, the harm stays in the region."""
    uid = Path(f"/proc/{stack.process(f'gateway-{FR}').pid}").stat().st_uid
    own, foreign = (
        stack.region(FR),
        [path for path in spied.tasks["read"] if not path.startswith(str(stack.region(FR)))],
    )
    assert len(foreign) >= len(CONTROL_FILES) + len(REGION_FILES)
    paths = [str(own / "join.json"), *foreign]
    script = 'for path; do head -c1 "$path" > /dev/null && echo "$path"; done; true'
    done = subprocess.run(
        ["sh", "-c", script, "sh", *paths],
        user=uid,
        group=uid,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(own / "join.json")]
