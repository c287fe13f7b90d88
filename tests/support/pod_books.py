"""The books of a region whose jobs are pods: each job once and to its end, no pod twice, nothing left.

A census notes every pod that ever was; the rules of the database are those of the chaos tests.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from support.chaos_rules import BEHIND, RULES
from support.chaos_stack import until
from support.kube.cluster import Cluster
from support.kube.job_pods import IMAGE
from support.kube_stack import KubeStack, Site
from support.pod_shim import marked
from support.tenants import Json

SMALL = {"gpu": 1, "cpu": 1, "memory": "256MiB"}
SETTLED_S = 60.0


class PodCensus:
    """Follows the pods of a namespace by a watch of its own, for as long as the block lasts."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._path = f"/api/v1/namespaces/{namespace}/pods"
        self._http = cluster.client()
        self._version = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="census", daemon=True)
        self.seen: dict[str, set[str]] = {}
        """The uids of each name: the name says attempt and rank, so a second uid is a second pod of that rank."""

    def __enter__(self) -> PodCensus:
        self._list()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(10)
        self._http.close()

    def _follow(self) -> None:
        while not self._stopping.is_set():
            try:
                if not self._version:
                    self._list()
                self._stream()
            except (httpx.HTTPError, ValueError):
                time.sleep(0.1)

    def _list(self) -> None:
        answer = self._http.get(self._path).raise_for_status().json()
        for pod in answer["items"]:
            self._note(pod)
        self._version = answer["metadata"]["resourceVersion"]

    def _stream(self) -> None:
        query = {"watch": "1", "resourceVersion": self._version, "timeoutSeconds": "2"}
        with self._http.stream("GET", self._path, params=query, timeout=10) as answer:
            if answer.is_error:
                # A server that was restarted has forgotten our place.
                self._version = ""
                return
            for line in answer.iter_lines():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    self._version = ""
                    return
                self._version = event["object"]["metadata"]["resourceVersion"]
                self._note(event["object"])

    def _note(self, pod: dict[str, Any]) -> None:  # Any: JSON
        self.seen.setdefault(pod["metadata"]["name"], set()).add(pod["metadata"]["uid"])


@dataclass
class PodBooks:
    """Jobs of one region, and what must be true of them whatever happened meanwhile."""

    stack: KubeStack
    site: Site
    census: PodCensus
    mark: str = field(default_factory=lambda: f"books-{time.monotonic_ns()}")
    jobs: dict[str, float] = field(default_factory=dict)
    """How long each lasts, in seconds."""
    cancelled: set[str] = field(default_factory=set)

    def submit(self, count: int, lasting_s: float) -> list[str]:
        """Submit jobs that say when they begin and when they are through."""
        made = [self.stack.owner.submit(self._document(lasting_s)) for _ in range(count)]
        self.jobs.update(dict.fromkeys(made, lasting_s))
        return made

    def running(self, jobs: Sequence[str]) -> None:
        """Wait until all of them run."""
        for job in jobs:
            self.stack.running(job)

    def cancel(self, job: str) -> None:
        """Cancel a job without grace."""
        self.stack.owner.ask("POST", f"/jobs/{job}:cancel", json={"grace_s": 0}, expect=200)
        self.cancelled.add(job)

    def check(self) -> None:
        """Wait for every end, then fail with whatever is wrong."""
        ended = {job: self.stack.ends(job, 150.0) for job in self.jobs}
        faults = [fault for job, found in ended.items() for fault in self._faults_of(job, found)]
        assert not faults, "\n".join([*faults, self.stack.trouble(next(iter(self.jobs)))])
        self.stack.wait_until_nothing_is_left()
        until(lambda: not marked(self.mark), "the last process to be gone")
        doubled = {name: uids for name, uids in self.census.seen.items() if len(uids) > 1}
        assert doubled == {}
        assert len(self.census.seen) == len(self.jobs), self.census.seen
        until(lambda: not any(self.stack.stack.rows(RULES[name]) for name in BEHIND), "the log to be sealed", SETTLED_S)
        broken = {rule: rows for rule, query in RULES.items() if (rows := self.stack.stack.rows(query))}
        assert broken == {}

    def _document(self, lasting_s: float) -> Json:
        script = f"echo begun; sleep {lasting_s:g}; echo through"
        return {"name": "kept", "command": ["sh", "-c", script, self.mark], "image": IMAGE, "resources": SMALL}

    def _faults_of(self, job: str, found: Json) -> Iterator[str]:
        want = "cancelled" if job in self.cancelled else "succeeded"
        if (found["state"], len(found["attempts"])) != (want, 1):
            yield f"{job} is {found['state']} ({found['reason']}) after {len(found['attempts'])} attempts, not {want}"
        lines = self.stack.owner.log(job).splitlines()
        if lines != ["begun", "through"][: 1 if job in self.cancelled else 2]:
            yield f"the log of {job} is {lines}"
        ran_s = found["attempts"][-1]["running_s"] if found["attempts"] else 0.0
        if job not in self.cancelled and not self.jobs[job] - 0.5 <= ran_s <= self.jobs[job] + 45.0:
            yield f"{job} lasted {self.jobs[job]:g} s and is said to have run for {ran_s:g} s"


@contextmanager
def pod_books(stack: KubeStack, code: str) -> Iterator[PodBooks]:
    """Open the books of a region; whatever the block leaves is ended."""
    site = stack.sites[code]
    with PodCensus(site.cluster, site.namespace) as census:
        books = PodBooks(stack, site, census)
        try:
            yield books
        finally:
            for job in books.jobs:
                stack.owner.ask("POST", f"/jobs/{job}:cancel", json={"grace_s": 0})
