"""Judge an attempt again, but only when the epoch moved or what was said has an end: otherwise the old word stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nordan_api.context import Context
from nordan_api.derogating import Derogating, DerogationInUse
from nordan_api.evidence import Evidence
from nordan_core.domain.attempts import Attempt, held_by
from nordan_core.domain.fences import Finding
from nordan_core.domain.ids import AttemptId, JobId, ProjectId
from nordan_core.domain.jobs import Job
from nordan_core.domain.tenants import Project
from nordan_core.facts import FactsBook
from nordan_core.policies import PolicyShelf, Standing
from nordan_core.proof.judgement import Question
from nordan_core.residency.derogations import Covering, fewest
from nordan_core.residency.effective_text import judged_document
from nordan_core.residency.facts import PoolFacts, control_plane_document, facts_document
from nordan_core.residency.judge import judge_control_plane
from nordan_core.residency.levels import DataClass
from nordan_core.residency.places import Atlas
from nordan_core.residency.presence import may_run
from nordan_core.residency.verdicts import Verdict
from nordan_core.residency.widening import derogated
from nordan_core.store.attempts import LiveAttempt
from nordan_core.store.placing import GRANT_TTL_SENSITIVE_S
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
    atlas: Atlas
    """The one in force, to read policies with."""
    is_fresh: bool
    """It was judged now; False when an earlier word at the same epoch still holds."""
    finding: Finding | None = None
    """What is kept with an attempt that is fenced; None where it is allowed."""

    @property
    def fence(self) -> Json | None:
        """Return the finding as it is stored."""
        return None if self.finding is None else self.finding.document()


@dataclass(frozen=True, slots=True)
class _Question:
    """May an attempt of this policy, in this project, be in this pool: equal for many."""

    policy_key: str
    project: ProjectId
    pool: str


class Judge:
    """The judge of one transaction; making it takes the first lock: the epoch stands still until the commit."""

    def __init__(self, context: Context, work: UnitOfWork) -> None:
        self._context = context
        self._work = work
        self._epoch = work.epoch.share()
        # Asked after the wait for the lock, which a change of the world may have made long.
        self.now = context.clock.now()
        self._projects: dict[ProjectId, Project | None] = {}
        self.atlas = context.facts_cache.atlas(work, self._epoch)
        self.derogations = Derogating(work, self.atlas, self.now)
        self._keys: dict[JobId, str] = {}
        self._said: dict[_Question, Judged] = {}
        self._used_facts: dict[str, Json] = {}
        self._used_policies: dict[str, Json] = {}

    def record(self) -> None:
        """See that what was judged by is in the log: whoever acts on a word calls this before the commit."""
        self._work.scheduling.record_facts(self._used_facts, self.now)
        self._work.scheduling.record_policies(self._used_policies, self.now)

    def evidence(self) -> Evidence:
        """Return what writes down other judgements of this transaction."""
        return Evidence(self.book(), self.now)

    def standing(self, earlier: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return the newest of the earlier words on an attempt that still stand; None when it has to be judged."""
        words = (earlier[stage] for stage in _STAGES if stage in earlier)
        return next((said for said in words if self._still_holds(said)), None)

    def attempt(self, job: Job, pool: str, earlier: Mapping[str, Any]) -> Judged:
        """Say whether an attempt of a job may run on a pool now; the caller keeps the word with the attempt.

        Raises:
            DerogationInUse: it needs a derogation that another act is using just now.
        """
        return self._attempt(job, pool, earlier, may_take=True)

    def locked(self, attempt: Attempt) -> Judged:
        """Say whether an attempt may still keep what it makes where it runs; it takes up no derogation for that."""
        job = self._work.jobs.region_jobs([attempt.job])[attempt.job]
        return self._attempt(job, attempt.pool, attempt.verdicts, may_take=False)

    def again(self, live: Sequence[LiveAttempt]) -> dict[AttemptId, Judged]:
        """Say of each whose last word does not stand any more whether it may go on: once for equal questions.

        Nothing is said of one that needs a derogation which another act is using just now: it is asked about again with
        its region's next word, and nobody else waits for that.
        """
        stale = [one for one in live if self.standing(one.verdicts) is None]
        self._learn([one.job for one in stale])
        said = {}
        for one in stale:
            question = _Question(self._keys[one.job], one.project, one.pool)
            with suppress(DerogationInUse):
                said[one.id] = self._word(question, one.job, one.verdicts, may_take=True)
        return said

    def _attempt(self, job: Job, pool: str, earlier: Mapping[str, Any], *, may_take: bool) -> Judged:
        if (said := self.standing(earlier)) is not None:
            # The grant that a redemption was answered with is kept beside the word; it is no part of it.
            document = {**said, "at": self.now.isoformat()}
            document.pop("grant", None)
            return Judged(True, "", self._epoch, document, self.atlas, is_fresh=False)
        self._learn([job.id])
        question = _Question(self._keys[job.id], job.project, pool)
        return self._word(question, job.id, earlier, may_take=may_take)

    def _still_holds(self, said: Mapping[str, Any]) -> bool:
        end = said.get("good_until")
        in_time = end is None or datetime.fromisoformat(end) > self.now
        # The epoch alone does not tell what an older version judged by, which took its atlas from its release.
        is_same_law = (said.get("epoch"), said.get("atlas")) == (self._epoch, self.atlas.digest)
        # What an older version said does not tell by which policies, and a new word does.
        return bool(said.get("allowed")) and is_same_law and in_time and "policies" in said

    def _learn(self, jobs: Sequence[JobId]) -> None:
        """Know the policies of jobs; those that this process has seen are not read again."""
        keys = self._work.fencing.job_keys([one for one in jobs if one not in self._keys])
        shelf = self.shelf()
        shelf.make_room(len(keys))
        unknown = set(shelf.unknown_jobs(keys.values()))
        if unknown:
            by_key = {key: job for job, key in keys.items() if key in unknown}
            shelf.learn_jobs(self._work.fencing.job_policies(list(by_key.values())))
        self._keys |= keys

    def _word(self, question: _Question, job: JobId, earlier: Mapping[str, Any], *, may_take: bool) -> Judged:
        if question not in self._said:
            self._said[question] = self._plain(question)
        plain = self._said[question]
        return plain if plain.allowed else self._rescued(plain, question, job, earlier, may_take=may_take)

    def _plain(self, question: _Question) -> Judged:
        """Return the word on all attempts of which the same is asked, without derogations."""
        found, policies = self._facts(question), self._policies(question)
        return self._judged(policies, found, self._verdict(policies, found), {})

    def _rescued(
        self, plain: Judged, question: _Question, job: JobId, earlier: Mapping[str, Any], *, may_take: bool
    ) -> Judged:
        """Return the word with the derogations that cover this very attempt where they are enough, else the plain."""
        held = held_by(earlier)
        covered = self.derogations.covering(question.project, job, held, may_take=may_take)
        found, policies = self._facts(question), self._policies(question)
        if not policies:
            return plain

        def word(some: Sequence[Covering]) -> tuple[Standing, Verdict]:
            widened = tuple(derogated(of, some) for of in policies)
            return widened, self._verdict(widened, found)

        some = fewest(covered, lambda some: word(some)[1].allowed)
        if not some:
            return plain
        self.derogations.take(some, held)
        widened, verdict = word(some)
        used = {"policy": widened[0].digest, "derogations": [one.derogation.id for one in some]}
        return self._judged(widened, found, verdict, used)

    def _verdict(self, policies: Standing, found: PoolFacts | None) -> Verdict:
        facts = self.book()
        return may_run(policies, found, facts.control_plane, facts.atlas, self.now)

    def _judged(self, policies: Standing, found: PoolFacts | None, verdict: Verdict, used: Json) -> Judged:
        if found is None or not verdict.allowed:
            finding = Finding(
                at=self.now,
                epoch=self._epoch,
                atlas=self.atlas.digest,
                policies=tuple(of.digest for of in policies),
                refusals=tuple(one.document() for one in verdict.refusals),
                facts=() if found is None else (found.digest,),
            )
            denied = {} if found is None or not policies else {**self._made_of(policies, found), "allowed": False}
            return Judged(False, finding.message, self._epoch, denied, self.atlas, is_fresh=True, finding=finding)
        said = {
            **used,
            **self._made_of(policies, found),
            "allowed": True,
            "epoch": self._epoch,
            "facts_version": found.facts_version,
            "good_until": verdict.good_until.isoformat() if verdict.good_until else None,
            **({"is_sensitive": True} if any(of.class_ >= DataClass.CONFIDENTIAL for of in policies) else {}),
        }
        return Judged(True, "", self._epoch, said, self.atlas, is_fresh=True)

    def _made_of(self, policies: Standing, pool: PoolFacts) -> Json:
        """Return what a word was made of, by digest, and keep the documents for the log: those that it may hold."""
        book = self.book()
        told = [of for of in policies if judge_control_plane(of, book.control_plane, book.atlas, self.now).allowed]
        self._used_policies |= {of.digest: judged_document(of) for of in told}
        self._used_facts[pool.digest] = facts_document(pool)
        self._used_facts[book.control_plane_digest] = control_plane_document(book.control_plane)
        return {
            "question": Question.RUN.value,
            "policies": [of.digest for of in policies],
            "control_plane": book.control_plane_digest,
            "facts": pool.digest,
            "atlas": book.atlas.digest,
            "at": self.now.isoformat(),
            **({"withheld": True} if len(told) < len(policies) else {}),
        }

    def book(self) -> FactsBook:
        """Return the facts of the epoch that stands still."""
        return self._context.facts_cache.within(self._work, self._epoch)

    def shelf(self) -> PolicyShelf:
        """Return parsed policies, as they read under the atlas in force."""
        return self._context.policies.under(self.atlas)

    def _facts(self, question: _Question) -> PoolFacts | None:
        return self.book().pool(question.pool)

    def _policies(self, question: _Question) -> Standing:
        return self.shelf().of_job(question.policy_key, self._project(question.project))

    def _project(self, project: ProjectId) -> Project | None:
        if project not in self._projects:
            self._projects[project] = self._work.tenants.project(None, project)
        return self._projects[project]


def policy_of(said: Mapping[str, Any], job: Job) -> str:
    """Return the digest of the policy that a word on an attempt rests on: the job's own, unless it took derogations."""
    return str(said.get("policy") or job.effective["digest"])


def life_s(ttl_s: float, said: Mapping[str, Any]) -> float:
    """Return the seconds that a grant lives on this word: a floor may have raised the class since it was issued."""
    return min(ttl_s, GRANT_TTL_SENSITIVE_S) if said.get("is_sensitive") else ttl_s
