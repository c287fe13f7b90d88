"""Logs the invoking user in: writes the CLI's configuration file, unless it already speaks of another server.

Used by `up_command`. The file's form is the CLI's (`nordan_cli.config`): url, key and project, for its owner only.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from nordan_core.embedded.files import write_file
from nordan_core.embedded.layout import Identity
from nordan_core.embedded.up import Ready


def log_in(path: Path, ready: Ready) -> bool:
    """Write the configuration and return True; leave one for another server as it is and return False.

    Raises:
        OSError: the folder or file cannot be written.
    """
    # The same key at another port is this very stack: its api has moved.
    if path.exists() and _url(path) != ready.url and _values(path).get("key") != ready.admin_key:
        return False
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    values = {"url": ready.url, "key": ready.admin_key, "project": ready.project}
    write_file(path, json.dumps({**_values(path), **values}, indent=2) + "\n", Identity.own())
    return True


def login_command(ready: Ready) -> str:
    """Return the command that logs in; the key comes from its file and stays out of argument lists."""
    key_file = shlex.quote(f"{ready.data_dir}/control/admin-key")
    return f"nordan login --url {ready.url} --key - < {key_file}"


def _url(path: Path) -> str:
    return str(_values(path).get("url", "")).rstrip("/")


def _values(path: Path) -> dict[str, object]:
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
