"""Lay a manifest's files into a folder, byte by byte checked. Called by the supervisor before a launch.

Files are copied: a hard link would hand the store's own inode to a job. The folder is the supervisor's until the
executor seals it, so nobody races with this.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from nordan_core.domain.contents import FileEntry, Manifest, is_safe_path
from nordan_workers.store.errors import DigestMismatch, StoreError, disk_errors
from nordan_workers.store.region_store import CHUNK_BYTES, RegionStore

_WRITE_BITS = 0o222


def lay(store: RegionStore, manifest: Manifest, folder: Path, *, is_read_only: bool) -> None:
    """Write every file of the manifest below an existing folder; files that stand there already are replaced.

    Raises:
        ContentMissing: a blob is not in this region.
        DigestMismatch: a stored blob has decayed.
        StoreFull: the disk is full.
        StoreError: a path leaves the folder, or is both a file and a folder.
    """
    for entry in manifest.files:
        if not is_safe_path(entry.path):
            raise StoreError("a path of the manifest leaves its folder")
        with disk_errors():
            _lay_file(store, entry, folder / entry.path, entry.mode & ~_WRITE_BITS if is_read_only else entry.mode)


def _lay_file(store: RegionStore, entry: FileEntry, target: Path, mode: int) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        target.unlink(missing_ok=True)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except (NotADirectoryError, IsADirectoryError, FileExistsError) as error:
        raise StoreError("two paths of the manifest are a file and a folder of one name") from error
    sha256 = hashlib.sha256()
    with store.open(entry.digest) as source, os.fdopen(descriptor, "wb") as file:
        while chunk := source.read(CHUNK_BYTES):
            sha256.update(chunk)
            file.write(chunk)
        os.fchmod(descriptor, mode)
    if sha256.hexdigest() != entry.digest:
        target.unlink()
        raise DigestMismatch(entry.digest, sha256.hexdigest())
