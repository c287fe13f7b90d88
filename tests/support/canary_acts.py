"""What a tenant can do, each act with canaries in every field: jobs that end in every way, data, calls, nonsense.

`played` does it all on a running stack while brokers and processes are watched, and returns what can be looked at.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from support.canaries import Canaries
from support.canary_approvals import declassify, derogate, describe_a_world
from support.canary_fields import recorded
from support.canary_nonsense import send_nonsense, send_what_is_no_request
from support.canary_sowing import sow
from support.canary_story import HOME_REGION, Story
from support.chaos_stack import ChaosStack, until
from support.entering import enter
from support.machine import Watch
from support.taps import PAUSE_S, Tap
from support.tenants import Tenant, add_key, add_project

#: Of the project of all acts.
FLOOR = {"class": "internal", "residency": ["FR"]}
#: What the owner of data says, and what is made of them therefore may.
OWNERS = {"residency": ["FR"]}
#: Every program of a job lives so long that the watch learns to tell it from Nordan's own.
LIVES = "sleep 0.5"
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


@contextmanager
def played(stack: ChaosStack, admin: Tenant, organisation: str, canaries: Canaries) -> Iterator[Story]:
    """Do everything, wait until all of it is over, and yield what can be looked at."""
    with ExitStack() as watching:
        taps = {folder.name: watching.enter_context(Tap(_broker_url(folder), folder)) for folder in stack.regions()}
        watch = watching.enter_context(Watch(stack))
        tenant = add_project(admin, organisation, canaries["project"], FLOOR)
        canaries.add("owner's key", tenant.key)
        canaries.add("viewer's key", add_key(admin, organisation, "viewer"))
        sent = watching.enter_context(recorded(tenant.http, canaries.prefix))
        story = Story(stack, admin, tenant, canaries, taps, watch, sent)
        _play(story)
        time.sleep(4 * PAUSE_S)
        yield story


def _broker_url(region: Path) -> str:
    return str(json.loads((region / "join.json").read_text())["broker_url"])


def _play(story: Story) -> None:
    describe_a_world(story)
    trained = _train(story)
    declassify(story, trained)
    jobs = [
        trained,
        derogate(story),
        _fail(story),
        _cancel(story),
        _serve(story),
        *_wait_in_the_queue(story),
        _batch(story),
    ]
    _be_refused(story)
    send_nonsense(story)
    send_what_is_no_request(story)
    sow(story)
    until(lambda: all(_is_certified(story.tenant, job) for job in jobs), "the certificates")


def _train(story: Story) -> str:
    """A gang with files, a dataset, a checkpoint and an output; all headers that a client may send."""
    word, tenant = story.canaries, story.tenant
    tenant.put_dataset(
        word["dataset name"], OWNERS, HOME_REGION, {word["dataset file name"]: word["dataset content"].encode()}
    )
    story.made["dataset"] = word["dataset name"]
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
        "resources": {"gpu": f"H100|{word['GPU model']}:1"},
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
    # The region's word that it runs may come after the checkpoint.
    tenant.reaches(job, "running")
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
    ending, out = enter(story.tenant, job, words, word["typed in a session"].encode(), word["terminal of a session"])
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
    tenant.ask("GET", f"/jobs/{job}/logs", headers={"Accept": word["accepted form"]}, expect=200)
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


def _is_certified(tenant: Tenant, job: str) -> bool:
    return bool(tenant.ask("GET", f"/jobs/{job}/certificate", expect=200).json()["state"] == "issued")
