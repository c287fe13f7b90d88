"""Small files that another process reads: replaced at once, so that a reader meets a whole file or none."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from nordan_workers.shim.linux import take_place


def replace_file(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write the file anew; run as root, it gets its folder's owner and group, by which the region's user reads it."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            give_to_folder_owner(descriptor, path.parent)
        take_place(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def give_to_folder_owner(target: int | Path, folder: Path) -> None:
    """Give a file its folder's owner and group, where this process may."""
    if os.geteuid() == 0:
        state = folder.stat()
        os.chown(target, state.st_uid, state.st_gid)
