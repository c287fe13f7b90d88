"""Names that providers and owners give: entities, pools, endpoints. Exact, ASCII, comparable byte by byte."""

from __future__ import annotations

import re

from nordan_core.residency.errors import PolicyError
from nordan_core.residency.reading import read_text

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_ENDPOINT = re.compile(r"[a-z0-9][a-z0-9._:/-]{0,252}")


def read_name(value: object, field: str) -> str:
    """Return the name of an entity, pool or region."""
    name = read_text(value, field)
    if not _NAME.fullmatch(name):
        raise PolicyError(field, f"{name[:80]!a} is not a name; use letters, digits, '.', '_', '-', at most 63")
    return name


def read_endpoint_name(value: object, field: str) -> str:
    """Return the name of an endpoint that a job may reach, such as `registry.example:443`."""
    name = read_text(value, field)
    if not _ENDPOINT.fullmatch(name):
        raise PolicyError(
            field, f"{name[:80]!a} is not an endpoint's name; use a-z, digits and '.', '_', '-', ':', '/'"
        )
    return name
