"""Parts that are stopped and go on later: a leader in mid-apply, a broker, the api."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack
from statistics import median

import pytest

from support.chaos_audit import Books
from support.chaos_jobs import BY_NAME, Jobs
from support.chaos_schedulers import self_stopping_leader, wait_cut_off, wait_stopped
from support.chaos_stack import FR, SE, ChaosStack, until

pytestmark = pytest.mark.chaos
SEED = 20260302
STOPPED_S = 10.0
PACED = 25
#: Long enough for what it might do next, and to stand by.
AWAKE_S = 3.0
_GRANTED = """
    select g.id, g.state, g.redemption_id, a.state, l.closed_at from attempt_grant g
    join attempt a on a.id = g.attempt_id left join lease l on l.attempt_id = a.id order by g.id
"""
_REDEEMED = "select id from attempt where job_id = any(%(ids)s) and redeemed_at is not null"
_TOOK = """
    select extract(epoch from finished_at - created_at)::float from job
    where id = any(%(ids)s) and finished_at is not null
"""


def test_a_leader_stopped_for_ten_seconds_in_mid_apply_changes_nothing_when_it_wakes(
    stack: ChaosStack, jobs: Jobs, books: Books
) -> None:
    name, leader = stack.leader()
    with ExitStack() as stopped:
        # 1. Hold the nodes, so that apply waits in the middle of its transaction, and stop the leader there.
        with stack.connect() as holder:
            holder.execute("select name from node for update")
            jobs.submit_mix(40, SEED)
            until(lambda: _is_in_apply(stack), "apply to wait for the nodes")
            stopped.enter_context(stack.stopped(leader))
            began = time.monotonic()
        # 2. The standby takes over and does the work meanwhile.
        jobs.wait_ends()
        assert stack.leader()[0] != name
        time.sleep(max(0.0, began + STOPPED_S - time.monotonic()))
    # 3. The old leader wakes in a transaction that is gone.
    [(epoch,)] = stack.rows("select epoch from leader")
    jobs.submit_mix(20, SEED + 1)
    jobs.wait_ends()
    assert leader.is_alive(), "it has lost the lead, and nothing else"
    assert stack.rows("select epoch from leader") == [(epoch,)]
    books.check()


def test_a_leader_stopped_before_its_commit_changes_nothing_when_it_wakes(
    stack: ChaosStack, jobs: Jobs, books: Books
) -> None:
    """It has written grants, leases and GPUs of what waits, and its word to the brokers; nobody has seen any of it."""
    with self_stopping_leader(stack, "before_commit") as leader:
        [(epoch,)] = stack.rows("select epoch from leader")
        jobs.submit_mix(40, SEED + 3)
        wait_stopped(leader)
        began = time.monotonic()
        # 1. PostgreSQL ends its session, the standby takes over and does the work meanwhile.
        jobs.wait_ends()
        assert stack.rows("select epoch > %(mine)s from leader", {"mine": epoch}) == [(True,)]
        time.sleep(max(0.0, began + STOPPED_S - time.monotonic()))
        before = stack.rows(_GRANTED)
        # 2. It wakes and tries to commit.
        leader.send(signal.SIGCONT)
        wait_cut_off(stack)
        time.sleep(AWAKE_S)
        assert stack.rows(_GRANTED) == before
        # 3. What comes now is the successor's, too.
        jobs.submit_mix(20, SEED + 4)
        jobs.wait_ends()
        assert leader.is_alive(), "it has lost the lead, and nothing else"
        books.check()


def test_a_stopped_broker_holds_up_its_own_region_only(stack: ChaosStack, jobs: Jobs, books: Books) -> None:
    # 1. The pace of one region beside the other.
    usual_s = _pace_s(stack, _submit_to_both(jobs)[SE])
    jobs.wait_ends()
    # 2. The same with the other's broker stopped.
    with stack.stopped(stack.process(f"valkey-{FR}")):
        submitted = _submit_to_both(jobs)
        paced_s = _pace_s(stack, submitted[SE])
        heard = stack.rows(_REDEEMED, {"ids": submitted[FR]})
    # 3. What was held up goes on.
    jobs.wait_ends()
    assert heard == [], "nothing told the region of its grants"
    print(f"median {usual_s:.2f} s, with the other broker stopped {paced_s:.2f} s")
    assert paced_s <= 1.5 * usual_s + 0.5
    books.check()


def test_what_ends_while_the_api_is_stopped_is_started_again_at_once(
    stack: ChaosStack, jobs: Jobs, books: Books
) -> None:
    name = f"worker-{SE}"
    with stack.stopped(stack.process("api")):
        # Long enough for `up` to have asked it something.
        time.sleep(2.0)
        stack.wait_replaced(name, stack.kill(name), timeout_s=5.0)
    jobs.submit_mix(10, SEED + 2)
    jobs.wait_ends()
    books.check()


def _submit_to_both(jobs: Jobs) -> dict[str, list[str]]:
    submitted: dict[str, list[str]] = {FR: [], SE: []}
    for _ in range(PACED):
        for code, ids in submitted.items():
            ids.append(jobs.submit(BY_NAME["true"], region=code))
    return submitted


def _pace_s(stack: ChaosStack, ids: list[str]) -> float:
    """Wait until these jobs have ended and return the median time that they took."""
    until(lambda: len(stack.rows(_TOOK, {"ids": ids})) == len(ids), "the region's jobs to end")
    return median(float(took) for (took,) in stack.rows(_TOOK, {"ids": ids}))


def _is_in_apply(stack: ChaosStack) -> bool:
    waiting = "select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like '%FROM node%'"
    return bool(stack.rows(waiting))
