"""Logs of attempts: the file as it is now, by ranges, or followed as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from nordan_core.domain.ids import is_id
from nordan_core.proof.tokens import AccessClaims
from nordan_workers.gateway.access import Doorkeeper
from nordan_workers.gateway.problems import Problem
from nordan_workers.gateway.ranges import file_response
from nordan_workers.gateway.ranks import rank_of
from nordan_workers.gateway.tail import Tail
from nordan_workers.supervisor.noticeboard import ENDED

MAX_FOLLOWERS = 500
EVENT_STREAM = "text/event-stream"


@dataclass(slots=True)
class Logs:
    """The route for logs, over what it needs."""

    doorkeeper: Doorkeeper
    folder: Path
    _followers: set[int] = field(default_factory=set)

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route("/v1/attempts/{attempt_id}/logs", self.log)]

    async def log(self, request: Request) -> Response:
        """Answer with the log of one rank, or with a stream of its lines."""
        attempt_id = request.path_params["attempt_id"]
        if not is_id(attempt_id, "att"):
            raise Problem(404, "not_found", "no such attempt")
        claims = self.doorkeeper.admit(request, "read", f"attempt:{attempt_id}")
        path = self.folder / attempt_id / f"rank-{rank_of(request)}.log"
        if EVENT_STREAM in request.headers.get("Accept", ""):
            return self._stream(request, claims, path)
        try:
            return file_response(
                request,
                path,
                media_type="text/plain; charset=utf-8",
                headers={},
                may_go_on=lambda: not self.doorkeeper.is_fenced(claims),
            )
        except FileNotFoundError as error:
            raise Problem(404, "no_log", "this rank has no log here: it has not started, or never did") from error

    def _stream(self, request: Request, claims: AccessClaims, path: Path) -> Response:
        offset = request.headers.get("Last-Event-ID", "0")
        if not offset.isascii() or not offset.isdecimal() or len(offset) > 18:
            raise Problem(400, "bad_event_id", "Last-Event-ID is the id of an event of this stream: a byte offset")
        if len(self._followers) >= MAX_FOLLOWERS:
            raise Problem(503, "too_many_followers", "too many logs are followed now", headers={"Retry-After": "5"})
        keeper = self.doorkeeper
        tail = Tail(path, (path.parent / ENDED).exists, lambda: keeper.is_open(claims), keeper.clock)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._counted(tail, int(offset)), headers=headers, media_type=EVENT_STREAM)

    async def _counted(self, tail: Tail, offset: int) -> AsyncIterator[bytes]:
        self._followers.add(id(tail))
        try:
            async for piece in tail.events(offset):
                yield piece
        finally:
            self._followers.discard(id(tail))
