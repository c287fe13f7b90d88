"""The few things that only the Linux kernel can tell or do: process control, start times, the boot's identity.

Used by shims and by the local executor. A process is always named by number *and* start time, because numbers are
given again.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_CHUNK_BYTES = 1 << 16
_libc = ctypes.CDLL(None, use_errno=True)
_IPC_RMID = 0
_IPC_REMOVERS: Mapping[str, Callable[[int], object]] = {
    "shm": lambda identity: _libc.shmctl(identity, _IPC_RMID, None),
    "msg": lambda identity: _libc.msgctl(identity, _IPC_RMID, None),
    "sem": lambda identity: _libc.semctl(identity, 0, _IPC_RMID),
}


@dataclass(frozen=True, slots=True)
class Process:
    """One line of /proc: who it is, whose child, since when."""

    pid: int
    state: str
    parent: int
    group: int
    session: int
    start_time: int
    """Clock ticks after boot."""

    @property
    def is_alive(self) -> bool:
        """Tell whether it still runs: a zombie only waits for its parent."""
        return self.state not in {"Z", "X"}


def take_place(new: Path, path: Path) -> None:
    """Put `new` in the place of `path`, as a rename does, but do not have the disk write first.

    ext4 flushes a file that is renamed over another one, for programs that do not sync: milliseconds on an idle disk,
    and much more on a busy one. Two files that change places are not flushed, so what must survive a loss of power has
    to be synced by whoever wrote it.
    """
    names = os.fsencode(new), os.fsencode(path)
    if path.exists() and _libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        new.unlink()
    else:
        # Nothing to replace, or a filesystem that cannot exchange.
        new.replace(path)


def boot_id() -> str:
    """Return the random id that the kernel drew when it started."""
    return read_bytes("/proc/sys/kernel/random/boot_id").decode().strip()


def process(pid: int) -> Process | None:
    """Return what /proc says of the process, or None when there is none."""
    try:
        text = read_bytes(f"/proc/{pid}/stat")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name stands in brackets and may itself hold brackets and blanks: the last bracket ends it.
    fields = text[text.rindex(b")") + 2 :].split()
    return Process(pid, fields[0].decode(), int(fields[1]), int(fields[2]), int(fields[3]), start_time=int(fields[19]))


def read_bytes(path: str | Path) -> bytes:
    """Return a small file's bytes: with three system calls where `open` takes nine, and shims start often."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(descriptor, _CHUNK_BYTES):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def own_start_time() -> int:
    """Return the start time of the calling process."""
    own = process(os.getpid())
    assert own is not None
    return own.start_time


def processes() -> Iterator[Process]:
    """Yield every process that can be seen, in no order."""
    with os.scandir("/proc") as entries:
        names = [entry.name for entry in entries if entry.name.isdigit()]
    for name in names:
        if (found := process(int(name))) is not None:
            yield found


def is_alive(pid: int, start_time: int) -> bool:
    """Tell whether this very process still runs."""
    found = process(pid)
    return found is not None and found.start_time == start_time and found.is_alive


def descendants(roots: Iterable[int], among: Iterable[Process] | None = None) -> list[Process]:
    """Return the living descendants of these processes, not they themselves, parents before children."""
    children: dict[int, list[Process]] = {}
    for one in processes() if among is None else among:
        children.setdefault(one.parent, []).append(one)
    found: list[Process] = []
    waiting = list(roots)
    while waiting:
        below = children.pop(waiting.pop(), [])
        found.extend(one for one in below if one.is_alive)
        waiting.extend(one.pid for one in below)
    return found


def reap(child: int) -> int | None:
    """Collect what ended, orphans too; return the wait status of one child once it is among them."""
    found: int | None = None
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0] != 0:
            if ended[0] == child:
                found = ended[1]
    return found


def send(target: Process, number: signal.Signals) -> bool:
    """Send a signal to this very process and never to a later one with its number; tell whether it was there."""
    try:
        handle = os.pidfd_open(target.pid)
    except ProcessLookupError:
        return False
    try:
        # The handle holds whatever has the number now, so a start time read after it is that process's own.
        if not is_alive(target.pid, target.start_time):
            return False
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, number)
        return True
    finally:
        os.close(handle)


def user_of(pid: int) -> int | None:
    """Return the effective user of a process, or None when it is gone.

    The owner of the folder in /proc would not do: it is root for a process that made itself undumpable.
    """
    try:
        lines = read_bytes(f"/proc/{pid}/status").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return next((int(line.split()[2]) for line in lines if line.startswith(b"Uid:")), None)


def has_marks(pid: int, marks: Mapping[str, str]) -> bool:
    """Tell whether the process was started with all these variables in its environment."""
    try:
        variables = read_bytes(f"/proc/{pid}/environ").split(b"\0")
    except OSError:
        return False
    return all(f"{name}={value}".encode() in variables for name, value in marks.items())


def kill_user(uid: int) -> None:
    """Kill every process of this user at once; the caller is root, and the user is one of the attempts' range.

    The kernel walks the process list under its own lock, so a program that forks as fast as it can does not escape.
    """
    child = os.fork()
    if child == 0:
        try:
            become_user(uid)
            # Were this still root, -1 would mean every process of the machine.
            if uid != 0 and os.getresuid() == (uid, uid, uid):
                os.kill(-1, signal.SIGKILL)
        finally:
            os._exit(0)
    # A process of that user may shoot the helper first; callers look again and repeat.
    os.waitpid(child, 0)


def remove_ipc(uid: int) -> None:
    """Remove the user's System V shared memory, queues and semaphores, which outlive every process; needs root."""
    for kind, remove in _IPC_REMOVERS.items():
        try:
            titles, *lines = read_bytes(f"/proc/sysvipc/{kind}").splitlines()
        except OSError:
            continue  # a kernel without this kind
        names = titles.decode().split()
        rows = [dict(zip(names, map(int, line.split()), strict=False)) for line in lines]
        for row in rows:
            if uid in {row["uid"], row["cuid"]}:
                remove(row[names[1]])


def can_become(uid: int) -> bool:
    """Tell whether the caller may take this user and group: root in a container may lack the right or the number."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            become_user(uid)
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1] == 0


def become_subreaper() -> None:
    """Make orphans among the caller's descendants its children, so that none can get away by forking twice."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def forbid_new_privileges() -> None:
    """Make setuid programs powerless for the caller and all that it starts."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def die_with_parent() -> None:
    """Have the kernel kill the caller when its parent dies; a change of user resets it, so it comes after that."""
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


def oom_kills() -> int:
    """Return how many processes the kernel has killed for want of memory since boot; 0 where it does not say."""
    try:
        lines = read_bytes("/proc/vmstat").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(b"oom_kill ")), 0)


def become_user(uid: int) -> None:
    """Give up root for this user, the group of the same number, and no other groups, for good."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
