"""PostgreSQL from the wheel's binaries: one server, a Unix socket, passwords, no superuser for the application.

Used by `up` and by tests that need a database. It changes nothing outside its folder: no user is created, no parent
folder opened. As root the binaries are brought into the folder and run under a numeric user of their own.
"""

from __future__ import annotations

import pwd
import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from nordan_core.domain.errors import OperatorError
from nordan_core.embedded.files import link_tree, make_folder, own_tree, secret_in, write_file
from nordan_core.embedded.layout import Identities, Identity, Layout
from nordan_core.embedded.packaged import POSTGRES_PACKAGE, postgres_folder
from nordan_core.embedded.proc import stop_all, working_in
from nordan_core.embedded.processes import ProcessSpec, run_once

DATABASE = "nordan"
ROLE = "nordan"
SUPERUSER = "postgres"
MAJOR_VERSION = "18"
START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 20.0
#: PostgreSQL names its socket after a port even when it listens on none.
_SOCKET = ".s.PGSQL.5432"
_ROLE_RIGHTS = "login nosuperuser nocreatedb nocreaterole noreplication nobypassrls"
_ACCESS_RULES = "# Written by Nordan at each start.\nlocal all all scram-sha-256\n"
#: Written at each start; what is not named here keeps PostgreSQL's default.
_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "password_encryption": "scram-sha-256",
    # Said aloud, so that a copied configuration cannot turn them off unseen.
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "max_connections": "120",
    "shared_buffers": "128MB",
    # Short transactions on few cores: neither pays, and parallel workers need a large /dev/shm.
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Statements and error details hold tenants' text; the log gets neither. `log` is above `error` in this order.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_statement": "none",
    "log_checkpoints": "off",
}


@dataclass(frozen=True, slots=True)
class Postgres:
    """The embedded server of one data folder."""

    layout: Layout
    identities: Identities

    @property
    def socket_folder(self) -> Path:
        """Holds the socket; the control plane's group may pass it, nobody else."""
        return self.layout.postgres / "run"

    @property
    def url(self) -> str:
        """URL of the application's database; the password comes from its file."""
        return f"postgresql://{ROLE}@/{DATABASE}?host={quote(str(self.socket_folder), safe='')}"

    def prepare(self) -> None:
        """Lay out the folders, the binaries and, on first use, the cluster.

        Raises:
            OperatorError: the data are of another version, or the cluster cannot be made.
        """
        # 1. Folders. The top one is passed by the control plane's user on its way to the socket.
        make_folder(self.layout.postgres, self.identities.operator, 0o711 if self.identities.is_root else 0o700)
        make_folder(self.socket_folder, self._socket_owner(), 0o710 if self.identities.is_root else 0o700)
        make_folder(self._cluster_folder, Identity(self.identities.operator.uid, self.identities.postgres.gid), 0o710)
        # 2. Binaries.
        if self.identities.is_root and not self._has_current_binaries():
            self._copy_binaries()
        # 3. The cluster.
        if not self._data.exists():
            self._init_cluster()
        self._check_version()
        self._configure()

    def spec(self) -> ProcessSpec:
        """Return how the server is run; SIGINT is its orderly stop that does not wait for clients."""
        return ProcessSpec(
            name="postgres",
            command=(str(self._bin / "postgres"), "-D", str(self._data)),
            environment={"LANG": "C", "PATH": "/usr/bin:/bin"},
            log=self.layout.logs / "postgres.log",
            identity=self.identities.postgres,
            cwd=self._data,
            stop_signal=signal.SIGINT,
            stop_timeout_s=STOP_TIMEOUT_S,
        )

    def clear_the_way(self) -> None:
        """Stop servers that still run on these data, then remove the lock files that name no live server.

        The caller holds the data folder's lock, so any such server lost its `up`. Backends that outlive a killed
        server still write shared memory: the lock files go only when no process works in the data folder.

        Raises:
            OperatorError: a process on these data does not end.
        """
        stop_all(working_in(self._data, "postgres"), signal.SIGINT, STOP_TIMEOUT_S)
        if left := working_in(self._data, "postgres"):
            raise OperatorError(
                f"PostgreSQL still runs on {self._data} (pid {left[0].pid}) and does not stop. "
                f"End it with `kill -QUIT {left[0].pid}` and start again."
            )
        for lock in (self._data / "postmaster.pid", self.socket_folder / f"{_SOCKET}.lock"):
            lock.unlink(missing_ok=True)

    def answers(self) -> bool:
        """Tell whether the server takes connections."""
        try:
            self._connect("postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def ensure_database(self) -> None:
        """Make the application's role and database, or set the role's password to what its file says."""
        password = secret_in(self.layout.database_password, self.identities.control)
        with self._connect("postgres") as connection:
            verifier = connection.pgconn.encrypt_password(password.encode(), ROLE.encode(), b"scram-sha-256").decode()
            verb = "alter" if _exists(connection, "pg_roles", "rolname", ROLE) else "create"
            connection.execute(
                sql.SQL(f"{verb} role {{}} {_ROLE_RIGHTS} password {{}}").format(
                    sql.Identifier(ROLE), sql.Literal(verifier)
                )
            )
            if not _exists(connection, "pg_database", "datname", DATABASE):
                connection.execute(
                    sql.SQL("create database {} owner {}").format(sql.Identifier(DATABASE), sql.Identifier(ROLE))
                )
            # By default any role may connect to any database.
            connection.execute(sql.SQL("revoke all on database {} from public").format(sql.Identifier(DATABASE)))

    @property
    def _cluster_folder(self) -> Path:
        return self.layout.postgres / "cluster"

    @property
    def _data(self) -> Path:
        return self._cluster_folder / "data"

    @property
    def _superuser_password(self) -> Path:
        return self.layout.postgres / "superuser-password"

    @property
    def _private_install(self) -> Path:
        return self.layout.postgres / "binaries"

    @property
    def _bin(self) -> Path:
        return self._package / "pginstall18" / "bin"

    @property
    def _package(self) -> Path:
        return self._private_install / POSTGRES_PACKAGE if self.identities.is_root else postgres_folder()

    def _socket_owner(self) -> Identity:
        return Identity(self.identities.postgres.uid, self.identities.control.gid)

    def _has_current_binaries(self) -> bool:
        ours, theirs = (folder / "pginstall18" / "bin" / "postgres" for folder in (self._package, postgres_folder()))
        return ours.exists() and _fingerprint(ours) == _fingerprint(theirs)

    def _copy_binaries(self) -> None:
        """Keep the wheel's shape: programs find their libraries relative to themselves."""
        package = postgres_folder()
        new = self._private_install.with_name("binaries.new")
        shutil.rmtree(new, ignore_errors=True)
        link_tree(package / "pginstall18", new / POSTGRES_PACKAGE / "pginstall18", _not_needed_to_run)
        libraries = package.with_name(f"{POSTGRES_PACKAGE}.libs")
        if libraries.exists():
            link_tree(libraries, new / libraries.name)
        for folder in (new, new / POSTGRES_PACKAGE):
            folder.chmod(0o755)
        shutil.rmtree(self._private_install, ignore_errors=True)
        new.rename(self._private_install)

    def _init_cluster(self) -> None:
        """Make the cluster beside its place and rename it, so that half a cluster is never taken for one."""
        new = self._cluster_folder / "data.new"
        password = self._cluster_folder / "initial-password"
        secret = secret_in(self._superuser_password, self.identities.operator)
        owner = Identity(self.identities.operator.uid, self.identities.postgres.gid)
        shutil.rmtree(new, ignore_errors=True)
        try:
            self._cluster_folder.chmod(0o770)
            write_file(password, secret, owner, 0o640)
            run_once(self._initdb(new, password), START_TIMEOUT_S)
        finally:
            password.unlink(missing_ok=True)
            self._cluster_folder.chmod(0o710)
        own_tree(new, self.identities.postgres)
        new.rename(self._data)

    def _initdb(self, target: Path, password: Path) -> ProcessSpec:
        options = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        run = (str(self._bin / "initdb"), f"--pgdata={target}", f"--username={SUPERUSER}", f"--pwfile={password}")
        return replace(
            self.spec(),
            name="initdb",
            command=(*run, *options, "--auth=scram-sha-256", "--data-checksums", "--no-instructions"),
            identity=self._initdb_identity(),
            cwd=self._cluster_folder,
        )

    def _initdb_identity(self) -> Identity:
        """Return a user for initdb, which refuses root and users that /etc/passwd does not name.

        As root that is some named user with the server's group: the group alone can pass the cluster folder, and
        a process whose group differs may not be traced or read by others of the same user.

        Raises:
            OperatorError: /etc/passwd names no user that serves.
        """
        names = {entry.pw_name: entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid != 0}
        if not self.identities.is_root and self.identities.operator.uid in names.values():
            return self.identities.operator
        if not self.identities.is_root or not names:
            raise OperatorError(
                f"PostgreSQL's initdb needs a user that /etc/passwd names, and user {self.identities.operator.uid} has "
                "no entry there. Run `nordan up` as a named user, or set DATABASE_URL to a database of your own."
            )
        return Identity(names.get("nobody", min(names.values())), self.identities.postgres.gid)

    def _check_version(self) -> None:
        found = (self._data / "PG_VERSION").read_text().strip()
        if found != MAJOR_VERSION:
            raise OperatorError(
                f"The data in {self._data} are of PostgreSQL {found}; this Nordan brings {MAJOR_VERSION}. Use the "
                "Nordan that made them and move the data with pg_dump and pg_restore."
            )

    def _configure(self) -> None:
        settings = {**_SETTINGS, "unix_socket_directories": str(self.socket_folder)}
        lines = [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in settings.items()]
        write_file(self._data / "postgresql.conf", "\n".join(lines) + "\n", self.identities.postgres)
        write_file(self._data / "pg_hba.conf", _ACCESS_RULES, self.identities.postgres)

    def _connect(self, database: str) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host=str(self.socket_folder),
            dbname=database,
            user=SUPERUSER,
            password=self._superuser_password.read_text().strip(),
            connect_timeout=5,
            autocommit=True,
        )


def _not_needed_to_run(_folder: str, names: list[str]) -> set[str]:
    return {name for name in names if name in {"include", "pkgconfig"} or name.endswith(".a")}


def _fingerprint(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_size, found.st_mtime_ns


def _exists(connection: psycopg.Connection[tuple[object, ...]], table: str, column: str, value: str) -> bool:
    query = sql.SQL("select 1 from {} where {} = {}").format(
        sql.Identifier(table), sql.Identifier(column), sql.Literal(value)
    )
    return connection.execute(query).fetchone() is not None
