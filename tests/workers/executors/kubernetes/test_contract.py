"""The Kubernetes executor keeps the contract, on nodes that are played: what pods tell is all that it has there."""

from __future__ import annotations

from workers.executors.contract import ExecutorContract


class TestKubernetesExecutor(ExecutorContract):
    """See the base class."""
