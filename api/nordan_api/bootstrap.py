"""`python -m nordan_api.bootstrap`: the first organisation, its project and its first key, on an empty database.

Run by `nordan up`, and by an operator inside a deployed api, who reads the key from standard output. A database that
has an organisation keeps it; when the key file is missing, or none is named, another admin key is made, since whoever
can run this beside the database runs the control plane anyway.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict

from nordan_core.clock import SystemClock
from nordan_core.domain.errors import OperatorError
from nordan_core.domain.ids import KeyId, OrganisationId
from nordan_core.domain.tenants import Organisation, Principal, Role
from nordan_core.identifiers import new_id, new_secret
from nordan_core.settings import DatabaseSettings, load_settings
from nordan_core.store.audit import Act, AuditEntry
from nordan_core.store.database import open_engine
from nordan_core.store.unit_of_work import Store

FIRST_ORGANISATION = "home"


class BootstrapSettings(BaseSettings):
    """Where the first key goes and where its holder sits."""

    model_config = SettingsConfigDict(env_prefix="NORDAN_", frozen=True, extra="ignore")
    admin_key_file: Path | None = None
    """Written 0600; kept when it is there already. Unset, the key goes to standard output."""
    admin_territory: str | None = None
    """ISO code recorded with the key: readers of confidential logs and artifacts are judged by it."""


def bootstrap(store: Store, settings: BootstrapSettings) -> bool:
    """Make the first tenant and key; returns whether a key was made."""
    if settings.admin_key_file is not None and settings.admin_key_file.exists():
        return False
    now = SystemClock().now()
    secret = new_secret("nk")
    with store.begin() as work:
        work.epoch.hold()
        owner = work.tenants.organisation(FIRST_ORGANISATION)
        if owner is None:
            owner = Organisation(OrganisationId(new_id("org")), FIRST_ORGANISATION, {}, now)
            work.tenants.add_organisation(owner)
        key = Principal(KeyId(new_id("key")), owner.id, Role.ADMIN, territory=settings.admin_territory)
        work.tenants.add_key(key, secret, now)
        work.audit.write(AuditEntry(Act.KEY_CREATED, key.key, "bootstrap", now, owner.id))
        if settings.admin_key_file is not None:
            _write_private(settings.admin_key_file, secret)
    if settings.admin_key_file is None:
        # After the commit: a key that is shown is good.
        sys.stdout.write(f"{secret}\n")
    return True


def _write_private(path: Path, secret: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(secret + "\n")


def main() -> int:
    """Run from the command line."""
    try:
        settings = load_settings(BootstrapSettings)
        store = Store(open_engine(load_settings(DatabaseSettings)))
    except OperatorError as error:
        sys.stderr.write(f"nordan bootstrap: {error}\n")
        return 1
    bootstrap(store, settings)
    store.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
