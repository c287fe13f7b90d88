"""The compliance officer's walk, word for word: every document and command of the page, on a real stack."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from support.chaos_stack import ChaosStack, Invoker
from support.pages import ROOT, page

WALK = page("docs/tutorials/compliance-officer.md")
#: What ends otherwise than with 0, and that is the point of it.
REFUSED = {"nordan submit -f count.yaml --residency DE": 1}
#: What this test does in another way: the stack is started by its own means, and a person pastes the key.
OTHERWISE = ("nordan up", "read -rs NORDAN_KEY", "nordan admin keys create")
MAKE_KEY = "nordan admin keys create home --role owner --territory FR -o json"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A person's folder, with the documents of the page and the repository's examples where it names them."""
    home = Path(tempfile.mkdtemp(prefix="no-", dir="/tmp"))
    home.chmod(0o755)  # as root, Nordan's parts run under other users
    policy, job = (next(iter(WALK.blocks(kind))).body for kind in ("yaml policy", "yaml job"))
    (home / "records.yaml").write_text(policy)
    (home / "count.yaml").write_text(job)
    (home / "deploy").symlink_to(ROOT / "deploy")
    yield home
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def stack(folder: Path) -> Iterator[ChaosStack]:
    """The page's world, running."""
    stack = ChaosStack(folder / "stack", replace(Invoker(), world=ROOT / "deploy/world/europe.yaml"))
    stack.home.mkdir()
    stack.start()
    yield stack
    assert stack.stop() == []


def commands() -> list[str]:
    lines = [line for block in WALK.blocks("sh") for line in block.body.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line and not line.startswith(OTHERWISE)]


def test_every_command_of_the_walk_does_what_the_page_says(stack: ChaosStack, folder: Path) -> None:
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "NORDAN_URL": stack.url,
        "NORDAN_KEY": stack.key,
    }

    def run(line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, timeout=180, check=False
        )

    administrator = stack.key
    made = run(MAKE_KEY)
    assert made.returncode == 0, made.stderr
    owner = made.stdout.partition('"key": "')[2].partition('"')[0]
    said: dict[str, str] = {}
    for line in commands():
        # The whole log is for whoever may read it, who is not the owner of data.
        environment["NORDAN_KEY"] = administrator if "admin audit" in line else owner
        ended = run(line)
        assert ended.returncode == REFUSED.get(line, 0), f"{line}\n{ended.stdout}{ended.stderr}"
        said[line] = ended.stdout + ended.stderr
    plan = said["nordan plan -f count.yaml"]
    assert "de-fra-1" in plan
    verified = said["nordan certificate verify certificate.json --keys keys.json"]
    assert "egress: not enforced" in verified
    assert "Redacted" in said["nordan certificate verify redacted.json --keys keys.json"]
    replayed = said["nordan admin audit verify log.ndjson --keys keys.json --head head.json"]
    assert replayed.rstrip().endswith("verified")
