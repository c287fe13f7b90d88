"""The audit itself: every rule sees the damage that it is there for, so that its silence means something."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from support.chaos_audit import Books
from support.chaos_jobs import BY_NAME, KINDS, Jobs
from support.chaos_rules import RULES
from support.chaos_stack import ChaosStack

pytestmark = pytest.mark.chaos
_ONE = "(select id from attempt where result = 'succeeded' order by id limit 1)"
_JOB = f"(select job_id from attempt where id = {_ONE})"
_MODEL = "(select id from artifact where kind = 'output' order by id limit 1)"
#: Done in a transaction that is rolled back.
DAMAGE: Mapping[str, str] = {
    "a job has not ended": f"update job set state = 'running' where id = {_JOB}",
    "a job's history does not end once, in its state": f"""
        update job set history = history || (history -> -1) where id = {_JOB}
    """,
    "a job does not count its attempts": f"update job set attempts_made = attempts_made + 1 where id = {_JOB}",
    "an attempt has not ended": f"update attempt set state = 'running' where id = {_ONE}",
    "fences do not rise": "update attempt set fence = 1 where number = 2",
    "an attempt began before the one before it had ended": """
        update attempt set created_at = created_at - interval '1 h' where number = 2
    """,
    "a job went on after an attempt that succeeded": """
        update attempt set result = 'succeeded' where number = 1 and job_id in
        (select job_id from attempt where number = 2)
    """,
    "a job succeeded without an attempt that did, or the other way round": f"""
        update job set state = 'failed' where id = {_JOB}
    """,
    "a node is not free again": "update node set free_mask = free_mask - 4",
    "a GPU was given twice": "update attempt set ended_at = ended_at + interval '1 h'",
    # Without root a pool may stay bound; in a region that can keep tenants apart it may not.
    "a pool is still bound to an organisation": """
        with apart as (update region set offers_tenancy = null) update pool set single_tenant = 'org'
    """,
    "an attempt has not exactly one grant": f"delete from attempt_grant where attempt_id = {_ONE}",
    "a grant lives": f"update attempt_grant set state = 'redeemed' where attempt_id = {_ONE}",
    "a grant was issued or redeemed more than once": """
        update audit_entry set body = (select body from audit_entry where act = 'grant_redeemed' limit 1)
        where act = 'grant_redeemed'
    """,
    "a redemption and its entry do not go together": f"""
        update attempt_grant set redemption_id = null where attempt_id = {_ONE}
    """,
    "an attempt ran without a redemption": f"update attempt_grant set redemption_id = null where attempt_id = {_ONE}",
    "an attempt has not exactly one closed lease": f"update lease set closed_at = null where attempt_id = {_ONE}",
    "a bill is not price times time": f"""
        update lease set cost_micro_eur = cost_micro_eur + 1000 where attempt_id = {_ONE}
    """,
    "a nudge was left in the outbox": """
        insert into outbox (grant_id, region, not_before) select id, region, now() from attempt_grant limit 1
    """,
    "outputs of several attempts were published": f"""
        insert into artifact
        select (jsonb_populate_record(f, jsonb_build_object('id', 'art_x', 'attempt_id', {_ONE}))).*
        from artifact f where kind = 'output' and attempt_id <> {_ONE} limit 1
    """,
    "an output was published twice": f"""
        insert into artifact
        select (jsonb_populate_record(f, '{{"id": "art_x"}}')).* from artifact f where id = {_MODEL}
    """,
    "a checkpoint was published twice": """
        insert into artifact
        select (jsonb_populate_record(f, '{"id": "art_x"}')).* from artifact f where kind = 'checkpoint' limit 1
    """,
    "an output is of an attempt that did not succeed": "update attempt set result = 'failed'",
    "an output lies elsewhere than where it was made": f"delete from location where artifact_id = {_MODEL}",
    "a submission has not exactly one entry": f"""
        delete from audit_entry where act = 'job_accepted' and subject = {_JOB}
    """,
    "an attempt's end has not exactly one entry": f"""
        delete from audit_entry where act = 'attempt_ended' and body ->> 'attempt' = {_ONE}
    """,
    "an output's publication has not exactly one entry": "delete from audit_entry where act = 'artifact_stored'",
    "an entry is not sealed": "update audit_entry set leaf_index = null where leaf_index = 3",
    "a certificate is missing": f"update certificate set envelope = null where job_id = {_JOB}",
}


def test_the_damages_are_those_of_the_rules() -> None:
    assert DAMAGE.keys() == RULES.keys()


def test_each_rule_sees_its_damage_and_an_undamaged_stack_breaks_none(
    stack: ChaosStack, jobs: Jobs, books: Books
) -> None:
    for kind in KINDS:
        jobs.submit(kind)
    jobs.wait_ends()
    books.check()
    unseen = [rule for rule, damage in DAMAGE.items() if not _is_seen(stack, rule, damage)]
    assert unseen == []


def test_a_second_start_and_a_wrong_end_are_seen(stack: ChaosStack, jobs: Jobs, books: Books) -> None:
    job = jobs.submit(BY_NAME["true"])
    jobs.wait_ends()
    books.check()
    [(attempt,)] = stack.rows("select id from attempt where job_id = %(job)s", {"job": job})
    starts = stack.starts / f"{attempt}.0"
    starts.write_text("1\n1\n")
    jobs.submitted[job] = BY_NAME["exit"]
    faults = " ".join(books.faults())
    starts.write_text("1\n")
    jobs.submitted[job] = BY_NAME["true"]
    assert f"rank 0 of {attempt} (fence 1, succeeded) was started 2 times" in faults
    assert (
        f"exit {job} ended as ('succeeded', None, 1, 0, [], 0), not as ('failed', 'container_exit', 1, 3, [], 0)"
        in faults
    )
    books.check()


def _is_seen(stack: ChaosStack, rule: str, damage: str) -> bool:
    with stack.connect() as connection:
        connection.execute(damage.encode())
        seen = connection.execute(RULES[rule].encode()).fetchall()
        connection.rollback()
    return bool(seen)
