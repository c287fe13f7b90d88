"""Every policy that is judged today: floors, data's, those of jobs that have not ended; and where readers sit.

For whoever asks what a change of law would do.

Documents come once for each text, since ten thousand jobs share a few policies. Read without a lock: whoever acts on
it compares the residency epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlmodel import Session

from nordan_core.domain.ids import JobId, ProjectId

Document = Mapping[str, Any]  # Any: JSON

_ORGANISATIONS = text("select id, name, floor from organisation order by name")
_PROJECTS = text("select id from project order by id")
_DATASETS = text("select id, name, project_id, policy from dataset order by project_id, name")
_JOBS = text(
    "select id, project_id, md5(effective::text) as key from job"
    " where state not in ('succeeded', 'failed', 'cancelled') order by id"
)
_DEROGATIONS = text(
    "select id, project_id, text from derogation where revoked_at is null and not_after > clock_timestamp() order by id"
)
_FORMER = text(
    "select id, text -> 'from' as policy from declassification where approved_at is not null and revoked_at is null"
    " order by id"
)
_READERS = text(
    "select id, territory from api_key where territory is not null and revoked_at is null"
    " and (expires_at is null or expires_at > clock_timestamp()) order by id"
)


@dataclass(frozen=True, slots=True)
class StatedFloor:
    """The floor of an organisation."""

    id: str
    name: str
    floor: Document


@dataclass(frozen=True, slots=True)
class StatedData:
    """What a dataset's owner says of it."""

    id: str
    name: str
    project: ProjectId
    policy: Document


@dataclass(frozen=True, slots=True)
class OpenJob:
    """A job that has not ended; its policy by what names the document."""

    id: JobId
    project: ProjectId
    policy_key: str


class LawInUse:
    """Reads what is judged."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def organisations(self) -> tuple[StatedFloor, ...]:
        """Return all organisations' floors, in order of name."""
        return tuple(StatedFloor(row.id, row.name, row.floor) for row in self._session.execute(_ORGANISATIONS))

    def projects(self) -> list[ProjectId]:
        """Return all projects."""
        return [ProjectId(row.id) for row in self._session.execute(_PROJECTS)]

    def datasets(self) -> tuple[StatedData, ...]:
        """Return the policy of each dataset."""
        rows = self._session.execute(_DATASETS)
        return tuple(StatedData(row.id, row.name, ProjectId(row.project_id), row.policy) for row in rows)

    def jobs(self) -> tuple[OpenJob, ...]:
        """Return all jobs that have not ended."""
        return tuple(OpenJob(JobId(row.id), ProjectId(row.project_id), row.key) for row in self._session.execute(_JOBS))

    def derogations(self) -> dict[str, Document]:
        """Return the texts of all derogations that may still count, by id."""
        return {row.id: row.text for row in self._session.execute(_DEROGATIONS)}

    def former(self) -> dict[str, Document]:
        """Return the policies that artifacts would have again if their declassifications were taken back, by those."""
        return {row.id: row.policy for row in self._session.execute(_FORMER)}

    def readers(self) -> dict[str, str]:
        """Return the territory of each key that counts and has one on record."""
        return {row.id: row.territory for row in self._session.execute(_READERS)}
