"""A real PostgreSQL for tests: one server per test process, migrated once, emptied before each test.

Import `server`, `store` (and `database_url`) into a folder's conftest.py to use them there.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlmodel import SQLModel

from nordan_core.embedded.temporary import temporary_postgres
from nordan_core.store.migrate import upgrade
from nordan_core.store.unit_of_work import Store

#: Rows that the first migration writes and that every control plane has.
_SEED = (
    "insert into residency_epoch (id, epoch) values (1, 1)",
    "insert into leader (role, epoch, holder, until) values ('scheduler', 0, '', now())",
)


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """Yield the SQLAlchemy URL of a migrated database; the server ends with the test run."""
    with temporary_postgres() as url:
        driver_url = url.replace("postgresql://", "postgresql+psycopg://", 1)
        upgrade(driver_url)
        yield driver_url


@pytest.fixture
def engine(server: str) -> Iterator[Engine]:
    """Yield an engine on an empty, migrated database."""
    engine = create_engine(server, pool_size=20, max_overflow=0, pool_timeout=10)
    tables = ", ".join(f'"{name}"' for name in SQLModel.metadata.tables)
    with engine.begin() as connection:
        connection.execute(text(f"truncate {tables} restart identity cascade"))
        for statement in _SEED:
            connection.execute(text(statement))
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> Store:
    """Return a store on an empty, migrated database."""
    return Store(engine)
