"""When a rank is over: nothing is called over that may still run, and what was wanted explains the end."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import pytest

from nordan_core.domain.reasons import Reason
from nordan_core.wire import ExitReport
from nordan_workers.executors.kubernetes.endings import RankFacts, Want, end_of
from nordan_workers.executors.kubernetes.status import Outcome, PodView, Trouble

WAITING = PodView(name="p", uid="u", labels={}, attempt_id=None, rank=0)
BOUND = replace(WAITING, node="n")
RUNNING = replace(BOUND, is_running=True)


def ended(
    code: int | None, signal: int | None = None, cause: Reason | None = None, duration_s: float | None = None
) -> PodView:
    message, report = "said" if cause else "", ExitReport(rank=0, exit_code=code, signal=signal)
    return replace(BOUND, outcome=Outcome(report, duration_s, cause, message))


def gone(view: PodView) -> PodView:
    return replace(view, is_gone=True)


UNMADE = RankFacts(rank=0, want=Want.RUN)
MADE = replace(UNMADE, was_created=True)
RUNS = replace(MADE, may_run=True)
AWAY = replace(RUNS, is_node_away=True)
STOPPED = replace(RUNS, want=Want.STOPPED)
LATE = replace(RUNS, want=Want.LATE)
GIVEN_UP = Trouble(Reason.IMAGE_PULL_FAILED, "no image")
CONDEMNED = replace(MADE, want=Want.CONDEMNED, trouble=GIVEN_UP)
LOST_NODE = replace(AWAY, want=Want.CONDEMNED, trouble=Trouble(Reason.NODE_LOST, "silent"))
WORD = Outcome(ExitReport(rank=0, exit_code=5, signal=None), 3.0)


class End(NamedTuple):
    code: int | None = None
    signal: int | None = None
    cause: Reason | None = None
    at_deadline: bool = False


CASES: dict[str, tuple[PodView | None, RankFacts, End | None]] = {
    "a pod that is to be made": (None, UNMADE, None),
    "a pod that runs": (RUNNING, RUNS, None),
    "a program that ended well": (ended(0), RUNS, End(0)),
    "a program that failed": (ended(3), RUNS, End(3)),
    "too little memory": (ended(None, 9, Reason.OOM), RUNS, End(None, 9, Reason.OOM)),
    "stopped before a pod was made": (None, replace(UNMADE, want=Want.STOPPED), End(None, 15)),
    "late before a pod was made": (None, replace(UNMADE, want=Want.LATE), End(None, 9, None, True)),
    "refused by the cluster": (None, replace(CONDEMNED, was_created=False), End(cause=Reason.IMAGE_PULL_FAILED)),
    "stopped, and still running": (RUNNING, STOPPED, None),
    "stopped, and ended by the signal": (ended(None, 15), STOPPED, End(None, 15)),
    "stopped, and ended well meanwhile": (ended(0), STOPPED, End(0)),
    "stopped while it staged": (ended(None, None, Reason.INTERNAL_ERROR), STOPPED, End(None, 15)),
    "stopped, and the pod is gone": (gone(RUNNING), STOPPED, End(None, 15)),
    "late, and killed without a record": (ended(None, 9), LATE, End(None, 9, None, True)),
    "late, and the kubelet was faster than the agent": (
        ended(None, 15, duration_s=3.0),
        LATE,
        End(None, 15, None, True),
    ),
    "late, and the pod is gone": (gone(RUNNING), LATE, End(None, 9, None, True)),
    "given up, and still there": (BOUND, CONDEMNED, None),
    "given up, and gone": (gone(BOUND), CONDEMNED, End(cause=Reason.IMAGE_PULL_FAILED)),
    "deleted by somebody, and not yet gone": (replace(RUNNING, is_deleting=True), RUNS, None),
    "deleted by somebody": (replace(ended(None, 15), is_deleting=True), RUNS, End(None, 15, Reason.NODE_LOST)),
    "deleted by somebody when it had ended well": (replace(ended(0), is_deleting=True), RUNS, End(0)),
    "gone without a word": (gone(RUNNING), RUNS, End(cause=Reason.NODE_LOST)),
    "gone while nobody looked": (None, RUNS, End(cause=Reason.NODE_LOST)),
    "not in sight before the first list": (None, replace(RUNS, is_told=False), None),
    "made, and not in sight before the first list": (None, replace(MADE, is_told=False), None),
    "its node is silent": (RUNNING, AWAY, None),
    "its node is silent and its object was removed": (gone(RUNNING), AWAY, None),
    "its node is silent, and it is to stop": (gone(RUNNING), replace(AWAY, want=Want.STOPPED), None),
    "its node is silent, and its program never began": (
        gone(BOUND),
        replace(MADE, is_node_away=True),
        End(cause=Reason.NODE_LOST),
    ),
    "its node is silent, and it is past its bound": (
        RUNNING,
        replace(LOST_NODE, is_past_bound=True),
        End(cause=Reason.NODE_LOST),
    ),
    "to stop, never heard to be gone, and past its bound": (
        RUNNING,
        replace(STOPPED, is_past_bound=True),
        End(None, 15),
    ),
    "late, never heard to be gone, and past its bound": (
        RUNNING,
        replace(LATE, is_past_bound=True),
        End(None, 9, None, True),
    ),
    "its node is given up, and the agent says that it ended": (
        RUNNING,
        replace(LOST_NODE, is_over_there=True, word=WORD),
        End(5, None, Reason.NODE_LOST),
    ),
    "its node is given up, and the agent says that it ended well": (
        RUNNING,
        replace(LOST_NODE, is_over_there=True, word=replace(WORD, report=ExitReport(rank=0, exit_code=0, signal=None))),
        End(0),
    ),
    "its node is given up, and the agent knows no more than that": (
        RUNNING,
        replace(LOST_NODE, is_over_there=True),
        End(cause=Reason.NODE_LOST),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_end_of_a_rank(case: str) -> None:
    view, facts, wanted = CASES[case]
    outcome = end_of(view, facts)
    found = None
    if outcome is not None:
        report = outcome.report
        found = End(report.exit_code, report.signal, outcome.cause, report.at_deadline)
    assert found == wanted


@pytest.mark.parametrize("want", Want)
@pytest.mark.parametrize("view", [RUNNING, gone(RUNNING), None])
def test_what_may_run_on_a_silent_node_is_never_over_before_its_bound(view: PodView | None, want: Want) -> None:
    assert end_of(view, replace(AWAY, want=want, trouble=GIVEN_UP)) is None
