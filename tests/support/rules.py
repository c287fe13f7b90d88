"""A region's rules in a test's cluster: there and in force, and gone again for whoever comes next."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from nordan_core.clock import SystemClock
from nordan_workers.cluster.api import HttpCluster
from nordan_workers.cluster.facts import ClusterFacts
from nordan_workers.cluster.generate import objects
from nordan_workers.cluster.install import install, remove
from nordan_workers.cluster.options import Options, noted
from nordan_workers.cluster.probes import probes, unmet, wait_until_met
from support.kube.cluster import Cluster


@contextmanager
def rules(cluster: Cluster, facts: ClusterFacts) -> Iterator[None]:
    """Install a region's rules for a while; its namespaces stay until the test's cluster ends."""
    make_namespaces(cluster, facts)
    with cluster.client() as http:
        admin = HttpCluster(http)
        install(admin, facts, noted(objects(facts), Options(region_namespace=facts.region_namespace)))
        try:
            assert wait_until_met(admin, facts, SystemClock(), time.sleep) == ()
            yield
        finally:
            remove(admin, facts)
            wait_until_gone(cluster, facts)


def make_namespaces(cluster: Cluster, facts: ClusterFacts) -> None:
    """Make the region's namespaces, with the account that pods have where there is no controller to make it."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    for name in (facts.jobs_namespace, facts.region_namespace):
        cluster.ensure("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        cluster.ensure(f"/api/v1/namespaces/{name}/serviceaccounts", account)
    cluster.ensure("/api/v1/namespaces/default/serviceaccounts", account)


def wait_until_gone(cluster: Cluster, facts: ClusterFacts) -> None:
    """Wait until nothing is refused any more: the server forgets a policy some time after it was removed."""
    with cluster.client() as http:
        admin = HttpCluster(http)
        cluster.wait_for("the rules are gone", lambda: len(unmet(admin, facts)) == len(probes(facts)))
