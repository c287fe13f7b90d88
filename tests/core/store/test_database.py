from __future__ import annotations

import time

import pytest
from sqlalchemy import text
from sqlalchemy.exc import InternalError, OperationalError

from nordan_core.settings import DatabaseSettings
from nordan_core.store.database import open_engine
from support.cell import Cell


def test_a_process_that_stops_in_a_transaction_loses_its_locks(cell: Cell, server: str) -> None:
    settings = DatabaseSettings(database_url=server.replace("+psycopg", ""))
    engine = open_engine(settings, idle_in_transaction_s=0.1)
    [job] = cell.submit()
    with engine.connect() as stopped:
        stopped.execute(text("select id from job for update"))
        assert cell.rows("select id from job for update skip locked") == []
        until = time.monotonic() + 10
        while not (found := cell.rows("select id from job for update skip locked")) and time.monotonic() < until:
            time.sleep(0.05)
        assert found == [(job,)]
        with pytest.raises((InternalError, OperationalError)):
            stopped.execute(text("select 1"))
    engine.dispose()
