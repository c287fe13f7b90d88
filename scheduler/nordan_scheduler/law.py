"""Asks the judge for each policy in the queue and puts its word into the form that the engine plans with.

The cycle and the port each own one. Policies are parsed once per digest; masks are kept by the facts book, so a plan
over a thousand jobs of one policy costs one look-up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import reduce
from typing import Any

import structlog

from nordan_core.domain.ids import PoolName, ProjectId
from nordan_core.domain.queueing import QueuedJob, Residency
from nordan_core.domain.tenants import Project
from nordan_core.facts import FactsBook
from nordan_core.residency.canonical import digest_of
from nordan_core.residency.derogations import Covering
from nordan_core.residency.effective_text import judged_document, parse_effective
from nordan_core.residency.errors import PolicyError
from nordan_core.residency.floors import standing
from nordan_core.residency.layers import Effective, covering_documents
from nordan_core.residency.masks import Mask
from nordan_core.residency.places import Atlas
from nordan_scheduler.trial import Trial, both
from nordan_scheduler.wording import Wording

_log = structlog.get_logger()
#: Policies kept beyond those of the present queue.
KEPT = 16_384
#: Stands for a floor that this version cannot read; it allows nothing.
UNREADABLE = "unreadable"


class Law:
    """The policies of the queue, parsed, and what the judge says about them."""

    def __init__(self, atlas: Atlas) -> None:
        self.atlas = atlas
        self._policies: dict[str, Effective | None] = {}
        self._said: dict[str, tuple[tuple[Mask, ...], Residency]] = {}
        self._helped: dict[str, tuple[Residency, Residency]] = {}
        self._floors: dict[tuple[str, ProjectId], str] = {}
        self._coverings: dict[str, Covering] = {}
        self._wording = Wording()

    def unknown(self, digests: Iterable[str]) -> set[str]:
        """Return the digests whose documents it has not seen, or has let go of to stay small."""
        if len(self._policies) > KEPT:
            self._policies.clear()
            self._said.clear()
            # With the policies under derogations that its answers name.
            self._helped.clear()
            self._floors.clear()
        return {digest for digest in digests if digest not in self._policies}

    def learn(self, documents: Mapping[str, Mapping[str, Any]]) -> None:  # Any: JSON
        """Take effective policy documents by digest; one that this version cannot read allows nothing."""
        for digest, document in documents.items():
            self._policies[digest] = self._parse(digest, document)

    def asked(self, document: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:  # Any: JSON
        """Take the policy of a job that nobody submitted yet, with all that covers it.

        Returns the digest under which it is known here without derogations, and their keys.
        """
        digest = str(document["digest"])
        of = self._parse(digest, document)
        plain = of and replace(of, derogations=())
        digest = digest if plain is None else plain.digest
        if self.unknown([digest]):
            self._policies[digest] = plain
        return digest, self.cover(of.derogations) if of is not None else ()

    def documents(self, digests: Iterable[str]) -> dict[str, Mapping[str, object]]:
        """Return learned policies as the log keeps them, by digest."""
        found = {digest: self._policies.get(digest) for digest in digests}
        return {digest: judged_document(of) for digest, of in found.items() if of is not None}

    def floors_moved(self) -> None:
        """Forget what it knew of floors: one may have changed."""
        self._floors.clear()

    def floors_digest(self, digest: str, project: Project | None) -> str:
        """Return the digest of today's policy of a learned one where a floor has changed since, else nothing."""
        accepted = self._policies.get(digest)
        if accepted is None or project is None:
            return ""
        if (digest, project.id) not in self._floors:
            self._floors[digest, project.id] = self._today(accepted, project)
        return self._floors[digest, project.id]

    def cover(self, covered: Iterable[Covering]) -> tuple[str, ...]:
        """Take derogations with what they cover of a job, and return the keys under which they are known here."""
        if len(self._coverings) > KEPT:
            self._coverings.clear()
        by_key = {digest_of(covering_documents([one])): one for one in covered}
        self._coverings.update(by_key)
        return tuple(by_key)

    def residency(self, job: QueuedJob, book: FactsBook, now: datetime) -> Residency:
        """Return the judge's word on a job's learned policies at an instant, its derogations counted in."""
        policies = self._policies_of(job)
        said = self._plain(job, policies, book, now)
        covered = {key: self._coverings[key] for key in job.derogations if key in self._coverings}
        if not policies or not covered:
            return said
        name = "/".join((job.policies_key, *covered))
        kept = self._helped.get(name)
        # The word without them is one object for as long as it holds.
        if kept is None or kept[0] is not said or not _holds(kept[1], book, now):
            if len(self._helped) >= KEPT:
                self._helped.clear()
            kept = said, self._rescued(said, Trial(policies, tuple(covered.values()), self._wording, book, now))
            self._helped[name] = kept
        return kept[1]

    def _rescued(self, plain: Residency, trial: Trial) -> Residency:
        """Return what is lawful without and with derogations; each pool by as few of them as will do."""
        by_pool = trial.fewest(plain.allowed)
        if not by_pool:
            return replace(plain, good_until=trial.sooner(plain.good_until))
        derogated = {pool: trial.used(some) for pool, some in by_pool.items()}
        for some in {derogated[pool].ids: some for pool, some in by_pool.items()}.values():
            self._policies.update((of.digest, of) for of in trial.widened(some))
        return replace(
            plain,
            allowed=plain.allowed | by_pool.keys(),
            refusals={pool: why for pool, why in plain.refusals.items() if pool not in by_pool},
            derogated=derogated,
            good_until=trial.sooner(plain.good_until),
        )

    def _plain(self, job: QueuedJob, policies: tuple[Effective, ...], book: FactsBook, now: datetime) -> Residency:
        if not policies:
            return Residency(frozenset(), epoch=book.epoch, atlas=book.atlas.digest)
        masks = tuple(book.mask(of, now) for of in policies)
        kept = self._said.get(job.policies_key)
        if kept is None or not _are_same(kept[0], masks) or not _holds(kept[1], book, now):
            kept = (masks, reduce(both, (self._wording.residency(of, book, now) for of in policies)))
            self._said[job.policies_key] = kept
        return kept[1]

    def sentences(self, job: QueuedJob, book: FactsBook, now: datetime) -> dict[tuple[PoolName, str], str]:
        """Return the judge's own sentence for each pool and facet that it refuses."""
        return {
            (PoolName(facts.pool), one.facet): one.message
            for of in self._policies_of(job)
            for facts, verdict in zip(book.pools, book.mask(of, now).verdicts, strict=True)
            for one in verdict.refusals
        }

    def _today(self, accepted: Effective, project: Project) -> str:
        try:
            _, *today = standing(accepted, project, self.atlas)
        except PolicyError:
            _log.warning("floor_unreadable", project=project.id)
            return UNREADABLE
        for one in today:
            self._policies[one.digest] = one
        return today[0].digest if today else ""

    def _policies_of(self, job: QueuedJob) -> tuple[Effective, ...]:
        """Return all that must allow; nothing where one of them cannot be read, so that nothing is allowed."""
        digests = (job.policy_digest, job.floors_digest) if job.floors_digest else (job.policy_digest,)
        found = [self._policies.get(digest) for digest in digests]
        return tuple(one for one in found if one is not None) if all(found) else ()

    def _parse(self, digest: str, document: Mapping[str, Any]) -> Effective | None:  # Any: JSON
        try:
            return parse_effective(document, self.atlas)
        except PolicyError:
            _log.warning("policy_unreadable", policy=digest)
            return None


def _are_same(before: tuple[Mask, ...], after: tuple[Mask, ...]) -> bool:
    return len(before) == len(after) and all(one is other for one, other in zip(before, after, strict=True))


def _holds(said: Residency, book: FactsBook, now: datetime) -> bool:
    return said.epoch == book.epoch and (said.good_until is None or now < said.good_until)
