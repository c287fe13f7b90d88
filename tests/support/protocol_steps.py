"""Every step that may come next in the model of the protocol, and the search through all of their orders."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

from support.protocol_values import (
    DONE,
    FENCED,
    LIVE,
    NEW,
    POOLS,
    SKEW,
    SUPERVISORS,
    TRIES,
    WAITING,
    Answer,
    Attempt,
    Guards,
    Job,
    Law,
    Opened,
    Plan,
    Run,
    Word,
)

#: What happens to one job, the job after it, and the invariant that the step itself breaks.
Local = tuple[str, Job, str]
UNASKED = "a job was placed that did not wait for a place"
LATE = "an unlawful attempt ran beyond its budget"
UNREAD = "bytes could be read where they may not be, beyond the budget"


class Moves(NamedTuple):
    """What may happen to one job under a law, while the other job holds some pools."""

    which: int
    law: Law
    taken: frozenset[int]
    guards: Guards

    def all(self, job: Job) -> Iterator[Local]:
        """Yield every step of one job alone."""
        if job.opened is not None:
            # The job's row is locked and the epoch held: whatever else happens might as well have come before.
            yield self._commit_redemption(job, job.opened)
            return
        for steps in (self._owner, self._scheduler, self._redemptions, self._regions, self._reports, self._reaper):
            for what, after, fault in steps(job):
                yield what, after, fault or after.fault()

    def _owner(self, job: Job) -> Iterator[Local]:
        may_run = any(self._allows(pool) for pool in POOLS)
        if job.phase == NEW and may_run:
            yield "is submitted", job._replace(phase=WAITING), ""
        if job.phase in {WAITING, FENCED}:
            yield "is cancelled", _moved(job, DONE), ""
        if job.phase == FENCED and job.made < TRIES and may_run:
            yield "goes on by its owner's choice", _moved(job, WAITING), ""

    def _scheduler(self, job: Job) -> Iterator[Local]:
        if job.plan is None:
            free = [pool for pool in POOLS if self._allows(pool) and pool not in self.taken]
            for pool in free if job.phase == WAITING else ():
                yield f"is planned into pool {pool}", job._replace(plan=Plan(pool)), ""
        else:
            yield self._apply(job, job.plan)

    def _apply(self, job: Job, plan: Plan) -> Local:
        dropped = "has its plan dropped", job._replace(plan=None), ""
        waits = job.phase == WAITING
        if self.guards.plan_names_version and not (waits and plan.is_of_this_version):
            return dropped
        if self.guards.room_is_compared and plan.pool in self.taken:
            return dropped
        word = self._word(plan.word, plan.pool, self.guards.commit_compares)
        if word is None:
            return dropped
        attempt = Attempt(job.made + 1, plan.pool, word)
        # Nobody tells the scheduler that its commit went through: it may try the same plan again.
        after = _moved(job._replace(made=attempt.number, live=(*job.live, attempt)), LIVE)
        fault = "" if word.is_new else "a grant was issued under an older law"
        return f"is placed as attempt {attempt.number}", after, fault or ("" if waits else UNASKED)

    def _redemptions(self, job: Job) -> Iterator[Local]:
        for attempt in job.live:
            # Whoever asks first is the first supervisor: the two are alike.
            for supervisor in SUPERVISORS if attempt.supervisor else SUPERVISORS[:1]:
                if self._may_ask(job, attempt, supervisor):
                    yield self._judged(job, attempt, supervisor)

    def _may_ask(self, job: Job, attempt: Attempt, supervisor: int) -> bool:
        if job.knows(attempt.number, supervisor) or attempt.number in job.reports:
            return False
        if attempt.is_stopped or (attempt.supervisor == supervisor and attempt.alive <= 0):
            return False
        return attempt.supervisor in {0, supervisor} or not self.guards.redemption_is_one

    def _judged(self, job: Job, attempt: Attempt, supervisor: int) -> Local:
        word = self._word(attempt.word, attempt.pool, self.guards.redemption_judges)
        if word is None:
            return f"redemption {attempt.number} is denied", _ended(job, attempt, is_fenced=True), ""
        opened = Opened(attempt.number, supervisor, word.is_new)
        after = _with(job, attempt._replace(word=word))._replace(opened=opened)
        return f"redemption {attempt.number} by supervisor {supervisor} is judged", after, ""

    def _commit_redemption(self, job: Job, opened: Opened) -> Local:
        [attempt] = [one for one in job.live if one.number == opened.number]
        is_again = attempt.supervisor == opened.supervisor
        alive = attempt.alive if is_again else self.guards.ttl
        after = _with(job, attempt._replace(supervisor=opened.supervisor, alive=alive))
        answer = Answer(opened.number, attempt.pool, opened.supervisor, alive, starts=True)
        # By now the scheduler knows what came of its commit.
        plan = None if job.plan is not None and not job.plan.is_of_this_version else job.plan
        after = after._replace(opened=None, plan=plan, answers=job.answers | {answer})
        fault = "" if opened.is_new else "a redemption committed under an older law"
        return f"redemption {attempt.number} is committed", after, fault

    def _regions(self, job: Job) -> Iterator[Local]:
        for answer in job.answers:
            rest = job._replace(answers=job.answers - {answer})
            yield f"the answer on {answer.number} is lost", rest, ""
            yield f"the answer on {answer.number} arrives", self._arrived(rest, answer), ""
        for run in job.runs:
            yield f"attempt {run.number} succeeds", _succeeded(job, run), ""
            yield f"attempt {run.number} breaks off", _gone(job, run), ""
            if all((one.number, one.supervisor) != (run.number, run.supervisor) for one in job.answers):
                yield self._renewal(job, run)

    def _arrived(self, job: Job, answer: Answer) -> Job:
        runs = {one for one in job.runs if (one.number, one.supervisor) == (answer.number, answer.supervisor)}
        if answer.starts and not runs:
            return job._replace(runs=job.runs | {Run(answer.number, answer.pool, answer.supervisor, answer.left)})
        return job._replace(runs=(job.runs - runs) | {one._replace(left=answer.left) for one in runs})

    def _renewal(self, job: Job, run: Run) -> Local:
        what = f"attempt {run.number} asks to go on"
        attempt = next((one for one in job.live if one.number == run.number), None)
        if attempt is None or (attempt.is_stopped and self.guards.stop_is_final):
            return f"{what} and is stopped", _gone(job, run), ""
        word = self._word(attempt.word, attempt.pool, self.guards.renewal_judges)
        if word is None:
            return f"{what} and is stopped", _gone(_with(job, attempt._replace(is_stopped=True)), run), ""
        renewed = _with(job, attempt._replace(word=word, alive=self.guards.ttl))
        answer = Answer(run.number, run.pool, run.supervisor, self.guards.ttl)
        fault = "" if word.is_new else "a renewal was given under an older law"
        fault = fault or ("what was fenced was renewed" if attempt.is_stopped else "")
        return what, renewed._replace(answers=job.answers | {answer}), fault

    def _reports(self, job: Job) -> Iterator[Local]:
        for attempt in job.live:
            if attempt.supervisor and not job.is_under_way(attempt.number):
                yield f"attempt {attempt.number} is known to have stopped", _ended(job, attempt), ""
        for number in job.reports:
            if all(one.number != number for one in job.live):
                yield f"the end of {number} is settled", job._replace(reports=job.reports - {number}), ""
            for attempt in job.live:
                if attempt.supervisor and (attempt.number == number or not self.guards.report_names_fence):
                    yield self._reported(job, attempt, number)

    def _reported(self, job: Job, attempt: Attempt, number: int) -> Local:
        what = f"the success of {number} is reported"
        if attempt.is_stopped and self.guards.stop_is_final:
            return what, _ended(job, attempt), ""
        word = self._word(attempt.word, attempt.pool, self.guards.end_judges)
        if word is None:
            return what, _ended(job, attempt, is_fenced=True), ""
        after = _moved(_without(job, attempt)._replace(kept=(*job.kept, number), rests=attempt.pool), DONE)
        fault = "" if word.is_new else "outputs were published under an older law"
        fault = fault or ("outputs were published under an older fence" if attempt.number != number else "")
        return what, after, fault or ("what was fenced was published" if attempt.is_stopped else "")

    def _reaper(self, job: Job) -> Iterator[Local]:
        waits = SKEW if self.guards.skew_is_awaited else 0
        for attempt in job.live:
            if not attempt.supervisor:
                yield f"grant {attempt.number} is taken back", _ended(job, attempt), ""
            elif attempt.alive <= -waits or not self.guards.expiry_is_awaited:
                yield f"grant {attempt.number} has run out", _ended(job, attempt), ""

    def _word(self, word: Word, pool: int, compares: bool) -> Word | None:
        """Return the word to act on: the old one where it stands or nobody looks, else what the judge says now."""
        if word.stands or not compares:
            return word
        return Word() if self._allows(pool) else None

    def _allows(self, pool: int) -> bool:
        return self.law.allows(self.which, pool)

    # What happens to all jobs at once.

    def revisited(self, job: Job) -> Job:
        """Return it after the leader has looked again at what is there."""
        if not self.guards.what_is_there_is_revisited:
            return job
        for attempt in job.live:
            if not self._allows(attempt.pool):
                taken = attempt.supervisor > 0
                stopped = _with(job, attempt._replace(is_stopped=True))
                job = stopped if taken else _ended(job, attempt, is_fenced=True)
        return job if job.rests is None else job._replace(is_readable=self._allows(job.rests))

    def ticked(self, job: Job) -> Iterator[tuple[Job, str]]:
        """Yield it after a tick, as often as clocks may have gone; and which budget that has used up."""
        live = tuple(one._replace(alive=max(-SKEW, one.alive - 1)) if one.supervisor else one for one in job.live)
        late = int(self.guards.deadline_counts_from_sending)
        answers = frozenset(one._replace(left=one.left - late) for one in job.answers if one.left > late)
        unread = UNREAD if job.rests is not None and job.is_readable and not self._allows(job.rests) else ""
        for choice in product(*([run, None] if not run.is_behind else [run] for run in job.runs)):
            after, fault = job._replace(live=live, answers=answers), unread
            for run, is_on_time in zip(job.runs, choice, strict=True):
                after, is_late = self._run_ticked(after, run, is_on_time=is_on_time is not None)
                fault = fault or (LATE if is_late else "")
            yield after, fault

    def _run_ticked(self, job: Job, run: Run, *, is_on_time: bool) -> tuple[Job, bool]:
        left = run.left - 1 if is_on_time else run.left
        if left <= 0 and self.guards.shim_stops_itself:
            return _gone(job, run), False
        unlawful = 0 if self._allows(run.pool) else min(run.unlawful_for + 1, self.guards.ttl + SKEW)
        behind = run.is_behind or not is_on_time
        after = run._replace(left=max(left, 0), is_behind=behind, unlawful_for=unlawful)
        return job._replace(runs=(job.runs - {run}) | {after}), unlawful >= self.guards.ttl + SKEW


def _moved(job: Job, phase: int) -> Job:
    """Return it in another phase: a plan for it is one of an older version."""
    plan = job.plan and Plan(job.plan.pool, is_of_this_version=False)
    return job._replace(phase=phase, plan=plan)


def _with(job: Job, attempt: Attempt) -> Job:
    return job._replace(live=tuple(attempt if one.number == attempt.number else one for one in job.live))


def _without(job: Job, attempt: Attempt) -> Job:
    return job._replace(live=tuple(one for one in job.live if one.number != attempt.number))


def _ended(job: Job, attempt: Attempt, *, is_fenced: bool = False) -> Job:
    again = WAITING if job.made < TRIES else DONE
    return _moved(_without(job, attempt), FENCED if is_fenced or attempt.is_stopped else again)


def _gone(job: Job, run: Run) -> Job:
    return job._replace(runs=job.runs - {run})


def _succeeded(job: Job, run: Run) -> Job:
    return _gone(job, run)._replace(reports=job.reports | {run.number})
