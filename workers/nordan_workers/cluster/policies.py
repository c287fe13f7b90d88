"""The admission policies of a region's cluster, one per kind of object that could lead out of its territory.

Pure: from facts to objects. Every policy fails closed, every binding denies, and which namespaces are left out is said
by their names: the API server itself keeps the label `kubernetes.io/metadata.name` equal to the name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from nordan_workers.cluster import marks
from nordan_workers.cluster.cel import Object, Rule, entries, entry, is_same_below, text, texts
from nordan_workers.cluster.facts import ClusterFacts
from nordan_workers.cluster.pod_rules import container_rules, jobs_rules, spec_rules
from nordan_workers.executors.kubernetes import names

_POD = "object.spec"
_API = "admissionregistration.k8s.io/v1"
_NAME_LABEL = "kubernetes.io/metadata.name"
#: Who keeps Endpoints and EndpointSlices in step with Services: controllers, whatever credentials they were given.
_ENDPOINT_WRITERS = ("system:kube-controller-manager", "system:apiserver")
_SYSTEM_GROUP = "system:serviceaccounts:kube-system"
_MARKED = ("labels", "annotations")
_EPHEMERAL = entries("object.spec", "ephemeralContainers")


class Where(StrEnum):
    """Which objects a policy is about."""

    OUTSIDE_THE_PLATFORM = "every namespace but the exempted"
    JOBS = "the namespace of jobs"
    CLUSTER = "objects without a namespace"


@dataclass(frozen=True, slots=True)
class Match:
    """Resources of one API group, and what is done with them."""

    group: str
    resources: tuple[str, ...]
    operations: tuple[str, ...] = ("CREATE", "UPDATE")
    versions: tuple[str, ...] = ("v1",)

    def rule(self) -> Object:
        """Return the match as a policy holds it."""
        return {
            "apiGroups": [self.group],
            "apiVersions": list(self.versions),
            "operations": list(self.operations),
            "resources": list(self.resources),
            "scope": "*",
        }


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy with its binding."""

    name: str
    where: Where
    matches: tuple[Match, ...]
    rules: tuple[Rule, ...]
    variables: tuple[tuple[str, str], ...] = ()

    def objects(self, facts: ClusterFacts) -> tuple[Object, Object]:
        """Return the policy and what puts it in force."""
        return self._policy(), self._binding(facts)

    def _policy(self) -> Object:
        spec: Object = {
            "failurePolicy": "Fail",
            "matchConstraints": {"matchPolicy": "Equivalent", "resourceRules": [one.rule() for one in self.matches]},
            "validations": [rule.validation() for rule in self.rules],
        }
        if self.variables:
            spec["variables"] = [{"name": name, "expression": expression} for name, expression in self.variables]
        return _object("ValidatingAdmissionPolicy", self.name, spec)

    def _binding(self, facts: ClusterFacts) -> Object:
        spec: Object = {"policyName": self.name, "validationActions": ["Deny"]}
        if self.where is not Where.CLUSTER:
            is_jobs = self.where is Where.JOBS
            chosen = {
                "key": _NAME_LABEL,
                "operator": "In" if is_jobs else "NotIn",
                "values": [facts.jobs_namespace] if is_jobs else list(facts.exempted),
            }
            spec["matchResources"] = {"namespaceSelector": {"matchExpressions": [chosen]}}
        return _object("ValidatingAdmissionPolicyBinding", self.name, spec)


def policies(facts: ClusterFacts) -> tuple[Policy, ...]:
    """Return all policies for a cluster, in the order in which a person would read them."""
    return (
        _pods(facts),
        _jobs(facts),
        _grants(),
        _ephemeral_containers(facts),
        _bindings(facts),
        _connections(facts),
        _workloads(facts),
        _cron_jobs(facts),
        _services(facts),
        _endpoints(),
        _routes(facts),
        _network(facts),
        _nodes(),
        _namespaces(facts),
    )


def _object(kind: str, name: str, spec: Object) -> Object:
    labels = dict(marks.INSTALLED)
    return {"apiVersion": _API, "kind": kind, "metadata": {"name": name, "labels": labels}, "spec": spec}


def _pods(facts: ClusterFacts) -> Policy:
    unmarked = " && ".join(
        f"{entries('object.metadata', field)}.all(k, !k.startsWith({text(marks.OURS)}))" for field in _MARKED
    )
    rules = (
        *_unless_old(spec_rules(facts)),
        Rule(
            "reserved-marks",
            f"variables.isJobs || ({unmarked})",
            f"labels and annotations under {marks.OURS} belong to granted jobs in {facts.jobs_namespace}",
        ),
    )
    return Policy("nordan-pods", Where.OUTSIDE_THE_PLATFORM, (Match("", ("pods",)),), rules, _spec_at(_POD, facts))


def _jobs(facts: ClusterFacts) -> Policy:
    untouched = " && ".join(f"{entries('object.metadata', f)} == {entries('oldObject.metadata', f)}" for f in _MARKED)
    account = Rule(
        "region-account",
        f'{_by(facts.region_accounts)} || (request.operation == "UPDATE" && variables.isOld && {untouched})',
        f"pods in {facts.jobs_namespace} are made and changed by the region's own account only: {_list(facts)}",
    )
    rules = (*_unless_old(jobs_rules(facts)), account)
    return Policy("nordan-jobs", Where.JOBS, (Match("", ("pods",)),), rules, _spec_at(_POD, facts))


def _grants() -> Policy:
    kept = [
        f"{entry('object.metadata', field, key)} == {entry('oldObject.metadata', field, key)}"
        for field, keys in (("annotations", marks.GRANT_ANNOTATIONS), ("labels", marks.JOB_LABELS))
        for key in keys
    ]
    rule = Rule("same-grant", " && ".join(kept), "a pod keeps the grant, node and attempt that it was made for")
    matches = (Match("", ("pods", "pods/status"), ("UPDATE",)),)
    return Policy("nordan-grants", Where.JOBS, matches, (rule,))


def _ephemeral_containers(facts: ClusterFacts) -> Policy:
    rules = (
        Rule(
            "no-ephemeral-container",
            _by(facts.region_accounts),
            f"ephemeral containers are added by the region's own account only: {_list(facts)}",
        ),
        *container_rules(facts, (_EPHEMERAL,)),
    )
    matches = (Match("", ("pods/ephemeralcontainers",), ("UPDATE",)),)
    return Policy("nordan-ephemeral-containers", Where.OUTSIDE_THE_PLATFORM, matches, rules)


def _bindings(facts: ClusterFacts) -> Policy:
    # A policy sees the Binding and never its pod. What it carries is copied over the pod's own labels and annotations
    # without the pod's policies being asked, so nothing of ours may be carried.
    carried = " && ".join(
        f"{entries('object.metadata', field)}.all(k, !k.startsWith({text(marks.OURS)}))" for field in _MARKED
    )
    jobs = facts.jobs_namespace
    binders = f"(request.namespace == {text(jobs)} ? {texts(facts.region_accounts)} : {texts(facts.schedulers)})"
    rules = (
        Rule(
            "binding-account",
            f"request.userInfo.username in {binders}",
            f"pods in {jobs} are bound to nodes by {_list(facts)}, others by {', '.join(facts.schedulers)}",
        ),
        Rule(
            "binding-marks",
            carried,
            f"a Binding carries no label or annotation under {marks.OURS}: it would replace the pod's grant",
        ),
    )
    matches = (Match("", ("bindings", "pods/binding"), ("CREATE",)),)
    return Policy("nordan-bindings", Where.OUTSIDE_THE_PLATFORM, matches, rules)


def _connections(facts: ClusterFacts) -> Policy:
    rule = Rule(
        "no-direct-access",
        _by(facts.region_accounts),
        "exec, attach, port-forward and proxy go through the region's own account, which judges and records access: "
        "use nordan exec",
    )
    ways = ("pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "services/proxy")
    return Policy("nordan-connections", Where.OUTSIDE_THE_PLATFORM, (Match("", ways, ("CONNECT",)),), (rule,))


def _workloads(facts: ClusterFacts) -> Policy:
    matches = (
        Match("", ("replicationcontrollers",)),
        Match("apps", ("daemonsets", "deployments", "replicasets", "statefulsets")),
        Match("batch", ("jobs",)),
    )
    return _of_templates("nordan-workloads", matches, "object.spec.template.spec", facts)


def _cron_jobs(facts: ClusterFacts) -> Policy:
    matches = (Match("batch", ("cronjobs",)),)
    return _of_templates("nordan-cron-jobs", matches, "object.spec.jobTemplate.spec.template.spec", facts)


def _of_templates(name: str, matches: tuple[Match, ...], path: str, facts: ClusterFacts) -> Policy:
    bare = Rule(
        "no-workloads",
        "!variables.isJobs",
        f"{facts.jobs_namespace} holds the pods of granted jobs and nothing that makes pods by itself",
    )
    rules = _unless_old((bare, *spec_rules(facts)))
    return Policy(name, Where.OUTSIDE_THE_PLATFORM, matches, rules, _spec_at(path, facts))


def _services(facts: ClusterFacts) -> Policy:
    kind = 'object.spec.?type.orValue("ClusterIP")'
    advice = "approve it by name with --expose when the cluster's rules are installed"
    rules = (
        Rule("no-external-name", f'{kind} != "ExternalName"', "an ExternalName Service leads anywhere; name no host"),
        Rule(
            "no-load-balancer",
            f'{kind} != "LoadBalancer" || variables.isExposed',
            f"a LoadBalancer opens a way out of the cluster; {advice}",
        ),
        Rule(
            "no-node-port",
            f'{kind} != "NodePort" || variables.isExposed',
            f"a NodePort opens every node's address; {advice}",
        ),
        Rule(
            "no-external-ips",
            f"{entries('object.spec', 'externalIPs')}.size() == 0 || variables.isExposed",
            f"externalIPs draw traffic for addresses elsewhere; {advice}",
        ),
    )
    variables = (_IS_OLD, _exposed(facts))
    return Policy(
        "nordan-services", Where.OUTSIDE_THE_PLATFORM, (Match("", ("services",)),), _unless_old(rules), variables
    )


def _endpoints() -> Policy:
    rule = Rule(
        "no-hand-made-endpoints",
        f"{_by(_ENDPOINT_WRITERS)} || {text(_SYSTEM_GROUP)} in {_GROUPS} || variables.isInstaller",
        "Endpoints and EndpointSlices are written by the cluster's controllers: by hand they lead to any address",
    )
    matches = (Match("", ("endpoints",)), Match("discovery.k8s.io", ("endpointslices",)))
    return Policy("nordan-endpoints", Where.OUTSIDE_THE_PLATFORM, matches, (rule,), (_IS_INSTALLER,))


def _routes(facts: ClusterFacts) -> Policy:
    rule = Rule(
        "no-route",
        "variables.isExposed",
        "an Ingress or route opens a way into the cluster beside the region's gateway; "
        "approve it by name with --expose when the cluster's rules are installed",
    )
    gateway = ("gateways", "grpcroutes", "httproutes", "tcproutes", "tlsroutes", "udproutes")
    matches = (
        Match("networking.k8s.io", ("ingresses",)),
        Match("gateway.networking.k8s.io", gateway, versions=("*",)),
    )
    return Policy("nordan-routes", Where.OUTSIDE_THE_PLATFORM, matches, (rule,), (_exposed(facts),))


def _network(facts: ClusterFacts) -> Policy:
    cleaners = f'(request.operation == "DELETE" && {text(_SYSTEM_GROUP)} in {_GROUPS})'
    rule = Rule(
        "network-policies",
        f"{_by(facts.region_accounts)} || {cleaners} || variables.isInstaller",
        f"network policies in {facts.jobs_namespace} are the region's own: another one could only open what is shut",
    )
    matches = (Match("networking.k8s.io", ("networkpolicies",), ("CREATE", "UPDATE", "DELETE")),)
    return Policy("nordan-network", Where.JOBS, matches, (rule,), (_IS_INSTALLER,))


def _nodes() -> Policy:
    unverified = f"t.key == {text(names.TAINT_UNVERIFIED)}"
    rules = (
        Rule(
            "node-labels",
            f"({is_same_below(marks.OF_NODES, 'variables.labels', 'variables.oldLabels')}) || variables.isInstaller",
            f"labels under {marks.OF_NODES} say what the operator has verified: use nordan admin cluster verify",
        ),
        Rule(
            "unverified-taint",
            f"!variables.oldTaints.exists(t, {unverified}) || "
            f"{entries('object.spec', 'taints')}.exists(t, {unverified}) || variables.isInstaller",
            f"the taint {names.TAINT_UNVERIFIED} goes when the operator has verified the node: "
            "use nordan admin cluster verify",
        ),
    )
    variables = (
        _IS_INSTALLER,
        *_now_and_before("labels"),
        ("oldTaints", f'request.operation == "CREATE" ? [] : {entries("oldObject.spec", "taints")}'),
    )
    matches = (Match("", ("nodes", "nodes/status")),)
    return Policy("nordan-nodes", Where.CLUSTER, matches, rules, variables)


def _namespaces(facts: ClusterFacts) -> Policy:
    is_jobs = f"object.metadata.name == {text(facts.jobs_namespace)}"
    ours = is_same_below(marks.OURS, "variables.labels", "variables.oldLabels")
    notes = is_same_below(marks.OURS, "variables.annotations", "variables.oldAnnotations")
    security = is_same_below("pod-security.kubernetes.io/", "variables.labels", "variables.oldLabels")
    rules = (
        Rule(
            "namespace-labels",
            f"({ours} && {notes}) || variables.isInstaller",
            f"labels and annotations under {marks.OURS} say a namespace's territory: "
            "only who may change these policies sets them",
        ),
        Rule(
            "jobs-pod-security",
            f"!({is_jobs}) || ({security}) || variables.isInstaller",
            f"{facts.jobs_namespace} stays at the level of Pod Security that it was installed with",
        ),
    )
    variables = (_IS_INSTALLER, *_now_and_before("labels"), *_now_and_before("annotations"))
    return Policy("nordan-namespaces", Where.CLUSTER, (Match("", ("namespaces",)),), rules, variables)


def _now_and_before(field: str) -> tuple[tuple[str, str], ...]:
    before = f'request.operation == "CREATE" ? {{}} : {entries("oldObject.metadata", field)}'
    return ((field, entries("object.metadata", field)), (f"old{field.capitalize()}", before))


_GROUPS = "request.userInfo.?groups.orValue([])"
#: What was lawful, or was there before the rules, may still be labelled, scaled, finished and removed.
_IS_OLD = ("isOld", 'request.operation == "UPDATE" && object.spec == oldObject.spec')
#: Who may change the policies could take them away: no rule binds that person, and pretending would only hide it.
_IS_INSTALLER = (
    "isInstaller",
    'authorizer.group("admissionregistration.k8s.io").resource("validatingadmissionpolicies").check("update").allowed()',
)


def _spec_at(path: str, facts: ClusterFacts) -> tuple[tuple[str, str], ...]:
    territory = f'namespaceObject.metadata.?labels[?{text(marks.TERRITORY)}].orValue("")'
    return (
        ("spec", path),
        ("territory", territory),
        ("isJobs", f"request.namespace == {text(facts.jobs_namespace)}"),
        _IS_OLD,
        # A pod that was bound has its node's name from then on, and nobody can change it.
        ("isPlaced", 'request.operation == "UPDATE"' if path == _POD else "false"),
    )


def _exposed(facts: ClusterFacts) -> tuple[str, str]:
    return ("isExposed", f'(request.namespace + "/" + object.metadata.?name.orValue("")) in {texts(facts.exposed)}')


def _unless_old(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    return tuple(rule.unless("variables.isOld") for rule in rules)


def _by(accounts: Sequence[str]) -> str:
    return f"request.userInfo.username in {texts(accounts)}"


def _list(facts: ClusterFacts) -> str:
    return ", ".join(facts.region_accounts)
