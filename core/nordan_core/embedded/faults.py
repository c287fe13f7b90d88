"""What the file system's refusals mean for a person who runs `nordan up`, and what to do about each.

Used by the commands at their boundary.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nordan_core.domain.errors import OperatorError

_ADVICE = {
    errno.ENOSPC: "The disk that holds {data} is full. Free some space, or choose a folder on another disk with "
    "--data-dir; then start again. What was stored is kept.",
    errno.EDQUOT: "Your disk quota is used up, so {name} cannot be written. Free some space, or choose another folder "
    "with --data-dir; then start again.",
    errno.EACCES: "No permission for {name}. Start `nordan up` as the user who owns {data}, or choose a folder of "
    "your own with --data-dir.",
    errno.EPERM: "No permission to change {name}. Start `nordan up` as the user who owns {data}, or choose a folder "
    "of your own with --data-dir.",
    errno.EROFS: "{name} is on a read-only file system. Choose another folder with --data-dir.",
    errno.ENOTDIR: "{name} is not a folder. Choose another one with --data-dir.",
    errno.EEXIST: "{name} is not a folder. Choose another one with --data-dir.",
}


@contextmanager
def explained(data: Path) -> Iterator[None]:
    """Turn errors of the file system in the block into an OperatorError that says what to do.

    Raises:
        OperatorError: instead of the OSError.
    """
    try:
        yield
    except OSError as error:
        raise OperatorError(explain(error, data)) from error


def explain(error: OSError, data: Path) -> str:
    """Return one paragraph for a person."""
    name = error.filename or data
    advice = _ADVICE.get(error.errno or 0)
    if advice is None:
        return f"{name}: {error.strerror or error}."
    return advice.format(name=name, data=data)
