"""Inference traffic: a request with a token for a service goes to one of its ready replicas, both ways as a stream.

The gateway's token stays here: it is no business of the tenant's program. Bodies are neither kept nor looked at.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from itertools import count

import httpx
import structlog
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from nordan_core.domain.ids import is_id
from nordan_core.proof.tokens import AccessClaims
from nordan_workers.gateway.access import Doorkeeper
from nordan_workers.gateway.lists import Lists, Replica
from nordan_workers.gateway.problems import Problem

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
#: A model may think for as long as it likes; only connecting is bounded.
TIMEOUT = httpx.Timeout(None, connect=2.0)
LIMITS = httpx.Limits(max_connections=1000, max_keepalive_connections=100)
#: Headers of one connection (RFC 9110, section 7.6.1), never passed on; neither is the gateway's own token.
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_OURS = frozenset({"authorization", "host"})


class ReaderClosed(Exception):
    """The answer ends short of what was told, so that nobody takes it for a whole one."""


@dataclass(slots=True)
class Services:
    """The route for services, over what it needs."""

    doorkeeper: Doorkeeper
    lists: Lists
    http: httpx.AsyncClient
    _turn: count[int] = field(default_factory=count)

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/v1/services/{job_id}", self.call, methods=METHODS),
            Route("/v1/services/{job_id}/{path:path}", self.call, methods=METHODS),
        ]

    async def call(self, request: Request) -> Response:
        """Pass a request on and its answer back."""
        job_id = request.path_params["job_id"]
        if not is_id(job_id, "job"):
            raise Problem(404, "not_found", "no such service")
        claims = self.doorkeeper.admit(request, "call", f"service:{job_id}")
        answer = await self._first_answer(request, job_id)
        headers = _passed_on(answer.headers, frozenset())
        response = StreamingResponse(
            self._while_open(claims, answer), answer.status_code, background=BackgroundTask(answer.aclose)
        )
        response.raw_headers = headers
        return response

    async def _while_open(self, claims: AccessClaims, answer: httpx.Response) -> AsyncIterator[bytes]:
        """Pass an answer on, and break it off where its reader may not be let at it any more."""
        async for chunk in answer.aiter_raw():
            if self.doorkeeper.is_fenced(claims):
                await answer.aclose()
                raise ReaderClosed
            yield chunk

    async def _first_answer(self, request: Request, job_id: str) -> httpx.Response:
        """Ask replicas in turn; one that does not take the connection has seen nothing of the request."""
        replicas = self.lists.replicas(job_id)
        start = next(self._turn)
        for number in range(len(replicas)):
            replica = replicas[(start + number) % len(replicas)]
            try:
                return await self.http.send(self._forwarded(request, job_id, replica), stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                structlog.get_logger().warning("replica_unreachable", attempt_id=replica.attempt_id)
            except httpx.HTTPError as error:
                structlog.get_logger().warning(
                    "replica_failed", attempt_id=replica.attempt_id, error=type(error).__name__
                )
                raise Problem(502, "replica_failed", "the replica broke the connection off") from error
        raise Problem(503, "no_replica_ready", "no replica of this service is ready", headers={"Retry-After": "1"})

    def _forwarded(self, request: Request, job_id: str, replica: Replica) -> httpx.Request:
        # The path as the client wrote it: decoding and encoding again would change what the program sees.
        raw_path: bytes = request.scope["raw_path"].removeprefix(b"/v1/services/" + job_id.encode()) or b"/"
        query: bytes = request.scope["query_string"]
        where = replica.address
        url = httpx.URL(
            scheme="http", host=where.host, port=where.port, raw_path=raw_path + (b"?" + query if query else b"")
        )
        headers = _passed_on(request.headers, _OURS)
        has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
        return httpx.Request(request.method, url, headers=headers, content=_body(request) if has_body else None)


async def _body(request: Request) -> AsyncIterator[bytes]:
    async for chunk in request.stream():
        yield chunk


def _passed_on(headers: Mapping[str, str], dropped: frozenset[str]) -> list[tuple[bytes, bytes]]:
    raw: list[tuple[bytes, bytes]] = list(headers.raw)  # type: ignore[attr-defined]  # starlette's and httpx's have it
    named = {name.strip().lower() for name in headers.get("connection", "").split(",")}
    unwanted = _HOP_BY_HOP | dropped | named
    return [(name.lower(), value) for name, value in raw if name.decode("latin-1").lower() not in unwanted]
