"""Datasets, artifacts, their locations, and leave to upload."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Select, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlmodel import Session, col

from nordan_core.domain.artifacts import Artifact, Dataset, Upload
from nordan_core.domain.contents import ArtifactKind
from nordan_core.domain.ids import ArtifactId, AttemptId, JobId, OrganisationId, ProjectId, RegionCode, UploadId
from nordan_core.store.codec import manifest_document, manifest_of
from nordan_core.store.tables.data import ArtifactRow, DatasetRow, LocationRow, UploadRow
from nordan_core.store.tables.jobs import JobInputRow


class Contents:
    """Reads and writes what tenants store."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add_dataset(self, dataset: Dataset) -> None:
        """Insert a dataset without versions."""
        self._session.add(
            DatasetRow(
                id=dataset.id,
                project_id=dataset.project,
                name=dataset.name,
                policy=dict(dataset.policy),
                created_at=dataset.created_at,
            )
        )
        self._session.flush()

    def dataset(self, project: ProjectId, name_or_id: str) -> Dataset | None:
        """Return a dataset of a project by name or id."""
        statement = select(DatasetRow).where(
            col(DatasetRow.project_id) == project,
            (col(DatasetRow.name) == name_or_id) | (col(DatasetRow.id) == name_or_id),
        )
        row = self._session.scalars(statement).one_or_none()
        return _dataset(row) if row else None

    def datasets(self, project: ProjectId) -> list[Dataset]:
        """Return a project's datasets by name."""
        statement = select(DatasetRow).where(col(DatasetRow.project_id) == project).order_by(col(DatasetRow.name))
        return [_dataset(row) for row in self._session.scalars(statement)]

    def add_artifact(self, artifact: Artifact) -> None:
        """Insert an artifact with its locations."""
        self._session.execute(insert(ArtifactRow), [_artifact_values(artifact)])
        for region in artifact.regions:
            self.add_location(artifact.id, region, artifact.created_at)

    def add_location(self, artifact: ArtifactId, region: RegionCode, now: datetime) -> None:
        """Note that a region holds an artifact's bytes; noting it twice changes nothing."""
        statement = upsert(LocationRow).values(artifact_id=artifact, region=region, created_at=now)
        added = self._session.execute(statement.on_conflict_do_nothing().returning(col(LocationRow.region)))
        if added.first() is not None:
            whole = update(ArtifactRow).where(col(ArtifactRow.id) == artifact, col(ArtifactRow.fenced_at).is_not(None))
            self._session.execute(whole.values(fenced_at=None))

    def artifact(self, project: ProjectId, artifact: str) -> Artifact | None:
        """Return an artifact of a project by id."""
        return self._one(col(ArtifactRow.project_id) == project, col(ArtifactRow.id) == artifact)

    def artifacts(self, ids: Iterable[str]) -> dict[str, Artifact]:
        """Return artifacts by id, whoever owns them: for callers that were told the ids by the store itself."""
        wanted = list(ids)
        if not wanted:
            return {}
        return {one.id: one for one in self._many(select(ArtifactRow).where(col(ArtifactRow.id).in_(wanted)))}

    def newest_version(self, dataset: str) -> Artifact | None:
        """Return the newest version of a dataset."""
        return self._one(col(ArtifactRow.dataset_id) == dataset)

    def versions(self, dataset: str) -> list[Artifact]:
        """Return the versions of a dataset, newest first."""
        statement = select(ArtifactRow).where(col(ArtifactRow.dataset_id) == dataset)
        return self._many(statement.order_by(col(ArtifactRow.created_at).desc(), col(ArtifactRow.id).desc()))

    def files_with_digest(self, project: ProjectId, digest: str) -> list[Artifact]:
        """Return the job files of a project that have this manifest digest, one for each policy, oldest first."""
        return self._many(
            select(ArtifactRow)
            .where(col(ArtifactRow.project_id) == project, col(ArtifactRow.digest) == digest)
            .where(col(ArtifactRow.kind) == ArtifactKind.FILES.value)
            .order_by(col(ArtifactRow.id))
        )

    def of_job(self, job: JobId, kind: ArtifactKind | None = None) -> list[Artifact]:
        """Return what a job produced, oldest first."""
        statement = select(ArtifactRow).where(col(ArtifactRow.job_id) == job)
        if kind is not None:
            statement = statement.where(col(ArtifactRow.kind) == kind.value)
        return self._many(statement.order_by(col(ArtifactRow.created_at), col(ArtifactRow.id)))

    def inputs_of(self, jobs: Sequence[str]) -> dict[str, list[tuple[str, Artifact]]]:
        """Return (name, artifact) of each job's pinned inputs."""
        statement = select(JobInputRow).where(col(JobInputRow.job_id).in_(list(jobs))).order_by(col(JobInputRow.name))
        rows = list(self._session.scalars(statement)) if jobs else []
        artifacts = self.artifacts({row.artifact_id for row in rows})
        found: dict[str, list[tuple[str, Artifact]]] = {}
        for row in rows:
            found.setdefault(row.job_id, []).append((row.name, artifacts[row.artifact_id]))
        return found

    def add_upload(self, upload: Upload) -> None:
        """Insert leave to upload."""
        self._session.add(
            UploadRow(
                id=upload.id,
                organisation_id=upload.organisation,
                project_id=upload.project,
                region=upload.region,
                kind=upload.kind.value,
                name=upload.name,
                dataset_id=upload.dataset,
                policy=dict(upload.policy),
                created_by=upload.created_by,
                created_at=upload.created_at,
                expires_at=upload.expires_at,
                copies_artifact_id=upload.copies,
            )
        )
        self._session.flush()

    def open_uploads(self, project: ProjectId, now: datetime) -> int:
        """Return how much leave to upload a project has that nobody has used and that is not over."""
        statement = select(func.count()).where(
            col(UploadRow.project_id) == project,
            col(UploadRow.artifact_id).is_(None),
            col(UploadRow.expires_at) > now,
        )
        return int(self._session.scalars(statement).one())

    def lock_upload(self, region: RegionCode, upload: UploadId) -> Upload | None:
        """Return leave to upload into this region, locked until the transaction ends."""
        statement = select(UploadRow).where(col(UploadRow.id) == upload, col(UploadRow.region) == region)
        row = self._session.scalars(statement.with_for_update()).one_or_none()
        return _upload(row) if row else None

    def finish_upload(self, upload: UploadId, artifact: ArtifactId) -> None:
        """Note what an upload became; a repeated commit then gets the same answer."""
        self._session.execute(update(UploadRow).where(col(UploadRow.id) == upload).values(artifact_id=artifact))

    def forget_uploads(self, expired_before: datetime) -> int:
        """Delete leave that nobody used in time; returns how many."""
        statement = delete(UploadRow).where(
            col(UploadRow.expires_at) < expired_before, col(UploadRow.artifact_id).is_(None)
        )
        return int(self._session.connection().execute(statement).rowcount)

    def _one(self, *conditions: ColumnElement[bool]) -> Artifact | None:
        newest_first = (col(ArtifactRow.created_at).desc(), col(ArtifactRow.id).desc())
        found = self._many(select(ArtifactRow).where(*conditions).order_by(*newest_first).limit(1))
        return found[0] if found else None

    def _many(self, statement: Select[ArtifactRow]) -> list[Artifact]:
        rows = list(self._session.scalars(statement))
        places = self._places([row.id for row in rows])
        return [_artifact(row, places.get(row.id, [])) for row in rows]

    def _places(self, artifacts: Sequence[str]) -> dict[str, list[LocationRow]]:
        if not artifacts:
            return {}
        statement = (
            select(LocationRow)
            .where(col(LocationRow.artifact_id).in_(list(artifacts)))
            .order_by(col(LocationRow.region))
        )
        found: dict[str, list[LocationRow]] = {}
        for row in self._session.scalars(statement.execution_options(populate_existing=True)):
            found.setdefault(row.artifact_id, []).append(row)
        return found


def _dataset(row: DatasetRow) -> Dataset:
    return Dataset(row.id, ProjectId(row.project_id), row.name, row.policy, row.created_at)


def _artifact_values(artifact: Artifact) -> dict[str, object]:
    return {
        "id": artifact.id,
        "organisation_id": artifact.organisation,
        "project_id": artifact.project,
        "kind": artifact.kind.value,
        "name": artifact.name,
        "digest": artifact.digest,
        "size_bytes": artifact.manifest.size_bytes,
        "files": manifest_document(artifact.manifest),
        "policy": dict(artifact.policy),
        "parents": list(artifact.parents),
        "dataset_id": artifact.dataset,
        "job_id": artifact.job,
        "attempt_id": artifact.attempt,
        "created_at": artifact.created_at,
        "fenced_at": artifact.fenced_at,
    }


def _artifact(row: ArtifactRow, places: Sequence[LocationRow]) -> Artifact:
    return Artifact(
        id=ArtifactId(row.id),
        organisation=OrganisationId(row.organisation_id),
        project=ProjectId(row.project_id),
        kind=ArtifactKind(row.kind),
        name=row.name,
        manifest=manifest_of(row.files),
        digest=row.digest,
        policy=row.policy,
        created_at=row.created_at,
        parents=tuple(row.parents),
        dataset=row.dataset_id,
        job=JobId(row.job_id) if row.job_id else None,
        attempt=AttemptId(row.attempt_id) if row.attempt_id else None,
        regions=tuple(RegionCode(one.region) for one in places),
        fenced_at=row.fenced_at,
        fences={RegionCode(one.region): one.fence or {} for one in places if one.fenced_at is not None},
    )


def _upload(row: UploadRow) -> Upload:
    return Upload(
        id=UploadId(row.id),
        organisation=OrganisationId(row.organisation_id),
        project=ProjectId(row.project_id),
        region=RegionCode(row.region),
        kind=ArtifactKind(row.kind),
        name=row.name,
        policy=row.policy,
        created_by=row.created_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        dataset=row.dataset_id,
        artifact=ArtifactId(row.artifact_id) if row.artifact_id else None,
        copies=ArtifactId(row.copies_artifact_id) if row.copies_artifact_id else None,
    )
