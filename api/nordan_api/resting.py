"""Where bytes may rest, by the facts at hand: asked before an upload or a copy, at its commit, and before each read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from nordan_core.domain.artifacts import Artifact
from nordan_core.domain.errors import NotFound, Refused
from nordan_core.domain.fences import fence_sentence
from nordan_core.domain.places import Region
from nordan_core.domain.reasons import Reason
from nordan_core.facts import FactsBook
from nordan_core.residency.layers import Effective
from nordan_core.residency.presence import may_rest
from nordan_core.residency.verdicts import FacetRefusal, Verdict
from nordan_core.store.unit_of_work import UnitOfWork


def rest(facts: FactsBook, policies: Sequence[Effective], region: str, now: datetime) -> Verdict:
    """Return whether bytes may rest in a region under policies, by the facts of its pools."""
    return may_rest(policies, [pool for pool in facts.pools if pool.region == region], facts.atlas, now)


def why_not_at_rest(facts: FactsBook, of: Effective, region: str, now: datetime) -> tuple[FacetRefusal, ...] | None:
    """Return why bytes under a policy may not rest in a region; None when the facts of one of its pools allow it."""
    verdict = rest(facts, (of,), region, now)
    return None if verdict.allowed else verdict.refusals


def readable_regions(work: UnitOfWork, artifact: Artifact) -> list[Region]:
    """Return the regions where an artifact's bytes lie and may be read.

    Raises:
        Refused: they lie where they may not any more; with what the judge said.
    """
    holding = [region for code in artifact.readable if (region := work.places.region(code)) is not None]
    if not holding and artifact.regions:
        raise Refused(Reason.FENCED, _fenced(artifact), {"fences": fences_document(artifact)})
    return holding


def fences_document(artifact: Artifact) -> list[dict[str, object]]:
    """Return what the judge said about each place of an artifact that is fenced."""
    return [
        {"region": region, "at": said.get("at"), "refusals": said.get("refusals", [])}
        for region, said in artifact.fences.items()
    ]


def _fenced(artifact: Artifact) -> str:
    why = [f"{region}: {fence_sentence(said)}" for region, said in artifact.fences.items() if said]
    said = f" ({'; '.join(why)})" if why else ""
    return f"artifact {artifact.id} is fenced: no place where its bytes lie is lawful any more{said}"


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
