"""What must hold of a pod, and of the template that a workload makes pods from.

Each rule reads `variables.spec`, so that the same text serves both; `policies.py` says where that is. In the order in
which a person would look: where it may run, then what would let it out of its node, then what it brings along.
"""

from __future__ import annotations

from nordan_workers.cluster import marks
from nordan_workers.cluster.cel import Rule, entries, entry, text, texts
from nordan_workers.cluster.facts import ClusterFacts
from nordan_workers.executors.kubernetes import names

#: Kinds of volume that bring no place of their own: what Pod Security's `restricted` lets through.
VOLUME_KINDS = (
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
)
DOCKER_HUB = "docker.io/"
_SPEC = "variables.spec"
_TOLERATIONS = entries(_SPEC, "tolerations")
_VOLUMES = entries(_SPEC, "volumes")


def spec_rules(facts: ClusterFacts) -> tuple[Rule, ...]:
    """Return the rules for a pod's spec, in whichever object it stands."""
    return (*_place_rules(facts), *_isolation_rules(), *_content_rules(facts))


def jobs_rules(facts: ClusterFacts) -> tuple[Rule, ...]:
    """Return the rules for pods of the namespace of jobs alone."""
    selected = {label: entry(_SPEC, "nodeSelector", label) for label in marks.NODE_LABELS}
    pool = selected[names.NODE_POOL]
    return (
        Rule(
            "region-selector",
            f"{selected[names.NODE_REGION]} == {text(facts.region)} && {pool} in {texts(facts.pools)}",
            f"a job's nodeSelector names region {facts.region} and one of its pools, "
            f"in {names.NODE_REGION} and {names.NODE_POOL}",
        ),
        Rule(
            "own-pool-toleration",
            f'{_TOLERATIONS}.all(t, t.?key.orValue("") != {text(names.TAINT_POOL)} || '
            f'(t.?operator.orValue("Equal") == "Equal" && t.?value.orValue("") == {pool}))',
            f"a job tolerates {names.TAINT_POOL} with its own pool's name only",
        ),
        Rule(
            "own-scheduler",
            f'{_SPEC}.?schedulerName.orValue("") == {text(names.SCHEDULER)}',
            f"a job's schedulerName is {names.SCHEDULER}: no scheduler of the cluster may choose its node",
        ),
        Rule(
            "no-token",
            f"!{_SPEC}.?automountServiceAccountToken.orValue(true) && "
            f"{_VOLUMES}.all(v, v.?projected.?sources.orValue([]).all(s, !has(s.serviceAccountToken)))",
            "a job gets no service account token: automountServiceAccountToken is false, and no volume projects one",
        ),
        Rule("grant", _has_grant(), f"a job's pod says its grant in {', '.join(marks.GRANT_ANNOTATIONS)}"),
        Rule(
            "granted-node",
            _names_granted_node(),
            f"a job's required node affinity is one term, metadata.name In [the node in {names.ANNOTATION_NODE}], "
            "so that the kubelet of any other node refuses it",
        ),
    )


def container_rules(facts: ClusterFacts, lists: tuple[str, ...]) -> tuple[Rule, ...]:
    """Return the rules for each container of these CEL lists."""
    return (
        Rule(
            "no-privileged",
            _every(lists, "!c.?securityContext.?privileged.orValue(false)"),
            "a privileged container owns its node; remove securityContext.privileged",
        ),
        Rule(
            "no-added-capabilities",
            _every(lists, 'c.?securityContext.?capabilities.?add.orValue([]).all(one, one == "NET_BIND_SERVICE")'),
            "a container may add no capability but NET_BIND_SERVICE",
        ),
        *_registry_rule(facts, lists),
    )


def _place_rules(facts: ClusterFacts) -> tuple[Rule, ...]:
    return (
        Rule(
            "namespace-territory",
            f"variables.territory == {text(facts.territory)}",
            f"pods run only in namespaces that are labelled {marks.TERRITORY}={facts.territory} by the operator",
        ),
        Rule(
            "territory-selector",
            f"{entry(_SPEC, 'nodeSelector', names.NODE_TERRITORY)} == variables.territory",
            f"a pod's nodeSelector says {names.NODE_TERRITORY}={facts.territory}, its namespace's territory",
        ),
        Rule(
            "no-node-name",
            f'variables.isPlaced || {_SPEC}.?nodeName.orValue("") == ""',
            "nobody sets nodeName: it goes round the scheduler, its taints and the grant; use a nodeSelector",
        ),
        Rule(
            "no-wildcard-toleration",
            f'{_TOLERATIONS}.all(t, t.?key.orValue("") != "")',
            "a toleration without a key tolerates every taint; name the key",
        ),
        Rule(
            "no-unverified-toleration",
            f'{_TOLERATIONS}.all(t, t.?key.orValue("") != {text(names.TAINT_UNVERIFIED)})',
            f"nothing tolerates {names.TAINT_UNVERIFIED}: such a node's facts are not known to be true",
        ),
        Rule(
            "pool-toleration",
            f'variables.isJobs || {_TOLERATIONS}.all(t, t.?key.orValue("") != {text(names.TAINT_POOL)})',
            f"only pods in {facts.jobs_namespace} tolerate {names.TAINT_POOL}: pools' nodes are for granted jobs",
        ),
    )


def _isolation_rules() -> tuple[Rule, ...]:
    shared = (
        ("hostNetwork", "network", "the network policies"),
        ("hostPID", "processes", "its isolation"),
        ("hostIPC", "shared memory", "its isolation"),
    )
    lists = _containers()
    return (
        *(
            Rule(
                f"no-{field[:4]}-{field[4:].lower()}",
                f"!{_SPEC}.?{field}.orValue(false)",
                f"a pod in its node's {what} is outside {lost}; remove {field}",
            )
            for field, what, lost in shared
        ),
        Rule(
            "no-host-port",
            _every(lists, "c.?ports.orValue([]).all(p, p.?hostPort.orValue(0) == 0)"),
            "a hostPort opens the node's own address; use a Service",
        ),
        Rule(
            "no-host-path",
            f"{_VOLUMES}.all(v, !has(v.hostPath))",
            "a hostPath volume is the node's own disk; use emptyDir or a claim",
        ),
        Rule(
            "no-remote-volume",
            f"{_VOLUMES}.all(v, has(v.hostPath) || {' || '.join(f'has(v.{kind})' for kind in VOLUME_KINDS)})",
            f"a volume that names a server may be anywhere; these may be used: {', '.join(VOLUME_KINDS)}",
        ),
    )


def _content_rules(facts: ClusterFacts) -> tuple[Rule, ...]:
    rules = container_rules(facts, _containers())
    if facts.registries is None:
        return rules
    image = _may_be_pulled(facts.registries, 'v.image.?reference.orValue("")')
    volumes = Rule(
        "volume-registry",
        f"{_VOLUMES}.all(v, !has(v.image) || {image})",
        f"volumes of images come from {', '.join(facts.registries)} only",
    )
    return (*rules, volumes)


def _registry_rule(facts: ClusterFacts, lists: tuple[str, ...]) -> tuple[Rule, ...]:
    if facts.registries is None:
        return ()
    allowed = _every(lists, _may_be_pulled(facts.registries, 'c.?image.orValue("")'))
    return (Rule("registry", allowed, f"images come from {', '.join(facts.registries)} only"),)


def _may_be_pulled(registries: tuple[str, ...], image: str) -> str:
    """Return a claim that an image is below one of the registries. Short names are Docker Hub's, as on any node."""
    claims = [f"{texts(registries)}.exists(r, {image}.startsWith(r))"]
    if DOCKER_HUB in registries:
        claims.append(f'!{image}.contains("/")')
        claims.append(f'!{image}.split("/")[0].matches("[.:]|^localhost$")')
    elif f"{DOCKER_HUB}library/" in registries:
        claims.append(f'!{image}.contains("/")')
    return f"({' || '.join(claims)})"


def _containers() -> tuple[str, ...]:
    # Two lists and not their sum: the type checker knows them as lists of two different types.
    return (f"{_SPEC}.containers", entries(_SPEC, "initContainers"))


def _every(lists: tuple[str, ...], claim: str) -> str:
    return " && ".join(f"{one}.all(c, {claim})" for one in lists)


def _has_grant() -> str:
    return " && ".join(f'{entry("object.metadata", "annotations", one)} != ""' for one in marks.GRANT_ANNOTATIONS)


def _names_granted_node() -> str:
    terms = f"{_SPEC}.?affinity.?nodeAffinity.?requiredDuringSchedulingIgnoredDuringExecution.?nodeSelectorTerms"
    node = entry("object.metadata", "annotations", names.ANNOTATION_NODE)
    one = f'f.key == "metadata.name" && f.operator == "In" && f.?values.orValue([]) == [{node}]'
    return f"{terms}.orValue([]).size() == 1 && {terms}.orValue([]).all(t, t.?matchFields.orValue([]).exists(f, {one}))"
