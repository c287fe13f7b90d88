"""The region's gateway, as stager and agent speak with it: the standard library's HTTP, because it is imported fast."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import quote, urlsplit

from nordan_workers.pod.settings import PodSettings

#: No answer for so long: the gateway counts as away, and the next try may meet another one.
TIMEOUT_S = 10.0
#: Between two pieces of a long body; a disk in the region may be slow.
TRANSFER_TIMEOUT_S = 60.0
_GONE = "pod_gone"
#: Statuses that another try may mend, beside all from 500.
_PASSING = frozenset({401, 408, 409, 429})
_MAX_ANSWER_BYTES = 8 << 20


class Away(Exception):
    """The gateway does not answer, or cannot now: try again."""


class Refused(Exception):
    """The gateway refuses this request for good."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code

    @property
    def is_gone(self) -> bool:
        """Tell whether the region says that it holds this attempt no longer."""
        return self.status == 404 and self.code == _GONE


@dataclass(slots=True)
class Client:
    """One connection to the gateway, made again when it breaks; for one thread."""

    settings: PodSettings
    timeout_s: float = TIMEOUT_S
    _connection: HTTPConnection | None = field(default=None, repr=False)

    @property
    def rank_path(self) -> str:
        """Return the path of this rank's routes."""
        return f"{self.pod_path}/ranks/{self.settings.rank}"

    @property
    def pod_path(self) -> str:
        """Return the path of the attempt's routes."""
        return f"/v1/pods/{quote(self.settings.attempt_id)}"

    def ask(
        self, method: str, path: str, body: bytes | Iterator[bytes] = b"", *, accept: frozenset[int] = frozenset()
    ) -> dict[str, Any]:  # Any: JSON
        """Send a request and return the answer's document.

        Raises:
            Away, Refused: statuses in `accept` are neither.
        """
        with self._answer(method, path, body) as answer:
            data = answer.read(_MAX_ANSWER_BYTES)
        document = _document(data)
        if answer.status < 300 or answer.status in accept:
            return document
        raise _failure(answer.status, str(document.get("code", "")))

    @contextmanager
    def stream(self, path: str) -> Iterator[HTTPResponse]:
        """Open a long answer.

        Raises:
            Away, Refused: also from reading it.
        """
        with self._answer("GET", path, b"") as answer:
            if answer.status >= 300:
                raise _failure(answer.status, str(_document(answer.read(_MAX_ANSWER_BYTES)).get("code", "")))
            yield answer

    def close(self) -> None:
        """Let the connection go."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _answer(self, method: str, path: str, body: bytes | Iterator[bytes]) -> Iterator[HTTPResponse]:
        headers = {"Authorization": f"Bearer {self.settings.token}"}
        is_stream = not isinstance(body, bytes)
        if is_stream:
            headers["Transfer-Encoding"] = "chunked"
        try:
            if self._connection is None:
                self._connection = _connect(self.settings.gateway_url, self.timeout_s)
            self._connection.request(method, path, body, headers, encode_chunked=is_stream)
            yield self._connection.getresponse()
        except (OSError, HTTPException) as error:
            self.close()
            raise Away(type(error).__name__) from error
        except BaseException:
            # The rest of an answer, or of a body, would be taken for the next one.
            self.close()
            raise


def _connect(url: str, timeout_s: float) -> HTTPConnection:
    parts = urlsplit(url)
    if not parts.hostname:
        raise Away("the gateway's URL has no host")
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    return kind(parts.hostname, parts.port, timeout=timeout_s)


def _failure(status: int, code: str) -> Away | Refused:
    if status >= 500 or status in _PASSING:
        return Away(f"{status} {code}")
    return Refused(status, code)


def _document(data: bytes) -> dict[str, Any]:  # Any: JSON
    try:
        document = json.loads(data or b"{}")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
