"""Which rank a request is about, from its query."""

from __future__ import annotations

from starlette.requests import HTTPConnection

from nordan_workers.gateway.problems import Problem

MAX_RANK = 4096


def rank_of(request: HTTPConnection) -> int:
    """Return the rank that a request names, 0 where it names none.

    Raises:
        Problem: 422, it is no rank.
    """
    text = request.query_params.get("rank", "0")
    if not text.isascii() or not text.isdecimal() or len(text) > 6 or int(text) >= MAX_RANK:
        raise Problem(422, "invalid", "a rank is a number from 0", faults=[("rank", "not a rank")])
    return int(text)
