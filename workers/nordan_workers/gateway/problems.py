"""Every refusal as a problem document (RFC 9457), with a stable code; the only place that knows statuses."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import JSONResponse, Response

from nordan_core.domain.errors import NordanError, Unavailable
from nordan_workers.api_client import ApiRefused, CredentialRefused
from nordan_workers.store.errors import ContentMissing, ContentTooLarge, DigestMismatch, StoreFull

_TITLES = {
    400: "Bad request",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Body too large",
    416: "Range outside the content",
    426: "Another protocol is needed",
    422: "Not acceptable as it stands",
    502: "The replica failed",
    503: "Not available now",
    507: "No space left",
}
_HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}


class Problem(NordanError):
    """A refusal of the gateway's own; `faults` are pairs of field and message."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        faults: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.faults = faults
        self.headers = dict(headers or {})


def render(request: HTTPConnection, problem: Problem) -> Response:
    """Return the document."""
    request_id = f"req_{secrets.token_hex(8)}"
    body: dict[str, object] = {
        "type": f"urn:nordan:problem:{problem.code}",
        "title": _TITLES.get(problem.status, "Error"),
        "status": problem.status,
        "code": problem.code,
        "detail": problem.detail,
        "request_id": request_id,
    }
    if problem.faults:
        body["errors"] = [{"field": field, "message": message} for field, message in problem.faults]
    method = request.scope.get("method", "WEBSOCKET")
    structlog.get_logger().info(
        "request_refused", request_id=request_id, method=method, status=problem.status, code=problem.code
    )
    return JSONResponse(body, problem.status, problem.headers, media_type="application/problem+json")


async def on_error(request: Request, error: Exception) -> Response:
    """Answer for an error of ours."""
    assert isinstance(error, NordanError)
    return render(request, problem_of(error))


async def on_http_error(request: Request, error: Exception) -> Response:
    """Answer for what the router refuses: no such path, no such method."""
    assert isinstance(error, HTTPException)
    code = _HTTP_CODES.get(error.status_code, "http_error")
    return render(request, Problem(error.status_code, code, "no such resource here", headers=error.headers))


async def on_disconnect(request: Request, error: Exception) -> Response:
    """Answer nobody: the client has gone, and what it had sent was dropped."""
    del request, error
    return Response(status_code=400)


async def on_bug(request: Request, error: Exception) -> Response:
    """Answer for what should not happen; the log has where, the client an id."""
    structlog.get_logger().error("request_failed", error=type(error).__name__, exc_info=error)
    return render(request, Problem(500, "internal_error", "the gateway met an error of its own"))


HANDLERS = {NordanError: on_error, HTTPException: on_http_error, ClientDisconnect: on_disconnect, Exception: on_bug}


def problem_of(error: NordanError) -> Problem:
    """Return the problem that an error of ours is."""
    match error:
        case Problem():
            return error
        case DigestMismatch():
            return Problem(422, "digest_mismatch", str(error))
        case ContentTooLarge():
            return Problem(413, "too_large", f"the body is over {error.limit_bytes} bytes")
        case ContentMissing():
            return Problem(404, "not_found", str(error))
        case StoreFull():
            return Problem(507, "store_full", str(error))
        case ApiRefused():
            return Problem(error.status, error.code or "refused", str(error))
        case Unavailable():
            retry = {"Retry-After": str(max(1, round(error.retry_after_s)))}
            return Problem(503, "control_plane_unavailable", str(error), headers=retry)
        case CredentialRefused():
            return Problem(503, "region_not_joined", str(error))
    return Problem(500, "internal_error", "the gateway met an error of its own")
