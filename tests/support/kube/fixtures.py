"""The pytest fixtures `kube_api`, `kube_control`, `kube_node`: a cluster of each level per test process.

Each starts when a first test asks for it and ends with the test process. Where none can be had the test is skipped
and says why; with REQUIRE_KUBE=1, as in CI, that is a failure. tests/conftest.py offers them to every test.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn, TypeVar

import pytest

from support.kube import binaries
from support.kube.binaries import Unavailable
from support.kube.cluster import Cluster, Level
from support.kube.control_plane import start_on_loopback
from support.kube.leftovers import PREFIX, remove_leftovers
from support.kube.node_cluster import NodeCluster, start_node_cluster
from support.kube.spaces import require_node_level
from support.kube.user_cluster import user_cluster

#: Taken when the module is imported, because each test gets a home of its own.
_ENVIRONMENT = dict(os.environ)
C = TypeVar("C", bound=Cluster)
FIXTURES = ("kube_api", "kube_control", "kube_node", "kube_node_b")


@pytest.fixture(scope="session")
def kube_api() -> Iterator[Cluster]:
    """Yield a cluster with an API server and nothing behind it."""
    yield from offered(start_api)


@pytest.fixture(scope="session")
def kube_control() -> Iterator[Cluster]:
    """Yield a cluster with controllers, a scheduler and KWOK, and no nodes yet."""
    yield from offered(start_control)


@pytest.fixture(scope="session")
def kube_node() -> Iterator[NodeCluster]:
    """Yield a cluster whose pods really run: one node, and a second one when a test adds it."""
    yield from offered(start_node)


@pytest.fixture(scope="session")
def kube_node_b() -> Iterator[NodeCluster]:
    """Yield another cluster like `kube_node`, with an API server and a network of its own."""
    yield from offered(start_node)


def start_api(folder: Path) -> Cluster:
    """Start a cluster of level `api`. Raises: Unavailable, DaemonFailed."""
    named = user_cluster(folder, _ENVIRONMENT)
    if named is not None:
        return named
    plane = start_on_loopback(folder, binaries.find_binaries(binaries.API_PARTS))
    return Cluster(Level.API, plane.access, plane)


def start_control(folder: Path) -> Cluster:
    """Start a cluster of level `control`. Raises: Unavailable, DaemonFailed."""
    plane = start_on_loopback(folder, binaries.find_binaries(binaries.CONTROL_PARTS))
    plane.start_controllers()
    plane.start_kwok()
    return Cluster(Level.CONTROL, plane.access, plane)


def start_node(folder: Path) -> NodeCluster:
    """Start a cluster of level `node`. Raises: Unavailable, DaemonFailed."""
    require_node_level()
    return start_node_cluster(folder, binaries.find_binaries(binaries.NODE_PARTS))


def check(cluster: Cluster) -> None:
    """Fail early, and clearly, on a server that would fail tests in odd ways."""
    version = cluster.get("/version")
    major_minor = f"v{version['major']}.{version['minor'].rstrip('+')}"
    if not binaries.KUBERNETES.startswith(f"{major_minor}."):
        pytest.fail(f"the API server is {version['gitVersion']}; tests are written for {binaries.KUBERNETES}")
    # Built with the wrong Go, a server gets ready and serves an OpenAPI that is garbage.
    paths = cluster.get("/openapi/v2").get("paths", {})
    if "/api/v1/namespaces/{namespace}/pods" not in paths:
        pytest.fail("the API server's OpenAPI does not know pods: it was built with the wrong Go")


def offered(start: Callable[[Path], C]) -> Iterator[C]:
    """Yield a started and checked cluster, or skip; remove everything afterwards.

    For fixtures of other scopes as well: a module that changes nodes for good has a cluster of its own.
    """
    remove_leftovers()
    # A short path: a socket's may have 107 characters.
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}-{os.getpid()}-"))
    try:
        cluster = _started(start, folder)
        try:
            check(cluster)
            yield cluster
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _started(start: Callable[[Path], C], folder: Path) -> C:
    try:
        return start(folder)
    except Unavailable as reason:
        skip_or_fail(reason)


def skip_or_fail(reason: Unavailable) -> NoReturn:
    """End a test that cannot have what it needs: a skip, or with REQUIRE_KUBE=1 a failure."""
    if _ENVIRONMENT.get("REQUIRE_KUBE") == "1":
        pytest.fail(f"REQUIRE_KUBE=1, and there is no cluster: {reason}")
    pytest.skip(f"no cluster for tests: {reason}")


def programs() -> binaries.Binaries:
    """Return the programs themselves, for a test that needs no cluster; skip where there are none."""
    try:
        return binaries.find_binaries(binaries.CONTROL_PARTS)
    except Unavailable as reason:
        skip_or_fail(reason)


def is_kube_test(item: pytest.Item) -> bool:
    """Tell whether a test asks for a cluster."""
    return any(name in FIXTURES for name in getattr(item, "fixturenames", ()))


__all__ = [
    "FIXTURES",
    "is_kube_test",
    "kube_api",
    "kube_control",
    "kube_node",
    "kube_node_b",
    "offered",
    "programs",
    "start_node",
]
