"""Where every request enters and every answer leaves: an id for it, an address that can be stored, no error unanswered.

A plain ASGI wrapper. Starlette's `BaseHTTPMiddleware` starts a task group and a second task for each request; that was
a fifth of the api's time.
"""

from __future__ import annotations

import uuid

from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nordan_api import errors
from nordan_api.bodies import check_address
from nordan_core.domain.errors import Invalid


class Entrance:
    """Gives each request an id, which its answer carries, and turns what nobody caught into a problem document."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        request = Request(scope, receive)
        request.state.request_id = f"req_{uuid.uuid4().hex}"
        has_answered = False

        async def send_marked(message: Message) -> None:
            nonlocal has_answered
            if message["type"] == "http.response.start":
                has_answered = True
                MutableHeaders(scope=message)["X-Request-Id"] = request.state.request_id
            await send(message)

        try:
            check_address(request)
            return await self._app(scope, receive, send_marked)
        except Invalid as error:
            response = errors.render(request, error)
        except Exception as error:  # noqa: BLE001  # raised further, the server would log its words
            response = errors.defect(request, error)
        if not has_answered:
            await response(scope, receive, send_marked)
        return None
