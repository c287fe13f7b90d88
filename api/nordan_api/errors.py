"""Errors as problem details (RFC 9457): the only place that gives a domain error its status."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from psycopg.errors import DiskFull
from sqlalchemy.exc import InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from nordan_core.domain.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NordanError,
    NotFound,
    Refused,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from nordan_core.domain.states import IllegalMove

log = structlog.get_logger()
PROBLEM = "application/problem+json"
_TITLES = {
    400: "Bad request",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Body too large",
    422: "Not acceptable as it stands",
    429: "Too many requests",
    500: "Internal error",
    503: "Not available now",
    507: "No space left",
}


def problem(
    request: Request,
    status: int,
    code: str,
    detail: str,
    *,
    errors: list[Mapping[str, str]] | None = None,
    extra: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return a problem document as a response."""
    body: dict[str, Any] = {  # Any: JSON
        "type": f"urn:nordan:problem:{code}",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        "code": code,
        "detail": detail,
        "request_id": getattr(request.state, "request_id", ""),
    }
    if errors:
        body["errors"] = errors
    body.update(extra or {})
    return JSONResponse(body, status_code=status, media_type=PROBLEM, headers=dict(headers or {}))


def render(request: Request, error: NordanError) -> JSONResponse:
    """Return the problem that a domain error is."""
    match error:
        case Invalid():
            fault = {"field": error.field, "message": error.message}
            return problem(request, 422, "invalid", str(error), errors=[fault])
        case Refused():
            return problem(request, 422, error.reason.value, error.message, extra=error.detail)
        case Unavailable():
            headers = {"Retry-After": str(max(1, round(error.retry_after_s)))}
            return problem(request, 503, "unavailable", error.message, headers=headers)
        case Unauthenticated():
            return problem(request, 401, "unauthenticated", error.message, headers={"WWW-Authenticate": "Bearer"})
        case _:
            return _plain(request, error)


def problem_document(request: Request, error: NordanError) -> dict[str, Any]:  # Any: JSON
    """Return the problem that a domain error is, where it is a part of an answer."""
    found: dict[str, Any] = json.loads(bytes(render(request, error).body))
    return found


def _plain(request: Request, error: NordanError) -> JSONResponse:
    match error:
        case Forbidden() | Conflict():
            return problem(request, 403 if isinstance(error, Forbidden) else 409, error.code, error.message)
        case NotFound():
            return problem(request, 404, "not_found", str(error))
        case IllegalMove():
            return problem(request, 409, "illegal_move", str(error))
        case TooLarge():
            return problem(request, 413, "body_too_large", str(error))
        case _:
            log.error("unmapped_error", kind=type(error).__name__)
            return problem(request, 500, "internal_error", "a defect of ours; the request id finds it in the log")


def defect(request: Request, error: Exception) -> JSONResponse:
    """Return the problem that an unknown error is; the log gets its kind and place, never its words."""
    log.error("defect", request_id=getattr(request.state, "request_id", ""), exc_info=error)
    return problem(request, 500, "internal_error", "a defect of ours; the request id finds it in the log")


def install(app: FastAPI) -> None:
    """Make an app answer every error as a problem document."""

    @app.exception_handler(NordanError)
    async def _domain(request: Request, error: NordanError) -> JSONResponse:
        return render(request, error)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        known = {
            404: ("not_found", "there is nothing at this address"),
            405: ("method_not_allowed", f"this address does not take {request.method}"),
        }
        code, detail = known.get(error.status_code, ("http_error", str(error.detail)))
        return problem(request, error.status_code, code, detail, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def _query(request: Request, error: RequestValidationError) -> JSONResponse:
        faults = [
            {"field": ".".join(str(part) for part in one["loc"][1:]), "message": str(one["msg"])}
            for one in error.errors()
        ]
        return problem(
            request,
            422,
            "invalid",
            "; ".join(f"{one['field']}: {one['message']}" for one in faults),
            errors=list(faults),
        )

    @app.exception_handler(ClientDisconnect)
    async def _gone(_request: Request, _error: ClientDisconnect) -> Response:
        # Nobody hears this: whoever sent half a body was killed, or gave up.
        return Response(status_code=400)

    # PostgreSQL is away, or has ended a session that sat in its transaction while this process was stopped.
    @app.exception_handler(OperationalError)
    @app.exception_handler(InternalError)
    async def _database(request: Request, error: OperationalError | InternalError) -> JSONResponse:
        log.warning("database_unavailable", kind=type(error.orig).__name__)
        if isinstance(error.orig, DiskFull):
            detail = "the control plane's disk is full, so nothing was changed; its operator has to make room"
            return problem(request, 507, "disk_full", detail)
        detail = "the database did not answer; it may have been done: repeat a submission under its Idempotency-Key"
        return render(request, Unavailable(detail))

    @app.exception_handler(PoolTimeout)
    async def _pool(request: Request, _error: PoolTimeout) -> JSONResponse:
        return render(request, Unavailable("every database connection is busy; nothing was changed"))
