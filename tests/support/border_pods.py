"""Attempts by pods to leave a territory, and by what makes pods: for `support.border`."""

from __future__ import annotations

from support.border_objects import (
    JOBS,
    JOBS_POD,
    NODE,
    NODE_PREFIX,
    TENANT,
    TENANTS_POD,
    UNLABELLED,
    Attempt,
    Object,
    Request,
    container,
    job_pod,
    marked,
    pod,
)


def attempts() -> dict[str, Attempt]:
    """Return the attempts by the sentence that says what is tried."""
    return {
        **_where_pods_run(),
        **_what_pods_share(),
        **_what_pods_bring(),
        **_changes_to_pods(),
        **_workloads(),
    }


def _pods(rule: str, tried: Object, lawful: Object | None = None) -> Attempt:
    path = f"/api/v1/namespaces/{TENANT}/pods"
    return Attempt(rule, Request("tenant", "POST", path, tried), Request("tenant", "POST", path, lawful or pod()))


def _where_pods_run() -> dict[str, Attempt]:
    selector = f"{NODE_PREFIX}/territory"
    elsewhere = Request("tenant", "POST", f"/api/v1/namespaces/{UNLABELLED}/pods", pod())
    at_home = Request("tenant", "POST", f"/api/v1/namespaces/{TENANT}/pods", pod())
    mirror = marked(pod(nodeName=NODE), "annotations", {"kubernetes.io/config.mirror": "1"})
    keyed = [{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}]
    return {
        "a plain pod": _pods("territory-selector", pod(nodeSelector={})),
        "a pod for another territory": _pods("territory-selector", pod(nodeSelector={selector: "SE"})),
        "a pod that trusts a label which kubelets may set": _pods(
            "territory-selector", pod(nodeSelector={"topology.kubernetes.io/region": "FR"})
        ),
        "a pod in a namespace without territory": Attempt("namespace-territory", elsewhere, at_home),
        "a pod with a node's name": _pods("no-node-name", pod(nodeName=NODE)),
        "a pod that claims to be a kubelet's own": _pods("no-node-name", mirror),
        "a pod that tolerates every taint": _pods(
            "no-wildcard-toleration", pod(tolerations=[{"operator": "Exists"}]), pod(tolerations=keyed)
        ),
        "a pod that tolerates every taint of one effect": _pods(
            "no-wildcard-toleration", pod(tolerations=[{"operator": "Exists", "effect": "NoExecute"}])
        ),
        "a pod that tolerates unverified nodes": _pods(
            "no-unverified-toleration", pod(tolerations=[{"key": "nordan.eu/unverified", "operator": "Exists"}])
        ),
        "a tenant's pod on a pool's nodes": _pods(
            "pool-toleration", pod(tolerations=[{"key": "nordan.eu/pool", "operator": "Exists"}])
        ),
    }


def _what_pods_share() -> dict[str, Attempt]:
    of_node = {"name": "v", "hostPath": {"path": "/var/lib/kubelet"}}
    far_away = {"name": "v", "nfs": {"server": "files.example.org", "path": "/"}}
    own = {"name": "v", "emptyDir": {}}
    adding = container(securityContext={"capabilities": {"add": ["SYS_ADMIN"]}})
    lawful_adding = container(securityContext={"capabilities": {"add": ["NET_BIND_SERVICE"]}})
    return {
        "a pod in its node's network": _pods("no-host-network", pod(hostNetwork=True)),
        "a pod among its node's processes": _pods("no-host-pid", pod(hostPID=True)),
        "a pod in its node's shared memory": _pods("no-host-ipc", pod(hostIPC=True)),
        "a pod with a port of its node": _pods(
            "no-host-port",
            pod(containers=[container(ports=[{"containerPort": 80, "hostPort": 80}])]),
            pod(containers=[container(ports=[{"containerPort": 80}])]),
        ),
        "a pod with its node's disk": _pods("no-host-path", pod(volumes=[of_node]), pod(volumes=[own])),
        "a pod with a disk from anywhere": _pods("no-remote-volume", pod(volumes=[far_away]), pod(volumes=[own])),
        "a privileged container": _pods(
            "no-privileged", pod(containers=[container(securityContext={"privileged": True})])
        ),
        "a privileged init container": _pods(
            "no-privileged",
            pod(initContainers=[{**container(securityContext={"privileged": True}), "name": "first"}]),
        ),
        "a container that may mount": _pods(
            "no-added-capabilities", pod(containers=[adding]), pod(containers=[lawful_adding])
        ),
    }


def _what_pods_bring() -> dict[str, Attempt]:
    foreign, alike = "registry.us.example/x", "registry.fr.example.evil.example/x"
    volume = {"name": "v", "image": {"reference": foreign}}
    lawful_volume = {"name": "v", "image": {"reference": "registry.fr.example/models/m:1"}}
    return {
        "an image from elsewhere": _pods("registry", pod(containers=[container(image=foreign)])),
        "an image of a host that begins alike": _pods("registry", pod(containers=[container(image=alike)])),
        "an image whose path names the registry": _pods(
            "registry", pod(containers=[container(image="evil.example/registry.fr.example/x")])
        ),
        "an image of a user of the public registry": _pods(
            "registry",
            pod(containers=[container(image="somebody/x")]),
            pod(containers=[container(image="python:3.12")]),
        ),
        "an init container's image from elsewhere": _pods(
            "registry",
            pod(initContainers=[{**container(image=foreign), "name": "first"}]),
            pod(initContainers=[{**container(), "name": "first"}]),
        ),
        "a volume of an image from elsewhere": _pods(
            "volume-registry", pod(volumes=[volume]), pod(volumes=[lawful_volume])
        ),
        "a tenant's pod with an attempt's label": _pods(
            "reserved-marks", marked(pod(), "labels", {"nordan.eu/attempt": "att_1"})
        ),
        "a tenant's pod with a grant": _pods("reserved-marks", marked(pod(), "annotations", {"nordan.eu/grant": "g"})),
    }


def _changes_to_pods() -> dict[str, Attempt]:
    path = f"/api/v1/namespaces/{TENANT}/pods/{TENANTS_POD}"

    def patch(body: Object, *, below: str = "", who: str = "tenant") -> Request:
        return Request(who, "PATCH", path + below, body, "application/strategic-merge-patch+json")

    def tolerating(key: str) -> Request:
        made = {"operator": "Exists", "effect": "NoSchedule", **({"key": key} if key else {})}
        added = [{"op": "add", "path": "/spec/tolerations/-", "value": made}]
        return Request("tenant", "PATCH", path, added, "application/json-patch+json")

    lawful = patch({"metadata": {"labels": {"team": "a"}}})
    debug = {"spec": {"ephemeralContainers": [container(name="debug")]}}
    images = {"spec": {"containers": [{"name": "main", "image": "registry.us.example/x"}]}}
    other = {"spec": {"containers": [{"name": "main", "image": "registry.fr.example/other"}]}}
    return {
        "another image for a running pod": Attempt("registry", patch(images), patch(other)),
        "a wildcard toleration for a running pod": Attempt(
            "no-wildcard-toleration", tolerating(""), tolerating("maintenance")
        ),
        "a grant for a running pod": Attempt(
            "reserved-marks", patch({"metadata": {"annotations": {"nordan.eu/grant": "g"}}}), lawful
        ),
        "an ephemeral container": Attempt(
            "no-ephemeral-container",
            patch(debug, below="/ephemeralcontainers"),
            Request(
                "region",
                "PATCH",
                f"/api/v1/namespaces/{JOBS}/pods/{JOBS_POD}/ephemeralcontainers",
                {"spec": {"ephemeralContainers": [_tight(container(name="debug"))]}},
                "application/strategic-merge-patch+json",
            ),
        ),
        "the region's ephemeral container with an image from elsewhere": Attempt(
            "registry",
            Request(
                "region",
                "PATCH",
                f"/api/v1/namespaces/{JOBS}/pods/{JOBS_POD}/ephemeralcontainers",
                {"spec": {"ephemeralContainers": [_tight(container(name="debug", image="registry.us.example/x"))]}},
                "application/strategic-merge-patch+json",
            ),
            Request(
                "region",
                "PATCH",
                f"/api/v1/namespaces/{JOBS}/pods/{JOBS_POD}/ephemeralcontainers",
                {"spec": {"ephemeralContainers": [_tight(container(name="debug"))]}},
                "application/strategic-merge-patch+json",
            ),
        ),
    }


def _tight(made: Object) -> Object:
    return {**made, "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}


def _workloads() -> dict[str, Attempt]:
    def of(kind: str, spec: Object, *, namespace: str = TENANT) -> Request:
        group, plural = _KINDS[kind]
        version = group if "/" in group else "v1"
        root = f"/apis/{group}" if "/" in group else "/api/v1"
        body = {"apiVersion": version, "kind": kind, "metadata": {"name": "w"}, "spec": spec}
        return Request("tenant", "POST", f"{root}/namespaces/{namespace}/{plural}", body)

    def template(made: Object, restart: str = "Always") -> Object:
        labels = {"app": "w"}
        return {"metadata": {"labels": labels}, "spec": {**made["spec"], "restartPolicy": restart}}

    def selecting(made: Object, **more: object) -> Object:
        return {"selector": {"matchLabels": {"app": "w"}}, "template": template(made), **more}

    def once(made: Object) -> Object:
        return {"template": template(made, "Never")}

    def nightly(made: Object) -> Object:
        return {"schedule": "0 0 * * *", "jobTemplate": {"spec": once(made)}}

    disk = pod(volumes=[{"name": "v", "hostPath": {"path": "/"}}])
    wild = pod(tolerations=[{"operator": "Exists"}])
    controller = {"selector": {"app": "w"}, "template": template(pod(nodeSelector={}))}
    lawful_controller = {"selector": {"app": "w"}, "template": template(pod())}
    lawful = of("Deployment", selecting(pod()))
    return {
        "a Deployment in the nodes' network": Attempt(
            "no-host-network", of("Deployment", selecting(pod(hostNetwork=True))), lawful
        ),
        "a StatefulSet with a node's disk": Attempt(
            "no-host-path",
            of("StatefulSet", selecting(disk, serviceName="w")),
            of("StatefulSet", selecting(pod(), serviceName="w")),
        ),
        "a DaemonSet that tolerates every taint": Attempt(
            "no-wildcard-toleration", of("DaemonSet", selecting(wild)), of("DaemonSet", selecting(pod()))
        ),
        "a ReplicaSet with an image from elsewhere": Attempt(
            "registry",
            of("ReplicaSet", selecting(pod(containers=[container(image="registry.us.example/x")]))),
            of("ReplicaSet", selecting(pod())),
        ),
        "a ReplicationController without territory": Attempt(
            "territory-selector",
            of("ReplicationController", controller),
            of("ReplicationController", lawful_controller),
        ),
        "a Job for another territory": Attempt(
            "territory-selector",
            of("Job", once(pod(nodeSelector={f"{NODE_PREFIX}/territory": "US"}))),
            of("Job", once(pod())),
        ),
        "a CronJob on a named node": Attempt(
            "no-node-name", of("CronJob", nightly(pod(nodeName=NODE))), of("CronJob", nightly(pod()))
        ),
        "a Deployment among the jobs": Attempt(
            "no-workloads", of("Deployment", selecting(job_pod()), namespace=JOBS), lawful
        ),
        "a CronJob among the jobs": Attempt(
            "no-workloads", of("CronJob", nightly(job_pod()), namespace=JOBS), of("CronJob", nightly(pod()))
        ),
    }


_KINDS = {
    "Deployment": ("apps/v1", "deployments"),
    "StatefulSet": ("apps/v1", "statefulsets"),
    "DaemonSet": ("apps/v1", "daemonsets"),
    "ReplicaSet": ("apps/v1", "replicasets"),
    "ReplicationController": ("v1", "replicationcontrollers"),
    "Job": ("batch/v1", "jobs"),
    "CronJob": ("batch/v1", "cronjobs"),
}
