"""Apply world documents: all of them or none, one step of the residency epoch, one audit entry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nordan_api.context import Context
from nordan_api.jobs.policy import read_floor
from nordan_api.projects.service import floor_template
from nordan_core.domain.errors import Conflict, Invalid, NotFound
from nordan_core.domain.ids import OrganisationId, ProjectId, RegionCode
from nordan_core.domain.places import ExecutorKind
from nordan_core.domain.tenants import Organisation, Principal, Project
from nordan_core.identifiers import new_id, new_secret
from nordan_core.proof.canonical import digest_of
from nordan_core.residency.places import Atlas
from nordan_core.residency.policy import policy_document
from nordan_core.sealing import broker_label
from nordan_core.store.audit import Act, AuditEntry
from nordan_core.store.tenants import hash_secret
from nordan_core.store.unit_of_work import UnitOfWork
from nordan_core.wire import JoinBundle, JoinRequest
from nordan_core.world import (
    KINDS,
    ControlPlaneDocument,
    EntityDocument,
    OrganisationDocument,
    PoolDocument,
    ProjectDocument,
    RegionDocument,
    WorldDocument,
    check_codes,
    parse_world,
)
from nordan_core.world_facts import check_references, entity_of

Json = dict[str, Any]  # Any: JSON


def apply_world(context: Context, principal: Principal, documents: Sequence[Json]) -> list[Json]:
    """Store documents in the order that their references need; returns what became of each, as they came.

    Raises:
        Invalid: a malformed document, an unknown code, or a reference to nothing; nothing is changed then.
    """
    parsed = parse_world(list(documents))
    results: dict[int, str] = {}
    with context.store.begin() as work:
        # Taken before anything is read, so that two applies never work from the same state.
        work.epoch.hold()
        # With the epoch held no other atlas comes into force before this is stored.
        _check_codes(parsed, context.facts_cache.atlases.within(work))
        for place in sorted(range(len(parsed)), key=lambda one: KINDS.index(parsed[one].kind)):
            results[place] = _apply_one(context, work, parsed[place], place)
        check_references(work.places.world())
        _note_floors(
            context, work, principal, [one for place, one in enumerate(parsed) if results[place] != "unchanged"]
        )
        if any(action != "unchanged" for action in results.values()):
            work.epoch.step()
            work.audit.write(_entry(context, principal, parsed, results))
            work.notify("nordan_queue")
    return [{"kind": one.kind, "name": _name(one), "action": results[place]} for place, one in enumerate(parsed)]


def _entry(
    context: Context, principal: Principal, parsed: Sequence[WorldDocument], results: dict[int, str]
) -> AuditEntry:
    changed = {
        f"{one.kind} {_name(one)}".strip(): digest_of(one.stored())
        for place, one in enumerate(parsed)
        if results[place] != "unchanged"
    }
    return AuditEntry(Act.FACTS_CHANGED, "world", principal.key, context.clock.now(), None, {"changed": changed})


def _name(document: WorldDocument) -> str:
    return "" if isinstance(document, ControlPlaneDocument) else document.name


def _apply_one(context: Context, work: UnitOfWork, document: WorldDocument, place: int) -> str:
    now = context.clock.now()
    match document:
        case EntityDocument():
            action = work.places.put_entity(document, now)
        case ControlPlaneDocument():
            return work.places.put_cell(document, now)
        case RegionDocument():
            _check_executor(work, document)
            action = work.places.put_region(document, now)
        case PoolDocument():
            return _put_pool(context, work, document, place)
        case OrganisationDocument():
            return _put_organisation(context, work, document, place)
        case ProjectDocument():
            return _put_project(context, work, document, place)
    if action == "updated":
        work.places.step_facts()
    return action


def _check_executor(work: UnitOfWork, document: RegionDocument) -> None:
    known = work.places.region(document.name)
    if known is None or known.executor is document.executor:
        return
    pools = [pool.name for pool in work.places.pools() if pool.region == document.name]
    if pools:
        message = (
            f"region {document.name} has pools whose nodes are the {known.executor} executor's: {', '.join(pools)}"
        )
        raise Conflict("region_executor", f"{message}; describe a new region")


def _put_pool(context: Context, work: UnitOfWork, document: PoolDocument, place: int) -> str:
    known = next((pool for pool in work.places.pools() if pool.name == document.name), None)
    if known is not None and known.gpus_per_node != document.gpus_per_node:
        message = f"pool {document.name} has nodes of {known.gpus_per_node} GPUs; make another pool for other nodes"
        raise Conflict("pool_shape", message)
    if known is not None and known.region != document.region:
        raise Conflict("pool_shape", f"pool {document.name} is in {known.region}; pools do not move")
    region = work.places.region(document.region)
    if region is None:
        raise Invalid(f"documents.{place}.region", f"no region {document.region!r}")
    if document.nodes is None and region.executor is ExecutorKind.LOCAL:
        message = f"say how many nodes {document.name} has; only a region of the kubernetes executor finds them itself"
        raise Invalid(f"documents.{place}.nodes", message)
    return work.places.put_pool(document, context.clock.now())


def _put_organisation(context: Context, work: UnitOfWork, document: OrganisationDocument, place: int) -> str:
    floor = policy_document(read_floor(document.floor, f"documents.{place}.floor", context.atlas))
    known = work.tenants.organisation(document.name)
    if known is None:
        identity = OrganisationId(new_id("org"))
        work.tenants.add_organisation(Organisation(identity, document.name, floor, context.clock.now()))
        return "created"
    if dict(known.floor) == floor:
        return "unchanged"
    work.tenants.set_organisation_floor(known.id, floor)
    return "updated"


def _put_project(context: Context, work: UnitOfWork, document: ProjectDocument, place: int) -> str:
    owner = work.tenants.organisation(document.organisation)
    if owner is None:
        raise Invalid(f"documents.{place}.organisation", f"no organisation {document.organisation!r}")
    stated = document.floor if document.floor is not None else floor_template(context, work)
    floor = policy_document(read_floor(stated, f"documents.{place}.floor", context.atlas))
    known = work.tenants.project(owner.id, document.name)
    if known is None:
        fresh = Project(
            ProjectId(new_id("prj")), owner.id, owner.name, document.name, floor, owner.floor, context.clock.now()
        )
        work.tenants.add_project(fresh)
        return "created"
    if document.floor is None or dict(known.floor) == floor:
        return "unchanged"
    work.tenants.set_project_floor(known.id, floor)
    return "updated"


def _note_floors(context: Context, work: UnitOfWork, principal: Principal, changed: Sequence[WorldDocument]) -> None:
    """Keep what each changed floor says from now on, and who said it."""
    now = context.clock.now()
    for document in changed:
        if isinstance(document, OrganisationDocument):
            owner = work.tenants.organisation(document.name)
            assert owner is not None, "it was written just now"
            work.policy_versions.note(owner.id, owner.floor, author=principal.key, at=now)
        elif isinstance(document, ProjectDocument):
            owner = work.tenants.organisation(document.organisation)
            project = work.tenants.project(owner.id, document.name) if owner is not None else None
            assert project is not None, "it was written just now"
            work.policy_versions.note(project.id, project.floor, author=principal.key, at=now)


def _check_codes(documents: Sequence[WorldDocument], atlas: Atlas) -> None:
    for place, document in enumerate(documents):
        stored = document.stored()
        check_codes(stored, atlas, f"documents.{place}")
        if isinstance(document, EntityDocument):
            entity_of(stored)


def join_region(context: Context, principal: Principal, code: str, request: JoinRequest) -> JoinBundle:
    """Give a region its credential and note where its gateway and broker are; an older credential stops working.

    Raises:
        NotFound: no such region.
    """
    credential = new_secret("nr")
    now = context.clock.now()
    with context.store.begin() as work:
        work.epoch.step()
        region = work.places.region(code)
        if region is None:
            raise NotFound("region", code)
        work.places.join(
            RegionCode(code),
            credential_hash=hash_secret(credential),
            gateway_url=request.gateway_url,
            broker_sealed=context.sealing_key.seal(request.broker_url, broker_label(code)),
            offers=request.offers_tenancy,
        )
        work.places.step_facts()
        work.audit.write(AuditEntry(Act.REGION_JOINED, code, principal.key, now))
    return JoinBundle(
        api_url=context.settings.api_url,
        region=code,
        credential=credential,
        grant_keys=dict(context.grant_keys.live(context.clock.now())),
        territory=region.territory,
    )
