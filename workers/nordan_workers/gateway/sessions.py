"""Interactive sessions: a WebSocket to a command beside a rank's program, by a pass of its own kind.

The gateway carries bytes between the client and the session's keeper, which it reaches through the supervisor's door.
It looks at the kind of a message and never at what is in it. A session ends when its pass is not renewed in time, when
the attempt is fenced or over, when either side goes, and after eight hours in any case.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from nordan_core.domain.ids import is_id
from nordan_core.proof.compact import SKEW_S
from nordan_core.proof.tokens import SessionClaims
from nordan_workers.gateway.access import Doorkeeper
from nordan_workers.gateway.problems import Problem, render
from nordan_workers.gateway.ranks import rank_of
from nordan_workers.shim import frames
from nordan_workers.shim.frames import BadFrame, Kind

MAX_SESSIONS = 200
MAX_PER_ATTEMPT = 16
#: The longest that a session lives, however often its pass is renewed.
MAX_SESSION_S = 8 * 3600.0
#: How often fences and the pass are looked at.
WATCH_S = 0.5
#: How long the supervisor and the keeper may take to get ready, and the client to say what to start.
OPEN_LIMIT_S = 20.0
START_LIMIT_S = 10.0
_FROM_CLIENT = frozenset({Kind.STDIN, Kind.RESIZE})
_OUTPUT = frozenset({Kind.STDOUT, Kind.STDERR})


@dataclass(frozen=True, slots=True)
class Closing:
    """Why a session is closed: a close code of the WebSocket, and a word and a sentence that go with it."""

    code: int
    word: str
    message: str

    @property
    def reason(self) -> str:
        return f"{self.word}: {self.message}"


DONE = Closing(1000, "done", "the command has ended")
GONE = Closing(1001, "gone", "the client has gone")
BROKEN = Closing(1011, "broken", "the session broke off on its way to the job")
REFUSED = Closing(1011, "refused", "the region's cluster refused the session")
BAD_REQUEST = Closing(4400, "bad_request", "that is no message of a session")
EXPIRED = Closing(4401, "token_expired", "the pass was not renewed in time")
FENCED = Closing(4403, "fenced", "the attempt is fenced: its policy no longer allows it to be entered here")
TOO_LONG = Closing(4408, "session_too_long", "a session lives eight hours at most; open another")
OVER = Closing(4409, "attempt_over", "the attempt is over, and the session with it")
_OF_KEEPER = {"attempt_over": OVER, "bad_request": BAD_REQUEST, "refused": REFUSED}
#: What the supervisor's door says, as statuses.
_REFUSALS = {"attempt_not_running": 409, "attempt_over": 409, "exec_not_supported": 409}


@dataclass(slots=True)
class Sessions:
    """The route for sessions, over what it needs."""

    doorkeeper: Doorkeeper
    door: Path
    """The supervisor's socket."""
    _open: dict[str, str] = field(default_factory=dict)
    """Attempt by session."""
    _used: dict[str, datetime] = field(default_factory=dict)
    """Sessions that were opened, until their first pass has run out: a pass opens one session."""

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        path = "/v1/attempts/{attempt_id}/exec"
        return [WebSocketRoute(path, self.session), Route(path, self.no_session, methods=["GET"])]

    async def no_session(self, request: Request) -> Response:
        """Refuse a client that speaks plain HTTP."""
        del request
        headers = {"Upgrade": "websocket", "Connection": "Upgrade"}
        raise Problem(426, "upgrade_required", "a session is a WebSocket; nordan exec opens one", headers=headers)

    async def session(self, socket: WebSocket) -> None:
        """Serve one session from its opening to its end."""
        try:
            claims = self._admit(socket)
        except Problem as problem:
            await socket.send_denial_response(render(socket, problem))
            return
        self._open[claims.session_id] = claims.attempt_id
        try:
            await self._serve(socket, claims)
        finally:
            del self._open[claims.session_id]

    def _admit(self, socket: WebSocket) -> SessionClaims:
        attempt_id = socket.path_params["attempt_id"]
        if not is_id(attempt_id, "att"):
            raise Problem(404, "not_found", "no such attempt")
        claims = self.doorkeeper.admit_session(socket, attempt_id, rank_of(socket))
        now = self.doorkeeper.clock.now()
        self._used = {session: until for session, until in self._used.items() if until > now}
        if claims.session_id in self._used or claims.session_id in self._open:
            raise Problem(409, "session_used", "this pass has opened its session already; ask for another")
        if len(self._open) >= MAX_SESSIONS or [*self._open.values()].count(attempt_id) >= MAX_PER_ATTEMPT:
            raise Problem(503, "too_many_sessions", "too many sessions are open now", headers={"Retry-After": "5"})
        self._used[claims.session_id] = claims.expires_at + timedelta(seconds=SKEW_S)
        return claims

    async def _serve(self, socket: WebSocket, claims: SessionClaims) -> None:
        log = structlog.get_logger().bind(session_id=claims.session_id, attempt_id=claims.attempt_id)
        try:
            async with asyncio.timeout(OPEN_LIMIT_S):
                reader, writer = await self._enter(claims)
        except Problem as problem:
            await socket.send_denial_response(render(socket, problem))
            return
        except (OSError, TimeoutError, asyncio.IncompleteReadError, BadFrame) as error:
            log.warning("session_not_opened", error=type(error).__name__)
            detail = "the region's supervisor does not answer; try again"
            await socket.send_denial_response(
                render(socket, Problem(503, "supervisor_unavailable", detail, headers={"Retry-After": "2"}))
            )
            return
        try:
            await socket.accept()
            log.info("session_opened", rank=claims.rank, subject=claims.subject)
            closing = await _Carrier(self.doorkeeper, claims, socket, reader, writer).run()
            log.info("session_closed", how=closing.word)
            if closing is not GONE:
                await socket.close(closing.code, closing.reason)
        except (WebSocketDisconnect, RuntimeError):
            # The client went while we said why; the server counts that as closed.
            log.info("session_closed", how=GONE.word)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _enter(self, claims: SessionClaims) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect through the supervisor's door and return once the keeper is ready."""
        reader, writer = await asyncio.open_unix_connection(str(self.door), limit=2 * frames.MAX_BYTES)
        try:
            wish = {"attempt_id": claims.attempt_id, "rank": claims.rank}
            writer.write(frames.pack_document(Kind.OPEN, wish))
            _check_ready(*await _next(reader))
        except BaseException:
            writer.close()
            raise
        return reader, writer


class _Carrier:
    """Carries one open session."""

    def __init__(
        self,
        doorkeeper: Doorkeeper,
        claims: SessionClaims,
        socket: WebSocket,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._doorkeeper = doorkeeper
        self._claims = claims
        self._socket = socket
        self._reader = reader
        self._writer = writer
        self._until_s = doorkeeper.clock.monotonic() + MAX_SESSION_S

    async def run(self) -> Closing:
        """Carry until something ends the session; return what did."""
        tasks = {asyncio.create_task(work()) for work in (self._up, self._down, self._watch)}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            found = [task.result() for task in done]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return min(found, key=lambda one: one.code)

    async def _up(self) -> Closing:
        """Take the client's messages: what to start, then input, sizes and newer passes."""
        try:
            async with asyncio.timeout(START_LIMIT_S):
                start = _start_frame(await self._socket.receive())
            await self._pass_on(start)
            while True:
                message = await self._socket.receive()
                if (data := message.get("bytes")) is not None:
                    await self._pass_on(_checked(data))
                else:
                    self._renew(_text(message))
        except WebSocketDisconnect:
            return GONE
        except (BadFrame, TimeoutError):
            return BAD_REQUEST

    async def _pass_on(self, frame: bytes) -> None:
        # A keeper that has gone says why on the other way; what comes for it meanwhile is dropped.
        with contextlib.suppress(OSError):
            self._writer.write(frame)
            await self._writer.drain()

    def _renew(self, text: str) -> None:
        token = frames.document_of(text.encode()).get("renew")
        try:
            claims = self._doorkeeper.read_session(token if isinstance(token, str) else "")
        except Problem as problem:
            raise BadFrame(problem.code) from problem
        if (claims.session_id, claims.attempt_id) != (self._claims.session_id, self._claims.attempt_id):
            raise BadFrame("the pass is to another session")
        if claims.expires_at > self._claims.expires_at:
            self._claims = claims

    async def _down(self) -> Closing:
        """Pass output on until the keeper says how the command ended."""
        try:
            while True:
                kind, data = await _next(self._reader)
                if kind in _OUTPUT:
                    await self._socket.send_bytes(bytes([kind]) + data)
                elif kind is Kind.END:
                    return await self._last(data)
                else:
                    return BROKEN
        except (OSError, asyncio.IncompleteReadError, BadFrame):
            return BROKEN
        except (WebSocketDisconnect, RuntimeError):
            return GONE

    async def _last(self, data: bytes) -> Closing:
        ending = frames.document_of(data)
        if "error" not in ending:
            await self._socket.send_bytes(bytes([Kind.END]) + data)
            return DONE
        return self._cut() or _OF_KEEPER.get(str(ending["error"]), BROKEN)

    async def _watch(self) -> Closing:
        while (closing := self._cut()) is None:
            await asyncio.sleep(WATCH_S)
        return closing

    def _cut(self) -> Closing | None:
        """Return why the session may not go on, if so."""
        if f"attempt:{self._claims.attempt_id}" in self._doorkeeper.lists.fenced():
            return FENCED
        if self._doorkeeper.clock.now() >= self._claims.expires_at + timedelta(seconds=SKEW_S):
            return EXPIRED
        return TOO_LONG if self._doorkeeper.clock.monotonic() >= self._until_s else None


def _check_ready(kind: Kind, data: bytes) -> None:
    if kind is not Kind.READY:
        document = frames.document_of(data)
        code = str(document.get("error", "refused"))
        raise Problem(_REFUSALS.get(code, 503), code, str(document.get("message", "the session was refused")))


async def _next(reader: asyncio.StreamReader) -> tuple[Kind, bytes]:
    kind, length = frames.parse_header(await reader.readexactly(frames.HEADER_BYTES))
    return kind, await reader.readexactly(length)


def _start_frame(message: Any) -> bytes:  # Any: a message of ASGI
    """Return the frame that the client's first message asks for; what is in it is checked by who starts it."""
    document = frames.document_of(_text(message).encode())
    known = {name: document.get(name) for name in ("command", "is_tty", "term", "size") if name in document}
    data = json.dumps(known).encode()
    if len(data) > frames.MAX_BYTES:
        raise BadFrame("too long")
    return frames.pack(Kind.START, data)


def _checked(data: bytes) -> bytes:
    """Return the frame of a client's message: its first byte says what it is."""
    if not data or data[0] not in _FROM_CLIENT or len(data) > frames.MAX_BYTES:
        raise BadFrame("no message of a client's")
    return frames.pack(Kind(data[0]), data[1:])


def _text(message: Any) -> str:  # Any: a message of ASGI
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    text = message.get("text")
    if not isinstance(text, str):
        raise BadFrame("text expected")
    return text
