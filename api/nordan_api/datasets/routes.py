"""Routes of datasets, job files and artifacts."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from nordan_api.auth.callers import permitted
from nordan_api.auth.permissions import Permission
from nordan_api.bodies import document, only
from nordan_api.context import context_of
from nordan_api.datasets import service
from nordan_api.jobs.views import artifact_line
from nordan_core.domain.artifacts import Artifact, Dataset
from nordan_core.domain.errors import Invalid
from nordan_core.domain.tenants import Principal
from nordan_core.wire import Access

router = APIRouter(prefix="/v1/projects/{project}", tags=["datasets"])
Json = dict[str, Any]  # Any: JSON
Reader = Annotated[Principal, Depends(permitted(Permission.READ_JOBS))]
ContentReader = Annotated[Principal, Depends(permitted(Permission.READ_CONTENT))]
Putter = Annotated[Principal, Depends(permitted(Permission.PUT_DATA))]
Copier = Annotated[Principal, Depends(permitted(Permission.COPY_DATA))]
Body = Annotated[Json, Depends(document)]


@router.post("/datasets", status_code=201)
def create(project: str, request: Request, principal: Putter, body: Body) -> Json:
    """Name a dataset and state its policy."""
    only(body, "name", "policy")
    policy = body.get("policy", {})
    if not isinstance(policy, dict):
        raise Invalid("policy", "expected a mapping of facets")
    return _dataset(service.create(context_of(request), principal, project, body.get("name"), policy), [])


@router.get("/datasets")
def list_datasets(project: str, request: Request, principal: Reader) -> Json:
    """Return the project's datasets."""
    found = service.list_datasets(context_of(request), principal, project)
    return {"items": [_dataset(one, versions) for one, versions in found]}


@router.get("/datasets/{dataset}")
def get_dataset(project: str, dataset: str, request: Request, principal: Reader) -> Json:
    """Return a dataset with its versions."""
    return _dataset(*service.find_dataset(context_of(request), principal, project, dataset))


@router.post("/datasets/{dataset}:put", status_code=201)
def put_dataset(project: str, dataset: str, request: Request, principal: Putter, body: Body) -> JSONResponse:
    """Give leave to put a version's bytes into a region."""
    only(body, "region")
    access = service.allow_dataset_put(context_of(request), principal, project, dataset, body.get("region"))
    return _access(access, 201)


@router.post("/files:put", status_code=201)
def put_files(project: str, request: Request, principal: Putter, body: Body) -> JSONResponse:
    """Give leave to put a job's files into a region."""
    only(body, "region", "job")
    job = body.get("job")
    if not isinstance(job, dict):
        raise Invalid("job", "give the job document that the files belong to")
    return _access(service.allow_files_put(context_of(request), principal, project, body.get("region"), job), 201)


@router.get("/artifacts/{artifact}")
def get_artifact(project: str, artifact: str, request: Request, principal: Reader) -> Json:
    """Return an artifact with its files' names, sizes and digests."""
    found = service.find_artifact(context_of(request), principal, project, artifact)
    return {**artifact_line(found), **_contents(found)}


@router.post("/artifacts/{artifact}:read")
async def read_artifact(project: str, artifact: str, request: Request, principal: ContentReader) -> JSONResponse:
    """Give leave to read an artifact's bytes at a region's gateway."""
    return _access(await run_in_threadpool(service.allow_read, context_of(request), principal, project, artifact), 200)


@router.post("/artifacts/{artifact}:copy", status_code=201)
def copy_artifact(project: str, artifact: str, request: Request, principal: Copier, body: Body) -> JSONResponse:
    """Give leave to bring an artifact's bytes into one more region; its gateway fetches them when asked to."""
    only(body, "region")
    access = service.allow_copy(context_of(request), principal, project, artifact, body.get("region"))
    return _access(access, 201)


def _access(access: Access, status: int) -> JSONResponse:
    return JSONResponse(access.model_dump(exclude_none=True), status_code=status)


def _dataset(dataset: Dataset, versions: list[Artifact]) -> Json:
    return {
        "id": dataset.id,
        "name": dataset.name,
        "policy": dict(dataset.policy),
        "created_at": dataset.created_at.isoformat(),
        "versions": [artifact_line(one) for one in versions],
    }


def _contents(artifact: Artifact) -> Json:
    return {
        "policy": dict(artifact.policy),
        "parents": list(artifact.parents),
        "files": [
            {"path": one.path, "digest": one.digest, "size_bytes": one.size_bytes} for one in artifact.manifest.files
        ],
    }
