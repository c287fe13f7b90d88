"""Put the app together: middleware, errors, routes. `python -m nordan_api` serves it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from anyio import create_task_group, sleep
from fastapi import Depends, FastAPI
from sqlalchemy.exc import SQLAlchemyError

from nordan_api import errors
from nordan_api.atlas.routes import router as atlas
from nordan_api.audit.routes import router as audit
from nordan_api.auth.callers import PrincipalCache
from nordan_api.context import Context
from nordan_api.datasets.routes import router as datasets
from nordan_api.derogations.routes import router as derogations
from nordan_api.entrance import Entrance
from nordan_api.grant_keys import LOOK_S
from nordan_api.jobs.routes import router as jobs
from nordan_api.lanes import Lanes, narrow_default_lane, on_lane
from nordan_api.lineage.routes import router as lineage
from nordan_api.places.routes import router as places
from nordan_api.projects.routes import router as projects
from nordan_api.queries import refuse_unknown_query
from nordan_api.workers.routes import router as workers
from nordan_core.domain.errors import NordanError, Unavailable

_log = structlog.get_logger()
_ROUTERS = (jobs, datasets, lineage, derogations, projects, places, atlas, audit, workers)


def create_app(context: Context) -> FastAPI:
    """Return the api over a context. It owns the context's store and closes it at the end."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        narrow_default_lane(context.settings.api_threads)
        await _look_at_keys(app, context)
        async with create_task_group() as tasks:
            tasks.start_soon(_follow_keys, app, context)
            yield
            tasks.cancel_scope.cancel()
        context.store.close()

    app = FastAPI(title="Nordan", version="0.1.0", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.context = context
    app.state.principals = PrincipalCache()
    app.state.lanes = Lanes()
    errors.install(app)
    app.add_middleware(Entrance)
    _install_health(app, context)
    for router in _ROUTERS:
        app.include_router(router, dependencies=[Depends(refuse_unknown_query)])
    return app


def _install_health(app: FastAPI, context: Context) -> None:
    @app.get("/healthz", include_in_schema=False)
    async def _alive() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", include_in_schema=False)
    async def _ready() -> dict[str, str]:
        lanes: Lanes = app.state.lanes
        try:
            await on_lane(lanes.probes, _touch, context)
        except SQLAlchemyError as error:
            raise Unavailable("the database does not answer") from error
        return {"status": "ready"}


async def _follow_keys(app: FastAPI, context: Context) -> None:
    while True:
        await sleep(LOOK_S)
        await _look_at_keys(app, context)


async def _look_at_keys(app: FastAPI, context: Context) -> None:
    """See with which key to sign; whatever stands in the way is looked at again."""
    lanes: Lanes = app.state.lanes
    try:
        await on_lane(lanes.probes, context.grant_keys.refresh)
    except (SQLAlchemyError, NordanError) as error:
        _log.warning("grant_keys_not_read", error=type(error).__name__)


def _touch(context: Context) -> None:
    with context.store.begin() as work:
        work.epoch.current()
