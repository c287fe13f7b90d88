"""Routes about what was made of what, where it may be, and how it may become wider."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from nordan_api.auth.callers import permitted
from nordan_api.auth.permissions import Permission
from nordan_api.bodies import document, only
from nordan_api.context import context_of
from nordan_api.dual_control import shown
from nordan_api.lineage import declassifying, service
from nordan_core.domain.approvals import Proposal
from nordan_core.domain.tenants import Principal

router = APIRouter(prefix="/v1/projects/{project}", tags=["lineage"])
Json = dict[str, Any]  # Any: JSON
Reader = Annotated[Principal, Depends(permitted(Permission.READ_JOBS))]
Requester = Annotated[Principal, Depends(permitted(Permission.REQUEST_WIDENING))]
Approver = Annotated[Principal, Depends(permitted(Permission.APPROVE_WIDENING))]
Body = Annotated[Json, Depends(document)]


@router.get("/datasets/{dataset}/lineage")
def dataset_lineage(project: str, dataset: str, request: Request, principal: Reader) -> Json:
    """Return everything made of a dataset."""
    return service.of_dataset(context_of(request), principal, project, dataset)


@router.get("/datasets/{dataset}/where")
def dataset_where(project: str, dataset: str, request: Request, principal: Reader) -> Json:
    """Return for each pool whether a job that reads the dataset may run there, and whether the bytes may rest there."""
    return service.where_dataset(context_of(request), principal, project, dataset)


@router.get("/artifacts/{artifact}/lineage")
def artifact_lineage(project: str, artifact: str, request: Request, principal: Reader) -> Json:
    """Return everything made of an artifact, and everything that it was made from."""
    return service.of_artifact(context_of(request), principal, project, artifact)


@router.get("/artifacts/{artifact}/where")
def artifact_where(project: str, artifact: str, request: Request, principal: Reader) -> Json:
    """Return for each pool whether a job that reads the artifact may run there, and whether it may rest there."""
    return service.where_artifact(context_of(request), principal, project, artifact)


@router.post("/artifacts/{artifact}:declassify", status_code=201)
def request_declassification(project: str, artifact: str, request: Request, principal: Requester, body: Body) -> Json:
    """Ask that what a job made may have a wider policy than what it was made from."""
    only(body, *declassifying.FIELDS)
    return _document(declassifying.request(context_of(request), principal, project, artifact, body))


@router.get("/declassifications")
def list_declassifications(
    project: str, request: Request, principal: Reader, *, limit: Annotated[int, Query(ge=1, le=1000)] = 200
) -> Json:
    """Return the project's declassifications, newest first."""
    return {
        "items": [_document(one) for one in declassifying.KIND.page(context_of(request), principal, project, limit)]
    }


@router.get("/declassifications/{declassification}")
def get_declassification(project: str, declassification: str, request: Request, principal: Reader) -> Json:
    """Return one declassification."""
    return _document(declassifying.KIND.find(context_of(request), principal, project, declassification))


@router.post("/declassifications/{declassification}:approve")
def approve_declassification(
    project: str, declassification: str, request: Request, principal: Approver, body: Body
) -> Json:
    """Approve the text whose digest is given; the second approval gives the artifact its new policy."""
    only(body, "digest")
    context = context_of(request)
    return _document(declassifying.approve(context, principal, project, declassification, body.get("digest")))


@router.post("/declassifications/{declassification}:withdraw")
def withdraw_declassification(
    project: str, declassification: str, request: Request, principal: Approver, body: Body
) -> Json:
    """Take one's own approval back, as long as it is the only one."""
    only(body)
    return _document(declassifying.KIND.withdraw(context_of(request), principal, project, declassification))


@router.post("/declassifications/{declassification}:revoke")
def revoke_declassification(
    project: str, declassification: str, request: Request, principal: Approver, body: Body
) -> Json:
    """Take a declassification back; the artifact has its former policy again."""
    only(body)
    return _document(declassifying.revoke(context_of(request), principal, project, declassification))


def _document(one: Proposal) -> Json:
    state = "revoked" if one.revoked_at else "approved" if one.approved_at else "requested"
    return shown(one, state)
