"""Archives of Nordan's images, from the cache that `make images` fills, for the nodes of test clusters."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

from build_images import IMAGES, Workshop
from debian import NotDebian, check_machine

from support.kube.binaries import Unavailable

#: Taken when the module is imported, because each test gets a home of its own.
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "nordan-images"


def image_archives(names: Sequence[str], folder: Path) -> list[Path]:
    """Make the archives of images into a folder. Raises: Unavailable."""
    try:
        check_machine()
        _CACHE.mkdir(parents=True, exist_ok=True)
        # One process at a time: they share the cache, and a wheel is built in the tree.
        with (_CACHE / ".lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            return [IMAGES[name](Workshop(_CACHE, folder)) for name in names]
    except NotDebian as error:
        raise Unavailable(str(error)) from error
