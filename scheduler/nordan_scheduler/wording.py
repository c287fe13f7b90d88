"""Puts what the judge says about one policy into the engine's form, sharing between policies what they have in common.

Ten thousand policies over a thousand pools are ten million answers. Kept apart they would fill gigabytes; but most
policies let through a set of pools that another lets through too, and why a pool is not taken is only asked of the
pools that a plan comes to. Used by `law`, which owns one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from nordan_core.domain.ids import PoolName
from nordan_core.domain.queueing import Residency
from nordan_core.domain.reasons import Reason
from nordan_core.domain.refusals import Refusal
from nordan_core.facts import FactsBook
from nordan_core.residency.judge import judge_control_plane
from nordan_core.residency.layers import Effective
from nordan_core.residency.levels import DataClass, Tenancy
from nordan_core.residency.masks import Mask, Shortfall
from nordan_core.residency.verdicts import Verdict

#: Distinct sets of pools, and words about the control plane, that are kept.
KEPT = 16_384


class Wording:
    """Residencies of single policies, at the newest book that it was asked about."""

    def __init__(self) -> None:
        self._book: FactsBook | None = None
        self._facts: Mapping[PoolName, str] = {}
        self._sets: dict[int, frozenset[PoolName]] = {}
        self._refusals: dict[Shortfall, Refusal] = {}
        self._described: dict[object, tuple[datetime, Verdict]] = {}

    def residency(self, effective: Effective, book: FactsBook, now: datetime) -> Residency:
        """Return the judge's word on one policy at an instant."""
        self._turn_to(book)
        mask = book.mask(effective, now)
        described = self._describe(effective, book, now)
        allowed = self._pools(mask.bits, book)
        refusals: Mapping[PoolName, tuple[Refusal, ...]] = _Refusals(mask, book, self._refusals)
        if not described.allowed:
            # What may not even be described here may run nowhere from here.
            code = Reason.CONTROL_PLANE_OUTSIDE_DESCRIBE
            outside = tuple(Refusal(code, facet=one.facet, want=one.want, have=one.have) for one in described.refusals)
            allowed, refusals = frozenset(), dict.fromkeys(self._facts, outside)
        return Residency(
            allowed=allowed,
            refusals=refusals,
            # A pool keeps no record of who is on which node, so "nobody else on the node" gets the whole pool.
            is_exclusive=(effective.policy.tenancy or Tenancy.SHARED) >= Tenancy.DEDICATED,
            is_sensitive=effective.class_ >= DataClass.CONFIDENTIAL,
            good_until=min((end for end in (mask.good_until, described.good_until) if end is not None), default=None),
            epoch=book.epoch,
            atlas=book.atlas.digest,
            facts=self._facts,
            policies=(effective.digest,),
            control_plane=book.control_plane_digest,
        )

    def _turn_to(self, book: FactsBook) -> None:
        before, self._book = self._book, book
        if before is book:
            return
        if before is None or before.pools != book.pools:
            self._facts = {PoolName(facts.pool): facts.digest for facts in book.pools}
            self._sets.clear()
            self._refusals.clear()
        if before is None or (before.control_plane_digest, before.atlas) != (book.control_plane_digest, book.atlas):
            self._described.clear()

    def _pools(self, bits: int, book: FactsBook) -> frozenset[PoolName]:
        found = self._sets.get(bits)
        if found is None:
            if len(self._sets) >= KEPT:
                self._sets.clear()
            found = frozenset(PoolName(facts.pool) for place, facts in enumerate(book.pools) if bits >> place & 1)
            self._sets[bits] = found
        return found

    def _describe(self, effective: Effective, book: FactsBook, now: datetime) -> Verdict:
        policy = effective.policy
        # All that the judge looks at here; derogations look at the layers too.
        key = (
            *(policy.describe, policy.forbid_exposure, policy.valid_until),
            *("describe" in effective.missing, effective.digest if effective.derogations else ""),
        )
        at, kept = self._described.get(key, (now, None))
        if kept is None or now < at or (kept.good_until is not None and now >= kept.good_until):
            if len(self._described) >= KEPT:
                self._described.clear()
            at, kept = now, judge_control_plane(effective, book.control_plane, book.atlas, now)
            self._described[key] = at, kept
        return kept


class _Refusals(Mapping[PoolName, tuple[Refusal, ...]]):
    """Why pools are not let through, put together for each pool that is asked about."""

    __slots__ = ("_book", "_known", "_mask")

    def __init__(self, mask: Mask, book: FactsBook, known: dict[Shortfall, Refusal]) -> None:
        self._mask = mask
        self._book = book
        self._known = known

    def __getitem__(self, pool: PoolName) -> tuple[Refusal, ...]:
        place = self._book.place(pool)
        if place is None or self._mask.allows(place):
            raise KeyError(pool)
        return tuple(self._refusal(one) for one in self._mask.shortfalls(place))

    def __iter__(self) -> Iterator[PoolName]:
        return (PoolName(facts.pool) for place, facts in enumerate(self._book.pools) if not self._mask.allows(place))

    def __len__(self) -> int:
        return len(self._book.pools) - self._mask.bits.bit_count()

    def _refusal(self, short: Shortfall) -> Refusal:
        found = self._known.get(short)
        if found is None:
            found = Refusal(Reason.RESIDENCY_UNSATISFIABLE, facet=short.facet, want=short.want, have=short.have)
            self._known[short] = found
        return found
