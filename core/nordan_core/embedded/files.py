"""Files and folders with an owner and a mode from their first moment, and trees that are linked or copied.

Used by every runner. A secret never exists with a wider mode than its last one, and nothing outside the data
folder is ever given another mode or owner: a hard link shares both with its origin, so links are left as they are.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path

from nordan_core.domain.errors import OperatorError
from nordan_core.embedded.layout import Identity

Skip = Callable[[str, list[str]], Iterable[str]]
#: What a file takes is a multiple of this on the usual file systems.
_BLOCK_BYTES = 4096


def make_folder(path: Path, owner: Identity, mode: int) -> Path:
    """Make a folder, or set owner and mode of one that is there; parents must exist."""
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    own(path, owner)
    path.chmod(mode)
    return path


def own(path: Path, owner: Identity) -> None:
    """Give a file or folder of ours to an identity; as an ordinary user it already belongs to it."""
    found = path.lstat()
    if (found.st_uid, found.st_gid) != (owner.uid, owner.gid):
        os.chown(path, owner.uid, owner.gid, follow_symlinks=False)


def own_tree(folder: Path, owner: Identity) -> None:
    """Give a folder of ours, and everything in it, to an identity."""
    own(folder, owner)
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            own(Path(parent, name), owner)


def write_file(path: Path, text: str, owner: Identity, mode: int = 0o600) -> None:
    """Write a file by rename: readers see the old or the new text, and never another mode or owner."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        own(new, owner)
        new.chmod(mode)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def secret_in(path: Path, owner: Identity) -> str:
    """Return the secret in a file, made on first use: 256 random bits as hex."""
    if path.exists():
        return path.read_text().strip()
    secret = secrets.token_hex(32)
    write_file(path, secret, owner)
    return secret


def link_tree(source: Path, target: Path, skip: Skip | None = None) -> None:
    """Bring a tree to a place where everybody can read it: by hard links, by copies where links cannot serve.

    Links cannot serve across file systems, and for files that others may not read: changing a link's mode would
    change its origin. Symbolic links are followed, since they may lead to a closed folder.
    """
    target.mkdir(parents=True, exist_ok=True)
    target.chmod(0o755)
    # Not shutil.copytree: on a full disk that goes on to the last file and then raises a list without an errno.
    for entry in _brought(source, skip):
        if entry.is_dir():
            link_tree(Path(entry.path), target / entry.name, skip)
        else:
            _link_or_copy(entry.path, str(target / entry.name))


def copied_bytes(source: Path, folder: Path, skip: Skip | None = None) -> int:
    """Return the room that `link_tree` would take for `source` anywhere below `folder`; links take none."""
    device = folder.stat().st_dev
    size = 0
    for entry in _brought(source, skip):
        if entry.is_dir():
            size += copied_bytes(Path(entry.path), folder, skip)
        elif not _is_linkable(found := entry.stat()) or found.st_dev != device:
            size += -(-found.st_size // _BLOCK_BYTES) * _BLOCK_BYTES
    return size


def bring_file(source: Path, target: Path) -> None:
    """Bring one file to a place where everybody can read it, replacing an older version; as `link_tree` does."""
    new = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    _link_or_copy(str(source), str(new))
    # Renaming a link onto another link to the same file leaves both, by POSIX.
    new.replace(target)
    new.unlink(missing_ok=True)


def open_to_others(path: Path) -> Path | None:
    """Return the closest folder on the way to `path` that other users cannot pass, or None."""
    for folder in reversed(path.resolve().parents):
        if folder.exists() and not folder.stat().st_mode & stat.S_IXOTH:
            return folder
    return None


def check_free_space(path: Path, needed_mib: int) -> None:
    """Check that the file system of `path` has room left.

    Raises:
        OperatorError: it has less than `needed_mib`.
    """
    free_mib = shutil.disk_usage(path).free // 2**20
    if free_mib < needed_mib:
        raise OperatorError(
            f"The disk that holds {path} has too little room: {free_mib} MiB are free and the stack needs {needed_mib} "
            "MiB to start. Free some space, or choose a folder on another disk with --data-dir."
        )


def _brought(source: Path, skip: Skip | None) -> Iterator[os.DirEntry[str]]:
    entries = list(os.scandir(source))
    left_out = set(skip(str(source), [entry.name for entry in entries])) if skip else set[str]()
    return (entry for entry in entries if entry.name not in left_out)


def _is_linkable(found: os.stat_result) -> bool:
    return found.st_mode & _wanted(found) == _wanted(found)


def _wanted(found: os.stat_result) -> int:
    return 0o755 if found.st_mode & stat.S_IXUSR else 0o644


def _link_or_copy(source: str, target: str) -> None:
    origin = os.path.realpath(source)
    found = Path(origin).stat()
    if _is_linkable(found):
        with suppress(OSError):
            os.link(origin, target)
            return
    shutil.copyfile(origin, target)
    Path(target).chmod(_wanted(found))
    # A compiled file is valid only for its source's time stamp, so copies keep it.
    os.utime(target, ns=(Path(origin).stat().st_atime_ns, Path(origin).stat().st_mtime_ns))


def matching(root: Path, pattern: str) -> list[Path]:
    """Return what fits a pattern like `*/attempts/*`, in order; folders may go meanwhile, where `Path.glob` raises."""
    level = [root]
    for part in pattern.split("/"):
        level = [folder / name for folder in level for name in _names(folder) if fnmatchcase(name, part)]
    return level


def _names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries)
    except OSError:
        return []
