"""A cluster whose pods really run: one or two nodes, names for services, and doors to the machine's loopback.

All of it lives in network, process and mount namespaces of its own, so several clusters run side by side and the
machine keeps its addresses, its mounts and its settings.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from support.kube.binaries import Binaries
from support.kube.certificates import Authority
from support.kube.cluster import Cluster, Level
from support.kube.control_plane import ControlPlane, Place
from support.kube.daemons import Daemon
from support.kube.images import pause_image, work_image
from support.kube.nodes import CONTROL_HOST, Node, Parts, cable_of, join_networks
from support.kube.spaces import Space

_API_PORT = 6443
_DOORWAY = Path(__file__).parent / "doorway.py"


class NodeCluster(Cluster):
    """A cluster of level `node`. `start_node_cluster` makes one."""

    def __init__(self, folder: Path, plane: ControlPlane, parts: Parts, space: Space, doors: list[Daemon]) -> None:
        super().__init__(Level.NODE, plane.access, plane)
        self.folder = folder
        self.nodes: dict[str, Node] = {}
        self._parts = parts
        self._space = space
        self._doors = doors
        self._images: list[Path] = []

    @property
    def node_names(self) -> list[str]:
        """The names of the nodes that were started."""
        return list(self.nodes)

    @property
    def netns(self) -> str:
        """A path that names the network in which the control plane and the first node live."""
        return self._space.network

    @property
    def inner_url(self) -> str:
        """The API server's address for processes in the cluster's network and for pods."""
        return self.plane.place.url

    @property
    def inner_kubeconfig(self) -> Path:
        """The administrator's kubeconfig for processes in the cluster's network."""
        return self.plane.inner_kubeconfig("admin")

    def run(self, argv: Sequence[str], *, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a program of the machine in the cluster's network and return what came of it."""
        command = [*self._space.into_network, *argv]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_s)

    def into_network(self) -> list[str]:
        """Words before a command line that is to run in the cluster's network, for processes that stay."""
        return self._space.into_network

    def expose(self, port: int, *, inner_port: int = 0) -> str:
        """Let pods reach a port of the machine's loopback; return `host:port` as they see it."""
        return f"{CONTROL_HOST}:{self._door(_inside(self._space, CONTROL_HOST, inner_port), ('-', '127.0.0.1', port))}"

    def reach(self, host: str, port: int) -> int:
        """Let the machine reach a pod or a service; return the port on the machine's loopback."""
        return self._door(("-", "127.0.0.1", 0), _inside(self._space, host, port))

    def import_image(self, archive: Path) -> None:
        """Load an OCI archive into every node, and into those that come later."""
        self._images.append(archive)
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda node: node.import_image(archive), self.nodes.values()))

    def add_node(self) -> str:
        """Start one more node (the second is the last); return its name when it is ready."""
        number = len(self.nodes) + 1
        if number > 2:
            raise ValueError("a test cluster has two nodes at most: there are identities for node1 and node2")
        node = self._start_node(number)
        self.nodes[node.name] = node
        for archive in self._images:
            node.import_image(archive)
        node.kubelet.start()
        self._wait_until_ready(node)
        return node.name

    def second_node(self) -> str:
        """Return the second node's name; it is started unless another test has had it started."""
        return self.node_names[1] if len(self.node_names) > 1 else self.add_node()

    @contextmanager
    def cut_off(self, name: str) -> Iterator[None]:
        """Pull a node's cable: it runs on and reaches nobody. Not the first's, on which the API server lives."""
        cable = cable_of(self.nodes[name].number)
        self._space.run("ip", "link", "set", cable, "down")
        try:
            yield
        finally:
            self._space.run("ip", "link", "set", cable, "up")

    def kill_kubelet(self, name: str) -> None:
        """Kill a node's kubelet; its containers go on, and nobody tells the API server about them."""
        self.nodes[name].kubelet.kill()

    def start_kubelet(self, name: str) -> None:
        """Start the kubelet again and wait until its node is ready."""
        self.nodes[name].kubelet.start()
        self._wait_until_ready(self.nodes[name])

    def kill_node(self, name: str) -> None:
        """Kill a node and everything on it, as a power cut would; it does not come back."""
        node = self.nodes[name]
        node.space.kill()

    def stop(self) -> None:
        """End pods, nodes and servers and leave nothing of them."""
        for door in self._doors:
            door.kill()
        for node in reversed(self.nodes.values()):
            node.stop()
        super().stop()
        self._space.stop()

    def _start_node(self, number: int) -> Node:
        folder = self.folder / f"node{number}"
        space = self._space
        if number > 1:
            folder.mkdir()
            space = Space(folder, f"node{number}")
            space.start()
            join_networks(self._space, space, number)
        node = Node(folder, number, space, self._parts)
        node.start()
        return node

    def _wait_until_ready(self, node: Node) -> None:
        node.kubelet.wait_until(lambda: node.name in self.ready_nodes(), timeout_s=60)

    def _door(self, listen: tuple[str, str, int], connect: tuple[str, str, int]) -> int:
        door, port = open_door(self.folder / f"door-{len(self._doors)}.log", listen, connect)
        self._doors.append(door)
        return port


def start_node_cluster(folder: Path, binaries: Binaries) -> NodeCluster:
    """Start a cluster with one ready node.

    Raises: DaemonFailed, Unavailable.
    """
    node_folder = folder / "node1"
    node_folder.mkdir()
    space = Space(node_folder, "node1")
    doors: list[Daemon] = []
    stops: list[Callable[[], None]] = [space.stop]
    try:
        # 1. The network, and the door through which this process speaks to the API server.
        space.start()
        join_networks(space, space, 1)
        inner = _inside(space, CONTROL_HOST, _API_PORT)
        door, outer_port = open_door(folder / "door-api.log", ("-", "127.0.0.1", 0), inner)
        doors.append(door)
        stops.append(door.kill)
        # 2. The servers.
        authority = Authority(folder / "certificates")
        place = Place(
            CONTROL_HOST, _API_PORT, 2379, 2380,
            prefix=space.into_network, outer_url=f"https://127.0.0.1:{outer_port}",
        )  # fmt: skip
        plane = ControlPlane(folder, binaries, place, authority)
        stops.append(plane.stop)
        plane.start()
        plane.start_controllers()
        plane.add("coredns", [f"-conf={_names_config(folder, plane)}"])
        # 3. The node.
        cluster = NodeCluster(folder, plane, Parts(binaries, authority, plane), space, doors)
        stops = [cluster.stop]
        cluster.import_image(pause_image(folder))
        cluster.import_image(work_image(folder))
        cluster.add_node()
    except BaseException:
        for stop in reversed(stops):
            stop()
        raise
    return cluster


def open_door(log: Path, listen: tuple[str, str, int], connect: tuple[str, str, int]) -> tuple[Daemon, int]:
    """Carry connections from one network to another; return the process and the port that it listens on."""
    words = [str(word) for word in (*listen, *connect)]
    door = Daemon("doorway", [sys.executable, str(_DOORWAY), *words], log)
    door.start()
    door.wait_until(lambda: log.read_text().endswith("\n"), timeout_s=20)
    return door, int(log.read_text().split()[0])


def _inside(space: Space, host: str, port: int) -> tuple[str, str, int]:
    return space.network, host, port


def _names_config(folder: Path, plane: ControlPlane) -> Path:
    """Write CoreDNS's configuration: names of services and pods, never from a cache that a test would wait for."""
    path = folder / "Corefile"
    path.write_text(f""".:53 {{
    errors
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {plane.inner_kubeconfig("admin")}
        pods insecure
        ttl 1
    }}
}}
""")
    return path
