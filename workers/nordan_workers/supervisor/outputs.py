"""Take rank 0's outputs into the store once the attempt has succeeded. Runs on a thread; the report carries the result.

An entry of NORDAN_OUTPUT_DIR with a legal name becomes an output of that name, a file as a manifest of one; entries
with other names (`model.pt`) go together into the output `other`, so that nothing is lost. An output that the job
document promises and the program did not write is a failure: whatever waits for it would wait in vain.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from nordan_core.domain.contents import Manifest
from nordan_core.domain.ids import is_name
from nordan_core.domain.reasons import Reason
from nordan_core.domain.states import AttemptResult
from nordan_core.wire import LaunchOrder, ManifestMessage, OutputReport
from nordan_workers.store.errors import StoreError, UnsafeFolder
from nordan_workers.store.folders import MAX_FILES, take_entry, take_folder
from nordan_workers.store.region_store import RegionStore
from nordan_workers.supervisor.attempts import Ending

#: Outputs with a name of their own; the wire takes one more.
MAX_NAMED = 63
MAX_ENTRIES = 20_000
#: Beside the outputs folder of an attempt that runs elsewhere: why what it wrote was not sent here.
REFUSED_SUFFIX = ".refused"
OTHER = "other"


@dataclass(frozen=True, slots=True)
class Collected:
    """Outputs that are in the store, or why the attempt has failed after all."""

    outputs: tuple[OutputReport, ...] = ()
    failure: Ending | None = None


def collect(order: LaunchOrder, store: RegionStore, folder: Path) -> Collected:
    """Take every output of a succeeded attempt; never raises for what the program left there."""
    refused = folder.with_name(folder.name + REFUSED_SUFFIX)
    try:
        if refused.exists():
            return _failed(f"an output cannot be kept: {refused.read_text()}")
        names = _names(folder)
        if missing := sorted(set(order.outputs) - set(names)):
            return _failed(f"the program ended well but wrote no output {missing[0]!r} into NORDAN_OUTPUT_DIR")
        named = _named(names, order.outputs)
        outputs = [_take(store, folder, name) for name in sorted(named)]
        if rest := [name for name in names if name not in named]:
            outputs.append(_take_together(store, folder, rest))
        if sum(len(output.manifest.files) for output in outputs) > MAX_FILES:
            return _failed(f"all outputs together hold more than {MAX_FILES} files; put them into archives")
        return Collected(tuple(outputs))
    except UnsafeFolder as error:
        return _failed(f"an output cannot be kept: {error}")
    except StoreError as error:
        return Collected(failure=Ending(AttemptResult.FAILED, Reason.INTERNAL_ERROR, f"outputs are lost: {error}"))


def _names(folder: Path) -> list[str]:
    """Return what lies there; nothing where the program ran elsewhere and nothing came."""
    if not folder.exists():
        return []
    with os.scandir(folder) as listing:
        found = [entry.name for entry in islice(listing, MAX_ENTRIES + 1) if not entry.name.startswith(".")]
    if len(found) > MAX_ENTRIES:
        raise UnsafeFolder(f"NORDAN_OUTPUT_DIR has more than {MAX_ENTRIES} entries; put them into an archive")
    return sorted(found)


def _named(names: list[str], promised: tuple[str, ...]) -> set[str]:
    """Return the entries that become outputs of their own, the promised ones first."""
    legal = [name for name in names if is_name(name) and name != OTHER]
    ordered = sorted(legal, key=lambda name: (name not in promised, name))
    return set(ordered[:MAX_NAMED])


def _take(store: RegionStore, folder: Path, name: str) -> OutputReport:
    path = folder / name
    is_folder = path.is_dir() and not path.is_symlink()
    manifest = take_folder(store, path) if is_folder else take_entry(store, folder, name)
    store.put_manifest(manifest)
    return OutputReport(name=name, manifest=ManifestMessage.of(manifest))


def _take_together(store: RegionStore, folder: Path, names: list[str]) -> OutputReport:
    manifest = Manifest.of(entry for name in names for entry in take_entry(store, folder, name).files)
    store.put_manifest(manifest)
    return OutputReport(name=OTHER, manifest=ManifestMessage.of(manifest))


def _failed(message: str) -> Collected:
    return Collected(failure=Ending(AttemptResult.FAILED, Reason.CONTAINER_EXIT, message))
