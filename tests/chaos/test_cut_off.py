"""A region that hears nothing from its control plane: its attempt stops by itself before another one may begin."""

from __future__ import annotations

import pytest

from support.chaos_audit import Books
from support.chaos_jobs import Jobs, Kind
from support.chaos_stack import FR, ChaosStack, until

pytestmark = pytest.mark.chaos
#: As short as tests need it; sensitive jobs have 45 s.
TTL_S = 6.0
#: Notes twenty times a second that it runs; its second attempt is short.
PULSE = Kind(
    "pulse",
    '[ "$NORDAN_FENCE" -gt 1 ] || while :; do date +%s.%N >> "$STARTS/pulse-$NORDAN_ATTEMPT"; sleep 0.05; done',
    0,
    attempts=2,
)
_ATTEMPTS = """
    select a.id, extract(epoch from a.created_at)::float, a.reason, extract(epoch from a.ended_at)::float
    from attempt a where a.job_id = %(job)s order by a.number
"""


@pytest.mark.parametrize("part", [f"supervisor-{FR}", "api"])
def test_an_attempt_without_renewal_ends_before_the_next_begins(
    stack: ChaosStack, jobs: Jobs, books: Books, part: str
) -> None:
    # 1. A grant with a short life: changed before anybody redeems it.
    with stack.stopped(stack.process(f"supervisor-{FR}")):
        job = jobs.submit(PULSE, region=FR)
        until(lambda: len(stack.rows(_ATTEMPTS, {"job": job})) == 1, "the first attempt to be placed")
        with stack.connect() as connection:
            connection.execute("update attempt_grant set ttl_s = %s where state = 'issued'", [TTL_S])
    until(lambda: stack.has_started(job), "the first attempt to run")
    # 2. Cut off for as long as it takes the control plane to give it up.
    with stack.stopped(stack.process(part)):
        until(lambda: len(stack.rows(_ATTEMPTS, {"job": job})) == 2, "another attempt to be placed")
    jobs.wait_ends()
    # 3. The first was gone by then.
    (first, _, reason, lost_at), (_, second_at, _, _) = stack.rows(_ATTEMPTS, {"job": job})
    pulse = stack.starts / f"pulse-{first}"
    stopped_at = float(pulse.read_text().splitlines()[-1])
    pulse.unlink()
    assert reason == "grant_expired"
    assert stopped_at < lost_at <= second_at
    books.check()
