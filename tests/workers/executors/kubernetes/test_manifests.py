"""What a pod looks like follows from the order alone, and says nothing that it need not."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from nordan_core.domain.ids import AttemptId
from nordan_core.domain.jobs import JobKind
from nordan_core.wire import LaunchOrder
from nordan_workers.executors.kubernetes import manifests, names
from nordan_workers.executors.kubernetes.manifests import Object, PodSettings, PodTicket
from support.attempts import launch_order

SETTINGS = PodSettings(
    namespace="nordan-jobs",
    region="fr-bru-1",
    territory="FR",
    agent_image="nordan:1",
    gateway_url="http://gateway.nordan-region:8480",
    job_image="job:1",
)
TICKET = PodTicket(token="ab" * 32)


def pod_of(order: LaunchOrder, rank: int = 0, settings: PodSettings = SETTINGS, ticket: PodTicket = TICKET) -> Object:
    return manifests.pod(order, order.ranks[rank], settings, ticket)


def containers(pod: Object) -> dict[str, Object]:
    return {one["name"]: one for one in (*pod["spec"]["initContainers"], *pod["spec"]["containers"])}


def test_names_are_dns_labels_made_of_the_attempts_id() -> None:
    attempt_id = AttemptId("att_01kbc0000000000000000000zz")
    assert names.pod_name(attempt_id, 12) == "att-01kbc0000000000000000000zz-12"
    assert names.service_name(attempt_id) == "att-01kbc0000000000000000000zz"


def test_a_pod_says_whose_it_is_and_names_no_tenant() -> None:
    order = launch_order(ranks=2)
    pod = pod_of(order, 1)
    assert pod["metadata"]["labels"] == {
        "nordan.eu/attempt": order.attempt_id,
        "nordan.eu/job": order.job_id,
        "nordan.eu/rank": "1",
        "nordan.eu/region": "fr-bru-1",
        "nordan.eu/pool": "pool",
        "nordan.eu/managed-by": "supervisor",
    }
    assert pod["metadata"]["annotations"] == {
        "nordan.eu/grant": order.grant_id,
        "nordan.eu/fence": "7",
        "nordan.eu/node": "node-1",
    }
    assert names.attempt_of(pod["metadata"]["labels"]) == order.attempt_id
    assert order.organisation_handle not in json.dumps(pod)


@pytest.mark.parametrize("labels", [{}, {"nordan.eu/attempt": "att_x"}, {"nordan.eu/attempt": "job_" + "0" * 26}])
def test_labels_without_an_attempts_id_name_no_attempt(labels: dict[str, str]) -> None:
    assert names.attempt_of(labels) is None


def test_a_pod_goes_to_verified_nodes_of_its_pool_in_its_territory_only() -> None:
    spec = pod_of(launch_order())["spec"]
    assert spec["schedulerName"] == "nordan"
    assert "nodeName" not in spec
    assert spec["nodeSelector"] == {
        "nordan.node-restriction.kubernetes.io/territory": "FR",
        "nordan.node-restriction.kubernetes.io/region": "fr-bru-1",
        "nordan.node-restriction.kubernetes.io/pool": "pool",
    }
    assert spec["tolerations"] == [
        {"key": "nordan.eu/pool", "operator": "Equal", "value": "pool", "effect": "NoSchedule"}
    ]


def test_a_pod_fits_only_the_node_of_its_grant() -> None:
    order = launch_order(ranks=2)
    for rank in order.ranks:
        required = pod_of(order, rank.rank)["spec"]["affinity"]["nodeAffinity"]
        terms = required["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
        assert terms == [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [rank.node]}]}]


def test_a_pod_is_restricted_and_holds_no_account() -> None:
    pod = pod_of(launch_order())
    spec = pod["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["restartPolicy"] == "Never"
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 65532
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(pod).values():
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    assert all("emptyDir" in volume for volume in spec["volumes"])


def test_the_job_can_only_read_what_rules_it_and_its_inputs() -> None:
    job = containers(pod_of(launch_order()))["job"]
    read_only = {one["mountPath"] for one in job["volumeMounts"] if one.get("readOnly")}
    writable = {one["mountPath"] for one in job["volumeMounts"]} - read_only
    assert read_only == {"/nordan/control", "/nordan/inputs"}
    assert writable == {
        "/nordan/rank",
        "/nordan/checkpoints",
        "/nordan/outputs",
        "/nordan/tmp",
        "/nordan/log",
        "/dev/shm",
    }


def test_the_job_gets_neither_the_token_nor_the_gateways_address() -> None:
    found = containers(pod_of(launch_order()))
    assert TICKET.token in json.dumps(found["stage"])
    assert TICKET.token in json.dumps(found["agent"])
    assert TICKET.token not in json.dumps(found["job"])
    assert SETTINGS.gateway_url not in json.dumps(found["job"])


def test_the_jobs_own_variables_are_not_in_the_object() -> None:
    order = launch_order(env={"HF_TOKEN": "secret-value", "HOME": "/elsewhere", "MASTER_ADDR": "forged"})
    assert "secret-value" not in json.dumps(pod_of(order))
    told = manifests.job_environment(order)
    assert (told["HF_TOKEN"], told["HOME"], told["MASTER_ADDR"]) == ("secret-value", "/elsewhere", "127.0.0.1")


def test_the_jobs_container_has_no_variables_in_the_object_and_ours_have_the_token_alone() -> None:
    found = containers(pod_of(launch_order()))
    assert "env" not in found["job"]
    for name in ("stage", "agent"):
        assert found[name]["env"] == [{"name": "NORDAN_POD_TOKEN", "value": TICKET.token}]
        assert TICKET.token not in " ".join(found[name]["command"]), "arguments can be seen in lists of processes"


def test_a_gateways_address_reaches_the_agent_as_it_is_written() -> None:
    order = launch_order()
    found = containers(pod_of(order, settings=replace(SETTINGS, gateway_url="http://$(HOME)")))
    assert found["agent"]["command"][4:] == ["http://$$(HOME)", order.attempt_id, "0"]


def test_the_users_command_runs_under_the_helper_as_it_was_written() -> None:
    order = launch_order(["sh", "-c", "echo $$ $(HOME) $HOME"])
    job = containers(pod_of(order))["job"]
    *ours, shell, flag, script = job["command"]
    assert ours == ["/nordan/control/shim", "--grace=10", "--deadline-grace=2", "--"]
    assert (shell, flag, script) == ("sh", "-c", "echo $$$$ $$(HOME) $$HOME")


def test_a_rank_asks_its_node_for_what_the_engine_reckoned_with() -> None:
    found = containers(pod_of(launch_order(gpus_per_rank=4)))
    job, agent = found["job"]["resources"], found["agent"]["resources"]
    assert job["limits"] == job["requests"] == {"cpu": "800m", "memory": "160Mi", "nvidia.com/gpu": "4"}
    assert agent["limits"] == agent["requests"] == {"cpu": "200m", "memory": "96Mi"}
    assert found["stage"]["resources"]["limits"] == {"cpu": "1000m", "memory": "256Mi"}


def test_a_very_small_ask_leaves_the_program_something() -> None:
    order = launch_order().model_copy(update={"memory_mib": 1})
    assert containers(pod_of(order))["job"]["resources"]["limits"]["memory"] == "32Mi"


@pytest.mark.parametrize(
    ("made_up", "offered", "asked"),
    [(True, True, True), (True, False, False), (False, True, True), (False, False, True)],
)
def test_made_up_gpus_are_asked_for_where_nodes_offer_them_and_real_ones_always(
    made_up: bool, offered: bool, asked: bool
) -> None:
    pod = pod_of(launch_order(has_made_up_gpus=made_up), ticket=replace(TICKET, has_gpu_resource=offered))
    assert ("nvidia.com/gpu" in containers(pod)["job"]["resources"]["limits"]) is asked


def test_a_rank_without_gpus_asks_for_none_and_sees_none() -> None:
    job = containers(pod_of(launch_order(gpus_per_rank=0)))["job"]
    assert "nvidia.com/gpu" not in job["resources"]["limits"]
    assert manifests.job_environment(launch_order(gpus_per_rank=0))["CUDA_VISIBLE_DEVICES"] == ""


def test_a_lone_rank_has_no_service_and_is_its_own_master() -> None:
    order = launch_order()
    assert manifests.service(order, SETTINGS) is None
    assert manifests.job_environment(order)["MASTER_ADDR"] == "127.0.0.1"
    assert "hostname" not in pod_of(order)["spec"]


def test_the_ranks_of_a_gang_find_rank_0_by_a_headless_service() -> None:
    order = launch_order(ranks=2)
    service, pod = manifests.service(order, SETTINGS), pod_of(order, 1)
    assert service is not None
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert pod["spec"]["subdomain"] == service["metadata"]["name"]
    variables = manifests.job_environment(order)
    first = pod_of(order, 0)
    assert variables["MASTER_ADDR"] == f"{first['spec']['hostname']}.{first['spec']['subdomain']}"
    assert variables["NORDAN_NODES"] == "2"


@pytest.mark.parametrize(
    ("kind", "port", "wanted"),
    [(JobKind.INFERENCE, 9000, 9000), (JobKind.INFERENCE, None, 8000), (JobKind.BATCH, 9000, None)],
)
def test_only_a_replica_is_told_where_to_listen(kind: JobKind, port: int | None, wanted: int | None) -> None:
    order = launch_order(kind=kind, port=port)
    assert manifests.service_port(order) == wanted
    told = manifests.job_environment(order)
    assert told.get("NORDAN_PORT") == (str(wanted) if wanted else None)
    assert told.get("NORDAN_HOST") == ("0.0.0.0" if wanted else None), "the gateway calls from another pod"


def test_a_job_without_an_image_gets_the_regions() -> None:
    assert containers(pod_of(launch_order()))["job"]["image"] == "job:1"
    own = launch_order().model_copy(update={"image": "registry.example/train:3"})
    assert containers(pod_of(own))["job"]["image"] == "registry.example/train:3"


def test_a_binding_names_the_engines_node() -> None:
    bound = manifests.binding("att-1-0", "node-7", SETTINGS)
    assert (bound["metadata"]["name"], bound["target"]["name"]) == ("att-1-0", "node-7")


def test_a_gangs_ranks_may_reach_each_other_and_nobody_else() -> None:
    order = launch_order(ranks=2)
    policy = manifests.network_policy(order, SETTINGS, "uid-1")
    own = {"podSelector": {"matchLabels": {"nordan.eu/attempt": order.attempt_id}}}
    assert policy["spec"] == {
        **own,
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [own]}],
        "egress": [{"to": [own]}],
    }


def test_the_way_between_ranks_goes_with_their_service() -> None:
    order = launch_order(ranks=2)
    service = manifests.service(order, SETTINGS)
    assert service is not None
    owner = manifests.network_policy(order, SETTINGS, "uid-1")["metadata"]["ownerReferences"]
    assert owner == [{"apiVersion": "v1", "kind": "Service", "name": service["metadata"]["name"], "uid": "uid-1"}]
