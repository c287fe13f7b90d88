"""Files on this machine on their way to a region: found, named by path and digest, sent.

Used by `submit` and `plan` (a job's files) and by `dataset put`. A file is named by the SHA-256 of its bytes; the
gateway checks that, so a file that changes meanwhile is refused there.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nordan_cli.errors import WrongUse
from nordan_cli.gateway import Advance, Gateway
from nordan_cli.models import Stored
from nordan_core.domain.contents import FileEntry, is_safe_path

#: Left out of folders that a job lists: made by tools, never wanted in a region.
SKIPPED_FOLDERS = frozenset({"__pycache__", ".git"})
#: The most that one manifest may name.
MAX_FILES = 20_000
PARALLEL_PUTS = 4


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file as the manifest names it, and where its bytes are."""

    entry: FileEntry
    source: Path


@dataclass(frozen=True, slots=True)
class LocalFiles:
    """Files in order of their manifest path, no path twice."""

    files: tuple[LocalFile, ...]

    @property
    def entries(self) -> tuple[FileEntry, ...]:
        """Return the manifest's entries."""
        return tuple(file.entry for file in self.files)

    @property
    def size_bytes(self) -> int:
        """Return how many bytes go over the wire: equal files go once."""
        return sum(file.entry.size_bytes for file in self.unique)

    @property
    def unique(self) -> tuple[LocalFile, ...]:
        """Return one file for each digest."""
        return tuple({file.entry.digest: file for file in self.files}.values())

    def document(self) -> dict[str, object]:
        """Return the manifest as job documents carry it."""
        return {
            "files": [
                {"path": one.path, "digest": one.digest, "size_bytes": one.size_bytes, "mode": one.mode}
                for one in self.entries
            ]
        }


def listed(names: Iterable[str], folder: Path) -> LocalFiles:
    """Return the files that a job lists, each relative to `folder`; a folder stands for all that is in it.

    Raises:
        WrongUse: a name leads out of the folder, or nothing is there.
    """
    found: dict[str, Path] = {}
    for name in names:
        path = str(PurePosixPath(name))
        if not is_safe_path(path):
            raise WrongUse(f"files: {name!r} is not a path inside {folder}; give names relative to the document")
        source = folder / path
        if source.is_dir():
            found.update((f"{path}/{inner}", file) for inner, file in _below(source, SKIPPED_FOLDERS))
        elif source.is_file():
            found[path] = source
        else:
            raise WrongUse(f"files: there is no {source}")
    return _read(found)


def tree(source: Path) -> LocalFiles:
    """Return one file under its own name, or everything in a folder under its path there.

    Raises:
        WrongUse: there is no such file, or the folder is empty.
    """
    if source.is_dir():
        found = dict(_below(source, frozenset()))
        if not found:
            raise WrongUse(f"{source} holds no file")
        return _read(found)
    if not source.is_file():
        raise WrongUse(f"there is no file or folder {source}")
    return _read({source.name: source})


def send(gateway: Gateway, upload_id: str, files: LocalFiles, advance: Advance) -> Stored:
    """Put every file's bytes, a few at a time, and make one artifact of them."""
    with ThreadPoolExecutor(PARALLEL_PUTS) as pool:
        puts = [pool.submit(gateway.put, file.source, file.entry, advance) for file in files.unique]
        try:
            for put in puts:
                put.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return gateway.commit(upload_id, files.entries)


def _below(folder: Path, skipped: frozenset[str]) -> Iterator[tuple[str, Path]]:
    """Yield files below a folder with their relative paths. Linked files count; linked folders are not entered."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in skipped)
        for name in sorted(names):
            file = Path(parent) / name
            if file.is_file():
                yield file.relative_to(folder).as_posix(), file


def _read(found: dict[str, Path]) -> LocalFiles:
    if len(found) > MAX_FILES:
        raise WrongUse(f"{len(found)} files are over {MAX_FILES}; put them into an archive")
    return LocalFiles(tuple(LocalFile(_entry(path, found[path]), found[path]) for path in sorted(found)))


def _entry(path: str, source: Path) -> FileEntry:
    if not is_safe_path(path):
        raise WrongUse(f"{path!r} cannot be a name in a region: it holds a backslash or a null")
    with source.open("rb") as file:
        status = os.fstat(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    # Only "may be run" travels: who else may read it here says nothing about there, and would change the digest.
    return FileEntry(path, digest, status.st_size, 0o755 if status.st_mode & 0o100 else 0o644)
