"""All routes of an app as `METHOD /path`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fastapi import FastAPI


def routes_of(app: FastAPI) -> list[str]:
    """Return every route, those of included routers with them."""
    return [f"{method} {route.path}" for route in walk(app.routes) for method in sorted(route.methods - {"HEAD"})]


def walk(routes: Iterable[Any]) -> Iterator[Any]:
    """Walk all routes; newer FastAPI keeps a router that was included as one of them."""
    for route in routes:
        included = getattr(route, "original_router", None)
        yield from walk(included.routes) if included is not None else [route]
