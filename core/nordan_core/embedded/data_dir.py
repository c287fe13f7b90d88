"""The data folder's own folders, each with its owner and mode; and the numbers that regions keep for ever.

Used by `up` before anything is started, and for each region that it learns of.
"""

from __future__ import annotations

import json
import stat
from pathlib import Path

from nordan_core.domain.errors import OperatorError
from nordan_core.embedded.files import make_folder, open_to_others, write_file
from nordan_core.embedded.layout import MAX_REGIONS, Identities, Identity, Layout, RegionLayout

#: New files get the folder's group, so that what the supervisor writes as root its region can read.
_SET_GROUP = 0o2000
#: Everybody may write, and remove their own only: /tmp and its like, also while they are empty.
_SHARED = stat.S_ISVTX | stat.S_IWOTH
#: A start that was cut short may have left some of these; every other one left all.
_MADE_FIRST = {"logs", "processes", "regions"}
#: What may lie in a folder before its first start: in that of a disk of its own, and numbers chosen for regions.
_PUT_FIRST = {"lost+found", "region-numbers.json"}


def prepare_data_dir(layout: Layout, identities: Identities) -> None:
    """Make the data folder and what lies in it, or put their modes right.

    Raises:
        OperatorError: it is somebody else's, or as root, other users could not pass the folders that lead to it.
        OSError: the file system refuses.
    """
    layout.data.mkdir(parents=True, exist_ok=True)
    _check_is_ours(layout)
    operator = identities.operator
    passable = 0o711 if identities.is_root else 0o700
    if identities.is_root and (closed := open_to_others(layout.data)):
        raise OperatorError(
            f"As root, Nordan runs its parts under other users, and they may not pass {closed} to reach "
            f"{layout.data}. Choose a folder that everybody may pass with --data-dir, such as /var/lib/nordan."
        )
    make_folder(layout.data, operator, passable)
    for folder in (layout.logs, layout.processes):
        make_folder(folder, operator, 0o700)
    make_folder(layout.regions, operator, passable)
    for folder in (layout.control, layout.keys):
        make_folder(folder, identities.control, 0o700)


def _check_is_ours(layout: Layout) -> None:
    """Refuse what others use before its mode is changed: as root, `--data-dir /tmp` would close it to everybody."""
    found = {entry.name for entry in layout.data.iterdir()}
    is_shared = layout.data.stat().st_mode & _SHARED == _SHARED
    if is_shared or not (found >= _MADE_FIRST or found <= _MADE_FIRST | _PUT_FIRST):
        what = "is open to all users" if is_shared else "holds what is not Nordan's"
        # Said of a folder that would serve otherwise only: nobody should be told to close /tmp.
        advice = (
            f" If nobody else uses it, run: chmod 0755 {layout.data}" if is_shared and not found - _PUT_FIRST else ""
        )
        raise OperatorError(
            f"{layout.data} {what}, and Nordan changes the mode of its data folder. Choose an empty folder or one that "
            f"Nordan made with --data-dir.{advice}"
        )


def prepare_region(region: RegionLayout, identities: Identities, index: int) -> None:
    """Make a region's folders.

    The supervisor runs as root and shares sockets, logs and lists with the region's user by group; the records of
    attempts are root's alone, and each attempt's own folder is made by the executor.
    """
    user = identities.region(index)
    shared = Identity(identities.operator.uid, user.gid)
    if not identities.is_root:
        for folder in (region.folder, *_parts(region)):
            make_folder(folder, user, 0o700)
        return
    make_folder(region.folder, shared, _SET_GROUP | 0o711)
    make_folder(region.run, shared, _SET_GROUP | 0o710)
    make_folder(region.attempts, identities.operator, 0o700)
    make_folder(region.work, identities.operator, 0o711)
    make_folder(region.store, user, _SET_GROUP | 0o770)
    make_folder(region.logs, shared, _SET_GROUP | 0o750)


def region_number(file: Path, code: str, owner: Identity) -> int:
    """Return the region's number: the one that it has, else the next.

    Raises:
        OperatorError: this data folder has had too many regions.
    """
    numbers: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
    if code not in numbers:
        if len(numbers) >= MAX_REGIONS:
            raise OperatorError(f"A local stack serves {MAX_REGIONS} regions at most; {code} would be one more.")
        numbers[code] = len(numbers)
        write_file(file, json.dumps(numbers, indent=1), owner)
    return numbers[code]


def _parts(region: RegionLayout) -> tuple[Path, ...]:
    return region.run, region.attempts, region.work, region.store, region.logs
