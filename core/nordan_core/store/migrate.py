"""Bring the schema up to date: an act of deployment, `python -m nordan_core.store.migrate [check | wait | when-up]`.

`check` fails when the tables and the migrations disagree. `wait` changes nothing and returns when somebody else has
brought the schema as far as this version needs: what api and schedulers do before they start beside a migration.
`when-up` gives a database that starts at the same time a minute to answer, then migrates: a Job that fails meanwhile
would be kept waiting longer and longer by Kubernetes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import sleep

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import NullPool, create_engine
from sqlalchemy.exc import OperationalError

from nordan_core.clock import SystemClock
from nordan_core.domain.errors import OperatorError
from nordan_core.settings import DatabaseSettings, load_settings
from nordan_core.store import first_atlas
from nordan_core.store.unit_of_work import Store

#: Between two looks of `wait`.
WAIT_S = 1.0
#: Looks of `when-up`, before it says what the database says.
PATIENT_LOOKS = 60


def config(url: str) -> Config:
    """Return Alembic's settings for a database."""
    settings = Config()
    settings.set_main_option("script_location", "nordan_core.store:migrations")
    settings.attributes["url"] = url
    return settings


def upgrade(url: str) -> None:
    """Run the migrations that are missing, and begin with the packaged atlas. Two at once wait for each other."""
    command.upgrade(config(url), "head")
    engine = create_engine(url, poolclass=NullPool)
    try:
        first_atlas.begin(Store(engine), SystemClock().now())
    finally:
        engine.dispose()


def upgrade_when_up(url: str, pause: Callable[[float], None] = sleep) -> None:
    """Run the migrations that are missing, in a database that may still be starting.

    Raises:
        OperationalError: it did not answer in time.
    """
    for _ in range(PATIENT_LOOKS):
        if _answers(url):
            break
        pause(WAIT_S)
    upgrade(url)


def check(url: str) -> None:
    """Raise unless the migrations produce exactly the tables that the code declares."""
    command.check(config(url))


def is_reached(url: str) -> bool:
    """Tell whether the schema is as far as this version knows, or further: later versions keep what this one needs.

    Raises:
        OperationalError: the database does not answer.
    """
    scripts = ScriptDirectory.from_config(config(url))
    engine = create_engine(url, poolclass=NullPool)
    try:
        with engine.connect() as connection:
            found = MigrationContext.configure(connection).get_current_heads()
    finally:
        engine.dispose()
    known = {script.revision for script in scripts.walk_revisions()}
    return bool(found) and all(one in scripts.get_heads() or one not in known for one in found)


def wait(url: str, pause: Callable[[float], None] = sleep) -> None:
    """Return when the schema is as far as this version needs; a database that does not answer yet is waited for."""
    told = ""
    while True:
        try:
            if is_reached(url):
                return
            state = "the schema is older than this version; waiting for its migration"
        except OperationalError:
            state = "the database does not answer; waiting for it"
        if state != told:
            sys.stderr.write(f"{state}\n")
        told = state
        pause(WAIT_S)


def _answers(url: str) -> bool:
    engine = create_engine(url, poolclass=NullPool)
    try:
        engine.connect().close()
    except OperationalError:
        return False
    finally:
        engine.dispose()
    return True


def main() -> int:
    """Run from the command line."""
    words = sys.argv[1:]
    acts = {(): upgrade, ("check",): check, ("wait",): wait, ("when-up",): upgrade_when_up}
    act = acts.get(tuple(words))
    if act is None:
        sys.stderr.write(f"unknown words {' '.join(words)!r}; give none, check, wait or when-up\n")
        return 2
    try:
        act(load_settings(DatabaseSettings).sqlalchemy_url())
    except OperatorError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except (CommandError, OperationalError) as error:
        sys.stderr.write(f"migration failed: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
