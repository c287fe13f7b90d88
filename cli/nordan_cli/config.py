"""Where the control plane is and who we are: a small file for its owner only, overridden by the environment.

The file is `$NORDAN_CONFIG`, else `nordan/config.json` in the user's configuration folder; `nordan login` and
`nordan up` write it. NORDAN_URL, NORDAN_KEY and NORDAN_PROJECT win over it (they reach us as option defaults, see
`main.py`), so that a CI job needs no file.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import typer

from nordan_cli.errors import WrongUse

FILE_MODE = 0o600
FOLDER_MODE = 0o700


@dataclass(frozen=True, slots=True)
class Config:
    """What one login knows; empty texts mean unset."""

    url: str = ""
    key: str = ""
    project: str = ""


def default_path() -> Path:
    """Return the file in the user's configuration folder (XDG on Linux)."""
    return Path(typer.get_app_dir("nordan")) / "config.json"


def load(path: Path) -> Config:
    """Read the file; a missing one is an empty configuration.

    Raises:
        WrongUse: the file cannot be read or is not ours.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Config()
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUse(f"cannot read the configuration {path}: {error}") from error
    try:
        values = json.loads(text)
    except ValueError as error:
        raise WrongUse(f"{path} is not JSON ({error}); run nordan login again") from error
    if not isinstance(values, dict):
        raise WrongUse(f"{path} holds no JSON object; run nordan login again")
    known = {field.name for field in fields(Config)}
    return Config(**{name: str(value) for name, value in values.items() if name in known and value is not None})


def save(path: Path, config: Config) -> None:
    """Write the file whole or not at all, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=".config-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:  # mkstemp made it 0600
            json.dump(asdict(config), file, indent=2)
            file.write("\n")
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def is_open_to_others(path: Path) -> bool:
    """Tell whether someone but the owner may read the key in the file."""
    try:
        return bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))
    except OSError:
        return False
