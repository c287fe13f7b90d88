"""Everything between an order and a launch: folders, job files, inputs, the checkpoint to resume from.

Runs on a thread, called by `launching` alone. Nothing of the job runs yet, so the folders change under nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nordan_core.domain.contents import Manifest, is_safe_path
from nordan_core.wire import LaunchOrder
from nordan_workers.executors.base import Executor, RankFolders, WorkFolders
from nordan_workers.store.errors import StoreError
from nordan_workers.store.laying import lay
from nordan_workers.store.region_store import RegionStore
from nordan_workers.supervisor.checkpoints import entries
from nordan_workers.supervisor.records import Seen


class Abandoned(Exception):
    """Nobody waits for this staging any more."""


@dataclass(frozen=True, slots=True)
class Staged:
    """Folders with everything in them, and the checkpoints that were laid there."""

    folders: WorkFolders
    laid: tuple[Seen, ...]


def stage(order: LaunchOrder, executor: Executor, store: RegionStore, is_wanted: Callable[[], bool]) -> Staged:
    """Fill the attempt's folders; started again after a crash, it lays everything anew.

    Raises:
        Abandoned: `is_wanted` said no between two manifests.
        LaunchFailed: the executor could not make or seal the folders.
        StoreError: content is missing, decayed, or does not fit on the disk.
    """
    folders = executor.prepare(order)
    for manifest, target, is_read_only in _everything(order, folders):
        if not is_wanted():
            raise Abandoned
        lay(store, manifest, target, is_read_only=is_read_only)
    executor.seal(folders)
    return Staged(folders, entries(rank_zero(folders).checkpoints) if order.resume_from else ())


def rank_zero(folders: WorkFolders) -> RankFolders:
    """Return the folders of the rank whose checkpoints and outputs are published."""
    return next(rank for rank in folders.ranks if rank.rank == 0)


def has_content(order: LaunchOrder) -> bool:
    """Tell whether there is anything to lay."""
    return bool(order.files.files or order.inputs or order.resume_from)


def _everything(order: LaunchOrder, folders: WorkFolders) -> list[tuple[Manifest, Path, bool]]:
    try:
        files = order.files.to_domain()
        inputs = [(one.manifest.to_domain(), _input_folder(folders, one.name), True) for one in order.inputs]
        checkpoint = order.resume_from.to_domain() if order.resume_from else None
    except ValueError as error:
        raise StoreError("a manifest of the order is not well-formed") from error
    laid = [(files, rank.cwd, False) for rank in folders.ranks]
    if checkpoint is not None:
        laid += [(checkpoint, rank.checkpoints, False) for rank in folders.ranks]
    return laid + inputs


def _input_folder(folders: WorkFolders, name: str) -> Path:
    if "/" in name or not is_safe_path(name):
        raise StoreError("an input's name is not one folder")
    target = folders.inputs / name
    # An input without files is a folder all the same.
    target.mkdir(parents=True, exist_ok=True, mode=0o755)
    return target
