"""Every rule for one attempt, as a row: what is known, and the one step that follows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nordan_core.domain.ids import AttemptId
from nordan_core.domain.reasons import Reason
from nordan_core.domain.states import AttemptResult, AttemptState
from nordan_core.wire import ExitReport
from nordan_workers.executors.base import AttemptStatus, RankState, RankStatus
from nordan_workers.supervisor.attempts import Ending, Facts, Step, decide, ending_of, shown_state
from nordan_workers.supervisor.records import Phase, Stopping

NOW_S = 100.0
CANCEL = Stopping(Reason.CANCELLED_BY_USER, 10.0)
FENCE = Stopping(Reason.FENCED, 0.0)
ORDERED = Facts(phase=Phase.ORDERED, deadline_s=130.0, grace_s=10.0)
LAUNCHED = replace(ORDERED, phase=Phase.LAUNCHED, is_launched=True)
ENDED = replace(ORDERED, phase=Phase.ENDED)
BROKEN = Ending(AttemptResult.FAILED, Reason.INTERNAL_ERROR)


def waiting(rank: int = 0) -> RankStatus:
    return RankStatus(rank, RankState.WAITING)


def running(rank: int = 0, since_s: float = 50.0) -> RankStatus:
    return RankStatus(rank, RankState.RUNNING, pid=1, started_at_s=since_s)


def exited(
    rank: int = 0, code: int | None = 0, *, at_s: float = 90.0, signal: int | None = None, **exit_: bool
) -> RankStatus:
    report = ExitReport(rank=rank, exit_code=code, signal=signal, **exit_)
    return RankStatus(rank, RankState.EXITED, started_at_s=50.0, ended_at_s=at_s, exit=report)


def lost(rank: int = 0, at_s: float = 90.0) -> RankStatus:
    report = ExitReport(rank=rank, exit_code=None, signal=None)
    return RankStatus(rank, RankState.LOST, started_at_s=50.0, ended_at_s=at_s, exit=report)


def caused(cause: Reason, message: str = "") -> RankStatus:
    state = RankState.LOST if cause is Reason.NODE_LOST else RankState.EXITED
    return replace(lost(), state=state, cause=cause, message=message)


def status(*ranks: RankStatus) -> AttemptStatus:
    return AttemptStatus(AttemptId("att_x"), ranks, observed_at_s=NOW_S)


RULES = {
    "an ordered attempt is started": (ORDERED, Step.START),
    "while it is being staged, nothing else happens": (replace(ORDERED, is_busy=True), Step.WAIT),
    "staging that nobody wants any more is abandoned": (replace(ORDERED, is_busy=True, wish=CANCEL), Step.ABANDON),
    "staging beyond the deadline is abandoned": (replace(ORDERED, is_busy=True, deadline_s=99.0), Step.ABANDON),
    "cancelled before the start, it ends": (replace(ORDERED, wish=CANCEL), Step.END),
    "late before the start, it ends": (replace(ORDERED, deadline_s=100.0), Step.END),
    "disowned before the start, it is forgotten": (replace(ORDERED, is_disowned=True, wish=CANCEL), Step.FORGET),
    "staging that failed ends it": (replace(ORDERED, failure=BROKEN), Step.END),
    "asked grants are the redeemer's": (replace(ORDERED, phase=Phase.ASKED, deadline_s=0.0), Step.WAIT),
    "launched and not begun, a successor launches again": (
        replace(LAUNCHED, is_launched=False, status=status(waiting())),
        Step.START,
    ),
    "launched and unknown to the executor, a successor launches again": (
        replace(LAUNCHED, is_launched=False, status=None),
        Step.START,
    ),
    "launched and not begun, the one who launched waits": (replace(LAUNCHED, status=status(waiting())), Step.WAIT),
    "launched and not begun, a late successor ends it": (
        replace(LAUNCHED, is_launched=False, deadline_s=0.0, status=status(waiting())),
        Step.END,
    ),
    "launched and not begun, a cancelled one ends": (
        replace(LAUNCHED, wish=CANCEL, status=status(waiting())),
        Step.END,
    ),
    "a failed launch that began nothing ends it": (
        replace(LAUNCHED, failure=BROKEN, status=status(waiting())),
        Step.END,
    ),
    "a failed launch that began something is stopped": (
        replace(LAUNCHED, failure=BROKEN, status=status(running(), waiting(1))),
        Step.STOP,
    ),
    "a running attempt is left alone": (replace(LAUNCHED, status=status(running())), Step.WAIT),
    "its own deadline is the shim's business": (
        replace(LAUNCHED, deadline_s=0.0, status=status(running())),
        Step.WAIT,
    ),
    "a wish stops it": (replace(LAUNCHED, wish=CANCEL, status=status(running())), Step.STOP),
    "the same wish again changes nothing": (
        replace(LAUNCHED, wish=CANCEL, stopping=CANCEL, status=status(running())),
        Step.WAIT,
    ),
    "a shorter grace is passed on": (
        replace(LAUNCHED, wish=replace(CANCEL, grace_s=1.0), stopping=CANCEL, status=status(running())),
        Step.STOP,
    ),
    "a fence is passed on to what is being cancelled": (
        replace(LAUNCHED, wish=FENCE, stopping=replace(CANCEL, grace_s=0.0), status=status(running())),
        Step.STOP,
    ),
    "a disowned one is stopped": (replace(LAUNCHED, is_disowned=True, status=status(running())), Step.STOP),
    "a rank that failed stops the gang": (replace(LAUNCHED, status=status(running(), exited(1, 1))), Step.STOP),
    "a rank that ended well does not": (replace(LAUNCHED, status=status(running(), exited(1, 0))), Step.WAIT),
    "a lost rank stops the gang": (replace(LAUNCHED, status=status(running(), lost(1))), Step.STOP),
    "over its time, it is stopped": (replace(LAUNCHED, max_duration_s=50.0, status=status(running())), Step.STOP),
    "within its time, it is not": (replace(LAUNCHED, max_duration_s=50.1, status=status(running())), Step.WAIT),
    "over, what it left is collected": (replace(LAUNCHED, status=status(exited())), Step.COLLECT),
    "a failed one's checkpoints are collected too": (replace(LAUNCHED, status=status(exited(0, 1))), Step.COLLECT),
    "collected, it ends": (replace(LAUNCHED, is_collected=True, status=status(exited())), Step.END),
    "a fenced one ends uncollected": (replace(LAUNCHED, stopping=FENCE, status=status(exited())), Step.END),
    "one that is fenced while it ends, too": (replace(LAUNCHED, wish=FENCE, status=status(exited())), Step.END),
    "a disowned one is forgotten without a report": (
        replace(LAUNCHED, is_disowned=True, status=status(exited())),
        Step.FORGET,
    ),
    "busy, it is left alone": (replace(LAUNCHED, is_busy=True, wish=CANCEL, status=status(running())), Step.WAIT),
    "an end waits until it is settled": (ENDED, Step.WAIT),
    "a settled end is forgotten": (replace(ENDED, is_settled=True), Step.FORGET),
    "a disowned end is forgotten": (replace(ENDED, is_disowned=True), Step.FORGET),
    "forgetting is done once": (replace(ENDED, is_settled=True, is_busy=True), Step.WAIT),
}


@pytest.mark.parametrize("rule", RULES)
def test_the_step(rule: str) -> None:
    facts, step = RULES[rule]
    assert decide(facts, NOW_S).step is step


ENDINGS = {
    "all ranks ended well": (None, [exited(), exited(1)], AttemptResult.SUCCEEDED, None),
    "a program failed": (None, [exited(0, 2)], AttemptResult.FAILED, Reason.CONTAINER_EXIT),
    "the kernel killed it for memory": (
        None,
        [exited(0, None, signal=9, oom=True)],
        AttemptResult.FAILED,
        Reason.OOM,
    ),
    "nobody extended it": (
        None,
        [exited(0, None, signal=15, at_deadline=True)],
        AttemptResult.LOST,
        Reason.GRANT_EXPIRED,
    ),
    "its shim died": (None, [lost()], AttemptResult.LOST, Reason.NODE_LOST),
    "the earliest failure counts": (
        None,
        [exited(0, None, signal=15, at_s=91.0), exited(1, 7, at_s=90.0)],
        AttemptResult.FAILED,
        Reason.CONTAINER_EXIT,
    ),
    "a shim's death before the others' stop counts": (
        Stopping(None, 10.0),
        [exited(0, None, signal=15, at_s=91.0), lost(1, at_s=90.0)],
        AttemptResult.LOST,
        Reason.NODE_LOST,
    ),
    "its node vanished": (None, [caused(Reason.NODE_LOST)], AttemptResult.LOST, Reason.NODE_LOST),
    "its image cannot be had": (
        None,
        [caused(Reason.IMAGE_PULL_FAILED)],
        AttemptResult.FAILED,
        Reason.IMAGE_PULL_FAILED,
    ),
    "its node has no room": (
        None,
        [caused(Reason.NODE_CAPACITY_TAKEN), waiting(1)],
        AttemptResult.FAILED,
        Reason.NODE_CAPACITY_TAKEN,
    ),
    "its container had too little memory": (None, [caused(Reason.OOM)], AttemptResult.FAILED, Reason.OOM),
    "cancelled, whatever the program said": (CANCEL, [exited()], AttemptResult.CANCELLED, Reason.CANCELLED_BY_USER),
    "preempted": (Stopping(Reason.PREEMPTED, 30.0), [exited(0, 143)], AttemptResult.PREEMPTED, Reason.PREEMPTED),
    "fenced": (FENCE, [exited(0, None, signal=9)], AttemptResult.FENCED, Reason.FENCED),
    "over its time": (
        Stopping(Reason.MAX_DURATION, 10.0),
        [exited(0, None, signal=15)],
        AttemptResult.FAILED,
        Reason.MAX_DURATION,
    ),
}


@pytest.mark.parametrize("case", ENDINGS)
def test_the_ending(case: str) -> None:
    stopping, ranks, result, reason = ENDINGS[case]
    ending = ending_of(replace(LAUNCHED, stopping=stopping, status=status(*ranks)))
    assert (ending.result, ending.reason) == (result, reason)


def test_what_the_executor_says_of_a_cause_reaches_the_owner() -> None:
    facts = replace(LAUNCHED, status=status(caused(Reason.IMAGE_PULL_FAILED, "no such image")))
    assert ending_of(facts).message == "no such image"
    unexplained = replace(LAUNCHED, status=status(caused(Reason.IMAGE_PULL_FAILED)))
    assert ending_of(unexplained).message


def test_a_gang_that_failed_gets_its_own_grace() -> None:
    decision = decide(replace(LAUNCHED, status=status(running(), exited(1, 1))), NOW_S)
    assert decision.stopping == Stopping(None, 10.0)


def test_a_fence_has_no_grace_whatever_the_order_said() -> None:
    decision = decide(replace(LAUNCHED, wish=Stopping(Reason.FENCED, 60.0), status=status(running())), NOW_S)
    assert decision.stopping == FENCE


ranks = st.sampled_from([waiting(), running(), exited(), exited(0, 1), lost()])
statuses = st.none() | st.lists(ranks, min_size=1, max_size=3).map(lambda some: status(*some))
facts_of_any_kind = st.builds(
    Facts,
    phase=st.sampled_from(Phase),
    deadline_s=st.sampled_from([0.0, 130.0]),
    grace_s=st.just(10.0),
    max_duration_s=st.none() | st.just(1.0),
    is_busy=st.booleans(),
    is_launched=st.booleans(),
    is_disowned=st.booleans(),
    is_settled=st.booleans(),
    wish=st.none() | st.sampled_from([CANCEL, FENCE]),
    stopping=st.none() | st.sampled_from([CANCEL, FENCE, Stopping(None, 0.0)]),
    failure=st.none() | st.just(BROKEN),
    status=statuses,
    is_collected=st.booleans(),
)


@given(facts_of_any_kind)
def test_whatever_is_known_there_is_a_step_and_a_state(facts: Facts) -> None:
    decision = decide(facts, NOW_S)
    assert shown_state(facts) in AttemptState
    # Nothing is started that somebody wants stopped, or whose grant has run out.
    if decision.step is Step.START:
        assert facts.wish is None
        assert not facts.is_disowned
        assert facts.deadline_s > NOW_S
    # Only success carries outputs, and a fenced or disowned attempt never succeeds.
    if decision.ending is not None and (facts.is_disowned or facts.wish == FENCE):
        assert decision.ending.result is not AttemptResult.SUCCEEDED
    # A busy attempt is left alone.
    if facts.is_busy:
        assert decision.step in {Step.WAIT, Step.ABANDON}
