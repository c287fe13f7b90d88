"""Fences as values: what the judge said when something that is there became unlawful. Kept with it, shown to its owner.

The document form is `{at, epoch, atlas, facts, policies, refusals}`; a refusal is `{facet, want, have, message}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from nordan_core.domain.ids import AttemptId, JobId, PoolName, ProjectId, RegionCode

Document = Mapping[str, Any]  # Any: JSON


@dataclass(frozen=True, slots=True)
class LivePresence:
    """A live attempt and what it is judged by."""

    attempt: AttemptId
    job: JobId
    project: ProjectId
    pool: PoolName


@dataclass(frozen=True, slots=True)
class RestGroup:
    """Artifacts under one policy in one region, in a project: what holds for one of them holds for all."""

    policy_key: str
    """Names the policy document."""
    project: ProjectId
    region: RegionCode
    is_fenced: bool
    dataset: str | None = None
    """Id of the dataset that they are versions of: a derogation may be for one alone."""


@dataclass(frozen=True, slots=True)
class Finding:
    """That something became unlawful, with all that the judge went by."""

    at: datetime
    epoch: int
    atlas: str
    policies: tuple[str, ...]
    """Digests."""
    refusals: tuple[Mapping[str, str], ...]
    facts: tuple[str, ...] = field(default=())
    """Digests of the facts of the pools that were asked."""

    def document(self) -> dict[str, Any]:  # Any: JSON
        """Return what is kept with an attempt or a place."""
        return {
            "at": self.at.isoformat(),
            "epoch": self.epoch,
            "atlas": self.atlas,
            "policies": list(self.policies),
            "facts": list(self.facts),
            "refusals": [dict(one) for one in self.refusals],
        }

    def body(self) -> dict[str, object]:
        """Return what the log keeps of it: digests and names of facets, no sentences."""
        facets = [one["facet"] for one in self.refusals]
        return {
            "epoch": self.epoch,
            "atlas": self.atlas,
            "policies": list(self.policies),
            "facts": list(self.facts),
            "facets": list(dict.fromkeys(facets)),
        }

    @property
    def message(self) -> str:
        """Return the refusals as a person reads them, each with its facet."""
        return fence_sentence(self.document())


def fence_sentence(document: Document) -> str:
    """Return the sentence of a fence as stored: every facet with what is wrong."""
    return "; ".join(f"{one['facet']}: {one['message']}" for one in document["refusals"])
