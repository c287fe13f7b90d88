"""A cluster that the user names: used only when they say that it is for tests.

`NORDAN_TEST_KUBECONFIG` names the file, `NORDAN_TEST_KUBECONFIG_IS_FOR_TESTS=1` says that what is in the cluster
may be created and deleted by tests. Its servers cannot be paused and its nodes cannot be killed.
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.kube import binaries
from support.kube.access import Access
from support.kube.binaries import Unavailable
from support.kube.cluster import Cluster, Level

_FILE = "NORDAN_TEST_KUBECONFIG"
_PROMISE = "NORDAN_TEST_KUBECONFIG_IS_FOR_TESTS"


def user_cluster(folder: Path, environment: Mapping[str, str]) -> Cluster | None:
    """Return the cluster that the environment names, or None.

    Raises: Unavailable when it is named without the promise, or cannot be used.
    """
    named = environment.get(_FILE)
    if not named:
        return None
    if environment.get(_PROMISE) != "1":
        raise Unavailable(f"{_FILE} names a cluster, but {_PROMISE}=1 does not say that tests may write to it")
    if not Path(named).is_file():
        raise Unavailable(f"{_FILE} names {named}, which is no file")
    return Cluster(Level.API, read_access(Path(named), folder))


def read_access(kubeconfig: Path, folder: Path) -> Access:
    """Return the current context's way in: its address, authority and credentials.

    Raises: Unavailable when it has none that a plain client can use.
    """
    argv = [binaries.kubectl(), f"--kubeconfig={kubeconfig}", "config", "view", "--raw", "--minify", "--flatten"]
    done = subprocess.run([*argv, "--output=json"], capture_output=True, text=True, check=False, timeout=30)
    if done.returncode:
        raise Unavailable(f"{kubeconfig} cannot be read: {done.stderr.strip()}")
    document: dict[str, Any] = json.loads(done.stdout)
    server, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
    if "certificate-authority-data" not in server:
        raise Unavailable(f"{kubeconfig} names no certificate authority, and without one nothing is sent")
    access = Access(server["server"], _file(folder, "user-ca.crt", server["certificate-authority-data"]), folder)
    if "token" in user:
        access.tokens["admin"] = user["token"]
    elif "client-certificate-data" in user:
        access.client_certificate = (
            _file(folder, "user.crt", user["client-certificate-data"]),
            _file(folder, "user.key", user["client-key-data"]),
        )
    else:
        raise Unavailable(f"{kubeconfig} has neither a token nor a client certificate: tests run no log-in commands")
    return access


def _file(folder: Path, name: str, encoded: str) -> Path:
    path = folder / name
    path.touch(mode=0o600)
    path.write_bytes(base64.b64decode(encoded))
    return path
