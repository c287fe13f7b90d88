"""Clusters whose pods really run: what other tests take from level `node`."""

from __future__ import annotations

import os
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.kube.binaries import Unavailable
from support.kube.cluster import GPU, Level, Object
from support.kube.fixtures import skip_or_fail
from support.kube.images import WORK
from support.kube.leftovers import remove_leftovers
from support.kube.node_cluster import NodeCluster
from support.kube.spaces import require_node_level

pytestmark = [pytest.mark.kube, pytest.mark.root]


def test_a_node_is_ready_and_the_machine_keeps_its_settings(kube_node: NodeCluster) -> None:
    assert kube_node.level is Level.NODE
    assert kube_node.ready_nodes() == kube_node.node_names
    # A kubelet sets this to 10 where it is let.
    inside = kube_node.nodes["node1"].space.run("cat", "/proc/sys/kernel/panic", is_inside=True)
    assert (inside.strip(), Path("/proc/sys/kernel/panic").read_text().strip()) == ("10", "1")


def test_a_pod_leaves_its_log_its_exit_code_and_its_last_words(kube_node: NodeCluster) -> None:
    with kube_node.namespace() as name:
        kube_node.post(_pods(name), _pod("p", "echo hello; echo last words >/dev/termination-log; exit 3"))
        ended = kube_node.wait_for_phase(name, "p", "Failed", "Succeeded")["status"]["containerStatuses"][0]
        assert ended["state"]["terminated"]["exitCode"] == 3
        assert ended["state"]["terminated"]["message"] == "last words\n"
        assert kube_node.kubectl("logs", "-n", name, "p") == "hello\n"


def test_a_command_runs_in_a_running_pod(kube_node: NodeCluster) -> None:
    with kube_node.namespace() as name:
        kube_node.post(_pods(name), _pod("p", "sleep 600"))
        kube_node.wait_for_phase(name, "p", "Running")
        assert kube_node.kubectl("exec", "-n", name, "p", "--", "sh", "-c", "echo $((6 * 7))") == "42\n"


def test_a_pod_that_takes_more_memory_than_it_may_is_killed(kube_node: NodeCluster) -> None:
    with kube_node.namespace() as name:
        pod = _pod("p", "tail -c 200m /dev/zero", limits={"memory": "32Mi"})
        kube_node.post(_pods(name), pod)
        ended = kube_node.wait_for_phase(name, "p", "Failed", "Succeeded")["status"]["containerStatuses"][0]
        assert ended["state"]["terminated"]["reason"] == "OOMKilled"


def test_a_restricted_pod_runs(kube_node: NodeCluster) -> None:
    with kube_node.namespace(labels={"pod-security.kubernetes.io/enforce": "restricted"}) as name:
        pod = _pod("p", "id -u")
        pod["spec"]["securityContext"] = {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        pod["spec"]["containers"][0]["securityContext"] = {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
        kube_node.post(_pods(name), pod)
        kube_node.wait_for_phase(name, "p", "Succeeded")
        assert kube_node.kubectl("logs", "-n", name, "p") == "65532\n"


def test_pods_find_each_other_by_the_names_of_a_headless_service(kube_node: NodeCluster) -> None:
    with kube_node.namespace() as name:
        kube_node.post(
            f"/api/v1/namespaces/{name}/services",
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "gang"},
                "spec": {"clusterIP": "None", "selector": {"gang": "a"}, "publishNotReadyAddresses": True},
            },
        )
        first = _pod("p-0", "echo from p-0 | nc -l -p 29500")
        second = _pod("p-1", "until nc p-0.gang 29500 </dev/null; do sleep 0.2; done")
        for rank, pod in enumerate((first, second)):
            pod["metadata"]["labels"] = {"gang": "a"}
            pod["spec"] |= {"hostname": f"p-{rank}", "subdomain": "gang"}
            kube_node.post(_pods(name), pod)
        kube_node.wait_for_phase(name, "p-1", "Succeeded")
        assert "from p-0" in kube_node.kubectl("logs", "-n", name, "p-1")


def test_a_pod_reaches_the_api_server_through_its_service(kube_node: NodeCluster) -> None:
    with kube_node.namespace() as name:
        kube_node.post(_pods(name), _pod("p", "until nc kubernetes.default 443 </dev/null; do sleep 0.2; done"))
        kube_node.wait_for_phase(name, "p", "Succeeded")


def test_a_pod_reaches_a_server_of_the_test_process(kube_node: NodeCluster) -> None:
    with kube_node.namespace() as name, _greeter() as port:
        host, _, inner_port = kube_node.expose(port).partition(":")
        kube_node.post(_pods(name), _pod("p", f"nc {host} {inner_port} </dev/null"))
        kube_node.wait_for_phase(name, "p", "Succeeded")
        assert kube_node.kubectl("logs", "-n", name, "p") == "hello from outside\n"


def test_made_up_gpus_are_given_out_and_taken_back(kube_node: NodeCluster) -> None:
    kube_node.give_gpus("node1", 8)
    with kube_node.namespace() as name:
        kube_node.post(_pods(name), _pod("six", "sleep 600", limits={GPU: "6"}))
        kube_node.wait_for_phase(name, "six", "Running")
        kube_node.post(_pods(name), _pod("four", "true", limits={GPU: "4"}))
        kube_node.wait_for(
            "the second pod was refused", lambda: kube_node.pod(name, "four")["status"].get("conditions")
        )
        assert kube_node.pod(name, "four")["status"]["phase"] == "Pending"
        kube_node.delete(f"{_pods(name)}/six", grace_s=0)
        kube_node.wait_for_phase(name, "four", "Succeeded")


def test_pods_of_two_nodes_speak_to_each_other_until_a_kubelet_is_killed(kube_node: NodeCluster) -> None:
    assert kube_node.second_node() == "node2"
    with kube_node.namespace() as name:
        kube_node.post(_pods(name), _pod("server", "while :; do echo over there | nc -l -p 80; done", node="node2"))
        address = kube_node.wait_for_phase(name, "server", "Running")["status"]["podIP"]
        kube_node.post(_pods(name), _pod("client", f"nc {address} 80 </dev/null", node="node1"))
        kube_node.wait_for_phase(name, "client", "Succeeded")
        assert kube_node.kubectl("logs", "-n", name, "client") == "over there\n"

    kube_node.kill_kubelet("node2")
    kube_node.wait_for("node2 is not ready", lambda: kube_node.ready_nodes() == ["node1"], timeout_s=90)
    kube_node.start_kubelet("node2")
    assert kube_node.ready_nodes() == ["node1", "node2"]


def test_two_clusters_run_side_by_side(kube_node: NodeCluster, kube_node_b: NodeCluster) -> None:
    for cluster in (kube_node, kube_node_b):
        with cluster.namespace() as name:
            cluster.post(_pods(name), _pod("p", "hostname -i"))
            cluster.wait_for_phase(name, "p", "Succeeded")
    systems = {each.get("/api/v1/namespaces/kube-system")["metadata"]["uid"] for each in (kube_node, kube_node_b)}
    assert len(systems) == 2


def test_a_node_dies_with_the_process_that_made_it_and_the_next_run_tidies_up(tmp_path: Path) -> None:
    _skip_without_root()
    script = f"""
import pathlib, time
from support.kube.spaces import Space
space = Space(pathlib.Path({str(tmp_path)!r}), "killed")
space.start()
space.run("sh", "-c", "sleep 600 >/dev/null 2>&1 &", is_inside=True)
print(space.first_pid, space.cgroup, flush=True)
time.sleep(600)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment) as maker:
        assert maker.stdout is not None
        first_pid, group = maker.stdout.readline().split()
        maker.kill()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{first_pid}").exists():
        assert time.monotonic() < deadline, "the node outlives its maker"
        time.sleep(0.05)
    remove_leftovers(tmp_path)
    assert list(Path("/sys/fs/cgroup").glob(f"*/{group}")) == []


def _skip_without_root() -> None:
    try:
        require_node_level()
    except Unavailable as reason:
        skip_or_fail(reason)


def _pods(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods"


def _pod(name: str, script: str, *, limits: dict[str, str] | None = None, node: str | None = None) -> Object:
    container = {
        "name": "main",
        "image": WORK,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", script],
        "resources": {"limits": limits or {}},
    }
    selector = {"type": "real"} | ({"kubernetes.io/hostname": node} if node else {})
    spec = {
        "restartPolicy": "Never",
        "nodeSelector": selector,
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


@contextmanager
def _greeter() -> Iterator[int]:
    """Serve one line to whoever connects, on a free port of loopback."""

    class Greet(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(b"hello from outside\n")

    with socketserver.TCPServer(("127.0.0.1", 0), Greet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()
