"""Where the files of a pod's rank 0 land: in the attempt's work folders, as if its program had written them there.

The supervisor's publishing and collecting find them unchanged. Whatever comes is laid beside its place and renamed
into it, so that nobody meets half of it; what a killed gateway left half-made goes away with the next arrival.
`received.json` among the attempt's records says which state of each checkpoint was taken, so that an agent that was
restarted sends none twice.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nordan_workers.executors.base import RankFolders
from nordan_workers.executors.kubernetes.records import POD
from nordan_workers.pod.archive import ArchiveRefused
from nordan_workers.pod.folders import Laying, remove
from nordan_workers.shim.records import read, write
from nordan_workers.supervisor.outputs import REFUSED_SUFFIX

RECEIVED = "received.json"
_INCOMING = ".incoming-"


@dataclass(frozen=True, slots=True)
class Received:
    """What has come from rank 0 so far."""

    checkpoints: Mapping[str, str] = field(default_factory=dict)
    """The mark of each checkpoint that was taken, by name."""
    has_outputs: bool = False


@dataclass(frozen=True, slots=True)
class PodFiles:
    """The folders of one attempt's rank 0; the caller sees to it that one request at a time is here."""

    records: Path
    work: Path
    rank: RankFolders

    def clear_if_forgotten(self) -> bool:
        """Remove what was laid for an attempt that was forgotten meanwhile; its token goes first, its folders last.

        Called after anything was laid. An attempt that still has its token is cleared by whoever forgets it.
        """
        is_forgotten = not (self.records / POD).exists()
        if is_forgotten:
            with contextlib.suppress(OSError):
                remove(self.work)
        return is_forgotten

    def received(self) -> Received:
        """Return what has come."""
        return read(self.records / RECEIVED, Received) or Received()

    def remove_checkpoint(self, name: str) -> None:
        """Remove a checkpoint that came, because its program has removed it; another name changes nothing."""
        received = self.received()
        if name in received.checkpoints:
            remove(self.rank.checkpoints / name)
            marks = {one: mark for one, mark in received.checkpoints.items() if one != name}
            self._note(Received(marks, received.has_outputs))

    def has(self, name: str, mark: str) -> bool:
        """Tell whether this very state of the checkpoint was taken."""
        return self.received().checkpoints.get(name) == mark

    def laying(self, only: str | None) -> tuple[Laying, Path]:
        """Return where an archive is laid, and that folder; it is inside the attempt's folder and empty."""
        for left in self.work.glob(f"{_INCOMING}*"):
            remove(left)
        folder = self.work / f"{_INCOMING}{secrets.token_hex(8)}"
        self.work.mkdir(exist_ok=True, mode=0o700)
        folder.mkdir(mode=0o700)
        return Laying(folder, only), folder

    def place_checkpoint(self, folder: Path, name: str, mark: str) -> None:
        """Put a checkpoint that was laid in its place, and note its mark."""
        if not (folder / name).exists():
            raise ArchiveRefused("the archive is empty")
        self.rank.checkpoints.mkdir(exist_ok=True, mode=0o700)
        old = self.rank.checkpoints / name
        if old.is_symlink() or old.exists():
            old.rename(folder / ".old")
        (folder / name).rename(old)
        received = self.received()
        self._note(Received({**received.checkpoints, name: mark}, received.has_outputs))
        remove(folder)

    def place_outputs(self, folder: Path) -> None:
        """Put outputs that were laid in their place."""
        old = self.work / f"{_INCOMING}{secrets.token_hex(8)}"
        if self.rank.outputs.exists():
            self.rank.outputs.rename(old)
        folder.rename(self.rank.outputs)
        self._note(Received(self.received().checkpoints, has_outputs=True))
        remove(old)

    def refuse_outputs(self, sentence: str) -> None:
        """Note that the outputs cannot be kept."""
        target = self.rank.outputs
        self.work.mkdir(exist_ok=True, mode=0o700)
        target.with_name(target.name + REFUSED_SUFFIX).write_text(sentence)
        self._note(Received(self.received().checkpoints, has_outputs=True))

    def _note(self, received: Received) -> None:
        write(self.records / RECEIVED, received)
