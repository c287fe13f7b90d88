"""One stack for all tests of a process, since a start takes long, and its jobs: every audit covers all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.chaos_audit import Books
from support.chaos_jobs import Jobs
from support.chaos_stack import ChaosStack, chaos_stack


@pytest.fixture(scope="session")
def stack() -> Iterator[ChaosStack]:
    """Yield a running stack of two regions."""
    with chaos_stack() as stack:
        yield stack


@pytest.fixture(scope="session")
def jobs(stack: ChaosStack) -> Iterator[Jobs]:
    """Yield the jobs of the stack, none at first."""
    jobs = Jobs(stack)
    yield jobs
    jobs.close()


@pytest.fixture(scope="session")
def books(stack: ChaosStack, jobs: Jobs) -> Books:
    """Return the audit of the stack and its jobs."""
    return Books(stack, jobs)
