"""Query parameters: those that a route does not have are refused, as unknown fields of a body are.

A misspelled `?stat=running` would else be answered with everything, and read as if it were what was asked for.
"""

from __future__ import annotations

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from nordan_core.domain.errors import Invalid

#: Clients that page send it to every list; one without pages is given whole.
_EVERYWHERE = frozenset({"limit"})


async def refuse_unknown_query(request: Request) -> None:
    """Refuse a request with a query parameter that its route does not have.

    Raises:
        Invalid: names the parameter and the known ones.
    """
    if request.query_params:
        known = _parameters(request.scope["route"])
        if unknown := sorted(request.query_params.keys() - known - _EVERYWHERE):
            there_are = f"there are {', '.join(sorted(known))}" if known else "this route has none"
            raise Invalid(unknown[0][:100], f"no such query parameter; {there_are}")


def _parameters(route: object) -> set[str]:
    return _of(route.dependant) if isinstance(route, APIRoute) else set()


def _of(dependant: Dependant) -> set[str]:
    return {one.alias for one in dependant.query_params}.union(*map(_of, dependant.dependencies))
