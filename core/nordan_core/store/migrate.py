"""Bring the schema up to date: an act of deployment, `python -m nordan_core.store.migrate [check]`.

`check` fails when the tables and the migrations disagree.
"""

from __future__ import annotations

import sys

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy.exc import OperationalError

from nordan_core.settings import DatabaseSettings


def config(url: str) -> Config:
    """Return Alembic's settings for a database."""
    settings = Config()
    settings.set_main_option("script_location", "nordan_core.store:migrations")
    settings.attributes["url"] = url
    return settings


def upgrade(url: str) -> None:
    """Run the migrations that are missing. Two at once wait for each other."""
    command.upgrade(config(url), "head")


def check(url: str) -> None:
    """Raise unless the migrations produce exactly the tables that the code declares."""
    command.check(config(url))


def main() -> int:
    """Run from the command line."""
    url = DatabaseSettings().sqlalchemy_url()
    try:
        if "check" in sys.argv[1:]:
            check(url)
        else:
            upgrade(url)
    except (CommandError, OperationalError) as error:
        sys.stderr.write(f"migration failed: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
