"""What the supervisor must not forget, written before the step that it tells of.

A record goes `asked` → `ordered` → `launched` → `ended` and is removed once the control plane has settled the end.
Those that wait for the control plane's answer share one file, and each has a file of its own from then on. Every write
survives the death of this process; only `asked` must survive a loss of power, so that the same redemption id is shown
again, and waits for the disk once for all who ask together. After a loss of power no attempt runs any more, and a
record of another boot, or one that is lost, ends as lost, which is true.
The folder holds tenants' commands and environments: 0700, files 0600, the supervisor's user alone.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import structlog
from pydantic import TypeAdapter, ValidationError

from nordan_core.domain.reasons import Reason
from nordan_core.wire import AttemptReport, LaunchOrder
from nordan_workers.shim.linux import take_place
from nordan_workers.shim.records import write_all
from nordan_workers.store.region_store import sync_folder

ASKED = "asked.json"
SUPERVISOR_ID = "supervisor-id"
INCARNATION = "incarnation"
TENANT = "tenant"
#: Reports that one incarnation may number per attempt.
SEQUENCES = 1 << 16


class Phase(StrEnum):
    """How far an attempt has come here."""

    ASKED = "asked"
    """The redemption id is on disk; the control plane may have heard of it."""
    ORDERED = "ordered"
    """The order is on disk; nothing was started."""
    LAUNCHED = "launched"
    """The executor was told to start it, or is about to be."""
    ENDED = "ended"
    """Its end is on disk, and not yet settled."""


@dataclass(frozen=True, slots=True)
class Stopping:
    """Why a running attempt was told to stop."""

    reason: Reason | None
    """None: another rank of the gang failed, which is told by its exit."""
    grace_s: float


@dataclass(frozen=True, slots=True)
class Seen:
    """A checkpoint entry as it lay there: a new file under an old name is a new checkpoint."""

    name: str
    inode: int
    modified_ns: int


@dataclass(frozen=True, slots=True)
class Record:
    """One grant and what became of it."""

    grant_id: str
    redemption_id: str
    phase: Phase = Phase.ASKED
    order: LaunchOrder | None = None
    boot_id: str = ""
    deadline_s: float = 0.0
    """Boot-time clock of that boot: end of the grant's first life."""
    stopping: Stopping | None = None
    seen: tuple[Seen, ...] = ()
    """Checkpoints that need no publishing: published, unusable, or laid to resume from."""
    final: AttemptReport | None = None


_FORM = TypeAdapter(Record)
_LIST = TypeAdapter(tuple[Record, ...])


class Records:
    """The records of one region. Files of different grants may be written from different threads."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder

    def load(self) -> tuple[Record, ...]:
        """Return every record, in order of grant; one that a loss of power has torn is dropped, as if never made."""
        found = {record.grant_id: record for record in self._asked()}
        for path in sorted(self._folder.glob("grt_*.json")):
            try:
                record = _FORM.validate_json(path.read_bytes())
            except ValidationError:
                structlog.get_logger().warning("record_torn", grant_id=path.stem)
                path.unlink()
            else:
                found[record.grant_id] = record
        return tuple(found[grant_id] for grant_id in sorted(found))

    def save(self, record: Record) -> None:
        """Write one record."""
        self._replace(f"{record.grant_id}.json", _FORM.dump_json(record), is_durable=False)

    def save_asked(self, records: Iterable[Record]) -> None:
        """Write all that are asked for, in place of those of the last time; returns when the disk has them.

        One that was answered since may come back by a restart: it is asked for once more, and told that it is gone.
        """
        self._replace(ASKED, _LIST.dump_json(tuple(records)), is_durable=True)

    def remove(self, grant_id: str) -> None:
        """Forget a grant; a record that a crash brings back is settled once more."""
        (self._folder / f"{grant_id}.json").unlink(missing_ok=True)

    def supervisor_id(self) -> str:
        """Return this region's supervisor id, made at its first start."""
        return self._kept(SUPERVISOR_ID, f"sup_{secrets.token_hex(8)}")

    def tenant(self, handle: str) -> str:
        """Return the organisation that this region's only user serves: the first that ever came."""
        return self._kept(TENANT, handle)

    def next_sequence(self) -> int:
        """Return a number above all that earlier incarnations may have given to reports; called once per start."""
        path = self._folder / INCARNATION
        incarnation = int(path.read_text()) + 1 if path.exists() else 1
        self._replace(INCARNATION, str(incarnation).encode(), is_durable=True)
        return incarnation * SEQUENCES

    def _kept(self, name: str, value: str) -> str:
        path = self._folder / name
        if not path.exists():
            self._replace(name, value.encode(), is_durable=True)
        return path.read_text()

    def _replace(self, name: str, data: bytes, *, is_durable: bool) -> None:
        temporary = self._folder / f".{name}.new"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            write_all(descriptor, data)
            if is_durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        take_place(temporary, self._folder / name)
        if is_durable:
            sync_folder(self._folder)

    def _asked(self) -> tuple[Record, ...]:
        try:
            return _LIST.validate_json((self._folder / ASKED).read_bytes())
        except FileNotFoundError:
            return ()
        except ValidationError:
            structlog.get_logger().warning("record_torn", grant_id="")
            return ()
