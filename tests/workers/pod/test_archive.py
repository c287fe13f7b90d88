"""Folders travel as a sealed tar of plain files; nothing that a job puts in the way leads out of its folder."""

from __future__ import annotations

import io
import os
import socket
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from nordan_workers.pod.archive import ArchiveRefused, Limits, Member, Reader, archive
from nordan_workers.pod.folders import MAX_DEPTH, FolderRefused, Laying, check_size, one_entry, whole_folder
from support.pods import laid, packed

AMPLE = Limits(1 << 30, 10_000)


def unpack(data: bytes, target: Path, step: int = 1 << 20, limits: Limits = AMPLE) -> None:
    target.mkdir(exist_ok=True)
    laying = Laying(target)
    reader = Reader(laying, limits)
    for at in range(0, len(data), step):
        reader.feed(data[at : at + step])
    reader.finish()
    laying.complete()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    (folder / "deep" / ("long" * 40)).mkdir(parents=True)
    (folder / "deep" / ("long" * 40) / "ü.bin").write_bytes(b"\0\1" * 777)
    (folder / "empty").write_bytes(b"")
    (folder / "block").write_bytes(b"b" * 1024)
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o750)
    (folder / "nothing").mkdir()
    return folder


@pytest.mark.parametrize("step", [1, 511, 512, 513, 1 << 20])
def test_a_folder_arrives_as_it_was_sent_whatever_the_pieces(folder: Path, tmp_path: Path, step: int) -> None:
    unpack(b"".join(archive(whole_folder(folder))), tmp_path / "there", step)
    assert laid(tmp_path / "there") == laid(folder)
    assert (tmp_path / "there/run.sh").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "there/nothing").is_dir()


def test_standard_tar_reads_it(folder: Path, tmp_path: Path) -> None:
    data = b"".join(archive(whole_folder(folder)))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = {one.name: one.size for one in tar if one.isreg() and one.name != "seal"}
    assert found == {name: len(content) for name, content in laid(folder).items()}


def test_large_files_have_their_size_in_words(tmp_path: Path) -> None:
    """More than the 8 GiB that a plain header can say."""
    size = 9 << 30
    pieces = archive([(Member("big", 0o644, size), iter([b"x"]))])
    head = next(pieces) + next(pieces)
    began: list[Member] = []

    class Only(Laying):
        def begin(self, member: Member) -> None:
            began.append(member)

        def data(self, piece: bytes) -> None:
            pass

    Reader(Only(tmp_path), Limits(1 << 40, 10)).feed(head)
    assert began == [Member("big", 0o644, size)]


def test_one_entry_is_sent_under_its_name(folder: Path, tmp_path: Path) -> None:
    unpack(b"".join(archive(one_entry(folder, "deep"))), tmp_path / "there")
    assert list(laid(tmp_path / "there")) == [f"deep/{'long' * 40}/ü.bin"]
    unpack(b"".join(archive(one_entry(folder, "run.sh"))), tmp_path / "file")
    assert list(laid(tmp_path / "file")) == ["run.sh"]


def test_limits_are_kept(tmp_path: Path) -> None:
    data = packed({"a": b"12345", "b": b"12345"})
    unpack(data, tmp_path / "fits", limits=Limits(10, 2))
    for limits in (Limits(9, 2), Limits(10, 1)):
        with pytest.raises(ArchiveRefused, match="more than is taken"):
            unpack(data, tmp_path / f"not-{limits.members}", limits=limits)


def test_what_was_laid_can_be_taken_back(folder: Path, tmp_path: Path) -> None:
    folder.joinpath("nothing").chmod(0o500)
    target = tmp_path / "there"
    target.mkdir()
    laying = Laying(target)
    reader = Reader(laying, AMPLE)
    reader.feed(b"".join(archive(whole_folder(folder)))[:3000])
    laying.undo()
    assert not target.exists()


def test_a_link_to_a_file_of_the_folder_is_that_file(folder: Path, tmp_path: Path) -> None:
    (folder / "latest").symlink_to("block")
    (folder / "deep" / "up").symlink_to("../run.sh")
    unpack(b"".join(archive(whole_folder(folder))), tmp_path / "there")
    assert (tmp_path / "there/latest").read_bytes() == b"b" * 1024
    assert not (tmp_path / "there/latest").is_symlink()
    assert (tmp_path / "there/deep/up").read_text() == "#!/bin/sh\n"


def link_out(folder: Path) -> None:
    (folder / "out").symlink_to("../secret")


def link_absolute(folder: Path) -> None:
    # The agent's own environment holds the attempt's token.
    (folder / "out").symlink_to("/proc/self/environ")


def link_through_a_link(folder: Path) -> None:
    (folder / "a").symlink_to("..")
    (folder / "b").symlink_to("a/secret")


def link_to_a_folder(folder: Path) -> None:
    (folder / "a").symlink_to("deep")


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "pipe")


def socket_file(folder: Path) -> None:
    here = Path.cwd()
    os.chdir(folder)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
    os.chdir(here)


def nested(folder: Path) -> None:
    for _ in range(MAX_DEPTH + 2):
        folder = folder / "d"
        folder.mkdir()


@pytest.mark.parametrize(
    "make", [link_out, link_absolute, link_through_a_link, link_to_a_folder, pipe, socket_file, nested]
)
def test_what_is_no_plain_file_of_the_folder_refuses_it(folder: Path, make: Callable[[Path], None]) -> None:
    (folder.parent / "secret").write_text("not the job's")
    make(folder)
    with pytest.raises(FolderRefused):
        b"".join(archive(whole_folder(folder)))


def test_a_file_that_shrinks_while_it_is_read_spoils_the_archive(folder: Path, tmp_path: Path) -> None:
    (folder / "block").write_bytes(b"b" * 2_000_000)
    pieces = archive(one_entry(folder, "block"))
    sent = [next(pieces), next(pieces)]
    os.truncate(folder / "block", 1000)
    with pytest.raises(ArchiveRefused, match="changed"):
        sent.extend(pieces)
    with pytest.raises(ArchiveRefused, match="cut short"):
        unpack(b"".join(sent), tmp_path / "there")


def test_a_folder_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert list(whole_folder(tmp_path / "none")) == []


def test_the_size_is_known_before_anything_is_sent(folder: Path) -> None:
    total = sum(len(content) for content in laid(folder).values())
    check_size(whole_folder(folder), total)
    with pytest.raises(FolderRefused):
        check_size(whole_folder(folder), total - 1)
