"""Judge again what is there: which attempts have become unlawful, which places of artifacts have, which no longer are.

Values in, values out: `fencer` reads, asks here, and writes. Equal questions are judged once, and an answer is kept
for as long as it holds: until law or facts move, or its own end. So a second look at ten thousand attempts is a look-up
for each, and a certification that ends is found at that instant by whoever looks then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from nordan_core.domain.fences import Finding, RestGroup
from nordan_core.domain.ids import AttemptId, PoolName, ProjectId
from nordan_core.facts import FactsBook
from nordan_core.policies import Standing
from nordan_core.residency.derogations import Covering, fewest
from nordan_core.residency.presence import may_rest, may_run
from nordan_core.residency.verdicts import Verdict
from nordan_core.residency.widening import derogated

Question = TypeVar("Question")


@dataclass(frozen=True, slots=True)
class Run:
    """May attempts under this policy, in this project, be in this pool."""

    policy_key: str
    project: ProjectId
    pool: PoolName


@dataclass(frozen=True, slots=True)
class Word:
    """What the judge said, and what it went by."""

    verdict: Verdict
    policies: tuple[str, ...]
    facts: tuple[str, ...]
    at: datetime
    epoch: int
    atlas: str

    def holds(self, book: FactsBook, instant: datetime) -> bool:
        """Tell whether it may be used at an instant without judging again."""
        end = self.verdict.good_until
        is_same_law = (self.epoch, self.atlas) == (book.epoch, book.atlas.digest)
        return is_same_law and self.at <= instant and (end is None or instant < end)

    def finding(self) -> Finding:
        """Return it as it is kept with what it fences, or releases."""
        refusals = tuple(one.document() for one in self.verdict.refusals)
        return Finding(self.at, self.epoch, self.atlas, self.policies, refusals, self.facts)


class Memory(Generic[Question]):
    """Answers by question, as long as they hold."""

    def __init__(self) -> None:
        self._words: dict[Question, Word] = {}

    def ask(
        self, questions: Iterable[Question], book: FactsBook, instant: datetime, say: Callable[[Question], Word]
    ) -> dict[Question, Word]:
        """Return the word on each question; what was not asked this time is forgotten."""
        before = self._words
        self._words = {}
        for question in questions:
            if question in self._words:
                continue
            known = before.get(question)
            self._words[question] = known if known is not None and known.holds(book, instant) else say(question)
        return self._words


def word_on_run(question: Run, policies: Standing, book: FactsBook, instant: datetime) -> Word:
    """Say whether attempts may go on in a pool."""
    facts = book.pool(question.pool)
    verdict = may_run(policies, facts, book.control_plane, book.atlas, instant)
    return _word(verdict, policies, () if facts is None else (facts.digest,), book, instant)


def word_on_rest(question: RestGroup, policies: Standing, book: FactsBook, instant: datetime) -> Word:
    """Say whether bytes may stay in a region."""
    pools = [facts for facts in book.pools if facts.region == question.region]
    verdict = may_rest(policies, pools, book.atlas, instant)
    return _word(verdict, policies, tuple(facts.digest for facts in pools), book, instant)


def to_fence(live: Mapping[AttemptId, Run], words: Mapping[Run, Word]) -> dict[AttemptId, Finding]:
    """Return the attempts that may not go on, each with what was found; in the order of `live`."""
    findings = {run: word.finding() for run, word in words.items() if not word.verdict.allowed}
    return {attempt: findings[run] for attempt, run in live.items() if run in findings}


def rescued_by(
    question: Run, policies: Standing, covered: Sequence[Covering], book: FactsBook, instant: datetime
) -> tuple[Covering, ...]:
    """Return the derogations that make an attempt lawful where its policies alone do not; none where none do.

    They are not taken up here: the api does, at the next word of the attempt's region.
    """

    def is_enough(some: tuple[Covering, ...]) -> bool:
        widened = tuple(derogated(of, some) for of in policies)
        return word_on_run(question, widened, book, instant).verdict.allowed

    return fewest(covered, is_enough) if policies else ()


def to_close_and_open(
    words: Mapping[RestGroup, Word],
) -> tuple[dict[RestGroup, Finding], dict[RestGroup, Finding]]:
    """Return the places that became unlawful and are open, and those that are lawful again and closed."""
    unlike = {group: word for group, word in words.items() if word.verdict.allowed is group.is_fenced}
    closing = {group: word.finding() for group, word in unlike.items() if not word.verdict.allowed}
    opening = {group: word.finding() for group, word in unlike.items() if word.verdict.allowed}
    return closing, opening


def first_end(words: Iterable[Word]) -> datetime | None:
    """Return the first instant at which one of the words may be another."""
    return min((word.verdict.good_until for word in words if word.verdict.good_until is not None), default=None)


def _word(verdict: Verdict, policies: Standing, facts: tuple[str, ...], book: FactsBook, instant: datetime) -> Word:
    return Word(verdict, tuple(of.digest for of in policies), facts, instant, book.epoch, book.atlas.digest)
