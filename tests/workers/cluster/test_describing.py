from __future__ import annotations

from typing import Any

import pytest
import yaml

from nordan_core.domain.errors import OperatorError
from nordan_core.world import PoolDocument, parse_world
from nordan_workers.cluster.describing import Wanted, as_yaml, find_pools
from support.cluster_objects import a_container, a_node, a_pod

Json = dict[str, Any]
H100 = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu.memory": "81559"}
WANTED = Wanted("fr-k8s-1", "auvergne-calcul", price_eur_per_gpu_h="3.10", facts_valid_until="2027-12-31")


def _size(gpus: int = 8, cpu: str = "96", memory: str = "1Ti") -> Json:
    return {"nvidia.com/gpu": str(gpus), "cpu": cpu, "memory": memory}


def test_nodes_of_one_kind_become_a_pool_of_what_the_least_of_them_has() -> None:
    """Less what the pods that are on every node ask for; what else runs there now does not shape the pool."""
    nodes = [a_node("n2", labels=H100), a_node("n1", labels=H100, allocatable=_size(cpu="95500m", memory="1000Gi"))]
    everywhere: Json = {"metadata": {"ownerReferences": [{"kind": "DaemonSet"}]}}
    pods = [a_pod("d", "n2", a_container(cpu="700m"), **everywhere), a_pod("big", "n1", a_container(cpu="90"))]
    [found] = find_pools(nodes, pods, WANTED)
    assert found.nodes == ("n1", "n2")
    assert found.document == {
        "kind": "Pool",
        "name": "fr-k8s-1-h100",
        "region": "fr-k8s-1",
        "provider": "auvergne-calcul",
        "accelerator": "H100",
        "gpu_memory_mib": 81559,
        "gpus_per_node": 8,
        "cpus": 95,
        "memory_mib": 1000 * 1024,
        "price_eur_per_gpu_h": "3.10",
        "facts_valid_until": "2027-12-31",
        "has_made_up_gpus": False,
    }
    [document] = parse_world([found.document])
    assert isinstance(document, PoolDocument)
    assert document.nodes is None


@pytest.mark.parametrize(
    ("labels", "accelerator", "memory_mib"),
    [
        (H100, "H100", 81559),
        ({"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}, "A100", None),
        ({"nvidia.com/gpu.product": "NVIDIA-L40S"}, "L40S", None),
        ({"nvidia.com/gpu.product": "NVIDIA-GeForce-RTX-4090"}, "RTX4090", None),
        ({"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"}, "H100", None),
        ({"k8s.amazonaws.com/accelerator": "nvidia-l4"}, "L4", None),
        ({}, None, None),
    ],
)
def test_the_accelerator_is_read_off_the_labels_that_vendors_set(
    labels: Json, accelerator: str | None, memory_mib: int | None
) -> None:
    [found] = find_pools([a_node(labels=labels)], [], WANTED)
    assert (found.document["accelerator"], found.document["gpu_memory_mib"]) == (accelerator, memory_mib)


def test_different_nodes_are_different_pools_with_different_names() -> None:
    nodes = [
        a_node("a", labels=H100),
        a_node("b", labels=H100, allocatable=_size(4)),
        a_node("c", labels={**H100, "nvidia.com/gpu.memory": "95830"}, allocatable=_size(4)),
        a_node("d", labels={"nvidia.com/gpu.product": "NVIDIA-B200"}),
        a_node("no-gpus", allocatable={"cpu": "8", "memory": "1Gi"}),
    ]
    found = find_pools(nodes, [], WANTED)
    assert {one.name: one.nodes for one in found} == {
        "fr-k8s-1-b200": ("d",),
        "fr-k8s-1-h100-4-81559": ("b",),
        "fr-k8s-1-h100-4-95830": ("c",),
        "fr-k8s-1-h100-8": ("a",),
    }


@pytest.mark.parametrize(
    ("nodes", "wanted", "told"),
    [
        ([a_node(allocatable={"cpu": "8"})], WANTED, "none of 1 nodes offers nvidia.com/gpu"),
        (
            [a_node("a", labels=H100), a_node("b", allocatable=_size(4))],
            Wanted("r", "p", pool="one"),
            r"2 kinds \(4 x unknown, 8 x H100\): narrow the selector",
        ),
        ([a_node()], Wanted("r" * 60, "p"), "too long for a name"),
    ],
)
def test_what_cannot_be_one_pool_is_refused_with_what_to_do(nodes: list[Json], wanted: Wanted, told: str) -> None:
    with pytest.raises(OperatorError, match=told):
        find_pools(nodes, [], wanted)


def test_what_no_node_tells_is_left_for_the_operator_and_refused_while_it_is_empty() -> None:
    found = find_pools([a_node()], [], Wanted("fr-k8s-1", "auvergne-calcul"))
    text = as_yaml(found, None, "fr-k8s-1")
    assert "price_eur_per_gpu_h:  # EUR per GPU-hour\n" in text
    assert found[0].unsaid == ("accelerator", "gpu_memory_mib", "price_eur_per_gpu_h", "facts_valid_until")
    with pytest.raises(Exception, match="accelerator"):
        parse_world(list(yaml.safe_load_all(text)))


def test_the_documents_say_how_their_nodes_get_their_labels() -> None:
    text = as_yaml(find_pools([a_node("n1", labels=H100), a_node("n2", labels=H100)], [], WANTED), "FR", "fr-k8s-1")
    assert text.splitlines()[:5] == [
        "# 2 nodes: n1, n2",
        "# They belong to the pool by their labels, and its taint keeps others away:",
        "#   kubectl label node n1 n2 \\",
        "#     nordan.node-restriction.kubernetes.io/region=fr-k8s-1"
        " nordan.node-restriction.kubernetes.io/territory=FR"
        " nordan.node-restriction.kubernetes.io/pool=fr-k8s-1-h100",
        "#   kubectl taint node n1 n2 nordan.eu/pool=fr-k8s-1-h100:NoSchedule",
    ]
