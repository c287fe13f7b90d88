"""A real node: containerd, a kubelet and kube-proxy in namespaces of their own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from support.kube.binaries import Binaries
from support.kube.certificates import Authority
from support.kube.control_plane import SERVICE_RANGE, ControlPlane
from support.kube.daemons import Daemon
from support.kube.spaces import Space

BRIDGE = "kube0"
POD_RANGE = "10.244.0.0/16"
DNS_HOST = "10.99.0.1"
CONTROL_HOST = "10.99.0.1"
_CNI_PLUGINS = "/usr/lib/cni"


@dataclass(frozen=True, slots=True)
class Parts:
    """What a node is made from."""

    binaries: Binaries
    authority: Authority
    plane: ControlPlane


class Node:
    """One node; the number gives it its name and its addresses."""

    def __init__(self, folder: Path, number: int, space: Space, parts: Parts) -> None:
        self.name = f"node{number}"
        self.host = f"10.99.0.{number}"
        self.pods = f"10.244.{number}.0/24"
        self.folder = folder
        self.space = space
        self.number = number
        self._parts = parts
        self._socket = folder / "containerd.sock"
        self.containerd = self._daemon("containerd", ["containerd", f"--config={self._containerd_config()}"])
        self.kubelet = self._daemon("kubelet", self._kubelet_command())
        self.proxy = self._daemon("kube-proxy", self._proxy_command())

    def start(self) -> None:
        """Start the container runtime, then what speaks to the API server. Raises: DaemonFailed."""
        self._write_network_config()
        self.proxy.start()
        self.containerd.start()
        self.containerd.wait_until(self._runtime_answers, timeout_s=30)

    def import_image(self, archive: Path) -> None:
        """Load an OCI archive; pods use it with `imagePullPolicy: Never`."""
        self._ctr("images", "import", str(archive))

    def images(self) -> list[str]:
        """List the names of the images that the node has."""
        return self._ctr("images", "list", "--quiet").split()

    def stop(self) -> None:
        """End the node's processes and leave nothing of it."""
        self.space.stop()
        for daemon in (self.kubelet, self.proxy, self.containerd):
            daemon.kill()

    def _ctr(self, *arguments: str) -> str:
        return self.space.run("ctr", f"--address={self._socket}", "--namespace=k8s.io", *arguments, is_inside=True)

    def _runtime_answers(self) -> bool:
        if not self._socket.exists():
            return False
        try:
            self._ctr("version")
        except AssertionError:
            return False
        return True

    def _daemon(self, name: str, command: list[str]) -> Daemon:
        argv = [*self.space.into_all, *command]
        return Daemon(f"{name} of {self.name}", argv, self.folder / f"{name}.log", is_behind_nsenter=True)

    def _containerd_config(self) -> Path:
        state = self.folder / "containerd"
        unused = ("aufs", "btrfs", "devmapper", "zfs")
        path = self.folder / "containerd.toml"
        path.write_text(f"""\
version = 2
root = "{state}/root"
state = "{state}/state"
disabled_plugins = {json.dumps([f"io.containerd.snapshotter.v1.{name}" for name in unused])}
[grpc]
  address = "{self._socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{state}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  # Without CAP_SYS_RESOURCE a runtime may not lower a process's score.
  restrict_oom_score_adj = true
  cni = {{bin_dir = "{_CNI_PLUGINS}", conf_dir = "{self.folder}/cni"}}
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    options = {{SystemdCgroup = false}}
""")
        return path

    def _write_network_config(self) -> None:
        folder = self.folder / "cni"
        folder.mkdir(exist_ok=True)
        addresses = {
            "type": "host-local",
            "ranges": [[{"subnet": self.pods}]],
            "routes": [{"dst": "0.0.0.0/0"}],
            "dataDir": f"{self.folder}/cni-addresses",
        }
        bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": False, "ipam": addresses}
        plugins = [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}]
        (folder / "10-pods.conflist").write_text(
            json.dumps({"cniVersion": "1.0.0", "name": "pods", "plugins": plugins})
        )

    def _kubelet_command(self) -> list[str]:
        kubeconfig = self._parts.plane.inner_kubeconfig(self.name)
        return [
            *self._parts.binaries.argv("kubelet"),
            f"--config={self._kubelet_config()}",
            f"--kubeconfig={kubeconfig}",
            f"--hostname-override={self.name}",
            f"--node-ip={self.host}",
            f"--root-dir={self.folder}/kubelet",
            f"--cert-dir={self.folder}/kubelet-certificates",
            "--node-labels=type=real",
        ]

    def _kubelet_config(self) -> Path:
        pair = self._parts.authority.issue(
            f"{self.name}-kubelet", common_name=f"system:node:{self.name}", organisation="system:nodes",
            hosts=[self.host, self.name],
        )  # fmt: skip
        document = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": self.host,
            "healthzBindAddress": "127.0.0.1",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(self._parts.authority.file)},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(pair.certificate),
            "tlsPrivateKeyFile": str(pair.key),
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self.space.cgroup}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "containerRuntimeEndpoint": f"unix://{self._socket}",
            "clusterDomain": "cluster.local",
            "clusterDNS": [DNS_HOST],
            "resolvConf": "",
            "podLogsDir": f"{self.folder}/pod-logs",
            "makeIPTablesUtilChains": False,
            "serializeImagePulls": False,
            "registryPullQPS": 0,
            "eventRecordQPS": 0,
            "kubeAPIQPS": 100,
            "kubeAPIBurst": 200,
            # The machine is shared with everything else that runs on it: its fullness is not the node's.
            "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
        }
        path = self.folder / "kubelet.json"
        path.write_text(json.dumps(document))
        return path

    def _proxy_command(self) -> list[str]:
        return [
            *self._parts.binaries.argv("kube-proxy"),
            f"--kubeconfig={self._parts.plane.inner_kubeconfig('proxy')}",
            f"--hostname-override={self.name}",
            "--proxy-mode=nftables",
            f"--cluster-cidr={POD_RANGE}",
            f"--bind-address={self.host}",
            # Limits of the whole machine, which are not a test's to change.
            "--conntrack-max-per-core=0",
            "--conntrack-min=0",
            "--conntrack-tcp-timeout-established=0",
            "--conntrack-tcp-timeout-close-wait=0",
        ]


def cable_of(number: int) -> str:
    """Return the name, in the first node's network, of what connects a further node to it."""
    return f"to-node{number}"


def join_networks(first: Space, second: Space, number: int) -> None:
    """Give the first node its bridge when it has none yet, or connect a further node to it."""
    if first is second:
        first.run("ip", "link", "add", BRIDGE, "type", "bridge")
        first.run("ip", "address", "add", f"{CONTROL_HOST}/24", "dev", BRIDGE)
        first.run("ip", "link", "set", BRIDGE, "up")
    else:
        cable = cable_of(number)
        first.run("ip", "link", "add", cable, "type", "veth", "peer", "name", BRIDGE, "netns", str(second.first_pid))
        first.run("ip", "link", "set", cable, "master", BRIDGE, "up")
        first.run("ip", "route", "add", f"10.244.{number}.0/24", "via", f"10.99.0.{number}")
        second.run("ip", "address", "add", f"10.99.0.{number}/24", "dev", BRIDGE)
        second.run("ip", "link", "set", BRIDGE, "up")
        second.run("ip", "route", "add", "10.244.1.0/24", "via", CONTROL_HOST)
    # The node's own processes reach services, too: kube-proxy turns the addresses before they leave.
    second.run("ip", "route", "add", SERVICE_RANGE, "dev", BRIDGE)
