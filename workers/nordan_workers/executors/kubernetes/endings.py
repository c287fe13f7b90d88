"""Whether a rank is over, and how: a pure function from what is known of its pod, its node and what was wanted.

The rule behind all rows: nothing is called over that may still run. A pod that ended says so. A pod that is gone has
ended, if its node answers. Where the node does not, only the agent's word counts, or that the deadline has passed,
which the helper in the pod keeps by itself.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, replace
from enum import StrEnum

from nordan_core.domain.reasons import Reason
from nordan_core.wire import ExitReport
from nordan_workers.executors.kubernetes.status import Outcome, PodView, Trouble


class Want(StrEnum):
    """Why the pod should not be there, if it should not."""

    RUN = "run"
    CONDEMNED = "condemned"
    STOPPED = "stopped"
    LATE = "late"
    """Its deadline has passed."""


@dataclass(frozen=True, slots=True)
class RankFacts:
    """What is known of one rank beside its pod's object."""

    rank: int
    want: Want
    trouble: Trouble | None = None
    """Why it was condemned."""
    was_created: bool = False
    """A pod was made, as far as notes tell."""
    may_run: bool = False
    """Its program may have begun, as far as anybody has said."""
    is_told: bool = True
    """The list of pods is known: a pod that is not in it is not there."""
    is_node_away: bool = False
    is_past_bound: bool = False
    """The deadline passed a while ago, and nobody moved it: whatever ran has been ended by the helper."""
    is_over_there: bool = False
    """The agent has said that the program ended."""
    word: Outcome | None = None
    """What the agent said about it."""


def end_of(view: PodView | None, facts: RankFacts) -> Outcome | None:
    """Return how the rank ended; None while it may run or may yet begin."""
    # 1. The pod says it itself.
    if view is not None and view.outcome is not None:
        return _explained(view.outcome, view, facts)
    # 2. There never was a pod, and nobody wants one any more.
    is_absent = view is None and not facts.was_created
    if is_absent:
        return _unseen(facts) if facts.want is not Want.RUN else None
    # 3. Time has ended it, whoever can be heard.
    if facts.is_past_bound:
        return _unseen(facts)
    # 4. The node is not heard: the agent's word counts.
    if facts.is_node_away and facts.may_run:
        return _explained(facts.word or _unseen(facts), view, facts) if facts.is_over_there else None
    # 5. The pod was there and is not.
    is_gone = view.is_gone if view is not None else facts.is_told
    return _unseen(facts) if is_gone else None


_TAKEN = Trouble(Reason.NODE_LOST, "its pod was deleted, and not by Nordan")


def _explained(outcome: Outcome, view: PodView | None, facts: RankFacts) -> Outcome:
    """Return the outcome as it is to be understood: what was wanted explains a pod's end better than its exit code."""
    if outcome.is_success or (outcome.cause is Reason.OOM and facts.want is Want.RUN):
        return outcome
    if facts.want is Want.CONDEMNED and facts.trouble is not None:
        return replace(outcome, cause=facts.trouble.cause, message=facts.trouble.message)
    if facts.want is Want.LATE and outcome.duration_s is None:
        return Outcome(_killed(facts))
    if facts.want is Want.LATE and outcome.report.signal is not None:
        # Where the kubelet was faster than the agent, the helper took the deadline for a stop.
        return replace(outcome, report=outcome.report.model_copy(update={"at_deadline": True}), cause=None, message="")
    if facts.want is not Want.RUN:
        # The stop is told by who wanted it; a pod that was ended while it staged has failed for no reason of its own.
        bare = outcome.report.exit_code is None and outcome.report.signal is None
        return Outcome(_killed(facts)) if bare else replace(outcome, cause=None, message="")
    if view is not None and view.is_deleting and outcome.cause is None:
        return replace(outcome, cause=_TAKEN.cause, message=_TAKEN.message)
    return outcome


def _unseen(facts: RankFacts) -> Outcome:
    """Return the outcome of a rank whose pod said nothing about its end."""
    if facts.want in {Want.STOPPED, Want.LATE}:
        return Outcome(_killed(facts))
    trouble = facts.trouble or _TAKEN
    return Outcome(ExitReport(rank=facts.rank, exit_code=None, signal=None), None, trouble.cause, trouble.message)


def _killed(facts: RankFacts) -> ExitReport:
    is_late = facts.want is Want.LATE
    number = signal.SIGKILL if is_late else signal.SIGTERM
    return ExitReport(rank=facts.rank, exit_code=None, signal=int(number), at_deadline=is_late)
