"""Blobs and manifests on disk: `blobs/ab/<sha256>`, `manifests/<sha256>.json`, and `incoming/` for what is arriving.

A blob is written to `incoming/`, hashed on the way, synced and renamed: a reader sees whole blobs or none, and a
crash leaves nothing but a file in `incoming/` that the next start removes. Nothing is ever overwritten.
Run as root, what is made here is given to the store folder's owner, so that the gateway can read it.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from nordan_core.domain.contents import FileEntry, Manifest, is_safe_path
from nordan_workers.store.errors import ContentMissing, ContentTooLarge, DigestMismatch, StoreError, disk_errors

CHUNK_BYTES = 1 << 20
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes that the store holds."""

    digest: str
    size_bytes: int


class RegionStore:
    """The store below one folder. Safe to use from several processes at once."""

    def __init__(self, folder: Path) -> None:
        self._blobs = folder / "blobs"
        self._manifests = folder / "manifests"
        self._incoming = folder / "incoming"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        state = folder.stat()
        self._owner = (state.st_uid, state.st_gid)
        for part in (self._blobs, self._manifests, self._incoming):
            self._make_folder(part)

    def writer(self, *, limit_bytes: int | None = None) -> BlobWriter:
        """Return a context that takes bytes in pieces; left without `commit`, it leaves nothing."""
        return BlobWriter(self, self._incoming / secrets.token_hex(16), limit_bytes)

    def put(self, chunks: Iterable[bytes], *, digest: str | None = None, limit_bytes: int | None = None) -> Blob:
        """Store bytes and return their digest and size.

        Raises:
            DigestMismatch: `digest` was promised and the bytes have another.
            ContentTooLarge: there are more than `limit_bytes`.
            StoreFull: the disk is full.
        """
        with self.writer(limit_bytes=limit_bytes) as writer:
            for chunk in chunks:
                writer.write(chunk)
            return writer.commit(digest)

    def has(self, digest: str) -> bool:
        """Tell whether the bytes with this digest are here."""
        return self.path(digest).is_file()

    def path(self, digest: str) -> Path:
        """Return where a blob lies or would lie.

        Raises:
            ContentMissing: the text is no digest, so that no caller can leave the store by it.
        """
        if not is_digest(digest):
            raise ContentMissing("that digest")
        return self._blobs / digest[:2] / digest

    def open(self, digest: str) -> BinaryIO:
        """Open a blob for reading.

        Raises:
            ContentMissing: it is not in this region.
        """
        try:
            return self.path(digest).open("rb")
        except FileNotFoundError as error:
            raise ContentMissing(digest) from error

    def put_manifest(self, manifest: Manifest) -> str:
        """Keep a manifest and return its digest.

        Raises:
            ContentMissing: for the first of its blobs that is not here.
            StoreFull: the disk is full.
        """
        for entry in manifest.files:
            if not self.has(entry.digest):
                raise ContentMissing(entry.digest)
        digest = manifest.digest
        target = self._manifests / f"{digest}.json"
        if not target.exists():
            with self.writer() as writer:
                writer.write(_encode(manifest))
                writer.move_to(target)
        return digest

    def manifest(self, digest: str) -> Manifest:
        """Return a manifest that was kept here.

        Raises:
            ContentMissing: it is not in this region.
            DigestMismatch: the file has decayed.
        """
        if not is_digest(digest):
            raise ContentMissing("that digest")
        try:
            data = (self._manifests / f"{digest}.json").read_bytes()
        except FileNotFoundError as error:
            raise ContentMissing(digest) from error
        have = hashlib.sha256(data).hexdigest()
        if have != digest:
            raise DigestMismatch(digest, have)
        return Manifest(tuple(FileEntry(*row) for row in json.loads(data)))

    def clear_incoming(self, *, older_than_s: float, now_s: float) -> int:
        """Remove what a crash left behind; returns how many files. `now_s` is seconds since 1970."""
        stale = [path for path in self._incoming.iterdir() if path.stat().st_mtime < now_s - older_than_s]
        for path in stale:
            path.unlink(missing_ok=True)
        return len(stale)

    def keep(self, incoming: Path, descriptor: int, digest: str) -> None:
        """Move a finished file to its place; the writer calls it once the bytes are synced."""
        target = self.path(digest)
        if target.exists():
            incoming.unlink()
            return
        self._make_folder(target.parent)
        self.settle(incoming, descriptor, target)

    def settle(self, incoming: Path, descriptor: int, target: Path) -> None:
        """Give the open file to the store's owner and rename it, durably."""
        if os.geteuid() == 0:
            os.fchown(descriptor, *self._owner)
        incoming.rename(target)
        sync_folder(target.parent)

    def _make_folder(self, path: Path) -> None:
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            return
        if os.geteuid() == 0:
            os.chown(path, *self._owner)


class BlobWriter:
    """Bytes on their way into the store, hashed as they come."""

    def __init__(self, store: RegionStore, path: Path, limit_bytes: int | None) -> None:
        self._store = store
        self._path = path
        self._limit_bytes = limit_bytes
        self._hash = hashlib.sha256()
        self._size_bytes = 0
        with disk_errors():
            self._file = os.fdopen(os.open(path, _NEW, 0o600), "wb")

    def write(self, chunk: bytes) -> None:
        """Append a piece.

        Raises:
            ContentTooLarge: the sum is over the limit.
            StoreFull: the disk is full.
        """
        self._size_bytes += len(chunk)
        if self._limit_bytes is not None and self._size_bytes > self._limit_bytes:
            raise ContentTooLarge(self._limit_bytes)
        self._hash.update(chunk)
        with disk_errors():
            self._file.write(chunk)

    def commit(self, digest: str | None = None) -> Blob:
        """Keep the bytes, durably, under their digest.

        Raises:
            DigestMismatch: another digest was promised; nothing is kept.
            StoreFull: the disk is full; nothing is kept.
        """
        have = self._hash.hexdigest()
        if digest is not None and digest != have:
            raise DigestMismatch(digest, have)
        with disk_errors():
            self._sync()
            self._store.keep(self._path, self._file.fileno(), have)
        return Blob(have, self._size_bytes)

    def move_to(self, target: Path) -> None:
        """Keep the bytes, durably, under another name of the store."""
        with disk_errors():
            self._sync()
            self._store.settle(self._path, self._file.fileno(), target)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What was kept has left this name, so this removes only what was not. Closing may flush, and fail, again.
        self._path.unlink(missing_ok=True)
        try:
            self._file.close()
        except OSError:
            if error is None:
                raise StoreError("a file could not be closed") from None

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())


def is_digest(text: str) -> bool:
    """Tell whether the text is a SHA-256 in lower-case hex."""
    return len(text) == 64 and _HEX.issuperset(text)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _encode(manifest: Manifest) -> bytes:
    """Return the bytes whose SHA-256 is the manifest's digest."""
    for entry in manifest.files:
        if not is_safe_path(entry.path):
            raise StoreError("a path of the manifest leaves its folder")
    rows = [[entry.path, entry.digest, entry.size_bytes, entry.mode] for entry in manifest.files]
    return json.dumps(rows, separators=(",", ":"), ensure_ascii=False).encode()
