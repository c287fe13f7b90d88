"""Speaks with a cluster's API server in plain JSON: the few verbs that an executor needs, and one stream.

Our own, because a watch must resume from a resource version, one job must cost a handful of requests, and objects are
sent and judged as they are. It retries nothing: who asks knows what may be repeated.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from nordan_core.domain.errors import NordanError, OperatorError
from nordan_workers.executors.kubernetes.config import Connection

#: A JSON object as the API server takes and gives it.
Object = dict[str, Any]  # Any: JSON

CONNECT_S = 3.0
#: An API server whose etcd stands still answers after half a minute or so; longer waits bring nothing.
ANSWER_S = 15.0
#: A watch is silent for a minute between bookmarks; a line that is cut off without a word is noticed after this.
SILENCE_S = 100.0
CONNECTIONS = 32
_GONE = 410
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
    """One API server; several threads may use it."""

    def __init__(self, connection: Connection, *, connections: int = CONNECTIONS) -> None:
        self._connection = connection
        self._token = _Token(connection.token, connection.token_file)
        self._extensions = {"sni_hostname": connection.server_name} if connection.server_name else {}
        self._http = httpx.Client(
            base_url=connection.server,
            verify=connection.tls() if connection.server.startswith("https") else False,
            timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=connections),
            headers={"User-Agent": "nordan-supervisor", "Accept": "application/json"},
            trust_env=False,
        )
        self._counting = threading.Lock()
        self._streams: set[socket.socket] = set()
        self.requests = 0
        """How many were sent; for tests and measurements."""

    def get(self, path: str, **params: str) -> Object:
        """Return an object or a list.

        Raises:
            ClusterRefused, ClusterUnreachable: as every verb here.
        """
        return self._ask("GET", path, params=params)

    def post(self, path: str, body: Object) -> Object:
        """Create an object and return what was made of it."""
        return self._ask("POST", path, body=body)

    def delete(self, path: str, *, grace_s: int, uid: str | None = None) -> Object:
        """Delete an object; with `uid`, only this one and not another of the same name."""
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": grace_s}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        return self._ask("DELETE", path, body=options)

    @contextmanager
    def stream(self, path: str, **params: str) -> Iterator[Iterator[Object]]:
        """Open a watch; yields its events as they come, until the server ends it."""
        request = self._http.build_request(
            "GET",
            path,
            params=params,
            headers=self._headers(),
            extensions={**self._extensions, "timeout": {**_STREAM}},
        )
        self._count()
        try:
            response = self._http.send(request, stream=True)
            line: socket.socket = response.extensions["network_stream"].get_extra_info("socket")
            self._streams.add(line)
            try:
                if response.is_error:
                    response.read()
                    raise _error(response)
                yield _events(response)
            finally:
                self._streams.discard(line)
                response.close()
        except (httpx.TransportError, httpx.StreamError, RuntimeError) as error:
            # RuntimeError: the client was closed by another thread.
            raise ClusterUnreachable(type(error).__name__) from error

    def close(self) -> None:
        """Close every connection; who still waits for an answer gets `ClusterUnreachable`."""
        for line in tuple(self._streams):
            # Closing alone would not wake the thread that reads from it.
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
        self._http.close()

    def _ask(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None, body: Object | None = None
    ) -> Object:
        self._count()
        content = json.dumps(body).encode() if body is not None else None
        headers = self._headers()
        if content is not None:
            headers["Content-Type"] = "application/json"
        try:
            response = self._http.request(
                method, path, params=params, content=content, headers=headers, extensions=self._extensions
            )
        except (httpx.TransportError, RuntimeError) as error:
            raise ClusterUnreachable(type(error).__name__) from error
        if response.is_error:
            raise _error(response)
        try:
            answer: Object = response.json()
        except ValueError as error:
            raise ClusterUnreachable("the answer is not JSON") from error
        return answer

    def _count(self) -> None:
        with self._counting:
            self.requests += 1

    def _headers(self) -> dict[str, str]:
        token = self._token.value()
        return {"Authorization": f"Bearer {token}"} if token else {}


_STREAM = {"connect": CONNECT_S, "read": SILENCE_S, "write": ANSWER_S, "pool": ANSWER_S}


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


def _events(response: httpx.Response) -> Iterator[Object]:
    rest = b""
    for chunk in response.iter_bytes():
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


def _error(response: httpx.Response) -> ClusterRefused | ClusterUnreachable:
    try:
        status = response.json()
    except ValueError:
        status = {}
    return _of_status(response.status_code, status if isinstance(status, dict) else {})


def _of_status(code: int, status: Mapping[str, Any]) -> ClusterRefused | ClusterUnreachable:
    if code in _PASSING:
        return ClusterUnreachable(f"{code} {status.get('reason', '')}")
    return ClusterRefused(code, str(status.get("reason", "")), str(status.get("message", "")))
