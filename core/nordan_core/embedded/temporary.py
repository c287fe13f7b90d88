"""A PostgreSQL that lives as long as a test or a command: `python -m nordan_core.embedded.temporary COMMAND...`.

Used by tests and by `make migrations-check`. The command finds the database in DATABASE_URL. Never for data that
anybody wants to keep.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from nordan_core.embedded.data_dir import prepare_data_dir
from nordan_core.embedded.invoker import whole_environment
from nordan_core.embedded.layout import Identities, Layout
from nordan_core.embedded.postgres import DATABASE, ROLE, START_TIMEOUT_S, Postgres
from nordan_core.embedded.processes import ProcessTable, wait_until

#: Nothing here outlives the machine's next start, so nothing waits for the disk.
_FORGETFUL = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


@contextmanager
def temporary_postgres(*options: str) -> Iterator[str]:
    """Run a server in a new folder and yield the URL of an empty database, password included; all goes at the end.

    `options` are settings of the server as `name=value`.

    Raises:
        OperatorError: the server cannot be started.
    """
    # Not below the caller's temporary folder: as root the server's user has to reach it, and sockets need a short path.
    data = Path(tempfile.mkdtemp(prefix="nordan-", dir="/tmp"))
    layout, identities = Layout(data), Identities.of_this_process()
    table = ProcessTable(layout.processes)
    guard: subprocess.Popen[bytes] | None = None
    try:
        prepare_data_dir(layout, identities)
        server = Postgres(layout, identities)
        server.prepare()
        spec = server.spec()
        chosen = tuple(word for option in (*_FORGETFUL, *options) for word in ("-c", option))
        process = table.ensure(replace(spec, command=(*spec.command, *chosen)))
        guard = _guard(process.pid, data)
        wait_until(process, server.answers, START_TIMEOUT_S)
        server.ensure_database()
        password = layout.database_password.read_text().strip()
        yield f"postgresql://{ROLE}:{password}@/{DATABASE}?host={quote(str(server.socket_folder), safe='')}"
    finally:
        if guard:
            guard.kill()
            guard.communicate()
        table.stop(table.names())
        shutil.rmtree(data, ignore_errors=True)


def main(command: Sequence[str]) -> int:
    """Run a command with DATABASE_URL set, and return its exit code."""
    with temporary_postgres() as url:
        environment = {**whole_environment(), "DATABASE_URL": url}
        return subprocess.run(command, env=environment, check=False).returncode


def _guard(server_pid: int | None, data: Path) -> subprocess.Popen[bytes]:
    """Start a shell that cleans up should we be killed: its input ends with us."""
    script = 'read -r _; kill -INT "$1"; sleep 2; rm -rf "$2"'
    command = ["/bin/sh", "-c", script, "guard", str(server_pid), str(data)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
