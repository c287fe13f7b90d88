"""The import contracts hold on the source, and each is broken by an import that it is there to stop."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from architecture.source_tree import ROOT, SOURCE_ROOTS

RUN = "import sys; from importlinter.cli import lint_imports_command as main; sys.exit(main())"

#: By the beginning of a contract's name: a module that must not be, and the import in it.
BREAKS = {
    "components stand on core": ("api/nordan_api/broken.py", "import nordan_scheduler"),
    "core is layered": ("core/nordan_core/proof/broken.py", "import nordan_core.store"),
    "domain imports nothing": ("core/nordan_core/domain/broken.py", "import time"),
    "residency decides from values": ("core/nordan_core/residency/broken.py", "import os"),
    "the engine plans from values": ("scheduler/nordan_scheduler/engine/broken.py", "import random"),
    "regions and clients hold no": ("workers/nordan_workers/broken.py", "import nordan_core.store"),
    "the command line is a client": ("cli/nordan_cli/broken.py", "import fastapi"),
    "starting the processes": ("core/nordan_core/embedded/broken.py", "import nordan_api"),
}


def contracts() -> list[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return [contract["name"] for contract in settings["tool"]["importlinter"]["contracts"]]


def verdicts(tree: Path) -> dict[str, str]:
    """Return KEPT or BROKEN by contract for the packages below `tree`."""
    paths = os.pathsep.join(str(tree / root) for root in SOURCE_ROOTS)
    done = subprocess.run(
        [sys.executable, "-c", RUN, "--no-cache"],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": paths, "COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.findall(r"^(?P<name>.+) (?P<verdict>KEPT|BROKEN)\b", done.stdout, re.MULTILINE)
    assert found, done.stdout + done.stderr
    return dict(found)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for root in SOURCE_ROOTS:
        shutil.copytree(ROOT / root, tmp_path / root, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_source_keeps_every_contract() -> None:
    assert verdicts(ROOT) == dict.fromkeys(contracts(), "KEPT")


def test_each_contract_is_broken_by_what_it_is_there_to_stop(copy: Path) -> None:
    for path, text in BREAKS.values():
        (copy / path).write_text(f"{text}\n", encoding="utf-8")
    assert verdicts(copy) == dict.fromkeys(contracts(), "BROKEN")


def test_every_contract_is_shown_to_break() -> None:
    assert [sum(name.startswith(beginning) for beginning in BREAKS) for name in contracts()] == [1] * len(BREAKS)
