"""Who a job's pods may speak with: nobody, but for the cluster's names and the region's gateway.

The ranks of a gang may reach each other by a policy that the executor makes with the gang's Service: a policy cannot
say "pods with the same value of a label as mine".

Holds only where the cluster's network plug-in enforces network policies; not all do. Pods in their node's network are
outside it, which is one reason why no pod may be.
"""

from __future__ import annotations

from nordan_workers.cluster import marks
from nordan_workers.cluster.cel import Object
from nordan_workers.cluster.facts import ClusterFacts

_NAME_LABEL = "kubernetes.io/metadata.name"
#: As `deploy/components/region` labels and opens it.
_GATEWAY = {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "nordan-region"}}}
_GATEWAY_PORTS = [{"protocol": "TCP", "port": 8480}]
_DNS_PORTS = [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]


def network_policies(facts: ClusterFacts) -> tuple[Object, ...]:
    """Return the policies that stand in the namespace of jobs from the beginning."""
    dns = {**_namespace("kube-system"), "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}
    region = _namespace(facts.region_namespace)
    everyone: Object = {"podSelector": {}}
    return (
        _policy(facts, "nordan-deny-all", {**everyone, "policyTypes": ["Ingress", "Egress"]}),
        _policy(
            facts,
            "nordan-allow-dns",
            {**everyone, "policyTypes": ["Egress"], "egress": [{"to": [dns], "ports": _DNS_PORTS}]},
        ),
        _policy(
            facts,
            "nordan-allow-region",
            {
                **everyone,
                "policyTypes": ["Ingress", "Egress"],
                # The gateway calls replicas at the port that their job named.
                "ingress": [{"from": [region]}],
                "egress": [{"to": [{**region, **_GATEWAY}], "ports": _GATEWAY_PORTS}],
            },
        ),
    )


def _namespace(name: str) -> Object:
    return {"namespaceSelector": {"matchLabels": {_NAME_LABEL: name}}}


def _policy(facts: ClusterFacts, name: str, spec: Object) -> Object:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": name,
            "namespace": facts.jobs_namespace,
            "labels": dict(marks.INSTALLED),
        },
        "spec": spec,
    }
