"""Routes of the world: facts and regions for operators, the market for everybody."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool

from nordan_api.auth.callers import permitted
from nordan_api.auth.permissions import Permission
from nordan_api.bodies import MAX_BODY_BYTES, bounded_body, document, parse_object, read_model
from nordan_api.context import context_of
from nordan_api.places import nodes, service
from nordan_core.domain.errors import Invalid
from nordan_core.domain.tenants import Principal
from nordan_core.wire import JoinRequest

router = APIRouter(prefix="/v1", tags=["places"])
Json = dict[str, Any]  # Any: JSON
Looker = Annotated[Principal, Depends(permitted(Permission.LOOK))]
Operator = Annotated[Principal, Depends(permitted(Permission.MANAGE_PLATFORM))]
Body = Annotated[Json, Depends(document)]
#: A world of a thousand pools is one document; it is not a tenant's body.
_MAX_WORLD_BYTES = 16 * MAX_BODY_BYTES


@router.post("/admin:apply")
async def apply_world(request: Request, principal: Operator) -> Json:
    """Apply world documents, all or none."""
    body = parse_object(await bounded_body(request, _MAX_WORLD_BYTES))
    documents = body.get("documents")
    if not isinstance(documents, list) or set(body) != {"documents"}:
        raise Invalid("documents", "give {documents: [...]}, each with its kind")
    return {"results": await run_in_threadpool(service.apply_world, context_of(request), principal, documents)}


@router.post("/regions/{code}:join")
def join(code: str, request: Request, principal: Operator, body: Body) -> Json:
    """Give a region its credential; the answer holds a secret and is shown once."""
    wanted = read_model(JoinRequest, body)
    return service.join_region(context_of(request), principal, code, wanted).model_dump()


@router.get("/regions")
def regions(request: Request, _principal: Looker) -> Json:
    """Return all regions."""
    with context_of(request).store.begin() as work:
        found = work.places.regions()
    return {
        "items": [
            {
                "code": one.code,
                "territory": one.territory,
                "operator": one.operator,
                "host": one.host,
                "locode": one.locode,
                "grid_zone": one.grid_zone,
                "pue": one.pue,
                "executor": one.executor.value,
                "gateway_url": one.gateway_url,
                "seen_at": one.seen_at.isoformat() if one.seen_at else None,
            }
            for one in found
        ]
    }


@router.get("/pools")
def pools(request: Request, _principal: Looker) -> Json:
    """Return all pools with their prices and what is free."""
    with context_of(request).store.begin() as work:
        found, there = work.places.pools(), work.nodes.all()
    items = []
    for pool in found:
        own = [node for node in there if node.pool == pool.name]
        items.append(
            {
                "name": pool.name,
                "region": pool.region,
                "provider": pool.provider,
                "accelerator": pool.accelerator,
                "gpu_memory_mib": pool.gpu_memory_mib,
                "gpus_per_node": pool.gpus_per_node,
                "nodes": sum(node.state != "down" for node in own),
                "gpus_free": sum(node.free_gpus for node in own if node.state == "ready"),
                "price_eur_per_gpu_h": str(pool.price.eur_per_gpu_h),
                "power_w_per_gpu": pool.power_w_per_gpu,
                "facts_version": pool.facts_version,
                "has_made_up_gpus": pool.has_made_up_gpus,
            }
        )
    return {"items": items}


@router.get("/nodes")
def all_nodes(request: Request, _principal: Operator) -> Json:
    """Return all nodes."""
    return {"items": nodes.list_nodes(context_of(request))}


@router.post("/pools/{pool}:{verb}")
def hold_pool(pool: str, verb: nodes.Verb, request: Request, principal: Operator, body: Body) -> Json:
    """Cordon, drain or uncordon a pool: the nodes that it has and those that it will have."""
    return nodes.hold(context_of(request), principal, nodes.Target(pool), verb, _wanted(verb, body))


def _target(pool: str, node: str) -> nodes.Target:
    return nodes.Target(pool, node)


@router.post("/pools/{pool}/nodes/{node}:{verb}")
def hold_node(
    target: Annotated[nodes.Target, Depends(_target)],
    verb: nodes.Verb,
    request: Request,
    principal: Operator,
    body: Body,
) -> Json:
    """Cordon, drain or uncordon one node."""
    return nodes.hold(context_of(request), principal, target, verb, _wanted(verb, body))


def _wanted(verb: nodes.Verb, body: Json) -> nodes.HoldRequest:
    return read_model(nodes.DrainRequest if verb == "drain" else nodes.HoldRequest, body)
