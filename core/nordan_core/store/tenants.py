"""Organisations, projects and API keys."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, select, text, update
from sqlmodel import Session, col

from nordan_core.domain.errors import Conflict
from nordan_core.domain.ids import KeyId, OrganisationId, ProjectId
from nordan_core.domain.tenants import Organisation, Principal, Project, Role
from nordan_core.store.tables.tenants import ApiKeyRow, OrganisationRow, ProjectRow


def hash_secret(secret: str) -> str:
    """Return the form in which a secret of full entropy is kept; no salt is needed for 160 random bits."""
    return hashlib.sha256(secret.encode()).hexdigest()


#: Every request of a tenant begins with it, so it is spared the ORM, which costs as much again.
_PROJECT = text(
    """
    select p.id, p.organisation_id, o.name as organisation_name, p.name, p.floor, o.floor as organisation_floor,
           p.created_at
    from project p join organisation o on o.id = p.organisation_id
    where (p.id = :wanted or p.name = :wanted) and (cast(:organisation as text) is null or o.id = :organisation)
    order by coalesce(o.id = cast(:own as text), false) desc
    limit 2
    """
)


_AMBIGUOUS = "several organisations have a project {!r}; give its id, which `nordan admin projects list` shows"

_MEMBER = text(
    """
    with recursive line as (
        select id, made_by, same_as, 0 as step from api_key where id = :key
        union all
        select m.id, m.made_by, m.same_as, line.step + 1 from line join api_key m
            on m.id = line.same_as or (line.same_as is null and m.id = line.made_by and m.role <> 'admin')
    )
    select id from line order by step desc limit 1
    """
)


class Tenants:
    """Reads and writes tenants."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add_organisation(self, organisation: Organisation) -> None:
        """Insert an organisation."""
        self._session.add(
            OrganisationRow(
                id=organisation.id,
                name=organisation.name,
                floor=dict(organisation.floor),
                created_at=organisation.created_at,
            )
        )
        self._session.flush()

    def organisations(self) -> list[Organisation]:
        """Return all organisations by name."""
        rows = self._session.scalars(select(OrganisationRow).order_by(col(OrganisationRow.name)))
        return [_organisation(row) for row in rows]

    def organisation(self, name_or_id: str) -> Organisation | None:
        """Return one organisation by name or id."""
        condition = (col(OrganisationRow.name) == name_or_id) | (col(OrganisationRow.id) == name_or_id)
        row = self._session.scalars(select(OrganisationRow).where(condition)).one_or_none()
        return _organisation(row) if row else None

    def set_organisation_floor(self, organisation: OrganisationId, floor: Mapping[str, object]) -> None:
        """Replace an organisation's floor; the caller steps the residency epoch."""
        statement = update(OrganisationRow).where(col(OrganisationRow.id) == organisation)
        self._session.execute(statement.values(floor=dict(floor)))

    def add_project(self, project: Project) -> None:
        """Insert a project."""
        self._session.add(
            ProjectRow(
                id=project.id,
                organisation_id=project.organisation,
                name=project.name,
                floor=dict(project.floor),
                created_at=project.created_at,
            )
        )
        self._session.flush()

    def projects(self, organisation: OrganisationId | None) -> list[Project]:
        """Return the projects of one organisation, or all, by name."""
        statement = _projects().order_by(col(OrganisationRow.name), col(ProjectRow.name))
        if organisation is not None:
            statement = statement.where(col(ProjectRow.organisation_id) == organisation)
        return [_project(*row) for row in self._session.execute(statement)]

    def project(
        self, organisation: OrganisationId | None, name_or_id: str, *, own: OrganisationId | None = None
    ) -> Project | None:
        """Return a project by id, or by name within an organisation; None for another tenant's.

        `organisation` None means any (the platform's own administrators): a name is then first one of `own`, which no
        other tenant's choice of names can take away, and else must be unique.

        Raises:
            Conflict: `project_ambiguous` when a name means projects of several others.
        """
        wanted = {"wanted": name_or_id, "organisation": organisation, "own": own}
        found = self._session.execute(_PROJECT, wanted).all()
        if len(found) > 1 and found[0].organisation_id != own:
            raise Conflict("project_ambiguous", _AMBIGUOUS.format(name_or_id))
        return _project_of(found[0]) if found else None

    def projects_by_id(self, ids: Iterable[ProjectId]) -> dict[ProjectId, Project]:
        """Return projects with today's floors, whoever owns them: for the scheduler, which knows their jobs."""
        statement = _projects().where(col(ProjectRow.id).in_(sorted(ids)))
        return {ProjectId(row.id): _project(row, owner) for row, owner in self._session.execute(statement)}

    def set_project_floor(self, project: ProjectId, floor: Mapping[str, object]) -> None:
        """Replace a project's floor; the caller steps the residency epoch."""
        statement = update(ProjectRow).where(col(ProjectRow.id) == project)
        self._session.execute(statement.values(floor=dict(floor)))

    def add_key(self, principal: Principal, secret: str, created_at: datetime) -> None:
        """Insert a key; only a hash of the secret is kept."""
        self._session.add(
            ApiKeyRow(
                id=principal.key,
                secret_hash=hash_secret(secret),
                organisation_id=principal.organisation,
                project_id=principal.project,
                role=principal.role.value,
                territory=principal.territory,
                created_at=created_at,
                expires_at=principal.expires_at,
                made_by=principal.made_by,
                same_as=principal.same_as,
            )
        )
        self._session.flush()

    def principal(self, secret: str, now: datetime) -> Principal | None:
        """Return who holds this secret, unless it was revoked or has expired."""
        statement = select(ApiKeyRow).where(col(ApiKeyRow.secret_hash) == hash_secret(secret))
        row = self._session.scalars(statement).one_or_none()
        if row is None or row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= now):
            return None
        return _principal(row)

    def keys(self, organisation: OrganisationId) -> list[Principal]:
        """Return an organisation's keys that were not revoked, oldest first."""
        return [key for key, _ in self.made_keys(organisation)]

    def made_keys(self, organisation: OrganisationId) -> list[tuple[Principal, datetime]]:
        """Return the same, each with the instant when it was made."""
        statement = (
            select(ApiKeyRow)
            .where(col(ApiKeyRow.organisation_id) == organisation, col(ApiKeyRow.revoked_at).is_(None))
            .order_by(col(ApiKeyRow.id))
        )
        return [(_principal(row), row.created_at) for row in self._session.scalars(statement)]

    def member_of(self, key: KeyId) -> KeyId:
        """Return the key of the member that a key belongs to.

        A key that another made belongs to whoever holds that one; only administrators hand keys to others, and say
        where it is one more of the same person.
        """
        return KeyId(self._session.execute(_MEMBER, {"key": key}).scalar_one())

    def has_key(self, organisation: OrganisationId, key: str) -> bool:
        """Tell whether a key is or was an organisation's."""
        statement = select(col(ApiKeyRow.id)).where(col(ApiKeyRow.id) == key)
        return self._session.scalar(statement.where(col(ApiKeyRow.organisation_id) == organisation)) is not None

    def not_revoked(self, keys: Iterable[KeyId]) -> set[KeyId]:
        """Return those keys that nobody has revoked; what has merely expired was good in its time."""
        statement = select(col(ApiKeyRow.id)).where(col(ApiKeyRow.id).in_(sorted(keys)))
        return {KeyId(one) for one in self._session.scalars(statement.where(col(ApiKeyRow.revoked_at).is_(None)))}

    def revoke_key(self, organisation: OrganisationId, key: KeyId, now: datetime) -> bool:
        """Revoke a key; False when the organisation has no such live key."""
        statement = (
            update(ApiKeyRow)
            .where(col(ApiKeyRow.id) == key, col(ApiKeyRow.organisation_id) == organisation)
            .where(col(ApiKeyRow.revoked_at).is_(None))
            .values(revoked_at=now)
            .returning(col(ApiKeyRow.id))
        )
        return self._session.execute(statement).first() is not None


def _projects() -> Select[ProjectRow, OrganisationRow]:
    return select(ProjectRow, OrganisationRow).join(
        OrganisationRow, col(OrganisationRow.id) == col(ProjectRow.organisation_id)
    )


def _organisation(row: OrganisationRow) -> Organisation:
    return Organisation(OrganisationId(row.id), row.name, row.floor, row.created_at)


def _project(row: ProjectRow, owner: OrganisationRow) -> Project:
    return Project(
        ProjectId(row.id),
        OrganisationId(row.organisation_id),
        owner.name,
        row.name,
        row.floor,
        owner.floor,
        row.created_at,
    )


def _project_of(row: Row[Any]) -> Project:  # Any: a row of a textual statement has no column types
    return Project(
        ProjectId(row.id),
        OrganisationId(row.organisation_id),
        row.organisation_name,
        row.name,
        row.floor,
        row.organisation_floor,
        row.created_at,
    )


def _principal(row: ApiKeyRow) -> Principal:
    return Principal(
        KeyId(row.id),
        OrganisationId(row.organisation_id),
        Role(row.role),
        ProjectId(row.project_id) if row.project_id else None,
        row.territory,
        row.expires_at,
        KeyId(row.made_by) if row.made_by else None,
        KeyId(row.same_as) if row.same_as else None,
    )
