"""Inputs are laid as copies whose every byte was checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from nordan_core.domain.contents import FileEntry, Manifest
from nordan_workers.store.errors import ContentMissing, DigestMismatch, StoreError
from nordan_workers.store.laying import lay
from nordan_workers.store.region_store import RegionStore


@pytest.fixture
def store(tmp_path: Path) -> RegionStore:
    return RegionStore(tmp_path / "store")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "inputs"
    folder.mkdir()
    return folder


def entry(store: RegionStore, path: str, data: bytes, mode: int = 0o644) -> FileEntry:
    blob = store.put([data])
    return FileEntry(path, blob.digest, blob.size_bytes, mode)


def test_files_are_copies_and_read_only(store: RegionStore, folder: Path) -> None:
    file = entry(store, "a/b", b"data", 0o755)
    lay(store, Manifest.of([file]), folder, is_read_only=True)
    assert (folder / "a" / "b").read_bytes() == b"data"
    assert (folder / "a" / "b").stat().st_mode & 0o777 == 0o555
    assert (folder / "a" / "b").stat().st_ino != store.path(file.digest).stat().st_ino


def test_laying_twice_is_laying_once(store: RegionStore, folder: Path) -> None:
    manifest = Manifest.of([entry(store, "a", b"data")])
    lay(store, manifest, folder, is_read_only=True)
    lay(store, manifest, folder, is_read_only=False)
    assert (folder / "a").read_bytes() == b"data"
    assert (folder / "a").stat().st_mode & 0o777 == 0o644


def test_a_decayed_blob_is_noticed_and_not_left_behind(store: RegionStore, folder: Path) -> None:
    file = entry(store, "a", b"data")
    store.path(file.digest).write_bytes(b"dada")
    with pytest.raises(DigestMismatch):
        lay(store, Manifest.of([file]), folder, is_read_only=True)
    assert not (folder / "a").exists()


def test_a_blob_that_is_not_here_is_said_so(store: RegionStore, folder: Path) -> None:
    with pytest.raises(ContentMissing):
        lay(store, Manifest.of([FileEntry("a", "0" * 64, 1)]), folder, is_read_only=True)


@pytest.mark.parametrize("path", ["../a", "/a", "a/../../b", ""])
def test_a_path_that_leaves_is_refused(store: RegionStore, folder: Path, path: str) -> None:
    with pytest.raises(StoreError):
        lay(store, Manifest((entry(store, path, b"x"),)), folder, is_read_only=True)


@pytest.mark.parametrize("order", [("a", "a/b"), ("a/b", "a")])
def test_a_path_that_is_file_and_folder_is_refused(store: RegionStore, folder: Path, order: tuple[str, str]) -> None:
    files = tuple(entry(store, path, b"x") for path in order)
    with pytest.raises(StoreError, match="file and a folder"):
        lay(store, Manifest(files), folder, is_read_only=True)
