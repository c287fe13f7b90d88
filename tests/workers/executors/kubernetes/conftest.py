"""Executors on a cluster whose nodes are played; each test has a namespace and a region's folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nordan_workers.executors.kubernetes.executor import KubernetesExecutor
from support.kube.cluster import Cluster
from support.pod_lab import NODES, PodLab, play_programs, pod_lab


@pytest.fixture(scope="session")
def played(kube_control: Cluster) -> Iterator[Cluster]:
    names = kube_control.add_fake_nodes(len(NODES), prefix="node")
    assert tuple(names) == NODES
    yield kube_control
    kube_control.remove_nodes(names)


@pytest.fixture
def lab(played: Cluster, region_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PodLab]:
    play_programs(monkeypatch)
    with pod_lab(played, region_dir) as made:
        yield made


@pytest.fixture
def executor(lab: PodLab) -> KubernetesExecutor:
    return lab.executor()
