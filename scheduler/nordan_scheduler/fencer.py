"""Fences what became unlawful and releases what no longer is: the leader's look at all that is there already.

Woken by every step of the residency epoch, and looking by itself each second at the attempts and each few seconds at
what is stored, never more than a twentieth of the time. It judges with no transaction open; each chunk that it writes
compares the lead and the residency epoch that was judged at. A change of law never waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TypeVar

import structlog

from nordan_core.clock import Clock
from nordan_core.domain.errors import Unavailable
from nordan_core.domain.fences import Finding, LivePresence, RestGroup
from nordan_core.domain.ids import ArtifactId, AttemptId, JobId, ProjectId
from nordan_core.domain.tenants import Project
from nordan_core.facts import FactsBook, FactsCache
from nordan_core.policies import PolicyShelf
from nordan_core.residency.facts import facts_document
from nordan_core.residency.places import Atlas
from nordan_core.residency.widening import derogated
from nordan_core.store.unit_of_work import Store, UnitOfWork
from nordan_scheduler.leave import Leave, read_leave
from nordan_scheduler.metrics import Metrics
from nordan_scheduler.revisit import (
    Memory,
    Run,
    Word,
    first_end,
    rescued_by,
    to_close_and_open,
    to_fence,
    word_on_rest,
    word_on_run,
)

_log = structlog.get_logger()
CHUNK = 500
#: Between two looks at the attempts, and at what is stored, when nothing has moved.
INTERVAL_S = 1.0
REST_INTERVAL_S = 5.0
#: A look that took long is followed by a rest of so many times as long.
REST_FACTOR = 20.0

Item = TypeVar("Item")
Act = Callable[[UnitOfWork], int]
"""Writes one chunk and returns how many it touched."""


class LawMoved(Exception):
    """The residency epoch is not the one that was judged at any more: look again."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What one transaction brought."""

    law: int
    live: Mapping[AttemptId, Run]
    resting: Sequence[RestGroup] | None
    """None: it is not yet time."""
    leave: Leave


class Fencer:
    """Looks again at all that is there. Not for sharing between threads."""

    def __init__(self, store: Store, clock: Clock, facts: FactsCache, metrics: Metrics) -> None:
        self._store = store
        self._clock = clock
        self._facts = facts
        self._metrics = metrics
        self._shelf = PolicyShelf(facts.atlases.newest)
        self._keys: dict[JobId, str] = {}
        self._projects: dict[ProjectId, Project] = {}
        self._floors_law = 0
        self._runs: Memory[Run] = Memory()
        self._rests: Memory[RestGroup] = Memory()
        self._rested_law = 0
        self._rest_again_s = 0.0
        self._rest_end: datetime | None = None

    def step(self, epoch: int) -> float:
        """Look once under a leader epoch and return the wait until the next look.

        Raises:
            NotLeader: another process leads; nothing was changed since.
        """
        began = self._clock.monotonic()
        # 1. What is there: one short transaction.
        look = self._look(epoch)
        if not look.live and not look.resting:
            self._note_rest(look, began)
            return INTERVAL_S
        try:
            # 2. The judge, outside of it: once for equal questions.
            book = self._facts.at(look.law, self._store)
            if book.epoch != look.law:
                return 0.0
            # 3. Write what is to be fenced and released, in chunks.
            self._fence(epoch, book, look)
            self._rest(epoch, book, look, began)
        except Unavailable:
            # Nobody has said yet where the control plane stands, so nothing can be judged, and nothing was placed.
            return INTERVAL_S
        except LawMoved:
            return 0.0
        took_s = self._clock.monotonic() - began
        self._metrics.note_revisit(took_s)
        return max(INTERVAL_S, REST_FACTOR * took_s)

    def _look(self, epoch: int) -> _Look:
        with self._store.begin() as work:
            work.leadership.assert_leader(epoch)
            law = work.epoch.current()
            atlas = self._read_under(work)
            live = work.fencing.live()
            resting = work.fencing.resting() if self._is_rest_due(law) else None
            self._learn(work, live, resting or {})
            self._read_floors(work, law, {one.project for one in (*live, *(resting or ()))})
            leave = read_leave(work, live, atlas, self._clock.now())
        runs = {one.attempt: Run(self._keys[one.job], one.project, one.pool) for one in live}
        return _Look(law, runs, None if resting is None else tuple(resting), leave)

    def _read_under(self, work: UnitOfWork) -> Atlas:
        """Read policies anew when another atlas came into force: a name may mean something else, or nothing."""
        atlas = self._facts.atlases.within(work)
        if self._shelf.atlas.digest != atlas.digest:
            self._shelf = PolicyShelf(atlas)
        return atlas

    def _is_rest_due(self, law: int) -> bool:
        has_ended = self._rest_end is not None and self._clock.now() >= self._rest_end
        return law != self._rested_law or has_ended or self._clock.monotonic() >= self._rest_again_s

    def _learn(self, work: UnitOfWork, live: Sequence[LivePresence], resting: Mapping[RestGroup, ArtifactId]) -> None:
        jobs = {one.job for one in live}
        self._keys = {job: key for job, key in self._keys.items() if job in jobs}
        for chunk in _chunks(sorted(jobs - self._keys.keys())):
            self._keys |= work.fencing.job_keys(chunk)
        by_key = {key: job for job, key in self._keys.items()}
        self._shelf.make_room(max(len(by_key), len(resting)))
        for keys in _chunks(self._shelf.unknown_jobs(by_key)):
            self._shelf.learn_jobs(work.fencing.job_policies([by_key[key] for key in keys]))
        samples = {group.policy_key: artifact for group, artifact in resting.items()}
        for keys in _chunks(self._shelf.unknown_data(samples)):
            self._shelf.learn_data(work.fencing.data_policies(samples[key] for key in keys))

    def _read_floors(self, work: UnitOfWork, law: int, projects: set[ProjectId]) -> None:
        """Know the floors of these projects; a floor never changes without a step of the epoch."""
        if law != self._floors_law:
            self._projects, self._floors_law = {}, law
        if unknown := projects - self._projects.keys():
            self._projects.update(work.tenants.projects_by_id(unknown))

    def _fence(self, epoch: int, book: FactsBook, look: _Look) -> None:
        now = self._clock.now()

        def say(run: Run) -> Word:
            return word_on_run(run, self._shelf.of_job(run.policy_key, self._projects.get(run.project)), book, now)

        findings = to_fence(look.live, self._runs.ask(look.live.values(), book, now, say))
        findings = {one: found for one, found in findings.items() if not self._is_rescued(one, book, look, now)}
        for chunk in _chunks(tuple(findings)):
            chosen = {attempt: findings[attempt] for attempt in chunk}
            self._tell("attempts", self._write(epoch, book, chosen.values(), partial(_stop, chosen, now)), book)

    def _is_rescued(self, attempt: AttemptId, book: FactsBook, look: _Look, now: datetime) -> bool:
        run, covered = look.live[attempt], look.leave.attempts.get(attempt, ())
        policies = self._shelf.of_job(run.policy_key, self._projects.get(run.project)) if covered else ()
        return bool(rescued_by(run, policies, covered, book, now))

    def _rest(self, epoch: int, book: FactsBook, look: _Look, began: float) -> None:
        if look.resting is None:
            return
        now = self._clock.now()

        def say(group: RestGroup) -> Word:
            policies = self._shelf.of_data(group.policy_key, self._projects[group.project])
            covered = look.leave.data(group)
            widened = tuple(derogated(of, covered) for of in policies) if covered else policies
            return word_on_rest(group, widened, book, now)

        words = self._rests.ask(look.resting, book, now, say)
        closing, opening = to_close_and_open(words)
        for group, finding in closing.items():
            self._drain(epoch, book, finding, partial(_close, group, finding, now), "places")
        for group, finding in opening.items():
            self._drain(epoch, book, finding, partial(_open, group, finding, now), "released")
        self._rest_end = first_end(words.values())
        self._note_rest(look, began)

    def _note_rest(self, look: _Look, began: float) -> None:
        if look.resting is not None:
            self._rested_law = look.law
            now = self._clock.monotonic()
            self._rest_again_s = now + max(REST_INTERVAL_S, REST_FACTOR * (now - began))

    def _drain(self, epoch: int, book: FactsBook, finding: Finding, act: Act, what: str) -> None:
        while True:
            count = self._write(epoch, book, [finding], act)
            self._tell(what, count, book)
            if count < CHUNK:
                return

    def _write(self, epoch: int, book: FactsBook, findings: Iterable[Finding], act: Act) -> int:
        with self._store.begin() as work:
            law = work.epoch.share()
            work.leadership.assert_leader(epoch)
            if law != book.epoch:
                raise LawMoved
            self._record_facts(work, book, findings)
            return act(work)

    def _record_facts(self, work: UnitOfWork, book: FactsBook, findings: Iterable[Finding]) -> None:
        """See that the facts that were judged by are in the log before anything is done on their word."""
        used = {digest for one in findings for digest in one.facts}
        documents = {facts.digest: facts_document(facts) for facts in book.pools if facts.digest in used}
        work.scheduling.record_facts(documents, self._clock.now())

    def _tell(self, what: str, count: int, book: FactsBook) -> None:
        if count:
            self._metrics.note_fenced(what, count)
            _log.warning("revisited", what=what, count=count, epoch=book.epoch)


def _stop(findings: Mapping[AttemptId, Finding], now: datetime, work: UnitOfWork) -> int:
    return len(work.fencing.attempts(findings, now))


def _close(group: RestGroup, finding: Finding, now: datetime, work: UnitOfWork) -> int:
    return work.fencing.fence_places(group, finding, now, CHUNK)


def _open(group: RestGroup, finding: Finding, now: datetime, work: UnitOfWork) -> int:
    return work.fencing.release_places(group, finding, now, CHUNK)


def _chunks(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]
