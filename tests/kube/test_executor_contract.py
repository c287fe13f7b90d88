"""The Kubernetes executor keeps the contract with pods that really run, on a node with its region beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from nordan_core.domain.ids import AttemptId
from nordan_core.wire import LaunchOrder
from nordan_workers.executors.base import AttemptStatus, Executor, WorkFolders
from support.kube.binaries import Unavailable
from support.kube.fixtures import skip_or_fail
from support.kube.job_pods import POOL, agent_archive, job_pods, replace_node
from support.kube.node_cluster import NodeCluster
from workers.executors.contract import ExecutorContract


@dataclass(frozen=True, slots=True)
class Placed:
    """An executor whose orders go to the one node that is there, and ask it for little."""

    real: Executor
    node: str

    @property
    def tenancy(self) -> tuple[str, ...]:
        return self.real.tenancy

    def prepare(self, order: LaunchOrder) -> WorkFolders:
        return self.real.prepare(self._here(order))

    def seal(self, folders: WorkFolders) -> None:
        self.real.seal(folders)

    def launch(self, order: LaunchOrder, folders: WorkFolders, deadline_s: float) -> None:
        self.real.launch(self._here(order), folders, deadline_s)

    def poll(self, attempt_id: AttemptId) -> AttemptStatus:
        return self.real.poll(attempt_id)

    def extend(self, deadlines: Mapping[AttemptId, float]) -> None:
        self.real.extend(deadlines)

    def stop(self, attempt_id: AttemptId, grace_s: float) -> None:
        self.real.stop(attempt_id, grace_s)

    def adopt(self) -> tuple[AttemptId, ...]:
        return self.real.adopt()

    def forget(self, attempt_id: AttemptId) -> None:
        self.real.forget(attempt_id)

    def close(self) -> None:
        self.real.close()

    def _here(self, order: LaunchOrder) -> LaunchOrder:
        ranks = tuple(replace_node(rank, self.node) for rank in order.ranks)
        return order.model_copy(update={"ranks": ranks, "pool": POOL, "cpus": 0, "gpus_per_rank": 0})


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return agent_archive(tmp_path_factory.mktemp("images"))
    except Unavailable as reason:
        skip_or_fail(reason)


class TestKubernetesExecutorOnARealNode(ExecutorContract):
    """See the base class. Two containers of ours start before a job's, so everything takes its time."""

    limit_s = 120.0
    life_s = 25.0
    late_s = 20.0

    @pytest.fixture
    def executor(self, kube_node: NodeCluster, archive: Path, tmp_path: Path) -> Iterator[Executor]:
        with job_pods(kube_node, tmp_path, archive) as pods:
            yield Placed(pods.executor, pods.node)
