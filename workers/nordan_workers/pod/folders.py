"""Folders to archives and back: read beside a program that may change them and mean harm, laid where nobody writes.

Reading opens each entry relative to its parent's descriptor and follows no link, so that a link of the job's can lead
neither to the agent's token nor out of the folder. As in the region's store, a link to a plain file of the same folder
is that file; any other link, device, socket or pipe refuses the whole. Used by the agent, the stager and the gateway.
"""

from __future__ import annotations

import errno
import os
import posixpath
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from nordan_core.domain.contents import is_safe_path
from nordan_workers.pod.archive import CHUNK_BYTES, ArchiveRefused, Member

MAX_DEPTH = 64
#: The most files that a manifest takes, and as many folders.
MAX_FILES = 20_000
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER = _FILE | os.O_DIRECTORY
Entry = tuple[Member, Iterable[bytes]]


class FolderRefused(Exception):
    """A folder holds what is not kept; `code` is one of `REFUSALS`, which say it in a sentence."""

    def __init__(self, code: str) -> None:
        super().__init__(REFUSALS[code])
        self.code = code


#: Why outputs are refused, for their owner. The agent sends the code alone, so nothing that it says is printed.
REFUSALS = {
    "link_out": "a link leads out of the folder",
    "not_a_file": "it holds a link to a folder, a device, a pipe or a socket; only plain files are kept",
    "too_deep": f"folders are nested more than {MAX_DEPTH} deep",
    "too_many": f"it holds more than {MAX_FILES} files; put them into an archive",
    "too_large": "it is larger than the region takes",
}


@dataclass(slots=True)
class _Walk:
    """One walk below one root descriptor."""

    root: int
    prefix: str
    files: int = 0

    def folder(self, descriptor: int, inner: str, depth: int) -> Iterator[Entry]:
        if depth > MAX_DEPTH:
            raise FolderRefused("too_deep")
        for name in sorted(os.listdir(descriptor)):
            yield from self.entry(descriptor, name, f"{inner}{name}", depth)

    def entry(self, parent: int, name: str, inner: str, depth: int) -> Iterator[Entry]:
        state = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISDIR(state.st_mode):
            self._count()
            with _opened(name, _FOLDER, parent) as descriptor:
                yield Member(self.prefix + inner, stat.S_IMODE(state.st_mode) & 0o777, is_folder=True), ()
                yield from self.folder(descriptor, inner + "/", depth + 1)
        elif stat.S_ISLNK(state.st_mode):
            with self._target(posixpath.dirname(inner), os.readlink(name, dir_fd=parent)) as descriptor:
                yield self._file(descriptor, inner)
        else:
            with _opened(name, _FILE, parent) as descriptor:
                yield self._file(descriptor, inner)

    def _file(self, descriptor: int, inner: str) -> Entry:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise FolderRefused("not_a_file")
        self._count()
        member = Member(self.prefix + inner, stat.S_IMODE(state.st_mode) & 0o777, state.st_size)
        return member, _pieces(descriptor, state.st_size)

    def _count(self) -> None:
        self.files += 1
        if self.files > 2 * MAX_FILES:
            raise FolderRefused("too_many")

    @contextmanager
    def _target(self, folder: str, target: str) -> Iterator[int]:
        path = posixpath.normpath(posixpath.join(folder, target))
        if not is_safe_path(path):
            raise FolderRefused("link_out")
        *folders, name = path.split("/")
        with ExitStack() as stack:
            descriptor = self.root
            for one in folders:
                descriptor = stack.enter_context(_opened(one, _FOLDER, descriptor))
            yield stack.enter_context(_opened(name, _FILE, descriptor))


def whole_folder(folder: Path, prefix: str = "") -> Iterator[Entry]:
    """Yield everything below a folder for `archive`, paths behind the prefix; nothing where there is no folder.

    Raises:
        FolderRefused: it holds what is not kept.
        FileNotFoundError: something went away meanwhile.
    """
    if not folder.is_dir():
        return
    with _opened(folder, _FOLDER) as root:
        yield from _Walk(root, prefix).folder(root, "", 0)


def one_entry(folder: Path, name: str) -> Iterator[Entry]:
    """Yield one entry of a folder with all that is below it, paths beginning with its name; raises as above."""
    with _opened(folder, _FOLDER) as root:
        yield from _Walk(root, "").entry(root, name, name, 0)


def check_size(entries: Iterable[Entry], limit_bytes: int) -> None:
    """Raise FolderRefused when the files together are larger than that; reads none of them."""
    if sum(member.size_bytes for member, _ in entries) > limit_bytes:
        raise FolderRefused("too_large")


class Laying:
    """A sink that lays an archive below an empty folder of one's own, and can take it all back.

    `only` is the one entry that may be laid: the name of a checkpoint. Modes of folders are set at the end, since a
    read-only one takes no files.
    """

    def __init__(self, root: Path, only: str | None = None) -> None:
        self._root = root
        self._only = only
        self._file: int | None = None
        self._folder_modes: list[tuple[Path, int]] = []

    def begin(self, member: Member) -> None:
        """Keep `Sink.begin`."""
        if self._only is not None and member.path.split("/")[0] != self._only:
            raise ArchiveRefused("the archive holds more than what it was announced as")
        if member.path.count("/") > MAX_DEPTH:
            raise ArchiveRefused("folders in the archive are nested too deep")
        target = self._root / member.path
        try:
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            if member.is_folder:
                target.mkdir(exist_ok=True, mode=0o755)
                self._folder_modes.append((target, member.mode))
            else:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                self._file = os.open(target, flags, 0o600)
                os.fchmod(self._file, member.mode | 0o400)
        except (FileExistsError, NotADirectoryError) as error:
            raise ArchiveRefused("two entries of the archive have one name") from error
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno not in {errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL}:
                raise
            raise ArchiveRefused("a name in the archive cannot be written here") from error

    def data(self, piece: bytes) -> None:
        """Keep `Sink.data`."""
        assert self._file is not None
        while piece:
            piece = piece[os.write(self._file, piece) :]

    def end(self) -> None:
        """Keep `Sink.end`."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def complete(self) -> None:
        """Set the folders' modes; the owner's right to enter stays."""
        for folder, mode in reversed(self._folder_modes):
            folder.chmod(mode | 0o500)

    def undo(self) -> None:
        """Delete all that was laid, and the folder."""
        self.end()
        remove(self._root)


def remove(path: Path) -> None:
    """Delete a file or a folder of one's own, read-only ones too; nothing there is no error."""
    if not path.is_symlink() and path.is_dir():
        for folder, _, _ in os.walk(path):
            Path(folder).chmod(0o700)
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _pieces(descriptor: int, size: int) -> Iterator[bytes]:
    while size and (piece := os.read(descriptor, min(CHUNK_BYTES, size))):
        size -= len(piece)
        yield piece


@contextmanager
def _opened(path: str | Path, flags: int, parent: int | None = None) -> Iterator[int]:
    try:
        descriptor = os.open(path, flags, dir_fd=parent)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO, errno.ENOTDIR, errno.EACCES, errno.ENODEV}:
            raise FolderRefused("not_a_file") from error
        raise
    try:
        yield descriptor
    finally:
        os.close(descriptor)
