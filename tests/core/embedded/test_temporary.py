"""The PostgreSQL of a test or a command."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from nordan_core.embedded.proc import working_in
from nordan_core.embedded.temporary import temporary_postgres

pytestmark = pytest.mark.slow
HOLD = (
    "from nordan_core.embedded.temporary import temporary_postgres as t\n"
    "with t() as url: print(url, flush=True); import time; time.sleep(60)"
)


def data_of(url: str) -> Path:
    """Return the folder that a URL's socket lies in."""
    return Path(parse_qs(urlsplit(url).query)["host"][0]).parents[1]


def test_it_serves_an_empty_database_and_leaves_nothing() -> None:
    with temporary_postgres() as url:
        data = data_of(url)
        with psycopg.connect(url) as connection:
            connection.execute("create table some_table ()")
    assert not data.exists()


def test_a_killed_owner_leaves_nothing_either() -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout
        data = data_of(owner.stdout.readline().strip())
        assert working_in(data / "postgres" / "cluster" / "data", "postgres")
        owner.kill()
    deadline = time.monotonic() + 30
    while data.exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_command_finds_the_database_and_its_exit_code_is_kept() -> None:
    check = "import os, psycopg; psycopg.connect(os.environ['DATABASE_URL']).close(); raise SystemExit(3)"
    done = subprocess.run(
        [sys.executable, "-m", "nordan_core.embedded.temporary", sys.executable, "-c", check], check=False
    )
    assert done.returncode == 3
