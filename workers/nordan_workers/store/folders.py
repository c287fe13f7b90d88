"""Take a folder that a job wrote into the store, while the job may still be running and may mean harm.

The supervisor reads as root what an attempt's user owns. So no path is ever followed twice: each entry is opened
relative to its parent's descriptor, never through a link, and its owner and kind are checked on the open file. A
link to a plain file of the same folder is stored as that file; any other link, device, socket or pipe is refused.
Messages name no file: names are the tenant's content.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from nordan_core.domain.contents import FileEntry, Manifest, is_safe_path
from nordan_workers.store.errors import UnsafeFolder
from nordan_workers.store.region_store import CHUNK_BYTES, RegionStore

MAX_DEPTH = 64
#: Manifests of the most files with the longest paths still fit into one request.
MAX_PATH_BYTES = 1024
#: The wire's limit for one manifest.
MAX_FILES = 20_000
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER = _FILE | os.O_DIRECTORY


def take_folder(store: RegionStore, folder: Path) -> Manifest:
    """Store every file below a folder and return the manifest, paths relative to it; an empty folder is fine.

    Raises:
        UnsafeFolder: it holds something that cannot become a manifest, or too many files.
        StoreFull: the disk is full.
    """
    with _opened(folder, _FOLDER) as root:
        return _Taking(store, root).everything()


def take_entry(store: RegionStore, folder: Path, name: str) -> Manifest:
    """Store one entry of a folder, a file or a folder itself; paths begin with its name.

    Raises:
        FileNotFoundError: no such entry.
        UnsafeFolder: it cannot become a manifest.
        StoreFull: the disk is full.
    """
    with _opened(folder, _FOLDER) as root:
        return _Taking(store, root).entry(name)


class _Taking:
    """One walk below one root descriptor."""

    def __init__(self, store: RegionStore, root: int) -> None:
        self._store = store
        self._root = root
        self._owner = os.fstat(root).st_uid
        self._files: list[FileEntry] = []

    def everything(self) -> Manifest:
        self._folder(self._root, "", 0)
        return Manifest.of(self._files)

    def entry(self, name: str) -> Manifest:
        self._entry(self._root, name, name, 0)
        return Manifest.of(self._files)

    def _folder(self, descriptor: int, prefix: str, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise UnsafeFolder(f"folders are nested more than {MAX_DEPTH} deep")
        for name in sorted(os.listdir(descriptor)):
            self._entry(descriptor, name, prefix + name, depth)

    def _entry(self, parent: int, name: str, path: str, depth: int) -> None:
        _check_path(path)
        kind = stat.S_IFMT(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
        if kind == stat.S_IFDIR:
            with _opened(name, _FOLDER, parent) as inner:
                self._check_owner(inner)
                self._folder(inner, path + "/", depth + 1)
        elif kind == stat.S_IFLNK:
            self._link(parent, name, path)
        else:
            with _opened(name, _FILE, parent) as inner:
                self._file(inner, path)

    def _link(self, parent: int, name: str, path: str) -> None:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), os.readlink(name, dir_fd=parent)))
        if not is_safe_path(target):
            raise UnsafeFolder("a link leads out of the folder")
        with self._below_root(target) as inner:
            self._file(inner, path)

    @contextmanager
    def _below_root(self, path: str) -> Iterator[int]:
        """Open a file step by step from the root, following no further link."""
        *folders, name = path.split("/")
        with ExitStack() as stack:
            descriptor = self._root
            for folder in folders:
                descriptor = stack.enter_context(_opened(folder, _FOLDER, descriptor))
            yield stack.enter_context(_opened(name, _FILE, descriptor))

    def _file(self, descriptor: int, path: str) -> None:
        state = self._check_owner(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise UnsafeFolder("it holds a link to a folder, a device, a pipe or a socket; only plain files are kept")
        if len(self._files) >= MAX_FILES:
            raise UnsafeFolder(f"it holds more than {MAX_FILES} files; put them into an archive")
        blob = self._store.put(_chunks(descriptor))
        # Two modes only, so that a digest does not depend on somebody's umask.
        mode = 0o755 if state.st_mode & 0o111 else 0o644
        self._files.append(FileEntry(path, blob.digest, blob.size_bytes, mode))

    def _check_owner(self, descriptor: int) -> os.stat_result:
        state = os.fstat(descriptor)
        if state.st_uid != self._owner:
            raise UnsafeFolder("it holds a file that belongs to another user")
        return state


def _check_path(path: str) -> None:
    try:
        length = len(path.encode())
    except UnicodeEncodeError:
        raise UnsafeFolder("a file's name is not UTF-8") from None
    if length > MAX_PATH_BYTES:
        raise UnsafeFolder(f"a file's path has more than {MAX_PATH_BYTES} bytes")
    if not is_safe_path(path) or not path.isprintable():
        raise UnsafeFolder("a file's name has a backslash or a character that cannot be printed")


def _chunks(descriptor: int) -> Iterator[bytes]:
    while chunk := os.read(descriptor, CHUNK_BYTES):
        yield chunk


@contextmanager
def _opened(path: str | Path, flags: int, parent: int | None = None) -> Iterator[int]:
    descriptor = _open(path, flags, parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open(path: str | Path, flags: int, parent: int | None = None) -> int:
    try:
        return os.open(path, flags, dir_fd=parent)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO, errno.ENOTDIR, errno.EACCES, errno.ENODEV}:
            raise UnsafeFolder("it changed while it was read, or holds what cannot be read") from error
        raise
