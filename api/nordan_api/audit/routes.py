"""Routes of the audit log, and of what anybody needs to verify a certificate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from nordan_api.auth.callers import permitted
from nordan_api.auth.permissions import Permission
from nordan_api.context import context_of
from nordan_core.domain.errors import Invalid, NotFound
from nordan_core.domain.tenants import Principal
from nordan_core.proof.growth import growth_document
from nordan_core.proof.keys import KeyRing
from nordan_core.proof.merkle import consistency_nodes, consistency_proof
from nordan_core.proof.succession import Purpose
from nordan_core.signing import chain_of
from nordan_core.store.ledger import Head, LoggedEntry

router = APIRouter(prefix="/v1", tags=["audit"])
Json = dict[str, Any]  # Any: JSON
Looker = Annotated[Principal, Depends(permitted(Permission.LOOK))]
Auditor = Annotated[Principal, Depends(permitted(Permission.READ_AUDIT))]


@router.get("/keys")
def keys(request: Request, _principal: Looker) -> Json:
    """Return all public keys by which grants and certificates are verified offline, and the statements between them."""
    context = context_of(request)
    with context.store.look() as work:
        grants, certificates = (chain_of(work, purpose) for purpose in (Purpose.GRANT, Purpose.CERTIFICATE))
    certificate = context.certificate_key
    return {
        "grant_keys": _pems(grants.ring(context.grant_key.public)),
        "certificate_keys": _pems(certificates.ring(*([certificate] if certificate else []))),
        "successions": [*grants.statements, *certificates.statements],
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
def checkpoint(request: Request, _principal: Looker) -> Json:
    """Return the newest signed checkpoint of the audit log: no entry can be read from it, so anybody may keep one."""
    with context_of(request).store.look() as work:
        head = work.ledger.head()
    if head is None:
        raise NotFound("checkpoint", "yet")
    return _head(head)


@router.get("/audit/consistency")
def consistency(
    request: Request,
    _principal: Looker,
    *,
    old: Annotated[int, Query(ge=1, lt=2**62)],
    new: Annotated[int | None, Query(ge=1, lt=2**62)] = None,
) -> Json:
    """Return two signed heads and the proof that the older log begins the newer; the newest where `new` is not said."""
    with context_of(request).store.look() as work:
        older = work.ledger.head_at(old)
        newer = work.ledger.head() if new is None else work.ledger.head_at(new)
        if older is None or newer is None:
            raise NotFound("checkpoint of size", str(old if older is None else new))
        if older.size > newer.size:
            raise Invalid("old", f"is the larger of the two: {older.size} and {newer.size}")
        nodes = work.ledger.nodes(sorted(set(consistency_nodes(older.size, newer.size))))
    proof = consistency_proof(older.size, newer.size, lambda level, index: nodes[level, index])
    return growth_document(older.envelope, newer.envelope, proof)


@router.get("/audit/checkpoints")
def checkpoints(
    request: Request,
    _principal: Auditor,
    *,
    after: Annotated[int, Query(ge=0, lt=2**62)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> Json:
    """Return signed checkpoints larger than a size, smallest first."""
    with context_of(request).store.look() as work:
        found = work.ledger.heads(after, limit)
    return {
        "items": [_head(one) for one in found],
        "next_after": found[-1].size if len(found) == limit else None,
    }


@router.get("/audit/entries")
def entries(
    request: Request,
    _principal: Auditor,
    *,
    after: Annotated[int, Query(ge=-1, lt=2**62)] = -1,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    salts: bool = False,
) -> Json:
    """Return sealed entries in the log's order, after an index; on request with the salts of their leaves."""
    with context_of(request).store.look() as work:
        found = work.ledger.page(after + 1, limit)
        forms = work.ledger.forms(found) if salts else {}
    items = [{"index": one.leaf_index, **one.document(), **_opening(one, forms)} for one in found]
    return {"items": items, "next_after": found[-1].leaf_index if len(found) == limit else None}


def _pems(ring: KeyRing) -> dict[str, str]:
    return {key_id: key.pem() for key_id, key in ring.items()}


def _opening(entry: LoggedEntry, forms: Mapping[int, int]) -> Json:
    if entry.leaf_index is None or entry.leaf_index not in forms:
        return {}
    return {"salt": entry.salt.hex(), "form": forms[entry.leaf_index]}


def _head(head: Head) -> Json:
    return {"size": head.size, "root": head.root.hex(), "at": head.at.isoformat(), "envelope": dict(head.envelope)}
