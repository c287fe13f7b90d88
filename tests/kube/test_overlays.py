"""A real API server takes every manifest of every overlay, and stores exactly what was sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import yaml

from support.kube.cluster import Cluster
from support.manifests import OVERLAYS, Object, name_of, rendered

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
#: `kubectl diff` ends with this when something differs.
DIFFERS = 1


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_server_takes_every_object_and_finds_nothing_to_change_afterwards(kube_api: Cluster, overlay: str) -> None:
    objects = rendered(overlay)
    text = yaml.safe_dump_all(objects)
    with spaces_of(kube_api, objects):
        dry = kube_api.try_kubectl("apply", "--server-side", "--dry-run=server", "-f", "-", text=text)
        assert dry.returncode == 0, dry.stderr
        assert dry.stderr == "", "the server warns of something"
        kube_api.kubectl("apply", "-f", "-", text=text)
        differs = kube_api.try_kubectl("diff", "-f", "-", text=text)
        assert (differs.returncode, differs.stdout) == (0, ""), differs.stdout + differs.stderr


def test_a_manifest_that_the_server_refuses_or_that_differs_is_noticed(kube_api: Cluster) -> None:
    objects = rendered("control-plane")
    with spaces_of(kube_api, objects):
        [api] = [one for one in objects if name_of(one) == "Deployment nordan/nordan-api"]
        misspelt = yaml.safe_dump(api).replace("readOnlyRootFilesystem", "readOnlyRootFileSystem")
        refused = kube_api.try_kubectl("apply", "--server-side", "--dry-run=server", "-f", "-", text=misspelt)
        assert refused.returncode != 0
        assert "readOnlyRootFileSystem" in refused.stderr
        kube_api.kubectl("apply", "-f", "-", text=yaml.safe_dump(api))
        other = yaml.safe_dump({**api, "spec": {**api["spec"], "replicas": 3}})
        assert kube_api.try_kubectl("diff", "-f", "-", text=other).returncode == DIFFERS


def test_what_the_restricted_standard_forbids_is_refused_in_every_namespace(kube_api: Cluster) -> None:
    """And the pods of the overlays are not: the server judges their templates as warnings, of which there are none."""
    objects = rendered("kind")
    with spaces_of(kube_api, objects) as names:
        for name in names:
            kube_api.ensure(
                f"/api/v1/namespaces/{name}/serviceaccounts",
                {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}},
            )
            pod = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "root", "namespace": name},
                "spec": {"containers": [{"name": "root", "image": "localhost/root:1"}]},
            }
            refused = kube_api.try_kubectl("apply", "-f", "-", text=yaml.safe_dump(pod))
            assert 'violates PodSecurity "restricted:' in refused.stderr, f"{name}: {refused.stderr}"


@contextmanager
def spaces_of(cluster: Cluster, objects: list[Object]) -> Iterator[list[str]]:
    """Make an overlay's namespaces, and remove them with everything that was put beside them."""
    spaces = [one for one in objects if one["kind"] == "Namespace"]
    names = [one["metadata"]["name"] for one in spaces]
    cluster.kubectl("create", "-f", "-", text=yaml.safe_dump_all(spaces))
    try:
        yield names
    finally:
        others = [one for one in objects if one["kind"] != "Namespace"]
        cluster.kubectl("delete", "--ignore-not-found", "--wait=false", "-f", "-", text=yaml.safe_dump_all(others))
        for name in names:
            _remove(cluster, name)


def _remove(cluster: Cluster, name: str) -> None:
    """Remove a namespace at once: no controller of this server would ever finish it."""
    path = f"/api/v1/namespaces/{name}"
    cluster.delete(path)
    with cluster.client() as client:
        client.put(
            f"{path}/finalize",
            json={"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}, "spec": {"finalizers": []}},
        ).raise_for_status()
