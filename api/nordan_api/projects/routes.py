"""Routes of organisations, projects and keys."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from nordan_api.auth.callers import find_project, permitted
from nordan_api.auth.permissions import Permission
from nordan_api.bodies import document, only
from nordan_api.context import context_of
from nordan_api.projects import service
from nordan_core.domain.errors import Invalid
from nordan_core.domain.tenants import Organisation, Principal, Project
from nordan_core.store.policy_versions import PolicyVersion

router = APIRouter(prefix="/v1", tags=["projects"])
Json = dict[str, Any]  # Any: JSON
Looker = Annotated[Principal, Depends(permitted(Permission.LOOK))]
Reader = Annotated[Principal, Depends(permitted(Permission.READ_JOBS))]
Manager = Annotated[Principal, Depends(permitted(Permission.MANAGE_PROJECTS))]
KeyManager = Annotated[Principal, Depends(permitted(Permission.MANAGE_KEYS))]
Operator = Annotated[Principal, Depends(permitted(Permission.MANAGE_PLATFORM))]
Body = Annotated[Json, Depends(document)]


@router.get("/me")
def me(request: Request, principal: Looker) -> Json:
    """Return who the caller is."""
    with context_of(request).store.begin() as work:
        organisation = work.tenants.organisation(principal.organisation)
    return {
        "key": principal.key,
        "role": principal.role.value,
        "organisation": organisation.name if organisation else principal.organisation,
        "project": principal.project,
        "territory": principal.territory,
        "expires_at": principal.expires_at.isoformat() if principal.expires_at else None,
    }


@router.post("/organisations", status_code=201)
def create_organisation(request: Request, principal: Operator, body: Body) -> Json:
    """Add a tenant."""
    only(body, "name", "floor")
    floor = _floor(body) or {}
    return _organisation(service.create_organisation(context_of(request), principal, body.get("name"), floor))


@router.get("/organisations")
def organisations(request: Request, _principal: Operator) -> Json:
    """Return all tenants."""
    with context_of(request).store.begin() as work:
        return {"items": [_organisation(one) for one in work.tenants.organisations()]}


@router.post("/organisations/{organisation}/keys", status_code=201)
def create_key(organisation: str, request: Request, principal: KeyManager, body: Body) -> Json:
    """Make an API key; its secret is in this answer and nowhere else."""
    key, secret = service.create_key(context_of(request), principal, organisation, body)
    return {"id": key.key, "key": secret, "role": key.role.value, "territory": key.territory}


@router.get("/organisations/{organisation}/keys")
def list_keys(organisation: str, request: Request, principal: KeyManager) -> Json:
    """Return the API keys that were not revoked, oldest first, without their secrets."""
    found = service.list_keys(context_of(request), principal, organisation)
    return {"items": [_key(key, at) for key, at in found]}


@router.delete("/organisations/{organisation}/keys/{key}", status_code=204)
def revoke_key(organisation: str, key: str, request: Request, principal: KeyManager) -> Response:
    """Revoke an API key."""
    service.revoke_key(context_of(request), principal, organisation, key)
    return Response(status_code=204)


@router.post("/projects", status_code=201)
def create_project(request: Request, principal: Manager, body: Body) -> Json:
    """Add a workspace; without `floor` it gets the template's."""
    only(body, "name", "organisation", "floor")
    project = service.create_project(
        context_of(request), principal, body.get("name"), body.get("organisation"), _floor(body)
    )
    return _project(project)


@router.get("/projects")
def projects(request: Request, principal: Looker) -> Json:
    """Return the caller's projects."""
    return {"items": [_project(one) for one in service.list_projects(context_of(request), principal)]}


@router.get("/projects/{project}")
def get_project(project: str, request: Request, principal: Looker) -> Json:
    """Return one project."""
    context = context_of(request)
    with context.store.begin() as work:
        return _project(find_project(work, principal, project))


@router.get("/projects/{project}/policies")
def policies(project: str, request: Request, principal: Reader) -> Json:
    """Return what the floors and datasets of a project said at each time, and who made them say so."""
    found = service.policy_history(context_of(request), principal, project)
    return {"items": [_version(kind, name, one) for kind, name, one in found]}


def _version(kind: str, name: str, one: PolicyVersion) -> Json:
    return {
        "kind": kind,
        "name": name,
        "number": one.number,
        "policy": dict(one.policy),
        "digest": one.digest,
        "author": one.author,
        "at": one.at.isoformat(),
    }


def _floor(body: Json) -> Json | None:
    floor = body.get("floor")
    if floor is not None and not isinstance(floor, dict):
        raise Invalid("floor", "expected a mapping of facets")
    return floor


def _key(key: Principal, created_at: datetime) -> Json:
    return {
        "id": key.key,
        "role": key.role.value,
        "project": key.project,
        "territory": key.territory,
        "made_by": key.made_by,
        "member": key.same_as,
        "created_at": created_at.isoformat(),
        "expires_at": key.expires_at.isoformat() if key.expires_at else None,
    }


def _organisation(organisation: Organisation) -> Json:
    return {"id": organisation.id, "name": organisation.name, "floor": dict(organisation.floor)}


def _project(project: Project) -> Json:
    return {
        "id": project.id,
        "name": project.name,
        "organisation": project.organisation_name,
        "floor": dict(project.floor),
        "created_at": project.created_at.isoformat(),
    }
