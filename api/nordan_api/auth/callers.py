"""Turn a request's credential into a principal or a region; check the permission that the route names."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from nordan_api.auth.permissions import Permission, may
from nordan_api.context import Context, context_of
from nordan_api.idempotency import refuse_idle_key
from nordan_api.lanes import lanes_of, on_lane
from nordan_core.domain.errors import Forbidden, NotFound, Unauthenticated
from nordan_core.domain.ids import OrganisationId, RegionCode
from nordan_core.domain.tenants import Principal, Project, Role
from nordan_core.store.tenants import hash_secret
from nordan_core.store.unit_of_work import UnitOfWork

#: A revoked or expired key works at most this long after.
CACHE_S = 2.0
_CACHE_SIZE = 10_000


class PrincipalCache:
    """Spares a look-up per request; holds hashes, never secrets."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, Principal]] = {}
        self._lock = threading.Lock()

    def get(self, secret_hash: str, now_s: float) -> Principal | None:
        """Return a principal that was looked up less than `CACHE_S` ago."""
        found = self._known.get(secret_hash)
        return found[1] if found is not None and now_s - found[0] < CACHE_S else None

    def put(self, secret_hash: str, principal: Principal, now_s: float) -> None:
        """Remember a look-up."""
        with self._lock:
            if len(self._known) >= _CACHE_SIZE:
                self._known.clear()
            self._known[secret_hash] = (now_s, principal)


def permitted(permission: Permission) -> Callable[[Request], Awaitable[Principal]]:
    """Return a dependency that gives the caller, or refuses one who may not do this."""

    async def caller(request: Request) -> Principal:
        principal = await _principal(request)
        if not may(principal.role, permission):
            raise Forbidden(f"the role {principal.role} may not do this; it takes {permission.replace('_', ' ')}")
        refuse_idle_key(request)
        return principal

    caller.permission = permission  # type: ignore[attr-defined]  # read by the test that walks routes and roles
    return caller


async def _principal(request: Request) -> Principal:
    context = context_of(request)
    secret = bearer(request)
    cache: PrincipalCache = request.app.state.principals
    key, now = hash_secret(secret), context.clock.now()
    found = cache.get(key, context.clock.monotonic())
    if found is None:
        found = await run_in_threadpool(_look_up, context, secret)
        cache.put(key, found, context.clock.monotonic())
    if found.expires_at is not None and found.expires_at <= now:
        raise Unauthenticated("this API key has expired; ask an owner of your organisation for another")
    return found


def _look_up(context: Context, secret: str) -> Principal:
    with context.store.look() as work:
        principal = work.tenants.principal(secret, context.clock.now())
        # So that what people write is read by the atlas in force, not by one that another process replaced.
        context.facts_cache.atlases.within(work)
    if principal is None:
        raise Unauthenticated("this API key is unknown, revoked or expired; `nordan login` takes another")
    return principal


def bearer(request: Request) -> str:
    """Return the bearer credential of a request.

    Raises:
        Unauthenticated: when there is none.
    """
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret:
        raise Unauthenticated("send an API key: `Authorization: Bearer nk_…`")
    return secret.strip()


async def region_caller(request: Request) -> RegionCode:
    """Return the region whose credential came with a request to the worker API."""
    context = context_of(request)
    region = await on_lane(lanes_of(request).regions, _region, context, hash_secret(bearer(request)))
    refuse_idle_key(request)
    return region


def _region(context: Context, credential_hash: str) -> RegionCode:
    with context.store.look() as work:
        region = work.places.region_of_credential(credential_hash)
    if region is None:
        raise Unauthenticated("this region credential is unknown or was replaced; join the region again")
    return region


RegionCaller = Annotated[RegionCode, Depends(region_caller)]


def scope_of(principal: Principal) -> OrganisationId | None:
    """Return the organisation whose objects a principal sees; None means all."""
    return None if principal.role is Role.ADMIN else principal.organisation


def find_project(work: UnitOfWork, principal: Principal, name: str) -> Project:
    """Return a project that the principal may see.

    A name is first one of the caller's own organisation.

    Raises:
        NotFound: it is absent, another tenant's, or outside the key's project: one answer for all three.
        Conflict: an administrator gave a name that several other organisations have.
    """
    project = work.tenants.project(scope_of(principal), name, own=principal.organisation)
    if project is None or (principal.project is not None and principal.project != project.id):
        raise NotFound("project", name)
    return project
