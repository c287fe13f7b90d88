"""The gateway's application: routes, in the order in which they are tried, over what they stand on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from nordan_core.clock import Clock
from nordan_workers.api_client import WorkerApi
from nordan_workers.gateway.access import Doorkeeper
from nordan_workers.gateway.artifacts import Artifacts
from nordan_workers.gateway.copies import Copies
from nordan_workers.gateway.lists import Lists
from nordan_workers.gateway.logs import Logs
from nordan_workers.gateway.pod_sync import PodSync
from nordan_workers.gateway.pods import Pods
from nordan_workers.gateway.problems import HANDLERS
from nordan_workers.gateway.services import LIMITS, TIMEOUT, Services
from nordan_workers.gateway.sessions import Sessions
from nordan_workers.gateway.uploads import Uploads
from nordan_workers.joining import Joined
from nordan_workers.shim import linux
from nordan_workers.store.region_store import RegionStore
from nordan_workers.store.uploads import UploadNotes
from nordan_workers.supervisor.doorway import EXEC_SOCKET
from nordan_workers.trust import Trust


@dataclass(frozen=True, slots=True)
class Region:
    """Everything outside that a gateway stands on."""

    region_dir: Path
    joined: Joined
    api: WorkerApi
    clock: Clock
    max_upload_bytes: int
    replicas: httpx.AsyncBaseTransport | None = None
    """How replicas are reached; None: over the network of this machine."""


def gateway_app(region: Region) -> Starlette:
    """Return the application of one region's gateway; it closes its connections when it shuts down."""
    store = RegionStore(region.region_dir / "store")
    notes = UploadNotes(region.region_dir / "store" / "uploads")
    lists = Lists(region.region_dir)
    doorkeeper = Doorkeeper(region.joined, lists, region.clock, Trust(region.joined.keys, region.clock))
    http = httpx.AsyncClient(timeout=TIMEOUT, limits=LIMITS, trust_env=False, transport=region.replicas)
    # Replicas' cookies are their callers' business: kept here, they would pile up.
    http.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=()))
    notes.forget_older(now_s=region.clock.now().timestamp())

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await http.aclose()
        await region.api.close()

    routes = [
        Route("/healthz", _health),
        *Uploads(doorkeeper, store, notes, region.api, region.max_upload_bytes).routes(),
        *Copies(doorkeeper, store, region.api, http, region.clock).routes(),
        *Artifacts(doorkeeper, store).routes(),
        *Pods(region.region_dir, PodSync(region.clock, linux.boot_id()), region.max_upload_bytes).routes(),
        *Logs(doorkeeper, region.region_dir / "logs").routes(),
        *Sessions(doorkeeper, region.region_dir / "run" / EXEC_SOCKET).routes(),
        *Services(doorkeeper, lists, http).routes(),
    ]
    return Starlette(routes=routes, exception_handlers=HANDLERS, lifespan=lifespan)


def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})
