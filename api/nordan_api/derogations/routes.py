"""Routes of derogations."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from nordan_api.auth.callers import permitted
from nordan_api.auth.permissions import Permission
from nordan_api.bodies import document, only
from nordan_api.context import context_of
from nordan_api.derogations import service
from nordan_api.dual_control import shown
from nordan_core.domain.approvals import Proposal
from nordan_core.domain.tenants import Principal

router = APIRouter(prefix="/v1/projects/{project}", tags=["derogations"])
Json = dict[str, Any]  # Any: JSON
Reader = Annotated[Principal, Depends(permitted(Permission.READ_JOBS))]
Requester = Annotated[Principal, Depends(permitted(Permission.REQUEST_WIDENING))]
Approver = Annotated[Principal, Depends(permitted(Permission.APPROVE_WIDENING))]
Body = Annotated[Json, Depends(document)]


@router.post("/derogations", status_code=201)
def request_derogation(project: str, request: Request, principal: Requester, body: Body) -> Json:
    """Ask that one facet may be fallen short of, for named subjects and a time."""
    only(body, *service.FIELDS)
    return _document(request, service.request(context_of(request), principal, project, body))


@router.get("/derogations")
def list_derogations(
    project: str, request: Request, principal: Reader, *, limit: Annotated[int, Query(ge=1, le=1000)] = 200
) -> Json:
    """Return the project's derogations, newest first."""
    found = service.KIND.page(context_of(request), principal, project, limit)
    return {"items": [_document(request, one) for one in found]}


@router.get("/derogations/{derogation}")
def get_derogation(project: str, derogation: str, request: Request, principal: Reader) -> Json:
    """Return one derogation: its text, the digest that is approved, who said what, and how often it was used."""
    return _document(request, service.KIND.find(context_of(request), principal, project, derogation))


@router.post("/derogations/{derogation}:approve")
def approve_derogation(project: str, derogation: str, request: Request, principal: Approver, body: Body) -> Json:
    """Approve the text whose digest is given; it counts once two members other than who asked have done so."""
    only(body, "digest")
    context = context_of(request)
    return _document(request, service.approve(context, principal, project, derogation, body.get("digest")))


@router.post("/derogations/{derogation}:withdraw")
def withdraw_derogation(project: str, derogation: str, request: Request, principal: Approver, body: Body) -> Json:
    """Take one's own approval back, as long as it is the only one."""
    only(body)
    return _document(request, service.KIND.withdraw(context_of(request), principal, project, derogation))


@router.post("/derogations/{derogation}:revoke")
def revoke_derogation(project: str, derogation: str, request: Request, principal: Approver, body: Body) -> Json:
    """Take a derogation back, asked for or approved; whatever rests on it is judged without it."""
    only(body)
    return _document(request, service.revoke(context_of(request), principal, project, derogation))


def _document(request: Request, one: Proposal) -> Json:
    not_after = datetime.fromisoformat(str(one.text["not_after"]))
    state = service.state_of(one, not_after, context_of(request).clock.now())
    return {**shown(one, state), "uses": one.uses}
