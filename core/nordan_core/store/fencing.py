"""Stop what became unlawful: attempts lose their grants, places of artifacts are closed to readers; each one act.

Called by the scheduler when law or facts have moved, and by the api for a region that speaks before the scheduler has
come to it. Whoever is first writes the act; the other finds it done. The caller holds the residency epoch that it
judged at. Locks in the one order: jobs ascending, then (at the end of what never ran) nodes; artifacts ascending, then
their places. Bytes are not touched.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text
from sqlmodel import Session

from nordan_core.domain.attempts import Ending
from nordan_core.domain.fences import Finding, LivePresence, RestGroup
from nordan_core.domain.ids import ArtifactId, AttemptId, JobId, PoolName, ProjectId, RegionCode
from nordan_core.domain.reasons import Reason
from nordan_core.domain.states import AttemptResult, AttemptState
from nordan_core.store.audit import Act, Audit, AuditEntry
from nordan_core.store.endings import close_attempts

ACTOR = "judge"
Document = dict[str, Any]  # Any: JSON

_LIVE = text(
    "select a.id, a.job_id, j.project_id, a.pool from attempt a join job j on j.id = a.job_id"
    " where a.state <> 'ended' and a.stop_reason is distinct from 'fenced'"
)
_JOB_KEYS = text("select id, md5(effective::text) as key from job where id = any(:ids)")
_JOB_POLICIES = text(
    "select distinct on (md5(effective::text)) md5(effective::text) as key, effective from job where id = any(:ids)"
)
_LOCK_LIVE = text(
    """
    select a.id, a.job_id, a.number, a.fence, a.pool, a.region, a.state, g.id as grant_id,
           j.state as job_state, j.organisation_id
    from job j join attempt a on a.job_id = j.id join attempt_grant g on g.attempt_id = a.id
    where a.id = any(:ids) and a.state <> 'ended' and a.stop_reason is distinct from 'fenced'
    order by j.id for update of j, a, g
    """
)
_STOP = text(
    """
    update attempt set stop_reason = 'fenced', stop_grace_s = 0,
           verdicts = verdicts || jsonb_build_object('fence', cast(:fence as jsonb))
    where id = any(:ids)
    """
)
_REVOKE = text("update attempt_grant set state = 'revoked' where attempt_id = any(:ids) and state = 'redeemed'")
_TELL = text(
    """
    update job set reason = 'fenced', message = :message, history = history || cast(:line as jsonb),
           version = version + 1
    where id = any(:ids)
    """
)
_REST = text(
    """
    select md5(a.policy::text) as key, a.project_id, l.region, l.fenced_at is not null as is_fenced, a.dataset_id,
           min(a.id) as sample
    from location l join artifact a on a.id = l.artifact_id group by 1, 2, 3, 4, 5
    """
)
_HELD = text(
    "select id, jsonb_path_query_array(verdicts, '$.*.derogations[*]') as derogations from attempt where id = any(:ids)"
)
_DATA_POLICIES = text("select md5(policy::text) as key, policy from artifact where id = any(:ids)")
_LOCK_REST = text(
    """
    select a.id, a.organisation_id from artifact a join location l on l.artifact_id = a.id
    where md5(a.policy::text) = :key and a.project_id = :project and l.region = :region
      and (l.fenced_at is not null) = :is_fenced and a.dataset_id is not distinct from :dataset
    order by a.id limit :limit for update of a
    """
)
_FENCE_PLACES = text(
    "update location set fenced_at = :at, fence = cast(:fence as jsonb)"
    " where artifact_id = any(:ids) and region = :region and fenced_at is null returning artifact_id"
)
_RELEASE_PLACES = text(
    "update location set fenced_at = null, fence = null"
    " where artifact_id = any(:ids) and region = :region and fenced_at is not null returning artifact_id"
)
_FENCE_WHOLE = text(
    "update artifact set fenced_at = :at where id = any(:ids) and fenced_at is null"
    " and not exists (select 1 from location l where l.artifact_id = artifact.id and l.fenced_at is null)"
)
_RELEASE_WHOLE = text("update artifact set fenced_at = null where id = any(:ids)")
_CLOSED = text("select artifact_id from location where region = :region and fenced_at > :since order by artifact_id")


class Fencing:
    """What is there under a policy, and how it is fenced and released."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def live(self) -> tuple[LivePresence, ...]:
        """Return all attempts that live and are not fenced."""
        rows = self._session.execute(_LIVE)
        return tuple(
            LivePresence(AttemptId(attempt), JobId(job), ProjectId(project), PoolName(pool))
            for attempt, job, project, pool in rows
        )

    def job_keys(self, jobs: Sequence[JobId]) -> dict[JobId, str]:
        """Return what names the whole policy document of each job; a job's never changes."""
        rows = self._session.execute(_JOB_KEYS, {"ids": list(jobs)}) if jobs else ()
        return {JobId(row.id): row.key for row in rows}

    def job_policies(self, jobs: Sequence[JobId]) -> dict[str, Document]:
        """Return the effective policy documents of jobs by what names them, each once."""
        rows = self._session.execute(_JOB_POLICIES, {"ids": list(jobs)}) if jobs else ()
        return {row.key: row.effective for row in rows}

    def attempts(self, findings: Mapping[AttemptId, Finding], now: datetime) -> tuple[AttemptId, ...]:
        """Fence attempts and return those that were not yet: stop them, revoke their grants, tell their owners.

        One that no region has taken ends at once; what runs is stopped with its region's next sync.
        """
        if not findings:
            return ()
        rows = self._session.execute(_LOCK_LIVE, {"ids": list(findings)}).all()
        waiting = [row for row in rows if row.state == AttemptState.PLACED]
        running = [row for row in rows if row.state != AttemptState.PLACED]
        if running:
            self._stop(running, findings, now)
        Audit(self._session).write_all(_revoked(row, findings[AttemptId(row.id)], now) for row in rows)
        if waiting:
            endings = [_denied(AttemptId(row.id), findings[AttemptId(row.id)]) for row in waiting]
            close_attempts(self._session, endings, now, actor=ACTOR)
        return tuple(AttemptId(row.id) for row in rows)

    def resting(self) -> dict[RestGroup, ArtifactId]:
        """Return what lies where under which policies, with one artifact of each group."""
        return {_group(row): ArtifactId(row.sample) for row in self._session.execute(_REST)}

    def held(self, attempts: Sequence[AttemptId]) -> dict[AttemptId, frozenset[str]]:
        """Return the ids of the derogations that attempts rest on, by what was said of them at each stage."""
        rows = self._session.execute(_HELD, {"ids": list(attempts)}) if attempts else ()
        return {AttemptId(row.id): frozenset(row.derogations) for row in rows}

    def data_policies(self, artifacts: Iterable[ArtifactId]) -> dict[str, Document]:
        """Return the policy documents of artifacts by what names them."""
        ids = list(artifacts)
        rows = self._session.execute(_DATA_POLICIES, {"ids": ids}) if ids else ()
        return {row.key: row.policy for row in rows}

    def fence_places(self, group: RestGroup, finding: Finding, now: datetime, limit: int) -> int:
        """Close at most so many of a group's places to readers; returns how many."""
        owners = self._lock(group, limit)
        values = {"at": now, "fence": json.dumps(finding.document()), "ids": list(owners), "region": group.region}
        done = [row.artifact_id for row in self._session.execute(_FENCE_PLACES, values)] if owners else []
        if done:
            # A statement of its own: it sees places that were added while we waited for the artifacts.
            self._session.execute(_FENCE_WHOLE, {"at": now, "ids": done})
            self._note(Act.ARTIFACT_FENCED, group, finding, {one: owners[one] for one in done}, now)
        return len(done)

    def release_places(self, group: RestGroup, finding: Finding, now: datetime, limit: int) -> int:
        """Open at most so many of a group's places again; returns how many."""
        owners = self._lock(group, limit)
        values = {"ids": list(owners), "region": group.region}
        done = [row.artifact_id for row in self._session.execute(_RELEASE_PLACES, values)] if owners else []
        if done:
            self._session.execute(_RELEASE_WHOLE, {"ids": done})
            self._note(Act.ARTIFACT_RELEASED, group, finding, {one: owners[one] for one in done}, now)
        return len(done)

    def closed_in(self, region: RegionCode, since: datetime) -> list[ArtifactId]:
        """Return the artifacts whose place in a region was closed after an instant: leave to read may be about."""
        rows = self._session.execute(_CLOSED, {"region": region, "since": since})
        return [ArtifactId(row.artifact_id) for row in rows]

    def _stop(self, rows: Sequence[Row[Any]], findings: Mapping[AttemptId, Finding], now: datetime) -> None:
        # A change of law finds the same of thousands: it is written once for all of them.
        for finding, found in _same_finding(rows, findings):
            values = {"fence": json.dumps(finding.document()), "ids": [row.id for row in found]}
            self._session.execute(_STOP, values)
            for state in sorted({row.job_state for row in found}):
                jobs = [row.job_id for row in found if row.job_state == state]
                self._session.execute(_TELL, {**_told(state, finding, now), "ids": jobs})
        self._session.execute(_REVOKE, {"ids": [row.id for row in rows]})

    def _lock(self, group: RestGroup, limit: int) -> dict[str, str]:
        values = {
            "key": group.policy_key,
            "project": group.project,
            "region": group.region,
            "is_fenced": group.is_fenced,
            "dataset": group.dataset,
            "limit": limit,
        }
        return {row.id: row.organisation_id for row in self._session.execute(_LOCK_REST, values)}

    def _note(self, act: Act, group: RestGroup, finding: Finding, owners: Mapping[str, str], now: datetime) -> None:
        body = {"region": group.region, **finding.body()}
        Audit(self._session).write_all(
            AuditEntry(act, artifact, ACTOR, now, organisation, dict(body)) for artifact, organisation in owners.items()
        )


def _group(row: Row[Any]) -> RestGroup:
    return RestGroup(row.key, ProjectId(row.project_id), RegionCode(row.region), row.is_fenced, row.dataset_id)


def _denied(attempt: AttemptId, finding: Finding) -> Ending:
    return Ending(attempt, AttemptResult.FENCED, Reason.FENCED, finding.message, fence=finding.document())


def _same_finding(
    rows: Sequence[Row[Any]], findings: Mapping[AttemptId, Finding]
) -> Iterable[tuple[Finding, list[Row[Any]]]]:
    """Return each finding, as one object, with the attempts that it is about."""
    groups: dict[int, tuple[Finding, list[Row[Any]]]] = {}
    for row in rows:
        finding = findings[AttemptId(row.id)]
        groups.setdefault(id(finding), (finding, []))[1].append(row)
    return groups.values()


def _told(job_state: str, finding: Finding, now: datetime) -> Document:
    message = finding.message
    line = {"state": job_state, "reason": Reason.FENCED.value, "message": message, "at": now.isoformat()}
    return {"message": message, "line": json.dumps([line])}


def _revoked(row: Row[Any], finding: Finding, now: datetime) -> AuditEntry:
    body: dict[str, object] = {
        "attempt": row.id,
        "number": row.number,
        "fence": row.fence,
        "grant": row.grant_id,
        "region": row.region,
        "pool": row.pool,
        **finding.body(),
    }
    return AuditEntry(Act.GRANT_REVOKED, row.job_id, ACTOR, now, row.organisation_id, body)
