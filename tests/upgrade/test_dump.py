"""The script that makes a release's dump works, and the dump restores into a database that this version runs on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from nordan_core.embedded.packaged import postgres_folder
from nordan_core.embedded.temporary import temporary_postgres
from nordan_core.store.migrate import check, upgrade

SCRIPT = Path(__file__).parent / "make_dump.py"


@pytest.mark.slow
def test_a_dump_of_this_version_restores_and_migrates(tmp_path: Path) -> None:
    """Every kind of row is in the dump; restored and migrated, the schema is exactly what the code declares."""
    dump = tmp_path / "dump.sql"
    subprocess.run([sys.executable, str(SCRIPT), str(dump)], check=True, timeout=200)
    with temporary_postgres() as url:
        psql = postgres_folder() / "pginstall18" / "bin" / "psql"
        subprocess.run([str(psql), "-q", "-v", "ON_ERROR_STOP=1", "-f", str(dump), url], check=True)
        driver_url = url.replace("postgresql://", "postgresql+psycopg://", 1)
        upgrade(driver_url)
        check(driver_url)
        engine = create_engine(driver_url)
        with engine.connect() as connection:
            states = {row.state for row in connection.execute(text("select distinct state from job"))}
            empty = [name for name in _TABLES if not connection.execute(text(f"select count(*) from {name}")).scalar()]
        engine.dispose()
    assert states == {"succeeded", "failed", "cancelled", "running", "starting", "queued"}
    assert empty == []


_TABLES = (
    *("organisation", "project", "api_key", "entity", "region", "pool", "node", "cell", "dataset", "artifact"),
    *("location", "upload", "job", "job_input", "attempt", "attempt_grant", "lease", "certificate", "audit_entry"),
    *("merkle_node", "audit_checkpoint", "residency_epoch", "leader"),
)
