"""Namespaces of one node: processes, mounts and network of its own, so that nothing of it stays on the machine.

Linux and root only. The namespaces have no names: they are reached through their first process, or through an open
file of the network, and they are gone when their processes are.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from support.kube.binaries import Unavailable
from support.kube.daemons import Daemon, child_of

_INIT = Path(__file__).parent / "space_init.py"
_PROGRAMS = (
    "unshare",
    "nsenter",
    "setpriv",
    "ip",
    "mount",
    "containerd",
    "runc",
    "ctr",
    "iptables",
    "nft",
    "conntrack",
)


class Space:
    """The namespaces of one node and its groups of resources."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.cgroup = f"nordan-kube-{os.getpid()}-{name}-{os.urandom(2).hex()}"
        argv = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc"]
        self._first = Daemon(f"space-{name}", [*argv, sys.executable, str(_INIT), str(folder)], folder / "space.log")
        self._network = -1

    def start(self) -> None:
        """Make the namespaces. Raises: DaemonFailed."""
        for hierarchy in hierarchies():
            _make_cgroup(hierarchy / self.cgroup)
        self._first.start()
        self._first.wait_until((self.folder / "ready").exists, timeout_s=20)
        self._network = os.open(f"/proc/{self.first_pid}/ns/net", os.O_RDONLY)

    @property
    def first_pid(self) -> int:
        """The id, on the machine, of the process that the namespaces live by."""
        return child_of(self._first.pid)

    @property
    def network(self) -> str:
        """A path that names the network for as long as this test process lives."""
        return f"/proc/{os.getpid()}/fd/{self._network}"

    @property
    def into_network(self) -> list[str]:
        """Words before a command that is to use the node's network and the machine's files."""
        return ["nsenter", f"--net={self.network}"]

    @property
    def into_all(self) -> list[str]:
        """Words before a command that is to be a process of the node."""
        return ["nsenter", f"--target={self.first_pid}", "--net", "--mount", "--pid"]

    def run(self, *argv: str, is_inside: bool = False) -> str:
        """Run a command in the node's network (or as one of its processes); return what it printed.

        Raises: AssertionError with its outputs when it fails.
        """
        prefix = self.into_all if is_inside else self.into_network
        done = subprocess.run([*prefix, *argv], capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, f"{' '.join(argv)}: {done.stdout}{done.stderr}"
        return done.stdout

    def kill(self) -> None:
        """End every process of the node at once, as a power cut would; its network stays for others that use it."""
        self._first.kill()
        _wait_until_empty(self.cgroup)

    def stop(self) -> None:
        """End the node and leave nothing of it."""
        self.kill()
        if self._network >= 0:
            os.close(self._network)
            self._network = -1
        for hierarchy in hierarchies():
            remove_cgroup(hierarchy / self.cgroup)


def require_node_level() -> None:
    """Raises: Unavailable, with what is missing for real nodes on this machine."""
    if sys.platform != "linux":
        raise Unavailable("real nodes need Linux")
    if os.geteuid() != 0:
        raise Unavailable("real nodes need root: they have network, process and mount namespaces of their own")
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if not (Path("/usr/lib/cni") / "bridge").exists():
        missing.append("the network plugins in /usr/lib/cni")
    if missing:
        raise Unavailable(
            f"real nodes need {', '.join(missing)} (Debian: containerd runc containernetworking-plugins "
            "busybox-static iptables nftables conntrack socat)"
        )


def remove_cgroup(path: Path) -> None:
    """Remove a group and those in it, whose processes have ended; another test process may be doing the same."""
    # os.walk passes over what goes while it looks.
    for folder, _, _ in os.walk(path, topdown=False):
        _remove_folder(Path(folder))


def _remove_folder(path: Path) -> None:
    for _ in range(50):
        try:
            path.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            # The kernel still counts processes that died a moment ago.
            time.sleep(0.05)
        else:
            return


def hierarchies() -> Sequence[Path]:
    """List the mounted hierarchies: one folder per controller, and the one folder of version 2."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    return [Path(words[1]) for words in mounts if words[2] in {"cgroup", "cgroup2"}]


def _make_cgroup(path: Path) -> None:
    path.mkdir()
    for name in ("cpuset.cpus", "cpuset.mems"):
        # Version 1: a group without processors takes no process.
        if (path / name).exists() and (path.parent / name).exists():
            (path / name).write_text((path.parent / name).read_text())


def _wait_until_empty(cgroup: str) -> None:
    """Wait until the kernel has ended the processes that were in the node's groups."""
    deadline = time.monotonic() + 10
    groups = [hierarchy / cgroup for hierarchy in hierarchies()]
    while any(_has_processes(group) for group in groups) and time.monotonic() < deadline:
        time.sleep(0.05)


def _has_processes(group: Path) -> bool:
    try:
        return any(path.read_text().strip() for path in group.rglob("cgroup.procs"))
    except OSError:
        # A group went while we looked: look again.
        return True
