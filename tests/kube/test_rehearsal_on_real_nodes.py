"""Everything of `deploy/overlays/kind` runs on real nodes, and does what it is for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from rehearsal import OVERLAY, REGIONS, ROOT, wait_until

from support.kube.binaries import NODE_PARTS, Unavailable, find_binaries
from support.kube.built_images import image_archives
from support.kube.fixtures import offered, skip_or_fail, start_node
from support.kube.node_cluster import NodeCluster
from support.kube.spaces import require_node_level
from support.kube_deployment import IMAGES, Deployment, deploy, trouble

pytestmark = [pytest.mark.kube, pytest.mark.root, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]
ENDED = {"succeeded", "failed", "cancelled"}


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Future[list[Path]]]:
    """Make the images while the cluster starts; nothing is made for a cluster that cannot be had."""
    try:
        require_node_level()
        find_binaries(NODE_PARTS)
    except Unavailable as reason:
        skip_or_fail(reason)
    with ThreadPoolExecutor() as pool:
        yield pool.submit(image_archives, IMAGES, tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def cluster(archives: Future[list[Path]]) -> Iterator[NodeCluster]:
    """Start a cluster of this module's own: its nodes get labels and taints that would be in others' way."""
    yield from offered(start_node)


@pytest.fixture(scope="module")
def deployment(
    cluster: NodeCluster, archives: Future[list[Path]], tmp_path_factory: pytest.TempPathFactory
) -> Deployment:
    while len(cluster.node_names) < len(REGIONS):
        cluster.add_node()
    try:
        made = archives.result()
    except Unavailable as reason:
        skip_or_fail(reason)
    try:
        return deploy(cluster, tmp_path_factory.mktemp("home"), made)
    except BaseException:
        print(trouble(cluster))
        raise


def test_every_pod_is_ready(deployment: Deployment) -> None:
    for space in ("nordan", *(region.namespace for region in REGIONS)):
        for pod in deployment.cluster.get(f"/api/v1/namespaces/{space}/pods")["items"]:
            if pod["metadata"].get("labels", {}).get("app.kubernetes.io/name") != "nordan-migrate":
                assert all(one["ready"] for one in pod["status"]["containerStatuses"]), pod["metadata"]["name"]
            assert pod["spec"]["securityContext"]["runAsNonRoot"], pod["metadata"]["name"]


def test_nothing_differs_from_what_was_applied(deployment: Deployment) -> None:
    """Controllers have been at the objects since: a second `kubectl apply` would still change none of them."""
    assert deployment.kubectl("diff", "-k", str(OVERLAY)) == ""


def test_one_of_two_schedulers_leads(deployment: Deployment) -> None:
    words = ("-n", "nordan", "logs", "-l", "app.kubernetes.io/name=nordan-scheduler", "--tail=-1")
    log = deployment.kubectl(*words)
    assert log.count("scheduler_started") >= 2
    assert log.count("leadership_won") - log.count("leadership_lost") <= 1


def test_a_job_runs_as_a_pod_in_its_region_and_its_log_comes_back(deployment: Deployment) -> None:
    submitted = deployment.nordan("submit", "-o", "json", "--", "python", "-c", "print('in a pod')")
    job = json.loads(submitted)["id"]

    def state() -> dict[str, object]:
        found: dict[str, object] = json.loads(deployment.nordan("get", job, "-o", "json"))
        return found

    wait_until(lambda: state()["state"] in ENDED, "the job to end", within_s=180)
    assert state()["state"] == "succeeded", state()
    assert "in a pod" in deployment.nordan("logs", job)


def test_the_story_of_the_demo_holds_on_the_cluster(deployment: Deployment) -> None:
    environment = {
        **os.environ,
        **deployment.nordan.environment(),
        "NORDAN_DEMO_KUBECTL": json.dumps(list(deployment.kubectl.argv)),
        "NORDAN_DEMO_RANKS": "1",
    }
    command = [sys.executable, str(Path(ROOT, "deploy/demo/run.py")), "--cluster"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{trouble(deployment.cluster)}"
