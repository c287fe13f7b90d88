"""The embedded PostgreSQL, started for real."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from nordan_core.domain.errors import OperatorError
from nordan_core.embedded.data_dir import prepare_data_dir
from nordan_core.embedded.layout import Identities, Layout
from nordan_core.embedded.postgres import DATABASE, ROLE, Postgres
from nordan_core.embedded.proc import working_in
from nordan_core.embedded.processes import ProcessTable, spawn, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def fresh(layout: Layout, identities: Identities) -> Postgres:
    """A server that no other test has touched."""
    return Postgres(layout, identities)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """One cluster for the tests that start and stop it."""
    with new_cluster() as found:
        yield found


@pytest.fixture(scope="module")
def live() -> Iterator[Postgres]:
    """A running server for the tests that only look at it."""
    with new_cluster() as found, running(found):
        yield found


@contextmanager
def new_cluster() -> Iterator[Postgres]:
    data = Path(tempfile.mkdtemp(prefix="nt-", dir="/tmp"))
    identities = Identities.of_this_process()
    prepare_data_dir(Layout(data), identities)
    yield Postgres(Layout(data), identities)
    shutil.rmtree(data, ignore_errors=True)


@contextmanager
def running(server: Postgres) -> Iterator[ProcessTable]:
    table = ProcessTable(server.layout.processes)
    server.prepare()
    server.clear_the_way()
    try:
        wait_until(table.ensure(server.spec()), server.answers, 30)
        server.ensure_database()
        yield table
    finally:
        table.stop(table.names())


def connect(server: Postgres, password: str | None = None) -> psycopg.Connection[tuple[object, ...]]:
    if password is None:
        password = server.layout.database_password.read_text()
    return psycopg.connect(
        host=str(server.socket_folder), dbname=DATABASE, user=ROLE, password=password, autocommit=True
    )


def test_the_application_owns_its_database_and_is_no_superuser(live: Postgres) -> None:
    with connect(live) as connection:
        row = connection.execute(
            "select rolsuper, rolcreatedb, rolcreaterole, pg_get_userbyid(datdba) from pg_roles, pg_database"
            " where rolname = current_user and datname = current_database()"
        ).fetchone()
        connection.execute("create table own_table (value int)")
    assert row == (False, False, False, ROLE)


def test_a_password_is_needed_and_no_tcp_port_is_open(live: Postgres) -> None:
    for wrong in ("", "wrong"):
        with pytest.raises(psycopg.OperationalError):
            connect(live, wrong)
    with connect(live) as connection:
        settings = connection.execute(
            "select current_setting('listen_addresses'), current_setting('fsync'),"
            " current_setting('password_encryption')"
        ).fetchone()
    assert settings == ("", "on", "scram-sha-256")


def test_data_are_kept_over_a_restart(server: Postgres) -> None:
    with running(server), connect(server) as connection:
        connection.execute("create table kept as select 42 as value")
    with running(server), connect(server) as connection:
        assert connection.execute("select value from kept").fetchone() == (42,)


def test_a_killed_server_starts_again_with_all_that_was_committed(server: Postgres) -> None:
    with running(server) as table:
        with connect(server) as connection:
            connection.execute("create table survivors as select 42 as value")
        process = table.get("postgres")
        assert process
        assert process.pid
        os.kill(process.pid, signal.SIGKILL)
        process.finish(10)
    with running(server), connect(server) as connection:
        assert connection.execute("select value from survivors").fetchone() == (42,)


def test_a_killed_server_is_restarted_by_its_table_while_clients_are_connected(server: Postgres) -> None:
    with running(server) as table, connect(server) as client:
        process = table.get("postgres")
        assert process
        assert process.pid
        os.kill(process.pid, signal.SIGKILL)
        deadline = time.monotonic() + 30
        while process.restarts == 0 or not server.answers():
            assert time.monotonic() < deadline
            table.tick()
            time.sleep(0.05)
        with pytest.raises(psycopg.OperationalError):
            client.execute("select 1")
        with connect(server) as again:
            assert again.execute("select 1").fetchone() == (1,)


def test_a_server_whose_up_was_killed_is_stopped_and_started_anew(server: Postgres) -> None:
    server.prepare()
    orphan = spawn(server.spec())
    while not server.answers():
        assert orphan.poll() is None
    with running(server):
        assert orphan.poll() is not None
        assert server.answers()


def test_a_lock_file_with_the_pid_of_a_stranger_is_removed(server: Postgres) -> None:
    with running(server):
        pass
    # A process that lives, as after a reboot that gave the number to another program.
    lock = server.layout.postgres / "cluster" / "data" / "postmaster.pid"
    lock.write_text(f"{os.getpid()}\n{lock.parent}\n1\n5432\n{server.socket_folder}\n\n1 1\nready\n")
    with running(server):
        assert server.answers()


def test_nothing_works_in_the_data_folder_after_an_orderly_stop(server: Postgres) -> None:
    with running(server):
        pass
    assert working_in(server.layout.postgres / "cluster" / "data", "postgres") == []


def test_no_mode_outside_the_data_folder_and_no_user_is_changed(fresh: Postgres) -> None:
    before = surroundings(fresh.layout.data)
    with running(fresh):
        pass
    assert surroundings(fresh.layout.data) == before


def surroundings(data: Path) -> dict[str, object]:
    modes: dict[str, object] = {str(folder): folder.stat().st_mode for folder in data.parents}
    modes |= {name: Path(name).read_bytes() for name in ("/etc/passwd", "/etc/group")}
    # Where interpreter and wheels lie: what others cannot read is copied, never opened.
    for prefix in (Path(sys.prefix), Path(sys.base_prefix)):
        modes |= {str(folder): folder.stat().st_mode for folder in prefix.parents}
    return modes


def test_secrets_and_sockets_are_closed_to_others(live: Postgres) -> None:
    assert live.layout.database_password.stat().st_mode & 0o077 == 0
    assert (live.layout.postgres / "superuser-password").stat().st_mode & 0o077 == 0
    assert live.socket_folder.stat().st_mode & 0o007 == 0
    assert (live.layout.postgres / "cluster").stat().st_mode & 0o007 == 0


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_as_root_only_the_control_planes_user_reaches_the_socket(live: Postgres, identities: Identities) -> None:
    def reaches(uid: int) -> bool:
        socket = live.socket_folder / ".s.PGSQL.5432"
        done = subprocess.run(["/usr/bin/test", "-S", str(socket)], user=uid, group=uid, extra_groups=[], check=False)
        return done.returncode == 0

    servers = working_in(live.layout.postgres / "cluster" / "data", "postgres")
    assert {Path(f"/proc/{one.pid}").stat().st_uid for one in servers} == {identities.postgres.uid}
    assert reaches(identities.control.uid)
    assert not reaches(identities.region(0).uid)
    assert not reaches(identities.first_attempt_uid)


def test_errors_in_statements_leave_no_trace_in_the_log(live: Postgres) -> None:
    canary = "tenants-secret-name"
    with connect(live) as connection:
        connection.execute("create table unique_names (name text primary key)")
        connection.execute("insert into unique_names values (%s)", (canary,))
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("insert into unique_names values (%s)", (canary,))
        with pytest.raises(psycopg.errors.InvalidTextRepresentation):
            connection.execute("select %s::text::int", (canary,))
    assert canary not in (live.layout.logs / "postgres.log").read_text()


def test_half_a_cluster_is_made_anew(fresh: Postgres) -> None:
    half = fresh.layout.postgres / "cluster" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    with running(fresh):
        assert fresh.answers()
    assert not half.exists()


def test_data_of_another_version_are_refused_with_advice(server: Postgres) -> None:
    server.prepare()
    version = server.layout.postgres / "cluster" / "data" / "PG_VERSION"
    version.write_text("16\n")
    with pytest.raises(OperatorError, match=r"of PostgreSQL 16; .* pg_dump"):
        server.prepare()
    version.write_text("18\n")
