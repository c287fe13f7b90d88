"""Open PostgreSQL for one process."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, create_engine, event

from nordan_core.settings import DatabaseSettings

#: PostgreSQL ends a session that sits in a transaction for so long: a process that was stopped in one must not keep
#: its locks, or nobody could end, renew or fence what it holds. No transaction does anything slow.
IDLE_IN_TRANSACTION_S = 5.0
STATEMENT_S = 20.0


def open_engine(settings: DatabaseSettings, *, idle_in_transaction_s: float = IDLE_IN_TRANSACTION_S) -> Engine:
    """Return an engine with a bounded pool, whose sessions have time limits. It connects at its first use.

    READ COMMITTED: every guarded update names the state that it expects, and rows are locked in one order
    (residency epoch, leader, jobs ascending, nodes ascending).
    """
    engine = create_engine(
        settings.sqlalchemy_url(),
        pool_size=settings.database_pool_size,
        max_overflow=0,
        pool_timeout=10,
        pool_pre_ping=False,
        # Parameters hold tenants' words; an error's text must not carry them into a log.
        hide_parameters=True,
        connect_args={"prepare_threshold": 3, "application_name": "nordan", "connect_timeout": 5},
    )
    limits_s = {"idle_in_transaction_session_timeout": idle_in_transaction_s, "statement_timeout": STATEMENT_S}
    limits = " ".join(f"-c {name}={int(1000 * limit_s)}" for name, limit_s in limits_s.items())

    @event.listens_for(engine, "do_connect")
    def set_limits(
        _dialect: object, _record: object, _args: object, parameters: dict[str, Any]
    ) -> None:  # Any: libpq's
        parameters["options"] = f"{parameters.get('options', '')} {limits}".strip()

    return engine
