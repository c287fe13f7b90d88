"""The warm parent: a small process that has everything imported and forks a shim when asked.

An executor starts it when its socket does not answer, and speaks one JSON line per request over `run/shim.sock`:
`{"rank_dir": PATH}` is answered by `{"shim_pid": N}` or `{"error": TEXT}`; with `"is_session": true` and a connection
passed along, a keeper of an interactive session is forked instead; `{"leave": true}` says that the executor goes. The
parent outlives supervisors. It ends when nobody is connected and no shim or keeper lives; killed, it takes none with
it, and the next executor starts another.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import json
import os
import selectors
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from nordan_workers.shim import linux
from nordan_workers.shim.keeper import keep_session
from nordan_workers.shim.rank import announce, run_rank

SOCKET = "shim.sock"
LOCK = "shim.lock"
#: How long the parent waits for an executor's return before it ends: longer than a supervisor needs to restart.
IDLE_S = 5.0
_LINE_LIMIT = 4096
_MOST_PASSED = 8
_PEER = struct.Struct("3i")


class Parent:
    """Serves one region's run folder. Single-threaded: a process with threads must not fork."""

    def __init__(self, region_dir: Path, listener: socket.socket) -> None:
        self._attempts = region_dir / "attempts"
        self._events = str(region_dir / "run" / "events.sock")
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._buffers: dict[socket.socket, bytes] = {}
        self._shims: dict[int, str] = {}
        """Attempt id by shim."""
        self._keepers: set[int] = set()
        self._passed: dict[socket.socket, list[int]] = {}
        """Descriptors that came with a request that is not complete yet."""
        self._is_left = False

    def serve(self) -> None:
        """Answer until nobody is connected and no shim lives, for a while."""
        child_ended, wake = socket.socketpair()
        for end in (child_ended, wake, self._listener):
            end.setblocking(False)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(child_ended, selectors.EVENT_READ)
        while True:
            is_idle = not (self._buffers or self._shims or self._keepers)
            if is_idle and self._is_left:
                return
            ready = self._selector.select(IDLE_S if is_idle else None)
            if is_idle and not ready:
                return
            for key, _ in ready:
                if key.fileobj is child_ended:
                    child_ended.recv(_LINE_LIMIT)
                    self._reap()
                elif key.fileobj is self._listener:
                    self._accept()
                else:
                    assert isinstance(key.fileobj, socket.socket)
                    self._receive(key.fileobj)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            client, _ = self._listener.accept()
            _, uid, _ = _PEER.unpack(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
            if uid != os.geteuid():
                client.close()
                return
            self._buffers[client] = b""
            self._is_left = False
            self._selector.register(client, selectors.EVENT_READ)

    def _receive(self, client: socket.socket) -> None:
        try:
            # Close-on-exec from the start: no program of a tenant's may inherit somebody's connection.
            data, passed, _, _ = socket.recv_fds(client, _LINE_LIMIT, _MOST_PASSED, socket.MSG_CMSG_CLOEXEC)
        except OSError:
            data, passed = b"", []
        self._passed.setdefault(client, []).extend(passed)
        *lines, rest = (self._buffers[client] + data).split(b"\n")
        self._buffers[client] = rest
        if not data or len(rest) > _LINE_LIMIT:
            self._drop(client)
            return
        for line in lines:
            answer = self._answer(client, line)
            with contextlib.suppress(OSError):
                client.sendall(json.dumps(answer).encode() + b"\n")

    def _drop(self, client: socket.socket) -> None:
        self._selector.unregister(client)
        del self._buffers[client]
        for descriptor in self._passed.pop(client, ()):
            os.close(descriptor)
        client.close()

    def _answer(self, client: socket.socket, line: bytes) -> dict[str, object]:
        try:
            request = json.loads(line)
            if request.get("leave"):
                self._is_left = True
                return {}
            rank_dir = self._checked(Path(request["rank_dir"]))
            if request.get("is_session"):
                return {"keeper_pid": self._fork_keeper(rank_dir, self._passed[client].pop(0))}
            return {"shim_pid": self._fork(rank_dir)}
        except (ValueError, LookupError, TypeError, AttributeError):
            return {"error": "not a request"}
        except OSError as error:
            return {"error": f"cannot fork: {error.strerror}"}

    def _checked(self, rank_dir: Path) -> Path:
        if rank_dir.parent.parent != self._attempts:
            raise ValueError("not a rank's folder in this region")
        return rank_dir

    def _fork_keeper(self, rank_dir: Path, connection: int) -> int:
        try:
            pid = os.fork()
            if pid == 0:
                _become_keeper(rank_dir, connection)
        finally:
            os.close(connection)
        self._keepers.add(pid)
        return pid

    def _fork(self, rank_dir: Path) -> int:
        pid = os.fork()
        if pid == 0:
            _become_shim(rank_dir)
        self._shims[pid] = rank_dir.parent.name
        return pid

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            attempt_id = self._shims.pop(pid, None)
            is_known = attempt_id is not None or pid in self._keepers
            self._keepers.discard(pid)
            if not is_known or status != 0:
                self._kill_orphans()
            if attempt_id is not None and status != 0:
                announce(self._events, attempt_id)

    def _kill_orphans(self) -> None:
        """Kill what a dead shim or keeper left: as the nearest subreaper, this process inherited it.

        What they forked meanwhile is inherited when they die, and each death brings the next round.
        """
        everyone = list(linux.processes())
        orphans = [one for one in everyone if one.parent == os.getpid() and self._is_stray(one)]
        for one in [*orphans, *linux.descendants([one.pid for one in orphans], everyone)]:
            linux.send(one, signal.SIGKILL)

    def _is_stray(self, one: linux.Process) -> bool:
        return one.pid not in self._shims and one.pid not in self._keepers


def main(region_dir: Path) -> None:
    """Serve the region until there is nothing to do; return at once when another parent serves it."""
    run_dir = region_dir / "run"
    lock = os.open(run_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    os.umask(0o027)
    # A shim may be told to look at its files before it listens for that.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    linux.become_subreaper()
    with _listen(run_dir / SOCKET) as listener:
        # What is imported by now is never freed: keeping the collector off it keeps its pages shared with all shims.
        gc.freeze()
        Parent(region_dir, listener).serve()
        # Gone before the lock: who finds no socket waits for the lock and starts anew.
        (run_dir / SOCKET).unlink(missing_ok=True)


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    listener.bind(str(temporary))
    temporary.chmod(0o600)
    listener.listen(64)
    temporary.rename(path)
    return listener


def _become_shim(rank_dir: Path) -> None:
    def run() -> None:
        # The parent's lock, socket and clients are not ours: held open, they would seem to live on after it.
        os.closerange(3, 1 << 20)
        run_rank(rank_dir)

    _become(run)


def _become_keeper(rank_dir: Path, connection: int) -> None:
    def run() -> None:
        os.dup2(connection, 3, inheritable=False)
        os.closerange(4, 1 << 20)
        keep_session(rank_dir, socket.socket(fileno=3))

    _become(run)


def _become(run: Callable[[], None]) -> None:
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        gc.disable()
        run()
        code = 0
    except BaseException:  # noqa: BLE001  a forked child must not return into the parent's loop, whatever happened
        traceback.print_exc(file=sys.stderr)
    finally:
        sys.stderr.flush()
        os._exit(code)
