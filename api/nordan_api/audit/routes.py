"""Routes of the audit log, and of what anybody needs to verify a certificate."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from nordan_api.auth.callers import permitted
from nordan_api.auth.permissions import Permission
from nordan_api.context import context_of
from nordan_core.domain.errors import NotFound
from nordan_core.domain.tenants import Principal

router = APIRouter(prefix="/v1", tags=["audit"])
Json = dict[str, Any]  # Any: JSON
Looker = Annotated[Principal, Depends(permitted(Permission.LOOK))]
Auditor = Annotated[Principal, Depends(permitted(Permission.READ_AUDIT))]


@router.get("/keys")
def keys(request: Request, _principal: Looker) -> Json:
    """Return the public keys by which grants and certificates are verified offline."""
    context = context_of(request)
    certificate = context.certificate_key
    return {
        "grant_keys": {context.grant_key.public.key_id: context.grant_key.public.pem()},
        "certificate_keys": {certificate.key_id: certificate.pem()} if certificate else {},
    }


@router.get("/cell")
def cell(request: Request, _principal: Looker) -> Json:
    """Return where this control plane stands, who runs it and which atlas it judges by."""
    context = context_of(request)
    with context.store.begin() as work:
        world = work.places.world()
    return {
        "territory": world.cell["territory"] if world.cell else None,
        "operator": world.cell["operator"] if world.cell else None,
        "atlas": {"version": context.atlas.version, "digest": context.atlas.digest},
    }


@router.get("/audit/checkpoint")
def checkpoint(request: Request, _principal: Auditor) -> Json:
    """Return the newest signed checkpoint of the audit log."""
    with context_of(request).store.begin() as work:
        head = work.ledger.head()
    if head is None:
        raise NotFound("checkpoint", "yet")
    return {"size": head.size, "root": head.root.hex(), "at": head.at.isoformat(), "envelope": dict(head.envelope)}


@router.get("/audit/entries")
def entries(
    request: Request,
    _principal: Auditor,
    *,
    after: Annotated[int, Query(ge=-1, lt=2**62)] = -1,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> Json:
    """Return sealed entries in their order in the log, after an index."""
    with context_of(request).store.begin() as work:
        found = work.ledger.page(after + 1, limit)
    items = [{"index": one.leaf_index, **one.document()} for one in found]
    return {"items": items, "next_after": found[-1].leaf_index if len(found) == limit else None}
