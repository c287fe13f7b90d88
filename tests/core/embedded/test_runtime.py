"""A Python for other users, laid out for real."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nordan_core.embedded import runtime as module
from nordan_core.embedded.data_dir import prepare_data_dir
from nordan_core.embedded.files import link_tree
from nordan_core.embedded.layout import Identities, Layout
from nordan_core.embedded.runtime import Runtime, can_run, prepare_runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs its parts under other users")
SOMEBODY = 200_001


@pytest.fixture(scope="module")
def layout() -> Iterator[Layout]:
    """One folder for all: parts that one test laid out serve the next."""
    data = Path(tempfile.mkdtemp(prefix="nt-", dir="/tmp"))
    prepare_data_dir(Layout(data), Identities.of_this_process())
    yield Layout(data)
    shutil.rmtree(data, ignore_errors=True)


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the probe of the operator's own Python fail, as below a closed home folder."""
    real = module.can_run
    monkeypatch.setattr(module, "can_run", lambda runtime, who: runtime.is_private and real(runtime, who))


def run_as(uid: int, runtime: Runtime, code: str) -> str:
    done = subprocess.run(
        ["python3", "-c", code],
        env={"PATH": runtime.path},
        cwd="/",
        user=uid,
        group=uid,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.root
@as_root
@pytest.mark.usefixtures("unreadable")
def test_another_user_runs_our_packages_and_those_that_jobs_need(layout: Layout, identities: Identities) -> None:
    runtime = prepare_runtime(layout, identities)
    code = "import celery, nordan_core, nordan_workers, numpy, psycopg, sys; print(nordan_core.__file__, sys.prefix)"
    file, prefix = run_as(SOMEBODY, runtime, code).split()
    assert file.startswith(str(layout.runtime))
    assert prefix.startswith(str(layout.runtime))
    # A program that starts itself again gets the same Python.
    again = "import subprocess, sys; print(subprocess.check_output([sys.executable, '-c', 'import yaml; print(1)']))"
    assert run_as(SOMEBODY, runtime, again) == r"b'1\n'"


@pytest.mark.root
@as_root
@pytest.mark.usefixtures("unreadable")
def test_it_is_laid_out_once_and_again_when_our_source_changed(
    layout: Layout, identities: Identities, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = prepare_runtime(layout, identities)
    stamp = first.python.parent.parent.stat().st_mtime_ns
    assert prepare_runtime(layout, identities) == first
    assert first.python.parent.parent.stat().st_mtime_ns == stamp
    changed = tmp_path / "nordan_core"
    changed.mkdir()
    (changed / "__init__.py").write_text("CHANGED = True\n")
    real = dict(module._package_folders())
    monkeypatch.setattr(module, "_package_folders", lambda: iter({**real, "nordan_core": changed}.items()))
    second = prepare_runtime(layout, identities)
    assert second.python != first.python
    assert run_as(SOMEBODY, second, "import nordan_core; print(nordan_core.CHANGED)") == "True"
    # Nothing runs from the first one, so its parts went; those in common stayed.
    assert not first.python.parent.parent.exists()


@pytest.mark.root
@as_root
@pytest.mark.usefixtures("unreadable")
def test_parts_that_a_program_still_runs_from_are_kept(
    layout: Layout, identities: Identities, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = prepare_runtime(layout, identities)
    with subprocess.Popen(
        [first.bin / "python", "-c", "import time; print(1, flush=True); time.sleep(60)"], stdout=subprocess.PIPE
    ) as job:
        assert job.stdout
        job.stdout.readline()
        changed = tmp_path / "nordan_core"
        changed.mkdir()
        (changed / "__init__.py").write_text("CHANGED = True\n")
        real = dict(module._package_folders())
        monkeypatch.setattr(module, "_package_folders", lambda: iter({**real, "nordan_core": changed}.items()))
        prepare_runtime(layout, identities)
        assert first.python.exists()
        job.kill()


@pytest.mark.root
@as_root
@pytest.mark.usefixtures("unreadable")
def test_no_mode_or_owner_of_the_original_files_changes(layout: Layout, identities: Identities) -> None:
    def state() -> list[tuple[int, int, int]]:
        files = [Path(sys.executable).resolve(), *Path(module.__file__).parent.iterdir(), *Path(sys.prefix).parents]
        return [(one.stat().st_mode, one.stat().st_uid, one.stat().st_mtime_ns) for one in files if one.name != "tmp"]

    before = state()
    prepare_runtime(layout, identities)
    assert state() == before


def test_a_python_that_everybody_can_run_is_used_as_it_is(
    layout: Layout, identities: Identities, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "can_run", lambda *_: True)
    runtime = prepare_runtime(layout, identities)
    assert runtime.python == Path(sys.executable)
    assert not runtime.is_private
    for name in ("python", "python3"):
        code = "import sys; print(sys.prefix)"
        output = subprocess.check_output([name, "-c", code], env={"PATH": runtime.path}, text=True)
        assert output.strip() == sys.prefix


@pytest.mark.root
@as_root
def test_a_private_file_is_copied_and_keeps_its_mode(layout: Layout, identities: Identities, tmp_path: Path) -> None:
    secret = tmp_path / "package" / "module.py"
    secret.parent.mkdir()
    secret.write_text("x = 1\n")
    secret.chmod(0o600)
    link_tree(secret.parent, layout.data / "package")
    assert secret.stat().st_mode & 0o777 == 0o600
    assert (layout.data / "package" / "module.py").stat().st_mode & 0o777 == 0o644
    assert not can_run(Runtime(Path("/nonexistent"), layout.runtime), identities.control)
