"""What a tenant can do, each act with canaries in every field: jobs that end in every way, data, calls, nonsense.

`played` does it all on a running stack while brokers and processes are watched, and returns what can be looked at.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from support.canaries import Canaries, layers
from support.chaos_stack import FR, SE, ChaosStack, until
from support.entering import enter
from support.machine import Watch
from support.taps import PAUSE_S, Tap
from support.tenants import Json, Tenant, add_key, add_project

HOME_REGION, OTHER_REGION = FR, SE
FLOOR = {"class": "internal", "residency": ["FR"]}
#: Every program of a job lives so long that the watch learns to tell it from Nordan's own.
LIVES = "sleep 0.5"
#: What describes a job or its data: the control plane keeps it.
DESCRIBED = frozenset(
    {
        *("organisation", "project", "job name", "image", "argument", "environment name", "environment value"),
        *("file name", "dataset name", "dataset file name", "output name", "output file name", "missing program"),
        *("checkpoint name", "checkpoint file name", "endpoint", "readiness path", "cancelled argument"),
        *("batched job name", "batched argument"),
    }
)
#: Bytes of a tenant: a region keeps them.
CONTENTS = frozenset({"file content", "dataset content", "checkpoint content", "output content"})
SAID = frozenset({"log output", "log error output"})
#: Parts of a call to a service: its replica hears them.
CALLED = frozenset({"path of a call", "query of a call", "header of a call", "body of a call"})
#: What goes through an interactive session.
ENTERED = frozenset({"command of a session", "typed in a session", "shown in a session"})
#: Not kept by anybody.
PASSING = (
    CALLED
    | ENTERED
    | {
        *("user agent", "query", "header", "cookie", "idempotency key", "planned argument", "refused name"),
        *("unknown field", "malformed body", "large body", "bad credential", "bad token", "bad path", "odd request"),
        *("owner's key", "viewer's key", "refused batched name"),
        *("range", "last event id", "condition by tag", "condition by date"),
    }
)

TRAIN = """
cat "$NORDAN_INPUT_DIR"/*/* > /dev/null
: {file content}
echo '{log output}'
echo '{log error output}' >&2
if [ "$NORDAN_NODE_RANK" = 0 ]; then
    mkdir "$NORDAN_CHECKPOINT_DIR/.new" "$NORDAN_OUTPUT_DIR/{output name}"
    echo '{checkpoint content}' > "$NORDAN_CHECKPOINT_DIR/.new/{checkpoint file name}"
    mv "$NORDAN_CHECKPOINT_DIR/.new" "$NORDAN_CHECKPOINT_DIR/{checkpoint name}"
    echo '{output content}' > "$NORDAN_OUTPUT_DIR/{output name}/{output file name}"
fi
while [ ! -e "$GO" ]; do sleep 0.1; done
"""
#: Answers whatever it is asked with all that it heard.
SERVE = """
import os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Echo(BaseHTTPRequestHandler):
    def do_GET(self):
        length = int(self.headers.get("Content-Length", 0))
        heard = b"\\n".join([self.path.encode(), bytes(self.headers), self.rfile.read(length)])
        self.send_response(200)
        self.send_header("Content-Length", str(len(heard)))
        self.end_headers()
        self.wfile.write(heard)
    do_POST = do_GET
HTTPServer(("127.0.0.1", int(os.environ["NORDAN_PORT"])), Echo).serve_forever()
"""


@dataclass
class Story:
    """What was done, and what can be looked at afterwards."""

    stack: ChaosStack
    tenant: Tenant
    canaries: Canaries
    taps: dict[str, Tap]
    watch: Watch
    waited: list[str] = field(default_factory=list)
    """Grants whose messages lay in the queue while the worker stood still."""
    heard: set[str] = field(default_factory=set)
    """Fields of a call that the service answered with."""

    @cached_property
    def in_database(self) -> set[str]:
        """The fields whose canaries are in some row of some table."""
        tables = self.stack.rows("select table_name from information_schema.tables where table_schema = 'public'")
        rows = [row for (name,) in tables for row in self.stack.rows(f'select to_jsonb(one)::text from "{name}" one')]
        return self.canaries.found_in("\n".join(text for (text,) in rows).encode())

    def grants(self, region: str) -> list[str]:
        """Return the grants of this tenant's attempts in a region."""
        query = """
            select g.id from attempt_grant g join attempt a on a.id = g.attempt_id
            join job j on j.id = a.job_id join project p on p.id = j.project_id
            where p.name = %(project)s and g.region = %(region)s
            """
        return [grant for (grant,) in self.stack.rows(query, {"project": self.tenant.project, "region": region})]

    def unquoted(self, data: bytes) -> bytes:
        """Return all that can be read out of some bytes."""
        return b"\n".join(layers(data))

    def folders(self, *names: str) -> bytes:
        """Return names and contents of all files in some folders of the data folder."""
        return b"\n".join(
            part
            for name in names
            for path in sorted((self.stack.data / name).rglob("*"))
            for part in (str(path).encode(), path.read_bytes() if path.is_file() else b"")
        )

    def own_files(self) -> list[Path]:
        """Return every file of the stack but programs, the database and what a region holds for its tenants."""
        data = self.stack.data
        left_out = {data / "runtime", data / "binaries", data / "postgres" / "binaries", data / "postgres" / "cluster"}
        parts = ("store", "logs", "work", "attempts", "records")
        left_out |= {data / "regions" / code / part for code in (HOME_REGION, OTHER_REGION) for part in parts}
        found = []
        for folder, folders, files in os.walk(self.stack.home):
            folders[:] = [name for name in folders if Path(folder, name) not in left_out]
            found += [path for name in files if (path := Path(folder, name)).is_file()]
        return found


@contextmanager
def played(stack: ChaosStack, admin: Tenant, organisation: str, canaries: Canaries) -> Iterator[Story]:
    """Do everything, wait until all of it is over, and yield what can be looked at."""
    with ExitStack() as watching:
        taps = {folder.name: watching.enter_context(Tap(_broker_url(folder), folder)) for folder in stack.regions()}
        watch = watching.enter_context(Watch(stack))
        tenant = add_project(admin, organisation, canaries["project"], FLOOR)
        canaries.add("owner's key", tenant.key)
        canaries.add("viewer's key", add_key(admin, organisation, "viewer"))
        story = Story(stack, tenant, canaries, taps, watch)
        _play(story)
        time.sleep(4 * PAUSE_S)
        yield story


def _broker_url(region: Path) -> str:
    return str(json.loads((region / "join.json").read_text())["broker_url"])


def _play(story: Story) -> None:
    jobs = [_train(story), _fail(story), _cancel(story), _serve(story), *_wait_in_the_queue(story), _batch(story)]
    _be_refused(story)
    _send_nonsense(story)
    _send_what_is_no_request(story)
    until(lambda: all(_is_certified(story.tenant, job) for job in jobs), "the certificates")


def _train(story: Story) -> str:
    """A gang with files, a dataset, a checkpoint and an output; all headers that a client may send."""
    word, tenant = story.canaries, story.tenant
    tenant.put_dataset(
        word["dataset name"], {}, HOME_REGION, {word["dataset file name"]: word["dataset content"].encode()}
    )
    go = story.stack.starts / "go"
    script = re.sub(r"\{(.+?)\}", lambda match: word[match[1]], TRAIN)
    document = {
        "name": word["job name"],
        "kind": "training",
        "image": word["image"],
        "command": ["sh", word["file name"], word["argument"]],
        "env": {word["environment name"].upper(): word["environment value"], "GO": str(go)},
        "nodes": 2,
        "inputs": [f"dataset/{word['dataset name']}"],
        "outputs": [word["output name"]],
    }
    with_files = tenant.put_files(document, HOME_REGION, {word["file name"]: script.encode()})
    headers = {
        "Idempotency-Key": word["idempotency key"],
        "User-Agent": word["user agent"],
        "X-Label": word["header"],
        "Cookie": f"session={word['cookie']}",
    }
    tenant.ask("POST", "/jobs:plan", json={**document, "command": [word["planned argument"]]}, expect=200)
    job = tenant.submit(with_files, **headers)
    tenant.ask("GET", "/jobs", params={"name": word["query"]}, expect=200)
    until(lambda: bool(tenant.ask("GET", f"/jobs/{job}/artifacts").json()["items"]), "the checkpoint")
    _enter(story, job)
    go.touch()
    tenant.reaches(job, "succeeded")
    assert word["log output"] in tenant.log(job)
    _read_the_log_with_headers(story, job)
    _read_all(tenant, job)
    return job


def _enter(story: Story, job: str) -> None:
    """Somebody looks inside: what runs, what is typed and what is shown stay between them and the job."""
    word = story.canaries
    words = ["sh", "-c", f"{LIVES}; cat; echo {word['shown in a session']}; {LIVES}", word["command of a session"]]
    ending, out = enter(story.tenant, job, words, word["typed in a session"].encode())
    assert ending == {"exit_code": 0}
    assert word["typed in a session"].encode() in out
    assert word["shown in a session"].encode() in out


def _read_all(tenant: Tenant, job: str) -> None:
    for artifact in tenant.ask("GET", f"/jobs/{job}/artifacts", expect=200).json()["items"]:
        access = tenant.ask("POST", f"/artifacts/{artifact['id']}:read", expect=200).json()
        for file in tenant.at_gateway("GET", access, expect=200).json()["files"]:
            tenant.at_gateway("GET", access, f"/files/{file['path']}", expect=200)


def _read_the_log_with_headers(story: Story, job: str) -> None:
    """Headers that the api and a gateway understand, with values that they do not."""
    word, tenant = story.canaries, story.tenant
    headers = {
        "Range": f"bytes={word['range']}-",
        "Last-Event-ID": word["last event id"],
        "If-None-Match": f'"{word["condition by tag"]}"',
        "If-Match": f'"{word["condition by tag"]}"',
        "If-Range": f'"{word["condition by tag"]}"',
        "If-Modified-Since": word["condition by date"],
    }
    access = tenant.ask("GET", f"/jobs/{job}/logs", headers=headers, expect=200).json()
    for accepted in ("application/octet-stream", "text/event-stream"):
        tenant.at_gateway("GET", access, headers={**headers, "Accept": accepted})


def _fail(story: Story) -> str:
    """A program that is not there; no retry mends that."""
    word, tenant = story.canaries, story.tenant
    script = f"{LIVES}; /nowhere/{word['missing program']}; exit 3"
    job = tenant.submit({"name": word["job name"], "command": ["sh", "-c", script]})
    tenant.reaches(job, "failed")
    lost = tenant.submit({"name": word["job name"], "command": [f"/nowhere/{word['missing program']}"]})
    tenant.reaches(lost, "failed")
    return job


def _cancel(story: Story) -> str:
    word, tenant = story.canaries, story.tenant
    job = tenant.submit({"name": word["job name"], "command": ["sh", "-c", "sleep 60", word["cancelled argument"]]})
    tenant.reaches(job, "running")
    tenant.ask("POST", f"/jobs/{job}:cancel", json={word["unknown field"]: 1}, expect=422)
    tenant.ask("POST", f"/jobs/{job}:cancel", json={"grace_s": 0.5}, expect=200)
    tenant.reaches(job, "cancelled")
    return job


def _batch(story: Story) -> str:
    """Two in one request: one that runs and one that is refused."""
    word, tenant = story.canaries, story.tenant
    fine = {"name": word["batched job name"], "command": ["sh", "-c", LIVES, word["batched argument"]]}
    bad = {"name": word["refused batched name"], "command": ["true"], "nodes": -1}
    answer = tenant.ask("POST", "/jobs:batchCreate", json={"jobs": [fine, bad]}, expect=200).json()
    assert [item["status"] for item in answer["items"]] == [202, 422]
    job: str = answer["items"][0]["job"]["id"]
    tenant.reaches(job, "succeeded")
    return job


def _serve(story: Story) -> str:
    """A service that is called with canaries in every part of the call."""
    word, tenant = story.canaries, story.tenant
    document = {
        "name": word["job name"],
        "kind": "inference",
        "command": ["python", "-c", SERVE],
        "readiness": {"path": f"/{word['readiness path']}"},
    }
    job = tenant.submit(document)
    until(lambda: tenant.ask("POST", f"/jobs/{job}:connect").is_success, "the service to be ready")
    access = tenant.ask("POST", f"/jobs/{job}:connect", expect=200).json()
    path = f"{word['path of a call']}?q={word['query of a call']}"
    headers = {"X-Canary": word["header of a call"]}
    answer = tenant.at_gateway("POST", access, path, content=word["body of a call"], headers=headers, expect=200)
    story.heard |= word.found_in(answer.content) - {"a part of a canary"}
    tenant.ask("POST", f"/jobs/{job}:cancel", json={}, expect=200)
    tenant.reaches(job, "cancelled")
    gone = tenant.at_gateway("POST", access, path, content=word["body of a call"], headers=headers)
    assert gone.status_code == 503, gone.text
    return job


def _wait_in_the_queue(story: Story) -> list[str]:
    """Jobs whose messages lie in the broker, since the worker stands still."""
    word, tenant, tap = story.canaries, story.tenant, story.taps[HOME_REGION]
    before = set(story.grants(HOME_REGION))
    document = {"name": word["job name"], "command": ["sh", "-c", LIVES, word["argument"]]}
    with story.stack.stopped(story.stack.process(f"worker-{HOME_REGION}")):
        # The worker has asked for one already and gets it, though it sleeps.
        jobs = [tenant.submit(document) for _ in range(3)]
        until(lambda: tap.waiting() >= 2, "messages to wait")
        time.sleep(4 * PAUSE_S)
    kept = story.unquoted(tap.kept)
    story.waited = [grant for grant in story.grants(HOME_REGION) if grant not in before and grant.encode() in kept]
    for job in jobs:
        tenant.reaches(job, "succeeded")
    return jobs


def _be_refused(story: Story) -> None:
    word, tenant = story.canaries, story.tenant
    policy = {"process": ["PT"], "egress": [f"{word['endpoint']}:443"]}
    document = {"name": word["refused name"], "command": ["true"]}
    assert tenant.ask("POST", "/jobs", json={**document, "policy": policy}).json()["code"] == "residency_unsatisfiable"
    tenant.ask("POST", "/datasets", json={"name": "endpoints", "policy": {"egress": policy["egress"]}}, expect=201)


def _send_nonsense(story: Story) -> None:
    """Requests that are refused, each for another reason."""
    word, tenant = story.canaries, story.tenant
    fine = {"name": "fine", "command": ["true"]}
    bad = {"Authorization": f"Bearer {word['bad credential']}"}
    field_, body = word["unknown field"], word["malformed body"]
    requests: list[tuple[str, str, int, Json]] = [
        ("POST", "/jobs", 422, {"json": {**fine, field_: field_}}),
        ("POST", "/jobs", 422, {"json": {**fine, "kind": field_}}),
        ("POST", "/jobs", 422, {"json": {**fine, "policy": {"process": [field_]}}}),
        ("POST", "/jobs", 422, {"json": {**fine, "image": field_ + "\0"}}),
        ("POST", "/jobs", 404, {"json": {**fine, "inputs": [f"dataset/{field_}"]}}),
        ("POST", "/jobs", 422, {"content": body}),
        ("POST", "/jobs", 422, {"content": f'{{"{body}": 1, "{body}": 2}}'}),
        ("POST", "/jobs", 413, {"content": word["large body"] * 30_000}),
        ("POST", "/jobs", 401, {"json": fine, "headers": bad}),
        ("POST", "/jobs", 422, {"json": fine, "headers": {"Idempotency-Key": word["idempotency key"] * 30}}),
        ("GET", f"/jobs/{word['bad path']}", 404, {}),
        ("GET", f"/jobs/{word['bad path']}%00", 422, {}),
        ("GET", f"/v1/{word['bad path']}", 404, {}),
        ("PATCH", "/jobs", 405, {"json": {field_: field_}}),
        ("GET", "/jobs", 422, {"params": {"state": word["query"]}}),
        ("POST", "/worker/v1/sync", 401, {"json": {"supervisor_id": field_}, "headers": bad}),
    ]
    for method, path, status, options in requests:
        tenant.ask(method, path, expect=status, **options)
    access = tenant.ask("POST", "/datasets/endpoints:put", json={"region": HOME_REGION}, expect=201).json()
    blob = "/v1/blobs/" + "0" * 64
    tenant.at_gateway("PUT", access, blob, content=body, expect=422)
    tenant.at_gateway("PUT", {**access, "token": word["bad token"]}, blob, content=body, expect=401)
    tenant.at_gateway("POST", access, f"/v1/uploads/{access['upload_id']}:commit", content=body, expect=422)
    tenant.at_gateway("GET", access, f"/v1/{word['bad path']}", expect=404)


def _send_what_is_no_request(story: Story) -> None:
    """Bytes that no HTTP server understands, to every port that speaks HTTP."""
    odd = story.canaries["odd request"].encode()
    requests = (
        odd + b"\r\n\r\n",
        odd.upper() + b" /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /" + odd + b"\xff HTTP/9.9\r\n" + odd + b"\r\n\r\n",
        b"GET /" + odd + b" HTTP/1.1\r\nHost: " + odd + b"\r\nContent-Length: " + odd + b"\r\n\r\n",
        odd * 20_000,
    )
    ports: dict[str, int] = json.loads((story.stack.data / "ports.json").read_text())
    for name, port in ports.items():
        if not name.startswith("valkey"):
            for request in requests:
                _say(port, request)


def _say(port: int, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as line:
        try:
            line.sendall(data)
            line.shutdown(socket.SHUT_WR)
            line.recv(1)
        except OSError:
            # The server closed the connection on us, as it may.
            return


def _is_certified(tenant: Tenant, job: str) -> bool:
    return bool(tenant.ask("GET", f"/jobs/{job}/certificate", expect=200).json()["state"] == "issued")
