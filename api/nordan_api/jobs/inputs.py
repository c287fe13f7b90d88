"""Resolve what a job names as inputs to pinned artifacts of its own project."""

from __future__ import annotations

from collections.abc import Sequence

from nordan_api.jobs.policy import FILES_INPUT, NamedInput
from nordan_core.domain.artifacts import Artifact
from nordan_core.domain.contents import ArtifactKind
from nordan_core.domain.errors import Invalid, NotFound
from nordan_core.domain.ids import JobId, ProjectId, is_id
from nordan_core.domain.jobs import JobSpec
from nordan_core.residency.facets import Policy, meet
from nordan_core.residency.places import Atlas
from nordan_core.residency.policy import parse_policy
from nordan_core.store.unit_of_work import UnitOfWork


def resolve_inputs(work: UnitOfWork, project: ProjectId, spec: JobSpec) -> tuple[NamedInput, ...]:
    """Return the artifacts of `dataset/<name>`, `artifact/<id>` and `artifact/<job>/<output>`.

    A dataset is pinned to its newest version. Another project's names are simply not there.

    Raises:
        NotFound: no such dataset, version or job output. Invalid: two inputs would be staged under one name.
    """
    found = [_resolve(work, project, name) for name in spec.inputs]
    names = [one.name for one in found]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise Invalid("inputs", f"two inputs would both be staged as {twice!r}")
    return tuple(found)


def stored_files(work: UnitOfWork, project: ProjectId, spec: JobSpec) -> list[Artifact]:
    """Return what was put as this job's files, under whichever policies; nothing for a job without files."""
    return list(work.contents.files_with_digest(project, spec.files.digest)) if spec.files.files else []


def choose_files(spec: JobSpec, stored: Sequence[Artifact], born: Policy, atlas: Atlas) -> NamedInput | NotFound | None:
    """Return the job's files as an input: those that were put under the policy of its outputs, else under a wider one.

    What is missing is a value: a job that can never run is told so first, and nobody puts files for it.

    Files may carry what the data of the job taught that they were put for: a job whose outputs are born wider does not
    get at them by naming their digests.
    """
    if not spec.files.files:
        return None
    if not stored:
        return NotFound("uploaded files with this manifest; put them through a gateway first", spec.files.digest)
    stated = [(one, parse_policy(one.policy, atlas)) for one in stored]
    same = [one for one, policy in stated if policy == born]
    wider = [one for one, policy in stated if meet(policy, born) == born]
    if not (same or wider):
        return NotFound("uploaded files under this job's policy; put them for this job first", stored[-1].digest)
    return NamedInput(FILES_INPUT, (same or wider)[-1])


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
