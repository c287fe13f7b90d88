"""Why a job can never run: the smallest conflict, and the nearest relaxation.

Asked at submission when no registered pool is lawful. Capacity, load and price are no part of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from nordan_core.residency.conflicts import empty_facets
from nordan_core.residency.covers import smallest_cover
from nordan_core.residency.facets import EMPTY, FACETS, Policy, attribute_of
from nordan_core.residency.facts import PoolFacts
from nordan_core.residency.judge import permits
from nordan_core.residency.layers import Effective
from nordan_core.residency.places import Atlas
from nordan_core.residency.relaxations import Relaxation, nearest_relaxation

DEFAULT = "default"
"""The layer of what nobody stated: a facet that is missing, or that a default set."""


@dataclass(frozen=True, slots=True)
class ConflictPart:
    """One facet as one layer states it."""

    facet: str
    layer: str
    """As `input 'patients'`, or DEFAULT."""
    sentence: str


@dataclass(frozen=True, slots=True)
class Never:
    """Why no pool will do. Both parts may be absent: with no pools at all, or where only facts are at fault."""

    conflict: tuple[ConflictPart, ...]
    """The fewest parts that together leave no pool; without any one of them some pool would remain."""
    relaxation: Relaxation | None
    sentence: str


@dataclass(frozen=True, slots=True)
class _Part:
    part: ConflictPart
    takes_out: int
    """Bits of the pools that this part alone refuses."""


def explain_never(effective: Effective, pools: Sequence[PoolFacts], atlas: Atlas, instant: datetime) -> Never:
    """Return why none of `pools` is lawful. Call it when none is; the answer for a lawful job means nothing."""
    current = [facts for facts in pools if instant < facts.valid_until]
    if not current:
        text = "no pool is registered" if not pools else "the facts about every pool have expired"
        return Never((), None, text)
    parts = _parts(effective, current, atlas, instant)
    conflict = _smallest(parts, everything=(1 << len(current)) - 1)
    relaxation = nearest_relaxation(effective, current, atlas, instant)
    return Never(conflict, relaxation, _sentence(effective, conflict, relaxation, atlas, instant))


def _parts(effective: Effective, pools: Sequence[PoolFacts], atlas: Atlas, instant: datetime) -> list[_Part]:
    when = (atlas, instant)
    absent = [_Part(_absent(facet), (1 << len(pools)) - 1) for facet in effective.missing]
    # The meet refuses a pool exactly when one of its layers does, so the layers can be asked one by one.
    stated = [
        _part(facet, f"{layer.kind} {layer.name!r}", layer.policy, pools, when)
        for facet in FACETS
        for layer in effective.layers_stating(facet)
    ]
    is_listed = any(isinstance(layer.policy.egress, frozenset) for layer in effective.layers)
    closed = [] if is_listed else [_default_egress(_part("egress", DEFAULT, effective.policy, pools, when), effective)]
    return [part for part in (*absent, *stated, *closed) if part.takes_out]


def _part(facet: str, layer: str, policy: Policy, pools: Sequence[PoolFacts], when: tuple[Atlas, datetime]) -> _Part:
    alone = replace(EMPTY, **{attribute_of(facet): policy.facet(facet)})
    refusals = [permits(alone, facts, *when).refusals for facts in pools]
    bits = sum(1 << place for place, refused in enumerate(refusals) if refused)
    said = next((refused[0].want for refused in refusals if refused), "")
    asks = f"{facet}: {said}"
    return _Part(ConflictPart(facet, layer, asks if layer == DEFAULT else f"{layer} asks {asks}"), bits)


def _default_egress(closed: _Part, effective: Effective) -> _Part:
    # No layer said so: whoever reads it would look for the one that did.
    sentence = f"the default of class {effective.class_.word} asks {closed.part.sentence}"
    return replace(closed, part=replace(closed.part, sentence=sentence))


def _absent(facet: str) -> ConflictPart:
    sentence = f"nobody who may has stated {facet}, which is needed above class public"
    return ConflictPart(facet, DEFAULT, sentence)


def _smallest(parts: Sequence[_Part], *, everything: int) -> tuple[ConflictPart, ...]:
    cover = smallest_cover([one.takes_out for one in parts], everything)
    return () if cover is None else tuple(parts[place].part for place in cover.places)


def _sentence(
    effective: Effective,
    conflict: Sequence[ConflictPart],
    relaxation: Relaxation | None,
    atlas: Atlas,
    instant: datetime,
) -> str:
    empty = empty_facets(effective, atlas, instant)
    why = "; ".join(one.message for one in empty) or "; ".join(part.sentence for part in conflict)
    return f"no registered pool is lawful: {why}" + (f". {relaxation.sentence}" if relaxation else "")
