"""A job's folder becomes a manifest; whatever could lead the reader elsewhere is refused."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from nordan_workers.store import folders
from nordan_workers.store.errors import UnsafeFolder
from nordan_workers.store.folders import take_entry, take_folder
from nordan_workers.store.region_store import RegionStore


@pytest.fixture
def store(tmp_path: Path) -> RegionStore:
    return RegionStore(tmp_path / "store")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "outputs"
    folder.mkdir()
    return folder


def content(store: RegionStore, digest: str) -> bytes:
    with store.open(digest) as file:
        return file.read()


def test_files_come_in_order_of_path_with_two_modes_only(store: RegionStore, folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "b").write_bytes(b"b")
    (folder / "a").write_bytes(b"a")
    (folder / "a").chmod(0o640)
    (folder / "sub" / "b").chmod(0o700)
    manifest = take_folder(store, folder)
    assert [(one.path, oct(one.mode), content(store, one.digest)) for one in manifest.files] == [
        ("a", "0o644", b"a"),
        ("sub/b", "0o755", b"b"),
    ]


def test_an_empty_folder_is_an_empty_manifest(store: RegionStore, folder: Path) -> None:
    assert take_folder(store, folder).files == ()


def test_one_entry_keeps_its_name_as_the_first_part_of_its_paths(store: RegionStore, folder: Path) -> None:
    (folder / "step-1").mkdir()
    (folder / "step-1" / "w").write_bytes(b"w")
    (folder / "step-2").write_bytes(b"2")
    assert [one.path for one in take_entry(store, folder, "step-1").files] == ["step-1/w"]
    assert [one.path for one in take_entry(store, folder, "step-2").files] == ["step-2"]


def test_an_entry_that_has_gone_is_said_so(store: RegionStore, folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        take_entry(store, folder, "gone")


def test_a_link_inside_is_stored_as_the_file_it_names(store: RegionStore, folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "real").write_bytes(b"real")
    (folder / "near").symlink_to("sub/real")
    (folder / "sub" / "up").symlink_to("../sub/real")
    manifest = take_folder(store, folder)
    assert {one.path: content(store, one.digest) for one in manifest.files} == {
        "near": b"real",
        "sub/real": b"real",
        "sub/up": b"real",
    }


@pytest.mark.parametrize("target", ["/etc/passwd", "../secret", "sub/../../secret", ".", "loop", "sub", "via/real"])
def test_a_link_that_leaves_or_is_not_to_a_plain_file_is_refused(store: RegionStore, folder: Path, target: str) -> None:
    (folder.parent / "secret").write_bytes(b"secret")
    (folder / "sub").mkdir()
    (folder / "sub" / "real").write_bytes(b"")
    (folder / "via").symlink_to("sub")
    (folder / "loop").symlink_to(target)
    with pytest.raises(UnsafeFolder):
        take_folder(store, folder)


def test_the_folder_itself_may_not_be_a_link(store: RegionStore, folder: Path) -> None:
    (folder.parent / "link").symlink_to(folder)
    with pytest.raises(UnsafeFolder):
        take_folder(store, folder.parent / "link")


def test_a_pipe_is_refused_without_waiting_for_a_writer(store: RegionStore, folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(UnsafeFolder):
        take_folder(store, folder)


def test_a_socket_is_refused(store: RegionStore, folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "s"))
        with pytest.raises(UnsafeFolder):
            take_folder(store, folder)


def test_a_name_that_is_not_utf8_is_refused(store: RegionStore, folder: Path) -> None:
    (folder / os.fsdecode(b"\xff")).write_bytes(b"")
    with pytest.raises(UnsafeFolder, match="UTF-8"):
        take_folder(store, folder)


def test_a_backslash_in_a_name_is_refused(store: RegionStore, folder: Path) -> None:
    (folder / "a\\b").write_bytes(b"")
    with pytest.raises(UnsafeFolder, match="backslash"):
        take_folder(store, folder)


@pytest.mark.parametrize("name", ["a\nb", "a\x1bb", "a\u202eb"])
def test_a_name_that_cannot_be_printed_is_refused(store: RegionStore, folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"")
    with pytest.raises(UnsafeFolder, match="printed"):
        take_folder(store, folder)


def test_a_path_with_too_many_bytes_is_refused(store: RegionStore, folder: Path) -> None:
    deep = folder / ("\u00e9" * 120) / ("\u00e9" * 120) / ("\u00e9" * 120) / ("\u00e9" * 120)
    deep.mkdir(parents=True)
    (deep / ("\u00e9" * 100)).touch()
    with pytest.raises(UnsafeFolder, match="1024 bytes"):
        take_folder(store, folder)


def test_too_many_files_are_refused(store: RegionStore, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "MAX_FILES", 2)
    for name in "abc":
        (folder / name).touch()
    with pytest.raises(UnsafeFolder, match="more than 2 files"):
        take_folder(store, folder)


def test_bottomless_nesting_is_refused(store: RegionStore, folder: Path) -> None:
    deep = folder
    for _ in range(folders.MAX_DEPTH + 2):
        deep = deep / "d"
        deep.mkdir()
    with pytest.raises(UnsafeFolder, match="deep"):
        take_folder(store, folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_hard_link_to_another_users_file_is_refused(store: RegionStore, folder: Path) -> None:
    os.chown(folder, 64999, 64999)
    secret = folder.parent / "key"
    secret.write_bytes(b"key")
    os.link(secret, folder / "mine")
    with pytest.raises(UnsafeFolder, match="another user"):
        take_folder(store, folder)


def test_messages_name_no_file_of_the_tenant(store: RegionStore, folder: Path) -> None:
    (folder / "canary").symlink_to("/etc/canary")
    with pytest.raises(UnsafeFolder) as caught:
        take_folder(store, folder)
    assert "canary" not in str(caught.value)
