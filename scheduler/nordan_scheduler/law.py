"""Asks the judge for each policy in the queue and puts its word into the form that the engine plans with.

The cycle and the port each own one. Policies are parsed once per digest; masks are kept by the facts book, so a plan
over a thousand jobs of one policy costs one look-up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import structlog

from nordan_core.domain.ids import PoolName
from nordan_core.domain.queueing import Residency
from nordan_core.domain.reasons import Reason
from nordan_core.domain.refusals import Refusal
from nordan_core.facts import FactsBook
from nordan_core.residency.effective_text import parse_effective
from nordan_core.residency.errors import PolicyError
from nordan_core.residency.judge import judge_control_plane
from nordan_core.residency.layers import Effective
from nordan_core.residency.levels import Tenancy
from nordan_core.residency.masks import Mask
from nordan_core.residency.places import Atlas
from nordan_core.residency.verdicts import Verdict

_log = structlog.get_logger()
#: Policies kept beyond those of the present queue.
KEPT = 4096


class Law:
    """The policies of the queue, parsed, and what the judge says about them."""

    def __init__(self, atlas: Atlas) -> None:
        self._atlas = atlas
        self._policies: dict[str, Effective | None] = {}
        self._said: dict[str, tuple[Mask, Residency]] = {}

    def unknown(self, digests: Iterable[str]) -> set[str]:
        """Return the digests whose documents it has not seen."""
        return {digest for digest in digests if digest not in self._policies}

    def learn(self, documents: Mapping[str, Mapping[str, Any]]) -> None:  # Any: JSON
        """Take effective policy documents by digest; one that this version cannot read allows nothing."""
        if len(self._policies) > KEPT:
            self._policies.clear()
            self._said.clear()
        for digest, document in documents.items():
            self._policies[digest] = self._parse(digest, document)

    def residency(self, digest: str, book: FactsBook, now: datetime) -> Residency:
        """Return the judge's word on a learned policy at an instant."""
        effective = self._policies.get(digest)
        if effective is None:
            return Residency(frozenset(), epoch=book.epoch, atlas=book.atlas.digest)
        mask = book.mask(effective, now)
        kept = self._said.get(digest)
        if kept is None or kept[0] is not mask or not _holds(kept[1], book, now):
            kept = (mask, _residency(effective, mask, book, now))
            self._said[digest] = kept
        return kept[1]

    def sentences(self, digest: str, book: FactsBook, now: datetime) -> dict[tuple[PoolName, str], str]:
        """Return the judge's own sentence for each pool and facet that it refuses."""
        effective = self._policies.get(digest)
        if effective is None:
            return {}
        verdicts = zip(book.pools, book.mask(effective, now).verdicts, strict=True)
        return {
            (PoolName(facts.pool), one.facet): one.message for facts, verdict in verdicts for one in verdict.refusals
        }

    def _parse(self, digest: str, document: Mapping[str, Any]) -> Effective | None:  # Any: JSON
        try:
            return parse_effective(document, self._atlas)
        except PolicyError:
            _log.warning("policy_unreadable", policy=digest)
            return None


def _holds(said: Residency, book: FactsBook, now: datetime) -> bool:
    return said.epoch == book.epoch and (said.good_until is None or now < said.good_until)


def _residency(effective: Effective, mask: Mask, book: FactsBook, now: datetime) -> Residency:
    described = judge_control_plane(effective, book.control_plane, book.atlas, now)
    allowed = frozenset(PoolName(facts.pool) for place, facts in enumerate(book.pools) if mask.allows(place))
    refusals = {
        PoolName(facts.pool): _refusals(Reason.RESIDENCY_UNSATISFIABLE, verdict)
        for facts, verdict in zip(book.pools, mask.verdicts, strict=True)
        if not verdict.allowed
    }
    if not described.allowed:
        # What may not even be described here may run nowhere from here.
        outside = _refusals(Reason.CONTROL_PLANE_OUTSIDE_DESCRIBE, described)
        allowed, refusals = frozenset(), {PoolName(facts.pool): outside for facts in book.pools}
    return Residency(
        allowed=allowed,
        refusals=refusals,
        # A pool keeps no record of who is on which node, so "nobody else on the node" gets the whole pool.
        is_exclusive=(effective.policy.tenancy or Tenancy.SHARED) >= Tenancy.DEDICATED,
        good_until=min((end for end in (mask.good_until, described.good_until) if end is not None), default=None),
        epoch=book.epoch,
        atlas=book.atlas.digest,
        facts={PoolName(facts.pool): facts.digest for facts in book.pools},
    )


def _refusals(code: Reason, verdict: Verdict) -> tuple[Refusal, ...]:
    return tuple(Refusal(code, facet=one.facet, want=one.want, have=one.have) for one in verdict.refusals)
