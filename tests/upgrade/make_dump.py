"""Write a database dump of the version that this tree is: `python tests/upgrade/make_dump.py FILE`.

Run on a release's tag; later versions restore the file, run their migrations on it and must find everything again.
The dump is plain SQL without owners or privileges. It holds invented data only, and keys that open nothing.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from httpx import Client

from nordan_core.embedded.packaged import postgres_folder
from nordan_core.embedded.temporary import temporary_postgres
from nordan_core.store.migrate import upgrade
from support.database_clock import timed_engine
from support.lab import open_lab
from support.one_of_everything import populate
from support.serving import serving


def main() -> int:
    """Write the dump that the first argument names."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python tests/upgrade/make_dump.py FILE\n")
        return 2
    with temporary_postgres() as url, tempfile.TemporaryDirectory() as folder:
        driver_url = url.replace("postgresql://", "postgresql+psycopg://", 1)
        upgrade(driver_url)
        engine = timed_engine(driver_url)
        lab = open_lab(engine, Path(folder))
        with serving(lab.app) as served, Client(base_url=served, timeout=30) as client:
            lab.settle(client)
            populate(lab)
        engine.dispose()
        dump(url, Path(sys.argv[1]))
    return 0


def dump(url: str, target: Path) -> None:
    """Dump a database as plain SQL."""
    program = postgres_folder() / "pginstall18" / "bin" / "pg_dump"
    command = [str(program), "--no-owner", "--no-privileges", "--restrict-key", "nordan", "--file", str(target), url]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    raise SystemExit(main())
