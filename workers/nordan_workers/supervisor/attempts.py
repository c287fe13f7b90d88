"""What to do next with one attempt: a pure function from what is known to one step. The loop takes the step.

Nothing here looks at a clock, a file or a socket, so every rule can be tested as a row of a table, and a crash at
any point is only another set of facts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from nordan_core.domain.reasons import Reason
from nordan_core.domain.states import AttemptResult, AttemptState
from nordan_workers.executors.base import AttemptStatus, RankState, RankStatus
from nordan_workers.supervisor.records import Phase, Stopping

FENCED = Stopping(Reason.FENCED, 0.0)

#: Ends that somebody asked for; every other reason to stop is a failure.
_RESULTS = {
    Reason.CANCELLED_BY_USER: AttemptResult.CANCELLED,
    Reason.PREEMPTED: AttemptResult.PREEMPTED,
    Reason.FENCED: AttemptResult.FENCED,
    Reason.GRANT_EXPIRED: AttemptResult.LOST,
    Reason.NODE_LOST: AttemptResult.LOST,
}


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt ends; `message` is for its owner and holds nothing that the program wrote."""

    result: AttemptResult
    reason: Reason | None = None
    message: str = ""
    first_failed: int | None = None
    """The rank whose failure this is; the others were stopped for it."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that a decision depends on. Instants are on the boot-time clock."""

    phase: Phase
    deadline_s: float
    grace_s: float
    max_duration_s: float | None = None
    is_busy: bool = False
    """A step of this attempt runs in the background."""
    is_launched: bool = False
    """The executor's `launch` has returned to this incarnation."""
    is_disowned: bool = False
    """The control plane knows the attempt under a newer fence, or not at all."""
    is_settled: bool = False
    wish: Stopping | None = None
    """A stop that somebody asked for."""
    stopping: Stopping | None = None
    """The stop that the executor was told of."""
    failure: Ending | None = None
    """Staging or launching failed like this."""
    status: AttemptStatus | None = None
    """None: the executor holds no record of it."""
    is_collected: bool = False


class Step(StrEnum):
    """What the loop is to do."""

    WAIT = "wait"
    ABANDON = "abandon"
    """Let the background step know that nobody waits for it."""
    START = "start"
    """Stage what is not staged, note the launch, launch."""
    STOP = "stop"
    """Tell the executor to stop; the decision's `stopping` says why and how."""
    COLLECT = "collect"
    """Publish what is left of checkpoints and, after a success, take the outputs."""
    END = "end"
    """Have the executor kill what is not over, then write the end down; it is reported until it is settled."""
    FORGET = "forget"
    """Remove the attempt here: it is settled, or was never ours."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One step, and what it needs."""

    step: Step
    ending: Ending | None = None
    stopping: Stopping | None = None


WAIT = Decision(Step.WAIT)
FORGET = Decision(Step.FORGET)


def decide(facts: Facts, now_s: float) -> Decision:
    """Return the next step for one attempt."""
    if facts.phase is Phase.ENDED:
        return FORGET if (facts.is_settled or facts.is_disowned) and not facts.is_busy else WAIT
    if facts.phase is Phase.ASKED:
        return WAIT
    if facts.phase is Phase.ORDERED:
        return _before_launch(facts, now_s)
    if facts.is_busy:
        return WAIT
    if facts.status is None or not _has_begun(facts.status):
        return _at_launch(facts, now_s)
    return _after_end(facts) if facts.status.is_over else _while_running(facts, facts.status, now_s)


def shown_state(facts: Facts) -> AttemptState:
    """Return the state that the control plane is told."""
    if facts.phase is Phase.ENDED:
        return AttemptState.ENDED
    if facts.stopping is not None:
        return AttemptState.STOPPING
    if facts.phase is Phase.LAUNCHED and facts.status is not None and facts.status.is_started:
        return AttemptState.RUNNING
    if facts.is_busy or facts.phase is Phase.LAUNCHED:
        return AttemptState.PULLING
    return AttemptState.REDEEMED


def ending_of(facts: Facts) -> Ending:
    """Return how an attempt ended whose ranks are all over.

    A stop that was carried out decides, then the earliest rank that failed: later ones failed because of it.
    """
    assert facts.status is not None
    if facts.stopping is not None and facts.stopping.reason is not None:
        return _ending_of_stop(facts.stopping.reason)
    failed = [rank for rank in facts.status.ranks if rank.has_failed]
    if not failed:
        return Ending(AttemptResult.SUCCEEDED)
    first = min(failed, key=lambda rank: rank.ended_at_s or 0.0)
    return replace(_ending_of_rank(first), first_failed=first.rank)


def _before_launch(facts: Facts, now_s: float) -> Decision:
    end = _unstarted_end(facts, now_s)
    if facts.is_busy:
        return Decision(Step.ABANDON) if end else WAIT
    return end or Decision(Step.START)


def _at_launch(facts: Facts, now_s: float) -> Decision:
    """The launch is on disk, but no rank has begun: an earlier incarnation may have died on the way.

    Launching again is safe: a rank that has a shim is not started twice. Ending is safe too: the loop has the
    executor forget, and so kill, what is not over.
    """
    return _unstarted_end(facts, now_s) or (WAIT if facts.is_launched else Decision(Step.START))


def _unstarted_end(facts: Facts, now_s: float) -> Decision | None:
    if facts.is_disowned:
        return FORGET
    if facts.wish is not None and facts.wish.reason is not None:
        return Decision(Step.END, _ending_of_stop(facts.wish.reason))
    if facts.failure is not None:
        return Decision(Step.END, facts.failure)
    if now_s >= facts.deadline_s:
        return Decision(
            Step.END, Ending(AttemptResult.LOST, Reason.GRANT_EXPIRED, "the grant ran out before the start")
        )
    return None


def _while_running(facts: Facts, status: AttemptStatus, now_s: float) -> Decision:
    wanted = _wanted_stop(facts, status, now_s)
    if wanted is None or not _is_sooner(wanted, facts.stopping):
        return WAIT
    return Decision(Step.STOP, stopping=wanted)


def _wanted_stop(facts: Facts, status: AttemptStatus, now_s: float) -> Stopping | None:
    if facts.is_disowned:
        return Stopping(None, 0.0)
    if facts.wish is not None:
        return FENCED if facts.wish.reason is Reason.FENCED else facts.wish
    if facts.failure is not None:
        return Stopping(facts.failure.reason, 0.0)
    if status.has_failed:
        return Stopping(None, facts.grace_s)
    starts = [rank.started_at_s for rank in status.ranks if rank.started_at_s is not None]
    if facts.max_duration_s is not None and starts and now_s >= min(starts) + facts.max_duration_s:
        return Stopping(Reason.MAX_DURATION, facts.grace_s)
    return None


def _is_sooner(wanted: Stopping, known: Stopping | None) -> bool:
    """Tell whether a stop changes anything: the first one does, then only a shorter grace, or a fence."""
    is_fence = wanted.reason is Reason.FENCED
    return known is None or wanted.grace_s < known.grace_s or (is_fence and known.reason is not Reason.FENCED)


def _after_end(facts: Facts) -> Decision:
    if facts.is_disowned:
        return FORGET
    is_fenced = facts.wish is not None and facts.wish.reason is Reason.FENCED
    ending = _ending_of_stop(Reason.FENCED) if is_fenced else facts.failure or ending_of(facts)
    if not facts.is_collected and ending.result is not AttemptResult.FENCED:
        return Decision(Step.COLLECT, ending)
    return Decision(Step.END, ending)


def _has_begun(status: AttemptStatus) -> bool:
    return any(rank.state is not RankState.WAITING for rank in status.ranks)


def _ending_of_stop(reason: Reason) -> Ending:
    return Ending(_RESULTS.get(reason, AttemptResult.FAILED), reason)


def _ending_of_rank(rank: RankStatus) -> Ending:
    if rank.cause is not None:
        result = _RESULTS.get(rank.cause, AttemptResult.FAILED)
        return Ending(result, rank.cause, rank.message or f"rank {rank.rank} ended early")
    if rank.state is RankState.LOST or rank.exit is None:
        return Ending(AttemptResult.LOST, Reason.NODE_LOST, f"rank {rank.rank} vanished with its shim")
    if rank.exit.at_deadline:
        return Ending(AttemptResult.LOST, Reason.GRANT_EXPIRED, "nobody extended the grant in time")
    if rank.exit.oom:
        return Ending(AttemptResult.FAILED, Reason.OOM, f"rank {rank.rank} was killed for want of memory")
    how = f"signal {rank.exit.signal}" if rank.exit.signal is not None else f"code {rank.exit.exit_code}"
    return Ending(AttemptResult.FAILED, Reason.CONTAINER_EXIT, f"rank {rank.rank} ended with {how}")
