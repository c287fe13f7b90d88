"""Judge an attempt again, but only when the epoch moved or what was said has an end: otherwise the old word stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nordan_api.context import Context
from nordan_api.derogating import Derogating, held_by
from nordan_api.jobs.policy import policies_of
from nordan_core.domain.attempts import Attempt
from nordan_core.domain.ids import ProjectId
from nordan_core.domain.jobs import Job
from nordan_core.domain.tenants import Project
from nordan_core.residency.derogations import Covering
from nordan_core.residency.facts import facts_document
from nordan_core.residency.judge import judge_control_plane
from nordan_core.residency.layers import Effective
from nordan_core.residency.verdicts import Verdict, together
from nordan_core.residency.widening import derogated, rescued
from nordan_core.store.unit_of_work import UnitOfWork

Json = dict[str, Any]  # Any: JSON
#: Where a word on an attempt may stand, newest first.
_STAGES = ("renew", "redeem", "apply")


@dataclass(frozen=True, slots=True)
class Judged:
    """What is said of an attempt on its pool at one epoch; `document` is what is kept with the attempt."""

    allowed: bool
    message: str
    epoch: int
    document: Json
    is_fresh: bool
    """It was judged now; False when an earlier word at the same epoch still holds."""


class Judge:
    """The judge of one transaction; making it takes the first lock: the epoch stands still until the commit."""

    def __init__(self, context: Context, work: UnitOfWork) -> None:
        self._context = context
        self._work = work
        self._epoch = work.epoch.share()
        # Asked after the wait for the lock, which a change of the world may have made long.
        self.now = context.clock.now()
        self._projects: dict[ProjectId, Project | None] = {}
        self._derogations = Derogating(work, context.atlas, self.now)
        self.facts_used: dict[str, Json] = {}
        """Facts judged by, by digest: whoever acts on the word sees that they are in the log."""

    def holds(self, earlier: Mapping[str, Any]) -> bool:
        """Tell whether an earlier word on an attempt still stands."""
        return any(self._still_holds(earlier[stage]) for stage in _STAGES if stage in earlier)

    def attempt(self, job: Job, pool: str, earlier: Mapping[str, Any]) -> Judged:
        """Say whether an attempt of a job may run on a pool now; the caller keeps the word with the attempt.

        Raises:
            Unavailable: it needs a derogation that another act is using just now.
        """
        return self._attempt(job, pool, earlier, may_take=True)

    def _attempt(self, job: Job, pool: str, earlier: Mapping[str, Any], *, may_take: bool) -> Judged:
        for stage in _STAGES:
            said = earlier.get(stage)
            if said is not None and self._still_holds(said):
                document = {**said, "at": self.now.isoformat()}
                return Judged(True, "", self._epoch, document, is_fresh=False)
        return self._judge(job, pool, earlier, may_take=may_take)

    def locked(self, attempt: Attempt) -> Judged:
        """Say whether an attempt may still keep what it makes where it runs; it takes up no derogation for that."""
        job = self._work.jobs.region_jobs([attempt.job])[attempt.job]
        return self._attempt(job, attempt.pool, attempt.verdicts, may_take=False)

    def _still_holds(self, said: Mapping[str, Any]) -> bool:
        end = said.get("good_until")
        in_time = end is None or datetime.fromisoformat(end) > self.now
        # An atlas comes with a release and moves no epoch.
        is_same_law = (said.get("epoch"), said.get("atlas")) == (self._epoch, self._context.atlas.digest)
        return bool(said.get("allowed")) and is_same_law and in_time

    def _judge(self, job: Job, pool: str, earlier: Mapping[str, Any], *, may_take: bool) -> Judged:
        facts = self._context.facts_cache.within(self._work, self._epoch)
        place = facts.place(pool)
        if place is None:
            return Judged(False, f"pool {pool} is not registered any more", self._epoch, {}, is_fresh=True)

        def ask(policies: tuple[Effective, ...]) -> Verdict:
            return together(
                verdict
                for of in policies
                for verdict in (
                    facts.mask(of, self.now).verdicts[place],
                    judge_control_plane(of, facts.control_plane, facts.atlas, self.now),
                )
            )

        policies = policies_of(job, self._project(job.project), facts.atlas)
        held = held_by(earlier)
        verdict, used = rescued(policies, lambda: self._derogations.covering(job, held, may_take=may_take), ask)
        self._derogations.take(used, held)
        self.facts_used[facts.pools[place].digest] = facts_document(facts.pools[place])
        message = "; ".join(dict.fromkeys(one.message for one in verdict.refusals))
        said = {
            **_derogated(policies, used),
            "allowed": verdict.allowed,
            "epoch": self._epoch,
            "facts_version": facts.pools[place].facts_version,
            "facts": facts.pools[place].digest,
            "atlas": facts.atlas.digest,
            "good_until": verdict.good_until.isoformat() if verdict.good_until else None,
            "at": self.now.isoformat(),
        }
        return Judged(verdict.allowed, message, self._epoch, said, is_fresh=True)

    def _project(self, project: ProjectId) -> Project | None:
        if project not in self._projects:
            self._projects[project] = self._work.tenants.project(None, project)
        return self._projects[project]


def policy_of(said: Mapping[str, Any], job: Job) -> str:
    """Return the digest of the policy that a word on an attempt rests on: the job's own, unless it took derogations."""
    return str(said.get("policy") or job.effective["digest"])


def _derogated(policies: Sequence[Effective], used: Sequence[Covering]) -> Json:
    if not used:
        return {}
    return {
        "policy": derogated(policies[0], used).digest,
        "derogations": [one.derogation.id for one in used],
    }
