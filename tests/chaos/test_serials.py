"""A transaction that is held open between two serials: what it wrote is missed by nobody once it commits."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from nordan_core.identifiers import new_id
from support.chaos_audit import Books
from support.chaos_jobs import BY_NAME, Jobs
from support.chaos_stack import ChaosStack, until

pytestmark = pytest.mark.chaos
SEED = 20260304
#: Written with SQL, so that no NOTIFY tells anybody: the readers must find the rows by themselves.
_JOB = """
    insert into job select (jsonb_populate_record(j, jsonb_build_object(
        'id', %(id)s::text, 'state', 'queued', 'history', jsonb_build_array(j.history -> 0), 'version', 1,
        'attempts_made', 0, 'finished_at', null, 'reason', null, 'message', '', 'created_at', now()))).*
    from job j where id = %(like)s
"""
_ENTRY = """
    insert into audit_entry (id, act, subject, actor, at, body, salt)
    values (%(id)s, %(act)s, %(subject)s, 'chaos', now(), '{}', '0123456789abcdef')
"""
_NUDGE = """
    insert into outbox (grant_id, region, not_before)
    select id, region, now() from attempt_grant order by created_at limit 1 returning id
"""


def test_rows_that_commit_late_are_missed_by_neither_cycle_nor_relay_nor_sealer(
    stack: ChaosStack, jobs: Jobs, books: Books
) -> None:
    first = jobs.submit(BY_NAME["true"])
    jobs.wait_ends()
    with stack.connect() as late:
        # 1. Draw the serials early: a job, its entry, an entry of another kind, a nudge.
        job, nudge = _write(late, like=first)
        # 2. Everything that comes after them is placed, sent, sealed and certified meanwhile.
        jobs.submit_mix(60, SEED)
        jobs.wait_ends()
        books.check()
        [(sealed,)] = stack.rows("select count(*) from audit_entry where leaf_index is not null")
        [(newest,)] = stack.rows("select last_value from outbox_id_seq")
        assert newest > nudge
    # 3. Now the early ones are there too, and nobody tells.
    jobs.submitted[job] = BY_NAME["true"]
    until(lambda: _count(stack, "job", job, "state = 'succeeded'") == 1, "the late job to end")
    books.check()
    [(first_leaf,)] = stack.rows("select min(leaf_index) from audit_entry where subject = %(job)s", {"job": job})
    assert first_leaf >= sealed, "it was appended, not squeezed in"


def test_what_is_rolled_back_leaves_nothing_behind(stack: ChaosStack, jobs: Jobs, books: Books) -> None:
    first = jobs.submit(BY_NAME["true"])
    jobs.wait_ends()
    with stack.connect() as late:
        job, nudge = _write(late, like=first)
        jobs.submit_mix(20, SEED + 1)
        late.rollback()
    jobs.wait_ends()
    books.check()
    assert _count(stack, "job", job) == 0
    assert _count(stack, "outbox", nudge) == 0


def _write(late: psycopg.Connection[tuple[Any, ...]], *, like: str) -> tuple[str, int]:  # Any: columns
    job = new_id("job")
    late.execute(_JOB, {"id": job, "like": like})
    late.execute(_ENTRY, {"id": new_id("aud"), "act": "job_accepted", "subject": job})
    late.execute(_ENTRY, {"id": new_id("aud"), "act": "policy_changed", "subject": "chaos"})
    [(nudge,)] = late.execute(_NUDGE).fetchall()
    return job, int(nudge)


def _count(stack: ChaosStack, table: str, key: str | int, condition: str = "true") -> int:
    [(found,)] = stack.rows(f"select count(*) from {table} where id = %(key)s and {condition}", {"key": key})
    return int(found)
