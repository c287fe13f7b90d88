"""The supervisor's door to running ranks: `run/exec.sock`, where the gateway asks for interactive sessions.

The gateway has checked the caller's pass; it runs as the region's user and could not enter an attempt by itself. Here
it is only asked whether the attempt runs, then the connection is given to the executor and goes its own way: what is
typed never comes into this process. The folder is closed to jobs, and the kernel is asked who the caller is.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import structlog

from nordan_core.domain.errors import NotFound
from nordan_core.domain.ids import AttemptId
from nordan_workers.executors.base import Executor, LaunchFailed, SupportsExec
from nordan_workers.files import give_to_folder_owner
from nordan_workers.shim import frames
from nordan_workers.shim.frames import BadFrame, Kind

EXEC_SOCKET = "exec.sock"
#: How long a caller may take to say what it wants.
ASK_LIMIT_S = 5.0
BACKLOG = 64
#: Of its own: a caller who says nothing must not keep attempts from their next step.
THREADS = 4
_PEER = struct.Struct("3i")


class Doorway:
    """The listening socket, and one short errand per connection."""

    def __init__(self, path: Path, executor: Executor, may_enter: Callable[[str], bool]) -> None:
        """Bind at `path`; `may_enter` is asked, on the loop's thread, whether an attempt runs and is to go on."""
        self._path = path
        self._executor = executor
        self._may_enter = may_enter
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="session")
        self._errands: set[asyncio.Task[None]] = set()
        folder = path.parent.stat()
        self._users, self._group = {os.geteuid(), folder.st_uid}, folder.st_gid
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.setblocking(False)
        self._listener.bind(str(path))
        path.chmod(0o660)
        give_to_folder_owner(path, path.parent)
        self._listener.listen(BACKLOG)

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to listen."""
        loop.add_reader(self._listener, self._accept)

    async def close(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stop listening; sessions that are open go on without this process."""
        loop.remove_reader(self._listener)
        self._listener.close()
        self._path.unlink(missing_ok=True)
        for errand in self._errands:
            errand.cancel()
        await asyncio.gather(*self._errands, return_exceptions=True)
        self._pool.shutdown()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        task = asyncio.create_task(self._serve(connection))
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    async def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                refusal = await self._refusal(connection)
            except (BadFrame, TimeoutError) as error:
                refusal = ("bad_request", str(error) or "said nothing")
            except OSError:
                return
            if refusal is None:
                return
            code, message = refusal
            structlog.get_logger().info("session_refused", code=code)
            document = {"error": code, "message": message}
            try:
                connection.setblocking(False)
                connection.send(frames.pack_document(Kind.END, document))
            except OSError:
                return

    async def _refusal(self, connection: socket.socket) -> tuple[str, str] | None:
        """Have the session opened, or return code and message of why not."""
        if not self._is_trusted(connection):
            return "forbidden", "only the region's own processes may ask"
        loop = asyncio.get_running_loop()
        connection.settimeout(ASK_LIMIT_S)
        wish = frames.document_of(await loop.run_in_executor(self._pool, frames.receive, connection, Kind.OPEN))
        attempt_id, rank = wish.get("attempt_id"), wish.get("rank")
        if not isinstance(attempt_id, str) or type(rank) is not int:
            return "bad_request", "an attempt and a rank are wanted"
        if not isinstance(self._executor, SupportsExec):
            return "exec_not_supported", "this region cannot run commands inside its jobs"
        if not self._may_enter(attempt_id):
            return "attempt_not_running", "the attempt does not run here, or is being stopped"
        try:
            await loop.run_in_executor(self._pool, self._executor.open_session, AttemptId(attempt_id), rank, connection)
        except NotFound:
            return "attempt_not_running", "no such rank runs here"
        except LaunchFailed as error:
            structlog.get_logger().warning("session_failed", attempt_id=attempt_id, error=str(error))
            return "not_possible_now", "the machine could not open the session; try again"
        return None

    def _is_trusted(self, connection: socket.socket) -> bool:
        _, uid, gid = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
        return uid in self._users or gid == self._group
