"""Follow a job until it ends: its states on standard error, its log on standard output, attempt after attempt.

Used by `submit --attach` and `logs --follow`. Survives restarts of the api and of gateways: the log resumes behind
the last event seen.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from nordan_cli import references
from nordan_cli.client import Api
from nordan_cli.decode import decode
from nordan_cli.errors import Problem, Unreachable
from nordan_cli.gateway import Gateway
from nordan_cli.invocation import note
from nordan_cli.models import Access, Attempt, Job
from nordan_cli.sse import KEEPALIVE
from nordan_core.domain.states import TERMINAL

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0
#: How long a control plane may be away before following gives up.
PATIENCE_S = 120.0
#: How often the log of an attempt that is over is asked for.
LOG_TRIES = 5
#: States that wait for the owner: following would never end.
_WAITS_FOR_OWNER = frozenset({"held", "fenced"})


@dataclass(slots=True)
class Follower:
    """Follows one job; `attempt` limits it to one try, `says` gets each change of state."""

    api: Api
    job: str
    rank: int = 0
    attempt: int | None = None
    says: Callable[[str], None] = note
    _told: tuple[str, str | None, int] | None = None
    _finished: set[int] = field(default_factory=set)
    _failures: dict[int, int] = field(default_factory=dict)
    _last_event: dict[int, str] = field(default_factory=dict)
    _pause_s: float = FIRST_PAUSE_S

    def run(self) -> Job:
        """Print until the job (or the one attempt) has ended or waits for its owner; return it as it is then."""
        while True:
            job = self._fetch()
            self._tell(job)
            waiting = self._next_attempt(job)
            if waiting is not None and self._follow(waiting):
                self._pause_s = FIRST_PAUSE_S
                continue
            if waiting is None and self._is_over(job):
                return job
            self._wait()

    def _next_attempt(self, job: Job) -> Attempt | None:
        wanted = (one for one in job.attempts if self.attempt in (None, one.number))
        left = (one for one in wanted if one.number not in self._finished and one.state != "placed")
        return min(left, key=lambda one: one.number, default=None)

    def _is_over(self, job: Job) -> bool:
        if self.attempt is not None and self.attempt in self._finished:
            return True
        return job.state in TERMINAL or job.state in _WAITS_FOR_OWNER

    def _follow(self, attempt: Attempt) -> bool:
        """Print what an attempt writes; tell whether its log has ended."""
        try:
            path = self.api.within("jobs", self.job, "logs")
            access = decode(Access, self.api.get(path, attempt=attempt.number, rank=self.rank))
            with Gateway(self.api.run, access) as gateway:
                ended = self._tail(gateway, attempt)
        except (httpx.TransportError, Unreachable):
            ended = self._gives_up(attempt)
        except Problem as problem:
            if not _may_come_later(problem):
                raise
            # No log of an ended attempt: it never came to run.
            ended = (problem.status == 404 and attempt.has_ended) or self._gives_up(attempt)
        if ended:
            self._finished.add(attempt.number)
        return ended

    def _gives_up(self, attempt: Attempt) -> bool:
        """Count a failure; tell whether an ended attempt has had its share. A live one is tried for ever."""
        failures = self._failures.get(attempt.number, 0) + 1
        self._failures[attempt.number] = failures
        if not attempt.has_ended or failures < LOG_TRIES:
            return False
        self.says(f"the log of attempt {attempt.number} cannot be read now; later: nordan logs {self.job}")
        return True

    def _tail(self, gateway: Gateway, attempt: Attempt) -> bool:
        for event in gateway.tail(attempt.id, self.rank, self._last_event.get(attempt.number, "")):
            if event.kind == "end":
                return True
            if event.kind == KEEPALIVE and self._has_ended(attempt.number):
                return True  # nothing more came for a while, and the region may never learn of the end
            if event.kind in {"message", "log"}:
                sys.stdout.buffer.write(event.data + b"\n")
                sys.stdout.buffer.flush()
            if event.id:
                self._last_event[attempt.number] = event.id
        return False

    def _has_ended(self, number: int) -> bool:
        job = self._fetch()
        self._tell(job)
        return any(one.number == number and one.has_ended for one in job.attempts)

    def _fetch(self) -> Job:
        until = self.api.run.clock.monotonic() + PATIENCE_S
        is_told = False
        while True:
            try:
                return references.fetch(self.api, self.job)[1]
            except Unreachable:
                if self.api.run.clock.monotonic() >= until:
                    raise
                if not is_told:
                    self.says("the control plane does not answer; the job goes on, still trying")
                    is_told = True
                self._wait()

    def _tell(self, job: Job) -> None:
        last = job.last_attempt
        now = (job.state, job.reason, last.number if last else 0)
        if now == self._told:
            return
        self._told = now
        parts = [job.name, job.state]
        if last and job.state not in {"queued", "held"}:
            parts.append(f"attempt {last.number} in {last.region or last.pool}")
        if job.reason:
            parts.append(f"({job.reason})")
        if job.message:
            parts.append(job.message)
        self.says(" ".join(parts))

    def _wait(self) -> None:
        self.api.run.sleep(self._pause_s)
        self._pause_s = min(self._pause_s * 1.6, LONGEST_PAUSE_S)


def exit_code(job: Job) -> int:
    """Return what the shell should see of a job: its own code, 128 and the signal, or 1."""
    if job.state == "succeeded":
        return 0
    last = job.last_attempt
    if job.state == "failed" and last is not None:
        if last.exit_code is not None and 0 < last.exit_code < 256:
            return last.exit_code
        if last.signal is not None and 0 < last.signal < 128:
            return 128 + last.signal
    return 1


def _may_come_later(problem: Problem) -> bool:
    """Tell whether a refused log is worth another try: not there yet, or the token ran out while it was read."""
    return problem.status in {401, 404, 409} or problem.status >= 500
