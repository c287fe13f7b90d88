"""From an empty cluster to a control plane with two regions, by the steps of docs/how-to/deploy-on-kubernetes.md.

Used by `kind.py`, which makes the cluster, and by the test that does the same on nodes of its own. Speaks with the
cluster through kubectl, with Nordan through its command line, and is written so that each step may be repeated.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
OVERLAY = ROOT / "deploy" / "overlays" / "kind"
WORLD = ROOT / "deploy" / "world" / "kind.yaml"
NODE_LABEL = "nordan.node-restriction.kubernetes.io"
GPU = "nvidia.com/gpu"
GPUS_PER_NODE = 8
CONTROL_PLANE = "nordan"
REGION_PARTS = ("nordan-region", "nordan-broker")
#: Images are loaded, not pulled, but the first start of a dozen Pythons takes its time.
READY_WITHIN_S = 300.0
#: The workspace of a first job; it gets the floor of the template.
FIRST_PROJECT = {"kind": "Project", "name": "default", "organisation": "home"}


class Failed(Exception):
    """A step cannot be done; the text says what a program said."""


@dataclass(frozen=True, slots=True)
class Region:
    """A region of the rehearsal: its facts are in deploy/world/kind.yaml."""

    code: str
    territory: str
    pool: str

    @property
    def namespace(self) -> str:
        """Where its own parts live."""
        return f"region-{self.code}"

    @property
    def broker(self) -> str:
        """Where the control plane reaches its broker."""
        return f"redis://nordan-broker.{self.namespace}.svc:6379"


REGIONS = (
    Region("fr-bru-1", "FR", "fr-bru-1-h100"),
    Region("se-bor-1", "SE", "se-bor-1-h200"),
)


@dataclass(frozen=True, slots=True)
class Kubectl:
    """One cluster."""

    argv: Sequence[str]
    """kubectl and the options that name the cluster."""

    def __call__(self, *words: str, text: str | None = None, within_s: float = 120.0) -> str:
        """Run kubectl and return what it printed.

        Raises:
            Failed: it ended with an error.
        """
        return run([*self.argv, *words], text=text, within_s=within_s)


@dataclass(frozen=True, slots=True)
class Nordan:
    """The command line with the rehearsal's own login."""

    url: str
    key: str = field(repr=False)
    home: Path

    def __call__(self, *words: str, within_s: float = 120.0) -> str:
        """Run a command and return what it printed.

        Raises:
            Failed: it ended with an error.
        """
        return run([sys.executable, "-m", "nordan_cli", *words], environment=self.environment(), within_s=within_s)

    def environment(self) -> dict[str, str]:
        """Return what a command needs to know."""
        return {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(self.home),
            "NORDAN_URL": self.url,
            "NORDAN_KEY": self.key,
            "NORDAN_PROJECT": "default",
        }


def prepare_nodes(kubectl: Kubectl, nodes: Mapping[str, Sequence[str]], *, has_taint: bool = True) -> None:
    """Let nodes play their regions: labels that no node gives itself, the pool's taint, and GPUs that are not there."""
    for region in REGIONS:
        for node in nodes.get(region.code, ()):
            kubectl(
                "label", "--overwrite", "node", node,
                f"{NODE_LABEL}/territory={region.territory}",
                f"{NODE_LABEL}/region={region.code}",
                f"{NODE_LABEL}/pool={region.pool}",
            )  # fmt: skip
            if has_taint:
                kubectl("taint", "--overwrite", "node", node, f"nordan.eu/pool={region.pool}:NoSchedule")
            kubectl("patch", "node", node, "--subresource=status", "--type=json", "-p", json.dumps(_fake_gpus()))


def make_secrets(kubectl: Kubectl) -> None:
    """Make the control plane's Secrets and the database's password, unless they are there."""
    kubectl("apply", "-f", str(ROOT / "deploy" / "components" / "control-plane" / "namespace.yaml"))
    if "nordan-grant-key" in kubectl("-n", CONTROL_PLANE, "get", "secrets", "-o", "name"):
        return
    command = [sys.executable, "-m", "nordan_core.cluster_secrets", "--new-database", "nordan-postgres"]
    kubectl("create", "-f", "-", text=run(command))


def apply_overlay(kubectl: Kubectl, overlay: Path = OVERLAY) -> None:
    """Apply everything. The regions' pods wait for the Secrets by which they join."""
    # A Job's template cannot be changed; the one of an earlier version goes.
    kubectl("-n", CONTROL_PLANE, "delete", "job", "nordan-migrate", "--ignore-not-found")
    kubectl("apply", "-k", str(overlay))


def wait_for_control_plane(kubectl: Kubectl) -> None:
    """Wait until database, api and schedulers are ready."""
    for name in ("statefulset/nordan-postgres", "deployment/nordan-api", "deployment/nordan-scheduler"):
        _wait_ready(kubectl, CONTROL_PLANE, name)


def first_key(kubectl: Kubectl) -> str:
    """Make an administrator's key inside the api, and return it."""
    inside = ("env", "NORDAN_ADMIN_TERRITORY=FR", "python", "-m", "nordan_api.bootstrap")
    return kubectl("-n", CONTROL_PLANE, "exec", "deploy/nordan-api", "-c", "api", "--", *inside).strip()


def apply_world(nordan: Nordan, world: Path = WORLD) -> None:
    """Tell the control plane who is who."""
    nordan("admin", "apply", "-f", str(world))
    project = nordan.home / "project.yaml"
    project.write_text(json.dumps(FIRST_PROJECT))
    nordan("admin", "apply", "-f", str(project))


def join_regions(kubectl: Kubectl, nordan: Nordan, gateways: Mapping[str, str]) -> None:
    """Let every region join with one Secret, and start its parts with it."""
    for region in REGIONS:
        words = ("admin", "regions", "join", region.code, "--namespace", region.namespace)
        secret = nordan(*words, "--gateway-url", gateways[region.code], "--broker", region.broker)
        kubectl("apply", "-f", "-", text=secret)
        # Both read the Secret when they start. Not `rollout restart`: a pod that waits for the Secret is looked after
        # again after minutes only, and a StatefulSet waits for it before it makes the next.
        kubectl("-n", region.namespace, "delete", "pod", "-l", f"app.kubernetes.io/name in ({', '.join(REGION_PARTS)})")


def wait_for_regions(kubectl: Kubectl, nordan: Nordan) -> None:
    """Wait until the regions' parts are ready and their supervisors have spoken with the control plane."""
    for region in REGIONS:
        _wait_ready(kubectl, region.namespace, "deployment/nordan-broker")
        _wait_ready(kubectl, region.namespace, "statefulset/nordan-region")

    def have_spoken() -> bool:
        found = json.loads(nordan("regions", "-o", "json"))["items"]
        return {one["code"] for one in found if one.get("seen_at")} >= {region.code for region in REGIONS}

    wait_until(have_spoken, "the regions to speak with the control plane", within_s=60)


def wait_until(is_so: Callable[[], bool], what: str, within_s: float) -> None:
    """Look each second until something is so.

    Raises:
        Failed: it was not in time.
    """
    deadline = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > deadline:
            raise Failed(f"waited {within_s:.0f} s for {what}")
        time.sleep(1.0)


def run(
    command: Sequence[str],
    *,
    text: str | None = None,
    environment: Mapping[str, str] | None = None,
    within_s: float = 120.0,
) -> str:
    """Run a program and return its standard output.

    Raises:
        Failed: it ended with an error; with its own words, but not with its input, which may be a secret.
    """
    try:
        done = subprocess.run(
            command, input=text, env=environment, capture_output=True, text=True, check=False, timeout=within_s
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"{_shown(command)} did not end within {within_s:.0f} s") from None
    if done.returncode != 0:
        raise Failed(f"{_shown(command)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def _wait_ready(kubectl: Kubectl, namespace: str, name: str) -> None:
    words = ("-n", namespace, "rollout", "status", name, f"--timeout={READY_WITHIN_S:.0f}s")
    kubectl(*words, within_s=READY_WITHIN_S + 10)


def _fake_gpus() -> list[dict[str, Any]]:
    path = GPU.replace("/", "~1")
    parts = ("capacity", "allocatable")
    return [{"op": "add", "path": f"/status/{part}/{path}", "value": str(GPUS_PER_NODE)} for part in parts]


def _shown(command: Sequence[str]) -> str:
    return " ".join(Path(command[0]).name if place == 0 else word for place, word in enumerate(command))
