"""The seam between a supervisor and whatever runs processes.

The supervisor redeems, stages, extends and reports; an executor starts, watches and stops. It never talks to the
control plane, never decides whether an attempt may run, and never retries. `tests/workers/executors/contract.py`
holds every executor to the words below.

The life of an attempt here: `prepare` → (the supervisor lays files into the folders) → `seal` → `launch` →
`poll` … `extend` … `poll` → (outputs are collected, the end is reported) → `forget`.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

from nordan_core.domain.errors import NordanError
from nordan_core.domain.ids import AttemptId
from nordan_core.domain.reasons import Reason
from nordan_core.wire import ExitReport, LaunchOrder

#: Datagram socket in the region's run folder. The supervisor binds it; each time a rank starts or ends, its shim
#: sends one datagram that holds the attempt's id. Any may be lost: a scan each second is the net.
EVENTS_SOCKET = "events.sock"


class RankState(StrEnum):
    """Where one rank stands.

    `waiting`: not started yet, or being started. `running`: its process lives. `exited`: it ended and its shim said
    how, or it never could begin. `lost`: its shim died, its machine restarted or vanished, or its records are gone;
    what was left of it has been killed, or has passed its deadline.
    """

    WAITING = "waiting"
    RUNNING = "running"
    EXITED = "exited"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class RankStatus:
    """One rank as its records tell it now."""

    rank: int
    state: RankState
    pid: int | None = None
    started_at_s: float | None = None
    """Boot-time clock; None until the program runs."""
    ended_at_s: float | None = None
    """Boot-time clock; for a lost rank the moment when the loss was noticed."""
    exit: ExitReport | None = None
    """Set once exited or lost; a lost rank has neither exit code nor signal."""
    cause: Reason | None = None
    """Why it is over, where the executor knows better than the exit: its image, its node, its memory."""
    message: str = ""
    """A sentence beside the cause, for the attempt's owner; holds nothing that the program wrote."""
    pod: str | None = None
    """Uid of its pod, where ranks are pods."""

    @property
    def is_over(self) -> bool:
        """Tell whether nothing of the rank runs any more, nor ever will."""
        return self.state in {RankState.EXITED, RankState.LOST}

    @property
    def has_failed(self) -> bool:
        """Tell whether the rank is over without success."""
        return self.is_over and (self.exit is None or self.exit.exit_code != 0)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a program can be reached from the region's own processes."""

    host: str
    """An address, not a name."""
    port: int

    def url(self, path: str) -> str:
        """Return the URL of a path there."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}{path}"


@dataclass(frozen=True, slots=True)
class AttemptStatus:
    """One attempt as its records tell it now; `ranks` are in order of rank and never empty."""

    attempt_id: AttemptId
    ranks: tuple[RankStatus, ...]
    address: Address | None = None
    """Where an inference replica serves; None for other kinds and while it has no place yet."""
    energy_wh: float | None = None
    """Energy of the attempt's GPUs so far, as they measured it; None where they cannot tell."""
    observed_at_s: float = 0.0
    """Boot-time clock, when this status was read."""

    @property
    def is_started(self) -> bool:
        """Tell whether every rank's program has begun."""
        return all(rank.started_at_s is not None for rank in self.ranks)

    @property
    def is_over(self) -> bool:
        """Tell whether every rank is over."""
        return all(rank.is_over for rank in self.ranks)

    @property
    def has_failed(self) -> bool:
        """Tell whether any rank is over without success: the others should be stopped."""
        return any(rank.has_failed for rank in self.ranks)

    @property
    def running_s(self) -> float:
        """Return wall seconds from the first rank's start to the last rank's end, or to now; 0 before the start."""
        starts = [rank.started_at_s for rank in self.ranks if rank.started_at_s is not None]
        if not starts:
            return 0.0
        ends = [rank.ended_at_s if rank.ended_at_s is not None else self.observed_at_s for rank in self.ranks]
        return max(0.0, max(ends) - min(starts))


@dataclass(frozen=True, slots=True)
class RankFolders:
    """Folders of one rank, empty when prepared."""

    rank: int
    cwd: Path
    """Working folder; the job's files are laid here. Also HOME, unless the job says otherwise."""
    checkpoints: Path
    """NORDAN_CHECKPOINT_DIR; the checkpoint to resume from is laid here, for every rank."""
    outputs: Path
    """NORDAN_OUTPUT_DIR; only rank 0's is published."""


@dataclass(frozen=True, slots=True)
class WorkFolders:
    """Folders of one attempt and the user who owns them."""

    attempt_id: AttemptId
    root: Path
    inputs: Path
    """NORDAN_INPUT_DIR, one for all ranks; each input is a folder in it."""
    ranks: tuple[RankFolders, ...]
    uid: int | None
    """The attempt's own uid and gid; None where every attempt runs as the executor's user."""


class Executor(Protocol):
    """Runs attempts. Every method returns soon: none waits for a job.

    Methods that name an attempt raise `nordan_core.domain.errors.NotFound` when this executor holds no record of
    it, except `stop`, `extend` and `forget`, which then do nothing.
    """

    @property
    def tenancy(self) -> tuple[str, ...]:
        """What the executor can really keep apart, for `JoinRequest.offers_tenancy`."""
        ...

    def prepare(self, order: LaunchOrder) -> WorkFolders:
        """Take an attempt in and return where its folders are; called again, return the same ones as they are.

        What its program needs on this machine is made. For one that runs elsewhere, whoever lays something makes the
        folder for it.

        Raises:
            LaunchFailed: no uid is free, or the disk refused.
        """
        ...

    def seal(self, folders: WorkFolders) -> None:
        """Make the inputs read-only and give job files and checkpoint to the attempt's user; idempotent.

        Raises:
            LaunchFailed: a staged file is a hard link to something outside, which the job could then change.
        """
        ...

    def launch(self, order: LaunchOrder, folders: WorkFolders, deadline_s: float) -> None:
        """Start every rank, once: launched again, also after a restart, an attempt is not started twice.

        Returns when the ranks' shims were forked. `deadline_s` is an instant on the boot-time clock at which the
        attempt stops by itself unless `extend` moved it.

        Raises:
            LaunchFailed: nothing was started, or what was started is being stopped.
        """
        ...

    def poll(self, attempt_id: AttemptId) -> AttemptStatus:
        """Return where the attempt stands. Kills what a dead shim left behind before it says `lost`."""
        ...

    def extend(self, deadlines: Mapping[AttemptId, float]) -> None:
        """Move the deadlines of these attempts to instants on the boot-time clock.

        A gain of a few seconds may be left for the next call while much time is left; a loss is always written.
        """
        ...

    def stop(self, attempt_id: AttemptId, grace_s: float) -> None:
        """Send SIGTERM now and SIGKILL after the grace; idempotent: of several calls the earliest kill counts."""
        ...

    def adopt(self) -> tuple[AttemptId, ...]:
        """Find every attempt that was prepared and not forgotten, oldest first; called once, after a restart."""
        ...

    def forget(self, attempt_id: AttemptId) -> None:
        """Kill whatever is left, then delete the attempt's work folders and records, but not its logs."""
        ...

    def close(self) -> None:
        """Release what the executor holds; attempts run on."""
        ...


@runtime_checkable
class SupportsExec(Protocol):
    """An executor that can run a command beside a rank's program, for somebody at the other end of a connection."""

    def open_session(self, attempt_id: AttemptId, rank: int, connection: socket.socket) -> None:
        """Have a session kept on the connection, which speaks `shim.frames`; the caller goes on to close its own end.

        Returns at once, or raises before anything was said on the connection. Whoever keeps the session says `READY`,
        takes `START`, carries bytes, says `END` and hangs up. The command is the attempt's user, in the rank's folder
        and environment. It ends when the connection does, and never outlives the rank, its deadline included, whatever
        has become of supervisor and gateway.

        Raises:
            NotFound: no such attempt or rank here. LaunchFailed: the machine could not.
        """
        ...


class LaunchFailed(NordanError):
    """The executor could not start the attempt. Says why, without the tenant's strings."""

    def __init__(self, message: str, reason: Reason = Reason.NODE_CAPACITY_TAKEN) -> None:
        """The usual reason means that another machine may be able to."""
        super().__init__(message)
        self.reason = reason
