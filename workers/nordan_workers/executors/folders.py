"""The folders of an attempt: made, sealed, deleted. What lies where is told in `RankFolders` and `WorkFolders`.

    work/<attempt>/            root:attempt 0750   others cannot even enter
        rank-<n>/              attempt 0700        working folder
        checkpoints-<n>/       attempt 0700
        outputs-<n>/           attempt 0700
        inputs/                root:attempt 0550   read-only for the job, whoever asks
        tmp/                   attempt 0700        TMPDIR

Without root everything belongs to the one user, and read-only is a request.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from nordan_core.domain.errors import OperatorError
from nordan_core.domain.ids import AttemptId
from nordan_workers.executors.base import LaunchFailed, RankFolders, WorkFolders
from nordan_workers.shim import linux

#: Where any user may leave files that outlive their process.
_SHARED_PLACES = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))  # noqa: S108  looked through, never written to


def work_folders(region_dir: Path, attempt_id: AttemptId, ranks: Iterable[int], uid: int | None) -> WorkFolders:
    """Return where an attempt's folders are, whether they exist or not."""
    root = region_dir / "work" / attempt_id
    return WorkFolders(
        attempt_id=attempt_id,
        root=root,
        inputs=root / "inputs",
        ranks=tuple(
            RankFolders(
                rank=rank,
                cwd=root / f"rank-{rank}",
                checkpoints=root / f"checkpoints-{rank}",
                outputs=root / f"outputs-{rank}",
            )
            for rank in ranks
        ),
        uid=uid,
    )


def temporary_folder(folders: WorkFolders) -> Path:
    """Return the attempt's own TMPDIR: what lies in the machine's would outlive the attempt."""
    return folders.root / "tmp"


def make(folders: WorkFolders) -> None:
    """Create what is missing; raises OSError when the disk refuses."""
    own = os.geteuid()
    group = folders.uid if folders.uid is not None else -1
    shared_mode = 0o750 if folders.uid is not None else 0o700
    for shared in (folders.root, folders.inputs):
        _make(shared, own, group, shared_mode)
    owner = folders.uid if folders.uid is not None else own
    _make(temporary_folder(folders), owner, group, 0o700)
    for rank in folders.ranks:
        for private in (rank.cwd, rank.checkpoints, rank.outputs):
            _make(private, owner, group, 0o700)


def make_log_folder(folder: Path) -> None:
    """Create the folder of an attempt's logs; the group of the folder around it, the gateway's, may read them."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        folder.chmod(stat.S_ISGID | 0o750)


def seal(folders: WorkFolders) -> None:
    """Make the inputs read-only; give job files and checkpoints to the attempt's user.

    Raises:
        LaunchFailed: a staged file has a second name elsewhere.
        OSError: the disk refuses.
    """
    for path, state in _entries(folders.inputs):
        _make_read_only(path, state, folders.uid)
    if folders.uid is None:
        return
    for rank in folders.ranks:
        for folder in (rank.cwd, rank.checkpoints):
            for path, _ in _entries(folder):
                os.chown(path, folders.uid, folders.uid, follow_symlinks=False)


def delete(folders: WorkFolders) -> None:
    """Delete the attempt's folders, also those that the job made unreadable, and as root what it left elsewhere."""
    if folders.root.exists():
        _delete_tree(folders.root)
    if folders.uid is not None and os.geteuid() == 0:
        linux.remove_ipc(folders.uid)
        for place in _SHARED_PLACES:
            _delete_owned(place, folders.uid)


def check_passable(region_dir: Path) -> None:
    """Check that an attempt's user can reach its folder.

    Raises:
        OperatorError: a folder on the way is closed to other users.
    """
    for folder in (region_dir, *region_dir.parents):
        if not folder.stat().st_mode & stat.S_IXOTH:
            raise OperatorError(
                f"jobs run as other users and cannot pass {folder}; choose a data folder below one that "
                f"everybody may pass, or run: chmod o+x {folder}"
            )


def _make(folder: Path, owner: int, group: int, mode: int) -> None:
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return
    if group != -1:
        os.chown(folder, owner, group)
    folder.chmod(mode)


def _entries(top: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield everything below and then `top` itself, so that a folder closes after what is in it.

    Raises:
        LaunchFailed: at a file with a second name: it may lie in the store, and changing it here would change it there.
    """
    for folder, _, names in os.walk(top, topdown=False):
        for name in names:
            path = Path(folder, name)
            state = path.lstat()
            if state.st_nlink > 1:
                raise LaunchFailed("a staged file is a hard link; the stager must copy")
            yield path, state
        yield Path(folder), Path(folder).stat()


def _make_read_only(path: Path, state: os.stat_result, uid: int | None) -> None:
    if stat.S_ISLNK(state.st_mode):
        return
    if uid is not None:
        os.chown(path, os.geteuid(), uid)
    executable = stat.S_ISDIR(state.st_mode) or state.st_mode & stat.S_IXUSR
    path.chmod(0o550 if executable else 0o440)


def _delete_tree(top: Path) -> None:
    try:
        shutil.rmtree(top, onerror=_open_and_retry)
    except (OSError, RecursionError):
        # A job may nest folders deeper than Python's recursion, descriptors and paths reach; `rm` needs none of these.
        subprocess.run(["rm", "-rf", "--", str(top)], check=False, capture_output=True)
        if top.exists():
            raise


def _open_and_retry(function: Callable[[str], object], path: str, info: object) -> None:
    # `info` holds the error that brought us here; a second failure raises its own.
    del info
    Path(path).parent.chmod(0o700)
    if not Path(path).is_symlink():
        Path(path).chmod(0o700)
    if function in {os.unlink, os.rmdir}:
        function(path)
    else:
        shutil.rmtree(path)


def _delete_owned(place: Path, uid: int) -> None:
    if not place.is_dir():
        return
    with os.scandir(place) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                if entry.stat(follow_symlinks=False).st_uid != uid:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    _delete_tree(Path(entry.path))
                else:
                    Path(entry.path).unlink()
