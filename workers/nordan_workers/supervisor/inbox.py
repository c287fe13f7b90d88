"""Two datagram sockets in the region's run folder: grant ids from the Celery worker, events from the shims.

What comes in is only a hint to look, so what has another form is dropped. The folder is closed to jobs.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

from nordan_core.domain.ids import is_id
from nordan_workers.files import give_to_folder_owner

MAX_DATAGRAM = 2048
#: Datagrams taken before other work has its turn.
BURST = 256


class Inbox:
    """One socket, read by the event loop."""

    def __init__(self, path: Path, prefix: str, receive: Callable[[str], None]) -> None:
        """Bind at `path`; `receive` gets every id with this prefix."""
        self._path = path
        self._prefix = prefix
        self._receive = receive
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(str(path))
        # The region's user writes grant ids here; it shares the folder's group.
        path.chmod(0o660)
        give_to_folder_owner(path, path.parent)

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to read."""
        loop.add_reader(self._socket, self._read)

    def close(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stop reading and remove the socket."""
        loop.remove_reader(self._socket)
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _read(self) -> None:
        for _ in range(BURST):
            try:
                data = self._socket.recv(MAX_DATAGRAM)
            except BlockingIOError:
                return
            for text in data.decode("ascii", "replace").split("\n"):
                if is_id(text, self._prefix):
                    self._receive(text)
