"""The step from shim to the tenant's program: everything between fork and exec, in the order that makes it safe."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from nordan_workers.shim import linux
from nordan_workers.shim.records import RankOrder

#: Higher than the 0 of daemons: short of memory, the kernel takes jobs before Nordan and the system.
OOM_SCORE = 500
NOT_FOUND = 127
NOT_EXECUTABLE = 126
#: Every signal whose effect a process can choose.
_CHANGEABLE = frozenset(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}


def become_job(order: RankOrder, *, output: int, gate: int) -> NoReturn:
    """Turn the calling process, a fresh child of the shim, into the tenant's program.

    Waits at `gate` until the shim has written down that this process exists: a program without a record could
    outlive everyone who knows of it. A program that cannot be started exits 127 or 126 with a line in its log.
    """
    try:
        # 1. A session of its own, so that signals for the program never reach the shim.
        os.setsid()
        _restore_signals()
        # 2. Inherit nothing but an empty input and the log.
        _wire(output)
        # 3. Become the attempt's user.
        _give_up(order)
        # 4. Start, but only once the shim has written it down.
        if os.read(gate, 1) != b"g":
            os._exit(NOT_EXECUTABLE)
        os.closerange(3, 1 << 20)
        os.chdir(order.cwd)
        _exec(order.command, dict(order.env))
    except OSError as error:
        _refuse(NOT_EXECUTABLE, f"the job could not be started: {error.strerror}")


def become_visitor(
    order: RankOrder,
    command: tuple[str, ...],
    *,
    streams: tuple[int, ...],
    gate: int,
    environment: Mapping[str, str],
) -> NoReturn:
    """Turn the calling process, a fresh child of a keeper, into a command that somebody runs beside the program.

    It is what the program is: the same user, folder and environment, the same things given up for good. `streams` are
    input, output and errors, or one terminal, which becomes the session's own.
    """
    try:
        _restore_signals()
        if len(streams) == 1:
            os.login_tty(streams[0])
        else:
            os.setsid()
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
        _give_up(order)
        if os.read(gate, 1) != b"g":
            os._exit(NOT_EXECUTABLE)
        os.closerange(3, 1 << 20)
        os.chdir(order.cwd)
        _exec(command, {**order.env, **environment})
    except OSError as error:
        _refuse(NOT_EXECUTABLE, f"the command could not be started: {error.strerror}")


def _give_up(order: RankOrder) -> None:
    """Give up, for good, what a tenant's program must not have; as root what it may not undo comes first."""
    _volunteer()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)
    if order.uid is not None:
        linux.become_user(order.uid)
    linux.forbid_new_privileges()
    linux.die_with_parent()


def _restore_signals() -> None:
    signal.set_wakeup_fd(-1)
    # Handlers end with exec, ignoring does not: Python ignores some signals, and so may whoever started us, as a
    # shell does for SIGINT of what it runs in the background.
    for number in _CHANGEABLE:
        signal.signal(number, signal.SIG_DFL)
    # Last: a stop that came since the fork was held back and takes effect here.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _volunteer() -> None:
    own = Path("/proc/self/oom_score_adj")
    with contextlib.suppress(OSError):  # some containers hide it; a preference is not worth a job
        own.write_text(str(max(OOM_SCORE, int(own.read_text()))))


def _wire(output: int) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)


def _exec(command: tuple[str, ...], env: dict[str, str]) -> NoReturn:
    try:
        os.execvpe(command[0], command, env)  # noqa: S606  the tenant's own command; there is no shell to escape from
    except (FileNotFoundError, NotADirectoryError):
        _refuse(NOT_FOUND, f"{command[0]}: command not found")
    except PermissionError:
        _refuse(NOT_EXECUTABLE, f"{command[0]}: permission denied")
    except (OSError, ValueError) as error:
        _refuse(NOT_EXECUTABLE, f"{command[0]}: cannot be started: {error}")


def _refuse(code: int, message: str) -> NoReturn:
    os.write(2, f"[nordan] {message}\n".encode(errors="replace"))
    os._exit(code)
