"""Resolve what a job names as inputs to pinned artifacts of its own project."""

from __future__ import annotations

from nordan_api.jobs.policy import FILES_INPUT, NamedInput
from nordan_core.domain.artifacts import Artifact
from nordan_core.domain.contents import ArtifactKind
from nordan_core.domain.errors import Invalid, NotFound
from nordan_core.domain.ids import JobId, ProjectId, is_id
from nordan_core.domain.jobs import JobSpec
from nordan_core.store.unit_of_work import UnitOfWork


def resolve_inputs(work: UnitOfWork, project: ProjectId, spec: JobSpec, *, with_files: bool) -> tuple[NamedInput, ...]:
    """Return the artifacts of `dataset/<name>`, `artifact/<id>`, `artifact/<job>/<output>` and of the job's files.

    A dataset is pinned to its newest version. Another project's names are simply not there. A plan is asked before
    the files are anywhere, so it comes without them.

    Raises:
        NotFound: no such dataset, version, job output or files. Invalid: two inputs would be staged under one name.
    """
    found = [_resolve(work, project, name) for name in spec.inputs]
    names = [one.name for one in found]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise Invalid("inputs", f"two inputs would both be staged as {twice!r}")
    if with_files and spec.files.files:
        files = work.contents.files_with_digest(project, spec.files.digest)
        if files is None:
            raise NotFound("uploaded files with this manifest; put them through a gateway first", spec.files.digest)
        found.append(NamedInput(FILES_INPUT, files))
    return tuple(found)


def _resolve(work: UnitOfWork, project: ProjectId, name: str) -> NamedInput:
    kind, _, rest = name.partition("/")
    first, _, second = rest.partition("/")
    if kind == "dataset":
        return NamedInput(first, _dataset(work, project, first, second))
    return NamedInput(second or first, _artifact(work, project, first, second))


def _dataset(work: UnitOfWork, project: ProjectId, name: str, extra: str) -> Artifact:
    dataset = None if extra else work.contents.dataset(project, name)
    if dataset is None:
        raise NotFound("dataset", f"{name}/{extra}" if extra else name)
    version = work.contents.newest_version(dataset.id)
    if version is None:
        raise NotFound("version of dataset", name)
    return version


def _artifact(work: UnitOfWork, project: ProjectId, first: str, second: str) -> Artifact:
    if is_id(first, "art") and not second:
        artifact = work.contents.artifact(project, first)
        if artifact is not None and artifact.kind is not ArtifactKind.FILES:
            return artifact
        raise NotFound("artifact", first)
    job = _job(work, project, first)
    outputs = [one for one in work.contents.of_job(job, ArtifactKind.OUTPUT) if one.name == second] if job else []
    if not outputs:
        raise NotFound("artifact", f"{first}/{second}" if second else first)
    return outputs[-1]


def _job(work: UnitOfWork, project: ProjectId, name: str) -> JobId | None:
    if is_id(name, "job"):
        job = work.jobs.get(project, name)
        return job.id if job else None
    newest = work.jobs.page(project, states=("succeeded",), name=name, before=None, limit=1)
    return newest[0].id if newest else None
