"""Executors' own records of attempts, one folder each under `attempts/`.

The supervisor keeps files in the same folders and the shims in the ranks' (`nordan_workers.shim.records`).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nordan_core.domain.ids import AttemptId
from nordan_workers.shim.records import DEADLINE, STOP, Deadline, Stop, read, write

#: A deadline farther away than FAR_S is rewritten only for a gain of STEP_S or more: a file is written and a shim woken
#: every few seconds instead of at each sync. The attempt may stop earlier by so much, never later.
FAR_S = 20.0
STEP_S = 5.0
#: SIGTERM precedes the deadline by this much, or by a tenth of the first life where that is shorter.
DEADLINE_GRACE_S = 2.0
#: Bytes of one rank's log that are kept.
LOG_LIMIT_BYTES = 256 << 20

_PREPARED = "prepared.json"
_LAUNCHED = "launched.json"
_ENERGY = "energy.json"


@dataclass(frozen=True, slots=True)
class Prepared:
    """What must be known of an attempt to find its folders and its user again."""

    attempt_id: AttemptId
    ranks: tuple[int, ...]
    uid: int | None
    at_s: float
    """Boot-time clock."""


@dataclass(frozen=True, slots=True)
class Launched:
    """What the local executor chose when it launched an attempt."""

    boot_id: str
    at_s: float
    """Boot-time clock of that boot."""
    master_port: int
    service_port: int | None
    gpu_uuids: tuple[str, ...]
    """Real GPUs only."""
    energy_mj: int | None
    """Their counters' sum at the launch."""


@dataclass(frozen=True, slots=True)
class Energy:
    """What an attempt's GPUs had used when its end was first seen."""

    watt_hours: float | None


def is_worth_writing(deadline_s: float, written_s: float, now_s: float) -> bool:
    """Tell whether a deadline must be written, when another one stands in its file."""
    return written_s - now_s <= FAR_S or not 0 <= deadline_s - written_s < STEP_S


class Book:
    """Reads and writes the records below one region's folder."""

    def __init__(self, region_dir: Path) -> None:
        self._attempts = region_dir / "attempts"

    def folder(self, attempt_id: AttemptId) -> Path:
        """Return the folder of an attempt's records."""
        return self._attempts / attempt_id

    def rank_folder(self, attempt_id: AttemptId, rank: int) -> Path:
        """Return the folder of a rank's records."""
        return self._attempts / attempt_id / f"rank-{rank}"

    def all_prepared(self) -> Iterator[Prepared]:
        """Yield every attempt that was prepared and not forgotten."""
        for folder in self._attempts.iterdir():
            if (found := read(folder / _PREPARED, Prepared)) is not None:
                yield found

    def clear_remains(self) -> None:
        """Delete folders of attempts that nobody knows: a death cut their first note, or their removal, short."""
        for folder in self._attempts.iterdir():
            if not (folder / _PREPARED).exists():
                shutil.rmtree(folder, ignore_errors=True)

    def note_prepared(self, prepared: Prepared) -> None:
        """Write down a new attempt."""
        folder = self.folder(prepared.attempt_id)
        folder.mkdir(exist_ok=True, mode=0o700)
        for rank in prepared.ranks:
            self.rank_folder(prepared.attempt_id, rank).mkdir(exist_ok=True, mode=0o700)
        write(folder / _PREPARED, prepared)

    def launched(self, attempt_id: AttemptId) -> Launched | None:
        """Return what was chosen at the launch; None before it."""
        return read(self.folder(attempt_id) / _LAUNCHED, Launched)

    def note_launched(self, attempt_id: AttemptId, launched: Launched) -> None:
        """Write down what was chosen."""
        write(self.folder(attempt_id) / _LAUNCHED, launched)

    def note_deadline(self, attempt_id: AttemptId, deadline: Deadline) -> None:
        """Tell the attempt's shims when to stop by themselves."""
        write(self.folder(attempt_id) / DEADLINE, deadline)

    def deadline(self, attempt_id: AttemptId) -> Deadline | None:
        """Return when the attempt stops by itself; None before the launch."""
        return read(self.folder(attempt_id) / DEADLINE, Deadline)

    def stop(self, attempt_id: AttemptId) -> Stop | None:
        """Return the wish to stop, if there is one."""
        return read(self.folder(attempt_id) / STOP, Stop)

    def note_stop(self, attempt_id: AttemptId, stop: Stop) -> None:
        """Tell the attempt's shims to stop."""
        write(self.folder(attempt_id) / STOP, stop)

    def energy(self, attempt_id: AttemptId) -> Energy | None:
        """Return the account of energy that was closed; None while the attempt was not seen over."""
        return read(self.folder(attempt_id) / _ENERGY, Energy)

    def note_energy(self, attempt_id: AttemptId, energy: Energy) -> None:
        """Close the account of energy."""
        write(self.folder(attempt_id) / _ENERGY, energy)
