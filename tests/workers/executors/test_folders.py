"""Folders of attempts: deleting what a job made hard to delete, and nothing beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nordan_core.domain.errors import OperatorError
from nordan_core.domain.ids import AttemptId
from nordan_workers.executors import folders as layout
from nordan_workers.executors.base import WorkFolders


@pytest.fixture
def work(region_dir: Path) -> WorkFolders:
    (region_dir / "work").mkdir(mode=0o711)
    folders = layout.work_folders(region_dir, AttemptId("att_x"), [0, 1], None)
    layout.make(folders)
    return folders


def test_unreadable_folders_are_deleted(work: WorkFolders) -> None:
    deep = work.ranks[0].cwd / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "file").write_text("x")
    deep.chmod(0)
    deep.parent.chmod(0o500)
    layout.delete(work)
    assert not work.root.exists()


def test_folders_nested_deeper_than_python_recurses_are_deleted(work: WorkFolders) -> None:
    script = "import os\nfor _ in range(3000): os.mkdir('d'); os.chdir('d')"
    subprocess.run([sys.executable, "-c", script], cwd=work.ranks[0].cwd, check=True)
    layout.delete(work)
    assert not work.root.exists()


def test_a_link_is_deleted_and_not_what_it_points_at(work: WorkFolders, region_dir: Path) -> None:
    treasure = region_dir / "treasure"
    treasure.mkdir()
    (treasure / "coin").write_text("gold")
    (work.ranks[0].cwd / "link").symlink_to(treasure)
    (work.ranks[0].cwd / "file-link").symlink_to(treasure / "coin")
    layout.delete(work)
    assert not work.root.exists()
    assert (treasure / "coin").read_text() == "gold"


def test_sealed_inputs_are_deleted(work: WorkFolders) -> None:
    (work.inputs / "patients").mkdir()
    (work.inputs / "patients" / "scans.csv").write_text("1")
    layout.seal(work)
    layout.delete(work)
    assert not work.root.exists()


def test_sealing_twice_changes_nothing(work: WorkFolders) -> None:
    (work.inputs / "run.sh").write_text("#!/bin/sh")
    (work.inputs / "run.sh").chmod(0o755)
    for _ in range(2):
        layout.seal(work)
        assert (work.inputs / "run.sh").stat().st_mode & 0o777 == 0o550


def test_sealing_follows_no_link(work: WorkFolders, region_dir: Path) -> None:
    outside = region_dir / "outside"
    outside.write_text("x")
    outside.chmod(0o644)
    (work.inputs / "link").symlink_to(outside)
    layout.seal(work)
    assert outside.stat().st_mode & 0o777 == 0o644


def test_deleting_what_was_never_made_is_fine(region_dir: Path) -> None:
    layout.delete(layout.work_folders(region_dir, AttemptId("att_y"), [0], None))


def test_a_closed_folder_on_the_way_is_named(region_dir: Path) -> None:
    closed = region_dir / "closed"
    inner = closed / "region"
    inner.mkdir(parents=True)
    layout.check_passable(region_dir)
    closed.chmod(0o700)
    with pytest.raises(OperatorError, match=f"cannot pass {closed}"):
        layout.check_passable(inner)
    assert os.access(inner, os.X_OK)
