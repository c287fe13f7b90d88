"""One byte range of a request (RFC 9110, section 14), and answers that carry part of a file."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from nordan_workers.gateway.problems import Problem

CHUNK_BYTES = 256 * 1024
_ONE_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes `first` to before `end` of a content of `size_bytes`."""

    first: int
    end: int
    size_bytes: int

    @property
    def length(self) -> int:
        """Return how many bytes these are."""
        return self.end - self.first


def asked_span(header: str | None, size_bytes: int) -> Span | None:
    """Return the range that a Range header asks for; None when it asks for none that we know: then all is sent.

    Several ranges and other units are ignored, as the standard allows.

    Raises:
        Problem: 416 for a range that begins behind the end.
    """
    match = _ONE_RANGE.fullmatch((header or "").replace(" ", ""))
    if match is None or match[0] == "bytes=-":
        return None
    if not match[1]:
        first, end = max(0, size_bytes - int(match[2])), size_bytes
    else:
        first = int(match[1])
        end = min(size_bytes, int(match[2]) + 1) if match[2] else size_bytes
        if match[2] and int(match[2]) < first:
            return None
    if first >= size_bytes:
        unsatisfied = {"Content-Range": f"bytes */{size_bytes}"}
        raise Problem(416, "range_not_satisfiable", f"the content has {size_bytes} bytes", headers=unsatisfied)
    return Span(first, end, size_bytes)


def file_response(
    request: Request, path: Path, *, media_type: str, headers: Mapping[str, str], may_go_on: Callable[[], bool]
) -> Response:
    """Answer with a file, or with the range of it that was asked for; a file that grows is sent as it is now.

    `may_go_on` is asked before each piece: where not, the answer breaks off short of the length that it told.

    Raises:
        Problem: 416.
        FileNotFoundError: no such file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        size_bytes = os.fstat(descriptor).st_size
        wanted = request.headers.get("Range") if _range_is_for(request, headers.get("ETag")) else None
        span = asked_span(wanted, size_bytes)
    except BaseException:
        os.close(descriptor)
        raise
    whole = span or Span(0, size_bytes, size_bytes)
    answer = {**headers, "Accept-Ranges": "bytes", "Content-Length": str(whole.length), **_SAFE}
    if span is not None:
        answer["Content-Range"] = f"bytes {span.first}-{span.end - 1}/{size_bytes}"
    body = _read(descriptor, whole, may_go_on, is_empty=request.method == "HEAD")
    return StreamingResponse(body, 206 if span else 200, answer, media_type)


#: A tenant's bytes are never run or framed by a browser that looks at them.
_SAFE = {"X-Content-Type-Options": "nosniff", "Content-Disposition": "attachment", "Cache-Control": "private, no-store"}


def _range_is_for(request: Request, etag: str | None) -> bool:
    condition = request.headers.get("If-Range")
    return condition is None or condition == etag


async def _read(descriptor: int, span: Span, may_go_on: Callable[[], bool], *, is_empty: bool) -> AsyncIterator[bytes]:
    try:
        at = span.end if is_empty else span.first
        while at < span.end and may_go_on():
            chunk = await asyncio.to_thread(os.pread, descriptor, min(CHUNK_BYTES, span.end - at), at)
            if not chunk:
                return
            at += len(chunk)
            yield chunk
    finally:
        os.close(descriptor)
