"""Verdicts over all pools at once, as the bits of an integer, kept until something in them can change.

The scheduler asks one mask for each distinct policy instead of one verdict for each job and pool. A policy permits what
each of its facets permits (`permits(meet(a, b)) = permits(a) and permits(b)`), so every distinct value of a facet is
held against the pools once, as a *line*, and a mask is the lines of its policy put together. Ten thousand policies
state some hundreds of values. The parts of facts and policy that an answer rests on are its key, so a change of any
of them is another answer and nothing has to be thrown away by hand.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import reduce
from typing import Any, Generic, NamedTuple, TypeVar

from nordan_core.residency.facets import EMPTY, Policy, attribute_of
from nordan_core.residency.facts import PoolFacts
from nordan_core.residency.judge import RUN_LINES, judge, line_verdict, standing_refusals
from nordan_core.residency.layers import Effective
from nordan_core.residency.places import Atlas
from nordan_core.residency.verdicts import FacetRefusal, Verdict
from nordan_core.residency.widening import in_force

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

MOST_KEPT = 32_768
"""Masks that a cache keeps before it drops the least used; some hundreds of bytes each."""
MOST_LINES = 4_096
"""Lines that a cache keeps; about 8 KiB each with a thousand pools."""


class Shortfall(NamedTuple):
    """A facet that fails, without the sentence that names the pool: equal ones are one value."""

    facet: str
    want: str
    have: str


Shortfalls = tuple[Shortfall, ...]


class Answer(NamedTuple):
    """What one value of a facet comes to at one pool, and the first later instant at which that may differ."""

    short: Shortfalls
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Line:
    """One value of a facet held against an ordered sequence of pools."""

    bits: int
    taken_at: datetime
    good_until: datetime | None
    digests: tuple[str, ...]
    """Of the facts, in the order of the pools."""
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class Mask:
    """Which of an ordered sequence of pools are lawful under one policy."""

    bits: int
    """Bit i is set when pool i is allowed."""
    taken_at: datetime
    good_until: datetime | None
    """The first later instant at which any bit may differ; None when never."""
    effective: Effective
    pools: tuple[PoolFacts, ...]
    atlas: Atlas
    _everywhere: Shortfalls
    """What fails at every pool, because it is the policy's own."""
    _lines: tuple[Line, ...]

    def allows(self, place: int) -> bool:
        """Return whether the pool at `place` is lawful."""
        return bool(self.bits >> place & 1)

    def holds_at(self, instant: datetime) -> bool:
        """Return whether the mask may be used at `instant` without judging again."""
        return _holds(self.taken_at, self.good_until, instant)

    def shortfalls(self, place: int) -> Shortfalls:
        """Return what fails at the pool at `place`, in the order of the facets."""
        return self._everywhere + sum((line.answers[place].short for line in self._lines), ())

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Return the judge's whole words in the order of the pools: judged now, for whoever explains."""
        return tuple(judge(self.effective, facts, self.atlas, self.taken_at) for facts in self.pools)


def compile_mask(effective: Effective, pools: Sequence[PoolFacts], atlas: Atlas, instant: datetime) -> Mask:
    """Return the mask of `pools`, from nothing."""
    return MaskCache().mask(effective, pools, atlas, instant)


class MaskCache:
    """Masks by policy, atlas and facts. Not for sharing between threads; each owner has one."""

    def __init__(self, most_kept: int = MOST_KEPT, most_lines: int = MOST_LINES) -> None:
        self._masks: _Recent[tuple[str, str, int], Mask] = _Recent(most_kept)
        self._lines: _Recent[tuple[str, object, str], Line] = _Recent(most_lines)
        self._known: Sequence[PoolFacts] = ()
        self._pools: tuple[PoolFacts, ...] = ()
        self._digests: tuple[str, ...] = ()
        self._line_ups = 0
        """Numbers the sequences of facts: a key of a thousand digests would take longer than what it finds."""

    def mask(self, effective: Effective, pools: Sequence[PoolFacts], atlas: Atlas, instant: datetime) -> Mask:
        """Return the mask of `pools` at `instant`, from the cache where it still holds.

        When one pool's facts change, only that pool is held against the facets again.
        """
        self._line_up(pools)
        key = (effective.digest, atlas.digest, self._line_ups)
        kept = self._masks.get(key)
        if kept is None or not kept.holds_at(instant):
            kept = self._mask(effective, atlas, instant)
            self._masks.keep(key, kept)
        return kept

    def _line_up(self, pools: Sequence[PoolFacts]) -> None:
        if pools is self._known:
            return
        digests = tuple(facts.digest for facts in pools)
        self._known, self._pools = pools, tuple(pools)
        if digests != self._digests:
            self._digests = digests
            self._line_ups += 1

    def _mask(self, effective: Effective, atlas: Atlas, instant: datetime) -> Mask:
        asked = in_force(effective, instant)
        policy, own = asked.policy, standing_refusals(effective, asked.policy, instant)
        lines = tuple(
            _either([self._line(facet, one, atlas, instant) for one in (value, *asked.instead.get(facet, ()))])
            for facet, value in _stated(policy)
        )
        every = (1 << len(self._pools)) - 1
        ends = [policy.valid_until, *(line.good_until for line in lines)]
        ends += [
            edge for one in effective.derogations for edge in (one.derogation.not_before, one.derogation.not_after)
        ]
        return Mask(
            bits=0 if own else reduce(int.__and__, (line.bits for line in lines), every),
            taken_at=instant,
            # Without a pool nothing is judged, and nothing ends.
            good_until=min((end for end in ends if end is not None and end > instant), default=None) if every else None,
            effective=effective,
            pools=self._pools,
            atlas=atlas,
            _everywhere=tuple(map(_short, own)),
            _lines=lines,
        )

    def _line(self, facet: str, value: Any, atlas: Atlas, instant: datetime) -> Line:  # Any: each facet has its type
        key = (facet, value, atlas.digest)
        kept = self._lines.get(key)
        if kept is None or kept.digests is not self._digests or not _holds(kept.taken_at, kept.good_until, instant):
            kept = self._drawn(facet, value, kept, atlas, instant)
            self._lines.keep(key, kept)
        return kept

    def _drawn(self, facet: str, value: Any, before: Line | None, atlas: Atlas, instant: datetime) -> Line:
        known = (
            {}
            if before is None or instant < before.taken_at
            else dict(zip(before.digests, before.answers, strict=True))
        )
        policy = EMPTY if value is None else Policy(**{attribute_of(facet): value})
        same: dict[Answer, Answer] = {}
        answers = []
        for facts in self._pools:
            answer = known.get(facts.digest)
            if answer is None or (answer.until is not None and answer.until <= instant):
                answer = _answer(facet, policy, facts, atlas, instant)
            answers.append(same.setdefault(answer, answer))
        bits = sum(1 << place for place, answer in enumerate(answers) if not answer.short)
        ends = [answer.until for answer in same if answer.until is not None]
        return Line(bits, instant, min(ends, default=None), self._digests, tuple(answers))


def _either(lines: Sequence[Line]) -> Line:
    """Return the line of a facet of which any of several values is enough: where none is, the first one's refusals."""
    first = lines[0]
    if len(lines) == 1:
        return first
    bits = reduce(int.__or__, (line.bits for line in lines))
    ends = [line.good_until for line in lines if line.good_until is not None]
    answers = tuple(
        Answer((), answer.until) if bits >> place & 1 else answer for place, answer in enumerate(first.answers)
    )
    return replace(first, bits=bits, good_until=min(ends, default=None), answers=answers)


def _stated(policy: Policy) -> Iterator[tuple[str, Any]]:  # Any: each facet has a type of its own
    """Yield what has to be held against pools, in the order of the checks: the facts' own end, then each facet."""
    for facet in RUN_LINES:
        value = policy.facet(facet) if facet != "facts" else None
        if facet == "facts" or value is not None:
            yield facet, value


def _answer(facet: str, policy: Policy, facts: PoolFacts, atlas: Atlas, instant: datetime) -> Answer:
    verdict = line_verdict(facet, policy, facts, atlas, instant)
    return Answer(tuple(map(_short, verdict.refusals)), verdict.good_until)


def _short(refusal: FacetRefusal) -> Shortfall:
    return Shortfall(refusal.facet, refusal.want, refusal.have)


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


def _holds(taken_at: datetime, good_until: datetime | None, instant: datetime) -> bool:
    return taken_at <= instant and (good_until is None or instant < good_until)
