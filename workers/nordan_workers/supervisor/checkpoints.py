"""Find checkpoints that rank 0 finished and take them into the store; publishing them is the loop's part.

What is finished is told in `nordan_workers.finished`. The folder may be full of anything, and is read while the job
runs.
"""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

from nordan_core.domain.contents import ArtifactKind
from nordan_core.wire import LaunchOrder, ManifestMessage, PublishRequest
from nordan_workers.finished import is_finished
from nordan_workers.store.folders import take_entry
from nordan_workers.store.region_store import RegionStore
from nordan_workers.supervisor.records import Seen

#: Entries that are looked at; a program that keeps more at once has the newest of these published.
MAX_ENTRIES = 1000


def entries(folder: Path) -> tuple[Seen, ...]:
    """Return the finished entries of a checkpoint folder, oldest first; none where there is no folder."""
    try:
        with os.scandir(folder) as listing:
            found = [_seen(entry) for entry in islice(listing, MAX_ENTRIES) if is_finished(entry.name)]
    except FileNotFoundError:
        return ()
    return tuple(sorted((one for one in found if one is not None), key=lambda one: (one.modified_ns, one.name)))


def take_checkpoint(order: LaunchOrder, store: RegionStore, folder: Path, name: str) -> PublishRequest:
    """Take one entry into the store and return the request that publishes it.

    Raises:
        FileNotFoundError: the program has removed it since.
        UnsafeFolder: it holds what cannot be kept.
        StoreFull: the disk is full.
    """
    manifest = take_entry(store, folder, name)
    store.put_manifest(manifest)
    return PublishRequest(
        attempt_id=order.attempt_id,
        fence=order.fence,
        kind=ArtifactKind.CHECKPOINT,
        name=name,
        manifest=ManifestMessage.of(manifest),
    )


def _seen(entry: os.DirEntry[str]) -> Seen | None:
    try:
        state = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    return Seen(entry.name, state.st_ino, state.st_mtime_ns)
