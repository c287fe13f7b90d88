"""What `up` says when the file system refuses, shown on real refusals where that can be done."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nordan_core.domain.errors import OperatorError
from nordan_core.embedded import up
from nordan_core.embedded.data_dir import prepare_data_dir
from nordan_core.embedded.faults import explained
from nordan_core.embedded.layout import Identities, Layout
from nordan_core.embedded.stopping import Stopping
from nordan_core.embedded.terminal import TerminalReporter
from nordan_core.embedded.up import UpOptions, run_up

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small disk")


@pytest.fixture
def small_disk(data_dir: Path) -> Iterator[Path]:
    """A file system of 40 MiB."""
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m,mode=711", "nordan", str(data_dir)], check=False)
    if done.returncode != 0:
        pytest.skip("this machine lets nobody mount a file system")
    yield data_dir
    subprocess.run(["umount", "-l", str(data_dir)], check=True)


@pytest.mark.root
@needs_root
def test_a_disk_with_too_little_room_is_refused_before_anything_runs(small_disk: Path) -> None:
    wanted = r"is full: \d+ MiB are free and the stack needs 512 MiB.*--data-dir"
    with pytest.raises(OperatorError, match=wanted):
        run_up(UpOptions(small_disk, port=0), TerminalReporter(), Stopping())
    assert not (small_disk / "postgres").exists()


@pytest.mark.root
@pytest.mark.slow
@needs_root
def test_a_disk_that_fills_up_while_starting_is_named_as_the_cause(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up, "NEEDED_MIB", 1)
    with pytest.raises(OperatorError, match="is full"), explained(small_disk):
        run_up(UpOptions(small_disk, port=0), TerminalReporter(), Stopping())
    assert not list((small_disk / "processes").iterdir())


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, r"disk that holds /data is full.*--data-dir"),
        (errno.EDQUOT, r"quota is used up.*--data-dir"),
        (errno.EACCES, r"No permission for /data/file.*--data-dir"),
        (errno.EROFS, r"read-only file system.*--data-dir"),
        (errno.EIO, r"/data/file: Input/output error"),
    ],
)
def test_each_refusal_says_what_to_do(number: int, words: str) -> None:
    with pytest.raises(OperatorError, match=words), explained(Path("/data")):
        raise OSError(number, os.strerror(number), "/data/file")


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.touch()
    with pytest.raises(OperatorError, match="is not a folder"), explained(file):
        prepare_data_dir(Layout(file), Identities.of_this_process())


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs its parts under other users")
def test_as_root_a_folder_that_others_cannot_reach_is_refused(data_dir: Path) -> None:
    data_dir.chmod(0o700)
    with pytest.raises(OperatorError, match=rf"may not pass {data_dir}"):
        prepare_data_dir(Layout(data_dir / "inside"), Identities.of_this_process())
    assert data_dir.stat().st_mode & 0o777 == 0o700
