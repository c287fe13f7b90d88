"""The executor's line to the warm parent that forks shims: finds it, starts it where there is none, asks it.

A request may be sent twice: a shim that finds its rank claimed goes away at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from nordan_workers.executors.base import LaunchFailed
from nordan_workers.shim.parent import SOCKET

#: A fresh parent imports and listens in some 50 ms; a busy machine gets a hundred times that.
START_LIMIT_S = 5.0
#: A fork takes some milliseconds; gangs ask for all their ranks at once.
ANSWER_LIMIT_S = 10.0
_STEP_S = 0.01


class ShimParent:
    """One region's warm parent, seen from the executor; may be used by several threads."""

    def __init__(self, region_dir: Path) -> None:
        self._region_dir = region_dir
        self._socket_path = region_dir / "run" / SOCKET
        self._connection: socket.socket | None = None
        self._started_pid: int | None = None
        self._turn = threading.Lock()

    def fork(self, rank_dirs: Sequence[Path]) -> None:
        """Have one shim forked for each rank's folder.

        Raises:
            LaunchFailed: the parent cannot be started, or refused; some of the shims may have been forked.
        """
        request = b"".join(json.dumps({"rank_dir": str(one)}).encode() + b"\n" for one in rank_dirs)
        with self._turn:
            try:
                answers = self._exchange(request, len(rank_dirs))
            except OSError:
                # It died meanwhile: once more, with another one.
                self._hang_up()
                try:
                    answers = self._exchange(request, len(rank_dirs))
                except OSError as error:
                    raise LaunchFailed(f"the shims' parent does not answer: {error}") from error
        refusal = next((str(one["error"]) for one in answers if "error" in one), None)
        if refusal is not None:
            raise LaunchFailed(f"the shims' parent refused: {refusal}")

    def fork_keeper(self, rank_dir: Path, connection: socket.socket) -> None:
        """Have a keeper forked for a rank and give it the connection of a session; the caller closes its own end.

        Raises:
            LaunchFailed: the parent does not answer, or refused. It is not asked twice: two keepers for one connection
                would run a command twice.
        """
        request = json.dumps({"rank_dir": str(rank_dir), "is_session": True}).encode() + b"\n"
        with self._turn:
            try:
                if self._connection is None:
                    self._connection = self._connect()
                socket.send_fds(self._connection, [request], [connection.fileno()])
                [answer] = self._answers(1)
            except OSError as error:
                self._hang_up()
                raise LaunchFailed(f"the shims' parent does not answer: {error}") from error
        if "error" in answer:
            raise LaunchFailed(f"the shims' parent refused: {answer['error']}")

    def leave(self) -> None:
        """Tell the parent that nobody needs it, so that it ends when the last shim has; then hang up."""
        with self._turn:
            if self._connection is not None:
                with contextlib.suppress(OSError):
                    self._connection.sendall(json.dumps({"leave": True}).encode() + b"\n")
            self._hang_up()
            self._collect()

    def _exchange(self, request: bytes, count: int) -> list[dict[str, object]]:
        if self._connection is None:
            self._connection = self._connect()
        self._connection.sendall(request)
        return self._answers(count)

    def _answers(self, count: int) -> list[dict[str, object]]:
        assert self._connection is not None
        received = b""
        while received.count(b"\n") < count:
            data = self._connection.recv(1 << 16)
            if not data:
                raise ConnectionResetError("it hung up")
            received += data
        return [json.loads(line) for line in received.splitlines()]

    def _connect(self) -> socket.socket:
        give_up_s = time.monotonic() + START_LIMIT_S
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(ANSWER_LIMIT_S)
            try:
                connection.connect(str(self._socket_path))
            except (FileNotFoundError, ConnectionRefusedError):
                connection.close()
                if time.monotonic() > give_up_s:
                    raise
                if self._collect():
                    self._started_pid = self._start()
                time.sleep(_STEP_S)
            else:
                return connection

    def _start(self) -> int:
        """Start a parent in a session of its own; it inherits neither descriptors nor environment.

        `-P` keeps the working folder, whatever it is, out of the import path of a process that is root.
        """
        errors = str(self._region_dir / "run" / "shim.log")
        append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        return os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", "-m", "nordan_workers.shim", str(self._region_dir)],
            {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if Path(entry).is_absolute())},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, errors, append, 0o600),
            ],
            setsid=True,
        )

    def _collect(self) -> bool:
        """Tell whether no parent of ours is running; collects the one that ended."""
        if self._started_pid is None:
            return True
        try:
            if os.waitpid(self._started_pid, os.WNOHANG)[0] == 0:
                return False
        except ChildProcessError:
            pass
        self._started_pid = None
        return True

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
