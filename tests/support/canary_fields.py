"""Where a user's text comes into the control plane: every parameter of every route, every field of every document.

Parameters are those that the application describes; fields are those of the models that it reads by. So a new one is
a place by itself, and wants a canary. What regions' own processes say is not here: it stands, field by field, on the
page of borders. `recorded` notes which places of requests canaries really stood in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast, get_args
from urllib.parse import parse_qsl

import httpx
from pydantic import BaseModel

from nordan_api.context import Context
from nordan_api.derogations import service as derogations
from nordan_api.jobs import sessions
from nordan_api.lineage import declassifying
from nordan_api.main import create_app
from nordan_api.places.nodes import DrainRequest
from nordan_core.documents import JobDocument
from nordan_core.residency.facets import FACETS
from nordan_core.wire import JoinRequest
from nordan_core.world import (
    ControlPlaneDocument,
    EntityDocument,
    OrganisationDocument,
    PoolDocument,
    ProjectDocument,
    RegionDocument,
)

WORLD: tuple[type[BaseModel], ...] = (
    *(ControlPlaneDocument, EntityDocument, RegionDocument, PoolDocument, OrganisationDocument, ProjectDocument),
)
P = "/v1/projects/{project}"
#: By route: the fields that its document may have. A new route with a document stands here or a test fails.
KNOWN: dict[str, tuple[str, ...]] = {
    "/v1/atlas:apply": ("data", "signature", "digest"),
    "/v1/atlas:diff": ("data", "signature"),
    "/v1/organisations": ("name", "floor"),
    "/v1/organisations/{organisation}/keys": ("role", "project", "territory", "expires_in_s", "member"),
    "/v1/projects": ("name", "organisation", "floor"),
    f"{P}/artifacts/{{artifact}}:copy": ("region",),
    f"{P}/artifacts/{{artifact}}:declassify": (
        *(name for name in declassifying.FIELDS if name != "evidence"),
        *("evidence.digest", "evidence.title"),
    ),
    f"{P}/artifacts/{{artifact}}:read": (),
    f"{P}/datasets": ("name", "policy"),
    f"{P}/datasets/{{dataset}}:put": ("region",),
    f"{P}/declassifications/{{declassification}}:approve": ("digest",),
    f"{P}/declassifications/{{declassification}}:revoke": (),
    f"{P}/declassifications/{{declassification}}:withdraw": (),
    f"{P}/derogations": derogations.FIELDS,
    f"{P}/derogations/{{derogation}}:approve": ("digest",),
    f"{P}/derogations/{{derogation}}:revoke": (),
    f"{P}/derogations/{{derogation}}:withdraw": (),
    f"{P}/jobs/{{job}}:cancel": ("grace_s",),
    f"{P}/jobs/{{job}}:connect": (),
    f"{P}/jobs/{{job}}:exec": tuple(sorted(sessions._FIELDS)),
    f"{P}/jobs/{{job}}:retry": (),
}
#: Fields of a document that hold a policy: each of its facets is a place, whatever is in it.
POLICIES = frozenset({"policy", "floor"})
_IN_A_FACET = re.compile(r"(\b(?:policy|floor)\.\w+)\..+")
_KINDS = frozenset(one.__name__ for one in WORLD)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """One place for one text."""

    route: str
    part: str
    """path, query or body."""
    field: str
    """Of a document: its parts joined with dots; numbers of lists left out, keys of free mappings as a star."""


def leaves(model: type[BaseModel], before: str = "") -> Iterator[str]:
    """Yield every field of a model and of the models in it."""
    for name, one in model.model_fields.items():
        if nested := _models(one.annotation):
            for kind in nested:
                yield from leaves(kind, f"{before}{name}.")
        elif name in POLICIES:
            yield from (f"{before}{name}.{facet}" for facet in FACETS)
        elif str(one.annotation).startswith("dict["):
            yield from (f"{before}{name}", f"{before}{name}.*")
        else:
            yield f"{before}{name}"


def _models(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in _models(part)]


def body_fields(path: str) -> tuple[str, ...]:
    """Return the fields of the document that a route takes.

    Raises:
        KeyError: nobody has said what the route takes.
    """
    job = tuple(leaves(JobDocument))
    if path in {f"{P}/jobs", f"{P}/jobs:plan"}:
        return job
    if path == f"{P}/jobs:batchCreate":
        return tuple(f"jobs.{one}" for one in job)
    if path == f"{P}/files:put":
        return ("region", *(f"job.{one}" for one in job))
    if path == "/v1/admin:apply":
        names = [f"{one.__name__}.{name}" for one in WORLD for name in leaves(one) if name != "kind"]
        return tuple(f"documents.{name}" for name in ("kind", *names))
    if path == "/v1/regions/{code}:join":
        return tuple(leaves(JoinRequest))
    if path.startswith("/v1/pools/"):
        return tuple(leaves(DrainRequest))
    named = KNOWN[path]
    policies = tuple(f"{name}.{facet}" for name in named if name in POLICIES for facet in FACETS)
    return (*(name for name in named if name not in POLICIES), *policies)


def places() -> set[Place]:
    """Return every place of the application."""
    # cast: no route is called, so nothing looks into the context
    described = create_app(cast("Context", SimpleNamespace())).openapi()["paths"]
    found = set()
    for path, methods in described.items():
        if path.startswith("/worker/"):
            continue
        for method, one in methods.items():
            route = f"{method.upper()} {path}"
            found |= {Place(route, parameter["in"], parameter["name"]) for parameter in one.get("parameters", ())}
            if method not in {"get", "delete"}:
                found |= {Place(route, "body", name) for name in body_fields(path)}
    return found


@dataclass
class Recorder:
    """Notes in which places of requests a canary stood, and in which headers."""

    prefix: str
    places: set[Place] = field(default_factory=set)
    headers: set[str] = field(default_factory=set)
    _routes: list[tuple[str, str, re.Pattern[str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        described = create_app(cast("Context", SimpleNamespace())).openapi()["paths"]
        for path, methods in described.items():
            pattern = re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+?)", re.escape(path)))
            self._routes += [(method.upper(), path, pattern) for method in methods]

    def __call__(self, request: httpx.Request) -> None:
        """Look at a request that is about to be sent."""
        self.headers |= {name.lower() for name, value in request.headers.items() if self.prefix in value}
        for method, path, pattern in self._routes:
            match = pattern.fullmatch(request.url.path) if method == request.method else None
            if match:
                self._note(f"{method} {path}", match, request)

    def _note(self, route: str, match: re.Match[str], request: httpx.Request) -> None:
        parts = {("path", name) for name, value in match.groupdict().items() if self.prefix in value}
        query = parse_qsl(request.url.query.decode())
        parts |= {("query", name) for name, value in query if self.prefix in value}
        try:
            document = json.loads(request.read() or b"{}")
        except (ValueError, httpx.StreamError):
            document = {}
        parts |= {("body", _IN_A_FACET.sub(r"\1", name)) for name in self._in(document, "")}
        self.places |= {Place(route, part, name) for part, name in parts}

    def _in(self, value: Any, name: str) -> Iterator[str]:  # Any: JSON
        if isinstance(value, str) and self.prefix in value.lower():
            yield name
        elif isinstance(value, list):
            for one in value:
                kind = f"{one.get('kind')}Document" if isinstance(one, dict) else ""
                yield from self._in(one, f"{name}.{kind}" if kind in _KINDS else name)
        elif isinstance(value, dict):
            for key, one in value.items():
                if self.prefix in key.lower():
                    yield name
                    yield from self._in(one, f"{name}.*")
                yield from self._in(one, f"{name}.{key}".lstrip("."))


@contextmanager
def recorded(client: httpx.Client, prefix: str) -> Iterator[Recorder]:
    """Note what a client sends meanwhile."""
    recorder = Recorder(prefix)
    before = client.event_hooks
    client.event_hooks = {**before, "request": [*before["request"], recorder]}
    try:
        yield recorder
    finally:
        client.event_hooks = before
