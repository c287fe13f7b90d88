"""A Nordan that somebody deployed on a cluster, as the demo sees it: the same steps, other sizes, nothing to stop.

`deploy/kind/kind.py demo` and a test give it the login and the way to kubectl.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from demo_stack import COMMAND_WITHIN_S, Stack


class ClusterStack(Stack):
    """Finds its cluster in the environment: NORDAN_URL, NORDAN_KEY and kubectl's words in NORDAN_DEMO_KUBECTL."""

    def __init__(self, world: Path) -> None:
        super().__init__(world)
        self.regions = ("fr-bru-1", "se-bor-1")
        # A rehearsal's nodes are few and small, and images have to be unpacked.
        self.patience = 4.0
        self.ranks = int(os.environ.get("NORDAN_DEMO_RANKS", "2"))
        self._kubectl: list[str] = json.loads(os.environ["NORDAN_DEMO_KUBECTL"])
        self._url, self._key = os.environ["NORDAN_URL"], os.environ["NORDAN_KEY"]

    def fitted(self, document: str) -> str:
        """Return a job document that a node of two processors can run."""
        document = re.sub(r"(?m)^nodes: \d+$", f"nodes: {self.ranks}", document)
        # Long enough to be met in the middle: its log comes by an agent that has a fifth of a processor.
        document = re.sub(r'PAUSE_S: "[\d.]+"', 'PAUSE_S: "1"', document)
        return re.sub(r"cpu: \d+, memory: \d+GiB", "cpu: 1, memory: 512MiB", document)

    def listening_beyond_loopback(self) -> list[str]:
        """Return nothing: who may be reached is the business of the cluster's network policies."""
        return []

    def kill_rank(self, attempt: Mapping[str, Any], rank: int) -> str:  # Any: JSON
        """Take a rank's pod away at once, as the loss of its node would."""
        pod = f"{attempt['id'].replace('_', '-').lower()}-{rank}"
        words = ["-n", f"jobs-{attempt['region']}", "delete", "pod", pod, "--grace-period=0", "--force"]
        subprocess.run([*self._kubectl, *words], capture_output=True, check=True, timeout=COMMAND_WITHIN_S)
        return f"kubectl delete pod {pod} --force: rank {rank} of {attempt['id']}"

    def rest(self) -> httpx.Client:
        """Return a client of the REST interface with the key in use."""
        headers = {"Authorization": f"Bearer {self._key}"}
        return httpx.Client(base_url=self._url, headers=headers, timeout=COMMAND_WITHIN_S)

    def trouble(self) -> str:
        """Return how the pods are and what the supervisors said last."""
        told = [self._asked("get", "pods", "--all-namespaces", "-o", "wide")]
        for region in self.regions:
            words = ("-n", f"region-{region}", "logs", "statefulset/nordan-region", "-c", "supervisor", "--tail=10")
            told.append(self._asked(*words))
        return "\n".join(told)

    def _start(self) -> None:
        """Do nothing: it runs."""

    def _environment(self) -> dict[str, str]:
        return super()._environment() | {"NORDAN_URL": self._url}

    def _asked(self, *words: str) -> str:
        done = subprocess.run(
            [*self._kubectl, *words], capture_output=True, text=True, check=False, timeout=COMMAND_WITHIN_S
        )
        return done.stdout + done.stderr
