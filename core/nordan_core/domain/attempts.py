"""Attempts as values: one try at running a job, its placement, permit and bill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from nordan_core.domain.ids import AttemptId, GrantId, JobId, PoolName, RegionCode
from nordan_core.domain.money import Cost, Price
from nordan_core.domain.reasons import Reason
from nordan_core.domain.states import AttemptResult, AttemptState


@dataclass(frozen=True, slots=True)
class RankPlacement:
    """The GPUs of one node that one rank holds; bit n of the mask is GPU n."""

    rank: int
    node: str
    gpu_mask: int

    @property
    def gpu_indices(self) -> tuple[int, ...]:
        """Return the indices of the GPUs in ascending order."""
        return tuple(index for index in range(self.gpu_mask.bit_length()) if self.gpu_mask >> index & 1)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try as stored."""

    id: AttemptId
    job: JobId
    number: int
    fence: int
    pool: PoolName
    region: RegionCode
    ranks: tuple[RankPlacement, ...]
    state: AttemptState
    created_at: datetime
    result: AttemptResult | None = None
    reason: Reason | None = None
    message: str = ""
    exit_code: int | None = None
    resume_from: str | None = None
    is_ready: bool = False
    redeemed_at: datetime | None = None
    running_at: datetime | None = None
    ended_at: datetime | None = None
    usage: Mapping[str, object] = field(default_factory=dict)
    verdicts: Mapping[str, object] = field(default_factory=dict)
    price: Price = field(default=Price(0))
    cost: Cost = field(default=Cost(0))

    @property
    def gpus(self) -> int:
        """Return the GPUs of all ranks."""
        return sum(rank.gpu_mask.bit_count() for rank in self.ranks)

    def at_apply(self, name: str, otherwise: Any) -> Any:  # Any: JSON
        """Return what was written down when it was placed; `otherwise` for one of before it was."""
        said: Any = self.verdicts.get("apply") or {}  # Any: JSON
        return said.get(name, otherwise)


STAGES = ("apply", "redeem", "rested", "renew")
RESTED = "rested"
"""A list: the words at renewal that rested on derogations, and in whose place another has come."""


def words_of(verdicts: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:  # Any: JSON
    """Return what the judge said of an attempt, with the stage of each word, in the order in which it was said."""
    found: list[tuple[str, Mapping[str, Any]]] = []
    for stage in STAGES:
        if stage == RESTED:
            found += [("renew", one) for one in verdicts.get(RESTED, ())]
        elif stage in verdicts:
            found.append((stage, verdicts[stage]))
    return found


def held_by(verdicts: Mapping[str, Any]) -> frozenset[str]:  # Any: JSON
    """Return the derogations that an attempt rests on or once rested on."""
    return frozenset(str(name) for _, said in words_of(verdicts) for name in said.get("derogations", ()))


def renewed(verdicts: Mapping[str, Any], word: Mapping[str, Any]) -> dict[str, Any]:  # Any: JSON
    """Return what changes in an attempt's verdicts by a new word at renewal.

    The one before is kept where it alone says that a derogation was used: a use is counted once, and certified.
    """
    before = verdicts.get("renew", {})
    others = {key: one for key, one in verdicts.items() if key != "renew"} | {"renew": word}
    is_lost = not frozenset(before.get("derogations", ())) <= held_by(others)
    return {"renew": word, **({RESTED: [*verdicts.get(RESTED, ()), before]} if is_lost else {})}


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt came to its end: what the store needs to close it."""

    attempt: AttemptId
    result: AttemptResult
    reason: Reason | None
    message: str = ""
    exit_code: int | None = None
    running_s: float = 0.0
    energy_wh: float | None = None
    ranks: tuple[Mapping[str, object], ...] = ()
    fence: Mapping[str, object] | None = None
    """What the judge said, where it ended because that became unlawful; see `domain.fences`."""


@dataclass(frozen=True, slots=True)
class RedeemableGrant:
    """What a redemption is decided on."""

    id: GrantId
    attempt: Attempt
    state: str
    ttl_s: float
    redemption_id: str | None
    alive_until: datetime | None
    is_stopping: bool
    ended_for: str | None
    """Why its attempt is over."""
