"""Where bytes may rest, by the facts at hand: asked before an upload or a copy, at its commit, and before each read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from nordan_core.domain.errors import NotFound, Refused
from nordan_core.domain.places import Region
from nordan_core.domain.reasons import Reason
from nordan_core.facts import FactsBook
from nordan_core.residency.judge import judge_storage
from nordan_core.residency.layers import Effective
from nordan_core.residency.verdicts import FacetRefusal


def why_not_at_rest(facts: FactsBook, of: Effective, region: str, now: datetime) -> tuple[FacetRefusal, ...] | None:
    """Return why bytes under a policy may not rest in a region; None when the facts of one of its pools allow it."""
    pools = [pool for pool in facts.pools if pool.region == region]
    if not pools:
        return (FacetRefusal("facts", "facts about the region", "none", f"region {region} has no pool to judge by"),)
    verdicts = [judge_storage(of, pool, facts.atlas, now) for pool in pools]
    return None if any(verdict.allowed for verdict in verdicts) else verdicts[0].refusals


def where_lawful(facts: FactsBook, of: Effective, holding: Sequence[Region], now: datetime) -> Region:
    """Return a region among those that hold the bytes where they may still rest; one that has joined comes first.

    Raises:
        NotFound: no region holds them. Refused: all places became unlawful.
    """
    if not holding:
        raise NotFound("region that holds", "the artifact's bytes")
    refusals = {one.code: why_not_at_rest(facts, of, one.code, now) for one in holding}
    lawful = [one for one in holding if refusals[one.code] is None]
    if not lawful:
        message = "; ".join(sentence(code, found or ()) for code, found in refusals.items())
        raise Refused(Reason.FENCED, message)
    return next((one for one in lawful if one.gateway_url), lawful[0])


def sentence(region: str, refusals: Sequence[FacetRefusal]) -> str:
    """Return the refusals as a person reads them."""
    return f"the data may not rest in {region}: " + "; ".join(one.message for one in refusals)


def documents(refusals: Sequence[FacetRefusal]) -> list[dict[str, str]]:
    """Return the refusals as JSON values."""
    return [{"facet": one.facet, "want": one.want, "have": one.have} for one in refusals]
