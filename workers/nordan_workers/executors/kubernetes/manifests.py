"""From a launch order to the objects of a cluster: pure, so that every rule about a pod is a row of a table.

A pod has three containers. `stage` lays what the gateway has for the rank and copies the static helper; `agent` stays
beside the job and speaks with the gateway; `job` is the user's image under the helper, which is its first process.
They share two volumes: `control`, which the job can only read, and `work`, of which the job sees its own parts.

Every component of a cluster that watches pods decodes each of them at each of its changes, and the API server keeps a
list of who set which field. So an object says no more than it must: the job's variables reach it by the agent.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

from nordan_core.domain.ids import AttemptId
from nordan_core.domain.jobs import JobKind
from nordan_core.wire import LaunchOrder, RankOrder
from nordan_workers.executors.book import DEADLINE_GRACE_S
from nordan_workers.executors.kubernetes import names
from nordan_workers.pod.settings import TOKEN_VARIABLE

#: A JSON object as the API server takes it.
Object = dict[str, Any]  # Any: JSON

#: Where the containers find things.
CONTROL = "/nordan/control"
WORK = "/nordan/work"
"""Only for `stage` and `agent`."""
SHIM = f"{CONTROL}/shim"
#: Folders of `work`; `stage` makes them, the job sees each at /nordan/<name>.
INPUTS, RANK, CHECKPOINTS, OUTPUTS, TMP, LOG = "inputs", "rank", "checkpoints", "outputs", "tmp", "log"
_JOB_FOLDERS = (INPUTS, RANK, CHECKPOINTS, OUTPUTS, TMP, LOG)

MASTER_PORT = 29500
#: Where a replica listens when its job names no port: pods do not share ports, so one will do.
SERVICE_PORT = 8000

_POD_PROGRAM = ("python", "-m", "nordan_workers.pod")

#: The agent's part of what the rank was given, so that a pod asks its node for what the engine has reckoned with. Its
#: start takes 0.2 s of a processor, in which nobody renews the deadline: with a twentieth of one it took 20 s.
AGENT_CPU_MILLI = 200
AGENT_MEMORY_MIB = 96
#: What a rank's program keeps of a very small ask; the pod then asks for more than the order says.
_LEAST_CPU_MILLI = 50
_LEAST_MEMORY_MIB = 32
_CONTROL_MIB = 16
#: After the job's own grace the agent may ship for so long before the kubelet kills what is left.
SHIP_S = 15


@dataclass(frozen=True, slots=True)
class PodSettings:
    """What the region decides about every pod."""

    namespace: str
    region: str
    territory: str
    agent_image: str
    gateway_url: str
    """How pods reach the region's gateway."""
    job_image: str = ""
    """For jobs that name no image; empty: they are refused."""
    gpu_resource: str = "nvidia.com/gpu"
    uid: int = 65532
    pull_secret: str = ""
    """Name of a Secret of the namespace with a registry's password; empty: images are public or on the nodes."""


@dataclass(frozen=True, slots=True)
class PodTicket:
    """What belongs to one attempt's pods beside its order."""

    token: str
    has_gpu_resource: bool = True
    """The nodes offer the GPU resource; made-up GPUs of nodes without one are not asked for."""


def pod(order: LaunchOrder, rank: RankOrder, settings: PodSettings, ticket: PodTicket) -> Object:
    """Return one rank's pod."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": names.pod_name(AttemptId(order.attempt_id), rank.rank),
            "namespace": settings.namespace,
            "labels": {**_labels(order, settings), names.LABEL_RANK: str(rank.rank)},
            "annotations": {
                names.ANNOTATION_GRANT: order.grant_id,
                names.ANNOTATION_FENCE: str(order.fence),
                names.ANNOTATION_NODE: rank.node,
            },
        },
        "spec": _spec(order, rank, settings, ticket),
    }


def service(order: LaunchOrder, settings: PodSettings) -> Object | None:
    """Return the headless Service by which a gang's ranks find rank 0; None for an attempt of one rank."""
    if len(order.ranks) == 1:
        return None
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": names.service_name(AttemptId(order.attempt_id)),
            "namespace": settings.namespace,
            "labels": _labels(order, settings),
            "annotations": {names.ANNOTATION_GRANT: order.grant_id},
        },
        "spec": {
            "clusterIP": "None",
            # Rank 0 is looked up while it starts, long before anybody could call it ready.
            "publishNotReadyAddresses": True,
            "selector": {names.LABEL_ATTEMPT: order.attempt_id},
            "ports": [{"name": "master", "port": MASTER_PORT, "protocol": "TCP"}],
        },
    }


def network_policy(order: LaunchOrder, settings: PodSettings, service_uid: str) -> Object:
    """Return what lets the ranks of a gang reach each other, where the namespace lets pods reach nobody.

    The Service owns it: the cluster removes it together with the Service.
    """
    name = names.service_name(AttemptId(order.attempt_id))
    own: Object = {"podSelector": {"matchLabels": {names.LABEL_ATTEMPT: order.attempt_id}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": name,
            "namespace": settings.namespace,
            "labels": _labels(order, settings),
            "ownerReferences": [{"apiVersion": "v1", "kind": "Service", "name": name, "uid": service_uid}],
        },
        "spec": {**own, "policyTypes": ["Ingress", "Egress"], "ingress": [{"from": [own]}], "egress": [{"to": [own]}]},
    }


def binding(pod_name: str, node: str, settings: PodSettings) -> Object:
    """Return what binds a pod to the node that the engine chose."""
    return {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": pod_name, "namespace": settings.namespace},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    }


def service_port(order: LaunchOrder) -> int | None:
    """Return where an inference replica listens; None for other kinds."""
    return (order.port or SERVICE_PORT) if order.kind is JobKind.INFERENCE else None


def job_environment(order: LaunchOrder) -> dict[str, str]:
    """Return the variables of an attempt's programs, which they get from their agents and not from the pod's object.

    A rank's own number is added by the gateway. A job may set HOME and TMPDIR; other names of Nordan's stay Nordan's.
    """
    places = {"HOME": f"/nordan/{RANK}", "TMPDIR": f"/nordan/{TMP}"}
    ours = {
        "NORDAN_JOB": order.job_id,
        "NORDAN_ATTEMPT": order.attempt_id,
        "NORDAN_FENCE": str(order.fence),
        "NORDAN_NODES": str(len(order.ranks)),
        "NORDAN_GPUS": str(order.gpus_per_rank),
        "NORDAN_INPUT_DIR": f"/nordan/{INPUTS}",
        "NORDAN_CHECKPOINT_DIR": f"/nordan/{CHECKPOINTS}",
        "NORDAN_OUTPUT_DIR": f"/nordan/{OUTPUTS}",
        "MASTER_ADDR": _master(order),
        "MASTER_PORT": str(MASTER_PORT),
        # Inside a container GPUs are counted from 0, whichever of the node's they are.
        "CUDA_VISIBLE_DEVICES": ",".join(map(str, range(order.gpus_per_rank))),
    }
    if (port := service_port(order)) is not None:
        # The gateway calls from another pod; the network policies let nobody else.
        ours |= {"NORDAN_HOST": "0.0.0.0", "NORDAN_PORT": str(port)}  # noqa: S104
    return places | order.env | ours


def _labels(order: LaunchOrder, settings: PodSettings) -> dict[str, str]:
    return {
        names.LABEL_ATTEMPT: order.attempt_id,
        names.LABEL_JOB: order.job_id,
        names.LABEL_REGION: settings.region,
        names.LABEL_POOL: order.pool,
        names.LABEL_MANAGED_BY: names.MANAGED_BY,
    }


def _spec(order: LaunchOrder, rank: RankOrder, settings: PodSettings, ticket: PodTicket) -> Object:
    spec: Object = {
        "schedulerName": names.SCHEDULER,
        "restartPolicy": "Never",
        "nodeSelector": {
            names.NODE_TERRITORY: settings.territory,
            names.NODE_REGION: settings.region,
            names.NODE_POOL: order.pool,
        },
        # An admission policy on bindings cannot see the pod; this names the grant's node where the kubelet compares it.
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": _only(rank.node)}},
        "tolerations": [
            {"key": names.TAINT_POOL, "operator": "Equal", "value": order.pool, "effect": "NoSchedule"},
        ],
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": ceil(order.grace_s) + SHIP_S,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": settings.uid,
            "runAsGroup": settings.uid,
            "fsGroup": settings.uid,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": _volumes(order),
        "initContainers": [_stage(order, rank, settings, ticket), _agent(order, rank, settings, ticket)],
        "containers": [_job(order, settings, ticket)],
    }
    if len(order.ranks) > 1:
        spec["hostname"] = names.pod_name(AttemptId(order.attempt_id), rank.rank)
        spec["subdomain"] = names.service_name(AttemptId(order.attempt_id))
    if settings.pull_secret:
        spec["imagePullSecrets"] = [{"name": settings.pull_secret}]
    return spec


def _only(node: str) -> Object:
    return {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]}


def _volumes(order: LaunchOrder) -> list[Object]:
    return [
        {"name": "control", "emptyDir": {"medium": "Memory", "sizeLimit": f"{_CONTROL_MIB}Mi"}},
        {"name": "work", "emptyDir": {}},
        # A container's own /dev/shm has 64 MiB, which data loaders overrun. What lies there counts as the job's memory.
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{order.memory_mib}Mi"}},
    ]


def _stage(order: LaunchOrder, rank: RankOrder, settings: PodSettings, ticket: PodTicket) -> Object:
    return {
        **_ours(names.STAGE, order, rank, settings, ticket),
        "resources": _resources(*_whole(order)),
    }


def _agent(order: LaunchOrder, rank: RankOrder, settings: PodSettings, ticket: PodTicket) -> Object:
    return {
        **_ours(names.AGENT, order, rank, settings, ticket),
        # What makes an init container one that stays beside the job and ends after it.
        "restartPolicy": "Always",
        "resources": _resources(AGENT_CPU_MILLI, AGENT_MEMORY_MIB),
    }


def _ours(name: str, order: LaunchOrder, rank: RankOrder, settings: PodSettings, ticket: PodTicket) -> Object:
    """Return what the two containers of our own image have in common."""
    return {
        "name": name,
        "image": settings.agent_image,
        "imagePullPolicy": "IfNotPresent",
        "command": [*_POD_PROGRAM, name, _literal(settings.gateway_url), order.attempt_id, str(rank.rank)],
        "env": [{"name": TOKEN_VARIABLE, "value": ticket.token}],
        "securityContext": {**_RESTRICTED, "readOnlyRootFilesystem": True},
        "volumeMounts": [{"name": "control", "mountPath": CONTROL}, {"name": "work", "mountPath": WORK}],
    }


def _job(order: LaunchOrder, settings: PodSettings, ticket: PodTicket) -> Object:
    cpu_milli, memory_mib = _whole(order)
    resources = _resources(cpu_milli - AGENT_CPU_MILLI, memory_mib - AGENT_MEMORY_MIB)
    if order.gpus_per_rank and (ticket.has_gpu_resource or not order.has_made_up_gpus):
        for part in resources.values():
            part[settings.gpu_resource] = str(order.gpus_per_rank)
    container: Object = {
        "name": names.JOB,
        "image": order.image or settings.job_image,
        "imagePullPolicy": "IfNotPresent",
        "command": [SHIM, *_shim_options(order), "--", *map(_literal, order.command)],
        "workingDir": f"/nordan/{RANK}",
        "resources": resources,
        "securityContext": _RESTRICTED,
        "volumeMounts": [
            {"name": "control", "mountPath": CONTROL, "readOnly": True},
            *({"name": "work", "mountPath": f"/nordan/{one}", "subPath": one} for one in _JOB_FOLDERS if one != INPUTS),
            {"name": "work", "mountPath": f"/nordan/{INPUTS}", "subPath": INPUTS, "readOnly": True},
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108  the container's own
        ],
    }
    if (port := service_port(order)) is not None:
        container["ports"] = [{"containerPort": port, "protocol": "TCP"}]
    return container


def _shim_options(order: LaunchOrder) -> list[str]:
    """Return what the helper does when it is told nothing else: at a SIGTERM by the kubelet, and near the deadline."""
    return [f"--grace={order.grace_s:g}", f"--deadline-grace={min(DEADLINE_GRACE_S, order.ttl_s / 10):g}"]


_RESTRICTED: Object = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
}


def _whole(order: LaunchOrder) -> tuple[int, int]:
    """Return CPU in thousandths and memory in MiB of a whole pod."""
    return (
        max(order.cpus * 1000, AGENT_CPU_MILLI + _LEAST_CPU_MILLI),
        max(order.memory_mib, AGENT_MEMORY_MIB + _LEAST_MEMORY_MIB),
    )


def _resources(cpu_milli: int, memory_mib: int) -> dict[str, dict[str, str]]:
    """Return a limit and a request of the same size: a node that is full by its books is not overrun."""
    amount = {"cpu": f"{cpu_milli}m", "memory": f"{memory_mib}Mi"}
    return {"requests": dict(amount), "limits": dict(amount)}


def _literal(text: str) -> str:
    """Return what the kubelet turns into `text` again: it replaces $(NAME) in commands, and $$ by $."""
    return text.replace("$", "$$")


def _master(order: LaunchOrder) -> str:
    if len(order.ranks) == 1:
        return "127.0.0.1"
    attempt_id = AttemptId(order.attempt_id)
    return f"{names.pod_name(attempt_id, 0)}.{names.service_name(attempt_id)}"
