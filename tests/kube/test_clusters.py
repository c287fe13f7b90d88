"""The test clusters themselves: each level does what other tests take from it."""

from __future__ import annotations

from pathlib import Path

from support.kube import binaries
from support.kube.cluster import GPU, Cluster, Level, Object
from support.kube.user_cluster import user_cluster


def test_an_api_cluster_serves_the_version_that_tests_are_written_for(kube_api: Cluster) -> None:
    assert kube_api.level is Level.API
    assert kube_api.get("/version")["gitVersion"] == binaries.KUBERNETES
    assert kube_api.kubectl("get", "--raw", "/readyz") == "ok"


def test_an_api_cluster_explains_its_types(kube_api: Cluster) -> None:
    assert "restartPolicy" in kube_api.kubectl("explain", "pod.spec")


def test_kubectl_applies_on_the_server_and_finds_no_difference_afterwards(kube_api: Cluster) -> None:
    manifest = '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}}'
    with kube_api.namespace() as name:
        kube_api.kubectl("apply", "--server-side", "-n", name, "-f", "-", text=manifest)
        assert kube_api.kubectl("diff", "--server-side", "-n", name, "-f", "-", text=manifest) == ""


def test_a_tenant_without_rights_is_refused(kube_api: Cluster) -> None:
    done = kube_api.try_kubectl("get", "pods", identity="tenant")
    assert done.returncode != 0
    assert 'User "tenant" cannot list resource "pods"' in done.stderr


def test_a_service_account_speaks_through_its_own_kubeconfig(kube_api: Cluster) -> None:
    with kube_api.namespace() as name:
        kubeconfig = kube_api.service_account_kubeconfig(name, "worker")
        who = kube_api.kubectl(
            f"--kubeconfig={kubeconfig}", "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"
        )
    assert who == f"system:serviceaccount:{name}:worker"


def test_a_kubelet_may_not_label_its_node_as_it_likes(kube_api: Cluster) -> None:
    kube_api.ensure("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node1"}})
    label = "nordan.node-restriction.kubernetes.io/territory=SE"
    done = kube_api.try_kubectl("label", "node", "node1", label, identity="node1")
    assert "is not allowed to modify labels" in done.stderr
    kube_api.remove_nodes(["node1"])


def test_a_cluster_that_a_user_names_is_used_as_it_is(kube_api: Cluster, tmp_path: Path) -> None:
    environment = {
        "NORDAN_TEST_KUBECONFIG": str(kube_api.kubeconfig),
        "NORDAN_TEST_KUBECONFIG_IS_FOR_TESTS": "1",
    }
    named = user_cluster(tmp_path, environment)
    assert named is not None
    with named.namespace() as name:
        assert kube_api.get(f"/api/v1/namespaces/{name}")["metadata"]["name"] == name
        done = named.try_kubectl("auth", "can-i", "get", "pods", "-n", name, identity="tenant")
        assert done.stdout == "no\n"
    named.stop()
    assert kube_api.plane.api_server.is_running


def test_a_restarted_api_server_remembers(kube_api: Cluster) -> None:
    with kube_api.namespace() as name:
        kube_api.plane.restart_api_server()
        assert kube_api.get(f"/api/v1/namespaces/{name}")["metadata"]["name"] == name


def test_while_etcd_is_paused_nothing_is_written_and_afterwards_everything_goes_on(kube_api: Cluster) -> None:
    namespace = '{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "while-paused"}}'
    with kube_api.plane.etcd.paused():
        done = kube_api.try_kubectl("create", "--request-timeout=1s", "-f", "-", text=namespace)
        assert done.returncode != 0
    kube_api.wait_for("the server answers again", lambda: kube_api.get("/api/v1/namespaces/default"))
    kube_api.delete("/api/v1/namespaces/while-paused")


def test_a_job_on_fake_nodes_runs_to_its_end(kube_control: Cluster) -> None:
    nodes = kube_control.add_fake_nodes(3, gpus=8)
    with kube_control.namespace() as name:
        kube_control.post(f"/apis/batch/v1/namespaces/{name}/jobs", _job("ten", pods=10, gpus=2))
        kube_control.wait_for(
            "the job is complete",
            lambda: kube_control.get(f"/apis/batch/v1/namespaces/{name}/jobs/ten")["status"].get("succeeded") == 10,
        )
    kube_control.remove_nodes(nodes)


def test_a_pod_that_asks_for_more_gpus_than_a_node_has_waits(kube_control: Cluster) -> None:
    nodes = kube_control.add_fake_nodes(1, gpus=8)
    with kube_control.namespace() as name:
        path = f"/api/v1/namespaces/{name}/pods"
        kube_control.post(path, _pod("large", gpus=9))
        kube_control.wait_for("it is unschedulable", lambda: _why_unscheduled(kube_control, name, "large"))
        assert "Insufficient nvidia.com/gpu" in _why_unscheduled(kube_control, name, "large")
    kube_control.remove_nodes(nodes)


def test_a_played_pod_ends_when_a_test_says_so(kube_control: Cluster) -> None:
    nodes = kube_control.add_fake_nodes(1)
    with kube_control.namespace() as name:
        kube_control.post(f"/api/v1/namespaces/{name}/pods", _pod("p"))
        running = kube_control.wait_for_phase(name, "p", "Running")
        assert running["spec"]["nodeName"], "whichever node has room: other tests of this process may have left theirs"
        kube_control.end_pod(name, "p", exit_code=137, reason="OOMKilled")
        ended = kube_control.pod(name, "p")["status"]
        assert ended["phase"] == "Failed"
        assert ended["containerStatuses"][0]["state"]["terminated"]["reason"] == "OOMKilled"
    kube_control.remove_nodes(nodes)


def test_a_played_pod_ends_in_its_own_time_with_its_own_code(kube_control: Cluster) -> None:
    nodes = kube_control.add_fake_nodes(1)
    with kube_control.namespace() as name:
        pod = _pod("p")
        pod["metadata"]["annotations"] = {"nordan.test/ends-after": "200ms", "nordan.test/exit-code": "3"}
        kube_control.post(f"/api/v1/namespaces/{name}/pods", pod)
        ended = kube_control.wait_for_phase(name, "p", "Failed", "Succeeded")["status"]
        assert ended["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3
    kube_control.remove_nodes(nodes)


def _why_unscheduled(cluster: Cluster, namespace: str, name: str) -> str:
    conditions = cluster.pod(namespace, name)["status"].get("conditions", [])
    return "".join(each.get("message", "") for each in conditions if each["type"] == "PodScheduled")


def _job(name: str, *, pods: int, gpus: int) -> Object:
    template = {"spec": _pod(name, gpus=gpus)["spec"]}
    spec = {"completions": pods, "parallelism": pods, "template": template}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}


def _pod(name: str, *, gpus: int = 0) -> Object:
    limits = {GPU: str(gpus)} if gpus else {}
    container = {"name": "main", "image": "any", "resources": {"limits": limits}}
    spec = {
        "restartPolicy": "Never",
        "nodeSelector": {"type": "kwok"},
        "tolerations": [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}],
        "containers": [container],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
