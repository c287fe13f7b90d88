"""A session as a gateway sees it: frames over one end of a pair of sockets."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from typing import Any

from nordan_workers.executors.base import SupportsExec
from nordan_workers.shim import frames
from nordan_workers.shim.frames import BadFrame, Kind


class SessionUnderTest:
    """One open session; `stdout` and `stderr` hold what has come so far."""

    def __init__(self, executor: SupportsExec, attempt_id: str, rank: int = 0) -> None:
        self.line, theirs = socket.socketpair()
        # An answer that comes through a cluster waits for everything else that this machine does.
        self.line.settimeout(60)
        self.stdout = b""
        self.stderr = b""
        self.end: dict[str, Any] | None = None
        self._unpacker = frames.Unpacker()
        try:
            executor.open_session(attempt_id, rank, theirs)  # type: ignore[arg-type]  # tests hold plain texts
        except BaseException:
            self.line.close()
            raise
        finally:
            theirs.close()

    def ready(self) -> SessionUnderTest:
        """Wait until the keeper wants to hear what to start."""
        frames.receive(self.line, Kind.READY)
        return self

    def start(self, *command: str, is_tty: bool = False, size: Sequence[int] = (80, 24)) -> SessionUnderTest:
        """Say what to start."""
        wanted = {"command": list(command), "is_tty": is_tty, "term": "xterm", "size": list(size)}
        self.send(Kind.START, json.dumps(wanted).encode())
        return self

    def send(self, kind: Kind, data: bytes = b"") -> None:
        """Send one frame."""
        self.line.sendall(frames.pack(kind, data))

    def until(self, text: bytes) -> SessionUnderTest:
        """Read until the command has written something."""
        while text not in self.stdout + self.stderr:
            assert self._read(), (text, self.stdout, self.stderr, self.end)
        return self

    def ends(self) -> dict[str, Any]:
        """Read to the end and return how it ended; nothing comes behind it."""
        while self._read():
            pass
        assert self.end is not None, "it hung up without a word"
        return self.end

    def close(self) -> None:
        """Hang up."""
        self.line.close()

    def _read(self) -> bool:
        try:
            data = self.line.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        for kind, content in self._unpacker.feed(data):
            assert self.end is None, "nothing comes behind the end"
            if kind is Kind.STDOUT:
                self.stdout += content
            elif kind is Kind.STDERR:
                self.stderr += content
            elif kind is Kind.END:
                self.end = json.loads(content)
            else:
                raise BadFrame(kind.name)
        return bool(data)
