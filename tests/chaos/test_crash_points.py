"""The supervisor dies before and after each step after which a second try could do harm, on the real stack."""

from __future__ import annotations

import pytest

from nordan_workers.faults import STEPS
from support.chaos_audit import Books
from support.chaos_jobs import KINDS, Jobs, a_mix
from support.chaos_stack import FR, SE, ChaosStack
from support.chaos_supervisors import faulty_supervisors

pytestmark = pytest.mark.chaos
SEED = 20260303


@pytest.mark.parametrize("step", STEPS)
def test_jobs_end_right_although_supervisors_die_before_and_after(
    stack: ChaosStack, jobs: Jobs, books: Books, step: str
) -> None:
    with faulty_supervisors(stack, {FR: f"before_{step}", SE: f"after_{step}"}):
        for kind in a_mix(len(KINDS), SEED):
            for code in (FR, SE):
                jobs.submit(kind, region=code)
    jobs.wait_ends()
    books.check()
