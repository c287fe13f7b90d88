"""What must hold in the database once every job has ended: each rule is a query for rows that break it."""

from __future__ import annotations

from collections.abc import Mapping

RULES: Mapping[str, str] = {
    # Jobs and attempts.
    "a job has not ended": "select id, state from job where state not in ('succeeded', 'failed', 'cancelled')",
    "a job's history does not end once, in its state": """
        select j.id, j.state, j.history -> -1 ->> 'state' from job j
        where j.history -> -1 ->> 'state' <> j.state or 1 <> (
            select count(*) from jsonb_array_elements(j.history) h
            where h ->> 'state' in ('succeeded', 'failed', 'cancelled'))
    """,
    "a job does not count its attempts": """
        select j.id, j.attempts_made, count(a.id) from job j left join attempt a on a.job_id = j.id
        group by j.id having count(a.id) <> j.attempts_made
    """,
    "an attempt has not ended": "select id, state from attempt where state <> 'ended' or ended_at is null",
    "fences do not rise": """
        select id, number, fence from (
            select id, number, fence, lag(fence) over one as f, lag(number) over one as n
            from attempt window one as (partition by job_id order by number)
        ) a where fence <= coalesce(f, 0) or number <> coalesce(n, 0) + 1
    """,
    "an attempt began before the one before it had ended": """
        select b.id from attempt a join attempt b on b.job_id = a.job_id and b.number > a.number
        where b.created_at < a.ended_at
    """,
    "a job went on after an attempt that succeeded": """
        select b.id from attempt a join attempt b on b.job_id = a.job_id and b.number > a.number
        where a.result = 'succeeded'
    """,
    "a job succeeded without an attempt that did, or the other way round": """
        select j.id, j.state from job j where (j.state = 'succeeded') <> exists (
            select 1 from attempt a where a.job_id = j.id and a.result = 'succeeded')
    """,
    # Capacity.
    "a node is not free again": """
        select name, free_mask, free_cpus, free_memory_mib from node
        where free_mask <> (1::bigint << gpus) - 1 or free_cpus <> cpus or free_memory_mib <> memory_mib
    """,
    "a GPU was given twice": """
        with held as (
            select a.id, a.created_at, a.ended_at, a.pool, r ->> 'node' as node, (r ->> 'gpu_mask')::bigint as mask
            from attempt a, jsonb_array_elements(a.placement) r
        )
        select x.id, y.id, x.node from held x join held y on (x.pool, x.node) = (y.pool, y.node)
        where x.id < y.id and x.mask & y.mask <> 0 and x.created_at < y.ended_at and y.created_at < x.ended_at
    """,
    # A region that cannot keep tenants apart stays with its first.
    "a pool is still bound to an organisation": """
        select p.name from pool p join region r on r.code = p.region
        where p.single_tenant is not null and coalesce(r.offers_tenancy -> 'levels' ? 'shared', true)
    """,
    # Grants and leases.
    "an attempt has not exactly one grant": """
        select a.id from attempt a left join attempt_grant g on g.attempt_id = a.id
        group by a.id having count(g.id) <> 1
    """,
    "a grant lives": "select id, state from attempt_grant where state not in ('closed', 'revoked')",
    "a grant was issued or redeemed more than once": """
        select body ->> 'grant', act, count(*) from audit_entry where act in ('grant_issued', 'grant_redeemed')
        group by 1, 2 having count(*) > 1
    """,
    "a redemption and its entry do not go together": """
        select g.id, g.redemption_id from attempt_grant g where (g.redemption_id is not null) <> exists (
            select 1 from audit_entry e where e.act = 'grant_redeemed' and e.body ->> 'grant' = g.id)
    """,
    "an attempt ran without a redemption": """
        select a.id, a.result from attempt a join attempt_grant g on g.attempt_id = a.id
        where g.redemption_id is null and a.result in ('succeeded', 'failed')
    """,
    "an attempt has not exactly one closed lease": """
        select a.id from attempt a left join lease l on l.attempt_id = a.id and l.closed_at is not null
        group by a.id having count(l.attempt_id) <> 1
    """,
    # A begun micro-EUR counts whole.
    "a bill is not price times time": """
        select l.attempt_id, l.cost_micro_eur from lease l join attempt a on a.id = l.attempt_id
        where abs(l.gpu_seconds - (a.usage ->> 'running_s')::float * l.gpus) > 0.001
           or l.cost_micro_eur - l.gpu_seconds * l.price_micro_eur_per_gpu_h / 3600
              not between -0.001 and 1.001
    """,
    "a nudge was left in the outbox": "select id, grant_id from outbox",
    # Outputs.
    "outputs of several attempts were published": """
        select job_id, count(distinct attempt_id) from artifact where kind = 'output'
        group by job_id having count(distinct attempt_id) > 1
    """,
    "an output was published twice": """
        select job_id, name, count(*) from artifact where kind = 'output' group by job_id, name having count(*) > 1
    """,
    "a checkpoint was published twice": """
        select attempt_id, name, digest, count(*) from artifact where kind = 'checkpoint'
        group by attempt_id, name, digest having count(*) > 1
    """,
    "an output is of an attempt that did not succeed": """
        select f.id, a.result from artifact f join attempt a on a.id = f.attempt_id
        where f.kind = 'output' and a.result <> 'succeeded'
    """,
    "an output lies elsewhere than where it was made": """
        select f.id from artifact f join attempt a on a.id = f.attempt_id
        left join location l on l.artifact_id = f.id
        group by f.id, a.region having array_agg(l.region) <> array[a.region]
    """,
    # The log.
    "a submission has not exactly one entry": """
        select j.id, count(e.id) from job j left join audit_entry e on e.subject = j.id and e.act = 'job_accepted'
        group by j.id having count(e.id) <> 1
    """,
    "an attempt's end has not exactly one entry": """
        select a.id, count(e.id) from attempt a left join audit_entry e
          on e.subject = a.job_id and e.act in ('attempt_ended', 'attempt_fenced') and e.body ->> 'attempt' = a.id
        group by a.id having count(e.id) <> 1
    """,
    "an output's publication has not exactly one entry": """
        select f.id, count(e.id) from artifact f left join audit_entry e
          on e.subject = f.job_id and e.act = 'artifact_stored' and e.body ->> 'attempt' = f.attempt_id
         and e.body ->> 'digest' = f.digest
        where f.kind = 'output' group by f.id having count(e.id) <> 1
    """,
    "an entry is not sealed": "select id, act from audit_entry where leaf_index is null",
    "a certificate is missing": """
        select j.id from job j left join certificate c on c.job_id = j.id
        where c.envelope is null and j.state in ('succeeded', 'failed', 'cancelled')
    """,
}
#: Those that need a moment after the last end: the sealer and the relay work behind it.
BEHIND = ("a nudge was left in the outbox", "an entry is not sealed", "a certificate is missing")
