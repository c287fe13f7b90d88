"""A supervisor's door and a keeper behind it, as a gateway meets them: does what its mood says."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nordan_workers.shim import frames
from nordan_workers.shim.frames import BadFrame, Kind


class FakeDoor:
    """Listens at `path`. Moods: `echo`, `refuse`, `mute`, `vanish` and `forbid` (after the start), `flood`, `over`,
    `deaf`.
    """

    def __init__(self, path: Path) -> None:
        self.mood = "echo"
        self.wishes: list[dict[str, object]] = []
        self.starts: list[dict[str, object]] = []
        self.sizes: list[bytes] = []
        self.hung_up = threading.Event()
        """Set when the gateway has closed a connection that was carried."""
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._lines: list[socket.socket] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        """Stop listening and hang up everywhere."""
        for one in (self._listener, *self._lines):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                line, _ = self._listener.accept()
                self._lines.append(line)
                threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: socket.socket) -> None:
        with line, suppress(OSError, BadFrame):
            self.wishes.append(dict(frames.document_of(frames.receive(line, Kind.OPEN))))
            if self.mood == "refuse":
                end = {"error": "attempt_not_running", "message": "it does not run here"}
                line.sendall(frames.pack_document(Kind.END, end))
                return
            if self.mood == "mute":
                line.recv(1)
                return
            line.sendall(frames.pack(Kind.READY))
            self.starts.append(dict(frames.document_of(frames.receive(line, Kind.START))))
            self._carry(line)

    def _carry(self, line: socket.socket) -> None:
        if self.mood == "vanish":
            return
        if self.mood == "over":
            line.sendall(frames.pack_document(Kind.END, {"error": "attempt_over", "message": "over"}))
            _drain(line)
            return
        if self.mood == "forbid":
            line.sendall(frames.pack_document(Kind.END, {"error": "refused", "message": "the cluster says no"}))
            return
        unpacker = frames.Unpacker()
        while self.mood == "flood":
            line.sendall(frames.pack(Kind.STDOUT, bytes(60_000)))
        while data := line.recv(1 << 16):
            for kind, content in unpacker.feed(data):
                if kind is Kind.RESIZE:
                    self.sizes.append(content)
                elif self.mood == "deaf":
                    pass
                elif content:
                    line.sendall(frames.pack(Kind.STDOUT, content) + frames.pack(Kind.STDERR, b"!"))
                else:
                    line.sendall(frames.pack_document(Kind.END, {"exit_code": 7}))
                    return
        self.hung_up.set()


def _drain(line: socket.socket) -> None:
    """Take what the other side still sends, or the kernel would break the line off before it has read the end."""
    line.settimeout(2.0)
    while line.recv(1 << 16):
        pass


@contextmanager
def fake_door(path: Path) -> Iterator[FakeDoor]:
    """Serve a door."""
    door = FakeDoor(path)
    try:
        yield door
    finally:
        door.close()
