"""Routes of the atlas: anybody may see what law is read with, administrators may change it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from nordan_api.atlas import service
from nordan_api.auth.callers import permitted
from nordan_api.auth.permissions import Permission
from nordan_api.bodies import document, only
from nordan_api.context import context_of
from nordan_core.domain.tenants import Principal

router = APIRouter(prefix="/v1", tags=["atlas"])
Json = dict[str, Any]  # Any: JSON
Looker = Annotated[Principal, Depends(permitted(Permission.LOOK))]
Operator = Annotated[Principal, Depends(permitted(Permission.MANAGE_PLATFORM))]
Body = Annotated[Json, Depends(document)]


@router.get("/atlas")
def show(request: Request, _principal: Looker) -> Json:
    """Return which atlas is in force, and those that were before it, newest first."""
    return service.show(context_of(request))


@router.get("/atlas/{digest}")
def fetch(digest: str, request: Request, _principal: Looker) -> Json:
    """Return the bytes and the signature of an atlas that is or was in force."""
    return service.fetch(context_of(request), digest)


@router.post("/atlas:diff")
def diff(request: Request, _principal: Operator, body: Body) -> Json:
    """Return what an atlas would change: in the law itself, and for policies, pools, live attempts and stored data."""
    only(body, "data", "signature")
    context = context_of(request)
    return service.look(context, service.read_offer(context, body.get("data"), body.get("signature"))).document


@router.post("/atlas:apply")
def apply(request: Request, principal: Operator, body: Body) -> Json:
    """Put an atlas in force, confirmed by its digest; what became unlawful is fenced as after any change of law."""
    only(body, "data", "signature", "digest")
    context = context_of(request)
    offered = service.read_offer(context, body.get("data"), body.get("signature"))
    return service.apply(context, principal, offered, body.get("digest"))
