"""Verdicts over all pools at once, as the bits of an integer, kept until something in them can change.

The scheduler asks one mask for each distinct policy instead of one verdict for each job and pool. A mask holds from the
instant it was taken at until `good_until`; facts, atlas and policy are part of its key, so a change of any of them is
another mask and nothing has to be thrown away by hand.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from nordan_core.residency.facts import PoolFacts
from nordan_core.residency.judge import judge
from nordan_core.residency.layers import Effective
from nordan_core.residency.places import Atlas
from nordan_core.residency.verdicts import Verdict

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

MOST_KEPT = 4_096
"""Masks, and verdicts, that a cache keeps before it drops the least used; about 1 KiB each."""


@dataclass(frozen=True, slots=True)
class Mask:
    """Which of an ordered sequence of pools are lawful under one policy."""

    bits: int
    """Bit i is set when pool i is allowed."""
    taken_at: datetime
    good_until: datetime | None
    """The first later instant at which any bit may differ; None when never."""
    verdicts: tuple[Verdict, ...]
    """In the order of the pools."""

    def allows(self, place: int) -> bool:
        """Return whether the pool at `place` is lawful."""
        return bool(self.bits >> place & 1)

    def holds_at(self, instant: datetime) -> bool:
        """Return whether the mask may be used at `instant` without judging again."""
        return _holds(self.taken_at, self.good_until, instant)


def compile_mask(effective: Effective, pools: Sequence[PoolFacts], atlas: Atlas, instant: datetime) -> Mask:
    """Return the mask of `pools`, each judged once."""
    return _mask([judge(effective, facts, atlas, instant) for facts in pools], instant)


class MaskCache:
    """Masks by policy, atlas and facts. Not for sharing between threads; each owner has one."""

    def __init__(self, most_kept: int = MOST_KEPT) -> None:
        self._masks: _Recent[tuple[str, str, tuple[str, ...]], Mask] = _Recent(most_kept)
        self._verdicts: _Recent[tuple[str, str, str], tuple[datetime, Verdict]] = _Recent(most_kept)

    def mask(self, effective: Effective, pools: Sequence[PoolFacts], atlas: Atlas, instant: datetime) -> Mask:
        """Return the mask of `pools` at `instant`, from the cache where it still holds.

        When one pool's facts change, only that pool is judged again.
        """
        key = (effective.digest, atlas.digest, tuple(facts.digest for facts in pools))
        kept = self._masks.get(key)
        if kept is None or not kept.holds_at(instant):
            kept = _mask([self.verdict(effective, facts, atlas, instant) for facts in pools], instant)
            self._masks.keep(key, kept)
        return kept

    def verdict(self, effective: Effective, facts: PoolFacts, atlas: Atlas, instant: datetime) -> Verdict:
        """Return the verdict on one pool at `instant`, from the cache where it still holds."""
        key = (effective.digest, atlas.digest, facts.digest)
        kept = self._verdicts.get(key)
        if kept is None or not _holds(kept[0], kept[1].good_until, instant):
            kept = (instant, judge(effective, facts, atlas, instant))
            self._verdicts.keep(key, kept)
        return kept[1]


class _Recent(Generic[Key, Value]):
    """A mapping that forgets what was not asked for longest."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[Key, Value] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def keep(self, key: Key, value: Value) -> None:
        self._kept[key] = value
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)


def _mask(verdicts: Sequence[Verdict], instant: datetime) -> Mask:
    bits = sum(1 << place for place, verdict in enumerate(verdicts) if verdict.allowed)
    ends = [verdict.good_until for verdict in verdicts if verdict.good_until is not None]
    return Mask(bits, instant, min(ends, default=None), tuple(verdicts))


def _holds(taken_at: datetime, good_until: datetime | None, instant: datetime) -> bool:
    return taken_at <= instant and (good_until is None or instant < good_until)
