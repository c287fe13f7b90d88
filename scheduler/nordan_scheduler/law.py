"""Asks the judge for each policy in the queue and puts its word into the form that the engine plans with.

The cycle and the port each own one. Policies are parsed once per digest; masks are kept by the facts book, so a plan
over a thousand jobs of one policy costs one look-up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import reduce
from typing import Any

import structlog

from nordan_core.domain.ids import PoolName, ProjectId
from nordan_core.domain.queueing import Derogated, QueuedJob, Residency
from nordan_core.domain.tenants import Project
from nordan_core.facts import FactsBook
from nordan_core.residency.canonical import digest_of
from nordan_core.residency.derogations import Covering, fewer
from nordan_core.residency.effective_text import judged_document, parse_effective
from nordan_core.residency.errors import PolicyError
from nordan_core.residency.floors import standing
from nordan_core.residency.layers import Effective, covering_documents
from nordan_core.residency.masks import Mask
from nordan_core.residency.places import Atlas
from nordan_core.residency.widening import derogated
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
        self._floors: dict[tuple[str, ProjectId], str] = {}
        self._coverings: dict[str, Covering] = {}
        self._wording = Wording()

    def unknown(self, digests: Iterable[str]) -> set[str]:
        """Return the digests whose documents it has not seen, or has let go of to stay small."""
        if len(self._policies) > KEPT:
            self._policies.clear()
            self._said.clear()
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
        covered = [self._coverings[key] for key in job.derogations if key in self._coverings]
        if not policies or not covered:
            return said
        # 1. What all of them let through: where a few do, no more are used.
        most = self._derogated(policies, covered, book, now)
        for some in fewer(covered):
            if most[0].allowed <= said.allowed:
                break
            said = _rescued(said, *self._derogated(policies, some, book, now))
        # 2. What only all of them let through, and when that may change.
        return _rescued(said, *most)

    def _derogated(
        self, policies: tuple[Effective, ...], some: Sequence[Covering], book: FactsBook, now: datetime
    ) -> tuple[Residency, Derogated]:
        """Return the judge's word with derogations, and what an attempt that rests on it is to say."""
        widened = [derogated(of, some) for of in policies]
        more = reduce(_both, (self._wording.residency(of, book, now) for of in widened))
        self._policies.update((of.digest, of) for of in widened)
        ids, digests = (tuple(one.derogation.id for one in some), tuple(of.digest for of in widened))
        return more, Derogated(widened[0].digest, ids, digests)

    def _plain(self, job: QueuedJob, policies: tuple[Effective, ...], book: FactsBook, now: datetime) -> Residency:
        if not policies:
            return Residency(frozenset(), epoch=book.epoch, atlas=book.atlas.digest)
        masks = tuple(book.mask(of, now) for of in policies)
        kept = self._said.get(job.policies_key)
        if kept is None or not _are_same(kept[0], masks) or not _holds(kept[1], book, now):
            kept = (masks, reduce(_both, (self._wording.residency(of, book, now) for of in policies)))
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


def _both(one: Residency, other: Residency) -> Residency:
    """Return what two policies allow together, said at one epoch."""
    ends = [end for end in (one.good_until, other.good_until) if end is not None]
    pools = {*one.refusals, *other.refusals}
    refusals = {
        pool: tuple(dict.fromkeys((*one.refusals.get(pool, ()), *other.refusals.get(pool, ())))) for pool in pools
    }
    return replace(
        one,
        allowed=one.allowed & other.allowed,
        refusals=refusals,
        is_exclusive=one.is_exclusive or other.is_exclusive,
        is_sensitive=one.is_sensitive or other.is_sensitive,
        policies=(*one.policies, *other.policies),
        good_until=min(ends, default=None),
    )


def _rescued(plain: Residency, more: Residency, by: Derogated) -> Residency:
    """Return what is lawful without and with derogations; each pool by as few of them as will do."""
    new = more.allowed - plain.allowed
    ends = [end for end in (plain.good_until, more.good_until) if end is not None]
    return replace(
        plain,
        allowed=plain.allowed | new,
        refusals={pool: refused for pool, refused in plain.refusals.items() if pool not in new},
        derogated={**plain.derogated, **dict.fromkeys(new, by)},
        good_until=min(ends, default=None),
    )


def _holds(said: Residency, book: FactsBook, now: datetime) -> bool:
    return said.epoch == book.epoch and (said.good_until is None or now < said.good_until)
