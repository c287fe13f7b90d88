"""The books of a region whose jobs are pods: each job once and to its end, no pod twice, nothing left.

The cluster's audit log tells of every pod that ever was made; the rules of the database are those of the chaos tests.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from support.chaos_rules import BEHIND, RULES
from support.chaos_stack import until
from support.kube.job_pods import IMAGE
from support.kube_stack import KubeStack, Site
from support.pod_shim import marked
from support.tenants import Json

SMALL = {"gpu": 1, "cpu": 1, "memory": "256MiB"}
SETTLED_S = 60.0
_CREATED = 201
#: The pod may be there all the same: its store took the pod and its word of it came too late.
_UNSURE = (500, 503, 504)


@dataclass
class PodBooks:
    """Jobs of one region, and what must be true of them whatever happened meanwhile."""

    stack: KubeStack
    site: Site
    begun_at: int
    """How long the cluster's audit log was when the books were opened."""
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

    def begun(self, jobs: Sequence[str]) -> None:
        """Wait until all of them run, or have run: short ones may be over before anybody looks."""
        for job in jobs:
            self.stack.wait(job, "it has begun", lambda found: found["started_at"])

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
        made, unsure = self._made(_CREATED), self._made(*_UNSURE)
        assert set(made.values()) == {1}, f"pods that were made twice: {made}"
        assert len({*made, *unsure}) == len(self.jobs), f"{len(self.jobs)} jobs, and these pods: {made}, {unsure}"
        until(lambda: not any(self.stack.stack.rows(RULES[name]) for name in BEHIND), "the log to be sealed", SETTLED_S)
        broken = {rule: rows for rule, query in RULES.items() if (rows := self.stack.stack.rows(query))}
        assert not broken, broken

    def _made(self, *answers: int) -> Counter[str]:
        """Return how often making each pod had one of these answers: its name says attempt and rank."""
        with self.site.cluster.plane.audit_log.open() as log:
            log.seek(self.begun_at)
            events = [json.loads(line) for line in log]
        return Counter(
            event["objectRef"]["name"]
            for event in events
            if event["responseStatus"]["code"] in answers
            and event["objectRef"]["namespace"] == self.site.namespace
            # A binding is a pod's part that is created, too.
            and "subresource" not in event["objectRef"]
        )

    def _document(self, lasting_s: float) -> Json:
        script = f"echo begun; sleep {lasting_s:g}; echo through"
        what = {"name": "kept", "command": ["sh", "-c", script, self.mark], "image": IMAGE, "resources": SMALL}
        return {**what, "policy": {"residency": [self.site.ground.territory]}}

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
    books = PodBooks(stack, site, site.cluster.plane.audit_log.stat().st_size)
    try:
        yield books
    finally:
        for job in books.jobs:
            stack.owner.ask("POST", f"/jobs/{job}:cancel", json={"grace_s": 0})
