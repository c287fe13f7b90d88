"""`nordan admin pools import` against a real API server: nodes are objects here, and nothing runs on them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from support.command_line import Nordan
from support.fake_rest import FakeRest
from support.kube.cluster import Cluster, Object

SELECTOR = "import-test=yes"
GIVEN = ("--region", "fr-k8s-1", "--provider", "auvergne-calcul")
COMPLETE = (*GIVEN, "--price", "3.10", "--valid-until", "2027-12-31")
LABELS = {"import-test": "yes", "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu.memory": "81559"}


def _node(name: str, gpus: int) -> Object:
    size = {"cpu": "96", "memory": "1Ti", "pods": "110", **({"nvidia.com/gpu": str(gpus)} if gpus else {})}
    metadata = {"name": name, "labels": LABELS}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": {"capacity": size, "allocatable": size}}


@pytest.fixture
def cluster(kube_api: Cluster) -> Iterator[Cluster]:
    """Yield a cluster with two nodes of 8 GPUs and one without."""
    gpus = {"import-1": 8, "import-2": 8, "import-plain": 0}
    for name, count in gpus.items():
        kube_api.ensure("/api/v1/nodes", _node(name, count))
    yield kube_api
    kube_api.remove_nodes(list(gpus))


def _words(cluster: Cluster, *more: str, selector: str = SELECTOR) -> list[str]:
    return ["admin", "pools", "import", f"--kubeconfig={cluster.kubeconfig}", f"--selector={selector}", *more]


def test_nodes_are_described_for_review(nordan: Nordan, cluster: Cluster) -> None:
    ended = nordan(*_words(cluster, *COMPLETE))
    assert ended.code == 0, ended.err
    assert "1 of 3 nodes offer no nvidia.com/gpu and are left out" in ended.err
    [document] = yaml.safe_load_all(ended.out)
    assert (document["name"], document["gpus_per_node"], document["cpus"]) == ("fr-k8s-1-h100", 8, 96)
    assert "# 2 nodes: import-1, import-2\n" in ended.out


def test_documents_are_applied_and_nodes_get_their_labels_when_asked_for(
    nordan: Nordan, rest: FakeRest, cluster: Cluster
) -> None:
    result = {"kind": "Pool", "name": "mine", "action": "created"}
    rest.on("POST /v1/admin:apply", {"results": [result]})
    ended = nordan(*_words(cluster, *COMPLETE, "--pool", "mine", "--apply", "--label", "--territory", "FR"))
    assert ended.code == 0, ended.err
    assert "created" in ended.out
    [body] = rest.bodies("POST /v1/admin:apply")
    assert [one["name"] for one in body["documents"]] == ["mine"]
    labels = cluster.get("/api/v1/nodes/import-1")["metadata"]["labels"]
    prefix = "nordan.node-restriction.kubernetes.io"
    assert {key: labels[f"{prefix}/{key}"] for key in ("region", "pool", "territory")} == {
        "region": "fr-k8s-1",
        "pool": "mine",
        "territory": "FR",
    }
    assert f"{prefix}/pool" not in cluster.get("/api/v1/nodes/import-plain")["metadata"]["labels"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ((*GIVEN, "--apply"), "no node tells --price, --valid-until"),
        ((*COMPLETE, "--label"), "--label needs --territory"),
        ((*COMPLETE, "--gpu-resource", "amd.com/gpu"), "none of 3 nodes offers amd.com/gpu"),
    ],
)
def test_what_cannot_be_done_changes_nothing_and_says_why(
    nordan: Nordan, rest: FakeRest, cluster: Cluster, more: tuple[str, ...], told: str
) -> None:
    ended = nordan(*_words(cluster, *more))
    assert (ended.code, rest.requests) == (1, [])
    assert told in ended.err


def test_a_selector_that_finds_nothing_says_how_to_look(nordan: Nordan, cluster: Cluster) -> None:
    ended = nordan(*_words(cluster, *COMPLETE, selector="import-test=no"))
    assert (ended.code, "kubectl get nodes --show-labels" in ended.err) == (1, True)


def test_an_account_without_the_right_is_told_so(nordan: Nordan, cluster: Cluster) -> None:
    kubeconfig = cluster.kubeconfig_of("tenant")
    ended = nordan("admin", "pools", "import", f"--kubeconfig={kubeconfig}", f"--selector={SELECTOR}", *COMPLETE)
    assert ended.code == 1
    assert 'cannot list resource "nodes"' in ended.err


def test_a_kubeconfig_that_is_not_there_is_an_error(nordan: Nordan, tmp_path: Path) -> None:
    missing = tmp_path / "gone"
    ended = nordan("admin", "pools", "import", f"--kubeconfig={missing}", f"--selector={SELECTOR}", *COMPLETE)
    assert (ended.code, f"cannot read the kubeconfig {missing}" in ended.err) == (1, True)
