"""One command inside a running job: a WebSocket to the region's gateway, this side's streams at its end.

Called by `nordan exec`. The control plane gives leave for a minute at a time and never hears the command; as long as
the session lasts, leave is asked for again, and what it refuses is why the session was cut.
"""

from __future__ import annotations

import json
import os
import select
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol
from urllib.parse import urlsplit

import httpx
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import connect as dial

from nordan_cli import client, invocation, terminal
from nordan_cli.client import Api
from nordan_cli.decode import decode
from nordan_cli.errors import CliError, Cut, Problem, Unreachable, WrongUse
from nordan_cli.models import Access

#: Leave holds for a minute.
RENEW_S = 20.0
MAX_MESSAGE_BYTES = 1024 * 1024
OPEN_TIMEOUT_S = 30.0
_CHUNK_BYTES = 32 * 1024
#: The first byte of a message: what it is.
_STDIN, _STDOUT, _STDERR, _END, _RESIZE = b"\0", b"\1", b"\2", b"\3", b"\4"


class Line(Protocol):
    """What a session needs of its connection; `send` may be called from several threads."""

    def send(self, message: str | bytes) -> None: ...

    def recv(self) -> str | bytes: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Wish:
    """What to run, and where."""

    job: str
    command: tuple[str, ...]
    attempt: int | None = None
    rank: int = 0
    is_tty: bool = False
    passes_input: bool = True
    term: str = ""


@dataclass(slots=True)
class Visit:
    """One session; `run` returns the command's exit code."""

    api: Api
    wish: Wish
    stdin: int = 0
    stdout: BinaryIO = field(default_factory=lambda: sys.stdout.buffer)
    stderr: BinaryIO = field(default_factory=lambda: sys.stderr.buffer)
    renew_s: float = RENEW_S
    _token: str = ""
    _over: threading.Event = field(default_factory=threading.Event)
    _refused: Problem | None = None
    """Why leave was not given again."""

    def run(self) -> int:
        """Run the command to its end.

        Raises:
            Problem: leave was refused. Unreachable: nobody answered. Cut: the session ended before the command did.
        """
        place = {"attempt": self.wish.attempt, "rank": self.wish.rank}
        access = self._leave({name: value for name, value in place.items() if value is not None})
        with ExitStack() as stack:
            line = stack.enter_context(_opened(access))
            stack.callback(self._over.set)
            heard, wake = os.pipe()
            os.set_blocking(wake, False)
            stack.callback(os.close, wake)
            if self.wish.is_tty:
                stack.enter_context(terminal.resized(wake))
                stack.enter_context(terminal.raw(self.stdin))
            line.send(json.dumps(self._start()))
            for work in (lambda: self._send_input(line, heard), lambda: self._renew(line)):
                # They may be in the middle of a read or a request when the session ends; nobody waits for that.
                threading.Thread(target=work, daemon=True).start()
            return self._receive(line)

    def _leave(self, body: dict[str, object]) -> Access:
        access = decode(Access, self.api.ask(self.api.within("jobs", self.wish.job, verb="exec"), body))
        self._token = access.token
        return access

    def _start(self) -> dict[str, object]:
        document: dict[str, object] = {"command": list(self.wish.command), "is_tty": self.wish.is_tty}
        if self.wish.is_tty:
            document |= {"term": self.wish.term, "size": list(terminal.size())}
        return document

    def _receive(self, line: Line) -> int:
        while True:
            try:
                message = line.recv()
            except ConnectionClosed as closed:
                raise self._why(closed) from closed
            if not isinstance(message, bytes):
                continue
            kind, data = message[:1], message[1:]
            if kind == _END:
                return _exit_code(data)
            for known, target in ((_STDOUT, self.stdout), (_STDERR, self.stderr)):
                if kind == known:
                    target.write(data)
                    target.flush()

    def _why(self, closed: ConnectionClosed) -> CliError:
        if self._refused is not None:
            return Cut(f"the session was cut: {self._refused}")
        received = closed.rcvd
        reason = received.reason if received is not None and received.reason else "the connection broke off"
        return Cut(f"the session was cut: {reason}")

    def _send_input(self, line: Line, heard: int) -> None:
        watched = [heard]
        if self.wish.passes_input:
            watched.append(self.stdin)
        with suppress(ConnectionClosed, OSError):
            if not self.wish.passes_input:
                line.send(_STDIN)
            while not self._over.is_set():
                ready, _, _ = select.select(watched, [], [])
                if heard in ready:
                    if not os.read(heard, _CHUNK_BYTES):
                        return
                    line.send(_RESIZE + json.dumps(terminal.size()).encode())
                if self.stdin in ready:
                    data = os.read(self.stdin, _CHUNK_BYTES)
                    line.send(_STDIN + data)
                    if not data:
                        watched.remove(self.stdin)

    def _renew(self, line: Line) -> None:
        while not self._over.wait(self.renew_s):
            try:
                access = self._leave({"renew": self._token})
            except Unreachable:
                continue  # it may be back before the minute is over
            except CliError as error:
                if isinstance(error, Problem):
                    self._refused = error
                line.close()
                return
            with suppress(ConnectionClosed, OSError):
                line.send(json.dumps({"renew": access.token}))


@contextmanager
def _opened(access: Access) -> Iterator[Line]:
    """Open the connection and hang up at the end.

    Raises:
        Problem: the gateway refused. Unreachable: it does not answer.
    """
    parts = urlsplit(access.url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise WrongUse(f"{access.url!r} is not an address of a gateway")
    origin = f"{parts.scheme}://{parts.netloc}"
    with ExitStack() as stack:
        try:
            line = stack.enter_context(
                dial(
                    access.url.replace("http", "ws", 1),
                    additional_headers={"Authorization": f"Bearer {access.token}"},
                    user_agent_header="nordan-cli",
                    proxy=None if parts.hostname in client.LOOPBACK else True,
                    compression=None,
                    open_timeout=OPEN_TIMEOUT_S,
                    max_size=MAX_MESSAGE_BYTES,
                )
            )
        except InvalidStatus as error:
            answer = error.response
            client.check(
                httpx.Response(
                    answer.status_code,
                    headers=list(answer.headers.raw_items()),
                    content=bytes(answer.body or b""),
                    request=httpx.Request("GET", access.url),
                )
            )
            raise Unreachable(origin, f"HTTP {answer.status_code}", invocation.HOW_TO_START) from error
        except (OSError, TimeoutError, WebSocketException) as error:
            raise Unreachable(origin, str(error) or type(error).__name__, invocation.HOW_TO_START) from error
        yield line


def _exit_code(data: bytes) -> int:
    """Return what a shell would see: the command's code, or 128 and the signal that ended it."""
    ending = json.loads(data)
    signal = ending.get("signal")
    return 128 + int(signal) if signal else int(ending.get("exit_code", 1))
