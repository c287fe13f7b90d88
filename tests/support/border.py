"""Objects that try to leave their territory, each with its lawful twin: the table behind the tests of admission.

An attempt differs from its twin in one thing, and names the rule that must stop it. Everything is sent as a trial run,
so the same attempts can be made before the rules are there, when each must get through.
"""

from __future__ import annotations

from collections.abc import Mapping

from support import border_pods
from support.border_objects import (
    JOBS,
    JOBS_POD,
    MERGE,
    NODE,
    NODE_PREFIX,
    TENANT,
    TENANTS_POD,
    Attempt,
    Object,
    Request,
    job_pod,
    marked,
)


def attempts() -> dict[str, Attempt]:
    """Return every attempt by the sentence that says what is tried."""
    return {
        **border_pods.attempts(),
        **_ways_in(),
        **_ways_out(),
        **_jobs_by_others(),
        **_jobs_by_the_region(),
        **_labels_of_nodes_and_namespaces(),
    }


def _ways_in() -> dict[str, Attempt]:
    def binding(who: str, namespace: str, name: str, *, below: str, **metadata: object) -> Request:
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, **metadata},
            "target": {"apiVersion": "v1", "kind": "Node", "name": NODE},
        }
        return Request(who, "POST", f"/api/v1/namespaces/{namespace}/{below}", body)

    def connect(who: str, namespace: str, name: str, way: str) -> Request:
        return Request(who, "GET", f"/api/v1/namespaces/{namespace}/pods/{name}/{way}")

    one, legacy = f"pods/{TENANTS_POD}/binding", "bindings"
    of_job = f"pods/{JOBS_POD}/binding"
    by_scheduler = binding("scheduler", TENANT, TENANTS_POD, below=one)
    by_region = binding("region", JOBS, JOBS_POD, below=of_job)
    forged = {"annotations": {"nordan.eu/grant": "grt_2"}}
    relabelled = {"labels": {"nordan.eu/attempt": "att_2"}}
    ways = {
        "exec": "exec?command=sh&stdout=true",
        "attach": "attach?stdout=true",
        "portforward": "portforward?ports=80",
    }
    return {
        "a tenant binds its own pod": Attempt(
            "binding-account", binding("tenant", TENANT, TENANTS_POD, below=one), by_scheduler
        ),
        "a tenant binds its own pod by the old way": Attempt(
            "binding-account", binding("tenant", TENANT, TENANTS_POD, below=legacy), by_scheduler
        ),
        "a tenant binds a job's pod": Attempt(
            "binding-account", binding("tenant", JOBS, JOBS_POD, below=of_job), by_region
        ),
        "the cluster's scheduler binds a job's pod": Attempt(
            "binding-account", binding("scheduler", JOBS, JOBS_POD, below=of_job), by_region
        ),
        "a binding that replaces the grant": Attempt(
            "binding-marks", binding("region", JOBS, JOBS_POD, below=of_job, **forged), by_region
        ),
        "a binding that replaces the attempt": Attempt(
            "binding-marks", binding("region", JOBS, JOBS_POD, below=of_job, **relabelled), by_region
        ),
        **{
            f"a tenant's {name} into a job": Attempt(
                "no-direct-access",
                connect("tenant", JOBS, JOBS_POD, way),
                connect("region", JOBS, JOBS_POD, way),
            )
            for name, way in ways.items()
        },
        "a tenant's exec into its own pod": Attempt(
            "no-direct-access",
            connect("tenant", TENANT, TENANTS_POD, ways["exec"]),
            connect("region", JOBS, JOBS_POD, ways["exec"]),
        ),
        "a tenant's proxy into a job": Attempt(
            "no-direct-access",
            connect("tenant", JOBS, JOBS_POD, "proxy"),
            connect("region", JOBS, JOBS_POD, "proxy"),
        ),
    }


def _ways_out() -> dict[str, Attempt]:
    def service(name: str = "s", namespace: str = TENANT, **spec: object) -> Request:
        made = {"ports": [{"port": 80}], "selector": {"app": "w"}, **spec}
        body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": made}
        return Request("tenant", "POST", f"/api/v1/namespaces/{namespace}/services", body)

    def ingress(name: str) -> Request:
        spec = {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}
        body = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": name}, "spec": spec}
        return Request("tenant", "POST", f"/apis/networking.k8s.io/v1/namespaces/{TENANT}/ingresses", body)

    def endpoints(who: str) -> Request:
        subsets = [{"addresses": [{"ip": "203.0.113.7"}], "ports": [{"port": 443}]}]
        body = {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "s"}, "subsets": subsets}
        return Request(who, "POST", f"/api/v1/namespaces/{TENANT}/endpoints", body)

    def slices(who: str) -> Request:
        body = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": "s", "labels": {"kubernetes.io/service-name": "s"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["203.0.113.7"]}],
            "ports": [{"port": 443}],
        }
        return Request(who, "POST", f"/apis/discovery.k8s.io/v1/namespaces/{TENANT}/endpointslices", body)

    named = service(type="ExternalName", externalName="files.example.org", ports=[], selector=None)
    inside = service(type="ClusterIP")
    return {
        "a Service that names a host elsewhere": Attempt("no-external-name", named, inside),
        "a Service among the jobs that names a host elsewhere": Attempt(
            "no-external-name",
            service(namespace=JOBS, type="ExternalName", externalName="files.example.org", ports=[], selector=None),
            service(namespace=JOBS),
        ),
        "a load balancer that nobody approved": Attempt(
            "no-load-balancer", service(type="LoadBalancer"), service("front", type="LoadBalancer")
        ),
        "a port of every node": Attempt("no-node-port", service(type="NodePort"), inside),
        "addresses that are elsewhere": Attempt("no-external-ips", service(externalIPs=["203.0.113.7"]), inside),
        "endpoints by hand": Attempt("no-hand-made-endpoints", endpoints("tenant"), endpoints("controllers")),
        "an endpoint slice by hand": Attempt("no-hand-made-endpoints", slices("tenant"), slices("controllers")),
        "an ingress that nobody approved": Attempt("no-route", ingress("s"), ingress("front")),
    }


def _jobs_by_others() -> dict[str, Attempt]:
    pods = f"/api/v1/namespaces/{JOBS}/pods"
    network = f"/apis/networking.k8s.io/v1/namespaces/{JOBS}/networkpolicies"
    lawful = Request("region", "POST", pods, job_pod())
    opened = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "open"},
        "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]},
    }
    grant = {"metadata": {"annotations": {"nordan.eu/grant": "grt_2"}}}
    label = {"metadata": {"labels": {"team": "a"}}}
    return {
        "a tenant makes a job's pod, grant and all": Attempt(
            "region-account", Request("tenant", "POST", pods, job_pod()), lawful
        ),
        "a tenant labels a job's pod": Attempt(
            "region-account",
            Request("tenant", "PATCH", f"{pods}/{JOBS_POD}", label, MERGE),
            Request("region", "PATCH", f"{pods}/{JOBS_POD}", label, MERGE),
        ),
        "a tenant replaces a grant by way of the status": Attempt(
            "same-grant", Request("tenant", "PATCH", f"{pods}/{JOBS_POD}/status", grant, MERGE), lawful
        ),
        "a tenant opens the jobs' network": Attempt(
            "network-policies", Request("tenant", "POST", network, opened), Request("region", "POST", network, opened)
        ),
        "a tenant takes the jobs' network policy away": Attempt(
            "network-policies",
            Request("tenant", "DELETE", f"{network}/standing"),
            Request("region", "DELETE", f"{network}/standing"),
        ),
    }


def _jobs_by_the_region() -> dict[str, Attempt]:
    path = f"/api/v1/namespaces/{JOBS}/pods"
    lawful = Request("region", "POST", path, job_pod())

    def wrong(rule: str, made: Object) -> Attempt:
        return Attempt(rule, Request("region", "POST", path, made), lawful)

    selector = job_pod()["spec"]["nodeSelector"]
    token = {"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}
    other_pool = [{"key": "nordan.eu/pool", "operator": "Equal", "value": "fr-l4", "effect": "NoSchedule"}]
    any_pool = [{"key": "nordan.eu/pool", "operator": "Exists"}]
    regrant = {"metadata": {"annotations": {"nordan.eu/grant": "grt_2"}}}
    return {
        "a job for another territory": wrong(
            "territory-selector", job_pod(nodeSelector={**selector, f"{NODE_PREFIX}/territory": "SE"})
        ),
        "a job for another region": wrong(
            "region-selector", job_pod(nodeSelector={**selector, f"{NODE_PREFIX}/region": "se-lla-1"})
        ),
        "a job for a pool that the region does not have": wrong(
            "region-selector", job_pod(nodeSelector={**selector, f"{NODE_PREFIX}/pool": "elsewhere"})
        ),
        "a job that tolerates another pool's taint": wrong("own-pool-toleration", job_pod(tolerations=other_pool)),
        "a job that tolerates any pool's taint": wrong("own-pool-toleration", job_pod(tolerations=any_pool)),
        "a job that the cluster's scheduler places": wrong("own-scheduler", job_pod(schedulerName="default-scheduler")),
        "a job with a service account's token": wrong("no-token", job_pod(automountServiceAccountToken=None)),
        "a job with a projected token": wrong("no-token", job_pod(volumes=[{"name": "v", **token}])),
        "a job without grant": wrong("grant", marked(job_pod(), "annotations", {"nordan.eu/grant": None})),
        "a job without fence": wrong("grant", marked(job_pod(), "annotations", {"nordan.eu/fence": None})),
        "a job that any node may run": wrong("granted-node", job_pod(affinity=None)),
        "a job pinned to a node that its grant does not name": wrong(
            "granted-node", marked(job_pod(), "annotations", {"nordan.eu/node": "fr-node-2"})
        ),
        "a job with a node's name": wrong("no-node-name", job_pod(nodeName=NODE)),
        "another grant for a running job": Attempt(
            "same-grant",
            Request("region", "PATCH", f"{path}/{JOBS_POD}", regrant, MERGE),
            Request("region", "PATCH", f"{path}/{JOBS_POD}", {"metadata": {"labels": {"a": "b"}}}, MERGE),
        ),
    }


def _labels_of_nodes_and_namespaces() -> dict[str, Attempt]:
    def node(who: str, body: Object, below: str = "") -> Request:
        return Request(who, "PATCH", f"/api/v1/nodes/{NODE}{below}", body, MERGE)

    def namespace(who: str, name: str, labels: Mapping[str, str | None]) -> Request:
        return Request(who, "PATCH", f"/api/v1/namespaces/{name}", {"metadata": {"labels": labels}}, MERGE)

    def new(who: str, labels: Mapping[str, str]) -> Request:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "new", "labels": labels}}
        return Request(who, "POST", "/api/v1/namespaces", body)

    forged = {"metadata": {"labels": {f"{NODE_PREFIX}/territory": "FR"}}}
    other = {"metadata": {"labels": {"rack": "7"}}}
    cleared: Object = {"spec": {"taints": []}}
    kept = {"spec": {"taints": [{"key": "nordan.eu/unverified", "effect": "NoExecute"}, _OTHER_TAINT]}}
    enforce = "pod-security.kubernetes.io/enforce"
    return {
        "forged labels of a node": Attempt("node-labels", node("tenant", forged), node("tenant", other)),
        "forged labels by way of a node's status": Attempt(
            "node-labels", node("tenant", forged, "/status"), node("tenant", other, "/status")
        ),
        "an unverified node that is declared good": Attempt(
            "unverified-taint", node("tenant", cleared), node("tenant", kept)
        ),
        "the region's account declares a node good": Attempt(
            "unverified-taint", node("region", cleared), node("region", kept)
        ),
        "a namespace that moves to another territory": Attempt(
            "namespace-labels",
            namespace("tenant", TENANT, {"nordan.eu/territory": "SE"}),
            namespace("admin", TENANT, {"nordan.eu/territory": "SE"}),
        ),
        "a new namespace that says its own territory": Attempt(
            "namespace-labels", new("tenant", {"nordan.eu/territory": "FR"}), new("tenant", {"team": "a"})
        ),
        "the jobs' namespace with a lower level of Pod Security": Attempt(
            "jobs-pod-security",
            namespace("tenant", JOBS, {enforce: "privileged"}),
            namespace("admin", JOBS, {enforce: "privileged"}),
        ),
    }


_OTHER_TAINT = {"key": "maintenance", "effect": "NoSchedule"}
