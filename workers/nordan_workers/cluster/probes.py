"""Ask a cluster whether the rules are in force: a policy works only some time after it was stored.

Each probe is an object that one policy must refuse, sent as a trial that stores nothing. Policies that let pass whoever
may change them cannot be probed by that person; they are loaded by the same pass of the API server as the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from nordan_core.clock import Clock
from nordan_workers.cluster.api import ClusterApi
from nordan_workers.cluster.cel import Object
from nordan_workers.cluster.facts import ClusterFacts
from nordan_workers.executors.kubernetes import names

NAME = "nordan-probe"
#: A rule is in force in 3 s as a rule; a busy server takes longer.
PATIENCE_S = 60.0
PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class Probe:
    """One trial: what is sent, and the policy that must refuse it."""

    policy: str
    path: str
    body: Object


def probes(facts: ClusterFacts) -> tuple[Probe, ...]:
    """Return a probe for each policy that binds its installer too."""
    inside = f"namespaces/{facts.jobs_namespace}"
    pod: Object = {"containers": [{"name": "probe", "image": "nordan-probe"}], "restartPolicy": "Never"}
    job = {"template": {"spec": pod}}
    service = {"type": "ExternalName", "externalName": "probe.invalid"}
    ingress = {"defaultBackend": {"service": {"name": NAME, "port": {"number": 80}}}}
    target = {"target": {"kind": "Node", "name": NAME}}
    cron = {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": job}}
    return (
        Probe("nordan-workloads", f"/apis/batch/v1/{inside}/jobs", _object("batch/v1", "Job", spec=job)),
        Probe("nordan-cron-jobs", f"/apis/batch/v1/{inside}/cronjobs", _object("batch/v1", "CronJob", spec=cron)),
        Probe("nordan-services", f"/api/v1/{inside}/services", _object("v1", "Service", spec=service)),
        Probe(
            "nordan-routes",
            f"/apis/networking.k8s.io/v1/{inside}/ingresses",
            _object("networking.k8s.io/v1", "Ingress", spec=ingress),
        ),
        Probe("nordan-bindings", f"/api/v1/{inside}/pods/{NAME}/binding", _object("v1", "Binding", **target)),
        *_pod_probes(facts),
    )


def unmet(cluster: ClusterApi, facts: ClusterFacts) -> tuple[str, ...]:
    """Return the policies that let their probe pass, each with what the server said instead of refusing."""
    return tuple(f"{probe.policy}: {answer}" for probe in probes(facts) if (answer := _let_through(cluster, probe)))


def wait_until_met(
    cluster: ClusterApi, facts: ClusterFacts, clock: Clock, sleep: Callable[[float], None]
) -> tuple[str, ...]:
    """Return once every probe is refused, or what still is not after a minute."""
    until_s = clock.monotonic() + PATIENCE_S
    while (left := unmet(cluster, facts)) and clock.monotonic() < until_s:
        sleep(PAUSE_S)
    return left


def _pod_probes(facts: ClusterFacts) -> Iterator[Probe]:
    image = f"{(facts.registries or ('',))[0]}nordan-probe"
    spec: Object = {
        "containers": [{"name": "probe", "image": image, "securityContext": _TIGHT}],
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "nodeSelector": {names.NODE_TERRITORY: facts.territory},
    }
    # Lawful but for who makes it: Pod Security and the policy on pods have nothing to say.
    yield Probe("nordan-jobs", f"/api/v1/namespaces/{facts.jobs_namespace}/pods", _object("v1", "Pod", spec=spec))
    if "default" not in facts.exempted:
        elsewhere = {**spec, "nodeSelector": {names.NODE_TERRITORY: "nowhere"}}
        yield Probe("nordan-pods", "/api/v1/namespaces/default/pods", _object("v1", "Pod", spec=elsewhere))


_TIGHT: Object = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def _object(version: str, kind: str, **body: object) -> Object:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": NAME}, **body}


def _let_through(cluster: ClusterApi, probe: Probe) -> str:
    """Return what the server said, or nothing if a rule of ours refused."""
    answer = cluster.send("POST", probe.path, probe.body, dryRun="All")
    return "" if answer.status == 403 and f"'{probe.policy}" in answer.message else answer.message
