"""States of attempts and jobs, the legal moves, and how a job's state follows from its attempts.

The store refuses a move that is not in the table; nothing else assigns a state.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from nordan_core.domain.errors import NordanError


class AttemptState(StrEnum):
    """Where one try stands; `ended` is final and comes with a result."""

    PLACED = "placed"
    REDEEMED = "redeemed"
    PULLING = "pulling"
    RUNNING = "running"
    STOPPING = "stopping"
    ENDED = "ended"


class AttemptResult(StrEnum):
    """How an attempt ended. `lost`: it was never heard of again, or stopped by its own deadline."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"
    FENCED = "fenced"
    PREEMPTED = "preempted"


class JobState(StrEnum):
    """What the owner sees; derived by `job_state`, never set on its own."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    RECOVERING = "recovering"
    CANCELLING = "cancelling"
    HELD = "held"
    FENCED = "fenced"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})

#: States in which the scheduler may place a job.
WAITING = frozenset({JobState.QUEUED, JobState.RECOVERING})

ATTEMPT_MOVES: dict[AttemptState, frozenset[AttemptState]] = {
    AttemptState.PLACED: frozenset({AttemptState.REDEEMED, AttemptState.ENDED}),
    AttemptState.REDEEMED: frozenset(
        {AttemptState.PULLING, AttemptState.RUNNING, AttemptState.STOPPING, AttemptState.ENDED}
    ),
    AttemptState.PULLING: frozenset({AttemptState.RUNNING, AttemptState.STOPPING, AttemptState.ENDED}),
    AttemptState.RUNNING: frozenset({AttemptState.STOPPING, AttemptState.ENDED}),
    AttemptState.STOPPING: frozenset({AttemptState.ENDED}),
    AttemptState.ENDED: frozenset(),
}

_LIVE = frozenset({JobState.STARTING, JobState.RUNNING, JobState.RECOVERING, JobState.CANCELLING, JobState.FENCED})

JOB_MOVES: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset(
        {JobState.STARTING, JobState.HELD, JobState.FENCED, JobState.CANCELLED, JobState.FAILED}
    ),
    JobState.STARTING: _LIVE | TERMINAL,
    JobState.RUNNING: _LIVE | TERMINAL,
    JobState.RECOVERING: _LIVE | TERMINAL | {JobState.HELD},
    JobState.CANCELLING: TERMINAL | {JobState.FENCED},
    JobState.HELD: frozenset({JobState.QUEUED, JobState.FENCED, JobState.CANCELLED, JobState.FAILED}),
    JobState.FENCED: frozenset({JobState.RECOVERING, JobState.CANCELLED, JobState.FAILED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}


class IllegalMove(NordanError):
    """A state change that the table does not allow: a defect in the caller, or a late message."""

    def __init__(self, before: StrEnum, after: StrEnum) -> None:
        super().__init__(f"{type(before).__name__} cannot go from {before} to {after}")
        self.before = before
        self.after = after


def check_attempt_move(before: AttemptState, after: AttemptState) -> None:
    """Raise `IllegalMove` unless an attempt may go from `before` to `after`."""
    if after not in ATTEMPT_MOVES[before]:
        raise IllegalMove(before, after)


def check_job_move(before: JobState, after: JobState) -> None:
    """Raise `IllegalMove` unless a job may go from `before` to `after`; staying is no move."""
    if after is not before and after not in JOB_MOVES[before]:
        raise IllegalMove(before, after)


@dataclass(frozen=True, slots=True)
class AttemptView:
    """The little of an attempt that the job's state depends on."""

    state: AttemptState
    result: AttemptResult | None = None
    is_retryable: bool = False
    """Another attempt is allowed after this end: the reason is in `retry.on` and tries are left."""


def job_state(
    attempts: Iterable[AttemptView],
    *,
    is_cancel_requested: bool = False,
    is_held: bool = False,
    is_resumed: bool = False,
    has_expired: bool = False,
) -> JobState:
    """Derive a job's state from its attempts in order of number and from what the owner asked.

    A live attempt decides first: what runs is running, whatever else is true. `is_resumed` says that the owner chose
    to go on after the last attempt was fenced; `has_expired`, that the job waited longer than `max_wait`.
    """
    history = list(attempts)
    last = history[-1] if history else None
    if last is not None and last.state is not AttemptState.ENDED:
        return _live_state(last, retried=len(history) > 1, is_cancel_requested=is_cancel_requested)
    if last is not None and last.result is AttemptResult.SUCCEEDED:
        return JobState.SUCCEEDED
    if is_cancel_requested:
        return JobState.CANCELLED
    if last is not None and last.result is AttemptResult.CANCELLED:
        return JobState.CANCELLED
    if last is not None and last.result is AttemptResult.FENCED:
        if not is_resumed:
            return JobState.FENCED
    elif last is not None and not last.is_retryable:
        return JobState.FAILED
    if has_expired:
        return JobState.FAILED
    if is_held:
        return JobState.HELD
    return JobState.RECOVERING if history else JobState.QUEUED


def _live_state(last: AttemptView, *, retried: bool, is_cancel_requested: bool) -> JobState:
    if is_cancel_requested:
        return JobState.CANCELLING
    if last.state in {AttemptState.RUNNING, AttemptState.STOPPING}:
        return JobState.RUNNING
    return JobState.RECOVERING if retried else JobState.STARTING
