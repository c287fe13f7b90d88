"""Policies as values, kept by what names their stored document, so that ten thousand attempts are not parsed each time.

One for each process that judges what is there already: api and scheduler. Safe between threads. A key must name the
whole document, layers included: two jobs may share a policy's digest and still owe it to other owners.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Generic, TypeVar

import structlog

from nordan_core.domain.tenants import Project
from nordan_core.residency.canonical import digest_of
from nordan_core.residency.effective_text import parse_effective
from nordan_core.residency.errors import PolicyError
from nordan_core.residency.facets import Policy
from nordan_core.residency.floors import floor_layers, standing
from nordan_core.residency.layers import Effective, Layer, LayerKind, effective
from nordan_core.residency.places import Atlas
from nordan_core.residency.policy import parse_policy

_log = structlog.get_logger()
KEPT = 20_000
"""Of each kind, before the least used are dropped; some KiB each."""
DATA = "data"
"""The name of the layer that speaks for data at rest."""
Documents = Mapping[str, Mapping[str, Any]]  # Any: JSON
Standing = tuple[Effective, ...]
"""All that must allow; empty where one of them cannot be read, so that nothing is allowed."""
Value = TypeVar("Value")


class PolicyShelf:
    """Parsed policies under one atlas."""

    def __init__(self, atlas: Atlas, kept: int = KEPT) -> None:
        self.atlas = atlas
        self._jobs: _Recent[Effective | None] = _Recent(kept)
        self._data: _Recent[Policy | None] = _Recent(kept)
        self._standing: _Recent[Standing] = _Recent(kept)

    def make_room(self, count: int) -> None:
        """See that so many policies fit at once, several times over: none may be let go of while it is asked for."""
        for shelf in (self._jobs, self._data, self._standing):
            shelf.make_room(4 * count)

    def unknown_jobs(self, keys: Iterable[str]) -> list[str]:
        """Return the keys of effective policies that have to be learned."""
        return sorted({key for key in keys if key not in self._jobs})

    def unknown_data(self, keys: Iterable[str]) -> list[str]:
        """Return the keys of data's policies that have to be learned."""
        return sorted({key for key in keys if key not in self._data})

    def learn_jobs(self, documents: Documents) -> None:
        """Take effective policy documents of jobs by key."""
        for key, document in documents.items():
            self._jobs.keep(key, _read(parse_effective, document, self.atlas))

    def learn_data(self, documents: Documents) -> None:
        """Take policy documents of artifacts by key."""
        for key, document in documents.items():
            self._data.keep(key, _read(parse_policy, document, self.atlas))

    def of_job(self, key: str, project: Project | None) -> Standing:
        """Return what binds a job now: see `residency.floors.standing`.

        Raises:
            LookupError: it was not learned, which must never pass for a policy that cannot be read.
        """
        accepted = self._jobs.get(key)
        if accepted is None:
            return ()
        return self._kept(f"job {key}", project, lambda: standing(accepted, project, self.atlas))

    def of_data(self, key: str, project: Project) -> Standing:
        """Return what binds data now: their owner's word, met with today's floors.

        Raises:
            LookupError: it was not learned.
        """
        stated = self._data.get(key)
        if stated is None:
            return ()
        layer = Layer(LayerKind.INPUT, DATA, stated)
        return self._kept(
            f"data {key}",
            project,
            lambda: (effective([*floor_layers(project, self.atlas), layer], has_content=True),),
        )

    def _kept(self, key: str, project: Project | None, derive: Callable[[], Standing]) -> Standing:
        whole = f"{key} {_floors(project)}"
        with suppress(LookupError):
            return self._standing.get(whole)
        try:
            found: Standing = derive()
        except PolicyError:
            _log.warning("floor_unreadable", project=project.id if project else "")
            found = ()
        self._standing.keep(whole, found)
        return found


class PolicyShelves:
    """A shelf for each atlas: the newest is used, an older one stays for acts under way. Safe between threads."""

    def __init__(self) -> None:
        self._by_atlas: _Recent[PolicyShelf] = _Recent(2)
        self._lock = threading.Lock()

    def under(self, atlas: Atlas) -> PolicyShelf:
        """Return the policies as they are read under an atlas."""
        with self._lock:
            try:
                return self._by_atlas.get(atlas.digest)
            except LookupError:
                shelf = PolicyShelf(atlas)
                self._by_atlas.keep(atlas.digest, shelf)
                return shelf


class _Recent(Generic[Value]):
    """A mapping that forgets what was not asked for longest."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[str, Value] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, key: str) -> bool:
        return key in self._kept

    def make_room(self, count: int) -> None:
        self._most = max(self._most, count)

    def get(self, key: str) -> Value:
        with self._lock:
            self._kept.move_to_end(key)
            return self._kept[key]

    def keep(self, key: str, value: Value) -> None:
        with self._lock:
            self._kept[key] = value
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)


def _read(parse: Callable[[Any, Atlas], Value], document: Mapping[str, Any], atlas: Atlas) -> Value | None:
    try:
        return parse(document, atlas)
    except PolicyError:
        _log.warning("policy_unreadable")
        return None


def _floors(project: Project | None) -> str:
    if project is None:
        return ""
    said = [project.organisation_name, dict(project.organisation_floor), project.name, dict(project.floor)]
    return digest_of({"floors": said})
