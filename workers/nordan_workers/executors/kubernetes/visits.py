"""Interactive sessions in pods: what the gateway says on its connection, said again to the API server's `exec`.

The API server takes a WebSocket whose messages begin with a byte for the stream (`v5.channel.k8s.io`; an older one
speaks `v4`, which cannot tell the end of an input). The command is started by the pod's own helper, which gives it the
job's environment and a mark, by which the end of a session ends all that it started. It cannot outlive the rank: the
helper that keeps the deadline is the container's first process. Two threads for each session carry its bytes; what is
typed goes nowhere else.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import structlog
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from nordan_workers.executors.kubernetes import names
from nordan_workers.executors.kubernetes.manifests import SHIM
from nordan_workers.shim import frames
from nordan_workers.shim.frames import BadFrame, Kind
from nordan_workers.shim.keeper import START_LIMIT_S, Start, size_of

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
OPEN_LIMIT_S = 10.0
#: A reader who takes nothing for so long is dropped.
SEND_LIMIT_S = 30.0
_CHUNK_BYTES = 32 * 1024
_STDIN, _STDOUT, _STDERR, _ERROR, _RESIZE, _CLOSE = range(6)
_HALF_CLOSE = bytes([255, _STDIN])
_OUTPUT = {_STDOUT: Kind.STDOUT, _STDERR: Kind.STDERR}
#: What a shell calls the end by SIGKILL: a command of ours, or a container that was ended.
_KILLED = 137

log = structlog.get_logger()
Line = AbstractContextManager[ClientConnection]
Answer = Mapping[str, Any]  # Any: JSON of the API server


@dataclass(frozen=True, slots=True)
class Door:
    """How pods of one namespace are entered."""

    server: str
    """`https://host:port`."""
    namespace: str
    tls: ssl.SSLContext | None
    server_name: str
    token: Callable[[], str]

    def open(self, pod: str, command: tuple[str, ...], *, is_tty: bool, has_input: bool = True) -> Line:
        """Run a command in the job's container, for as long as the connection is entered.

        Entering raises OSError or WebSocketException when nobody answers, or the API server refuses.
        """
        asked = [("container", names.JOB), ("stdout", "true"), ("stdin", str(has_input).lower())]
        asked += [("tty", str(is_tty).lower()), ("stderr", str(not is_tty).lower())]
        asked += [("command", word) for word in command]
        path = f"/api/v1/namespaces/{quote(self.namespace)}/pods/{quote(pod)}/exec?{urlencode(asked)}"
        token = self.token()
        return connect(
            self.server.replace("http", "ws", 1) + path,
            ssl=self.tls,
            server_hostname=(self.server_name or None) if self.tls is not None else None,
            additional_headers={"Authorization": f"Bearer {token}"} if token else {},
            user_agent_header="nordan-supervisor",
            subprotocols=[Subprotocol(one) for one in PROTOCOLS],
            compression=None,
            proxy=None,
            open_timeout=OPEN_LIMIT_S,
            max_size=None,
        )


def keep_visit(door: Door, pod: str, connection: socket.socket, is_over: Callable[[], bool]) -> None:
    """Keep a session on the connection to its end, then see that nothing of it is left; for a thread of its own.

    `is_over` says whether the rank has ended, asked when a command was killed by nobody here.
    """
    word = secrets.token_hex(8)
    has_begun = False
    try:
        connection.settimeout(START_LIMIT_S)
        connection.sendall(frames.pack(Kind.READY))
        start = Start.parse(frames.receive(connection, Kind.START))
        has_begun = True
        ending = _carried(door, pod, connection, start, word)
    except BadFrame as error:
        ending = {"error": "bad_request", "message": str(error)}
    except InvalidStatus as error:
        log.info("session_refused_by_cluster", status=error.response.status_code)
        ending = _REFUSED
    except (OSError, WebSocketException) as error:
        log.info("session_broke_off", error=type(error).__name__)
        ending = _BROKEN
    if (ending in (_REFUSED, _BROKEN) or ending.get("exit_code") == _KILLED) and is_over():
        ending = _OVER
    with contextlib.suppress(OSError):
        connection.settimeout(SEND_LIMIT_S)
        connection.sendall(frames.pack_document(Kind.END, ending))
        # The thread that still reads from it hears of the end.
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
    if has_begun and ending is not _OVER:
        _leave(door, pod, word)


_OVER: Answer = {"error": "attempt_over", "message": "the attempt is over"}
_REFUSED: Answer = {"error": "refused", "message": "the cluster refused the session"}
_BROKEN: Answer = {"error": "broken", "message": "the cluster broke the session off"}


def _carried(door: Door, pod: str, connection: socket.socket, start: Start, word: str) -> Answer:
    """Carry one session; return how it ended, as the frame at its end says it."""
    options = [f"--visit={word}", *([f"--term={start.term or 'dumb'}"] if start.is_tty else [])]
    with door.open(pod, (SHIM, *options, "--", *start.command), is_tty=start.is_tty) as line:
        if start.is_tty:
            line.send(_size(start.size))
        threading.Thread(target=_send_input, args=(connection, line, start.is_tty), daemon=True).start()
        return _receive(connection, line)


def _send_input(connection: socket.socket, line: ClientConnection, is_tty: bool) -> None:
    """Pass on what the client sends until either side has gone; then close the line, which ends the other thread."""
    unpacker = frames.Unpacker()
    with contextlib.suppress(OSError, BadFrame, ConnectionClosed, ValueError):
        connection.settimeout(None)
        while data := connection.recv(_CHUNK_BYTES):
            for kind, content in unpacker.feed(data):
                if kind is Kind.STDIN and content:
                    line.send(bytes([_STDIN]) + content)
                elif kind is Kind.STDIN:
                    _end_input(line, is_tty)
                elif kind is Kind.RESIZE and is_tty:
                    line.send(_size(size_of(json.loads(content))))
    line.close()


def _end_input(line: ClientConnection, is_tty: bool) -> None:
    if is_tty:
        line.send(bytes([_STDIN]) + b"\x04")
    elif line.subprotocol == PROTOCOLS[0]:
        line.send(_HALF_CLOSE)


def _receive(connection: socket.socket, line: ClientConnection) -> Answer:
    while True:
        try:
            message = line.recv()
        except ConnectionClosed:
            return _BROKEN
        data = message if isinstance(message, bytes) else message.encode()
        if not data:
            continue
        if data[0] == _ERROR:
            return ending_of(data[1:])
        if (kind := _OUTPUT.get(data[0])) is not None:
            for at in range(1, len(data), frames.MAX_BYTES):
                connection.sendall(frames.pack(kind, data[at : at + frames.MAX_BYTES]))


def ending_of(data: bytes) -> Answer:
    """Return how a command ended by the API server's last word, a Status."""
    try:
        status = json.loads(data)
        if status.get("status") == "Success":
            return {"exit_code": 0}
        causes = (status.get("details") or {}).get("causes") or ()
        code = next(int(one["message"]) for one in causes if one.get("reason") == "ExitCode")
    except (ValueError, LookupError, AttributeError, TypeError, StopIteration):
        return _REFUSED
    return {"exit_code": code}


def _leave(door: Door, pod: str, word: str) -> None:
    """Have the helper end whatever the session left; what cannot be reached now ends with the rank."""
    try:
        with door.open(pod, (SHIM, f"--leave={word}"), is_tty=False, has_input=False) as line:
            while True:
                line.recv(timeout=OPEN_LIMIT_S)
    except ConnectionClosed:
        return
    except (OSError, WebSocketException) as error:
        log.warning("session_left_unended", error=type(error).__name__)


def _size(size: tuple[int, int]) -> bytes:
    columns, rows = size
    return bytes([_RESIZE]) + json.dumps({"Width": columns, "Height": rows}).encode()
