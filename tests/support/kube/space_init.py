"""The first process of a node's own process, mount and network namespaces.

It is run by `unshare`, not imported. It gives the node its own view of the machine and then only collects the dead:
when it is killed, the kernel ends every process of the node and with the last one its mounts and its network go.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

#: A kubelet writes these and nobody undoes it. Here it finds files of its own, and the machine keeps its values.
_SYSCTLS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
#: Paths that containerd, the kubelet and the network plugins use whatever they are told.
_PRIVATE = ("/run", "/var/lib", "/var/log")


def main(folder: Path) -> None:
    """Lay out the node's view, say so in FOLDER/ready, and stay."""
    for path in _PRIVATE:
        _run("mount", "-t", "tmpfs", "tmpfs", path)
    Path("/run/netns").mkdir()
    shields = folder / "sysctls"
    shields.mkdir(exist_ok=True)
    for name, value in _SYSCTLS.items():
        shield = shields / name.replace("/", ".")
        shield.write_text(f"{value}\n")
        _run("mount", "--bind", str(shield), f"/proc/sys/{name}")
    # Volumes that a pod mounts are seen by its other containers.
    _run("mount", "--make-rshared", "/")
    _run("ip", "link", "set", "lo", "up")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1\n")
    (folder / "ready").touch()
    while True:
        try:
            os.wait()
        except ChildProcessError:
            # No child: orphans become ours when their parent ends, and that is not signalled.
            time.sleep(0.5)


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
