"""Alembic's entry: connects, takes a lock so that two migrations never interleave, and runs."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine, pool, text
from sqlmodel import SQLModel

import nordan_core.store.tables  # noqa: F401  # registers the tables

#: Any fixed number; it names our lock among those of other programs in the same database.
MIGRATION_LOCK = 7_203_611


def run() -> None:
    """Run the migrations online; there is no offline mode."""
    engine = create_engine(context.config.attributes["url"], poolclass=pool.NullPool)
    with engine.connect() as connection:
        connection.execute(text("select pg_advisory_lock(:lock)"), {"lock": MIGRATION_LOCK})
        connection.commit()
        context.configure(connection=connection, target_metadata=SQLModel.metadata, compare_server_default=False)
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


run()
