from __future__ import annotations

from typing import Any

import pytest

from nordan_core.domain.places import Amounts
from nordan_workers.cluster.requests import of_pod
from support.cluster_objects import a_container, a_pod

Json = dict[str, Any]
STAYS: Json = {"restartPolicy": "Always"}


@pytest.mark.parametrize(
    ("pod", "asked"),
    [
        (a_pod("p", "n1", a_container(2, "500m", "1Gi"), a_container(1, "250m", "1")), Amounts(3, 750, 1025)),
        (a_pod("p", "n1", {"name": "c", "resources": {"limits": {"nvidia.com/gpu": 4}}}), Amounts(4, 0, 0)),
        (a_pod("p", "n1", {"name": "c"}), Amounts(0, 0, 0)),
        # Init containers run one by one, before the others.
        (a_pod(initContainers=[a_container(cpu="4"), a_container(cpu="3")]), Amounts(0, 4000, 1024)),
        # One that stays counts with all that follow, not with what came before.
        (
            a_pod(initContainers=[a_container(cpu="5"), a_container(cpu="3", **STAYS), a_container(cpu="3")]),
            Amounts(0, 6000, 2048),
        ),
        (a_pod(initContainers=[a_container(cpu="3", **STAYS)]), Amounts(0, 4000, 2048)),
        (a_pod(overhead={"cpu": "100m", "memory": "64Mi"}), Amounts(0, 1100, 1088)),
        (a_pod(resources={"requests": {"cpu": "8"}}), Amounts(0, 8000, 1024)),
    ],
)
def test_a_pod_asks_for_what_its_node_sets_aside(pod: Json, asked: Amounts) -> None:
    assert of_pod(pod, "nvidia.com/gpu") == asked


def test_what_a_pod_was_given_counts_until_it_has_shrunk() -> None:
    pod = a_pod("p", "n1", a_container(cpu="1"))
    pod["status"]["containerStatuses"] = [{"name": "c", "allocatedResources": {"cpu": "3", "memory": "512Mi"}}]
    assert of_pod(pod, "nvidia.com/gpu") == Amounts(0, 3000, 1024)


def test_gpus_are_counted_by_the_name_that_the_region_says() -> None:
    pod = a_pod("p", "n1", {"name": "c", "resources": {"requests": {"amd.com/gpu": 1, "nvidia.com/gpu": 5}}})
    assert of_pod(pod, "amd.com/gpu") == Amounts(1, 0, 0)
