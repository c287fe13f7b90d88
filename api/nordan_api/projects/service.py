"""Organisations, projects and keys."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from nordan_api.auth.callers import find_project, scope_of
from nordan_api.context import Context
from nordan_api.derogations import service as derogations
from nordan_api.jobs.policy import read_floor
from nordan_api.lineage import declassifying
from nordan_core.domain.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from nordan_core.domain.ids import KeyId, OrganisationId, ProjectId, is_name
from nordan_core.domain.tenants import Organisation, Principal, Project, Role
from nordan_core.identifiers import new_id, new_secret
from nordan_core.residency.policy import policy_document
from nordan_core.store.audit import Act, AuditEntry
from nordan_core.store.policy_versions import PolicyVersion
from nordan_core.store.unit_of_work import UnitOfWork

Json = dict[str, Any]  # Any: JSON
#: The widest group that the control plane's own territory belongs to becomes a new project's floor.
_TEMPLATE_GROUPS = ("EEA", "EU")
_RANK = (Role.VIEWER, Role.SUBMITTER, Role.OWNER, Role.ADMIN)


def floor_template(context: Context, work: UnitOfWork) -> Json:
    """Return the floor of a project that states none: class internal, places as wide as the control plane's group.

    Raises:
        Unavailable: the control plane's own place is not known yet.
    """
    cell = work.places.world().cell
    if cell is None:
        raise Unavailable("the control plane's own place is not known; apply a world with a ControlPlane document", 5.0)
    territory, now = cell["territory"], context.clock.now()
    group = next((one for one in _TEMPLATE_GROUPS if territory in context.atlas.group(one, now)), territory)
    return {"class": "internal", "residency": [group]}


def create_organisation(context: Context, principal: Principal, name: object, floor: Json) -> Organisation:
    """Add a tenant.

    Raises:
        Invalid: a bad name or floor. Conflict: the name is taken.
    """
    organisation = Organisation(
        OrganisationId(new_id("org")),
        _name(name),
        policy_document(read_floor(floor, "floor", context.atlas)),
        context.clock.now(),
    )
    with context.store.begin() as work:
        # First in the lock order; twins come one after the other.
        work.epoch.hold()
        if work.tenants.organisation(organisation.name) is not None:
            raise Conflict("organisation_exists", f"there is an organisation {organisation.name} already")
        work.tenants.add_organisation(organisation)
        work.policy_versions.note(organisation.id, organisation.floor, author=principal.key, at=organisation.created_at)
        _audit(context, work, Act.TENANT_CHANGED, subject=organisation.id, by=principal, organisation=organisation.id)
    return organisation


def create_project(
    context: Context, principal: Principal, name: object, organisation: object, floor: Json | None
) -> Project:
    """Add a workspace; without a floor it gets the template's.

    Raises:
        Invalid: a bad name or floor. NotFound: no such organisation for this caller. Conflict: the name is taken.
        Forbidden: the caller's key is of one project.
    """
    if principal.project is not None:
        raise Forbidden("this key works in one project only and cannot add another")
    now = context.clock.now()
    with context.store.begin() as work:
        # First in the lock order; twins come one after the other.
        work.epoch.hold()
        owner = _organisation(work, principal, organisation)
        stated = floor if floor is not None else floor_template(context, work)
        if work.tenants.project(owner.id, _name(name)) is not None:
            raise Conflict("project_exists", f"there is a project {name} already")
        project = Project(
            ProjectId(new_id("prj")),
            owner.id,
            owner.name,
            _name(name),
            policy_document(read_floor(stated, "floor", context.atlas)),
            owner.floor,
            now,
        )
        work.tenants.add_project(project)
        work.policy_versions.note(project.id, project.floor, author=principal.key, at=now)
        work.epoch.step()
        _audit(context, work, Act.POLICY_CHANGED, subject=project.id, by=principal, organisation=owner.id)
    return project


def create_key(context: Context, principal: Principal, organisation: str, wanted: Json) -> tuple[Principal, str]:
    """Make a key and return it with its secret, which is shown once and kept as a hash.

    A key can do no more than the one that made it: no higher role, no other project.

    Raises:
        Invalid: an unknown role or territory. Forbidden: a role above the caller's own, or whose key it is was said by
            another than an administrator. NotFound: no such organisation, project or member for this caller.
    """
    now = context.clock.now()
    if unknown := sorted(wanted.keys() - {"role", "project", "territory", "expires_in_s", "member"}):
        raise Invalid(unknown[0], "no such field; there are role, project, territory, expires_in_s and member")
    role = _role(principal, wanted.get("role"))
    territory = wanted.get("territory")
    if role is Role.ADMIN and wanted.get("project") is not None:
        raise Invalid("project", "a key of role admin runs the platform; it cannot be bound to a project")
    if territory is not None:
        territory = context.atlas.parse_territory(territory, "territory")
    with context.store.begin() as work:
        owner = _organisation(work, principal, organisation)
        key = Principal(
            KeyId(new_id("key")),
            owner.id,
            role,
            _project(work, principal, owner, wanted.get("project")),
            territory,
            _expiry(wanted.get("expires_in_s"), now),
            principal.key,
            _member(work, principal, owner, wanted.get("member")),
        )
        secret = new_secret("nk")
        work.tenants.add_key(key, secret, now)
        _audit(context, work, Act.KEY_CREATED, subject=key.key, by=principal, organisation=owner.id)
    return key, secret


def revoke_key(context: Context, principal: Principal, organisation: str, key: str) -> None:
    """Revoke a key; requests that were let in up to 2 s before may still finish.

    What two members approved, one of them with this key, is taken back in the same transaction.

    Raises:
        NotFound: this caller has no such live key. Forbidden: its role is above the caller's own.
    """
    with context.store.begin() as work:
        # First in the lock order: an approval with this key is before or after, and what rests on it falls at once.
        work.epoch.hold()
        owner = _organisation(work, principal, organisation)
        found = next((one for one in work.tenants.keys(owner.id) if one.key == key), None)
        if found is None or principal.project not in (None, found.project):
            raise NotFound("key", key)
        _check_rank(principal, found.role, "revoke")
        if not work.tenants.revoke_key(owner.id, found.key, context.clock.now()):
            raise NotFound("key", key)
        _audit(context, work, Act.KEY_REVOKED, subject=key, by=principal, organisation=owner.id)
        derogations.withdraw(context, work, principal, found.key)
        declassifying.withdraw(context, work, principal, found.key)


def list_keys(context: Context, principal: Principal, organisation: str) -> list[tuple[Principal, datetime]]:
    """Return the keys that a caller could revoke, each with the instant when it was made; no secret is kept to show.

    Raises:
        NotFound: this caller has no such organisation.
    """
    with context.store.look() as work:
        found = work.tenants.made_keys(_organisation(work, principal, organisation).id)
    return [(key, at) for key, at in found if principal.project in (None, key.project)]


def list_projects(context: Context, principal: Principal) -> list[Project]:
    """Return the projects that a caller sees."""
    with context.store.begin() as work:
        found = work.tenants.projects(scope_of(principal))
    return [one for one in found if principal.project in (None, one.id)]


def policy_history(context: Context, principal: Principal, project_name: str) -> list[tuple[str, str, PolicyVersion]]:
    """Return (kind, name, version) of all that a project's floors and datasets said, newest first within each.

    Raises:
        NotFound: this caller has no such project.
    """
    with context.store.begin() as work:
        project = find_project(work, principal, project_name)
        subjects = {
            project.organisation: ("organisation", project.organisation_name),
            project.id: ("project", project.name),
            **{one.id: ("dataset", one.name) for one in work.contents.datasets(project.id)},
        }
        found = work.policy_versions.of(subjects)
    return [(*named, version) for subject, named in subjects.items() for version in found.get(subject, ())]


def _organisation(work: UnitOfWork, principal: Principal, name: object) -> Organisation:
    wanted = principal.organisation if name is None else name
    found = work.tenants.organisation(wanted) if isinstance(wanted, str) else None
    if found is None or scope_of(principal) not in (None, found.id):
        raise NotFound("organisation", str(name)[:100])
    return found


def _project(work: UnitOfWork, principal: Principal, owner: Organisation, name: object) -> ProjectId | None:
    if name is None:
        return principal.project
    found = work.tenants.project(owner.id, name) if isinstance(name, str) else None
    if found is None or principal.project not in (None, found.id):
        raise NotFound("project", str(name)[:100])
    return found.id


def _member(work: UnitOfWork, principal: Principal, owner: Organisation, key: object) -> KeyId | None:
    """Return the key whose holder gets one more; a key that anybody else makes is their own anyway."""
    if key is None:
        return None
    if principal.role is not Role.ADMIN:
        raise Forbidden("only an administrator says whose key it is; a key that you make is your own")
    if not isinstance(key, str) or not work.tenants.has_key(owner.id, key):
        raise NotFound("key", str(key)[:100])
    return KeyId(key)


def _role(principal: Principal, wanted: object) -> Role:
    if not isinstance(wanted, str) or wanted not in {one.value for one in Role}:
        raise Invalid("role", f"{wanted!r} is not a role; one of {', '.join(_RANK)}")
    role = Role(wanted)
    _check_rank(principal, role, "make")
    return role


def _check_rank(principal: Principal, role: Role, verb: str) -> None:
    if _RANK.index(role) > _RANK.index(principal.role):
        raise Forbidden(f"a key of role {principal.role} cannot {verb} one of role {role}")


def _expiry(seconds: object, now: datetime) -> datetime | None:
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 1 <= seconds <= 10 * 365 * 86400:
        raise Invalid("expires_in_s", "give seconds from 1 to ten years")
    return now + timedelta(seconds=seconds)


def _name(name: object) -> str:
    if not isinstance(name, str) or not is_name(name):
        raise Invalid("name", f"{name!r} is not a name; use a-z, 0-9 and '-', at most 63 characters")
    return name


def _audit(context: Context, work: UnitOfWork, act: Act, *, subject: str, by: Principal, organisation: str) -> None:
    work.audit.write(AuditEntry(act, subject, by.key, context.clock.now(), organisation))
