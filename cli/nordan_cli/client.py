"""Speak REST with a control plane: one place for addresses, retries, idempotency keys and errors.

Every command that asks the api does it through `Api`. Content goes elsewhere (`gateway.py`) with another
credential: the API key is sent to the control plane's address and to nothing else.
"""

from __future__ import annotations

import json
import ssl
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import httpx
import typer

from nordan_cli import invocation
from nordan_cli.errors import FieldFault, Problem, Unreachable, Unreadable, WrongUse
from nordan_cli.invocation import Invocation

T = TypeVar("T")
#: A JSON object as the server sent it; `models` and `decode` give its parts types.
Answer = dict[str, Any]

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 30.0
#: Waits between tries. Together about seven seconds: a restart of the api passes unnoticed.
PAUSES_S = (0.2, 0.4, 0.8, 1.6, 4.0)
LONGEST_PAUSE_S = 5.0
PAGE_SIZE = 100
_PROBLEM_MEMBERS = frozenset({"type", "title", "status", "code", "detail", "errors", "request_id", "instance"})
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout)
MAY_BE_DONE = "It may have been done all the same: look before you ask again."
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@contextmanager
def connect(ctx: typer.Context, project: str | None = None) -> Iterator[Api]:
    """Open the api that the options, the environment or the configuration name."""
    run = invocation.of(ctx)
    settled = run.settle(project=project)
    with Api(run, settled.url, settled.key, settled.project) as api:
        yield api


def http_client(run: Invocation, url: str, headers: Mapping[str, str]) -> httpx.Client:
    """Make a client for one server. It follows no redirects, and no proxy stands before this machine itself.

    Raises:
        WrongUse: the address is not an http or https URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise WrongUse(f"{url!r} is not an address; write https://HOST or http://127.0.0.1:PORT")
    # Loading the certificate store takes longer than a request; plain http never uses it.
    trust: ssl.SSLContext | bool = True if parts.scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx.Client(
        headers={"User-Agent": "nordan-cli", **headers},
        transport=run.transport,
        timeout=httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
        verify=trust,
        trust_env=parts.hostname not in LOOPBACK,
    )


class Api:
    """A control plane and the project that commands are about."""

    def __init__(self, run: Invocation, url: str, key: str, project: str) -> None:
        self.run = run
        self.url = url.rstrip("/")
        self.project = project
        self._http = http_client(run, url, {"Authorization": f"Bearer {key}", "Accept": "application/json"})

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **query: str | int | None) -> Answer:
        """Return what is at `path` (below `/v1`); query values of None are left out."""
        return self._send("GET", path, params={name: value for name, value in query.items() if value is not None})

    def submit(self, path: str, body: object) -> Answer:
        """Send what the server takes an idempotency key for: however often it is tried, it has one effect."""
        return self._send("POST", path, body=body, key=str(uuid.uuid4()))

    def ask(self, path: str, body: object = None) -> Answer:
        """Send what changes nothing, or nothing more when it comes twice; it is tried again."""
        return self._send("POST", path, body={} if body is None else body)

    def post(self, path: str, body: object = None) -> Answer:
        """Send what would be done twice if it came twice: it is tried again only if it cannot have arrived."""
        return self._send("POST", path, body={} if body is None else body, is_repeatable=False)

    def delete(self, path: str) -> Answer:
        """Remove what is at `path`."""
        return self._send("DELETE", path)

    def items(self, path: str, *, limit: int, **query: str | int | None) -> list[Answer]:
        """Return at most `limit` items of a list, page by page, in the server's order."""
        found: list[Answer] = []
        cursor: str | None = None
        while len(found) < limit:
            page = self.get(path, limit=min(PAGE_SIZE, limit - len(found)), cursor=cursor, **query)
            if not isinstance(page.get("items"), list):
                raise Unreadable("items", "is not a list")
            found += page["items"]
            cursor = page.get("next_cursor")
            if not cursor:
                break
        return found[:limit]

    def within(self, *segments: str, verb: str = "") -> str:
        """Return the path of something in the project, with a custom verb behind a colon if there is one."""
        return path_of("projects", self.project, *segments, verb=verb)

    def _send(
        self,
        method: str,
        path: str,
        *,
        params: Answer | None = None,
        body: object = None,
        key: str | None = None,
        is_repeatable: bool = True,
    ) -> Answer:
        headers = {} if key is None else {"Idempotency-Key": key}
        content = None if body is None else json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
        if content is not None:
            headers["Content-Type"] = "application/json"
        request = self._http.build_request(
            method, f"{self.url}/v1/{path}", params=params, headers=headers, content=content
        )
        response = patiently(self.run, lambda: check(self._http.send(request)), is_repeatable=is_repeatable)
        return _object(response) if response.content else {}


def path_of(*segments: str, verb: str = "") -> str:
    """Join path segments, each quoted whole, so that nothing a person types can reach another resource."""
    path = "/".join(quote(one, safe="") for one in segments)
    return f"{path}:{verb}" if verb else path


def patiently(run: Invocation, send: Callable[[], T], *, is_repeatable: bool = True) -> T:
    """Call `send` again for a few seconds while nobody answers or the server says that it cannot answer just now.

    `send` must raise `Problem` for refusals (`check`). What is not repeatable is tried again only while no connection
    could be made: anything else may have come after it was done.

    Raises:
        Unreachable: no answer came within all tries.
        Problem: the server refused for good.
    """
    pauses_s = iter(PAUSES_S)
    while True:
        pause_s = next(pauses_s, None)
        try:
            return send()
        except httpx.TransportError as error:
            if not is_repeatable and not isinstance(error, _NEVER_SENT):
                raise unreachable(error, MAY_BE_DONE) from error
            # A read that timed out had its half minute; waiting again would look like hanging.
            if pause_s is None or isinstance(error, httpx.ReadTimeout):
                raise unreachable(error) from error
        except Problem as problem:
            if pause_s is None or not problem.is_passing or not is_repeatable:
                raise
            pause_s = max(pause_s, problem.retry_after_s)
        run.sleep(min(pause_s, LONGEST_PAUSE_S))


@contextmanager
def reported() -> Iterator[None]:
    """Turn a broken connection into `Unreachable`, where trying again is not ours."""
    try:
        yield
    except httpx.TransportError as error:
        raise unreachable(error) from error


def unreachable(error: httpx.TransportError, advice: str = "") -> Unreachable:
    """Say who did not answer and what to try."""
    url = error.request.url
    origin = f"{url.scheme}://{url.netloc.decode('ascii')}"
    return Unreachable(
        origin, str(error) or type(error).__name__, advice or f"Is it running? {invocation.HOW_TO_START}"
    )


def check(response: httpx.Response) -> httpx.Response:
    """Return a good answer; the body of a bad one is read first.

    Raises:
        Problem: the server refused; fields and request id are kept.
        Unreadable: a redirect, which nothing of ours sends.
    """
    if response.is_success:
        return response
    response.read()
    if response.is_redirect:
        raise Unreadable(str(response.request.url.path), f"redirects (HTTP {response.status_code})")
    raise _problem(response)


def _asked_pause_s(response: httpx.Response) -> float:
    try:
        return float(response.headers.get("Retry-After", "0"))
    except ValueError:
        return 0.0


def _problem(response: httpx.Response) -> Problem:
    body = _loaded(response)
    faults = body.get("errors")
    return Problem(
        status=response.status_code,
        code=_text(body, "code"),
        title=_text(body, "title") or response.reason_phrase or "refused",
        detail=_text(body, "detail"),
        faults=tuple(
            FieldFault(_text(fault, "field"), _text(fault, "message"))
            for fault in (faults if isinstance(faults, list) else [])
            if isinstance(fault, dict)
        ),
        request_id=_text(body, "request_id") or response.headers.get("X-Request-ID", ""),
        retry_after_s=_asked_pause_s(response),
        extensions={name: value for name, value in body.items() if name not in _PROBLEM_MEMBERS},
    )


def _object(response: httpx.Response) -> Answer:
    try:
        body = response.json()
    except ValueError as error:
        raise Unreadable(str(response.request.url.path), "is not JSON") from error
    if isinstance(body, list):
        return {"items": body}
    if not isinstance(body, dict):
        raise Unreadable(str(response.request.url.path), "is not a JSON object")
    return body


def _loaded(response: httpx.Response) -> Answer:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _text(body: Mapping[str, object], name: str) -> str:
    value = body.get(name)
    return value if isinstance(value, str) else ""
