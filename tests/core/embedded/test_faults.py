"""What `up` says when the file system refuses, shown on real refusals where that can be done."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from nordan_core.domain.errors import OperatorError
from nordan_core.embedded import runtime, up
from nordan_core.embedded.control import Stack
from nordan_core.embedded.data_dir import prepare_data_dir
from nordan_core.embedded.faults import explained
from nordan_core.embedded.files import copied_bytes, link_tree
from nordan_core.embedded.layout import Identities, Layout
from nordan_core.embedded.stopping import Stopping
from nordan_core.embedded.terminal import TerminalReporter
from nordan_core.embedded.up import NEEDED_MIB, Ready, UpOptions, run_up
from support.stand_ins import StandIns, live, stack, until

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small disk")


@pytest.fixture
def small_disk(data_dir: Path) -> Iterator[Path]:
    """A file system of 40 MiB."""
    yield from mounted(data_dir, 40)


def mounted(folder: Path, size_mib: int) -> Iterator[Path]:
    options = f"size={size_mib}m,mode=711"
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "nordan", str(folder)], check=False)
    if done.returncode != 0:
        pytest.skip("this machine lets nobody mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.root
@needs_root
def test_a_disk_with_too_little_room_is_refused_before_anything_runs(small_disk: Path) -> None:
    wanted = r"too little room: \d+ MiB are free and the stack needs \d{3,} MiB.*--data-dir"
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
    with pytest.raises(OperatorError, match="too little room"), explained(small_disk):
        run_up(UpOptions(small_disk, port=0), TerminalReporter(), Stopping())
    assert not list((small_disk / "processes").iterdir())


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator's own Python serves nobody else, as below a closed home folder."""
    monkeypatch.setattr(runtime, "can_run", lambda *_: False)
    monkeypatch.setattr(runtime, "_succeeds", lambda *_: False)


@pytest.fixture
def disk_without_room_for_python(data_dir: Path) -> Iterator[Path]:
    """A file system that a start fits on, but no copy of a Python."""
    yield from mounted(data_dir, NEEDED_MIB + 16)


@pytest.fixture
def disk_of_a_stack(data_dir: Path) -> Iterator[Path]:
    """A file system that a stack of stand-ins fits on."""
    yield from mounted(data_dir, 400)


@pytest.mark.root
@pytest.mark.usefixtures("unreadable")
@needs_root
def test_room_for_a_copy_of_python_is_asked_for_before_a_byte_of_it_is_brought(
    disk_without_room_for_python: Path,
) -> None:
    with pytest.raises(OperatorError, match=r"too little room: \d+ MiB are free") as caught:
        run_up(UpOptions(disk_without_room_for_python, port=0), TerminalReporter(), Stopping())
    needed = re.search(r"needs (\d+) MiB", str(caught.value))
    assert needed
    assert int(needed[1]) > NEEDED_MIB + 200, "our packages alone are larger"
    assert list((disk_without_room_for_python / "runtime").iterdir()) == []


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.usefixtures("unreadable")
@needs_root
def test_a_disk_that_fills_up_under_a_copy_of_python_is_said_in_a_sentence_and_nothing_stays(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up, "NEEDED_MIB", 1)
    monkeypatch.setattr(runtime, "copied_bytes", lambda *_: 0)
    with (
        pytest.raises(OperatorError, match=r"^The disk that holds .* (is full\.|has too little room)") as caught,
        explained(small_disk),
    ):
        run_up(UpOptions(small_disk, port=0), TerminalReporter(), Stopping())
    assert len(str(caught.value)) < 300
    assert not list((small_disk / "runtime").glob("*.new"))


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.timeout(300)
@needs_root
def test_a_stack_whose_disk_is_full_outlives_the_end_of_a_worker(
    disk_of_a_stack: Path, stand_ins: StandIns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up, "prepare_runtime", lambda *_: stand_ins.runtime)
    parts = (str(stand_ins.runtime.python), str(stand_ins.parts))
    monkeypatch.setattr(Stack, "command", lambda _, module, *words: (*parts, module, *words))
    with stack(UpOptions(disk_of_a_stack, port=0)) as recorder:
        before = live(disk_of_a_stack)
        filler = disk_of_a_stack / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(1 << 16)):
                pass
        before["worker-home-1"].send(signal.SIGKILL)
        until(lambda: any("worker-home-1 ended and was started again" in note for note in recorder.notes))
        others = {name: process for name, process in live(disk_of_a_stack).items() if name != "worker-home-1"}
        assert others == {name: process for name, process in before.items() if name != "worker-home-1"}
        filler.unlink()
        until(lambda: live(disk_of_a_stack).get("worker-home-1", before["worker-home-1"]) != before["worker-home-1"])


def test_what_a_tree_will_take_is_what_its_copy_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    for name, size, mode in (("a", 1, 0o600), ("b", 4096, 0o600), ("c/d", 5000, 0o600), ("open", 9000, 0o644)):
        file = source / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * size)
        file.chmod(mode)
    (source / "left-out").write_bytes(b"x" * 9000)

    def skip(_folder: str, _names: list[str]) -> set[str]:
        return {"left-out"}

    # A file that others may read is linked and takes nothing.
    assert copied_bytes(source, tmp_path, skip) == 4096 + 4096 + 8192
    link_tree(source, target, skip)
    assert sorted(str(file.relative_to(target)) for file in target.rglob("*")) == ["a", "b", "c", "c/d", "open"]
    assert (target / "open").stat().st_nlink == 2
    monkeypatch.setattr(os, "link", refuse)
    link_tree(source, tmp_path / "again", skip)
    assert (tmp_path / "again" / "open").stat().st_nlink == 1


def refuse(*_: object) -> None:
    raise OSError(errno.EXDEV, "another disk")


def test_a_reporter_goes_on_where_its_file_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a detached stack says goes into a file on the same disk."""
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        monkeypatch.setattr(sys, "stdout", full)
        reporter = TerminalReporter()
        reporter.step("one")
        reporter.note("two")
        reporter.ready(Ready("http://127.0.0.1:1", "key", "default", (), Path("/data")))
        with suppress(OSError):
            full.flush()
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())


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
