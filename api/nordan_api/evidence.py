"""What an act was judged by, for its entry in the log: judgements by digest, and each document once.

Used wherever the api judges. Whoever judges calls one of the questions with the judge's own answer, writes what comes
back into the entry's body under `judged`, and records the documents in the same transaction or in one before it. What
this control plane may not describe is not written down here either: its judgement says so instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from nordan_api.context import Context
from nordan_core.facts import FactsBook
from nordan_core.proof.judgement import Judgement, Question
from nordan_core.residency.canonical import digest_of
from nordan_core.residency.effective_text import judged_document
from nordan_core.residency.facts import PoolFacts, control_plane_document, facts_document
from nordan_core.residency.judge import judge_control_plane
from nordan_core.residency.layers import Effective
from nordan_core.store.unit_of_work import UnitOfWork

Json = dict[str, Any]  # Any: JSON


class Evidence:
    """Collects the documents of one act's judgements, all made by one book at one instant."""

    def __init__(self, facts: FactsBook, now: datetime) -> None:
        self._book = facts
        self._now = now
        self._policies: dict[str, Json] = {}
        self._facts: dict[str, Json] = {}
        self._worlds: dict[str, Json] = {}

    def describe(self, of: Effective, *, allowed: bool) -> Json:
        """Note whether the control plane may hold a description."""
        return self._judgement(Question.DESCRIBE, (of,), allowed=allowed)

    def rest(self, of: Effective, region: str, *, allowed: bool) -> Json:
        """Note whether bytes may rest in a region."""
        pools = [pool for pool in self._book.pools if pool.region == region]
        return self._judgement(Question.REST, (of,), allowed=allowed, facts=self._used(pools))

    def anywhere(self, of: Effective, *, allowed: bool) -> Json:
        """Note whether any pool may run a job: one that may, or the whole world when none does."""
        if not allowed:
            return self._judgement(Question.PLACE, (of,), allowed=False, world=self._world())
        mask = self._book.mask(of, self._now)
        lawful = [pool for place, pool in enumerate(self._book.pools) if mask.allows(place)][:1]
        return self._judgement(Question.PLACE, (of,), allowed=True, facts=self._used(lawful))

    def read(self, policies: Iterable[Effective], territory: str | None, *, allowed: bool) -> Json:
        """Note whether somebody who sits in a territory may see the data."""
        return self._judgement(Question.READ, tuple(policies), allowed=allowed, territory=territory)

    def record(self, work: UnitOfWork, known: set[str] | None = None) -> None:
        """See that the documents are in the log; those in `known` are."""
        left = known or set()
        work.scheduling.record_policies(_without(self._policies, left), self._now)
        work.scheduling.record_facts(_without(self._facts, left), self._now)
        for digest, document in _without(self._worlds, left).items():
            work.scheduling.record_world(digest, document, self._now)

    def record_first(self, context: Context) -> None:
        """See that the documents are in the log, by a transaction of its own where one is missing; none may be open."""
        named = self._policies.keys() | self._facts.keys() | self._worlds.keys()
        if named <= context.logged:
            return
        with context.store.begin() as work:
            self.record(work, context.logged)
        context.logged.update(named)

    def _judgement(
        self,
        question: Question,
        policies: tuple[Effective, ...],
        *,
        allowed: bool,
        facts: tuple[str, ...] = (),
        world: str = "",
        territory: str | None = None,
    ) -> Json:
        open_here = [self._may_tell(of) for of in policies]
        control_plane = "" if question is Question.READ else self._book.control_plane_digest
        if control_plane:
            self._facts[control_plane] = control_plane_document(self._book.control_plane)
        return Judgement(
            question=question,
            allowed=allowed,
            at=self._now,
            atlas=self._book.atlas.digest,
            policies=tuple(of.digest for of in policies),
            control_plane=control_plane,
            facts=facts,
            world=world,
            territory=territory,
            is_withheld=not all(open_here),
        ).document()

    def _may_tell(self, of: Effective) -> bool:
        if of.digest in self._policies:
            return True
        if not judge_control_plane(of, self._book.control_plane, self._book.atlas, self._now).allowed:
            return False
        self._policies[of.digest] = judged_document(of)
        return True

    def _used(self, pools: Iterable[PoolFacts]) -> tuple[str, ...]:
        found = {pool.digest: facts_document(pool) for pool in pools}
        self._facts |= found
        return tuple(found)

    def _world(self) -> str:
        document = {"facts": sorted(self._used(self._book.pools))}
        digest = digest_of(document)
        self._worlds[digest] = document
        return digest


def _without(documents: dict[str, Json], known: set[str]) -> dict[str, Json]:
    return {digest: document for digest, document in documents.items() if digest not in known}
