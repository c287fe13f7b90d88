"""Which atlas must have been judged by, as far as a log tells."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from nordan_core.proof.in_force import Application, InForce
from nordan_core.proof.judgement import Judgement, Question

FIRST = datetime(2026, 11, 1, tzinfo=UTC)
SECOND = FIRST + timedelta(days=1)
HOUR, SECOND_S = timedelta(hours=1), timedelta(seconds=1)
APPLIED = [Application(SECOND, "b"), Application(FIRST, "a")]

#: Instant and atlas of a judgement, and whether that can be.
WHEN = {
    "while the first was in force": (FIRST + HOUR, "a", True),
    "by the second before it was in force": (FIRST + HOUR, "b", False),
    "by the second from then on": (SECOND + HOUR, "b", True),
    "by the first long after": (SECOND + HOUR, "a", False),
    "by the first a moment after, by a clock that is late": (SECOND + SECOND_S, "a", True),
    "by the first longer after than clocks differ": (SECOND + timedelta(seconds=60), "a", False),
    "by the second a moment before, by a clock that is early": (SECOND - SECOND_S, "b", True),
    "by one that the log never told of": (SECOND + HOUR, "c", False),
    "before the log tells of any": (FIRST - HOUR, "c", True),
}


@pytest.mark.parametrize(("at", "atlas", "can_be"), WHEN.values(), ids=WHEN)
def test_what_was_judged_was_judged_by_the_atlas_of_its_time(at: datetime, atlas: str, can_be: bool) -> None:
    judgement = Judgement(Question.RUN, allowed=True, at=at, atlas=atlas, policies=("p",))
    in_force = InForce(APPLIED, late=timedelta(seconds=120), skew=timedelta(seconds=5))
    assert (list(in_force.faults(judgement)) == []) is can_be


def test_a_log_that_tells_of_no_atlas_is_let_pass() -> None:
    judgement = Judgement(Question.RUN, allowed=True, at=FIRST, atlas="a", policies=("p",))
    assert list(InForce([], late=HOUR, skew=HOUR).faults(judgement)) == []
