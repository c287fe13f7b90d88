"""One control plane over two clusters, seen through the command line: two real nodes in France, one in Sweden.

Whatever is asked here goes the way of a person's jobs: api, scheduler, broker, Celery worker, supervisor, API server,
kubelet, containerd, and the gateway for what comes back.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from support.chaos_stack import until
from support.kube.binaries import Unavailable
from support.kube.fixtures import skip_or_fail
from support.kube.job_pods import agent_archive
from support.kube.node_cluster import NodeCluster
from support.kube_stack import GPUS_PER_NODE, Ground, KubeStack, Said, kube_stack
from support.pod_shim import marked, programs
from support.tenants import Json

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.long]
FR, SE = "fr-tst-1", "se-tst-1"
SMALL = {"gpu": 1, "cpu": 1, "memory": "256MiB"}


@pytest.fixture(scope="module")
def two(
    kube_node: NodeCluster, kube_node_b: NodeCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KubeStack]:
    try:
        archive = agent_archive(tmp_path_factory.mktemp("images"))
    except Unavailable as reason:
        skip_or_fail(reason)
    # Sweden costs more: whoever may go to both and asks for a low price begins in France.
    grounds = (Ground(kube_node, FR, "FR", nodes=2), Ground(kube_node_b, SE, "SE", nodes=1, price=2.0))
    with kube_stack(archive, *grounds) as stack:
        yield stack


GANG = """
import os, socket, time
address = (os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT']))
if os.environ['NORDAN_NODE_RANK'] == '0':
    with socket.create_server(('', address[1])) as server:
        print('heard:', server.accept()[0].recv(64).decode(), flush=True)
    open(os.environ['NORDAN_OUTPUT_DIR'] + '/model', 'w').write('trained by two')
else:
    for _ in range(600):
        try: there = socket.create_connection(address, 5)
        except OSError: time.sleep(0.1)
        else: there.sendall(b'rank 1 of ' + os.environ['NORDAN_NODES'].encode()); break
    print('sent', flush=True)
"""


def test_a_gang_of_two_ranks_runs_on_the_two_nodes_of_one_cluster(two: KubeStack, tmp_path: Path) -> None:
    resources = {**SMALL, "gpu": GPUS_PER_NODE}
    policy = {"residency": ["FR"]}
    job = two.submit(
        {"name": "gang", "kind": "training", "command": ["python", "-c", GANG], "nodes": 2, "outputs": ["model"]}
        | {"resources": resources, "policy": policy}
    )
    ended = two.ends(job)
    assert ended["state"] == "succeeded", two.trouble(job)
    [attempt] = ended["attempts"]
    assert (attempt["region"], sorted(attempt["nodes"])) == (FR, ["node1", "node2"])
    assert two.nordan("logs", job).out == "heard: rank 1 of 2\n"
    assert two.nordan("logs", job, "--rank", "1").out == "sent\n"
    fetched = two.nordan("artifact", "get", f"{job}/model", "-d", str(tmp_path))
    assert (fetched.code, (tmp_path / "model").read_text()) == (0, "trained by two"), fetched


def test_the_exit_code_of_a_job_is_that_of_the_command_line_that_stays(two: KubeStack) -> None:
    said = two.nordan(*_flags(two, "three"), "--attach", "--", "sh", "-c", "echo out; exit 3")
    assert (said.code, said.out.splitlines()[-1]) == (3, "out"), said
    found = two.job("three")
    assert (found["state"], found["reason"], found["attempts"][0]["exit_code"]) == ("failed", "container_exit", 3)
    assert "rank 0 ended with code 3" in two.nordan("get", "three").out


def test_a_job_that_takes_more_memory_than_it_asked_for_is_told_so(two: KubeStack) -> None:
    eat = "kept = []\nprint('eating', flush=True)\nwhile True: kept.append(b'x' * 10_000_000)"
    job = two.submit({"name": "eater", "command": ["python", "-c", eat], "resources": SMALL})
    found = two.ends(job)
    assert (found["state"], found["reason"]) == ("failed", "oom"), two.trouble(job)
    assert two.nordan("logs", job).out == "eating\n"
    assert "rank 0 used more memory than the job asked for" in two.nordan("why", job).out


def test_a_log_is_followed_and_a_running_job_entered(two: KubeStack) -> None:
    script = "echo begun; until test -e go; do sleep 0.1; done; echo through"
    job = two.submit({"name": "open", "command": ["sh", "-c", script], "resources": SMALL})
    with two.following("logs", "--follow", job) as shown:
        two.running(job)
        until(lambda: "begun\n" in shown.read_text(), "the log's first line")
        # 1. What it writes, where it is, its code.
        entered = two.nordan("exec", job, "--", "sh", "-c", "echo $NORDAN_JOB; pwd; echo aside >&2; exit 7")
        assert entered == Said(7, f"{job}\n/nordan/rank\n", "aside\n")
        # 2. What it is given.
        assert two.nordan("exec", job, "--", "cat", typed="typed\n") == Said(0, "typed\n", "")
        assert two.nordan("exec", job, "--", "no-such-program").code == 127
        # 3. What it does there.
        assert two.nordan("exec", job, "--", "touch", "go").code == 0
        assert two.ends(job)["state"] == "succeeded", two.trouble(job)
    assert shown.read_text() == "begun\nthrough\n"
    after = two.nordan("exec", job, "--", "true")
    assert (after.code, after.out) == (1, ""), after
    assert "only a running one can be entered" in after.err


#: Takes a step every second and publishes each; on its first try it never comes to an end.
TRAINING = """
import os, time
from pathlib import Path
folder, is_first = Path(os.environ['NORDAN_CHECKPOINT_DIR']), os.environ['NORDAN_FENCE'] == '1'
begun = max([int(one.name.removeprefix('step-')) for one in folder.glob('step-*')], default=0)
print(f'from step {begun}', flush=True)
for step in range(begun + 1, 1_000_000 if is_first else begun + 4):
    time.sleep(2.0 if is_first else 0.2)
    (folder / f'.step-{step}').write_text(str(step))
    (folder / f'.step-{step}').rename(folder / f'step-{step}')
    print(f'step {step}', flush=True)
print('trained', flush=True)
"""


def _training(name: str, residency: list[str], mark: str) -> Json:
    return {
        "name": name,
        "kind": "training",
        "command": ["python", "-c", TRAINING, mark],
        "resources": SMALL,
        "policy": {"residency": residency},
        "objective": "cost",
        "grace": 2,
        "retry": {"limit": 1, "on": ["node_lost"]},
    }


@dataclass(frozen=True, slots=True)
class Loss:
    """Two jobs that trained on one node until its kubelet died, while a third has the other node for itself."""

    roamer: str
    """May run in France and in Sweden."""
    stayer: str
    """The same, for France alone."""
    anchor: str
    node: str
    marks: Mapping[str, str]
    """By job: what the command lines of its programs hold."""


@pytest.fixture(scope="module")
def loss(two: KubeStack) -> Iterator[Loss]:
    """Kill the kubelet once both jobs have published checkpoints; what it ran goes on, and publishes."""
    french = two.sites[FR].cluster
    whole = {**SMALL, "gpu": GPUS_PER_NODE}
    anchor = two.submit(
        {"name": "anchor", "command": ["sleep", "3600"], "resources": whole, "policy": {"residency": ["FR"]}}
    )
    (taken,) = two.running(anchor)["nodes"]
    roaming, staying = (f"{name}-{time.monotonic_ns()}" for name in ("roamer", "stayer"))
    roamer = two.submit(_training("roamer", ["FR", "SE"], roaming))
    stayer = two.submit(_training("stayer", ["FR"], staying))
    (node,) = two.running(roamer)["nodes"]
    assert two.running(stayer)["nodes"] == [node]
    assert node != taken
    for job in (roamer, stayer):
        two.wait(job, "two checkpoints", lambda found: len(found["artifacts"]) > 1)
    french.kill_kubelet(node)
    try:
        yield Loss(roamer, stayer, anchor, node, {roamer: roaming, stayer: staying})
    finally:
        _start_kubelet(french, node)


def _start_kubelet(cluster: NodeCluster, node: str) -> None:
    if not cluster.nodes[node].kubelet.is_running:
        cluster.start_kubelet(node)
        cluster.give_gpus(node, GPUS_PER_NODE)


def test_a_job_whose_kubelet_died_is_ended_before_it_may_begin_elsewhere(two: KubeStack, loss: Loss) -> None:
    """Its node is dead to the API server but not to the region: the agents are told to stop, and say that they did."""
    killed_s = time.monotonic()
    assert all(programs(mark) for mark in loss.marks.values()), "programs go on without their kubelet"
    for job, mark in loss.marks.items():
        found = two.wait(job, "the loss is told", lambda found: found["state"] == "recovering", 150)
        # From now on another attempt may begin: nothing of the first runs any more.
        assert programs(mark) == [], "the first attempt outlives its end"
        [attempt] = found["attempts"]
        assert (attempt["result"], attempt["reason"]) == ("lost", "node_lost")
        assert "rank 0's node is no longer heard of" in two.nordan("get", job).out
    print(f"the loss was told after {time.monotonic() - killed_s:.0f} s")


def test_both_wait_and_say_why(two: KubeStack, loss: Loss) -> None:
    """Here is no room; there the checkpoint is not, or the job may not be."""
    for job in loss.marks:
        two.wait(job, "a reason", lambda found: found["why"])
    why = {job: {(one["code"], one["facet"]) for one in two.job(job)["why"]} for job in loss.marks}
    assert why[loss.roamer] == {("no_capacity", "free"), ("data_not_in_region", "inputs")}
    assert why[loss.stayer] == {("no_capacity", "free"), ("residency_unsatisfiable", "process")}
    assert "stayer is recovering (no_capacity)" in two.nordan("why", loss.stayer).out


def test_the_one_resumes_abroad_from_the_checkpoint_that_was_copied_there(
    two: KubeStack, loss: Loss, tmp_path: Path
) -> None:
    newest = _newest_checkpoint(two, loss.roamer)
    copied = two.nordan("artifact", "copy", newest["id"], "--region", SE)
    assert copied.code == 0, copied
    ended = two.ends(loss.roamer)
    assert ended["state"] == "succeeded", two.trouble(loss.roamer)
    first, second = ended["attempts"]
    assert (second["region"], second["result"], second["resumed_from"]) == (SE, "succeeded", newest["id"])
    assert datetime.fromisoformat(second["created_at"]) >= datetime.fromisoformat(first["ended_at"])
    step = int(newest["name"].removeprefix("step-"))
    steps = "".join(f"step {step + number}\n" for number in (1, 2, 3))
    assert two.nordan("logs", loss.roamer).out == f"from step {step}\n{steps}trained\n"
    assert two.nordan("logs", loss.roamer, "--attempt", "1").out.startswith("from step 0\nstep 1\nstep 2\n")
    _check_certificate(two, loss.roamer, tmp_path)


def test_its_twin_may_not_go_there_and_waits_until_its_own_node_is_back(two: KubeStack, loss: Loss) -> None:
    refused = two.nordan("artifact", "copy", _newest_checkpoint(two, loss.stayer)["id"], "--region", SE)
    assert refused.code == 1
    assert "store" in refused.err
    assert two.job(loss.stayer)["state"] == "recovering"
    _start_kubelet(two.sites[FR].cluster, loss.node)
    ended = two.ends(loss.stayer)
    assert ended["state"] == "succeeded", two.trouble(loss.stayer)
    assert [(one["region"], one["nodes"]) for one in ended["attempts"]] == [(FR, [loss.node])] * 2


def test_in_the_end_nothing_is_left_not_even_on_the_node_that_could_not_be_told(two: KubeStack, loss: Loss) -> None:
    assert two.nordan("cancel", loss.anchor, "--grace", "0s").code == 0
    assert two.ends(loss.anchor)["state"] == "cancelled"
    two.wait_until_nothing_is_left()
    for mark in loss.marks.values():
        until(lambda mark=mark: not marked(mark), "the last process to be gone")  # type: ignore[misc]  # bound now


def _newest_checkpoint(two: KubeStack, job: str) -> Json:
    items: list[Json] = two.nordan("artifact", "list", job, "-o", "json").data["items"]
    return max(
        (one for one in items if one["kind"] == "checkpoint"), key=lambda one: int(one["name"].removeprefix("step-"))
    )


def _check_certificate(two: KubeStack, job: str, folder: Path) -> None:
    """Fetch the certificate and the keys, and verify it where no server can be reached."""
    certificate, keys = folder / "certificate.json", folder / "keys.json"
    assert two.nordan("certificate", "get", job, "--wait", "--out", str(certificate)).code == 0
    assert two.nordan("certificate", "keys", "--out", str(keys)).code == 0
    verified = two.nordan("certificate", "verify", str(certificate), "--keys", str(keys))
    assert verified.code == 0, verified
    assert FR in verified.out
    assert SE in verified.out


def _flags(two: KubeStack, name: str) -> tuple[str, ...]:
    small = ("--gpus", "1", "--cpus", "1", "--memory", "256MiB")
    return ("submit", "--name", name, *small, "--residency", "FR")
