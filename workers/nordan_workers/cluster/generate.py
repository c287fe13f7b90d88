"""Everything that `nordan admin cluster install` puts into a region's cluster, in the order in which it goes there."""

from __future__ import annotations

from nordan_workers.cluster.access import jobs_namespace, rights
from nordan_workers.cluster.cel import Object
from nordan_workers.cluster.facts import ClusterFacts
from nordan_workers.cluster.network import network_policies
from nordan_workers.cluster.policies import policies


def objects(facts: ClusterFacts) -> tuple[Object, ...]:
    """Return the objects: what is shut comes before what may be opened, and a policy before what binds it."""
    admission = [policy.objects(facts) for policy in policies(facts)]
    return (
        jobs_namespace(facts),
        *network_policies(facts),
        *(policy for policy, _ in admission),
        *(binding for _, binding in admission),
        *rights(facts),
    )
