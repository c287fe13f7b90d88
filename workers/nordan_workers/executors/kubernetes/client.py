"""Speaks with a cluster's API server in plain JSON: the few verbs that an executor needs, and one stream.

Our own, because a watch must resume from a resource version, one job must cost a handful of requests, and objects are
sent and judged as they are. On the standard library's HTTP, which takes a quarter of the CPU that httpx takes here; a
region's supervisor sends hundreds of requests in a second. It repeats nothing but what an idle connection has lost: who
asks knows what may be done twice.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from nordan_core.domain.errors import NordanError, OperatorError
from nordan_workers.executors.kubernetes.config import Connection
from nordan_workers.executors.kubernetes.visits import Door

#: A JSON object as the API server takes and gives it.
Object = dict[str, Any]  # Any: JSON

CONNECT_S = 3.0
#: An API server whose etcd stands still answers after half a minute or so; longer waits bring nothing.
ANSWER_S = 15.0
#: A watch is silent for a minute between bookmarks; a line that is cut off without a word is noticed after this.
SILENCE_S = 100.0
_CHUNK_BYTES = 1 << 18
_FIRST_ERROR = 400
_GONE = 410
_MERGE_PATCH = "application/merge-patch+json"
_TOO_MANY = 429
#: Said for faults of the moment: overload, etcd without a leader, a server that starts or stops.
_PASSING = frozenset({_TOO_MANY, 500, 502, 503, 504})


class ClusterUnreachable(NordanError):
    """Nobody answered, or somebody who cannot now. Whether a change was made is not known."""


class ClusterRefused(NordanError):
    """The API server said no. Another try brings the same answer."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        """`message` may quote the object that was sent: it is for the attempt's owner, not for logs."""
        super().__init__(f"the cluster refused: {status} {reason}")
        self.status = status
        self.reason = reason
        self.message = message

    @property
    def is_missing(self) -> bool:
        """Tell whether the object is not there."""
        return self.status == 404

    @property
    def is_conflict(self) -> bool:
        """Tell whether something is already there, or no longer as it was."""
        return self.status == 409

    @property
    def is_too_old(self) -> bool:
        """Tell whether the resource version is forgotten: list again."""
        return self.status == _GONE


class Cluster:
    """One API server; several threads may use it, each over a connection of its own that it keeps."""

    def __init__(self, connection: Connection) -> None:
        url = urlsplit(connection.server)
        self._server = connection.server
        self._place = _Place(
            host=url.hostname or "",
            port=url.port or (443 if url.scheme == "https" else 80),
            prefix=url.path,
            tls=connection.tls() if url.scheme == "https" else None,
            server_name=connection.server_name or url.hostname or "",
        )
        self._token = _Token(connection.token, connection.token_file)
        self._own = threading.local()
        self._turn = threading.Lock()
        self._open: set[_Line] = set()
        self._is_closed = False
        self.requests = 0
        """How many were sent; for tests and measurements."""

    def get(self, path: str, **params: str) -> Object:
        """Return an object or a list.

        Raises:
            ClusterRefused, ClusterUnreachable: as every verb here.
        """
        query = f"?{urlencode(params)}" if params else ""
        return _object(self._ask("GET", path + query, None))

    def post(self, path: str, body: Object) -> Object:
        """Create an object and return what was made of it."""
        return _object(self._ask("POST", path, body))

    def patch(self, path: str, body: Object) -> Object:
        """Merge a patch (RFC 7396) into an object; with its resource version, only into that version."""
        return _object(self._ask("PATCH", path, body))

    def delete(self, path: str, *, grace_s: int, uid: str | None = None) -> None:
        """Delete an object; with `uid`, only this one and not another of the same name."""
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": grace_s}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        self._ask("DELETE", path, options)

    @contextmanager
    def stream(self, path: str, **params: str) -> Iterator[Iterator[Object]]:
        """Open a watch; yields its events as they come, until the server ends it."""
        line = self._new_line()
        try:
            response = self._send(line, "GET", f"{path}?{urlencode(params)}", None)
            if response.status >= _FIRST_ERROR:
                raise _error(response.status, response.read())
            line.wait_at_most(SILENCE_S)
            yield _events(response)
        except _BROKEN as error:
            raise ClusterUnreachable(type(error).__name__) from error
        finally:
            self._drop(line)

    def door(self, namespace: str) -> Door:
        """Return the way into the pods of a namespace."""
        place = self._place
        return Door(self._server, namespace, place.tls, place.server_name, self._token.value)

    def close(self) -> None:
        """Close every connection; who still waits for an answer gets `ClusterUnreachable`."""
        with self._turn:
            self._is_closed = True
            for line in tuple(self._open):
                # Who uses it closes it, once it was cut.
                line.cut()
                if not line.is_busy:
                    self._open.discard(line)
                    line.close()

    def release(self) -> None:
        """Close the connection that this thread keeps; for one that ends."""
        if (own := getattr(self._own, "line", None)) is not None:
            self._own.line = None
            self._drop(own)

    def _ask(self, method: str, path: str, body: Object | None) -> bytes:
        """Send a request over this thread's connection; over a new one, where the server has closed the old one."""
        kept: _Line | None = getattr(self._own, "line", None)
        for line in (kept, None) if kept is not None else (None,):
            used = self._taken(line) or self._new_line()
            try:
                response = self._send(used, method, path, body)
                answer = response.read()
            except _BROKEN as error:
                self._own.line = None
                self._drop(used)
                if line is not None and isinstance(error, _ENDED):
                    continue
                raise ClusterUnreachable(type(error).__name__) from error
            self._own.line = used if self._put_back(used) else None
            if response.status >= _FIRST_ERROR:
                raise _error(response.status, answer)
            return answer
        raise ClusterUnreachable("no connection")

    def _send(self, line: _Line, method: str, path: str, body: Object | None) -> http.client.HTTPResponse:
        headers = {"Accept": "application/json", "User-Agent": "nordan-supervisor"}
        if token := self._token.value():
            headers["Authorization"] = f"Bearer {token}"
        content = None
        if body is not None:
            content = json.dumps(body).encode()
            headers["Content-Type"] = _MERGE_PATCH if method == "PATCH" else "application/json"
        with self._turn:
            self.requests += 1
        line.request(method, self._place.prefix + path, content, headers)
        return line.getresponse()

    def _new_line(self) -> _Line:
        line = _Line(self._place)
        with self._turn:
            if self._is_closed:
                raise ClusterUnreachable("closed")
            self._open.add(line)
        return line

    def _taken(self, line: _Line | None) -> _Line | None:
        """Return a kept connection as one that is in use; None where it was closed."""
        with self._turn:
            if line is None or line not in self._open:
                return None
            line.is_busy = True
            return line

    def _put_back(self, line: _Line) -> bool:
        """Let go of a connection; tell whether it may be used again."""
        with self._turn:
            line.is_busy = False
            if not self._is_closed:
                return True
        self._drop(line)
        return False

    def _drop(self, line: _Line) -> None:
        with self._turn:
            self._open.discard(line)
        line.close()


@dataclass(frozen=True, slots=True)
class _Place:
    host: str
    port: int
    prefix: str
    tls: ssl.SSLContext | None
    server_name: str


class _Line(http.client.HTTPConnection):
    """One connection, with TLS where the place has it. No proxy of the environment comes between."""

    def __init__(self, place: _Place) -> None:
        super().__init__(place.host, place.port, timeout=CONNECT_S)
        self._place = place
        self.is_busy = True

    def connect(self) -> None:
        super().connect()
        if self._place.tls is not None:
            self.sock = self._place.tls.wrap_socket(self.sock, server_hostname=self._place.server_name)
        self.wait_at_most(ANSWER_S)

    def wait_at_most(self, seconds: float) -> None:
        """Bound each wait for bytes."""
        if self.sock is not None:
            self.sock.settimeout(seconds)

    def cut(self) -> None:
        """End whatever another thread waits for here; closing alone would not wake it."""
        line: socket.socket | None = self.sock
        if line is not None:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)


#: What a connection that breaks raises; ValueError: it was closed under a reader.
_BROKEN = (OSError, http.client.HTTPException, ValueError)
#: How an idle connection that the server has closed shows itself.
_ENDED = (http.client.RemoteDisconnected, ConnectionError, ssl.SSLError)


class _Token:
    """A token, or a file of one that is read again when another has taken its place."""

    def __init__(self, token: str, path: Path | None) -> None:
        self._token = token
        self._path = path
        self._seen: tuple[int, int] | None = None

    def value(self) -> str:
        if self._path is None:
            return self._token
        try:
            state = self._path.stat()
            if (seen := (state.st_ino, state.st_mtime_ns)) != self._seen:
                self._token, self._seen = self._path.read_text().strip(), seen
        except OSError as error:
            if self._seen is None:
                raise OperatorError(f"cannot read the token in {self._path}: {error.strerror}") from error
        return self._token


def _events(response: http.client.HTTPResponse) -> Iterator[Object]:
    rest = b""
    while chunk := response.read1(_CHUNK_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line:
                yield _event(line)


def _event(line: bytes) -> Object:
    try:
        event: Object = json.loads(line)
    except ValueError as error:
        raise ClusterUnreachable("an event is not JSON") from error
    if event.get("type") != "ERROR":
        return event
    status = event.get("object") or {}
    raise _of_status(int(status.get("code") or 500), status)


def _object(answer: bytes) -> Object:
    try:
        found: Object = json.loads(answer)
    except ValueError as error:
        raise ClusterUnreachable("the answer is not JSON") from error
    return found


def _error(code: int, answer: bytes) -> ClusterRefused | ClusterUnreachable:
    try:
        status = json.loads(answer)
    except ValueError:
        status = {}
    return _of_status(code, status if isinstance(status, dict) else {})


def _of_status(code: int, status: Mapping[str, Any]) -> ClusterRefused | ClusterUnreachable:
    if code in _PASSING:
        return ClusterUnreachable(f"{code} {status.get('reason', '')}")
    return ClusterRefused(code, str(status.get("reason", "")), str(status.get("message", "")))
