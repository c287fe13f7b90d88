"""Open PostgreSQL for one process."""

from __future__ import annotations

from sqlalchemy import Engine, create_engine

from nordan_core.settings import DatabaseSettings


def open_engine(settings: DatabaseSettings) -> Engine:
    """Return an engine with a bounded pool. No connection is made before the first use.

    READ COMMITTED: every guarded update names the state that it expects, and rows are locked in one order
    (residency epoch, leader, jobs ascending, nodes ascending).
    """
    return create_engine(
        settings.sqlalchemy_url(),
        pool_size=settings.database_pool_size,
        max_overflow=0,
        pool_timeout=10,
        pool_pre_ping=False,
        # Parameters hold tenants' words; an error's text must not carry them into a log.
        hide_parameters=True,
        connect_args={"prepare_threshold": 3, "application_name": "nordan", "connect_timeout": 5},
    )
