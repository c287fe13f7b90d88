"""The files through which executor and shims speak, across the death of either.

Everything lies in `attempts/<attempt>/`: `deadline` and `stop` for all ranks, written by the executor; in `rank-<n>/`
the `order`, written by the executor, `claim`, `pid` and `exit`, written by the shim, and a `keeper-<pid>` for each
interactive session, written by its keeper. Each is replaced at once, so a reader meets a whole file or none. `closed`,
which is empty, says that the rank is ending and takes no session any more.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from nordan_workers.shim.linux import read_bytes, take_place

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

DEADLINE = "deadline.json"
STOP = "stop.json"
ORDER = "order.json"
CLAIM = "claim.json"
PID = "pid.json"
EXIT = "exit.json"
CLOSED = "closed"
_KEEPER = "keeper-"


@dataclass(frozen=True, slots=True)
class Deadline:
    """When the attempt stops by itself."""

    boot_id: str
    at_s: float
    """Boot-time clock of that boot."""


@dataclass(frozen=True, slots=True)
class Stop:
    """A wish to stop the attempt before its deadline."""

    at_s: float
    """Boot-time clock: SIGTERM."""
    grace_s: float
    """SIGKILL follows after so many seconds."""

    @property
    def kill_at_s(self) -> float:
        """Return the instant of SIGKILL."""
        return self.at_s + self.grace_s


@dataclass(frozen=True, slots=True)
class RankOrder:
    """What one shim is to run. Holds the tenant's environment: 0600, in a folder of the executor's user."""

    attempt_id: str
    rank: int
    command: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    log: str
    log_limit_bytes: int
    events: str
    """Datagram socket that is told of each start and end."""
    uid: int | None
    """User and group of the job; None keeps the shim's."""
    is_alone: bool
    """The attempt has this one rank: whatever its user runs belongs to it."""
    deadline_grace_s: float
    """SIGTERM comes so long before the deadline, so that SIGKILL is not after it."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Which shim took the rank. Made once (O_EXCL): whoever finds it there must not start the rank."""

    boot_id: str
    shim_pid: int
    shim_start_time: int


@dataclass(frozen=True, slots=True)
class PidRecord:
    """The rank's process; with its start time, since a number alone may be another process by now."""

    boot_id: str
    pid: int
    start_time: int
    """Clock ticks after boot, from /proc/<pid>/stat."""
    shim_pid: int
    shim_start_time: int
    started_at_s: float
    """Boot-time clock."""


@dataclass(frozen=True, slots=True)
class KeeperRecord:
    """A keeper of an interactive session in the rank; its file goes when everything that it started has."""

    boot_id: str
    pid: int
    start_time: int


@dataclass(frozen=True, slots=True)
class ExitRecord:
    """How the rank ended."""

    exit_code: int | None
    signal: int | None
    user_s: float
    system_s: float
    max_rss_kib: int
    at_deadline: bool
    oom: bool
    ended_at_s: float
    """Boot-time clock."""


def keeper_path(rank_dir: Path, pid: int) -> Path:
    """Return where a keeper's record lies."""
    return rank_dir / f"{_KEEPER}{pid}.json"


def keepers(rank_dir: Path) -> list[KeeperRecord]:
    """Return the records of a rank's keepers."""
    found = (read(path, KeeperRecord) for path in rank_dir.glob(f"{_KEEPER}*"))
    return [one for one in found if one is not None]


Record = TypeVar("Record", bound="DataclassInstance")


def write(path: Path, record: DataclassInstance, *, is_durable: bool = False) -> None:
    """Replace the file by the record; `is_durable` waits for the disk, so that it survives a loss of power."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    _fill(temporary, record, os.O_TRUNC, is_durable=is_durable)
    take_place(temporary, path)


def create(path: Path, record: DataclassInstance) -> bool:
    """Make the file unless it exists; tell whether it was made."""
    try:
        _fill(path, record, os.O_EXCL, is_durable=False)
    except FileExistsError:
        return False
    return True


def read(path: Path, kind: type[Record]) -> Record | None:
    """Return the record, or None where there is none, or one that a loss of power has torn.

    What is torn counts as never written: a deadline that nobody knows has passed, an end that nobody knows is a loss.
    """
    try:
        # JSON knows lists only; records hold tuples. An empty file is one that is being created.
        fields = json.loads(read_bytes(path) or "{}")
        return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()})
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return None


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte: a disk that is nearly full takes a part and reports no error."""
    while data:
        data = data[os.write(descriptor, data) :]


def _fill(path: Path, record: DataclassInstance, flag: int, *, is_durable: bool) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flag, 0o600)
    try:
        # Shallow, since records nest only plain values; `asdict` would copy the tenant's whole environment.
        fields = {name: getattr(record, name) for name in record.__dataclass_fields__}
        write_all(descriptor, json.dumps(fields).encode())
        if is_durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
