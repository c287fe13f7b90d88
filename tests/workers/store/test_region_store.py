"""The region store keeps whole blobs under their digests, and nothing else."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from nordan_core.domain.contents import FileEntry, Manifest
from nordan_workers.store.errors import ContentMissing, ContentTooLarge, DigestMismatch, StoreError, StoreFull
from nordan_workers.store.region_store import RegionStore


@pytest.fixture
def store(tmp_path: Path) -> RegionStore:
    return RegionStore(tmp_path / "store")


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_bytes_are_kept_under_their_digest(store: RegionStore, tmp_path: Path) -> None:
    blob = store.put([b"he", b"llo"])
    digest = hashlib.sha256(b"hello").hexdigest()
    assert (blob.digest, blob.size_bytes) == (digest, 5)
    with store.open(digest) as file:
        assert file.read() == b"hello"
    assert files_below(tmp_path / "store") == [f"blobs/{digest[:2]}/{digest}"]


def test_the_same_bytes_are_kept_once(store: RegionStore, tmp_path: Path) -> None:
    first = store.put([b"twice"])
    inode = store.path(first.digest).stat().st_ino
    assert store.put([b"twice"]) == first
    assert store.path(first.digest).stat().st_ino == inode
    assert len(files_below(tmp_path / "store")) == 1


def test_bytes_with_another_digest_than_promised_leave_nothing(store: RegionStore, tmp_path: Path) -> None:
    with pytest.raises(DigestMismatch):
        store.put([b"other"], digest="0" * 64)
    assert files_below(tmp_path / "store") == []


def test_a_stream_over_its_limit_leaves_nothing(store: RegionStore, tmp_path: Path) -> None:
    with pytest.raises(ContentTooLarge):
        store.put([b"123", b"456"], limit_bytes=5)
    assert files_below(tmp_path / "store") == []


def test_a_full_disk_is_a_clear_error_and_leaves_nothing(
    store: RegionStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreFull, match="store is full"):
        store.put([b"bytes"])
    with pytest.raises(StoreFull):
        store.put_manifest(Manifest(()))
    assert files_below(tmp_path / "store") == []


@pytest.mark.parametrize("text", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 63 + "\n", "\uff10" * 64])
def test_only_a_digest_names_a_blob(store: RegionStore, text: str) -> None:
    with pytest.raises(ContentMissing):
        store.open(text)
    with pytest.raises(ContentMissing):
        store.manifest(text)


def test_a_manifest_comes_back_as_it_was_kept(store: RegionStore) -> None:
    blob = store.put([b"x"])
    manifest = Manifest.of([FileEntry("b/é", blob.digest, 1, 0o755), FileEntry("a", blob.digest, 1)])
    digest = store.put_manifest(manifest)
    assert digest == manifest.digest
    assert store.manifest(digest) == manifest
    assert store.put_manifest(manifest) == digest


def test_a_manifest_needs_its_blobs_here(store: RegionStore) -> None:
    with pytest.raises(ContentMissing):
        store.put_manifest(Manifest.of([FileEntry("a", "0" * 64, 1)]))


def test_a_manifest_with_a_path_that_leaves_is_refused(store: RegionStore) -> None:
    blob = store.put([b"x"])
    with pytest.raises(StoreError):
        store.put_manifest(Manifest.of([FileEntry("../a", blob.digest, 1)]))


def test_a_decayed_manifest_is_noticed(store: RegionStore, tmp_path: Path) -> None:
    digest = store.put_manifest(Manifest.of([FileEntry("a", store.put([b"x"]).digest, 1)]))
    (tmp_path / "store" / "manifests" / f"{digest}.json").write_text("[]")
    with pytest.raises(DigestMismatch):
        store.manifest(digest)


def test_what_a_crash_left_is_cleared_once_it_is_old(store: RegionStore, tmp_path: Path) -> None:
    left = tmp_path / "store" / "incoming" / "half"
    left.write_bytes(b"half")
    written_s = left.stat().st_mtime
    assert store.clear_incoming(older_than_s=10, now_s=written_s + 5) == 0
    assert store.clear_incoming(older_than_s=10, now_s=written_s + 11) == 1
    assert not left.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_gives_what_it_stores_to_the_owner_of_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    os.chown(folder, 64999, 64998)
    blob = RegionStore(folder).put([b"x"])
    state = RegionStore(folder).path(blob.digest).stat()
    assert (state.st_uid, state.st_gid, state.st_mode & 0o777) == (64999, 64998, 0o600)
    assert (folder / "blobs" / blob.digest[:2]).stat().st_uid == 64999
