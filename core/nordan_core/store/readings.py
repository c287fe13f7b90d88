"""Leave that may be about: who was let at what in a region lately, or may still put bytes there, by which policy.

Used with each sync of a region, so that leave which would not be given any more is closed at its gateway. Of leave to
read the log is the only record: a pass is signed once its entry is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text
from sqlmodel import Session

from nordan_core.domain.ids import ArtifactId, JobId, KeyId, ProjectId, RegionCode, UploadId

#: Of jobs there is leave to call a service, which lasts longer than leave to read what an attempt left.
_OF_JOBS = text(
    r"""
    with told as (
        select distinct e.subject, e.actor from audit_entry e
        where e.act = 'read_allowed' and e.at > :call_since and (e.at > :read_since or e.subject like 'job\_%')
    ), reader as (
        select t.subject, k.id as reader, k.territory,
               k.revoked_at is not null or coalesce(k.expires_at <= :now, false) as is_gone
        from told t join api_key k on k.id = t.actor
    )
    select 'attempt:' || a.id as obj, r.*, j.id as job_id, j.project_id, md5(j.effective::text) as policy_key
    from reader r join attempt a on a.id = r.subject join job j on j.id = a.job_id where a.region = :region
    union all
    select 'service:' || j.id, r.*, j.id, j.project_id, md5(j.effective::text)
    from reader r join job j on j.id = r.subject
    where exists (select 1 from attempt a where a.job_id = j.id and a.region = :region)
    """
)
_OF_DATA = text(
    """
    select distinct 'artifact:' || a.id as obj, k.id as reader, k.territory,
           k.revoked_at is not null or coalesce(k.expires_at <= :now, false) as is_gone,
           a.id as artifact_id, a.project_id, a.dataset_id, md5(a.policy::text) as policy_key
    from audit_entry e join api_key k on k.id = e.actor
    join artifact a on a.id = e.subject join location l on l.artifact_id = a.id
    where e.act = 'read_allowed' and e.at > :read_since and l.region = :region
    """
)
#: Of a tenant's many leaves of one kind the same is asked, once. What is copied speaks for itself; its policy may have
#: changed since.
_TO_PUT = text(
    """
    select u.project_id, md5(coalesce(a.policy, u.policy)::text) as policy_key,
           case when a.id is null then u.dataset_id else a.dataset_id end as dataset_id,
           k.revoked_at is not null or coalesce(k.expires_at <= :now, false) as is_gone,
           array_agg(u.id order by u.id) as uploads
    from upload u join api_key k on k.id = u.created_by left join artifact a on a.id = u.copies_artifact_id
    where u.region = :region and u.artifact_id is null and u.expires_at > :now
    group by 1, 2, 3, 4 order by min(u.id)
    """
)
_UPLOADED = text(
    """
    select md5(coalesce(a.policy, u.policy)::text) as key, coalesce(a.policy, u.policy) as policy
    from upload u left join artifact a on a.id = u.copies_artifact_id where u.id = any(:ids)
    """
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Putting:
    """Leave to put bytes that nobody has committed yet: all of which the same is asked."""

    uploads: tuple[UploadId, ...]
    is_gone: bool
    """The key was revoked or has expired."""
    policy_key: str
    """Names the whole policy document; see `nordan_core.policies`."""
    project: ProjectId
    dataset: str | None

    @property
    def objs(self) -> tuple[str, ...]:
        """Return them as passes name them."""
        return tuple(f"upload:{one}" for one in self.uploads)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Somebody who was let at something."""

    obj: str
    """As a pass names it, or says what it is about."""
    reader: KeyId
    territory: str | None
    """Where its holder sits, as it is recorded now."""
    is_gone: bool
    """The key was revoked or has expired."""
    policy_key: str
    """Names the whole policy document, of the job or of the data; see `nordan_core.policies`."""
    project: ProjectId
    job: JobId | None = None
    artifact: ArtifactId | None = None
    dataset: str | None = None


class Readings:
    """Reads which leave may be about."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def open_in(
        self, region: RegionCode, now: datetime, *, read_since: datetime, call_since: datetime
    ) -> list[Reading]:
        """Return who was let at what in a region since these instants."""
        asked = {"region": region, "now": now, "read_since": read_since, "call_since": call_since}
        return [*self._of_jobs(asked), *self._of_data(asked)]

    def puts_in(self, region: RegionCode, now: datetime) -> list[Putting]:
        """Return what may still be put into a region, each distinct question once."""
        return [
            Putting(
                uploads=tuple(UploadId(one) for one in row.uploads),
                is_gone=row.is_gone,
                policy_key=row.policy_key,
                project=ProjectId(row.project_id),
                dataset=row.dataset_id,
            )
            for row in self._session.execute(_TO_PUT, {"region": region, "now": now})
        ]

    def upload_policies(self, uploads: Iterable[UploadId]) -> dict[str, Mapping[str, Any]]:  # Any: JSON
        """Return the policy documents of what may be put, by what names them."""
        ids = list(uploads)
        rows = self._session.execute(_UPLOADED, {"ids": ids}) if ids else ()
        return {row.key: row.policy for row in rows}

    def _of_jobs(self, asked: dict[str, Any]) -> Iterator[Reading]:  # Any: values of a statement
        for row in self._session.execute(_OF_JOBS, asked):
            yield Reading(**_common(row), job=JobId(row.job_id))

    def _of_data(self, asked: dict[str, Any]) -> Iterator[Reading]:  # Any: as above
        for row in self._session.execute(_OF_DATA, asked):
            yield Reading(**_common(row), artifact=ArtifactId(row.artifact_id), dataset=row.dataset_id)


def _common(row: Row[Any]) -> dict[str, Any]:  # Any: a row of a textual statement has no column types
    return {
        "obj": row.obj,
        "reader": KeyId(row.reader),
        "territory": row.territory,
        "is_gone": row.is_gone,
        "policy_key": row.policy_key,
        "project": ProjectId(row.project_id),
    }
