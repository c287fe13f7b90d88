"""Routes of the worker API: a region's credential opens them, and only for that region's own attempts."""

from __future__ import annotations

from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, ValidationError

from nordan_api.auth.callers import RegionCaller
from nordan_api.bodies import MAX_WORKER_BODY_BYTES, bounded_body
from nordan_api.context import context_of
from nordan_api.lanes import lanes_of, on_lane
from nordan_api.workers import content, redeem, sync
from nordan_core.domain.errors import Invalid
from nordan_core.wire import CopySourceRequest, PublishRequest, RedeemRequest, SyncUp, UploadCommit

router = APIRouter(prefix="/worker/v1", tags=["worker"])
Message = TypeVar("Message", bound=BaseModel)


@router.post("/grants:redeem")
async def redeem_grants(request: Request, region: RegionCaller) -> Response:
    """Redeem grants; each item is answered on its own."""
    wanted = await _message(request, RedeemRequest)
    return _answer(await on_lane(lanes_of(request).regions, redeem.redeem, context_of(request), region, wanted))


@router.post("/sync")
async def sync_region(request: Request, region: RegionCaller) -> Response:
    """Take a region's reports; answer with renewals, stops and what is settled."""
    up = await _message(request, SyncUp)
    return _answer(await on_lane(lanes_of(request).regions, sync.sync, context_of(request), region, up))


@router.post("/artifacts", status_code=201)
async def publish(request: Request, region: RegionCaller) -> Response:
    """Accept a checkpoint under a live fence."""
    wanted = await _message(request, PublishRequest)
    return _answer(await on_lane(lanes_of(request).regions, content.publish, context_of(request), region, wanted), 201)


@router.post("/uploads:commit", status_code=201)
async def commit_upload(request: Request, region: RegionCaller) -> Response:
    """Note that the bytes of an upload lie in this region."""
    wanted = await _message(request, UploadCommit)
    return _answer(
        await on_lane(lanes_of(request).regions, content.commit_upload, context_of(request), region, wanted), 201
    )


@router.post("/uploads:source")
async def copy_source(request: Request, region: RegionCaller) -> Response:
    """Say whence the bytes of a copy may be fetched."""
    wanted = await _message(request, CopySourceRequest)
    return _answer(await on_lane(lanes_of(request).regions, content.copy_source, context_of(request), region, wanted))


@router.get("/keys")
def keys(request: Request, _region: RegionCaller) -> dict[str, Any]:  # Any: JSON
    """Return the public keys that grants, renewals and access tokens are signed with, and how they came to be."""
    context = context_of(request)
    return {
        "grant_keys": context.grant_keys.live(context.clock.now()),
        "successions": context.grant_keys.statements,
    }


async def _message(request: Request, kind: type[Message]) -> Message:
    body = await bounded_body(request, MAX_WORKER_BODY_BYTES)
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise Invalid(".".join(str(part) for part in first["loc"]), first["msg"]) from None


def _answer(message: BaseModel, status: int = 200) -> Response:
    return Response(message.model_dump_json(), status_code=status, media_type="application/json")
