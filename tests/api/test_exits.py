"""The exit code of a gang is that of the rank that failed first, whatever the others were stopped with."""

from __future__ import annotations

import signal

import pytest

from nordan_api.workers.exits import exit_code_of
from nordan_core.domain.ids import AttemptId
from nordan_core.domain.states import AttemptResult, AttemptState
from nordan_core.wire import AttemptReport, ExitReport
from nordan_workers.executors.base import AttemptStatus, RankState, RankStatus
from nordan_workers.supervisor.attempts import Facts, ending_of
from nordan_workers.supervisor.records import Phase
from support.lab import Lab


def over(rank: int, at_s: float, code: int | None = None, number: int | None = None) -> RankStatus:
    """Return a rank that has exited."""
    exit_ = ExitReport(rank=rank, exit_code=code, signal=number)
    return RankStatus(rank, RankState.EXITED, started_at_s=1.0, ended_at_s=at_s, exit=exit_)


def vanished(rank: int, at_s: float) -> RankStatus:
    """Return a rank whose shim is gone."""
    exit_ = ExitReport(rank=rank, exit_code=None, signal=None)
    return RankStatus(rank, RankState.LOST, started_at_s=1.0, ended_at_s=at_s, exit=exit_)


def reported(*ranks: RankStatus) -> AttemptReport:
    """Return the last report of a supervisor that sees these ranks."""
    facts = Facts(phase=Phase.LAUNCHED, deadline_s=99.0, grace_s=5.0, status=AttemptStatus(AttemptId("att_1"), ranks))
    ending = ending_of(facts)
    exits = tuple(one.exit for one in ranks if one.exit is not None)
    return AttemptReport(
        attempt_id="att_1",
        fence=1,
        seq=1,
        state=AttemptState.ENDED,
        result=ending.result,
        reason=ending.reason,
        message=ending.message,
        ranks=exits,
        first_failed=ending.first_failed,
    )


TERM, KILL = int(signal.SIGTERM), int(signal.SIGKILL)
ENDS = {
    "the second rank fails, the first is stopped": ((over(0, 9.0, number=TERM), over(1, 5.0, 3)), 3),
    "the first rank fails, the second is stopped": ((over(0, 5.0, 4), over(1, 9.0, number=TERM)), 4),
    "what is told to stop ends with a code of its own": ((over(0, 9.0, 7), over(1, 5.0, 3)), 3),
    "the second is killed, the first is stopped": ((over(0, 9.0, number=TERM), over(1, 5.0, number=KILL)), 128 + KILL),
    "the last of twelve": ((*(over(rank, 9.0, number=TERM) for rank in range(11)), over(11, 5.0, 6)), 6),
    "all is well": ((over(0, 5.0, 0), over(1, 5.0, 0)), 0),
    "the second vanished and left no code": ((over(0, 9.0, number=TERM), vanished(1, 5.0)), None),
}


@pytest.mark.parametrize(("ranks", "code"), ENDS.values(), ids=ENDS)
def test_the_code_is_that_of_the_rank_that_the_supervisor_saw_fail_first(
    ranks: tuple[RankStatus, ...], code: int | None
) -> None:
    """The supervisor's own function says which rank that is."""
    report = reported(*ranks)
    assert exit_code_of(report, has_succeeded=report.result is AttemptResult.SUCCEEDED) == code


def test_without_a_named_rank_the_first_code_counts() -> None:
    """Such as an end that somebody asked for."""
    exits = (ExitReport(rank=0, exit_code=0, signal=None), ExitReport(rank=1, exit_code=None, signal=TERM))
    report = AttemptReport(attempt_id="att_1", fence=1, seq=1, state=AttemptState.ENDED, ranks=exits)
    assert exit_code_of(report, has_succeeded=False) == 128 + TERM


def test_what_a_message_says_of_ranks_counts_for_nothing() -> None:
    """It is for people. A region of the version before names no rank otherwise; its reports stay valid."""
    exits = (ExitReport(rank=0, exit_code=None, signal=TERM), ExitReport(rank=1, exit_code=3, signal=None))
    report = AttemptReport(
        attempt_id="att_1",
        fence=1,
        seq=1,
        state=AttemptState.ENDED,
        message="rank 1 ended with code 3",
        ranks=exits,
    )
    assert exit_code_of(report, has_succeeded=False) == 128 + TERM
    assert exit_code_of(report.model_copy(update={"first_failed": 1}), has_succeeded=False) == 3


def test_an_attempt_is_shown_with_that_code(lab: Lab) -> None:
    """As the supervisor tells it."""
    job, region, run = lab.running(nodes=2)
    told = reported(over(0, 9.0, number=TERM), over(1, 5.0, 3))
    ranks = [one.model_dump() for one in told.ranks]
    ended = run.ended(
        "failed", ranks=ranks, reason="container_exit", message="it failed", first_failed=told.first_failed
    )
    region.sync(ended)
    [attempt] = lab.show(job)["attempts"]
    assert (attempt["exit_code"], attempt["message"]) == (3, "it failed")
